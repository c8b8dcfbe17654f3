//! Certificates and keys as texts. Only their wrapping is looked at here; what is in it is read where it is used.

use base64::{Engine, engine::general_purpose::STANDARD};

/// Longest text of certificates, or of a key, in bytes: some twenty certificates.
pub(crate) const MAX_BYTES: usize = 64 * 1024;

const CERTIFICATE: &[&str] = &["CERTIFICATE"];
const KEY: &[&str] = &["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"];

/// Refuses what is not one certificate or more, in PEM.
pub(crate) fn check_certificates(text: &str) -> Result<(), String> {
    match blocks(text, CERTIFICATE) {
        Some(count) if count > 0 => Ok(()),
        _ => Err(should_be(
            "certificates, each between -----BEGIN CERTIFICATE----- and -----END CERTIFICATE-----",
        )),
    }
}

/// Refuses what is not one unencrypted key, in PEM. Never repeats it.
pub(crate) fn check_key(text: &str) -> Result<(), String> {
    match blocks(text, KEY) {
        Some(1) => Ok(()),
        _ => Err(should_be("one unencrypted key that begins with -----BEGIN PRIVATE KEY-----")),
    }
}

fn should_be(what: &str) -> String {
    format!("should be PEM of at most {MAX_BYTES} bytes: {what}")
}

/// How many blocks it has; `None` if one is broken, has another label, or the text is too long.
fn blocks(text: &str, labels: &[&str]) -> Option<usize> {
    let is_short = text.len() <= MAX_BYTES;
    let mut lines = text.lines().map(str::trim).filter(|_| is_short);
    let mut count = 0;
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
        STANDARD.decode(&encoded).ok().filter(|bytes| !bytes.is_empty())?;
        count += 1;
    }
    Some(count)
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
}
