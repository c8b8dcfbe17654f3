//! Host names to addresses: one look-up per connection, never a second.

mod name_servers;
mod system;

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{sleep, timeout};

pub use self::name_servers::NameServers;

/// Who turns host names into addresses.
#[derive(Debug, Clone, Default)]
pub enum Resolver {
    /// The machine's own: `/etc/hosts`, DNS, whatever it is set to. It takes a thread for each name that is
    /// looked up, so that names whose server is silent can keep the others waiting.
    #[default]
    System,
    /// Name servers of the operator's choice, for receivers. His own servers are looked up by the system.
    NameServers(NameServers),
    /// Answers written down beforehand, for tests.
    Scripted(Arc<Script>),
}

/// Why a look-up told nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LookupError {
    /// Its turn did not come in time: other names had every thread. Nobody was asked.
    NoRoom,
    /// Nobody answered in time.
    Silent,
    /// What the resolver said.
    Failed(String),
}

impl Resolver {
    /// Who looks up what the operator names himself: its names may be in `/etc/hosts` or below a search domain, and
    /// no stranger makes them many.
    pub(crate) fn of_own_servers(&self) -> Self {
        match self {
            Self::NameServers(_) => Self::System,
            other => other.clone(),
        }
    }

    /// Every address of `host`, in the order of preference, within `limit`; none if there is no such name.
    pub(crate) async fn look_up(&self, host: &str, limit: Duration) -> Result<Vec<IpAddr>, LookupError> {
        match self {
            Self::System => system::look_up(host, limit).await,
            Self::NameServers(servers) => {
                timeout(limit, servers.look_up(host)).await.unwrap_or(Err(LookupError::Silent))
            }
            Self::Scripted(script) => match script.next(host) {
                ScriptedAnswer::Addresses(addresses) => Ok(addresses),
                ScriptedAnswer::Silence => {
                    sleep(limit).await;
                    Err(LookupError::Silent)
                }
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
