//! Private RabbitMQ nodes: Debian's `rabbitmq-server`, on loopback, with ports, cookie and data of their own.
//!
//! Which RabbitMQ that is: this system's, or that of another release which stands in a folder of its own, as
//! `cargo xtask rabbitmq4` makes one, and is named by `BELLBUOY_TEST_RABBITMQ_ROOT`. Such a node sees that folder as
//! its file system, and the tests' temporary files where they are. It takes root to start.
//!
//! A node's process is the Erlang machine itself, so that a `kill -9` hits the broker and not a shell, and its
//! port mapper runs beside it as a child of the test, so that nothing is left behind.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use crate::certs::{Authority, Identity};
use crate::process::{Launch, Process, free_port};

/// How long a node may take to boot or to stop. 5 to 7 s are usual; the rest is for a busy machine.
const BOOT: Duration = Duration::from_secs(90);

/// The variable that names the root of another release of Debian.
const ROOT: &str = "BELLBUOY_TEST_RABBITMQ_ROOT";

/// Where Debian's package keeps the scripts that run as any user. Those on the path insist on their own.
const SCRIPTS: &str = "usr/lib/rabbitmq/lib";

/// Makes a root (`$0`) the file system of a program, with a folder (`$1`) that it shares. The mounts are in a
/// namespace of the program's own and go with it; each step becomes the next, so that its process id stays.
const ENTER: &str = "mkdir -p \"$0$1\" && mount --bind \"$1\" \"$0$1\" && mount -t proc proc \"$0/proc\" && \
    root=$0 && shift && exec chroot \"$root\" \"$@\"";

/// What its folder's name begins with; the version follows.
const PACKAGE: &str = "rabbitmq_server-";

/// What a test does that needs a node and finds none.
const REMEDY: &str = "RabbitMQ is not installed; run `cargo xtask tools` (Debian package rabbitmq-server)";

/// Erlang on loopback alone, with no port mapper that outlives it.
const ERLANG: &str = "-kernel inet_dist_use_interface {127,0,0,1} -start_epmd false";

/// Dead letters of quorum queues: many at a time, and not stuck for minutes behind a node that is gone.
const ADVANCED: &str = "[{rabbit,[{dead_letter_worker_consumer_prefetch,256},\
    {dead_letter_worker_publisher_confirm_timeout,10000}]}].\n";

/// A running node. It lives no longer than this value, nor does its data.
#[derive(Debug)]
pub struct Node {
    name: String,
    settings: Settings,
    process: Process,
    // Ends after the node that is registered with it, and with the folder after both.
    _epmd: Option<Process>,
    _folder: Option<TempDir>,
}

/// A RabbitMQ that is installed.
#[derive(Debug, Clone)]
struct Installation {
    /// Of its file system, if that is not this one.
    root: Option<PathBuf>,
    /// The scripts' folder there, whose name holds the version.
    scripts: PathBuf,
    version: String,
}

/// What a node is started with, each time anew.
#[derive(Debug, Clone)]
struct Settings {
    installation: Arc<Installation>,
    folder: PathBuf,
    home: PathBuf,
    amqp: u16,
    distribution: u16,
    epmd: u16,
}

impl Node {
    /// Starts a node of its own and waits until it takes connections.
    ///
    /// # Panics
    ///
    /// When RabbitMQ is not installed or the node does not come up.
    pub async fn start() -> Self {
        Self::configured(|_| String::new()).await
    }

    /// Starts a node that takes connections also over TLS, on `port`, from clients whose certificate `authority`
    /// signed, and shows them `identity`.
    ///
    /// # Panics
    ///
    /// When RabbitMQ is not installed or the node does not come up.
    pub async fn start_with_tls(port: u16, authority: &Authority, identity: &Identity) -> Self {
        Self::configured(|folder| {
            let mut text = format!(
                "listeners.ssl.1 = 127.0.0.1:{port}\nssl_options.verify = verify_peer\n\
                 ssl_options.fail_if_no_peer_cert = true\n"
            );
            for (option, pem) in [
                ("cacertfile", &authority.pem()),
                ("certfile", &identity.cert_pem),
                ("keyfile", &identity.key_pem),
            ] {
                let file = folder.join(format!("{option}.pem"));
                fs::write(&file, pem).expect("a file for the node");
                let _ = writeln!(text, "ssl_options.{option} = {}", file.display());
            }
            text
        })
        .await
    }

