//! `/v1/deliveries`, `/v1/events/{id}` and `/v1/dead-letters`: what became of everything.

mod common;

use std::time::Duration;

use bellbuoy_api::ServerLimits;
use bellbuoy_broker::{Broker, BrokerUrl, Outgoing, RabbitMqOptions, Shards, Topology, queues};
use bellbuoy_domain::{
    AttemptRecord, Cause, CauseCode, DeliveryId, DeliveryState, Event, FannedOut, Kind, Notification,
    NotificationId, PlannedDelivery, Record, Scope, WIRE_VERSION,
};
use bellbuoy_store::{Collected, DeadLetter, SeenEvent};
use bellbuoy_testkit::{rabbitmq::Node, wait::eventually};
use common::{JSON, Rig, problem, push_event};
use futures_util::future::join_all;
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

const ACCEPTED: i64 = 1_700_000_000_000;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ACCEPTED + ms).expect("a time")
}

/// A notification, an event that was fanned out to it, and the delivery.
struct Past {
    notification: NotificationId,
    event: Event,
    delivery: DeliveryId,
}

impl Past {
    async fn of(rig: &Rig, event_id: &str) -> Self {
        let made = rig.webhook("acme/api").await;
        let notification = made["uuid"].as_str().expect("an id").parse().expect("a UUID");
        let event = Event::from_value(push_event(event_id), at(0)).expect("an event");
        let delivery = DeliveryId::derive(&event.source, &event.id, notification);
        let past = Self { notification, event, delivery };
        let seen = SeenEvent {
            source: past.event.source.clone(),
            id: past.event.id.clone(),
            kind: Kind::RepoPush,
            subject: "acme/api".into(),
            message: Uuid::new_v4(),
            accepted_at: at(0),
            body: past.event.to_json(),
        };
        rig.store.admit_events(&[seen], Duration::from_mins(1)).await.expect("a store");
        let fanned_out = FannedOut {
            source: past.event.source.clone(),
            event: past.event.id.clone(),
            kind: Kind::RepoPush,
            subject: "acme/api".into(),
            accepted_at: at(0),
            deliveries: vec![PlannedDelivery { delivery, notification, method: "webhook".into() }],
        };
        rig.store
            .record(&[Record { v: WIRE_VERSION, fanned_out: Some(fanned_out), attempt: None }], 3)
            .await
            .expect("recorded");
        past
    }

    fn attempt(&self, number: u32, outcome: &str, state: DeliveryState, cause: Option<CauseCode>) -> Record {
        let attempt = AttemptRecord {
            delivery: self.delivery,
            notification: self.notification,
            method: "webhook".into(),
            source: self.event.source.clone(),
            event: self.event.id.clone(),
            kind: Kind::RepoPush,
            subject: "acme/api".into(),
            accepted_at: at(0),
            attempt: number,
            started_at: at(i64::from(number) * 1000),
            duration_ms: 12,
            outcome: outcome.into(),
            cause: cause.map(|code| Cause::new(code, "seen in a test")),
            status: cause.map(|_| 503),
            state,
            next_due_at: (state == DeliveryState::Waiting).then(|| at(60_000)),
            on_probation: false,
        };
        Record { v: WIRE_VERSION, fanned_out: None, attempt: Some(attempt) }
    }

    async fn record(
        &self,
        rig: &Rig,
        number: u32,
        outcome: &str,
        state: DeliveryState,
        cause: Option<CauseCode>,
    ) {
        let record = self.attempt(number, outcome, state, cause);
        rig.store.record(&[record], 3).await.expect("recorded");
    }

    async fn shown(&self, rig: &Rig) -> Value {
        rig.get(&format!("/v1/deliveries/{}", self.delivery)).await.json()
    }

    async fn resend(&self, rig: &Rig) -> bellbuoy_testkit::http::Answer {
        rig.send("POST", &format!("/v1/deliveries/{}/resend", self.delivery), &[JSON], "{}").await
    }
}

