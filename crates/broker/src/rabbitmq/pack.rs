//! Many small messages of one queue as one of RabbitMQ's. No IO here.
//!
//! What a message costs RabbitMQ depends little on its size, and events and what is told of attempts are small. Only
//! the queues of those two are packed, because their workers take many at a time and mind no repeat: when a connection
//! is lost, a pack comes again whole. A delivery that can be taken is never packed; its repeat would reach a receiver. But
//! deliveries that are held wait in packs, which are taken apart when their wait is over, before anybody has them: those
//! for a receiver that is dead are many, and come again and again.
//!
//! A pack's body is its members one after the other. Of each: id (16 bytes), number of headers (2 bytes), of each
//! header its name and its value, each with its length before it (2 bytes), length of the body (4 bytes), body. Numbers
//! are big endian.

use std::{sync::LazyLock, time::Duration};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use uuid::Uuid;

use crate::{Headers, Outgoing, QueueName, queues};

/// The content type of a pack; the version of its form is part of it.
pub(super) const CONTENT_TYPE: &str = "application/vnd.bellbuoy.pack.v1";

/// Most members of a pack, and most bytes of all of them. A consumer is sent as many packs ahead as it wants messages.
const MOST: usize = 64;
const MOST_BYTES: usize = 32 << 10;

/// Most bytes of the members of a pack that waits. Nobody takes many of these at a time.
const MOST_BYTES_WAITING: usize = 128 << 10;

/// How much earlier than that of its pack a member's own wait may end: with what a level is too long, still less than the
/// second that is promised.
const APART: Duration = Duration::from_millis(250);

/// Most members that are read: more than any version writes, and few enough for memory, whoever wrote them.
const MOST_READ: usize = 1024;

static PACKED: LazyLock<[QueueName; 2]> = LazyLock::new(|| [queues::outcomes(), queues::events()]);

/// What a member is: the part of a message that it keeps in a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) id: Uuid,
    pub(super) headers: Headers,
    pub(super) body: Bytes,
}

/// Whether a message leaves with those that are packed. Its size does not matter: one that is too large for company
/// leaves beside the packs, for when it leaves is a promise: what is told is told when all else is durable.
pub(super) fn is_packable(outgoing: &Outgoing) -> bool {
    PACKED.contains(&outgoing.queue) && outgoing.delay.is_zero()
}

/// Packs messages, each with others of its queue, in order; one that is alone stays as it is.
pub(super) fn pack(messages: &[Outgoing]) -> Vec<Outgoing> {
    pack_within(MOST_BYTES, messages)
}

/// Packs those that may wait together, each with others of its queue whose wait ends with its own: with the last of them.
pub(super) fn pack_waiting(messages: Vec<Outgoing>) -> Vec<Outgoing> {
    let (mut waiting, mut packed): (Vec<_>, Vec<_>) = messages.into_iter().partition(may_wait_together);
    waiting.sort_by(|one, other| (&one.queue, one.delay).cmp(&(&other.queue, other.delay)));
    packed.extend(pack_within(MOST_BYTES_WAITING, &waiting));
    packed
}

fn may_wait_together(message: &Outgoing) -> bool {
    message.together && !message.delay.is_zero() && bytes(message) <= MOST_BYTES
}

fn pack_within(most_bytes: usize, messages: &[Outgoing]) -> Vec<Outgoing> {
    let mut packed = Vec::new();
    let mut rest = messages;
    while !rest.is_empty() {
        let (members, after) = rest.split_at(fitting(most_bytes, rest));
        rest = after;
        packed.push(match members {
            [alone] => alone.clone(),
            members => together(members),
        });
    }
    packed
}

fn fitting(most_bytes: usize, messages: &[Outgoing]) -> usize {
    let mut room = most_bytes;
    let first = &messages[0];
    let fits = messages.iter().take(MOST).take_while(|message| {
        let left = room.checked_sub(bytes(message));
        room = left.unwrap_or(0);
        left.is_some() && message.queue == first.queue && message.delay.saturating_sub(first.delay) <= APART
    });
    fits.count().max(1)
}

fn bytes(message: &Outgoing) -> usize {
    let headers = message.headers.iter().map(|(name, value)| 4 + name.len() + value.len());
    16 + 2 + headers.sum::<usize>() + 4 + message.body.len()
}