    /// Starts a node with further `lines` of `rabbitmq.conf`, and with `files` beside that in place of its own:
    /// `advanced.config`, `enabled_plugins`.
    ///
    /// # Panics
    ///
    /// When RabbitMQ is not installed or the node does not come up.
    pub async fn start_with(lines: &str, files: &[(&str, &str)]) -> Self {
        Self::configured(|folder| {
            for (name, text) in files {
                fs::write(folder.join(name), text).expect("a file for the node");
            }
            lines.to_owned()
        })
        .await
    }

    async fn configured(more: impl FnOnce(&Path) -> String) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = home(folder.path());
        let (epmd, port) = start_epmd(folder.path());
        let settings = Settings::new(folder.path(), &home, port);
        settings.write("t1", &more(folder.path()));
        let process = settings.launch("t1");
        let node = Self { name: "t1".into(), settings, process, _epmd: Some(epmd), _folder: Some(folder) };
        node.until_up().await;
        node
    }

    /// The version of RabbitMQ.
    pub fn version(&self) -> &str {
        &self.settings.installation.version
    }

    /// Whether it is of this version or a later one.
    pub fn is_from(&self, major: u32, minor: u32) -> bool {
        self.settings.installation.is_from(major, minor)
    }

    /// Where it takes AMQP connections.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.settings.amqp))
    }

    /// Where its data and its logs are.
    pub fn folder(&self) -> &Path {
        &self.settings.folder
    }

    /// The URL of one of its virtual hosts, with the user that a fresh node has. `vhost` is written as in a URL:
    /// `%2f` for the one called `/`.
    pub fn url(&self, vhost: &str) -> String {
        format!("amqp://guest:guest@{}/{vhost}", self.address())
    }

    /// Its process: lines, memory, processor time.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Ends it as a power cut would (`SIGKILL`).
    pub fn kill_9(&self) {
        self.process.kill_9();
    }

    /// Stops its clock (`SIGSTOP`): connections stay open and nothing answers.
    pub fn pause(&self) {
        self.process.pause();
    }

    /// Lets it go on after [`Node::pause`].
    pub fn resume(&self) {
        self.process.resume();
    }

    /// Stops it as a service manager would.
    ///
    /// # Panics
    ///
    /// When it does not end within 90 s.
    pub async fn stop(&self) {
        self.process.terminate();
        self.process.wait_exit(BOOT).await;
    }

    /// Starts it once more, with the same data and ports, and waits until it takes connections.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    pub async fn start_again(&mut self) {
        self.process.kill_9();
        self.process = self.settings.launch(&self.name);
        self.until_up().await;
    }

    /// Runs `rabbitmqctl` against it and returns what it printed. Takes about a second.
    ///
    /// # Panics
    ///
    /// When the command fails.
    pub async fn ctl(&self, args: &[&str]) -> String {
        let node = format!("{}@localhost", self.name);
        let port = free_port().to_string();
        let line = self.settings.installation.command("rabbitmqctl");
        let mut command = tokio::process::Command::new(&line[0]);
        command
            .args(&line[1..])
            .env_clear()
            .envs(self.settings.environment(&self.name))
            .env("RABBITMQ_CTL_ERL_ARGS", ERLANG)
            .env("RABBITMQ_CTL_DIST_PORT_MIN", &port)
            .env("RABBITMQ_CTL_DIST_PORT_MAX", &port)
            .args(["--quiet", "--node", &node])
            .args(args)
            .kill_on_drop(true);
        let output = command.output().await.expect(REMEDY);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "rabbitmqctl {args:?} failed: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        text
    }

    /// Makes virtual hosts in which the node's own user may do everything, all with one command.
    ///
    /// # Panics
    ///
    /// When the node refuses.
    pub async fn add_vhosts(&self, names: &[&str]) {
        let mut list = String::new();
        for name in names {
            let comma = if list.is_empty() { "" } else { "," };
            let _ = write!(list, "{comma}<<\"{name}\">>");
        }
        let all = "<<\".*\">>";
        let add = format!(
            "lists:foreach(fun(N) -> ok = rabbit_vhost:add(N, <<\"test\">>), ok = \
             rabbit_auth_backend_internal:set_permissions(<<\"guest\">>, N, {all}, {all}, {all}, <<\"test\">>) \
             end, [{list}])."
        );
        self.ctl(&["eval", &add]).await;
    }

    async fn until_up(&self) {
        self.process.wait_for_port(self.address(), BOOT).await;
    }
}

