//! The process that is killed: it publishes numbered messages, works on them, and says what it was
//! told, a line at a time. What is in the pipe outlives it.

use std::{
    collections::HashSet,
    io::{self, Write},
    num::{NonZeroU32, NonZeroUsize},
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bellbuoy_broker::{Broker, BrokerError, Claim, Consumer, EmbeddedOptions, Outgoing, QueueName};
use tokio::task::JoinSet;

/// About to publish these numbers.
pub(crate) const INTENDED: &str = "intended";
/// Publishing these was acknowledged.
pub(crate) const PUBLISHED: &str = "published";
/// Claimed this one.
pub(crate) const CLAIMED: &str = "claimed";
/// Settling these, each with an output, was acknowledged.
pub(crate) const SETTLED: &str = "settled";
/// Holds the one message that is never settled, which was returned so often.
pub(crate) const HELD: &str = "held";
/// A promise was broken.
pub(crate) const BROKEN: &str = "broken";

/// Where the numbered messages stand.
pub(crate) const WORK: &str = "work";
/// Where the outputs of settling them stand.
pub(crate) const MADE: &str = "made";
const HOLD: &str = "hold";

/// Nothing is dead-lettered here, however often its process is killed, and nothing is put off.
pub(crate) const OPTIONS: EmbeddedOptions =
    EmbeddedOptions { delivery_limit: NonZeroU32::MAX, suspects_after: Duration::ZERO };

/// Numbers of one life.
const NUMBERS: u64 = 1_000_000;

/// The number that a message carries.
pub(crate) fn number(claim: &Claim) -> u64 {
    let (number, _) = parts(claim);
    number
}

// A body is the number, and when it may be claimed at the earliest.
fn parts(claim: &Claim) -> (u64, u64) {
    let body = std::str::from_utf8(claim.body()).expect("text");
    let (number, due_ms) = body.split_once(' ').expect("two numbers");
    (number.parse().expect("a number"), due_ms.parse().expect("a time"))
}

fn now_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
    u64::try_from(since_epoch.as_millis()).expect("a time")
}

// One write, so that a line is whole or missing.
fn say(word: &str, numbers: &[u64]) {
    let numbers: Vec<_> = numbers.iter().map(u64::to_string).collect();
    let line = format!("{word} {} .\n", numbers.join(" "));
    io::stdout().lock().write_all(line.as_bytes()).expect("somebody listens");
}

fn broken(what: &str, number: u64) {
    let line = format!("{BROKEN} {what}: {number}\n");
    io::stdout().lock().write_all(line.as_bytes()).expect("somebody listens");
}

/// Lives until it is killed. Its input says which of its lives this is, and where its files are.
pub(crate) fn live() {
    let mut input = String::new();
    io::stdin().read_line(&mut input).expect("an input");
    let Some((life, directory)) = input.trim_end().split_once(' ') else { return };
    let life: u64 = life.parse().expect("a number");
    io::stdout().lock().write_all(b"\n").expect("somebody listens");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(work(life, Path::new(directory)));
}

async fn work(life: u64, directory: &Path) {
    let broker = Broker::open_embedded(directory, &OPTIONS).expect("a broker");
    if life == 1 {
        broker.publish(vec![Outgoing::new(QueueName::new(HOLD), "held")]).await.expect("published");
    }
    let mut tasks = JoinSet::new();
    tasks.spawn(hold(broker.clone()));
    for lane in 0..4 {
        tasks.spawn(publish(broker.clone(), life * NUMBERS + lane, life));
    }
    let in_hand = Arc::new(Mutex::new(HashSet::new()));
    for _ in 0..3 {
        tasks.spawn(settle(broker.clone(), Arc::clone(&in_hand)));
    }
    // None of them ends, but for a failure; then the test is told by the end of this process.
    let ended = tasks.join_next().await.expect("tasks");
    ended.expect("no panic").expect("a broker that works");
}

async fn hold(broker: Broker) -> Result<(), BrokerError> {
    let mut consumer = broker.consume(&QueueName::new(HOLD), NonZeroUsize::MIN);
    let claim = consumer.next().await?;
    say(HELD, &[claim.returns().into()]);
    consumer.next().await.map(drop)
}

/// Publishes one to five at a time; some are delayed by up to 200 ms.
async fn publish(broker: Broker, first: u64, life: u64) -> Result<(), BrokerError> {
    let mut next = first;
    loop {
        let count = 1 + (next / 4 + life) % 5;
        let numbers: Vec<u64> = (0..count).map(|index| next + index * 4).collect();
        next += count * 4;
        say(INTENDED, &numbers);
        let messages = numbers.iter().map(|number| {
            let delay = Duration::from_millis(if number.is_multiple_of(7) { number % 200 } else { 0 });
            let due_ms = now_ms() + u64::try_from(delay.as_millis()).expect("short");
            Outgoing::new(QueueName::new(WORK), format!("{number} {due_ms}")).after(delay)
        });
        broker.publish(messages.collect()).await?;
        say(PUBLISHED, &numbers);
    }
}

/// Claims up to eight at a time, returns some of them, and settles the rest together: an output for each.
async fn settle(broker: Broker, in_hand: Arc<Mutex<HashSet<u64>>>) -> Result<(), BrokerError> {
    let mut consumer = broker.consume(&QueueName::new(WORK), 16.try_into().expect("not zero"));
    loop {
        let mut claims = vec![claim(&mut consumer, &in_hand).await?];
        while claims.len() < 8
            && let Some(claim) = consumer.try_next()
        {
            note(&claim, &in_hand);
            claims.push(claim);
        }
        let (kept, returned): (Vec<_>, Vec<_>) =
            claims.into_iter().partition(|claim| claim.returns() > 0 || !number(claim).is_multiple_of(11));
        let numbers: Vec<_> = kept.iter().map(number).collect();
        for number in returned.iter().map(number) {
            in_hand.lock().expect("no panic").remove(&number);
        }
        drop(returned);
        let outputs = kept.iter().map(|claim| Outgoing::new(QueueName::new(MADE), claim.body().clone()));
        let outputs = outputs.collect();
        broker.settle(kept, outputs).await?;
        say(SETTLED, &numbers);
    }
}

async fn claim(consumer: &mut Consumer, in_hand: &Mutex<HashSet<u64>>) -> Result<Claim, BrokerError> {
    let claim = consumer.next().await?;
    note(&claim, in_hand);
    Ok(claim)
}

fn note(claim: &Claim, in_hand: &Mutex<HashSet<u64>>) {
    let (number, due_ms) = parts(claim);
    say(CLAIMED, &[number]);
    if now_ms() < due_ms {
        broken("claimed before it was due", number);
    }
    if !in_hand.lock().expect("no panic").insert(number) {
        broken("in two hands", number);
    }
}
