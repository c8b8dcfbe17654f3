//! What the journeys share: `bellbuoy serve` as a process, and its API as a client sees it.

#![allow(dead_code, unused_imports, reason = "each journey is a program of its own and uses its part")]

mod client;
mod delivery;
mod deployment;
mod dice;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use bellbuoy_testkit::process::{Launch, Process};
use tempfile::TempDir;

pub(crate) use client::{Client, ENDED, Wish, push};
pub(crate) use delivery::{cause, deliver, deliver_all, first_attempts, hook, milliseconds, wait_of};
pub(crate) use deployment::{Deployment, Member, url_of};
pub(crate) use dice::Dice;

/// For a state that has to come. Far more than any of them takes, for a busy machine.
pub(crate) const SOON: Duration = Duration::from_mins(1);

/// The admin token that every fleet is started with.
pub(crate) const TOKEN: &str = "the-journeys-admin-token";

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_bellbuoy");

/// What every fleet runs by, unless a test says otherwise: a free port, receivers on loopback, and a
/// schedule that is over in a second.
const SETTINGS: &[(&str, &str)] = &[
    ("BELLBUOY_LISTEN", "127.0.0.1:0"),
    ("BELLBUOY_DATA_DIR", "data"),
    ("BELLBUOY_AUTH__ADMIN_TOKEN", TOKEN),
    ("BELLBUOY_OUTBOUND__ALLOW", "127.0.0.0/8"),
    ("BELLBUOY_REGISTRY__URL", "https://registry.example.com"),
    ("BELLBUOY_RETRY__STEPS", "50ms,100ms,200ms"),
];

/// One `bellbuoy serve` with a data directory of its own, on one port for all of its lives.
pub(crate) struct Fleet {
    pub(crate) api: Client,
    pub(crate) process: Process,
    settings: BTreeMap<String, String>,
    folder: TempDir,
}

impl Fleet {
    /// Starts it and waits until it listens. `settings` win over the journeys' own.
    pub(crate) async fn start(settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let mut settings: BTreeMap<_, _> = SETTINGS.iter().chain(settings).map(owned).collect();
        let process = launch(&settings, &folder);
        let address = listening_address(&process).await;
        settings.insert("BELLBUOY_LISTEN".to_owned(), address.clone());
        Self { api: Client::new(&format!("http://{address}"), TOKEN), process, settings, folder }
    }

    /// Starts it once more with the same data and port, and waits until it listens.
    pub(crate) async fn start_again(&mut self) {
        self.launch_again();
        self.until_up().await;
    }

    /// What it is told from its next start on.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.settings.insert(name.to_owned(), value.to_owned());
    }

    /// Waits until it listens.
    pub(crate) async fn until_up(&self) {
        listening_address(&self.process).await;
    }

    /// Kills it (`SIGKILL`) if it runs and starts it once more, without waiting for anything.
    pub(crate) fn launch_again(&mut self) {
        self.process.kill_9();
        self.process = launch(&self.settings, &self.folder);
    }

    /// Asks it to stop (`SIGTERM`) and waits until it has, in order.
    pub(crate) async fn stop(&self) {
        self.process.terminate();
        let status = self.process.wait_exit(SOON).await;
        assert_eq!(status.code(), Some(0), "{}", self.process.lines().join("\n"));
    }

    /// Everything that all of its lives wrote, log lines and greetings.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("bellbuoy.log")).expect("a log")
    }

    /// Its data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The port it listens on, in all of its lives.
    pub(crate) fn address(&self) -> &str {
        &self.settings["BELLBUOY_LISTEN"]
    }
}

fn launch(settings: &BTreeMap<String, String>, folder: &TempDir) -> Process {
    let launch = Launch::new("bellbuoy", BINARY, folder.path()).args(["serve"]);
    settings.iter().fold(launch, |launch, (name, value)| launch.env(name, value)).start()
}

/// The address in the greeting, which comes once it listens.
async fn listening_address(process: &Process) -> String {
    let line = process.wait_for_line("Bellbuoy ", SOON).await;
    address_in(&line).unwrap_or_else(|| panic!("no address in {line:?}"))
}

fn address_in(greeting: &str) -> Option<String> {
    let (_, rest) = greeting.split_once("http://")?;
    Some(rest.split(". ").next()?.to_owned())
}
