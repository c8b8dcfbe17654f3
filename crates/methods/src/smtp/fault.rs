//! What went wrong on the way to a mailbox, and whose fault it was.

use std::io;

use bellbuoy_domain::{Cause, CauseCode};
use lettre::transport::smtp::{Error, response::Response};
use rustls::Error as TlsError;

use crate::{
    Report,
    http::{DialError, explain_tls},
};

/// Longest text of a mail server in a cause, in characters.
const LONGEST: usize = 200;

/// How far the conversation had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Connecting, until the server knows our name.
    Greeting,
    /// User and password.
    Login,
    /// Whom the mail is from.
    Sender,
    /// Whom it is for.
    Recipient,
    /// The mail itself.
    Content,
}

/// A mail that was not taken.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) phase: Phase,
    cause: Cause,
    /// Whether the server says that it will not change its mind.
    pub(super) is_final: bool,
}

impl Failure {
    fn deferred(phase: Phase, code: CauseCode, detail: impl Into<String>) -> Self {
        Self { phase, cause: Cause::new(code, detail), is_final: false }
    }

    pub(super) fn greeting(code: CauseCode, detail: impl Into<String>) -> Self {
        Self::deferred(Phase::Greeting, code, detail)
    }

    /// A refusal of the recipient or of the mail is final if the server says so. One of our login or our
    /// own address is the operator's to put right, and one before that may pass.
    pub(super) fn of(phase: Phase, error: &Error) -> Self {
        let said = said(error);
        if error.is_permanent() {
            return match phase {
                Phase::Greeting => {
                    Self::greeting(CauseCode::SmtpDeferred, format!("the mail server refuses us: {said}"))
                }
                Phase::Login => Self::deferred(
                    phase,
                    CauseCode::Internal,
                    format!("the mail server does not take our login (smtp.user, smtp.password): {said}"),
                ),
                Phase::Sender => Self::deferred(
                    phase,
                    CauseCode::Internal,
                    format!("the mail server takes no mail of ours (smtp.from): {said}"),
                ),
                Phase::Recipient => {
                    Self::refused(phase, format!("the mail server refused the address: {said}"))
                }
                Phase::Content => Self::refused(phase, format!("the mail server refused the mail: {said}")),
            };
        }
        if error.is_transient() {
            return Self::deferred(
                phase,
                CauseCode::SmtpDeferred,
                format!("the mail server asks to come back: {said}"),
            );
        }
        if error.is_client() && phase == Phase::Login {
            return Self::deferred(
                phase,
                CauseCode::Internal,
                "the mail server offers no login that we know (PLAIN, LOGIN); leave smtp.user out if it wants none",
            );
        }
        if error.is_response() && !said.contains("incomplete response") {
            return Self::deferred(
                phase,
                CauseCode::Protocol,
                format!("the mail server's answer was not SMTP: {said}"),
            );
        }
        Self::deferred(phase, CauseCode::Reset, "the mail server closed the connection")
    }

    /// An answer that is none to what was said last.
    pub(super) fn out_of_turn(answer: &Response) -> Self {
        let words = answer.first_line().unwrap_or_default();
        let said = shortened(&format!("{} {words}", answer.code()));
        let detail = format!("the mail server's answer was to something else than the mail: {said}");
        Self::deferred(Phase::Content, CauseCode::Protocol, detail)
    }

    /// Whether the server has answered that it does not want this, now or ever, and can be asked for other things.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self.cause.code, CauseCode::SmtpDeferred | CauseCode::SmtpRejected)
    }

    fn refused(phase: Phase, detail: String) -> Self {
        Self { phase, cause: Cause::new(CauseCode::SmtpRejected, detail), is_final: true }
    }

    pub(super) fn report(self) -> Report {
        let Cause { code, detail } = self.cause;
        if self.is_final { Report::rejected(None, code, detail) } else { Report::deferred(code, detail) }
    }
}

impl From<DialError> for Failure {
    fn from(error: DialError) -> Self {
        Self::greeting(error.code(), error.to_string())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>());
        match (tls, error.kind()) {
            (Some(tls), _) => Self::greeting(CauseCode::Tls, shortened(&explain_tls(tls))),
            (None, io::ErrorKind::InvalidData) => Self::greeting(
                CauseCode::Protocol,
                format!("the mail server's answer was not SMTP: {}", shortened(&error.to_string())),
            ),
            (None, _) => Self::greeting(CauseCode::Reset, "the mail server closed the connection"),
        }
    }
}

/// The server's own words.
fn said(error: &Error) -> String {
    let text = error.to_string();
    let words = text.split_once("): ").map_or(text.as_str(), |(_, words)| words);
    let code = error.status().map_or(String::new(), |code| format!("{code} "));
    shortened(&format!("{code}{words}"))
}

pub(super) fn shortened(text: &str) -> String {
    let visible = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    visible.take(LONGEST).collect()
}
