//! Certificates and keys as texts. Their wrapping is looked at here, and of a certificate its outermost parts; what is in
//! them is read where it is used.

use base64::{Engine, engine::general_purpose::STANDARD};

/// Longest text of certificates, or of a key, in bytes: some twenty certificates.
pub(crate) const MAX_BYTES: usize = 64 * 1024;

const CERTIFICATE: &[&str] = &["CERTIFICATE"];
const KEY: &[&str] = &["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"];

/// Refuses what is not one certificate or more, in PEM.
pub(crate) fn check_certificates(text: &str) -> Result<(), String> {
    match blocks(text, CERTIFICATE).as_deref() {
        Some([_, ..]) => Ok(()),
        _ => Err(should_be(
            "certificates, each between -----BEGIN CERTIFICATE----- and -----END CERTIFICATE-----",
        )),
    }
}

/// Refuses what is not one unencrypted key, in PEM. Never repeats it.
pub(crate) fn check_key(text: &str) -> Result<(), String> {
    match blocks(text, KEY).as_deref() {
        Some([_]) => Ok(()),
        _ => Err(should_be("one unencrypted key that begins with -----BEGIN PRIVATE KEY-----")),
    }
}

/// Refuses a well wrapped block that holds no certificate: cut off, or something else.
pub(crate) fn check_contents(text: &str) -> Result<(), String> {
    let blocks = blocks(text, CERTIFICATE).unwrap_or_default();
    match blocks.iter().position(|der| !is_certificate(der)) {
        None => Ok(()),
        Some(place) => Err(format!(
            "holds no certificate in its {}. block from -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----; copy \
             the whole file",
            place + 1
        )),
    }
}

fn should_be(what: &str) -> String {
    format!("should be PEM of at most {MAX_BYTES} bytes: {what}")
}

/// What its blocks hold; `None` if one is broken, has another label, or the text is too long.
fn blocks(text: &str, labels: &[&str]) -> Option<Vec<Vec<u8>>> {
    let is_short = text.len() <= MAX_BYTES;
    let mut lines = text.lines().map(str::trim).filter(|_| is_short);
    let mut blocks = Vec::new();
    // Between two blocks anything may stand, as OpenSSL writes it.
    while let Some(line) = lines.find(|line| line.starts_with("-----BEGIN ")) {
        let label = labels.iter().find(|label| line == format!("-----BEGIN {label}-----"))?;
        let mut encoded = String::new();
        let end = format!("-----END {label}-----");
        loop {
            match lines.next()? {
                line if line == end => break,
                line => encoded.push_str(line),
            }
        }
        blocks.push(STANDARD.decode(&encoded).ok().filter(|bytes| !bytes.is_empty())?);
    }
    Some(blocks)
}

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;

/// Whether it is a certificate from outside, and no more: what is signed, by which algorithm, the signature
/// ([RFC 5280, section 4.1]).
///
/// [RFC 5280, section 4.1]: https://www.rfc-editor.org/rfc/rfc5280#section-4.1
fn is_certificate(der: &[u8]) -> bool {
    let rests = || {
        let (parts, after) = element(der, SEQUENCE)?;
        let (_signed, parts) = element(parts, SEQUENCE)?;
        let (_algorithm, parts) = element(parts, SEQUENCE)?;
        let (_signature, parts) = element(parts, BIT_STRING)?;
        Some((parts, after))
    };
    rests().is_some_and(|(parts, after)| parts.is_empty() && after.is_empty())
}

/// The content of the DER element with `tag` that `der` begins with, and what comes after it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, length], rest) = der.split_first_chunk()?;
    if found != tag {
        return None;
    }
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81..=0x83 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(length - 0x80))?;
            (bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "-----BEGIN CERTIFICATE-----\nAAAA\nAAAA\n-----END CERTIFICATE-----\n";
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\r\nAAAA\r\n-----END PRIVATE KEY-----";

    #[test]
    fn certificates_and_keys_are_told_from_all_else() {
        for text in [ONE.to_owned(), ONE.repeat(3), format!("subject=x\n{ONE}")] {
            assert_eq!(check_certificates(&text), Ok(()), "{text}");
        }
        for text in [KEY.to_owned(), KEY.replace("PRIVATE", "EC PRIVATE")] {
            assert_eq!(check_key(&text), Ok(()), "{text}");
        }
        for text in [
            String::new(),
            "hunter2".to_owned(),
            KEY.to_owned(),
            format!("{ONE}{KEY}"),
            ONE.replace("AAAA", "A!"),
            ONE.replace("AAAA", ""),
            ONE.replace("-----END", "-----FIN"),
            ONE.repeat(MAX_BYTES / ONE.len() + 1),
        ] {
            assert!(check_certificates(&text).is_err(), "{text}");
        }
        for text in [ONE.to_owned(), KEY.replace("PRIVATE", "ENCRYPTED PRIVATE"), format!("{KEY}\n{KEY}")] {
            let problem = check_key(&text).expect_err("refused");
            assert!(!problem.contains("AAAA"), "{problem}");
        }
    }

    #[test]
    fn a_block_that_holds_no_certificate_is_told_from_one_that_does_by_what_it_is_from_outside() {
        let wrapped = |der: &[u8]| ONE.replace("AAAA\nAAAA", &STANDARD.encode(der));
        let long = [&[0x30, 0x81, 0x84][..], &[0x30, 0x7e], &[0; 0x7e], &[0x30, 0, 3, 0]].concat();
        for der in [&[0x30, 6, 0x30, 0, 0x30, 0, 3, 0][..], &long] {
            assert_eq!(check_contents(&wrapped(der)), Ok(()), "{der:?}");
        }
        for der in [
            &b"hunter2"[..],
            &long[..long.len() - 1],
            &[&long[..], &[0]].concat(),
            &[0x30, 8, 0x30, 0, 0x30, 0, 3, 0, 3, 0],
            &[0x30, 4, 0x30, 0, 0x30, 0],
            &[0x30, 0x80, 0x30, 0, 0x30, 0, 3, 0, 0, 0],
            &[0x30],
        ] {
            let problem =
                check_contents(&format!("{}{}", wrapped(&long), wrapped(der))).expect_err("refused");
            assert!(problem.contains("in its 2. block"), "{der:?}: {problem}");
        }
    }
}
