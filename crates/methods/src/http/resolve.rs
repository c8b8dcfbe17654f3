//! Host names to addresses: one look-up per connection, never a second.

use std::{
    collections::{HashMap, VecDeque},
    future::pending,
    io,
    net::{IpAddr, ToSocketAddrs},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{sync::Semaphore, task::spawn_blocking};

/// Most look-ups of the system's resolver at a time. Each holds a thread until the resolver
/// answers, which for a dead name server may be half a minute; the others of tokio's 512 blocking
/// threads stay free for files and the database.
const MAX_LOOKUPS: usize = 64;

static LOOKUPS: Semaphore = Semaphore::const_new(MAX_LOOKUPS);

/// Who turns host names into addresses.
#[derive(Debug, Clone, Default)]
pub enum Resolver {
    /// The machine's own: `/etc/hosts`, DNS, whatever it is set to.
    #[default]
    System,
    /// Answers written down beforehand, for tests.
    Scripted(Arc<Script>),
}

impl Resolver {
    /// Every address of `host`, in the order of preference. May take as long as the resolver likes,
    /// so the caller sets a limit.
    pub(crate) async fn look_up(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        match self {
            Self::System => {
                let permit = LOOKUPS.acquire().await.map_err(io::Error::other)?;
                let host = host.to_owned();
                let found = spawn_blocking(move || {
                    let _permit = permit; // Held until the thread is free, not until the caller gives up.
                    (host, 0).to_socket_addrs().map(|found| found.map(|address| address.ip()).collect())
                });
                found.await.map_err(io::Error::other)?
            }
            Self::Scripted(script) => match script.next(host) {
                ScriptedAnswer::Addresses(addresses) => Ok(addresses),
                ScriptedAnswer::Silence => pending().await,
            },
        }
    }
}

/// What a [`Script`] answers to one look-up.
#[derive(Debug, Clone)]
pub enum ScriptedAnswer {
    /// These addresses; none means that there is no such name.
    Addresses(Vec<IpAddr>),
    /// Nothing, ever.
    Silence,
}

/// Look-ups answered from a list. Each takes its name's next answer, and the last one stays.
#[derive(Debug, Default)]
pub struct Script {
    answers: Mutex<HashMap<String, VecDeque<ScriptedAnswer>>>,
}

impl Script {
    /// Answers to the first, second... look-up of `host`.
    #[must_use]
    pub fn answer(self, host: &str, answers: impl IntoIterator<Item = ScriptedAnswer>) -> Self {
        let mut known = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(host.to_owned()).or_default().extend(answers);
        drop(known);
        self
    }

    fn next(&self, host: &str) -> ScriptedAnswer {
        let mut known = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(answers) = known.get_mut(host) else { return ScriptedAnswer::Addresses(Vec::new()) };
        let last = answers.len() == 1;
        let next = if last { answers.front().cloned() } else { answers.pop_front() };
        next.unwrap_or(ScriptedAnswer::Silence)
    }
}