/// Three nodes that form one cluster and share one port mapper.
#[derive(Debug)]
pub struct Cluster {
    /// The nodes.
    pub nodes: Vec<Node>,
    _epmd: Process,
    _folder: TempDir,
}

impl Cluster {
    /// Starts three nodes at once and waits until each knows the other two.
    ///
    /// # Panics
    ///
    /// When RabbitMQ is not installed or the cluster does not form.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = home(folder.path());
        let (epmd, port) = start_epmd(folder.path());
        let names = ["c1", "c2", "c3"];
        let mut peers = String::from(
            "cluster_formation.peer_discovery_backend = classic_config\n\
             cluster_partition_handling = pause_minority\n",
        );
        // Gone since, and a later version does not start with them.
        if !Installation::find().is_from(4, 0) {
            peers += "cluster_formation.randomized_startup_delay_range.min = 0\n\
                      cluster_formation.randomized_startup_delay_range.max = 1\n";
        }
        for (number, name) in names.iter().enumerate() {
            let _ =
                writeln!(peers, "cluster_formation.classic_config.nodes.{} = {name}@localhost", number + 1);
        }
        // One after the other, the first would wait minutes for its peers.
        let nodes = names.map(|name| {
            let settings = Settings::new(&folder.path().join(name), &home, port);
            settings.write(name, &peers);
            let process = settings.launch(name);
            Node { name: name.into(), settings, process, _epmd: None, _folder: None }
        });
        for node in &nodes {
            node.until_up().await;
        }
        nodes[0].ctl(&["await_online_nodes", "3"]).await;
        Self { nodes: nodes.into(), _epmd: epmd, _folder: folder }
    }

    /// The URL that names all three.
    pub fn url(&self, vhost: &str) -> String {
        let hosts: Vec<_> = self.nodes.iter().map(|node| node.address().to_string()).collect();
        format!("amqp://guest:guest@{}/{vhost}", hosts.join(","))
    }

    /// Imports `definitions.json`. Only now, with the cluster formed, does each queue get three members.
    ///
    /// # Panics
    ///
    /// When the node refuses them.
    pub async fn import(&self, definitions: &str) {
        let file = self.nodes[0].settings.folder.join("definitions.json");
        fs::write(&file, definitions).expect("the definitions' file");
        self.nodes[0].ctl(&["import_definitions", &file.to_string_lossy()]).await;
    }
}

impl Settings {
    fn new(folder: &Path, home: &Path, epmd: u16) -> Self {
        fs::create_dir_all(folder).expect("the node's folder");
        let settings = Self {
            installation: Arc::new(Installation::find()),
            folder: folder.to_owned(),
            home: home.to_owned(),
            amqp: free_port(),
            distribution: free_port(),
            epmd,
        };
        fs::write(folder.join("enabled_plugins"), "[].\n").expect("the list of plugins");
        fs::write(folder.join("advanced.config"), ADVANCED).expect("the advanced configuration");
        settings
    }

    fn write(&self, name: &str, more: &str) {
        let text = format!(
            "listeners.tcp.1 = 127.0.0.1:{}\nlog.console = false\ndisk_free_limit.absolute = 200MB\n{more}",
            self.amqp
        );
        fs::write(self.folder.join("rabbitmq.conf"), text)
            .unwrap_or_else(|error| panic!("{name}'s configuration: {error}"));
    }