// No length is too long for its place, since a whole member fits into [`MOST_BYTES`].
fn together(members: &[Outgoing]) -> Outgoing {
    let mut body = BytesMut::with_capacity(members.iter().map(bytes).sum());
    let short = |length: usize| u16::try_from(length).unwrap_or(u16::MAX);
    for member in members {
        body.put_slice(member.id.as_bytes());
        body.put_u16(short(member.headers.iter().count()));
        for (name, value) in member.headers.iter() {
            for text in [name, value] {
                body.put_u16(short(text.len()));
                body.put_slice(text.as_bytes());
            }
        }
        body.put_u32(u32::try_from(member.body.len()).unwrap_or(u32::MAX));
        body.put_slice(&member.body);
    }
    let mut pack = Outgoing::new(members[0].queue.clone(), body.freeze());
    pack.headers.set("content-type", CONTENT_TYPE);
    pack.delay = members.iter().map(|member| member.delay).max().unwrap_or_default();
    pack
}

/// The members of a pack; `None` if it is none, whatever it says of itself.
pub(super) fn unpack(pack: &Bytes) -> Option<Vec<Member>> {
    let mut rest = pack.clone();
    let mut members = Vec::new();
    while !rest.is_empty() {
        if members.len() == MOST_READ {
            return None;
        }
        let id = Uuid::from_slice(&take(&mut rest, 16)?).ok()?;
        let mut headers = Headers::default();
        for _ in 0..rest.try_get_u16().ok()? {
            let (name, value) = (take_text(&mut rest)?, take_text(&mut rest)?);
            headers.set(name, value);
        }
        let length = usize::try_from(rest.try_get_u32().ok()?).ok()?;
        members.push(Member { id, headers, body: take(&mut rest, length)? });
    }
    (!members.is_empty()).then_some(members)
}

fn take(rest: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= rest.len()).then(|| rest.split_to(length))
}

