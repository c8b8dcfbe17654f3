//! A mail as bytes: its head, and its words once as text and once as HTML.

use std::time::SystemTime;

use bellbuoy_domain::EmailAddress;
use lettre::{
    Message,
    message::{
        Mailbox, Mailboxes, MultiPart,
        header::{HeaderName, HeaderValue, To},
    },
};

use super::Mail;

/// Why a mail can't be written. Our own addresses and texts are checked before, so this does not happen.
#[derive(Debug, thiserror::Error)]
pub(super) enum MimeError {
    #[error(transparent)]
    Address(#[from] lettre::address::AddressError),
    #[error(transparent)]
    Message(#[from] lettre::error::Error),
}

/// Writes `mail`, from `sender` whom readers see as `title`.
///
/// The head says that a program sent it ([RFC 3834, section 5]), so that no absence note comes back, and what
/// it tells of, so that readers can sort it.
///
/// [RFC 3834, section 5]: https://www.rfc-editor.org/rfc/rfc3834#section-5
pub(super) fn write(mail: &Mail<'_>, sender: &EmailAddress, title: &str) -> Result<Vec<u8>, MimeError> {
    let name: String = title.chars().filter(|letter| !letter.is_control()).collect();
    let from = Mailbox::new(Some(name).filter(|name| !name.is_empty()), sender.as_str().parse()?);
    let mut to = Mailboxes::new();
    for address in mail.to {
        to.push(Mailbox::new(None, address.as_str().parse()?));
    }
    let parts = MultiPart::alternative_plain_html(in_lines(&mail.letter.text), in_lines(&mail.letter.html));
    let mut message = Message::builder()
        .from(from)
        .mailbox(To::from(to))
        .subject(mail.letter.subject.clone())
        .date(SystemTime::from(mail.now))
        .message_id(Some(format!("<{}@{}>", mail.id, sender.domain())))
        .multipart(parts)?;
    let mut put = |name, value: &str| {
        let value = HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned());
        message.headers_mut().insert_raw(value);
    };
    put("Auto-Submitted", "auto-generated");
    if let Some(event) = mail.event {
        put("X-Bellbuoy-Event", event.kind.name());
        if let Some(subject) = event.subject.name() {
            put("X-Bellbuoy-Subject", subject);
        }
    }
    Ok(message.formatted())
}

/// A text whose lines end in one way, which is then written as mail has it: a lone CR or LF is a line's end to some
/// servers and none to others, and what follows it could be taken for a command.
fn in_lines(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}
