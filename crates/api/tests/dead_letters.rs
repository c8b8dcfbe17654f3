//! `/v1/dead-letters`: found by every mark, sent back to where they died, or thrown away.

mod common;

use std::slice;

use bellbuoy_broker::queues;
use bellbuoy_domain::{
    AttemptRecord, DeadReason, DeliveryId, DeliveryMessage, DeliveryState, Event, Kind, NotificationId,
    Record, WIRE_VERSION,
};
use bellbuoy_store::DeadLetter;
use bellbuoy_testkit::http::Answer;
use common::{Rig, problem, push_event};
use jiff::Timestamp;
use serde_json::{Value, json, value::RawValue};
use uuid::Uuid;

const DIED: i64 = 1_700_000_000_000;
const WEBHOOKS: &str = "bellbuoy.deliver.webhook";

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(DIED + ms).expect("a time")
}

fn letter(number: u128, origin: &str, reason: DeadReason, body: &[u8]) -> DeadLetter {
    DeadLetter {
        id: Uuid::from_u128(number),
        origin: origin.into(),
        reason: reason.name().into(),
        detail: "seen in a test".into(),
        delivery: None,
        notification: None,
        method: None,
        subject: None,
        attempts: 0,
        body: body.to_vec(),
        died_at: at(i64::try_from(number).expect("a small number") * 1000),
    }
}

/// A delivery that died at attempt 4, the second of its second run, and its dead letter.
struct Dead {
    message: DeliveryMessage,
    event: Event,
    letter: DeadLetter,
}

impl Dead {
    async fn of(rig: &Rig, reason: DeadReason) -> Self {
        let made = rig.webhook("acme/api").await;
        let notification: NotificationId = made["uuid"].as_str().expect("an id").parse().expect("a UUID");
        let event = Event::from_value(push_event("42"), at(0)).expect("an event");
        let raw = String::from_utf8(event.to_json()).expect("text");
        let message = DeliveryMessage {
            v: WIRE_VERSION,
            delivery: DeliveryId::derive(&event.source, &event.id, notification),
            notification,
            attempt: 4,
            spent: 2,
            held_since: None,
            accepted_at: at(0),
            due_at: at(500),
            event: RawValue::from_string(raw).expect("JSON"),
        };
        let letter = DeadLetter {
            delivery: Some(message.delivery),
            notification: Some(notification),
            method: Some("webhook".into()),
            subject: Some("acme/api".into()),
            attempts: 4,
            ..letter(1, WEBHOOKS, reason, &message.to_json())
        };
        archive(rig, slice::from_ref(&letter)).await;
        Self { message, event, letter }
    }

    /// History hears that an attempt ended so.
    async fn record(&self, rig: &Rig, attempt: u32, outcome: &str, state: DeliveryState) {
        let attempt = AttemptRecord {
            delivery: self.message.delivery,
            notification: self.message.notification,
            method: "webhook".into(),
            source: self.event.source.clone(),
            event: self.event.id.clone(),
            kind: Kind::RepoPush,
            subject: "acme/api".into(),
            accepted_at: at(0),
            attempt,
            started_at: at(1000),
            duration_ms: 5,
            outcome: outcome.into(),
            cause: None,
            status: None,
            state,
            next_due_at: None,
            on_probation: false,
        };
        let record = Record { v: WIRE_VERSION, fanned_out: None, attempt: Some(attempt) };
        rig.store.record(&[record], 20).await.expect("recorded");
    }

    async fn shown(&self, rig: &Rig) -> Value {
        rig.get(&format!("/v1/deliveries/{}", self.message.delivery)).await.json()
    }
}

async fn archive(rig: &Rig, letters: &[DeadLetter]) {
    rig.store.archive_dead_letters(letters).await.expect("archived");
}

async fn is_kept(rig: &Rig, letter: &DeadLetter) -> bool {
    rig.store.dead_letter(letter.id).await.expect("a store").is_some()
}

async fn replay(rig: &Rig, letter: &DeadLetter, query: &str) -> Answer {
    rig.send("POST", &format!("/v1/dead-letters/{}/replay{query}", letter.id), &[], "").await
}

