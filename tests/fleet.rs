//! The fleet: every role a process of its own, RabbitMQ between them, PostgreSQL below them.

mod support;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bellbuoy_testkit::amqp::{Producer, Publication};
use bellbuoy_testkit::postgres::Postgres;
use bellbuoy_testkit::process::free_port;
use bellbuoy_testkit::rabbitmq::Node;
use bellbuoy_testkit::receiver::{Answer, Receiver, Recorded, Reply};
use bellbuoy_testkit::wait::eventually;
use http::Method;
use serde_json::json;
use support::{Client, Deployment, ENDED, SOON, TOKEN, push};
use tokio::time::Instant;

/// Events published before each kill, or before other trouble.
const WAVE: usize = 100;

fn tags(receiver: &Receiver) -> HashSet<String> {
    let requests = receiver.requests();
    let bodies =
        requests.iter().filter_map(|request| serde_json::from_slice::<serde_json::Value>(&request.body).ok());
    bodies.filter_map(|body| body["updated_tags"][0].as_str().map(str::to_owned)).collect()
}

#[tokio::test]
async fn roles_in_processes_of_their_own_deliver_everything_although_each_is_killed() {
    let (node, postgres) = tokio::join!(Node::start(), Postgres::start());
    node.add_vhosts(&["fleet"]).await;
    let fleet = Deployment::new(&node.url("fleet"), &postgres.database().await, &[]);
    let receiver = Receiver::start().await.expect("a receiver");
    receiver.script("/hook", vec![Answer::FailSome { status: 503, one_in: 3, seed: 11 }]);

    let (code, said) = fleet.command(&["topology", "check"]).await;
    assert!(code == Some(1) && said.contains("bellbuoy.events"), "{code:?} {said}");
    let (code, said) = fleet.command(&["topology", "apply"]).await;
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = fleet.command(&["topology", "check"]).await;
    assert_eq!(code, Some(0), "{said}");

    let api_member = fleet.role("api").await;
    let api = api_member.client().await;
    let (fanout, deliver, record) =
        tokio::join!(fleet.role("fanout"), fleet.role("deliver"), fleet.role("record"));
    api.webhook("acme/api", "repo_push", &receiver.url("/hook")).await;

    let mut running = vec![fanout, deliver, record];
    for member in &mut running {
        for number in 0..WAVE {
            let id = format!("{}-{number}", member.name);
            api.publish(&push(&id, "acme/api", &id)).await;
        }
        member.launch_again(&fleet);
        member.until_ready().await;
    }

    let deliveries = api.until("source=journeys", WAVE * running.len(), ENDED).await;
    let arrived = tags(&receiver);
    for delivery in &deliveries {
        let event = delivery["event"].as_str().expect("an id");
        match delivery["state"].as_str() {
            Some("delivered") => assert!(arrived.contains(event), "{event} never arrived"),
            state => assert_eq!(state, Some("dead"), "{delivery}"),
        }
    }
    let dead = deliveries.iter().filter(|delivery| delivery["state"] == "dead").count();
    assert!(dead < WAVE / 2, "{dead} of {} deliveries were given up", deliveries.len());
    for member in running {
        member.stop().await;
    }
    assert!(!fleet.folder().join("bellbuoy-data").exists(), "a fleet leaves nothing on disk");
}

#[tokio::test]
async fn shards_can_be_added_while_deliveries_wait_and_what_stands_beyond_them_is_pointed_out() {
    const NOTIFICATIONS: usize = 12;
    let (node, postgres) = tokio::join!(Node::start(), Postgres::start());
    node.add_vhosts(&["fleet"]).await;
    let (broker, store) = (node.url("fleet"), postgres.database().await);
    let one = Deployment::new(&broker, &store, &[]);
    let three = Deployment::new(&broker, &store, &[("BELLBUOY_LIMITS__SHARDS", "3")]);
    let receiver = Receiver::start().await.expect("a receiver");
    one.apply_topology().await;
    let (api, fanout, record) = tokio::join!(one.role("api"), one.role("fanout"), one.role("record"));
    let client = api.client().await;
    for number in 0..NOTIFICATIONS {
        client.webhook("acme/api", "repo_push", &receiver.url(&format!("/hook/{number}"))).await;
    }
    client.publish(&push("before", "acme/api", "before")).await;
    client.until("source=journeys", NOTIFICATIONS, &["pending"]).await;

    fanout.stop().await;
    three.apply_topology().await;
    let fanout = three.role("fanout").await;
    client.publish(&push("after", "acme/api", "after")).await;
    client.until("source=journeys", 2 * NOTIFICATIONS, &["pending"]).await;
    let (code, said) = three.command(&["topology", "check"]).await;
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = one.command(&["topology", "check"]).await;
    assert_eq!(code, Some(1), "{said}");
    for shard in ["bellbuoy.deliver.webhook.1", "bellbuoy.deliver.webhook.2"] {
        assert!(said.contains(&format!("queue `{shard}` holds")), "{shard} has its share: {said}");
    }

    let deliver = three.role("deliver").await;
    client.until("source=journeys", 2 * NOTIFICATIONS, &["delivered"]).await;
    let paths: HashSet<_> = receiver.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(paths.len(), NOTIFICATIONS);
    let (code, said) = one.command(&["topology", "check"]).await;
    assert_eq!(code, Some(0), "shards that are empty do no harm: {said}");
    for member in [api, fanout, record, deliver] {
        member.stop().await;
    }
}

