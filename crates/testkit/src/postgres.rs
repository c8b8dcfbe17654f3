//! A real PostgreSQL of the test's own: Debian's server on a port and a folder that nobody else has.
//!
//! It syncs as it does in production, so what it has acknowledged outlives [`Postgres::kill_9`]. A new one takes about
//! half a second, a new database in it a tenth of that.

use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::process::{Launch, Process, free_port};
use crate::wait::eventually;

/// How long making, starting or stopping may take. Each takes a fraction of a second; the rest is for a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// Where Debian keeps its servers, one folder per version: the programs on the search path are wrappers.
const VERSIONS: &str = "/usr/lib/postgresql";

/// The superuser, who needs no password: only this machine is let in.
const SUPERUSER: &str = "bellbuoy";

/// The user that Debian's package makes. The server refuses to run as root.
const SYSTEM_USER: &str = "postgres";

/// Others than the superuser log in as they would over a network.
const ACCESS: &str = "host all bellbuoy 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n";

/// A running server. It and its data live no longer than this value.
#[derive(Debug)]
pub struct Postgres {
    folder: TempDir,
    port: u16,
    settings: Vec<String>,
    process: Process,
    databases: AtomicU32,
}

impl Postgres {
    /// Makes and starts a server, and waits until it takes connections.
    ///
    /// # Panics
    ///
    /// When PostgreSQL is not installed or does not come up.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Like [`Postgres::start`], with settings (`max_connections=5`) beside the usual ones.
    ///
    /// # Panics
    ///
    /// When PostgreSQL is not installed or does not come up.
    pub async fn start_with(settings: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("bellbuoy-postgres-").tempdir().expect("a folder");
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("a folder to enter");
        hand_over(folder.path());
        let data = folder.path().join("data");
        let made = program(folder.path(), "initdb")
            .args(["--no-sync", "--no-instructions", "--locale=C", "--encoding=UTF8", "--auth=trust"])
            .args([format!("--username={SUPERUSER}"), format!("--pgdata={}", data.display())])
            .start();
        let ended = made.wait_exit(LIMIT).await;
        assert!(ended.success(), "initdb failed:\n{}", made.lines().join("\n"));
        fs::write(data.join("pg_hba.conf"), ACCESS).expect("the server's access rules");
        let port = free_port();
        let settings = settings.iter().map(|&setting| setting.to_owned()).collect::<Vec<_>>();
        let process = launch(folder.path(), port, &settings).await;
        Self { folder, port, settings, process, databases: AtomicU32::new(0) }
    }