/// Messages that a replay could have made.
fn published(rig: &Rig) -> u64 {
    [queues::events(), queues::outcomes(), queues::deliver("webhook")]
        .iter()
        .map(|queue| rig.depth(queue))
        .sum()
}

#[tokio::test]
async fn a_dead_delivery_goes_on_under_its_id_with_a_fresh_run_of_its_schedule() {
    for reason in [
        DeadReason::AttemptsExhausted,
        DeadReason::Rejected,
        DeadReason::NotificationDisabled,
        DeadReason::Poisoned,
        DeadReason::Undecodable, // By the version that killed it.
    ] {
        let rig = Rig::start().await;
        let dead = Dead::of(&rig, reason).await;
        dead.record(&rig, 4, "rejected", DeliveryState::Dead).await;
        let answer = replay(&rig, &dead.letter, "").await;
        let expected = json!({
            "id": dead.letter.id, "outcome": "replayed", "delivery": dead.message.delivery, "attempt": 5,
        });
        assert_eq!((answer.status.as_u16(), answer.json()), (202, expected));
        assert!(!is_kept(&rig, &dead.letter).await);
        let audit = rig.get("/v1/audit?action=dead_letter.replay&place=acme/api").await.json();
        assert_eq!(audit["entries"][0]["target"], dead.letter.id.to_string());

        let sent = rig.drain_deliveries("webhook", 1).await.remove(0);
        assert_eq!((sent.delivery, sent.notification), (dead.message.delivery, dead.message.notification));
        assert_eq!((sent.attempt, sent.spent, sent.accepted_at), (5, 4, at(0)));
        assert_eq!(sent.event.get(), dead.message.event.get());
        rig.store.record(&rig.drain_records(1).await, 20).await.expect("recorded");
        let shown = dead.shown(&rig).await;
        assert_eq!((&shown["state"], &shown["attempt_count"]), (&json!("waiting"), &json!(4)));
        assert_eq!(shown["next_due_at"], sent.due_at.to_string());
        problem(&replay(&rig, &dead.letter, "").await, 404);
    }
}

#[tokio::test]
async fn a_delivery_that_history_never_heard_of_is_replayed_all_the_same() {
    let rig = Rig::start().await;
    let dead = Dead::of(&rig, DeadReason::Rejected).await;
    assert_eq!(replay(&rig, &dead.letter, "").await.status, 202);
    assert_eq!(rig.drain_deliveries("webhook", 1).await[0].attempt, 5);
    rig.store.record(&rig.drain_records(1).await, 20).await.expect("recorded");
    assert_eq!(dead.shown(&rig).await["state"], "waiting");
}

#[tokio::test]
async fn a_replay_cut_off_before_the_discard_sends_nothing_twice_and_is_done_with_once_history_knows() {
    let rig = Rig::start().await;
    let dead = Dead::of(&rig, DeadReason::Rejected).await;
    dead.record(&rig, 4, "rejected", DeliveryState::Dead).await;
    replay(&rig, &dead.letter, "").await;
    archive(&rig, slice::from_ref(&dead.letter)).await; // As if the discard had not come about.
    assert!(problem(&replay(&rig, &dead.letter, "").await, 409).contains("look again in a minute"));
    assert!(is_kept(&rig, &dead.letter).await);
    rig.drain_deliveries("webhook", 1).await;

    rig.store.record(&rig.drain_records(1).await, 20).await.expect("recorded");
    let answer = replay(&rig, &dead.letter, "").await;
    let expected = json!({
        "id": dead.letter.id, "outcome": "superseded", "delivery": dead.message.delivery, "state": "waiting",
    });
    assert_eq!((answer.status.as_u16(), answer.json()), (200, expected));
    assert_eq!((published(&rig), is_kept(&rig, &dead.letter).await), (0, false));
}

#[tokio::test]
async fn a_letter_of_a_delivery_that_went_on_since_is_done_with() {
    for (attempt, state, expected) in [
        (4, DeliveryState::Dead, "replayed"),
        (3, DeliveryState::Waiting, "replayed"), // The recorder is behind.
        (4, DeliveryState::Delivered, "superseded"),
        (5, DeliveryState::Delivered, "superseded"),
        (7, DeliveryState::Dead, "superseded"), // Its later letter is the one to replay.
    ] {
        let rig = Rig::start().await;
        let dead = Dead::of(&rig, DeadReason::Rejected).await;
        dead.record(&rig, attempt, "rejected", state).await;
        let answer = replay(&rig, &dead.letter, "").await.json();
        assert_eq!(answer["outcome"], expected, "{state:?} at {attempt}");
        assert!(!is_kept(&rig, &dead.letter).await);
    }
}

