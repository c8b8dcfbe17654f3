//! What everybody says when it is over, compared.
//!
//! By sets: what producers were told is accepted, against what the receiver answered and what stands in the dead
//! letters. A request that repeats an attempt has to have a fault that explains it: its sender was killed before it
//! could settle the outcome; or RabbitMQ could not confirm that outcome, because it or a connection to it was hit just
//! then; or it could not confirm the delivery itself; or the fan-out was killed between publishing a delivery and ending its event.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bellbuoy_testkit::receiver::Recorded;
use bellbuoy_testkit::wait::{eventually, within};
use futures_util::stream::{self, StreamExt};
use serde_json::Value;

use crate::load::{Event, Wanted};
use crate::plan::Target;
use crate::storm::{PATIENCE, Storm};
use crate::support::Client;

/// Histories that are read at a time.
const READERS: usize = 8;

/// What came of a run.
#[derive(Debug, Default)]
pub(crate) struct Judged {
    events: usize,
    faults: usize,
    published_again: usize,
    deliveries: usize,
    dead: usize,
    cut_off: usize,
    claim_lost: usize,
    published_twice: usize,
    fanned_out_again: usize,
    inherited: usize,
}

impl Judged {
    /// Requests that repeat an attempt which had been made before.
    pub(crate) fn repeats(&self) -> usize {
        self.cut_off + self.claim_lost + self.published_twice + self.fanned_out_again + self.inherited
    }
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} faults, {} events ({} published again), {} deliveries ({} dead), {} attempts repeated: {} cut off \
             with their sender, {} whose claim was lost with a connection, {} published twice, {} fanned out again, \
             {} that follow from such",
            self.faults,
            self.events,
            self.published_again,
            self.deliveries,
            self.dead,
            self.repeats(),
            self.cut_off,
            self.claim_lost,
            self.published_twice,
            self.fanned_out_again,
            self.inherited
        )
    }
}

/// What the receiver got, by delivery and by the attempt's number, in the order of arrival.
type Arrived<'a> = BTreeMap<(&'a str, u64), Vec<&'a Recorded>>;