    fn environment(&self, name: &str) -> Vec<(&'static str, String)> {
        let in_folder = |file: &str| self.folder.join(file).to_string_lossy().into_owned();
        vec![
            ("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin".into()),
            ("HOME", self.home.to_string_lossy().into_owned()),
            ("LANG", "C.UTF-8".into()),
            ("ERL_EPMD_PORT", self.epmd.to_string()),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".into()),
            ("RABBITMQ_CONF_ENV_FILE", "/dev/null".into()),
            ("RABBITMQ_NODENAME", format!("{name}@localhost")),
            ("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1".into()),
            ("RABBITMQ_NODE_PORT", self.amqp.to_string()),
            ("RABBITMQ_DIST_PORT", self.distribution.to_string()),
            ("RABBITMQ_MNESIA_BASE", in_folder("data")),
            ("RABBITMQ_LOG_BASE", in_folder("log")),
            ("RABBITMQ_CONFIG_FILE", in_folder("rabbitmq.conf")),
            ("RABBITMQ_ADVANCED_CONFIG_FILE", in_folder("advanced.config")),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", in_folder("enabled_plugins")),
            ("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", ERLANG.into()),
            // Makes the script become the Erlang machine instead of waiting for it.
            ("RUNNING_UNDER_SYSTEMD", "true".into()),
        ]
    }

    fn launch(&self, name: &str) -> Process {
        let mut launch = with_parent(name, &self.installation.command("rabbitmq-server"), &self.folder);
        for (key, value) in self.environment(name) {
            launch = launch.env(key, value);
        }
        launch.start()
    }
}

impl Installation {
    fn find() -> Self {
        #[expect(clippy::disallowed_methods, reason = "a setting of the tests, not of the program")]
        let root = std::env::var_os(ROOT).map(PathBuf::from);
        let folder = root.as_deref().unwrap_or(Path::new("/")).join(SCRIPTS);
        let versions = fs::read_dir(folder).unwrap_or_else(|_| panic!("{REMEDY}"));
        let names = versions.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let name = names.filter(|name| name.starts_with(PACKAGE)).max().expect(REMEDY);
        let scripts = Path::new("/").join(SCRIPTS).join(&name).join("sbin");
        Self { root, scripts, version: name[PACKAGE.len()..].to_owned() }
    }

    fn is_from(&self, major: u32, minor: u32) -> bool {
        let mut parts = self.version.split('.').map_while(|part| part.parse().ok());
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= (major, minor)
    }

    /// The command line that becomes one of its scripts.
    fn command(&self, script: &str) -> Vec<String> {
        let script = self.scripts.join(script).to_string_lossy().into_owned();
        let Some(root) = &self.root else { return vec![script] };
        let (root, shared) = (root.to_string_lossy(), std::env::temp_dir());
        let enter =
            ["unshare", "--mount", "--", "sh", "-c", ENTER, &root, &shared.to_string_lossy(), &script];
        enter.map(str::to_owned).into()
    }
}

/// A program that ends with the test even when the test itself is killed.
fn with_parent(name: &str, command: &[String], folder: &Path) -> Launch {
    Launch::new(name, "setpriv", folder).args(["--pdeathsig", "KILL", "--"]).args(command)
}

fn start_epmd(folder: &Path) -> (Process, u16) {
    let port = free_port();
    let command = ["epmd", "-port", &port.to_string(), "-address", "127.0.0.1"].map(str::to_owned);
    (with_parent("epmd", &command, folder).start(), port)
}

fn home(folder: &Path) -> PathBuf {
    let home = folder.join("home");
    fs::create_dir_all(&home).expect("a home for Erlang");
    let cookie = home.join(".erlang.cookie");
    let mut options = fs::File::options();
    options.write(true).create(true).truncate(true).mode(0o400);
    let mut file = options.open(cookie).expect("a cookie");
    std::io::Write::write_all(&mut file, b"BELLBUOYTESTS").expect("a cookie");
    home
}