#[tokio::test]
async fn a_delivery_without_a_notification_that_takes_it_stays_dead() {
    let rig = Rig::start().await;
    let dead = Dead::of(&rig, DeadReason::Rejected).await;
    rig.store
        .disable_notification(dead.message.notification, "gone", Timestamp::UNIX_EPOCH)
        .await
        .expect("disabled");
    assert!(problem(&replay(&rig, &dead.letter, "").await, 409).contains("reset it first"));
    assert!(problem(&replay(&rig, &dead.letter, "?as=event").await, 409).contains("could not be read"));
    rig.store.delete_notification(dead.message.notification).await.expect("deleted");
    assert!(problem(&replay(&rig, &dead.letter, "").await, 409).contains("deleted"));
    assert_eq!((published(&rig), is_kept(&rig, &dead.letter).await), (0, true));
}

#[tokio::test]
async fn poisoned_events_and_outcomes_go_back_to_their_queue_as_they_were() {
    let rig = Rig::start().await;
    let dead = Dead::of(&rig, DeadReason::Poisoned).await;
    assert_eq!(replay(&rig, &dead.letter, "").await.json()["attempt"], 5);
    rig.drain_deliveries("webhook", 1).await;
    let records = rig.drain_records(1).await;

    let event = letter(2, "bellbuoy.events", DeadReason::Poisoned, &dead.event.to_json());
    let outcome = letter(3, "bellbuoy.outcomes", DeadReason::Poisoned, &records[0].to_json());
    archive(&rig, &[event.clone(), outcome.clone()]).await;
    assert_eq!(replay(&rig, &event, "").await.status, 202);
    let claim = rig.take(queues::events()).await;
    assert_eq!((claim.id(), claim.body().to_vec()), (event.id, event.body.clone()));
    let accepted = event.died_at.as_millisecond().to_string();
    assert_eq!(claim.headers().get("bellbuoy-accepted-ms"), Some(accepted.as_str()));
    assert_eq!(replay(&rig, &outcome, "").await.status, 202);
    assert_eq!(rig.drain_records(1).await, records);
    assert!(!is_kept(&rig, &event).await && !is_kept(&rig, &outcome).await);
}

#[tokio::test]
async fn bytes_that_could_not_be_read_are_tried_as_an_event_only_when_asked_and_only_if_they_are_one() {
    let rig = Rig::start().await;
    let event = push_event("43").to_string();
    let letters = [
        letter(1, "bellbuoy.events", DeadReason::Undecodable, event.as_bytes()),
        letter(2, "ingest.distribution", DeadReason::Undecodable, b"{\"events\": 1}"),
        letter(3, "bellbuoy.events", DeadReason::Undecodable, &vec![b' '; 300_000]),
    ];
    archive(&rig, &letters).await;
    for letter in &letters {
        assert!(problem(&replay(&rig, letter, "").await, 409).contains("?as=event"));
    }
    for letter in &letters[1..] {
        let detail = problem(&replay(&rig, letter, "?as=event").await, 409);
        assert!(detail.contains("still can't be read"), "{detail}");
    }
    assert_eq!(published(&rig), 0);
    assert_eq!(replay(&rig, &letters[0], "?as=event").await.status, 202);
    let sent = rig.drain(queues::events(), 1).await.remove(0);
    assert_eq!(sent.body, event);
    let kept = [is_kept(&rig, &letters[0]).await, is_kept(&rig, &letters[1]).await];
    assert_eq!(kept, [false, true]);
}

