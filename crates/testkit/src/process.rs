//! Real programs under test: started, watched, killed.
//!
//! A [`Process`] never outlives the value that stands for it: dropping one kills it. What it writes
//! is kept line by line, so that a wait can end at a line and a failure can show the last ones.

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::ffi::OsStr;
use std::fs::File;
use std::hash::BuildHasher;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::http::Http;
use crate::wait::within;

/// How many lines a failure shows.
const SHOWN: usize = 50;

/// How many lines are kept in memory; the file has all of them.
const KEPT: usize = 20_000;

/// Where [`free_port`] looks: below the ports that Linux gives by itself, to outgoing connections and to whoever asks for
/// port 0 (from 32768 on, `ip(7)`), so that only another [`free_port`] could be faster.
const PORTS: std::ops::Range<u16> = 16_384..32_768;

/// A port on loopback that was free a moment ago, found at random.
///
/// Another program may take it before the one it is meant for. Where a program can say which port it
/// got, give it port 0 instead.
///
/// # Panics
///
/// When a thousand ports are taken.
pub fn free_port() -> u16 {
    let random = || {
        let drawn = RandomState::new().hash_one(()) % u64::from(PORTS.end - PORTS.start);
        PORTS.start + u16::try_from(drawn).expect("less than so many ports")
    };
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    std::iter::repeat_with(random).take(1000).find(is_free).expect("loopback has a free port")
}

/// What to start, and where its output goes.
#[derive(Debug)]
pub struct Launch {
    name: String,
    log: PathBuf,
    command: Command,
}

impl Launch {
    /// `program` without arguments, in an environment that holds nothing but the caller's `PATH`.
    ///
    /// `name` is what failures call it. Its output is appended to `NAME.log` in `folder`, which is
    /// also its working directory.
    pub fn new(name: &str, program: impl AsRef<OsStr>, folder: &Path) -> Self {
        let mut command = Command::new(program);
        command.env_clear().current_dir(folder);
        #[expect(clippy::disallowed_methods, reason = "the one thing of the environment that is handed on")]
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        Self { name: name.to_owned(), log: folder.join(format!("{name}.log")), command }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Starts it, with nothing on standard input.
    ///
    /// # Panics
    ///
    /// When the program or the log's folder is not there.
    pub fn start(mut self) -> Process {
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.unwrap_or_else(|error| panic!("{}: {error}", self.log.display()));
        let piped = self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap_or_else(|error| {
            panic!("{} ({}) did not start: {error}", self.name, self.command.get_program().display())
        });
        let output = Arc::new(Mutex::new(Output { lines: VecDeque::new(), log }));
        let stdout = child.stdout.take().map(|pipe| follow(pipe, &output));
        let stderr = child.stderr.take().map(|pipe| follow(pipe, &output));
        let readers = stdout.into_iter().chain(stderr).collect();
        Process { name: self.name, child: Mutex::new(child), output, readers }
    }
}

/// What a process wrote so far, both streams as they came.
#[derive(Debug)]
struct Output {
    lines: VecDeque<String>,
    log: File,
}

impl Output {
    fn add(&mut self, line: String) {
        // The log is for the person who looks at a failure; a full disk will show in the test itself.
        drop(writeln!(self.log, "{line}"));
        if self.lines.len() == KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }
}

fn follow(pipe: impl Read + Send + 'static, output: &Arc<Mutex<Output>>) -> JoinHandle<()> {
    let output = Arc::clone(output);
    thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            lock(&output).add(String::from_utf8_lossy(&line).trim_end().to_owned());
        }
    })
}

/// A test that failed while holding the lock left the lines whole; others still want to see them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a process has used since it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// The most memory it ever had resident, in bytes (`VmHWM`).
    pub peak_rss: u64,
    /// Time on a processor, user and system together, in steps of a clock tick (10 ms).
    pub cpu: Duration,
}

