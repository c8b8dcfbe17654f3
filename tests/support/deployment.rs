//! A fleet in processes of its own: each with some roles, all on one RabbitMQ and one PostgreSQL.

use std::path::Path;
use std::sync::Arc;

use bellbuoy_testkit::process::{Launch, Process};
use tempfile::TempDir;

use super::{BINARY, Client, SOON, TOKEN, address_in};

/// What every process of a fleet is told, and where their logs are.
#[derive(Debug)]
pub(crate) struct Deployment {
    folder: TempDir,
    settings: Vec<(String, String)>,
}

impl Deployment {
    /// `settings` come last and win.
    pub(crate) fn new(broker: &str, store: &str, settings: &[(&str, &str)]) -> Self {
        let usual = [
            ("BELLBUOY_BROKER__URL", broker),
            ("BELLBUOY_STORE__URL", store),
            ("BELLBUOY_AUTH__ADMIN_TOKEN", TOKEN),
            ("BELLBUOY_OUTBOUND__ALLOW", "127.0.0.0/8"),
            ("BELLBUOY_RETRY__STEPS", "500ms,500ms,500ms,500ms"),
        ];
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let settings = usual.iter().chain(settings).map(owned).collect();
        Self { folder: tempfile::tempdir().expect("a temporary folder"), settings }
    }

    /// Starts the program, on any free port where it listens.
    pub(crate) fn launch(&self, name: &str, args: &[&str]) -> Process {
        self.launch_at(name, args, "127.0.0.1:0")
    }

    /// The same, on a given address.
    pub(crate) fn launch_at(&self, name: &str, args: &[&str], address: &str) -> Process {
        let launch = Launch::new(name, BINARY, self.folder.path()).args(args).env("BELLBUOY_LISTEN", address);
        self.settings.iter().fold(launch, |launch, (name, value)| launch.env(name, value)).start()
    }

    /// Runs a command to its end: its exit code, and what it said.
    pub(crate) async fn command(&self, args: &[&str]) -> (Option<i32>, String) {
        let process = self.launch("command", args);
        let code = process.wait_exit(SOON).await.code();
        (code, process.lines().join("\n"))
    }

    /// Declares what has to stand on RabbitMQ.
    pub(crate) async fn apply_topology(&self) {
        let (code, said) = self.command(&["topology", "apply"]).await;
        assert_eq!(code, Some(0), "{said}");
    }

    /// Starts a member, without waiting for anything.
    pub(crate) fn member(&self, name: &str, role: &'static str) -> Member {
        self.member_with(name, &["serve", "--roles", role])
    }

    /// Starts a member that delivers by one method alone, named after it, without waiting for anything.
    pub(crate) fn deliverer(&self, method: &'static str) -> Member {
        self.member_with(method, &["serve", "--roles", "deliver", "--methods", method])
    }

    fn member_with(&self, name: &str, args: &[&'static str]) -> Member {
        let process = Arc::new(self.launch(name, args));
        Member { name: name.to_owned(), args: args.to_vec(), process }
    }

    /// Starts a member named after its role and waits until it is ready.
    pub(crate) async fn role(&self, role: &'static str) -> Member {
        let member = self.member(role, role);
        member.until_ready().await;
        member
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// One process of a fleet, over all of its lives.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) process: Arc<Process>,
    args: Vec<&'static str>,
}

impl Member {
    /// Kills it (`SIGKILL`), if it runs.
    pub(crate) fn kill_9(&self) {
        self.process.kill_9();
    }

    /// Starts it once more, without waiting for anything. Kills it first, if it runs.
    pub(crate) fn launch_again(&mut self, deployment: &Deployment) {
        self.kill_9();
        self.process = Arc::new(deployment.launch(&self.name, &self.args));
    }

    /// Waits until it listens, and says where.
    pub(crate) async fn url(&self) -> String {
        let line = self.process.wait_for_line("Bellbuoy ", SOON).await;
        url_in(&line).unwrap_or_else(|| panic!("no address in {line:?}"))
    }

    /// Its API, or the part of it that every role has.
    pub(crate) async fn client(&self) -> Client {
        Client::new(&self.url().await, TOKEN)
    }

    /// Waits until all that it needs is well.
    pub(crate) async fn until_ready(&self) {
        let url = self.url().await;
        self.process.wait_for_ok(&format!("{url}/readyz"), SOON).await;
    }

    /// Asks it to stop (`SIGTERM`) and waits until it has, in order.
    pub(crate) async fn stop(&self) {
        self.process.terminate();
        let status = self.process.wait_exit(SOON).await;
        assert_eq!(status.code(), Some(0), "{}: {}", self.name, self.process.lines().join("\n"));
    }
}

/// Where a process listens, once it said so.
pub(crate) fn url_of(process: &Process) -> Option<String> {
    process.lines().iter().find_map(|line| url_in(line))
}

fn url_in(line: &str) -> Option<String> {
    let greeting = line.starts_with("Bellbuoy ").then_some(line)?;
    Some(format!("http://{}", address_in(greeting)?))
}