#[tokio::test]
async fn a_delivery_shows_where_it_stands_every_attempt_and_when_it_is_due() {
    let rig = Rig::start().await;
    let past = Past::of(&rig, "42").await;
    assert_eq!(past.shown(&rig).await["state"], "pending");
    past.record(&rig, 1, "deferred", DeliveryState::Waiting, Some(CauseCode::Http5xx)).await;
    let shown = past.shown(&rig).await;
    let expected = json!({
        "id": past.delivery, "notification": past.notification, "method": "webhook",
        "source": "registry.example.com", "event": "42", "kind": "repo_push", "subject": "acme/api",
        "accepted_at": at(0).to_string(), "state": "waiting", "attempt_count": 1,
        "next_due_at": at(60_000).to_string(), "updated_at": at(1012).to_string(),
        "cause": {"code": "http_5xx", "detail": "seen in a test"}, "status": 503,
        "attempts": [{
            "number": 1, "started_at": at(1000).to_string(), "duration_ms": 12, "outcome": "deferred",
            "cause": {"code": "http_5xx", "detail": "seen in a test"}, "status": 503,
        }],
        "callback": null,
    });
    assert_eq!(shown, expected);
}

#[tokio::test]
async fn deliveries_are_filtered_and_paged_newest_first() {
    let rig = Rig::start().await;
    let mut pasts = Vec::new();
    for id in ["1", "2", "3"] {
        pasts.push(Past::of(&rig, id).await);
    }
    pasts[1].record(&rig, 1, "delivered", DeliveryState::Delivered, None).await;
    let list = async |query: &str| -> Vec<String> {
        let page = rig.get(&format!("/v1/deliveries?{query}")).await.json();
        let rows = page["deliveries"].as_array().unwrap_or_else(|| panic!("{query}: {page}")).clone();
        rows.iter().map(|row| row["event"].as_str().expect("an id").to_owned()).collect()
    };
    assert_eq!(list("").await, ["3", "2", "1"]);
    assert_eq!(list("state=delivered").await, ["2"]);
    assert_eq!(list("state=pending&method=webhook&kind=repo_push&subject=acme/api").await, ["3", "1"]);
    assert_eq!(list("method=webhook%27%20OR%201=1").await, [""; 0]);
    assert_eq!(list(&format!("notification={}", pasts[0].notification)).await, ["1"]);
    assert_eq!(list("source=registry.example.com&event=3").await, ["3"]);

    let (mut listed, mut after) = (Vec::new(), String::new());
    loop {
        let page = rig.get(&format!("/v1/deliveries?limit=1{after}")).await.json();
        listed.extend(page["deliveries"].as_array().expect("rows").iter().map(|row| row["event"].clone()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(listed, [json!("3"), json!("2"), json!("1")]);
    for query in
        ["state=lost", "kind=nonsense", "notification=7", "limit=0", "limit=100000", "after=%27;--", "page=2"]
    {
        let detail = problem(&rig.get(&format!("/v1/deliveries?{query}")).await, 400);
        assert!(detail.starts_with("query: "), "{query}: {detail}");
    }
}

#[tokio::test]
async fn a_delivery_that_ended_is_sent_again_under_its_own_id_with_the_next_number() {
    let rig = Rig::start().await;
    let past = Past::of(&rig, "42").await;
    past.record(&rig, 1, "deferred", DeliveryState::Waiting, Some(CauseCode::Timeout)).await;
    past.record(&rig, 2, "rejected", DeliveryState::Dead, Some(CauseCode::Http4xx)).await;
    let answer = past.resend(&rig).await;
    assert_eq!(
        (answer.status.as_u16(), answer.json()),
        (202, json!({"delivery": past.delivery, "attempt": 3}))
    );
    let message = rig.drain_deliveries("webhook", 1).await.remove(0);
    assert_eq!((message.delivery, message.attempt, message.spent), (past.delivery, 3, 2));
    assert_eq!((message.notification, message.accepted_at), (past.notification, at(0)));
    assert_eq!(message.event.get().as_bytes(), past.event.to_json());

    // Once the recorder heard of it, it waits and can't be sent a third time meanwhile.
    rig.store.record(&rig.drain_records(1).await, 3).await.expect("recorded");
    let shown = past.shown(&rig).await;
    assert_eq!((&shown["state"], &shown["attempt_count"]), (&json!("waiting"), &json!(2)));
    assert!(shown["next_due_at"].is_string());
    assert_eq!(shown["attempts"].as_array().map(Vec::len), Some(2));
    problem(&past.resend(&rig).await, 409);
    past.record(&rig, 3, "delivered", DeliveryState::Delivered, None).await;
    assert_eq!(past.shown(&rig).await["state"], "delivered");
    assert_eq!(past.resend(&rig).await.json()["attempt"], 4);
}

#[tokio::test]
async fn what_several_send_again_at_once_is_sent_once_and_what_was_not_sent_can_be_at_once() {
    let rig = Rig::start().await;
    let past = Past::of(&rig, "42").await;
    past.record(&rig, 1, "rejected", DeliveryState::Dead, Some(CauseCode::Http4xx)).await;
    let answers = join_all((0..5).map(|_| past.resend(&rig))).await;
    for refused in answers.iter().filter(|answer| answer.status != 202) {
        assert!(problem(refused, 409).contains("look again in a minute"));
    }
    assert_eq!(answers.iter().filter(|answer| answer.status == 202).count(), 1);
    rig.drain_deliveries("webhook", 1).await;
    rig.store.record(&rig.drain_records(1).await, 3).await.expect("recorded");

    past.record(&rig, 2, "rejected", DeliveryState::Dead, Some(CauseCode::Http4xx)).await;
    rig.broker.close().await;
    for _ in 0..2 {
        problem(&past.resend(&rig).await, 503);
    }
}

#[tokio::test]
async fn what_rabbitmq_may_have_taken_is_left_alone_for_a_minute() {
    let node = Node::start().await;
    node.add_vhosts(&["v"]).await;
    let Ok(BrokerUrl::RabbitMq(url)) = node.url("v").parse() else { panic!("no URL of RabbitMQ") };
    let topology = Topology::new(&["webhook"], Shards::ONE);
    let options = RabbitMqOptions { topology: topology.clone(), ..RabbitMqOptions::default() };
    topology.apply(&url, &options).await.expect("the topology");
    let full = r#"{"max-length": 1, "overflow": "reject-publish"}"#;
    let queue = queues::deliver("webhook");
    node.ctl(&["set_policy", "-p", "v", "full", &format!("^{queue}$"), full, "--apply-to", "queues"]).await;
    let broker = Broker::open_rabbitmq(&url, &options).expect("a broker");
    let patience = Duration::from_mins(1);
    eventually(patience, async || broker.ping().await.ok()).await;
    eventually(patience, async || broker.publish(vec![Outgoing::new(queue.clone(), "{}")]).await.err()).await;

    let rig = Rig::with(|api| api.broker = broker.clone(), ServerLimits::default()).await;
    let past = Past::of(&rig, "42").await;
    past.record(&rig, 1, "rejected", DeliveryState::Dead, Some(CauseCode::Http4xx)).await;
    let answer = past.resend(&rig).await;
    assert!(problem(&answer, 503).contains("look in a minute"));
    assert_eq!(answer.headers["retry-after"], "60");
    assert!(problem(&past.resend(&rig).await, 409).contains("look again in a minute"));

    let other = Past::of(&rig, "43").await;
    other.record(&rig, 1, "rejected", DeliveryState::Dead, Some(CauseCode::Http4xx)).await;
    broker.close().await;
    for _ in 0..2 {
        assert!(problem(&other.resend(&rig).await, 503).contains("nothing was accepted"));
    }
}

#[tokio::test]
async fn after_an_end_without_an_attempt_a_number_is_left_out_so_that_history_follows() {
    let rig = Rig::start().await;
    for (id, state, code) in [
        ("1", DeliveryState::Cancelled, CauseCode::NoRecipient),
        ("2", DeliveryState::Dead, CauseCode::Disabled),
        ("3", DeliveryState::Dead, CauseCode::CircuitOpen),
    ] {
        let past = Past::of(&rig, id).await;
        past.record(&rig, 1, "deferred", DeliveryState::Waiting, Some(CauseCode::Timeout)).await;
        past.record(&rig, 2, "cancelled", state, Some(code)).await;
        assert_eq!(past.resend(&rig).await.json()["attempt"], 3);
        rig.drain_deliveries("webhook", 1).await;
        rig.store.record(&rig.drain_records(1).await, 3).await.expect("recorded");
        assert_eq!(past.shown(&rig).await["state"], "waiting");
        past.record(&rig, 3, "deferred", DeliveryState::Waiting, Some(CauseCode::Timeout)).await;
        assert_eq!(past.shown(&rig).await["attempt_count"], 3);
    }
}

#[tokio::test]
async fn what_can_not_be_sent_again_says_why() {
    let rig = Rig::start().await;
    let past = Past::of(&rig, "42").await;
    assert!(problem(&past.resend(&rig).await, 409).contains("pending"));
    past.record(&rig, 1, "deferred", DeliveryState::Waiting, Some(CauseCode::Timeout)).await;
    assert!(problem(&past.resend(&rig).await, 409).contains("waiting"));
    past.record(&rig, 2, "delivered", DeliveryState::Delivered, None).await;
    rig.store.disable_notification(past.notification, "gone", Timestamp::UNIX_EPOCH).await.expect("disabled");
    assert!(problem(&past.resend(&rig).await, 409).contains("reset it first"));
    rig.store.delete_notification(past.notification).await.expect("deleted");
    assert!(problem(&past.resend(&rig).await, 409).contains("deleted"));
    for id in [Uuid::nil().to_string(), "nonsense".into(), "x".repeat(5000)] {
        let path = format!("/v1/deliveries/{id}/resend");
        let detail = problem(&rig.send("POST", &path, &[], "").await, 404);
        assert!(detail.len() < 200, "{detail}");
    }

    // Known only from an attempt's record: its event was never stored, or is no longer.
    let orphan = Past { delivery: Uuid::from_u128(7).into(), ..Past::of(&rig, "43").await };
    let mut record = orphan.attempt(1, "delivered", DeliveryState::Delivered, None);
    record.attempt.as_mut().expect("an attempt").event = "44".into();
    rig.store.record(&[record], 3).await.expect("recorded");
    problem(&orphan.resend(&rig).await, 410);
    assert_eq!(rig.depth(&queues::deliver("webhook")) + rig.depth(&queues::outcomes()), 0);
}

#[tokio::test]
async fn an_event_says_what_it_matched_and_why_not() {
    let rig = Rig::start().await;
    let past = Past::of(&rig, "a/b c").await;
    let make = async |body: Value| -> NotificationId {
        let answer = rig.post("/v1/notifications", &body).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()["id"].as_str().expect("an id").parse().expect("a UUID")
    };
    let hook = |scope: Value, kinds: &[&str], filter: Value| {
        json!({"scope": scope, "kinds": kinds, "filter": filter, "method": "webhook",
               "config": {"url": "https://ci.example.com/"}})
    };
    let other_kind = make(hook(json!({"namespace": "acme"}), &["tag_delete"], json!({}))).await;
    let other_tags =
        make(hook(json!({"registry": true}), &["repo_push"], json!({"tags": ["release-*"]}))).await;
    let disabled = make(hook(json!({"registry": true}), &["repo_push"], json!({}))).await;
    rig.store.disable_notification(disabled, "answered 410", Timestamp::UNIX_EPOCH).await.expect("disabled");
    make(hook(json!({"repository": "acme/web"}), &["repo_push"], json!({}))).await;

    let answer = rig.get("/v1/events/a%2Fb%20c?source=registry.example.com").await;
    let event = answer.json()["events"][0].clone();
    assert_eq!(
        (&event["fanned_out"], &event["event"]["data"]["updated_tags"]),
        (&json!(true), &json!(["v1"]))
    );
    let considered = event["considered"].as_array().expect("a list");
    assert_eq!((considered.len(), &event["considered_all"]), (4, &json!(true)));
    let of = |id: NotificationId| {
        considered.iter().find(|one| one["notification"] == json!(id)).expect("considered").clone()
    };
    let matched = of(past.notification);
    assert_eq!((&matched["matches"], &matched["delivery"]), (&json!(true), &json!(past.delivery)));
    for (id, expected) in [
        (other_kind, "listens to tag_delete, not to repo_push"),
        (other_tags, "`tags`"),
        (disabled, "answered 410"),
    ] {
        let verdict = of(id);
        let why = verdict["why_not"].as_str().expect("a reason");
        assert!(verdict["matches"] == false && why.contains(expected), "{why}");
    }
    for path in ["/v1/events/unknown", "/v1/events/a%2Fb%20c?source=elsewhere"] {
        problem(&rig.get(path).await, 404);
    }
    problem(&rig.get("/v1/events/1?sauce=x").await, 400);
}

#[tokio::test]
async fn the_events_of_one_id_are_shown_together_if_they_are_few_and_one_that_can_not_be_read_hides_no_other()
{
    let rig = Rig::start().await;
    let past = Past::of(&rig, "1").await;
    let seen = |number: u128, body: &[u8]| SeenEvent {
        source: format!("source {number}"),
        id: "1".to_owned(),
        kind: past.event.kind,
        subject: "acme/api".to_owned(),
        message: Uuid::from_u128(number),
        accepted_at: Timestamp::now(),
        body: body.to_vec(),
    };
    let admit = async |seen: Vec<SeenEvent>| {
        rig.store.admit_events(&seen, Duration::from_hours(1)).await.expect("admitted");
    };
    admit(vec![seen(1, b"{}")]).await;
    let shown = rig.get("/v1/events/1").await.json();
    assert_eq!(shown["events"].as_array().map(Vec::len), Some(1), "{shown}");
    assert_eq!(shown["events"][0]["source"], json!(past.event.source));
    problem(&rig.get("/v1/events/1?source=source%201").await, 500);

    admit((2..=100).map(|number| seen(number, b"{}")).collect()).await;
    let detail = problem(&rig.get("/v1/events/1").await, 400);
    assert!(detail.contains("`?source=`"), "{detail}");
    let one = format!("/v1/events/1?source={}", past.event.source);
    assert_eq!(rig.get(&one).await.status, 200);
}

#[tokio::test]
async fn an_event_that_very_many_could_have_wanted_says_so_page_by_page() {
    let rig = Rig::start().await;
    let past = Past::of(&rig, "1").await;
    let one = rig.store.notification(past.notification).await.expect("read").expect("there");
    let mut expected = vec![past.notification.to_string()];
    for number in 1..=1000_u128 {
        let id = NotificationId::from(Uuid::from_u128(number));
        // More than one place may have.
        let scope = if number % 2 == 0 { one.scope.clone() } else { Scope::Registry };
        let more = Notification { id, scope, ..one.clone() };
        rig.store.create_notification(&more).await.expect("created");
        expected.push(id.to_string());
    }
    expected.sort_unstable();
    let page = async |query: &str| {
        let event = rig.get(&format!("/v1/events/1{query}")).await.json()["events"][0].clone();
        let rows = event["considered"].as_array().expect("a list");
        let ids: Vec<_> =
            rows.iter().filter_map(|row| row["notification"].as_str()).map(str::to_owned).collect();
        (ids, event["considered_all"].clone(), event["next"].as_str().map(str::to_owned))
    };
    let (mut ids, is_all, next) = page("").await;
    assert_eq!((ids.len(), is_all, &next), (1000, json!(false), &ids.last().cloned()));
    let (rest, is_all, next) = page(&format!("?after={}", next.expect("more"))).await;
    assert_eq!((rest.len(), is_all, next), (1, json!(true), None));
    ids.extend(rest);
    assert_eq!(ids, expected);
}

#[tokio::test]
async fn a_notification_that_is_not_understood_matches_as_the_fan_out_has_it_and_is_held() {
    let rig = Rig::start().await;
    let past = Past::of(&rig, "1").await;
    let one = rig.store.notification(past.notification).await.expect("read").expect("there");
    let id = NotificationId::from(Uuid::from_u128(1));
    // As a later version of the program may store it.
    let odd = Notification { id, method: "carrier_pigeon".to_owned(), ..one };
    rig.store.create_notification(&odd).await.expect("created");
    let event = rig.get(&format!("/v1/events/1?notification={id}")).await.json()["events"][0].clone();
    let verdict = &event["considered"][0];
    assert_eq!((&verdict["matches"], &verdict["refused_by"]), (&json!(true), &Value::Null), "{verdict}");
    assert_eq!(verdict["delivery"], json!(DeliveryId::derive(&past.event.source, "1", id)));
    let held = verdict["held"].as_str().expect("a reason");
    assert!(held.contains("can't be understood") && held.contains("carrier_pigeon"), "{held}");
    let said = rig.get(&format!("/v1/notifications/{id}/explain")).await.json();
    assert_eq!((&said["events"][0]["matches"], &said["why"][0]), (&json!(true), &json!(held)), "{said}");
}

#[tokio::test]
async fn findings_that_are_collected_are_why_nothing_came_yet() {
    let rig = Rig::start().await;
    let past = Past::of(&rig, "1").await;
    let collected = ["a", "b"].map(|event| Collected {
        delivery: DeliveryId::derive("registry.example.com", event, past.notification),
        notification: past.notification,
        method: "webhook".into(),
        source: "registry.example.com".into(),
        subject: "acme/api".into(),
        message: Uuid::nil(),
        due_at: at(60_000),
        body: b"{}".to_vec(),
    });
    rig.store.collect(&collected).await.expect("collected");
    let record = past.attempt(1, "cancelled", DeliveryState::Cancelled, Some(CauseCode::Digested));
    rig.store.record(&[record], 3).await.expect("recorded");
    let said = rig.get(&format!("/v1/notifications/{}/explain", past.notification)).await.json();
    let due = at(60_000).to_string();
    assert_eq!(said["collecting"], json!([{"subject": "acme/api", "events": 2, "due_at": due}]), "{said}");
    let why = said["why"].to_string();
    let sentence = format!("findings in acme/api are collected, 2 so far, and are told together at {due}");
    assert!(why.contains(&sentence), "{why}");
    assert_eq!(said["events"][0]["cause"]["code"], "digested", "{said}");
}

#[tokio::test]
async fn dead_letters_are_listed_without_and_shown_with_their_bytes() {
    let rig = Rig::start().await;
    let letter = |n: u128, reason: &str, body: &[u8]| DeadLetter {
        id: Uuid::from_u128(n),
        origin: "ingest.distribution".into(),
        reason: reason.into(),
        detail: "not JSON".into(),
        delivery: None,
        notification: None,
        method: None,
        subject: None,
        attempts: 0,
        body: body.to_vec(),
        died_at: at(i64::try_from(n).expect("a small number")),
    };
    let letters = [letter(1, "undecodable", b"{\"a\":1}"), letter(2, "poisoned", b"\xff\x00")];
    rig.store.archive_dead_letters(&letters).await.expect("archived");
    let page = rig.get("/v1/dead-letters?origin=ingest.distribution&limit=5").await.json();
    let ids: Vec<&str> =
        page["dead_letters"].as_array().expect("rows").iter().filter_map(|row| row["id"].as_str()).collect();
    assert_eq!(ids, [letters[1].id.to_string(), letters[0].id.to_string()]);
    assert_eq!(
        (&page["dead_letters"][0]["body_bytes"], page["dead_letters"][0].get("body")),
        (&json!(2), None)
    );
    let text = rig.get(&format!("/v1/dead-letters/{}", letters[0].id)).await.json();
    assert_eq!((&text["body"], &text["body_encoding"]), (&json!("{\"a\":1}"), &json!("utf-8")));
    let bytes = rig.get(&format!("/v1/dead-letters/{}", letters[1].id)).await.json();
    assert_eq!((&bytes["body"], &bytes["body_encoding"]), (&json!("/wA="), &json!("base64")));
    let filtered = rig.get("/v1/dead-letters?reason=poisoned").await.json();
    assert_eq!(filtered["dead_letters"].as_array().map(Vec::len), Some(1));
    problem(&rig.get(&format!("/v1/dead-letters/{}", Uuid::nil())).await, 404);
    problem(&rig.get("/v1/dead-letters/x").await, 404);
    problem(&rig.get("/v1/dead-letters?after=x").await, 400);
}