    /// The URL of a database of that name, whether or not there is one; the superuser's own is `postgres`.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{SUPERUSER}@{}/{database}", self.address())
    }

    /// Makes a new, empty database and gives back its URL.
    ///
    /// # Panics
    ///
    /// When the server is not there.
    pub async fn database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name} TEMPLATE template0")).await;
        self.url(&name)
    }

    /// Runs statements as the superuser, in one transaction, and gives back the rows' values in plain text: columns
    /// between bars, rows between line breaks.
    ///
    /// # Panics
    ///
    /// When one fails; the text shows what the server said.
    pub async fn sql(&self, database: &str, statements: &str) -> String {
        let launch = program(self.folder.path(), "psql")
            .args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1"])
            .args(["--dbname", &self.url(database), "--command", statements]);
        let psql = launch.start();
        let ended = psql.wait_exit(LIMIT).await;
        let said = psql.lines().join("\n");
        assert!(ended.success(), "psql failed at `{statements}`:\n{said}");
        said
    }

    /// All that a database holds, as `pg_dump` writes it.
    ///
    /// # Panics
    ///
    /// When it can't be dumped; the text shows why.
    pub async fn dump(&self, database: &str) -> String {
        let dump = program(self.folder.path(), "pg_dump").args(["--dbname", &self.url(database)]).start();
        let ended = dump.wait_exit(LIMIT).await;
        let said = dump.lines().join("\n");
        assert!(ended.success(), "pg_dump failed:\n{said}");
        said
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Writes a file that the server can read and nobody else, and gives back its path.
    ///
    /// # Panics
    ///
    /// When it can't be written.
    pub fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, content).expect("a file of the server's");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("a private file");
        hand_over(&path);
        path
    }

    /// The server's first process: its lines, its end. To kill it like a power cut, use [`Postgres::kill_9`].
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Stops it as a service manager would (`SIGINT` means the same to the server as `pg_ctl stop`): open connections
    /// are ended, what they had not committed is undone.
    ///
    /// # Panics
    ///
    /// When it does not end within 30 s.
    pub async fn stop(&self) {
        signal(self.process.id(), Signal::INT);
        self.process.wait_exit(LIMIT).await;
    }

    /// Stops every process of the server in its tracks (`SIGSTOP`): connections stay open and nothing answers, as
    /// when a machine is paused or its network eats packets. Until [`Postgres::thaw`].
    pub fn freeze(&self) {
        self.signal_all(Signal::STOP);
    }

    /// Lets a frozen server go on (`SIGCONT`).
    pub fn thaw(&self) {
        self.signal_all(Signal::CONT);
    }

    fn signal_all(&self, what: Signal) {
        for process in self.processes() {
            signal(process, what);
        }
    }

    /// Ends every process of the server as a power cut would (`SIGKILL`), and returns when they are gone.
    ///
    /// # Panics
    ///
    /// When they are not within 30 s.
    pub fn kill_9(&self) {
        // Stopped first, it cannot see the others end and tidy up.
        signal(self.process.id(), Signal::STOP);
        self.signal_all(Signal::KILL);
        self.process.kill_9();
        let began = Instant::now();
        // Until the last is gone the data is in use, and the next server refuses it.
        while !self.processes().is_empty() {
            assert!(
                began.elapsed() < LIMIT,
                "processes of the server outlived a kill: {:?}",
                self.processes()
            );
            self.signal_all(Signal::KILL);
            thread::yield_now();
        }
    }

    /// Every process of the server that has not ended, first or not: they all work in the folder of its data.
    fn processes(&self) -> Vec<u32> {
        let data = fs::canonicalize(self.folder.path().join("data")).expect("the server's data");
        let works_there =
            |process: &u32| fs::read_link(format!("/proc/{process}/cwd")).is_ok_and(|folder| folder == data);
        let all = fs::read_dir("/proc").into_iter().flatten();
        all.filter_map(|entry| number(&entry.ok()?.path())).filter(works_there).collect()
    }

    /// Starts it once more after [`Postgres::stop`] or [`Postgres::kill_9`]: same port, same data.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    pub async fn start_again(&mut self) {
        self.kill_9();
        self.process = launch(self.folder.path(), self.port, &self.settings).await;
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill_9();
    }
}

async fn launch(folder: &Path, port: u16, settings: &[String]) -> Process {
    let fixed = [
        format!("port={port}"),
        "listen_addresses=127.0.0.1".into(),
        "unix_socket_directories=".into(),
        // Each connects from a pool; the default is 100.
        "max_connections=100".into(),
    ];
    let settings = fixed.iter().chain(settings).flat_map(|setting| ["-c".to_owned(), setting.clone()]);
    let process = program(folder, "postgres").args(["-D", "data"]).args(settings).start();
    // It says so once it has recovered, but takes connections a moment before and after.
    process.wait_for_line("database system is ready to accept connections", LIMIT).await;
    let probe = async || {
        let asked = program(folder, "pg_isready")
            .args(["--quiet", "--host=127.0.0.1", &format!("--port={port}")])
            .start();
        asked.wait_exit(LIMIT).await.success().then_some(())
    };
    eventually(LIMIT, probe).await;
    process
}

/// A program of the newest PostgreSQL there is, as a user whom the server accepts. Its process is the program itself:
/// `setpriv` becomes what it starts.
fn program(folder: &Path, name: &str) -> Launch {
    let path = programs(Path::new(VERSIONS)).join(name);
    let launch = if is_root() {
        let user = [format!("--reuid={SYSTEM_USER}"), format!("--regid={SYSTEM_USER}")];
        Launch::new(name, "setpriv", folder).args(user).args(["--clear-groups", "--"]).args([path])
    } else {
        Launch::new(name, path, folder)
    };
    launch.env("LC_ALL", "C")
}

fn programs(versions: &Path) -> PathBuf {
    let newest = fs::read_dir(versions)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter_map(|path| Some((number(&path)?, path.join("bin"))))
        .filter(|(_, programs)| programs.join("postgres").is_file())
        .max();
    let Some((_, programs)) = newest else {
        panic!("PostgreSQL is not installed: run `cargo xtask tools`, or `apt-get install postgresql`")
    };
    programs
}

