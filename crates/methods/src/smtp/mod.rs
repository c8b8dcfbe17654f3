//! Mails out: one mail server, few connections, each used for many mails.

mod fault;
mod mime;
mod session;
mod wire;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bellbuoy_domain::{CauseCode, EmailAddress, Event, Letter};
use jiff::Timestamp;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

use self::{fault::Phase, session::Session};
use crate::{Outbound, Report, SetupError, Smtp};

/// How long an unused connection is kept; servers close one after some minutes.
const MAX_IDLE: Duration = Duration::from_secs(30);

/// Most mails over one connection: many servers take no more.
const MAX_MAILS: u32 = 100;

/// Sends mails. One for the process.
pub(crate) struct Mailer {
    server: Option<Server>,
    /// Who we are to readers.
    title: String,
}

struct Server {
    settings: Arc<Smtp>,
    dialler: session::Dialler,
    /// One permit for each connection.
    room: Semaphore,
    kept: Mutex<Vec<Kept>>,
}

struct Kept {
    session: Session,
    since: Instant,
    mails: u32,
}

/// A mail to be sent.
pub(crate) struct Mail<'a> {
    /// To whom.
    pub(crate) to: &'a [EmailAddress],
    /// Whether one of several who is refused for now keeps it from all, until they can all be written to.
    pub(crate) waits_for_all: bool,
    /// What it says.
    pub(crate) letter: &'a Letter,
    /// What stands before the `@` of its `Message-ID`: the same for the same mail.
    pub(crate) id: &'a str,
    /// What it tells of, if of an event.
    pub(crate) event: Option<&'a Event>,
    /// Its date.
    pub(crate) now: Timestamp,
}

impl Mailer {
    pub(crate) fn new(settings: &Outbound, title: &str) -> Result<Self, SetupError> {
        let server = settings.services.smtp.as_ref().map(|smtp| {
            Ok(Server {
                dialler: session::Dialler::new(settings, smtp)?,
                room: Semaphore::new(smtp.connections.max(1)),
                kept: Mutex::default(),
                settings: Arc::new(smtp.clone()),
            })
        });
        Ok(Self { server: server.transpose()?, title: title.to_owned() })
    }

    /// Sends one mail, within the settings' deadline. That there is no mail server, or that it does not
    /// take our login or our own address, is our own fault.
    pub(crate) async fn send(&self, mail: &Mail<'_>) -> Report {
        let Some(server) = &self.server else {
            return Report::deferred(
                CauseCode::Internal,
                "no mail server is set; an operator can name one with smtp.host",
            );
        };
        let bytes = match mime::write(mail, &server.settings.sender, &self.title) {
            Ok(bytes) => bytes,
            Err(error) => {
                return Report::deferred(CauseCode::Internal, format!("no mail could be written: {error}"));
            }
        };
        let until = Instant::now() + server.settings.deadline;
        let Ok(permit) = timeout_at(until, server.room.acquire()).await else {
            return Report::deferred(
                CauseCode::Internal,
                "every connection to the mail server was in use; an operator can allow more with smtp.connections",
            );
        };
        let sent = timeout_at(until, server.send(mail, &bytes)).await;
        drop(permit);
        sent.unwrap_or_else(|_| {
            let detail =
                format!("the mail server did not take the mail within {:?}", server.settings.deadline);
            Report::deferred(CauseCode::Timeout, detail)
        })
    }
}

impl Server {
    /// Over a kept connection, or over a new one if there is none or the kept one turns out closed before
    /// the server has heard of this mail.
    async fn send(&self, mail: &Mail<'_>, bytes: &[u8]) -> Report {
        while let Some(mut kept) = self.take() {
            match kept.session.send(mail, bytes).await {
                Ok(()) => {
                    self.keep(kept);
                    return Report::delivered(None);
                }
                Err(failure) if failure.phase == Phase::Sender => {}
                Err(failure) => return failure.report(),
            }
        }
        let mut session = match self.dialler.open().await {
            Ok(session) => session,
            Err(failure) => return failure.report(),
        };
        match session.send(mail, bytes).await {
            Ok(()) => {
                self.keep(Kept { session, since: Instant::now(), mails: 0 });
                Report::delivered(None)
            }
            Err(failure) => failure.report(),
        }
    }

    fn take(&self) -> Option<Kept> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that are too old lie at the front; dropping them closes them.
        kept.retain(|kept| kept.since.elapsed() < MAX_IDLE);
        kept.pop()
    }

    fn keep(&self, kept: Kept) {
        let mails = kept.mails + 1;
        if mails < MAX_MAILS {
            let kept = Kept { since: Instant::now(), mails, ..kept };
            self.kept.lock().unwrap_or_else(PoisonError::into_inner).push(kept);
        }
    }
}

impl fmt::Debug for Mailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailer").field("title", &self.title).finish_non_exhaustive()
    }
}
