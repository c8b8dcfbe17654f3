//! The `traceparent` of a request ([W3C Trace Context, level 1]).
//!
//! [W3C Trace Context, level 1]: https://www.w3.org/TR/trace-context-1/#traceparent-header

use bellbuoy_domain::DeliveryId;
use ring::digest;

/// A child of the event's own trace, or the delivery's own trace where the event has none or a
/// malformed one.
///
/// The parent id comes from the delivery and the attempt's number, so that every attempt is a span
/// of its own and one that was cut off and is made again is the same. A trace of our own bears
/// the delivery's id and asks nobody to record it.
pub(crate) fn child(parent: Option<&str>, delivery: DeliveryId, attempt: u32) -> String {
    let delivery = delivery.as_uuid();
    let mut seed = digest::Context::new(&digest::SHA256);
    seed.update(delivery.as_bytes());
    seed.update(&attempt.to_be_bytes());
    let seed = seed.finish();
    let mut span = [0; 8];
    span.copy_from_slice(&seed.as_ref()[..8]);
    let span = u64::from_be_bytes(span).max(1); // All zeros means none.
    match parent.and_then(parse) {
        Some((trace, flags)) => format!("00-{trace}-{span:016x}-{flags}"),
        None => format!("00-{}-{span:016x}-00", delivery.simple()),
    }
}

/// The trace id and the flags of a valid `traceparent`. A version after 00 may have more behind,
/// and is read as 00.
fn parse(text: &str) -> Option<(&str, &str)> {
    let mut parts = text.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let valid = hex(version, 2)
        && version != "ff"
        && (version != "00" || parts.next().is_none())
        && id(trace, 32)
        && id(span, 16)
        && hex(flags, 2);
    valid.then_some((trace, flags))
}

fn id(text: &str, length: usize) -> bool {
    hex(text, length) && text.bytes().any(|byte| byte != b'0')
}

fn hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn delivery() -> DeliveryId {
        "749931c1-24b5-5b75-8423-64b262e68c38".parse().expect("a UUID")
    }

    #[test]
    fn a_child_keeps_the_trace_and_flags_and_has_its_own_span() {
        let first = child(Some(PARENT), delivery(), 1);
        assert!(
            first.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && first.ends_with("-01"),
            "{first}"
        );
        assert!(!first.contains("00f067aa0ba902b7") && parse(&first).is_some());
        assert_eq!(first, child(Some(PARENT), delivery(), 1));
        assert_ne!(first, child(Some(PARENT), delivery(), 2));
    }

    #[test]
    fn without_a_valid_parent_the_delivery_is_the_trace() {
        for parent in [
            None,
            Some(""),
            Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"),
            Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more"),
            Some("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            Some("00-00000000000000000000000000000000-00f067aa0ba902b7-01"),
            Some("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"),
            Some("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"),
            Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0\r"),
        ] {
            let trace = child(parent, delivery(), 1);
            assert!(trace.starts_with("00-749931c124b55b75842364b262e68c38-"), "{parent:?}: {trace}");
            assert!(parse(&trace).is_some());
        }
        let newer = "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more";
        assert!(child(Some(newer), delivery(), 1).starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"));
    }
}