/// The number that a folder is named by.
fn number(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.parse().ok()
}

/// Makes a file the server's, where that is another user than this one.
fn hand_over(path: &Path) {
    if is_root() {
        let users = fs::read_to_string("/etc/passwd").expect("the list of users");
        let Some((user, group)) = system_user(&users) else {
            panic!("there is no user {SYSTEM_USER}: run `cargo xtask tools`, or `apt-get install postgresql`")
        };
        chown(path, Some(user), Some(group)).expect("the server's own");
    }
}

/// The ids of the server's user and group in passwd(5).
fn system_user(users: &str) -> Option<(u32, u32)> {
    let line = users.lines().find_map(|line| line.strip_prefix(SYSTEM_USER)?.strip_prefix(':'))?;
    let mut fields = line.split(':').skip(1);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|this| this.uid() == 0)
}

fn signal(process: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(process).ok().and_then(Pid::from_raw) {
        let _gone_already = kill_process(pid, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_committed_outlives_a_kill_and_a_stop_on_the_same_port() {
        let mut postgres = Postgres::start().await;
        let url = postgres.database().await;
        let database = url.rsplit('/').next().expect("a name").to_owned();
        postgres.sql(&database, "CREATE TABLE kept (number INT); INSERT INTO kept VALUES (1)").await;
        let address = postgres.address();
        postgres.kill_9();
        assert!(!postgres.process().is_running());
        postgres.start_again().await;
        postgres.sql(&database, "INSERT INTO kept VALUES (2)").await;
        postgres.stop().await;
        postgres.start_again().await;
        assert_eq!(postgres.sql(&database, "SELECT number FROM kept ORDER BY 1").await, "1\n2");
        assert_eq!((postgres.address(), postgres.sql(&database, "SHOW fsync").await), (address, "on".into()));
    }

    #[tokio::test]
    async fn a_kill_leaves_no_process_behind() {
        let postgres = Postgres::start().await;
        let all = postgres.processes();
        assert!(all.contains(&postgres.process().id()), "{all:?}");
        assert!(all.len() >= 4, "a writer, a checkpointer and so on: {all:?}");
        postgres.kill_9();
        assert_eq!(postgres.processes(), [0; 0]);
    }

    #[tokio::test]
    async fn a_frozen_server_answers_once_it_is_thawed() {
        let postgres = Postgres::start().await;
        postgres.freeze();
        let asked = postgres.sql("postgres", "SELECT 1");
        tokio::pin!(asked);
        tokio::select! {
            answer = &mut asked => panic!("it said {answer}"),
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
        }
        postgres.thaw();
        assert_eq!(asked.await, "1");
    }

    #[tokio::test]
    async fn a_database_is_new_and_its_settings_are_those_given() {
        let postgres = Postgres::start_with(&["max_connections=7"]).await;
        let (one, two) = (postgres.database().await, postgres.database().await);
        assert_ne!(one, two);
        assert_eq!(postgres.sql("test_1", "SHOW max_connections").await, "7");
        assert_eq!(postgres.sql("test_1", "SELECT 1, NULL, 'a'").await, "1||a");
    }

    #[test]
    #[should_panic(expected = "run `cargo xtask tools`, or `apt-get install postgresql`")]
    fn a_missing_package_names_the_remedy() {
        programs(Path::new("/nowhere"));
    }

    #[test]
    fn the_newest_version_is_taken_by_number() {
        let versions = tempfile::tempdir().expect("a folder");
        for version in ["9", "15", "notes"] {
            let programs = versions.path().join(version).join("bin");
            fs::create_dir_all(&programs)
                .and_then(|()| fs::write(programs.join("postgres"), ""))
                .expect("made");
        }
        fs::create_dir_all(versions.path().join("16")).expect("made");
        assert_eq!(programs(versions.path()), versions.path().join("15/bin"));
    }

    #[test]
    fn the_user_is_found_by_its_whole_name() {
        let users = "root:x:0:0::/root:/bin/sh\npostgres2:x:7:8:::\npostgres:x:101:104::/var:/bin/sh\n";
        assert_eq!(system_user(users), Some((101, 104)));
        assert_eq!(system_user("root:x:0:0::/root:/bin/sh"), None);
    }
}
