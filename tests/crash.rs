//! `kill -9` and `SIGTERM` under load: nothing accepted goes missing, and what is repeated is what was cut off.
//!
//! Judged by sets: what producers were told is accepted, against what receivers answered 200 to and what
//! stands in the dead letters. A receiver fails a third of all requests, so most kills meet retries as well.

#![expect(clippy::print_stdout, reason = "what was measured, for whoever runs it with --no-capture")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bellbuoy_testkit::receiver::{Answer, Receiver, Recorded};
use bellbuoy_testkit::wait::{eventually, within};
use futures_util::{StreamExt, stream};
use serde_json::Value;
use support::{Client, Dice, Fleet, SOON, push};
use tokio::time::Instant;

const EVENTS: usize = 5_000;
const KILLS: usize = 50;
const PRODUCERS: usize = 16;

/// Most attempts in flight, and so the most that one kill can cut off.
const IN_FLIGHT: usize = 32;

/// One event in so many is for a receiver that never works, so that some end as dead letters.
const BROKEN_EVERY: usize = 50;

/// For everything to end once the load is over: the longest schedule takes some 7 s.
const PATIENCE: Duration = Duration::from_secs(90);

/// Fixes which requests fail and where the kills fall among the events; not what they meet there.
const SEED: u64 = 20_261_120;

const SETTINGS: &[(&str, &str)] = &[
    ("BELLBUOY_RETRY__STEPS", "50ms,100ms,200ms,400ms,800ms,1s,1s,1s,1s,1s"),
    ("BELLBUOY_LIMITS__IN_FLIGHT", "32"),
    // The broken receiver is not to be given up.
    ("BELLBUOY_LIMITS__FAILURES", "1000000"),
    ("BELLBUOY_LIMITS__CIRCUIT_FAILURES", "1000000"),
];