#[tokio::test]
async fn what_would_only_die_again_stays_where_it_is() {
    let rig = Rig::start().await;
    for (number, (origin, body, part)) in [
        (WEBHOOKS, "{}", "not a delivery"),
        (WEBHOOKS, r#"{"v": 99}"#, "still can't be read"),
        ("bellbuoy.outcomes", "nonsense", "not a record"),
        ("bellbuoy.deliver.pigeon", "{}", "none of this server's queues"),
        ("bellbuoy.deliver.webhooks", "{}", "none of this server's queues"),
        ("", "{}", "none of this server's queues"),
    ]
    .into_iter()
    .enumerate()
    {
        for (reason, offset) in [(DeadReason::Poisoned, 100), (DeadReason::Undecodable, 200)] {
            let letter = letter(number as u128 + offset, origin, reason, body.as_bytes());
            archive(&rig, slice::from_ref(&letter)).await;
            let detail = problem(&replay(&rig, &letter, "").await, 409);
            assert!(detail.contains(part), "{origin} {reason:?}: {detail}");
            assert!(is_kept(&rig, &letter).await);
        }
    }
    assert_eq!(published(&rig), 0);
    let one = letter(100, "", DeadReason::Poisoned, b"");
    for query in ["?as=delivery", "?like=event", "?as"] {
        problem(&replay(&rig, &one, query).await, 400);
    }
    problem(&rig.send("POST", "/v1/dead-letters/x/replay", &[], "").await, 404);
}

#[tokio::test]
async fn a_discarded_letter_is_gone_and_can_be_discarded_once() {
    let rig = Rig::start().await;
    let dead = Dead::of(&rig, DeadReason::Rejected).await;
    let path = format!("/v1/dead-letters/{}", dead.letter.id);
    let answer = rig.send("DELETE", &path, &[], "").await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (204, 0));
    for (verb, path) in [("DELETE", path.as_str()), ("GET", &path), ("DELETE", "/v1/dead-letters/x")] {
        problem(&rig.send(verb, path, &[], "").await, 404);
    }
    assert_eq!(published(&rig), 0);
}

async fn listed(rig: &Rig, query: &str) -> Vec<u128> {
    let (mut numbers, mut after) = (Vec::new(), String::new());
    loop {
        let page = rig.get(&format!("/v1/dead-letters?{query}{after}")).await;
        assert_eq!(page.status, 200, "{query}: {}", page.text());
        let page = page.json();
        let rows = page["dead_letters"].as_array().expect("rows");
        numbers.extend(
            rows.iter()
                .map(|row| row["id"].as_str().expect("an id").parse::<Uuid>().expect("a UUID").as_u128()),
        );
        let Some(next) = page["next"].as_str() else { return numbers };
        after = format!("&after={next}");
    }
}

#[tokio::test]
async fn letters_are_found_by_when_they_died_and_by_every_mark() {
    let rig = Rig::start().await;
    // Number n died at second n.
    let mut letters: Vec<_> =
        (1..=60).map(|number| letter(number, WEBHOOKS, DeadReason::Rejected, b"x")).collect();
    letters[9].subject = Some("acme/api".into());
    letters[19].reason = DeadReason::Poisoned.name().into();
    letters[29].method = Some("webhook".into());
    archive(&rig, &letters).await;
    // A recorder whose clock is behind, and one that is not.
    archive(&rig, &[DeadLetter { died_at: at(5000), ..letter(61, WEBHOOKS, DeadReason::Rejected, b"x") }])
        .await;

    let (five, ten) = (at(5000), at(10_000));
    for (query, expected) in [
        (format!("since={five}&until={ten}"), vec![61, 9, 8, 7, 6, 5]),
        (format!("since={five}&until={ten}&limit=1"), vec![61, 9, 8, 7, 6, 5]),
        (format!("until={}&limit=2", at(3000)), vec![2, 1]),
        (format!("since={}", at(59_000)), vec![60, 59]),
        (format!("since={}", at(61_000)), vec![]),
        (format!("since={ten}&until={five}"), vec![]),
        ("subject=acme/api".to_owned(), vec![10]),
        ("reason=poisoned".to_owned(), vec![20]),
        (format!("method=webhook&since={five}"), vec![30]),
        (format!("method=webhook&until={five}"), vec![]),
    ] {
        assert_eq!(listed(&rig, &query).await, expected, "{query}");
    }
    for query in ["since=yesterday", "until=1700000000", "since="] {
        problem(&rig.get(&format!("/v1/dead-letters?{query}")).await, 400);
    }
}
