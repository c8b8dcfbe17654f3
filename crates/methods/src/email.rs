//! The `email` method: a mail to an address that its owner has confirmed.

use bellbuoy_domain::{CauseCode, EmailConfig, Registry};

use crate::{
    Attempt, Report,
    smtp::{Mail, Mailer},
};

/// Sends the event as a mail. The same delivery has the same `Message-ID` however often it is tried,
/// so that a mail which came twice can be told from two.
///
/// A subject or text of the owner's that can't be filled is final.
pub(crate) async fn attempt(
    mailer: &Mailer,
    registry: &Registry,
    config: &EmailConfig,
    attempt: &Attempt<'_>,
) -> Report {
    let letter = match config.letter(attempt.event, attempt.checked.format, registry) {
        Ok(letter) => letter,
        Err(error) => return Report::rejected(None, CauseCode::Template, error.to_string()),
    };
    let mail = Mail {
        to: &config.address,
        letter: &letter,
        id: &attempt.delivery.to_string(),
        event: Some(attempt.event),
        now: attempt.now,
    };
    mailer.send(&mail).await
}