/// An event and the notification that wants it, by its path.
type Pair = (String, &'static str);

impl Storm {
    /// Waits until everything has ended and every queue is empty, and compares what everybody says.
    pub(crate) async fn judge(&self) -> Judged {
        let events = self.ledger.events();
        let expected: BTreeSet<Pair> = (0..events).map(Event).flat_map(pairs).collect();
        let api = self.member(Target::Api(0)).client().await;
        self.until_quiet(&api, expected.len()).await;

        let requests = self.receiver.requests();
        let arrived = by_attempt(&requests);
        let rows = api.deliveries("").await;
        let letters = api.dead_letters("").await;
        compare_sets(&requests, &letters, &rows, &expected);
        compare_states(&arrived, &letters, &rows);
        check_histories(&api, &arrived, &rows).await;
        let mut judged = Judged {
            events,
            faults: self.timeline.len(),
            published_again: self.ledger.repeated(),
            deliveries: rows.len(),
            dead: rows.iter().filter(|row| row["state"] == "dead").count(),
            ..Judged::default()
        };
        self.explain_repeats(&arrived, &mut judged);
        judged
    }

    async fn until_quiet(&self, api: &Client, expected: usize) {
        let ended = within(PATIENCE, async || {
            let rows = api.deliveries("").await;
            let open =
                rows.iter().filter(|row| row["state"] == "pending" || row["state"] == "waiting").count();
            (open == 0 && rows.len() >= expected).then_some(())
        });
        if ended.await.is_none() {
            let rows = api.deliveries("").await;
            let open: Vec<_> =
                rows.iter().filter(|row| row["state"] == "pending" || row["state"] == "waiting").collect();
            let queued = self.queued().await;
            panic!(
                "not over after {PATIENCE:?}: {} of {expected} deliveries are known, {} are open, such as {:#?}; in the \
                 queues: {queued:?}",
                rows.len(),
                open.len(),
                open.first()
            );
        }
        // Repeats may still be on their way.
        eventually(PATIENCE, async || self.queued().await.is_empty().then_some(())).await;
    }

    /// Each repeat needs an explanation of its own. A request of the same attempt was cut off with its sender, or made
    /// when RabbitMQ could not confirm what came of it. Or the delivery itself was published twice, by us or by RabbitMQ
    /// at the end of its wait, because it was on its way when RabbitMQ could not confirm it; or it was fanned out twice,
    /// because the fan-out was killed before it could end the event.
    fn explain_repeats(&self, arrived: &Arrived<'_>, judged: &mut Judged) {
        for ((delivery, attempt), requests) in arrived {
            let before = arrived.get(&(*delivery, attempt - 1));
            let copies = before.map_or(1, Vec::len);
            judged.inherited += requests.len().min(copies) - 1;
            let to_explain = requests.len().saturating_sub(copies);
            if to_explain == 0 {
                continue;
            }
            let (last, earlier) = requests.split_last().expect("one at least");
            let cut_off = earlier.iter().filter(|request| self.was_cut_off(request)).count();
            let claim_lost = earlier
                .iter()
                .filter(|request| !self.was_cut_off(request) && self.timeline.was_unconfirmed(request.at))
                .count();
            let cut_off = cut_off.min(to_explain);
            let claim_lost = claim_lost.min(to_explain - cut_off);
            let rest = to_explain - cut_off - claim_lost;
            judged.cut_off += cut_off;
            judged.claim_lost += claim_lost;
            if rest == 0 {
                continue;
            }
            let began = self.ledger.first_tried(event_of(last)).expect("a published event");
            // On its way from the attempt before, or from its event, until it was first tried.
            let on_its_way = before.map_or(began, |before| before[0].at);
            if self.timeline.can_be_unconfirmed(on_its_way, requests[0].at) {
                judged.published_twice += rest;
            } else if before.is_none() && self.timeline.has_fanout_kill(began, last.at) {
                judged.fanned_out_again += rest;
            } else {
                let seconds: Vec<_> =
                    requests.iter().map(|request| self.timeline.second(request.at)).collect();
                panic!(
                    "attempt {attempt} of delivery {delivery} of {} was made at {seconds:.2?} s and nothing explains \
                     it; its event was published at {:.2} s; it came by connections {:?}",
                    event_of(last).id(),
                    self.timeline.second(began),
                    requests.iter().map(|request| request.connection).collect::<Vec<_>>(),
                );
            }
        }
    }

    fn was_cut_off(&self, request: &Recorded) -> bool {
        let ended = self.receiver.ended(request.connection);
        ended.is_some_and(|ended| self.timeline.was_cut_off(request.at, ended))
    }
}

fn pairs(event: Event) -> impl Iterator<Item = Pair> {
    let wanting = Wanted::ALL.into_iter().filter(move |wanted| wanted.wants(event));
    wanting.map(move |wanted| (event.id(), wanted.path()))
}

fn by_attempt(requests: &[Recorded]) -> Arrived<'_> {
    let mut arrived = Arrived::new();
    for request in requests {
        let delivery = request.header("webhook-id").expect("an id");
        let attempt =
            request.header("bellbuoy-attempt").and_then(|text| text.parse().ok()).expect("a number");
        arrived.entry((delivery, attempt)).or_default().push(request);
    }
    arrived
}

fn event_of(request: &Recorded) -> Event {
    let body: Value = serde_json::from_slice(&request.body).expect("a CloudEvent");
    let id = body["id"].as_str().and_then(|id| id.strip_prefix("event-")?.parse().ok());
    Event(id.unwrap_or_else(|| panic!("not one of ours: {body}")))
}

