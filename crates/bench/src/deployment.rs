//! What is measured, set up as a user would: the embedded pair in one process, or every role in a process of its
//! own on RabbitMQ and PostgreSQL. Both are told nothing but where things are and that loopback may be reached.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use bellbuoy_domain::{DeliveryId, NotificationId};
use bellbuoy_testkit::{
    postgres::Postgres,
    process::{Launch, Process, free_port},
    rabbitmq::Node,
};
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::{
    client::Client,
    load::{Events, Intake, Way},
    receiver::ANNOUNCEMENT,
    usage::Program,
};

/// For whatever has to happen.
pub(crate) const PATIENCE: Duration = Duration::from_mins(3);

/// Between two looks at what has arrived.
const LOOK: Duration = Duration::from_millis(10);

const TOKEN: &str = "bench-token-0123456789";

/// RabbitMQ's virtual hosts: ours, and that of the bare worker.
const OURS: &str = "bellbuoy";
const BARE: &str = "bare";

/// The roles of a fleet and what each process is started with.
const ROLES: [(&str, &[&str]); 4] = [
    ("api", &["serve", "--roles", "api"]),
    ("fanout", &["serve", "--roles", "fanout"]),
    ("deliver", &["serve", "--roles", "deliver", "--methods", "webhook"]),
    ("record", &["serve", "--roles", "record"]),
];

/// On what it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum On {
    /// Broker and store embedded, one process.
    Embedded,
    /// RabbitMQ and PostgreSQL, a process for each role.
    Fleet,
}

impl On {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Fleet => "fleet",
        }
    }
}

/// The receiver's process.
pub(crate) struct Receiver {
    client: Client,
    pub(crate) url: String,
    _process: Process,
    _folder: TempDir,
}

impl Receiver {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let process =
            Launch::new("receiver", std::env::current_exe()?, folder.path()).args(["receiver"]).start();
        let line = process.wait_for_line(ANNOUNCEMENT, PATIENCE).await;
        let url = format!("http://{}", line.rsplit(' ').next().unwrap_or_default());
        Ok(Self { client: Client::new(""), url, _process: process, _folder: folder })
    }

    /// Where requests of that group go.
    pub(crate) fn hook(&self, group: &str) -> String {
        format!("{}/hook/{group}", self.url)
    }

    /// How many different requests of that group have arrived.
    pub(crate) async fn seen(&self, group: &str) -> anyhow::Result<u64> {
        let seen = self.ask("seen", group).await?;
        seen["seen"].as_u64().context("the receiver says how many it has seen")
    }

    /// What arrived of that group, which begins anew.
    pub(crate) async fn take(&self, group: &str) -> anyhow::Result<Value> {
        self.ask("take", group).await
    }

    /// Waits until `count` different requests of that group have arrived.
    pub(crate) async fn until(&self, group: &str, count: usize) -> anyhow::Result<()> {
        let arrived = async {
            while self.seen(group).await? < count as u64 {
                sleep(LOOK).await;
            }
            anyhow::Ok(())
        };
        match timeout(PATIENCE, arrived).await {
            Ok(arrived) => arrived,
            Err(_) => {
                bail!("{} of {count} arrived within {PATIENCE:?}", self.seen(group).await?)
            }
        }
    }

    async fn ask(&self, verb: &str, group: &str) -> anyhow::Result<Value> {
        self.client.json(Method::POST, &format!("{}/{verb}/{group}", self.url), &Value::Null).await
    }
}

