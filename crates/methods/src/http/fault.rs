//! Errors of the libraries below, as causes. The one place that knows their shapes.

use std::{error::Error, io};

use bellbuoy_domain::{Cause, CauseCode};

use super::{dial::DialError, tls};

/// Longest text of another library in a cause, in characters.
const LONGEST: usize = 200;

/// The limits that the head of an answer has, for the sentence that says they were passed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadLimits {
    pub(crate) bytes: usize,
}

/// Finds the cause in an error and what lies below it. The most telling one counts, wherever it
/// is: a refused certificate may come as a failed handshake, a failed write or a failed read.
pub(crate) fn cause_of(error: &(dyn Error + 'static), limits: HeadLimits) -> Cause {
    let below: Vec<_> = Below(Some(error)).collect();
    let find = |judge: &dyn Fn(&(dyn Error + 'static)) -> Option<Cause>| {
        below.iter().find_map(|error| judge(*error))
    };
    find(&|error| {
        let error: &DialError = error.downcast_ref()?;
        Some(Cause::new(error.code(), error.to_string()))
    })
    .or_else(|| {
        find(&|error| Some(Cause::new(CauseCode::Tls, shortened(&tls::explain(error.downcast_ref()?)))))
    })
    .or_else(|| find(&|error| Some(of_http2(error.downcast_ref()?))))
    .or_else(|| find(&|error| of_hyper(error.downcast_ref()?, limits)))
    .or_else(|| find(&|error| of_io(error.downcast_ref::<io::Error>()?.kind())))
    .unwrap_or_else(cut)
}

/// An error, then each that lies below it. `io::Error` hides the error it was made of from
/// `source`, so it is asked in its own way.
struct Below<'a>(Option<&'a (dyn Error + 'static)>);

impl<'a> Iterator for Below<'a> {
    type Item = &'a (dyn Error + 'static);

    fn next(&mut self) -> Option<Self::Item> {
        let error = self.0?;
        self.0 = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
        Some(error)
    }
}

fn of_hyper(error: &hyper::Error, limits: HeadLimits) -> Option<Cause> {
    if error.is_parse_too_large() {
        let detail =
            format!("the head of the answer was larger than allowed (100 headers, {} bytes)", limits.bytes);
        Some(Cause::new(CauseCode::Protocol, detail))
    } else if error.is_parse() {
        Some(Cause::new(
            CauseCode::Protocol,
            format!("the answer was not HTTP: {}", shortened(&error.to_string())),
        ))
    } else if error.is_incomplete_message() {
        Some(cut())
    } else {
        None
    }
}

fn of_http2(error: &h2::Error) -> Cause {
    let reason = error.reason().map_or_else(|| "connection lost".to_owned(), |reason| format!("{reason:?}"));
    if error.is_library() {
        Cause::new(CauseCode::Protocol, format!("the answer was not acceptable HTTP/2: {reason}"))
    } else {
        Cause::new(CauseCode::Reset, format!("the receiver ended the HTTP/2 exchange: {reason}"))
    }
}

fn of_io(kind: io::ErrorKind) -> Option<Cause> {
    match kind {
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            Some(Cause::new(CauseCode::Protocol, "the body of the answer was not HTTP"))
        }
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::NotConnected
        | io::ErrorKind::UnexpectedEof => Some(cut()),
        _ => None,
    }
}

fn cut() -> Cause {
    Cause::new(CauseCode::Reset, "the receiver closed the connection before its answer was whole")
}

fn shortened(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(LONGEST).collect()
}