/// Every acknowledged event ended for every notification that wants it, and nothing else came.
fn compare_sets(requests: &[Recorded], letters: &[Value], rows: &[Value], expected: &BTreeSet<Pair>) {
    let path = |request: &Recorded| {
        let known = Wanted::ALL.into_iter().find(|wanted| wanted.path() == request.path);
        known.unwrap_or_else(|| panic!("nobody is at {}", request.path)).path()
    };
    let asked: BTreeSet<Pair> =
        requests.iter().map(|request| (event_of(request).id(), path(request))).collect();
    let unexpected: Vec<_> = asked.difference(expected).take(5).collect();
    assert!(unexpected.is_empty(), "these were never wanted: {unexpected:?}");

    let accepted = requests.iter().filter(|request| request.status == Some(200));
    let mut ended: BTreeSet<Pair> = accepted.map(|request| (event_of(request).id(), path(request))).collect();
    let by_delivery: BTreeMap<_, _> = requests
        .iter()
        .filter_map(|request| Some((request.header("webhook-id")?, (event_of(request).id(), path(request)))))
        .collect();
    for letter in letters {
        let is_rejected = letter["reason"] == "attempts_exhausted" && letter["attempt_count"] == 1;
        assert!(is_rejected, "given up for another reason: {letter:#}");
        let delivery = letter["delivery"].as_str().expect("a delivery");
        ended.insert(by_delivery.get(delivery).expect("it was tried").clone());
    }
    let lost: Vec<_> = expected.difference(&ended).collect();
    assert!(
        lost.is_empty(),
        "{} of {} are lost: {:?} ...",
        lost.len(),
        expected.len(),
        &lost[..lost.len().min(9)]
    );
    assert_eq!(rows.len(), expected.len(), "one delivery for each event and notification");
}

/// What the store says became of a delivery is what its receiver saw.
fn compare_states(arrived: &Arrived<'_>, letters: &[Value], rows: &[Value]) {
    let dead: BTreeSet<_> =
        letters.iter().map(|letter| letter["delivery"].as_str().expect("a delivery")).collect();
    for row in rows {
        let id = row["id"].as_str().expect("an id");
        let accepted = requests_of(arrived, id).any(|request| request.status == Some(200));
        match row["state"].as_str() {
            Some("delivered") => assert!(accepted && !dead.contains(id), "{row}"),
            Some("dead") => assert!(!accepted && dead.contains(id), "{row}"),
            _ => panic!("not ended: {row}"),
        }
    }
}

fn requests_of<'a>(arrived: &'a Arrived<'a>, delivery: &'a str) -> impl Iterator<Item = &'a Recorded> {
    arrived.range((delivery, 0)..=(delivery, u64::MAX)).flat_map(|(_, requests)| requests.iter().copied())
}

/// Every attempt stands in the history once and in order, each was really made and answered so, and the last one says
/// how it ended.
async fn check_histories(api: &Client, arrived: &Arrived<'_>, rows: &[Value]) {
    let details = stream::iter(rows).map(|row| api.delivery(&row["id"])).buffer_unordered(READERS);
    details
        .for_each(|detail| async move {
            let id = detail["id"].as_str().expect("an id");
            let attempts = detail["attempts"].as_array().expect("attempts");
            let numbers: Vec<_> = attempts.iter().map(|attempt| attempt["number"].as_u64()).collect();
            let expected: Vec<_> =
                (1..=detail["attempt_count"].as_u64().expect("a count")).map(Some).collect();
            assert_eq!(numbers, expected, "{detail:#}");
            for attempt in attempts {
                let made = arrived.get(&(id, attempt["number"].as_u64().expect("a number")));
                let answers: Vec<_> = made.into_iter().flatten().map(|request| request.status).collect();
                let recorded = attempt["status"].as_u64().and_then(|status| u16::try_from(status).ok());
                assert!(answers.contains(&recorded), "answered {answers:?}, recorded as {attempt}");
            }
            let last = attempts.last().expect("an attempt");
            assert_eq!(last["outcome"] == "delivered", detail["state"] == "delivered", "{detail:#}");
        })
        .await;
}