/// A running program. Dropping it kills it (`SIGKILL`).
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Mutex<Child>,
    output: Arc<Mutex<Output>>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    /// Its process id.
    pub fn id(&self) -> u32 {
        lock(&self.child).id()
    }

    /// Every line it wrote so far, to either stream, the last 20,000 of them.
    pub fn lines(&self) -> Vec<String> {
        lock(&self.output).lines.iter().cloned().collect()
    }

    /// Waits until it has written a line that contains `text`, and returns the first such line.
    ///
    /// # Panics
    ///
    /// When it ends or `limit` passes first; the text shows its last 50 lines. So do the other waits.
    pub async fn wait_for_line(&self, text: &str, limit: Duration) -> String {
        let seen = async || lock(&self.output).lines.iter().find(|line| line.contains(text)).cloned();
        self.wait(&format!("a line with `{text}`"), limit, seen).await
    }

    /// Waits until `address` accepts a TCP connection.
    ///
    /// # Panics
    ///
    /// When it ends or `limit` passes first.
    pub async fn wait_for_port(&self, address: SocketAddr, limit: Duration) {
        #[expect(clippy::disallowed_methods, reason = "asks its own child on loopback")]
        let open = async || tokio::net::TcpStream::connect(address).await.ok();
        self.wait(&format!("{address} to open"), limit, open).await;
    }

    /// Waits until a `GET` of `url` is answered with 200.
    ///
    /// # Panics
    ///
    /// When it ends or `limit` passes first.
    pub async fn wait_for_ok(&self, url: &str, limit: Duration) {
        let http = Http::new();
        let fine = async || http.get(url).await.ok().filter(|answer| answer.status == 200);
        self.wait(&format!("{url} to answer 200"), limit, fine).await;
    }

    /// Waits until it has ended by itself or by [`Process::terminate`], and says how.
    ///
    /// # Panics
    ///
    /// When `limit` passes first.
    pub async fn wait_exit(&self, limit: Duration) -> ExitStatus {
        let Some(status) = within(limit, async || self.try_exit()).await else {
            self.fail(&format!("did not end within {limit:?}"))
        };
        self.read_the_rest().await;
        status
    }

    /// Asks it to stop (`SIGTERM`); nothing happens when it has ended already.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Stops the clock for it (`SIGSTOP`): it keeps its connections and answers nothing. Returns when each of its threads
    /// stands still; at once where there is no `/proc`.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
        while self.is_running() && self.moves() {
            thread::yield_now();
        }
    }

    /// Whether a thread of it is not stopped, by the third field of `/proc/PID/task/TID/stat`, proc(5).
    fn moves(&self) -> bool {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.id())).into_iter().flatten().flatten();
        let stats = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("stat")).ok());
        let is_stopped = |stat: &String| {
            let letter = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
            matches!(letter, None | Some('T' | 't' | 'Z' | 'X'))
        };
        !stats.into_iter().all(|stat| is_stopped(&stat))
    }

    /// Lets it go on after [`Process::pause`].
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let mut child = lock(&self.child);
        // Once it has been waited for, its number can belong to another process.
        let running = matches!(child.try_wait(), Ok(None));
        if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw).filter(|_| running) {
            let _gone_meanwhile = rustix::process::kill_process(pid, signal);
        }
    }

    /// Ends it as a power cut would (`SIGKILL`), and returns when it is gone.
    pub fn kill_9(&self) {
        let mut child = lock(&self.child);
        // Both fail only for a process that is gone, which is what is wanted.
        drop(child.kill());
        drop(child.wait());
    }

    /// Whether it has not ended yet.
    pub fn is_running(&self) -> bool {
        self.try_exit().is_none()
    }

    /// What it has used so far; `None` when it has ended, or where there is no `/proc`.
    pub fn usage(&self) -> Option<Usage> {
        let folder = PathBuf::from(format!("/proc/{}", self.id()));
        let status = std::fs::read_to_string(folder.join("status")).ok()?;
        let stat = std::fs::read_to_string(folder.join("stat")).ok()?;
        let ticks = cpu_ticks(&stat)?;
        let per_second = rustix::param::clock_ticks_per_second();
        let cpu = Duration::from_millis(ticks * 1000 / per_second);
        Some(Usage { peak_rss: peak_kib(&status)? * 1024, cpu })
    }

    /// The established TCP connections that it has to a port of 127.0.0.1, by their inodes; none where there is no
    /// `/proc`.
    pub fn connections_to(&self, port: u16) -> Vec<u64> {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.id())).into_iter().flatten().flatten();
        let open: Vec<_> = files.filter_map(|file| std::fs::read_link(file.path()).ok()).collect();
        let is_ours =
            |inode: &u64| open.iter().any(|file| file.as_os_str() == format!("socket:[{inode}]").as_str());
        table.lines().filter_map(|line| established_to(line, port)).filter(is_ours).collect()
    }

    fn try_exit(&self) -> Option<ExitStatus> {
        lock(&self.child).try_wait().expect("a child of this process can be waited for")
    }

    /// After its end, its last words may still be in the pipe; and a grandchild can hold that open for ever.
    async fn read_the_rest(&self) {
        within(Duration::from_secs(1), async || {
            self.readers.iter().all(JoinHandle::is_finished).then_some(())
        })
        .await;
    }

    async fn wait<T>(&self, what: &str, limit: Duration, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
        let found = within(limit, async || {
            let ended = self.try_exit();
            if ended.is_some() {
                self.read_the_rest().await;
            }
            // Asked last, for what the process did last still counts.
            match (probe().await, ended) {
                (Some(found), _) => Some(found),
                (None, Some(status)) => self.fail(&format!("ended ({status}) while {what} was waited for")),
                (None, None) => None,
            }
        });
        found.await.unwrap_or_else(|| self.fail(&format!("gave no {what} within {limit:?}")))
    }

    fn fail(&self, what: &str) -> ! {
        let lines = self.lines();
        let last = &lines[lines.len().saturating_sub(SHOWN)..];
        panic!("{} {what}; its last lines:\n{}", self.name, last.join("\n"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_9();
    }
}

/// `utime` and `stime` of `/proc/PID/stat`, fields 14 and 15 of proc(5). The second field is the program's
/// name in brackets and can hold anything, so the count begins after the last bracket.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// The inode of a connection that is established to `port` of 127.0.0.1, of a line of `/proc/net/tcp`, proc(5).
fn established_to(line: &str, port: u16) -> Option<u64> {
    const ESTABLISHED: &str = "01";
    let fields: Vec<_> = line.split_whitespace().collect();
    let is_it = *fields.get(2)? == format!("0100007F:{port:04X}") && *fields.get(3)? == ESTABLISHED;
    fields.get(9)?.parse().ok().filter(|_| is_it)
}

/// `VmHWM` of `/proc/PID/status`, in KiB.
fn peak_kib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn shell(folder: &tempfile::TempDir, script: &str) -> Process {
        Launch::new("shell", "sh", folder.path()).args(["-c", script]).start()
    }

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary folder")
    }

    #[tokio::test]
    async fn a_line_of_either_stream_ends_the_wait_and_stands_in_the_log() {
        let folder = folder();
        let process = shell(&folder, "echo one; echo two words >&2; exec sleep 60");
        assert_eq!(process.wait_for_line("two", SOON).await, "two words");
        assert_eq!(process.wait_for_line("one", SOON).await, "one");
        let log = std::fs::read_to_string(folder.path().join("shell.log")).expect("a log");
        assert!(log.contains("one\n") && log.contains("two words\n"), "{log}");
    }

    #[tokio::test]
    #[should_panic(
        expected = "shell ended (exit status: 3) while a line with `ready` was waited for; its last lines:\nno disk"
    )]
    async fn a_process_that_ends_instead_fails_the_wait_with_its_last_lines() {
        shell(&folder(), "echo no disk; exit 3").wait_for_line("ready", SOON).await;
    }

    #[tokio::test]
    async fn only_the_path_and_what_is_given_is_in_the_environment() {
        let folder = folder();
        let process = Launch::new("env", "env", folder.path()).env("GIVEN", "yes").start();
        assert!(process.wait_exit(SOON).await.success());
        let mut names: Vec<_> =
            process.lines().iter().filter_map(|l| Some(l.split_once('=')?.0.to_owned())).collect();
        names.sort();
        assert_eq!(names, ["GIVEN", "PATH"]);
    }

    #[tokio::test]
    async fn a_term_signal_can_be_answered_and_a_kill_cannot() {
        let folder = folder();
        let polite = "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.05; done";
        let process = shell(&folder, polite);
        process.wait_for_line("up", SOON).await;
        process.terminate();
        assert_eq!(process.wait_exit(SOON).await.code(), Some(7));
        assert_eq!(process.lines().last().map(String::as_str), Some("bye"));

        let process = shell(&folder, polite);
        process.wait_for_line("up", SOON).await;
        process.kill_9();
        assert!(!process.is_running());
        assert_eq!(process.wait_exit(SOON).await.signal(), Some(9));
    }

    #[tokio::test]
    async fn a_dropped_process_is_gone() {
        let process = shell(&folder(), "exec sleep 60");
        let entry = PathBuf::from(format!("/proc/{}", process.id()));
        assert!(entry.exists());
        drop(process);
        assert!(!entry.exists());
    }

    #[tokio::test]
    async fn memory_and_processor_time_are_those_of_the_process() {
        let folder = folder();
        let process =
            shell(&folder, "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo done; exec sleep 60");
        process.wait_for_line("done", SOON).await;
        let usage = process.usage().expect("this system has /proc");
        assert!(usage.cpu > Duration::ZERO && usage.cpu < SOON, "{usage:?}");
        assert!((64 << 10..1 << 30).contains(&usage.peak_rss), "{usage:?}");
        process.kill_9();
        assert_eq!(process.usage(), None);
    }

    #[test]
    fn a_connection_is_known_by_its_peer_and_its_state() {
        let line = |state| {
            format!(
                "   3: 0100007F:D431 0100007F:1628 {state} 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 20 4 30 10 -1"
            )
        };
        assert_eq!(established_to(&line("01"), 5672), Some(4711));
        assert_eq!((established_to(&line("08"), 5672), established_to(&line("01"), 5673)), (None, None));
        assert_eq!(established_to("  sl  local_address rem_address   st", 5672), None);
    }

    #[test]
    fn usage_is_read_past_a_name_with_brackets_and_spaces() {
        let stat = "42 (a) b) S 1 42 42 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 1 0 100 1000 200";
        assert_eq!(cpu_ticks(stat), Some(300));
        assert_eq!(peak_kib("VmPeak:\t  9 kB\nVmHWM:\t    2048 kB\n"), Some(2048));
    }
}