/// A RabbitMQ, a PostgreSQL, and what every process of a fleet on them is told.
async fn grounds(settings: &[(&str, &str)]) -> (Node, Postgres, Deployment) {
    let (node, postgres) = tokio::join!(Node::start(), Postgres::start());
    node.add_vhosts(&["fleet"]).await;
    let fleet = Deployment::new(&node.url("fleet"), &postgres.database().await, settings);
    fleet.apply_topology().await;
    (node, postgres, fleet)
}

#[tokio::test]
async fn a_memory_alarm_is_told_to_producers_and_work_goes_on_by_itself_when_it_is_over() {
    let (node, _postgres, fleet) = grounds(&[("BELLBUOY_LIMITS__IN_FLIGHT", "8")]).await;
    let (api, fanout, deliver, record) =
        tokio::join!(fleet.role("api"), fleet.role("fanout"), fleet.role("deliver"), fleet.role("record"));
    let receiver = Receiver::start().await.expect("a receiver");
    receiver.script("/hook", [Answer::OnRelease(Reply::new(200))]);
    let client = api.client().await;
    client.webhook("acme/api", "repo_push", &receiver.url("/hook")).await;
    let id = |number: usize| format!("event-{number}");
    for number in 0..WAVE {
        client.publish(&push(&id(number), "acme/api", &id(number))).await;
    }
    // Some are under way and some wait when it comes.
    receiver.wait_for(8, |_| true).await.expect("work has begun");
    client.until("", WAVE, &["pending"]).await;
    node.ctl(&["set_vm_memory_high_watermark", "0.0000001"]).await;
    receiver.release();

    let refused = eventually(SOON, async || {
        let answer = client.try_publish(&push("refused", "acme/api", "refused")).await.expect("an answer");
        (answer.status != 202).then_some(answer)
    });
    let refused = refused.await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.headers.contains_key("retry-after"), "{refused:?}");
    // Whoever tried to publish learns of it.
    for member in [&api, &deliver] {
        let client = member.client().await;
        eventually(SOON, async || {
            let ready = client.send(Method::GET, "/readyz", "", "").await;
            let why = ready.json()["checks"]["broker"].to_string();
            (ready.status == 503 && why.contains("takes no messages")).then_some(())
        })
        .await;
        let alive = client.send(Method::GET, "/healthz", "", "").await;
        assert_eq!(alive.status, 200, "an alarm is no reason to be started again");
    }
    let sent = receiver.requests().len();
    assert!(sent < WAVE / 2, "{sent} requests were made although their outcomes could not be kept");
    // One that a producer repeats until it is taken, as it was told to.
    let event = push("repeated", "acme/api", "repeated");
    let taken = eventually(SOON, async || {
        let answer = client.try_publish(&event).await.expect("an answer");
        (answer.status == 202).then_some(())
    });
    tokio::join!(taken, node.ctl(&["set_vm_memory_high_watermark", "0.6"]));
    client.publish(&push("refused", "acme/api", "refused")).await;

    client.until("", WAVE + 2, &["delivered"]).await;
    let mut expected: HashSet<_> = (0..WAVE).map(id).collect();
    expected.extend(["refused".to_owned(), "repeated".to_owned()]);
    assert_eq!(tags(&receiver), expected);
    assert_eq!(receiver.requests().len(), expected.len(), "claims were kept, so nothing came twice");
    for member in [api, fanout, deliver, record] {
        member.until_ready().await;
        member.stop().await;
    }
}