fn take_text(rest: &mut Bytes) -> Option<String> {
    let length = rest.try_get_u16().ok()?;
    String::from_utf8(take(rest, length.into())?.into()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(body: impl Into<Bytes>) -> Outgoing {
        Outgoing::new(queues::outcomes(), body)
    }

    fn with_header(mut message: Outgoing, name: &str, value: &str) -> Outgoing {
        message.headers.set(name, value);
        message
    }

    // Another version may read what this one wrote: this form is for ever.
    #[test]
    fn what_is_written_is_pinned() {
        let mut one = with_header(told("ab"), "h", "val");
        one.id = Uuid::from_bytes([1; 16]);
        let mut two = told("");
        two.id = Uuid::from_bytes([2; 16]);
        let [pack] = &pack(&[one, two])[..] else { panic!("one pack") };
        assert_eq!(pack.headers.get("content-type"), Some("application/vnd.bellbuoy.pack.v1"));
        let mut form = vec![1; 16];
        form.extend(b"\0\x01\0\x01h\0\x03val\0\0\0\x02ab");
        form.extend([2; 16]);
        form.extend([0; 6]);
        assert_eq!(pack.body, form);
    }

    #[test]
    fn one_that_is_alone_stays_as_it_is() {
        let alone = told("ab");
        let id = alone.id;
        let [same] = &pack(&[alone])[..] else { panic!("one message") };
        assert_eq!((same.id, &*same.body, same.headers.is_empty()), (id, &b"ab"[..], true));
    }

    #[test]
    fn events_and_what_is_told_are_packed_and_nothing_that_waits_or_reaches_a_receiver() {
        assert!(is_packable(&told("{}")) && is_packable(&Outgoing::new(queues::events(), "{}")));
        assert!(!is_packable(&Outgoing::new(queues::deliver("webhook"), "{}")));
        assert!(!is_packable(&told("{}").after(Duration::from_secs(1))));
    }

    #[test]
    fn what_is_too_large_for_company_leaves_alone_beside_the_packs() {
        let large = [told(vec![0; MOST_BYTES]), with_header(told("{}"), "h", &"x".repeat(MOST_BYTES))];
        for large in large {
            assert!(is_packable(&large));
            let packed = pack(&[told("1"), told("2"), large.clone(), told("3")]);
            assert_eq!((packed.len(), packed[1].id), (3, large.id));
        }
    }

    #[test]
    fn messages_of_two_queues_are_not_packed_together() {
        let messages = [told("1"), told("2"), Outgoing::new(queues::events(), "3")];
        let packed = pack(&messages);
        assert_eq!(
            packed.iter().map(|one| &one.queue).collect::<Vec<_>>(),
            [&queues::outcomes(), &queues::events()]
        );
    }

    #[test]
    fn a_strangers_bytes_are_no_pack() {
        let huge = [&[0; 16][..], &[0, 0, 255, 255, 255, 255]].concat();
        let endless = vec![0; 22 * (MOST_READ + 1)];
        for body in [&b""[..], b"{}", &[0; 19], &[255; 30], &[0; 41], &huge, &endless] {
            assert_eq!(unpack(&Bytes::copy_from_slice(body)), None, "{} bytes", body.len());
        }
    }

    fn held(millis: u64) -> Outgoing {
        let message = Outgoing::new(queues::deliver("webhook"), format!("{millis}"));
        message.after(Duration::from_millis(millis)).together()
    }

    #[test]
    fn those_that_are_held_wait_together_with_the_last_of_those_whose_waits_end_with_theirs() {
        let alone = Outgoing::new(queues::deliver("webhook"), "alone").after(Duration::from_secs(5));
        let other = Outgoing::new(queues::deliver("slack"), "slack").after(Duration::from_secs(5)).together();
        let at_once = Outgoing::new(queues::deliver("webhook"), "at once").together();
        let large = Outgoing::new(queues::deliver("webhook"), vec![0; MOST_BYTES]);
        let large = large.after(Duration::from_secs(5)).together();
        let apart = |millis: u64| held(5000 + millis);
        let messages =
            vec![apart(250), alone, other, apart(251), at_once, apart(0), large, apart(502), apart(100)];
        let waits = |message: &Outgoing| {
            let members = unpack(&message.body).map_or(1, |members| members.len());
            (message.queue.clone(), u64::try_from(message.delay.as_millis()).expect("short"), members)
        };
        let mut found: Vec<_> = pack_waiting(messages).iter().map(waits).collect();
        found.sort();
        let webhook = |wait, members| (queues::deliver("webhook"), wait, members);
        assert_eq!(
            found,
            [
                (queues::deliver("slack"), 5000, 1),
                webhook(0, 1),
                webhook(5000, 1),
                webhook(5000, 1),
                webhook(5250, 3),
                webhook(5251, 1),
                webhook(5502, 1),
            ]
        );
    }

    #[test]
    fn a_pack_that_waits_is_larger_than_one_that_is_taken_and_still_within_bounds() {
        let body = vec![0; 10_000];
        let messages: Vec<_> =
            (0..100).map(|_| Outgoing { body: body.clone().into(), ..held(5000) }).collect();
        let packs = pack_waiting(messages);
        assert!(packs.iter().all(|pack| pack.body.len() <= MOST_BYTES_WAITING), "too large");
        assert_eq!(packs.len(), 8, "of thirteen members each");
    }

    proptest! {
        #[test]
        fn every_message_comes_out_as_it_went_in_and_no_pack_is_too_large(
            sizes in prop::collection::vec((0..20_000_usize, "[a-z]{0,9}"), 1..300),
        ) {
            let messages: Vec<_> = sizes
                .iter()
                .map(|(size, value)| with_header(told(vec![7; *size]), "name", value))
                .collect();
            let member = |message: &Outgoing| Member {
                id: message.id,
                headers: message.headers.clone(),
                body: message.body.clone(),
            };
            let wanted: Vec<_> = messages.iter().map(member).collect();
            let mut found = Vec::new();
            for message in pack(&messages) {
                match message.headers.get("content-type") {
                    Some(CONTENT_TYPE) => {
                        prop_assert!(message.body.len() <= MOST_BYTES);
                        let members = unpack(&message.body).expect("a pack");
                        prop_assert!(members.len() > 1 && members.len() <= MOST);
                        found.extend(members);
                    }
                    _ => found.push(member(&message)),
                }
            }
            prop_assert_eq!(found, wanted);
        }
    }
}
