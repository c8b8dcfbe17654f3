//! A process that uses the broker is killed with `kill -9` again and again, at seeded moments, and
//! what it was told is compared with what is there.

mod child;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use bellbuoy_broker::{Broker, QueueName};
use tokio::time::timeout;

/// How often the process is killed.
const KILLS: u64 = 30;

/// Long enough for a loaded machine; nothing waits for it unless it fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the killed processes said, over all their lives.
#[derive(Debug, Default)]
struct Told {
    /// Numbers that they were about to publish.
    intended: BTreeSet<u64>,
    /// Numbers whose publishing was acknowledged.
    published: BTreeSet<u64>,
    /// Numbers whose settling was acknowledged.
    settled: BTreeSet<u64>,
    /// Broken promises that they noticed themselves.
    broken: Vec<String>,
    /// What each life said of the message that it held all the time: how often it was returned.
    held: Vec<Option<u64>>,
    claims: usize,
}

impl Told {
    fn take(&mut self, line: &str) {
        let Some((word, rest)) = line.split_once(' ') else { return };
        let mut numbers = rest.split(' ').map_while(|number| number.parse().ok());
        match word {
            child::INTENDED => self.intended.extend(numbers),
            child::PUBLISHED => self.published.extend(numbers),
            child::SETTLED => self.settled.extend(numbers),
            child::BROKEN => self.broken.push(rest.to_owned()),
            child::HELD => *self.held.last_mut().expect("a life") = numbers.next(),
            child::CLAIMED => {
                self.claims += 1;
                let again: Vec<u64> = numbers.filter(|number| self.settled.contains(number)).collect();
                assert!(again.is_empty(), "{again:?} were settled and are claimed again");
            }
            _ => {}
        }
    }
}

/// One life of the process.
struct Life {
    process: Child,
    lines: Receiver<String>,
    reader: JoinHandle<()>,
}

impl Life {
    fn start(directory: &Path, number: u64) -> Self {
        let mut process = Command::new(std::env::current_exe().expect("this test"))
            .args(["--ignored", "--exact", "--nocapture", "the_killed_process"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let mut stdin = process.stdin.take().expect("its input");
        writeln!(stdin, "{number} {}", directory.display()).expect("told");
        let stdout = BufReader::new(process.stdout.take().expect("its output"));
        let (sender, lines) = sync_channel(1 << 16);
        let reader = std::thread::spawn(move || {
            stdout
                .lines()
                .map_while(Result::ok)
                .take_while(|line| sender.send(line.clone()).is_ok())
                .for_each(drop);
        });
        Self { process, lines, reader }
    }

    /// Listens until so many lines have come or so much time has passed, and kills it.
    fn kill_after(mut self, count: u64, time: Duration, told: &mut Told) {
        let end = Instant::now() + time;
        for _ in 0..count {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => told.take(&line),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => panic!("the process ended by itself"),
            }
        }
        self.process.kill().expect("killed");
        self.process.wait().expect("dead");
        // What it said before it died. A line that was cut off says nothing.
        self.lines.iter().for_each(|line| told.take(&line));
        self.reader.join().expect("no panic");
    }
}

/// A well-known generator of few lines (`SplitMix64`), so that a run can be repeated.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// What is there once nobody is killed any more: the numbers in each queue, each once.
async fn drain(broker: &Broker, name: &str) -> BTreeSet<u64> {
    let queue = QueueName::new(name);
    let stands = broker.depths().into_iter().find(|depth| depth.queue == queue);
    let expected = stands.map_or(0, |depth| depth.ready + depth.delayed);
    let mut consumer = broker.consume(&queue, 100.try_into().expect("not zero"));
    let mut numbers = BTreeSet::new();
    while (numbers.len() as u64) < expected {
        let next = timeout(PATIENCE, consumer.next()).await.expect("as many as the totals say");
        let mut claims = vec![next.expect("an open broker")];
        claims.extend(std::iter::from_fn(|| consumer.try_next()));
        for claim in &claims {
            assert!(numbers.insert(child::number(claim)), "{} stands in {name} twice", child::number(claim));
        }
        broker.settle(claims, Vec::new()).await.expect("settled");
    }
    let depth = broker.depths().into_iter().find(|depth| depth.queue == queue).expect("the queue");
    assert_eq!((depth.ready, depth.delayed, depth.claimed), (0, 0, 0));
    assert!(timeout(Duration::from_millis(1200), consumer.next()).await.is_err(), "more than the totals say");
    numbers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_thirty_kills() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut told = Told::default();
    let mut seed = 20_260_730;
    for life in 1..=KILLS {
        told.held.push(None);
        // A third die young, by the clock: while they open their files, or soon after.
        let (lines, time) = if life % 3 == 0 {
            (u64::MAX, Duration::from_micros(random(&mut seed) % 60_000))
        } else {
            (random(&mut seed) % 3000, PATIENCE)
        };
        Life::start(directory.path(), life).kill_after(lines, time, &mut told);
        assert!(told.broken.is_empty(), "life {life}: {:?}", told.broken);
    }
    check_what_was_held(&told.held);
    let broker = Broker::open_embedded(directory.path(), &child::OPTIONS).expect("a broker");
    let (waiting, made) = (drain(&broker, child::WORK).await, drain(&broker, child::MADE).await);
    broker.close().await;
    let lost: Vec<_> = told.published.iter().filter(|n| !waiting.contains(n) && !made.contains(n)).collect();
    assert!(lost.is_empty(), "published and gone: {lost:?}");
    let back: Vec<_> = told.settled.intersection(&waiting).collect();
    assert!(back.is_empty(), "settled and there again: {back:?}");
    let without: Vec<_> = told.settled.difference(&made).collect();
    assert!(without.is_empty(), "settled without their outputs: {without:?}");
    let half: Vec<_> = made.intersection(&waiting).collect();
    assert!(half.is_empty(), "outputs of what was not settled: {half:?}");
    assert!(waiting.iter().chain(&made).all(|number| told.intended.contains(number)));
    // The run was worth something.
    assert!(told.settled.len() > 500 && told.claims > told.settled.len(), "{:?}", counts(&told));
    assert_eq!(integrity(directory.path()), "ok");
}

fn counts(told: &Told) -> BTreeMap<&'static str, usize> {
    BTreeMap::from([
        ("intended", told.intended.len()),
        ("published", told.published.len()),
        ("settled", told.settled.len()),
        ("claims", told.claims),
    ])
}

/// A life that said that it holds the message adds one to its count, exactly. One that died before
/// it could say so may or may not; or it may have died between counting and forgetting that the
/// one before it held the message.
fn check_what_was_held(held: &[Option<u64>]) {
    let mut last: Option<(usize, u64)> = None;
    for (life, returns) in held.iter().enumerate() {
        let Some(returns) = *returns else { continue };
        if let Some((earlier, before)) = last {
            let silent = (life - earlier - 1) as u64;
            let range = before + 1..=before + 1 + silent;
            assert!(range.contains(&returns), "held with {before}, then with {returns} returns: {held:?}");
        }
        last = Some((life, returns));
    }
    assert!(last.is_some_and(|(_, returns)| returns > KILLS / 2), "{held:?}");
}

fn integrity(directory: &Path) -> String {
    rusqlite::Connection::open(directory.join("broker.db"))
        .and_then(|file| file.query_row("PRAGMA integrity_check", [], |row| row.get(0)))
        .expect("a database")
}

#[test]
#[ignore = "not a test: the process that the one above starts and kills"]
fn the_killed_process() {
    child::live();
}