#[tokio::test]
async fn two_deliver_processes_share_a_backlog_and_the_death_of_one_costs_its_attempts_in_flight_at_most() {
    const BACKLOG: usize = 400;
    const IN_FLIGHT: u8 = 8;
    let (_node, _postgres, fleet) = grounds(&[("BELLBUOY_LIMITS__IN_FLIGHT", "8")]).await;
    let (api, _fanout, _record) = tokio::join!(fleet.role("api"), fleet.role("fanout"), fleet.role("record"));
    let receiver = Receiver::start().await.expect("a receiver");
    receiver.script("/hook", [Answer::OnRelease(Reply::new(200))]);
    receiver.answer_after(Duration::from_millis(50));
    let client = api.client().await;
    client.webhook("acme/api", "repo_push", &receiver.url("/hook")).await;
    for number in 0..BACKLOG {
        client.publish(&push(&format!("event-{number}"), "acme/api", "v1")).await;
    }
    client.until("", BACKLOG, &["pending"]).await;

    let members = ["deliver-0", "deliver-1"].map(|name| fleet.member(name, "deliver"));
    let clients = [members[0].client().await, members[1].client().await];
    for client in &clients {
        // Both at once: the receiver lets nobody go.
        eventually(SOON, async || {
            let in_flight = client.counted("bellbuoy_deliveries_in_flight", &[r#"method="webhook""#]).await;
            (in_flight > f64::from(IN_FLIGHT) - 0.5).then_some(())
        })
        .await;
    }
    receiver.wait_for(usize::from(2 * IN_FLIGHT), |_| true).await.expect("both are at work");
    assert_eq!(
        receiver.requests().len(),
        usize::from(2 * IN_FLIGHT),
        "as many as the two may have in flight"
    );

    receiver.release();
    receiver.wait_for(BACKLOG / 2, |_| true).await.expect("half of the backlog");
    let attempts = async |client: &Client| client.counted("bellbuoy_delivery_attempts_total", &[]).await;
    let made = [attempts(&clients[0]).await, attempts(&clients[1]).await];
    let share = made[0] / (made[0] + made[1]);
    assert!((0.3..0.7).contains(&share), "of {made:?} attempts the first made {share:.2}");
    members[1].kill_9();
    let killed = Instant::now();

    client.until("", BACKLOG, &["delivered"]).await;
    let mut seen = HashMap::<String, Recorded>::new();
    let mut repeats = 0;
    for request in receiver.requests() {
        let id = request.header("webhook-id").expect("an id").to_owned();
        if let Some(earlier) = seen.insert(id, request) {
            repeats += 1;
            let ended = receiver.ended(earlier.connection).expect("its sender is gone");
            assert!(
                earlier.at <= ended && killed - Duration::from_secs(1) <= ended,
                "{earlier:?} was not cut off"
            );
        }
    }
    assert_eq!(seen.len(), BACKLOG);
    assert!(repeats <= usize::from(IN_FLIGHT), "{repeats} attempts were made twice");
}

#[tokio::test]
async fn a_hung_attempt_of_a_process_that_is_told_to_stop_is_made_again_by_another() {
    let (_node, _postgres, fleet) = grounds(&[("BELLBUOY_LIMITS__DRAIN_SECONDS", "1")]).await;
    let (api, _fanout, _record) = tokio::join!(fleet.role("api"), fleet.role("fanout"), fleet.role("record"));
    let members = ["deliver-0", "deliver-1"].map(|name| fleet.member(name, "deliver"));
    let receiver = Receiver::start().await.expect("a receiver");
    receiver.script("/hook", [Answer::Never, Answer::status(200)]);
    let client = api.client().await;
    client.webhook("acme/api", "repo_push", &receiver.url("/hook")).await;
    client.publish(&push("one", "acme/api", "v1")).await;
    let hung = eventually(SOON, async || {
        for (place, member) in members.iter().enumerate() {
            let labels = [r#"method="webhook""#];
            if member.client().await.counted("bellbuoy_deliveries_in_flight", &labels).await > 0.5 {
                return Some(place);
            }
        }
        None
    });
    let hung = &members[hung.await];
    receiver.wait_for(1, |_| true).await.expect("an attempt");
    let asked = Instant::now();
    hung.stop().await;
    let took = asked.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(15), "{took:?}");
    let rows = client.until("", 1, &["delivered"]).await;
    assert_eq!(rows[0]["attempt_count"], 1, "the attempt that we cut off is not spent: {rows:?}");
    let requests = receiver.requests();
    let numbers: Vec<_> = requests.iter().map(|request| request.header("bellbuoy-attempt")).collect();
    assert_eq!(numbers, [Some("1"), Some("1")]);
    assert_ne!(requests[0].connection, requests[1].connection);
}

#[tokio::test]
async fn an_edited_address_serves_another_process_within_moments_and_the_retries_that_wait_there() {
    let (_node, _postgres, fleet) = grounds(&[("BELLBUOY_RETRY__STEPS", "3s,3s,3s,3s")]).await;
    let (api, _fanout, _deliver, _record) =
        tokio::join!(fleet.role("api"), fleet.role("fanout"), fleet.role("deliver"), fleet.role("record"));
    let receiver = Receiver::start().await.expect("a receiver");
    receiver.script("/old", [Answer::status(503), Answer::status(200)]);
    let client = api.client().await;
    let body = |path: &str| {
        json!({"scope": {"repository": "acme/api"}, "kinds": ["repo_push"], "method": "webhook",
            "config": {"url": receiver.url(path)}})
    };
    let wish = client.wish(&body("/old")).await;
    client.publish(&push("waits", "acme/api", "waits")).await;
    client.until("", 1, &["waiting"]).await;
    // From now on the other process has it in its cache.
    let path = format!("/v1/notifications/{}", wish.id);
    let answer = client.send(Method::PUT, &path, "application/json", body("/new").to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let edited = Instant::now();

    let mut published = 0;
    eventually(SOON, async || {
        published += 1;
        let id = format!("event-{published}");
        client.publish(&push(&id, "acme/api", &id)).await;
        receiver.wait_for(1, |request| is_of(request, &id)).await.expect("it was sent");
        receiver.requests().iter().any(|request| is_of(request, &id) && request.path == "/new").then_some(())
    })
    .await;
    // A quarter of a second is promised; the rest is for a busy machine.
    assert!(edited.elapsed() < Duration::from_secs(5), "{:?}", edited.elapsed());
    let rows = client.until("", published + 1, &["delivered"]).await;
    let paths: Vec<_> = receiver
        .requests()
        .into_iter()
        .filter(|request| is_of(request, "waits"))
        .map(|request| request.path)
        .collect();
    assert_eq!(paths, ["/old", "/new"], "{rows:?}");
}

fn is_of(request: &Recorded, tag: &str) -> bool {
    let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap_or_default();
    body["updated_tags"][0] == tag
}

#[tokio::test]
async fn a_process_that_starts_before_its_broker_and_its_store_says_what_it_waits_for_and_then_works() {
    let (mut node, mut postgres, fleet) = grounds(&[]).await;
    let receiver = Receiver::start().await.expect("a receiver");
    node.kill_9();
    postgres.kill_9();
    let address = format!("127.0.0.1:{}", free_port());
    let process = fleet.launch_at("all", &["serve"], &address);
    let client = Client::new(&format!("http://{address}"), TOKEN);
    let check = async |part: &str| {
        let ready = client.try_send(Method::GET, "/readyz", "", "").await.ok()?;
        (ready.status == 503).then(|| ready.json()["checks"][part].to_string())
    };
    eventually(SOON, async || check("store").await.filter(|why| why.contains("waiting for the store"))).await;
    let alive = client.send(Method::GET, "/healthz", "", "").await;
    assert_eq!(alive.status, 200, "waiting is no reason to be started again");
    let early = client.try_publish(&push("early", "acme/api", "early")).await.expect("an answer");
    assert_eq!(
        (early.status.as_u16(), early.headers.contains_key("retry-after")),
        (503, true),
        "{}",
        early.text()
    );

    postgres.start_again().await;
    eventually(SOON, async || check("broker").await.filter(|why| why != "\"ok\"" && why != "null")).await;
    assert!(process.is_running());
    node.start_again().await;
    process.wait_for_ok(&format!("http://{address}/readyz"), SOON).await;
    client.webhook("acme/api", "repo_push", &receiver.url("/hook")).await;
    client.publish(&push("one", "acme/api", "one")).await;
    client.until("", 1, &["delivered"]).await;
}

/// The exchange and the media type that the published document tells producers.
fn told_to_producers() -> (String, String) {
    let document: serde_json::Value =
        serde_json::from_str(include_str!("../deploy/asyncapi.json")).expect("JSON");
    let at = |pointer: &str| {
        document.pointer(pointer).and_then(serde_json::Value::as_str).expect(pointer).to_owned()
    };
    (at("/channels/events/bindings/amqp/exchange/name"), at("/components/messages/event/contentType"))
}

#[tokio::test]
async fn an_event_that_a_producer_publishes_twice_over_amqp_is_delivered_once() {
    let (node, _postgres, fleet) = grounds(&[]).await;
    // Nothing is recorded meanwhile, so that the store doesn't know yet that the first was fanned out.
    let (api, _fanout, _deliver) =
        tokio::join!(fleet.role("api"), fleet.role("fanout"), fleet.role("deliver"));
    let receiver = Receiver::start().await.expect("a receiver");
    let client = api.client().await;
    client.webhook("acme/api", "repo_push", &receiver.url("/hook")).await;
    let (exchange, content_type) = told_to_producers();
    let mut producer = Producer::new([node.url("fleet")]);
    let mut publish = async |id: &str| {
        let body = push(id, "acme/api", id).to_string();
        let publication = Publication {
            exchange: &exchange,
            key: "repo_push",
            content_type: &content_type,
            message_id: Some(id),
            body: body.as_bytes(),
        };
        producer.publish(publication).await.expect("confirmed");
    };
    // At once, and once more when the first is through.
    publish("one").await;
    publish("one").await;
    receiver.wait_for(1, |request| is_of(request, "one")).await.expect("it was sent");
    publish("one").await;
    publish("two").await;
    receiver.wait_for(1, |request| is_of(request, "two")).await.expect("it was sent");
    let _record = fleet.role("record").await;
    client.until("", 2, &["delivered"]).await;
    publish("one").await;
    publish("three").await;
    client.until("", 3, &["delivered"]).await;
    assert_eq!(receiver.requests().len(), 3, "{:?}", receiver.requests());
}

#[tokio::test]
async fn a_receiver_never_has_more_requests_than_its_cap_whatever_becomes_of_the_processes_that_send_them() {
    const EVENTS: usize = 700;
    const SETTINGS: &[(&str, &str)] = &[
        ("BELLBUOY_LIMITS__IN_FLIGHT", "16"),
        ("BELLBUOY_LIMITS__PER_NOTIFICATION", "6"),
        ("BELLBUOY_LIMITS__PER_HOST", "8"),
        ("BELLBUOY_OUTBOUND__DEADLINE_SECONDS", "1"),
        ("BELLBUOY_OUTBOUND__CONNECT_TIMEOUT_SECONDS", "1"),
        ("BELLBUOY_SMTP__DEADLINE_SECONDS", "1"),
        ("BELLBUOY_LIMITS__SLOT_LEASE_SECONDS", "2"),
    ];
    let (node, postgres) = tokio::join!(Node::start(), Postgres::start());
    node.add_vhosts(&["fleet"]).await;
    let store = postgres.database().await;
    let database = store.rsplit('/').next().expect("a name");
    let fleet = Deployment::new(&node.url("fleet"), &store, SETTINGS);
    fleet.apply_topology().await;
    let (api, _fanout, _record) = tokio::join!(fleet.role("api"), fleet.role("fanout"), fleet.role("record"));
    let receiver = Receiver::start().await.expect("a receiver");
    receiver.answer_after(Duration::from_millis(100));
    let client = api.client().await;
    for path in ["/one", "/two"] {
        client.webhook("acme/api", "repo_push", &receiver.url(path)).await;
    }
    let events: Vec<_> =
        (0..EVENTS).map(|number| push(&format!("event-{number}"), "acme/api", "v1")).collect();
    let body = serde_json::to_vec(&events).expect("JSON");
    let answer = client.send(Method::POST, "/v1/events", "application/cloudevents-batch+json", body).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    client.until("", 2 * EVENTS, &["pending"]).await;

    let members =
        ["deliver-0", "deliver-1", "deliver-2", "deliver-3"].map(|name| fleet.member(name, "deliver"));
    for member in &members {
        let client = member.client().await;
        eventually(SOON, async || {
            let made = client.counted("bellbuoy_delivery_attempts_total", &[r#"outcome="delivered""#]).await;
            (made > 4.5).then_some(())
        })
        .await;
    }
    members[0].kill_9();
    members[1].process.pause();
    eventually(SOON, async || {
        let processes = postgres.sql(database, "SELECT count(DISTINCT process) FROM slots").await;
        (processes == "2").then_some(())
    })
    .await;
    let before = receiver.requests().len();
    assert!(before < 2 * EVENTS, "all was over before the leases of the dead and of the stopped were");
    receiver.wait_for(before + 50, |_| true).await.expect("the other two go on");
    members[1].process.resume();
    client.until("", 2 * EVENTS, &["delivered"]).await;
    for path in ["/one", "/two"] {
        let most = receiver.most_at_once(Some(path));
        assert!((4..=6).contains(&most), "{most} requests at a time to {path}");
    }
    assert_eq!(receiver.most_at_once(None), 8, "as many as the host takes, and no more");

    members[1].stop().await;
    members[2].stop().await;
    let left = postgres.sql(database, "SELECT count(DISTINCT process) FROM slots WHERE held > 0").await;
    assert!(left == "1" || left == "0", "who stops gives back what it has: {left} have slots");
}