#[tokio::test(flavor = "multi_thread")]
async fn fifty_kills_under_load_lose_nothing_and_repeat_only_what_they_cut_off() {
    let mut storm = Storm::start().await;
    tokio::join!(storm.producers(EVENTS), async {
        let mut dice = Dice(SEED);
        let mut moments: Vec<usize> = (0..KILLS).map(|_| dice.below(EVENTS)).collect();
        moments.sort_unstable();
        for moment in moments {
            storm.load.until_accepted(moment).await;
            tokio::time::sleep(Duration::from_millis(dice.below(40) as u64)).await;
            storm.kill_and_launch();
            // Three of four come up before the next kill; the fourth may be hit while it does.
            if dice.below(4) > 0 {
                storm.until_up().await;
            }
        }
        storm.until_up().await;
    });
    let judged = storm.judge(EVENTS).await;
    println!("{KILLS} kills of at most {IN_FLIGHT} attempts in flight: {judged:?}");
    assert!(judged.attempted_again <= KILLS * IN_FLIGHT, "{judged:?}");
    assert!(judged.dead >= EVENTS / BROKEN_EVERY, "{judged:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_ends_in_order_and_in_time_and_repeats_nothing() {
    const EVENTS: usize = 1_500;
    let mut storm = Storm::start().await;
    tokio::join!(storm.producers(EVENTS), async {
        for moment in [300, 800] {
            storm.load.until_accepted(moment).await;
            let asked = Instant::now();
            storm.fleet.stop().await;
            // The drain limit, 20 s, is for receivers that hang. These don't.
            assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
            storm.fleet.start_again().await;
        }
    });
    let judged = storm.judge(EVENTS).await;
    println!("two stops: {judged:?}");
    assert_eq!((judged.delivered_again, judged.attempted_again), (0, 0), "{judged:?}");
}

#[tokio::test]
async fn a_stop_waits_for_a_hung_receiver_no_longer_than_the_drain_limit_and_the_attempt_is_made_again() {
    let mut fleet = Fleet::start(&[("BELLBUOY_LIMITS__DRAIN_SECONDS", "1")]).await;
    let receiver = Receiver::start().await.expect("a receiver");
    receiver.script("/hook", [Answer::Never, Answer::status(200)]);
    fleet.api.webhook("acme/works", "repo_push", &receiver.url("/hook")).await;
    fleet.api.publish(&push("one", "acme/works", "v1")).await;
    receiver.wait_for(1, |_| true).await.expect("an attempt");
    let asked = Instant::now();
    fleet.stop().await;
    let took = asked.elapsed();
    assert!((Duration::from_secs(1)..Duration::from_secs(5)).contains(&took), "{took:?}");

    fleet.start_again().await;
    let rows = fleet.api.until("", 1, &["delivered"]).await;
    assert_eq!(rows[0]["attempt_count"], 1, "the attempt that was cut off by us is not spent: {rows:?}");
    let requests = receiver.requests();
    let numbers: Vec<_> = requests.iter().map(|request| request.header("bellbuoy-attempt")).collect();
    assert_eq!(numbers, [Some("1"), Some("1")]);
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once_and_loses_nothing() {
    let mut fleet = Fleet::start(&[]).await;
    let receiver = Receiver::start().await.expect("a receiver");
    receiver.script("/hook", [Answer::Never, Answer::status(200)]);
    fleet.api.webhook("acme/works", "repo_push", &receiver.url("/hook")).await;
    fleet.api.publish(&push("one", "acme/works", "v1")).await;
    receiver.wait_for(1, |_| true).await.expect("an attempt");
    fleet.process.terminate();
    fleet.process.wait_for_line("stopping: no new events are taken", SOON).await;
    let asked = Instant::now();
    fleet.process.terminate();
    assert_eq!(fleet.process.wait_exit(SOON).await.code(), Some(1));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    fleet.start_again().await;
    fleet.api.until("", 1, &["delivered"]).await;
}

/// A fleet under load, and the receiver that it delivers to.
struct Storm {
    fleet: Fleet,
    receiver: Receiver,
    load: Load,
    kills: Vec<Kill>,
}

/// One `kill -9`: when it was sent, and when the next process listened or was killed in its turn.
#[derive(Debug, Clone, Copy)]
struct Kill {
    sent: Instant,
    over: Option<Instant>,
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
struct Judged {
    dead: usize,
    /// Successful answers beyond the first of their delivery.
    delivered_again: usize,
    /// Requests that repeat an attempt which was sent before, however it was answered.
    attempted_again: usize,
}

impl Storm {
    async fn start() -> Self {
        let receiver = Receiver::start().await.expect("a receiver");
        receiver.script("/hook", [Answer::FailSome { status: 503, one_in: 3, seed: SEED }]);
        receiver.script("/broken", [Answer::status(500)]);
        let fleet = Fleet::start(SETTINGS).await;
        fleet.api.webhook("acme/works", "repo_push", &receiver.url("/hook")).await;
        fleet.api.webhook("acme/broken", "repo_push", &receiver.url("/broken")).await;
        Self { fleet, receiver, load: Load::default(), kills: Vec::new() }
    }

    /// Several producers who publish `count` events, each of them repeated until it is accepted.
    fn producers(&self, count: usize) -> impl Future<Output = ()> + use<> {
        let (api, load) = (self.fleet.api.clone(), self.load.clone());
        stream::iter(0..count).for_each_concurrent(PRODUCERS, move |number| {
            let (api, load) = (api.clone(), load.clone());
            async move {
                publish_until_accepted(&api, number).await;
                load.0.fetch_add(1, SeqCst);
            }
        })
    }

    /// Waits until every delivery has ended and every queue is empty, and compares what everybody says.
    async fn judge(&self, events: usize) -> Judged {
        self.until_quiet(events).await;
        let rows = self.fleet.api.deliveries("").await;
        let published: BTreeSet<_> = (0..events).map(event_id).collect();
        let known: BTreeSet<_> = rows.iter().map(|row| text(&row["event"])).collect();
        assert_eq!((rows.len(), &known), (events, &published), "one delivery per accepted event");

        let requests = self.receiver.requests();
        let mut answers = BTreeMap::<String, Vec<&Recorded>>::new();
        for request in &requests {
            answers.entry(request.header("webhook-id").expect("an id").to_owned()).or_default().push(request);
        }
        let letters = self.fleet.api.dead_letters("").await;
        let innocent: Vec<_> =
            letters.iter().filter(|letter| letter["reason"] != "attempts_exhausted").collect();
        assert!(
            innocent.is_empty(),
            "{} messages were given up for another reason: {innocent:#?}",
            innocent.len()
        );
        let dead: BTreeSet<_> = letters.iter().map(|letter| text(&letter["delivery"])).collect();
        assert_eq!(letters.len(), dead.len(), "one dead letter per dead delivery");
        for row in &rows {
            let id = text(&row["id"]);
            let successes = successes(&answers[&id]);
            match row["state"].as_str() {
                Some("delivered") => assert!(successes > 0 && !dead.contains(&id), "{row}"),
                Some("dead") => assert!(dead.contains(&id), "{row}"),
                _ => panic!("not ended: {row}"),
            }
        }
        self.check_histories(&rows).await;
        Judged {
            dead: dead.len(),
            delivered_again: answers.values().map(|all| successes(all).saturating_sub(1)).sum(),
            attempted_again: self.cut_off(&answers),
        }
    }

    fn kill_and_launch(&mut self) {
        self.last_is_over();
        self.kills.push(Kill { sent: Instant::now(), over: None });
        self.fleet.launch_again();
    }

    async fn until_up(&mut self) {
        self.fleet.until_up().await;
        self.last_is_over();
    }

    fn last_is_over(&mut self) {
        if let Some(kill) = self.kills.last_mut() {
            kill.over.get_or_insert_with(Instant::now);
        }
    }

    /// How many requests repeat an attempt. There has to be a kill between the two; the first may still have been
    /// on its way through the kernel when its sender died.
    fn cut_off(&self, answers: &BTreeMap<String, Vec<&Recorded>>) -> usize {
        let is_between = |kill: &Kill, before: Instant, after: Instant| {
            kill.sent <= after && kill.over.is_none_or(|over| before <= over)
        };
        let mut repeats = 0;
        for requests in answers.values() {
            let mut last = BTreeMap::<&str, Instant>::new();
            for request in requests {
                let attempt = request.header("bellbuoy-attempt").expect("an attempt's number");
                if let Some(before) = last.insert(attempt, request.at) {
                    let was_cut = self.kills.iter().any(|kill| is_between(kill, before, request.at));
                    assert!(
                        was_cut,
                        "sent again without a kill {:?} later: {request:?}",
                        request.at - before
                    );
                    repeats += 1;
                }
            }
        }
        repeats
    }

    async fn until_quiet(&self, events: usize) {
        let ended = within(PATIENCE, async || {
            let open = self.fleet.api.deliveries("state=pending").await.len()
                + self.fleet.api.deliveries("state=waiting").await.len();
            (open == 0 && self.fleet.api.deliveries("").await.len() >= events).then_some(())
        });
        if ended.await.is_none() {
            let open: Vec<_> = self.fleet.api.deliveries("").await;
            let open: Vec<_> = open.iter().filter(|row| row["next_due_at"].is_string()).take(3).collect();
            let letters = self.fleet.api.dead_letters("reason=poisoned").await;
            panic!("not over after {PATIENCE:?}; of those that wait: {open:#?}; poisoned: {letters:#?}");
        }
        eventually(SOON, async || {
            (self.fleet.api.counted("bellbuoy_queue_messages", &[]).await < 0.5).then_some(())
        })
        .await;
    }

    /// Every attempt stands in the history once and in order, and the last one says how it ended.
    async fn check_histories(&self, rows: &[Value]) {
        let details =
            stream::iter(rows).map(|row| self.fleet.api.delivery(&row["id"])).buffer_unordered(PRODUCERS);
        details
            .for_each(|detail| async move {
                let attempts = detail["attempts"].as_array().expect("attempts");
                let numbers: Vec<_> = attempts.iter().map(|attempt| attempt["number"].as_u64()).collect();
                let expected: Vec<_> =
                    (1..=detail["attempt_count"].as_u64().expect("a count")).map(Some).collect();
                assert_eq!(numbers, expected, "{detail}");
                let is_good = |attempt: &Value| attempt["outcome"] == "delivered";
                let (last, earlier) = attempts.split_last().expect("an attempt");
                assert_eq!(is_good(last), detail["state"] == "delivered", "{detail}");
                assert!(!earlier.iter().any(is_good), "{detail}");
            })
            .await;
    }
}

/// How many events were accepted so far.
#[derive(Debug, Clone, Default)]
struct Load(Arc<AtomicUsize>);

impl Load {
    async fn until_accepted(&self, count: usize) {
        eventually(PATIENCE, async || (self.0.load(SeqCst) >= count).then_some(())).await;
    }
}

async fn publish_until_accepted(api: &Client, number: usize) {
    let repository = if number.is_multiple_of(BROKEN_EVERY) { "acme/broken" } else { "acme/works" };
    let event = push(&event_id(number), repository, "v1");
    eventually(PATIENCE, async || {
        let answer = api.try_publish(&event).await.ok()?;
        // What is refused because the server stops or is not up is repeated, as any producer does.
        assert!(matches!(answer.status.as_u16(), 202 | 503), "{} {}", answer.status, answer.text());
        (answer.status == 202).then_some(())
    })
    .await;
}

fn event_id(number: usize) -> String {
    format!("event-{number:05}")
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

fn successes(requests: &[&Recorded]) -> usize {
    requests.iter().filter(|request| request.status == Some(200)).count()
}