/// Bellbuoy, running.
pub(crate) struct Deployment {
    pub(crate) on: On,
    client: Client,
    url: String,
    processes: Vec<(&'static str, Process)>,
    servers: Option<(Node, Postgres)>,
    settings: Vec<(&'static str, String)>,
    binary: PathBuf,
    folder: TempDir,
}

impl Deployment {
    /// Starts it with fresh data, and waits until every process is ready.
    pub(crate) async fn start(on: On, binary: &Path) -> anyhow::Result<Self> {
        let mut settings = vec![
            ("BELLBUOY_AUTH__ADMIN_TOKEN", TOKEN.to_owned()),
            ("BELLBUOY_OUTBOUND__ALLOW", "127.0.0.0/8".to_owned()),
        ];
        let servers = match on {
            On::Embedded => None,
            On::Fleet => {
                let (node, postgres) = tokio::join!(Node::start(), Postgres::start());
                node.add_vhosts(&[OURS, BARE]).await;
                settings.push(("BELLBUOY_BROKER__URL", node.url(OURS)));
                settings.push(("BELLBUOY_STORE__URL", postgres.database().await));
                Some((node, postgres))
            }
        };
        let mut deployment = Self {
            on,
            client: Client::new(TOKEN),
            url: String::new(),
            processes: Vec::new(),
            servers,
            settings,
            binary: binary.to_owned(),
            folder: tempfile::tempdir()?,
        };
        if on == On::Fleet {
            let apply = deployment.launch("topology", &["topology", "apply"], 0);
            let ended = apply.wait_exit(PATIENCE).await;
            ensure!(ended.success(), "`topology apply` failed:\n{}", apply.lines().join("\n"));
        }
        deployment.start_processes().await?;
        Ok(deployment)
    }

    async fn start_processes(&mut self) -> anyhow::Result<()> {
        let roles: &[(&'static str, &[&str])] = match self.on {
            On::Embedded => &[("serve", &["serve"])],
            On::Fleet => &ROLES,
        };
        for (place, (name, args)) in roles.iter().enumerate() {
            let port = free_port();
            let process = self.launch(name, args, port);
            let url = format!("http://127.0.0.1:{port}");
            process.wait_for_ok(&format!("{url}/readyz"), PATIENCE).await;
            if place == 0 {
                self.url = url;
            }
            self.processes.push((name, process));
        }
        Ok(())
    }

    fn launch(&self, name: &str, args: &[&str], port: u16) -> Process {
        let launch = Launch::new(name, &self.binary, self.folder.path())
            .args(args)
            .env("BELLBUOY_LISTEN", format!("127.0.0.1:{port}"));
        self.settings.iter().fold(launch, |launch, (name, value)| launch.env(name, value)).start()
    }

    /// Stops our processes in order, does `work` on the data they left, and starts them again.
    pub(crate) async fn stopped(
        &mut self,
        work: impl AsyncFnOnce(&Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        for (_, process) in self.processes.drain(..) {
            process.terminate();
            process.wait_exit(PATIENCE).await;
        }
        work(&self.folder.path().join("bellbuoy-data")).await?;
        self.start_processes().await
    }

    /// Everything whose use counts.
    pub(crate) fn programs(&self) -> Vec<Program> {
        let ours = self.processes.iter().map(|(name, process)| (*name, process.id(), true));
        let servers = self.servers.iter().flat_map(|(node, postgres)| {
            [("broker", node.process().id(), false), ("database", postgres.process().id(), false)]
        });
        ours.chain(servers).map(|(name, process, ours)| Program { name, process, ours }).collect()
    }

    /// RabbitMQ's process, where there is one.
    pub(crate) fn broker(&self) -> Option<Program> {
        self.programs().into_iter().find(|program| program.name == "broker")
    }

    /// RabbitMQ's URL for ourselves.
    pub(crate) fn amqp(&self) -> Option<String> {
        self.servers.as_ref().map(|(node, _)| node.url(OURS))
    }

    /// RabbitMQ's URL for the bare worker.
    pub(crate) fn bare_amqp(&self) -> Option<String> {
        self.servers.as_ref().map(|(node, _)| node.url(BARE))
    }

    pub(crate) fn intake(&self) -> Intake {
        Intake { client: self.client.clone(), url: format!("{}/v1/events", self.url) }
    }

    /// Events by HTTP.
    pub(crate) fn by_http(&self) -> Way {
        Way::Http(self.intake())
    }

    /// Events as the fleet's producers offer them: over RabbitMQ, where there is one.
    pub(crate) async fn by_broker(&self) -> anyhow::Result<Way> {
        match self.amqp() {
            Some(url) => Way::amqp(&url).await,
            None => Ok(self.by_http()),
        }
    }

    /// Makes a webhook for the repository of these events, and gives back its id.
    pub(crate) async fn notify(&self, events: &Events, url: &str) -> anyhow::Result<NotificationId> {
        let notification = json!({
            "scope": {"repository": events.repository}, "kinds": ["repo_push"], "method": "webhook",
            "config": {"url": url},
        });
        let url = format!("{}/v1/notifications", self.url);
        let made = self.client.json(Method::POST, &url, &notification).await?;
        let id = made["id"].as_str().with_context(|| format!("no id in {made}"))?;
        Ok(NotificationId::from(Uuid::parse_str(id)?))
    }

    /// Waits until the history of everything that has arrived is written.
    ///
    /// Records are written in the order in which they were queued, so one more event is sent: when its delivery for
    /// `notification` is in the history, so are those before. Then none may be pending.
    pub(crate) async fn until_recorded(
        &self,
        events: &Events,
        number: usize,
        notification: NotificationId,
    ) -> anyhow::Result<()> {
        self.intake().publish(events, number).await?;
        let last = DeliveryId::derive(&events.run, &number.to_string(), notification);
        let last = format!("{}/v1/deliveries/{last}", self.url);
        let pending = format!("{}/v1/deliveries?state=pending&source={}&limit=1", self.url, events.run);
        let written = async {
            while !self.is_delivered(&last).await? || self.is_any(&pending).await? {
                sleep(LOOK).await;
            }
            anyhow::Ok(())
        };
        timeout(PATIENCE, written).await.context("the history was not written")?
    }

    async fn is_delivered(&self, url: &str) -> anyhow::Result<bool> {
        let (status, answer) = self.client.send(Method::GET, url, "application/json", Bytes::new()).await?;
        let found: Value = serde_json::from_slice(&answer).unwrap_or_default();
        match status {
            StatusCode::NOT_FOUND => Ok(false),
            StatusCode::OK => Ok(found["state"] == "delivered"),
            _ => bail!("{url} answered {status}: {found}"),
        }
    }

    async fn is_any(&self, url: &str) -> anyhow::Result<bool> {
        let page = self.client.json(Method::GET, url, &Value::Null).await?;
        Ok(page["deliveries"].as_array().is_some_and(|deliveries| !deliveries.is_empty()))
    }
}

/// What the run ran on, for whoever compares it with another.
pub(crate) fn machine() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let (processors, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let value = |text: &str, word: &str| {
        let line = text.lines().find(|line| line.starts_with(word))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    json!({
        "processor": value(&processors, "model name"),
        "processors": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        "memory": value(&memory, "MemTotal"),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
    })
}
