//! The fleet: every role a process of its own, RabbitMQ between them, PostgreSQL below them.

mod support;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bellbuoy_testkit::amqp::{Operator, Producer, Publication};
use bellbuoy_testkit::certs::Authority;
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
    const NOTIFICATIONS: usize = 60;
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
    client.until("", WAVE, &["pending", "waiting"]).await;
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
            let blocked = client.counted("bellbuoy_broker_blocked", &[]).await > 0.5;
            (ready.status == 503 && why.contains("takes no messages") && blocked).then_some(())
        })
        .await;
        let connected = client.counted("bellbuoy_broker_connected", &[]).await;
        assert!(connected > 1.5, "both connections stand");
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
        let client = member.client().await;
        let blocked = async || client.counted("bellbuoy_broker_blocked", &[]).await > 0.5;
        eventually(SOON, async || (!blocked().await).then_some(())).await;
        member.stop().await;
    }
}

#[tokio::test]
async fn a_worker_that_is_told_to_stop_during_an_alarm_gives_back_what_it_can_not_send_on() {
    let (node, _postgres, fleet) = grounds(&[("BELLBUOY_LIMITS__DRAIN_SECONDS", "1")]).await;
    let (api, _deliver, _record) =
        tokio::join!(fleet.role("api"), fleet.role("deliver"), fleet.role("record"));
    let receiver = Receiver::start().await.expect("a receiver");
    let client = api.client().await;
    client.webhook("acme/api", "repo_push", &receiver.url("/hook")).await;
    let id = |number: usize| format!("event-{number}");
    for number in 0..WAVE {
        client.publish(&push(&id(number), "acme/api", &id(number))).await;
    }
    node.ctl(&["set_vm_memory_high_watermark", "0.0000001"]).await;
    let mut fanout = fleet.member("fanout", "fanout");
    fanout.process.wait_for_line("done work waits for its way out", SOON).await;
    fanout.stop().await;

    node.ctl(&["set_vm_memory_high_watermark", "0.6"]).await;
    fanout.launch_again(&fleet);
    client.until("", WAVE, &["delivered"]).await;
    assert_eq!(tags(&receiver), (0..WAVE).map(id).collect());
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
async fn a_second_process_doubles_the_throughput_of_a_receiver_that_takes_long_to_answer() {
    const EACH: usize = 500;
    const BATCHES: usize = 6;
    let (_node, _postgres, fleet) = grounds(&[("BELLBUOY_LIMITS__IN_FLIGHT", "8")]).await;
    let (api, _fanout, _record) = tokio::join!(fleet.role("api"), fleet.role("fanout"), fleet.role("record"));
    let receiver = Receiver::start().await.expect("a receiver");
    // So that the processors have nothing to do, and what counts is how many requests are under way.
    receiver.answer_after(Duration::from_millis(50));
    let client = api.client().await;
    client.webhook("acme/api", "repo_push", &receiver.url("/hook")).await;
    for batch in 0..BATCHES {
        let event = |number| push(&format!("event-{batch}-{number}"), "acme/api", "v1");
        let body = serde_json::to_vec(&(0..EACH).map(event).collect::<Vec<_>>()).expect("JSON");
        let answer =
            client.send(Method::POST, "/v1/events", "application/cloudevents-batch+json", body).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
    }
    client.until("", BATCHES * EACH, &["pending"]).await;

    // Requests a second, over the next so many.
    let rate = async |count: usize| {
        let first = receiver.requests().len();
        let requests = receiver.wait_for(first + count, |_| true).await.expect("they come");
        let span = requests[first + count - 1].at - requests[first].at;
        f64::from(u32::try_from(count).expect("a few")) / span.as_secs_f64()
    };
    let first = fleet.role("deliver").await;
    receiver.wait_for(20, |_| true).await.expect("it is at work");
    let alone = rate(EACH).await;
    let second = fleet.member("deliver-1", "deliver");
    let at_work = second.client().await;
    eventually(SOON, async || {
        let in_flight = at_work.counted("bellbuoy_deliveries_in_flight", &[]).await;
        (in_flight > 6.5).then_some(())
    })
    .await;
    let together = rate(EACH).await;
    let ratio = together / alone;
    assert!((1.6..2.4).contains(&ratio), "{alone:.0} a second alone, {together:.0} together: {ratio:.2}");
    assert_eq!(receiver.most_at_once(None), 16);
    client.until("", BATCHES * EACH, &["delivered"]).await;
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn a_replay_that_the_death_of_api_store_or_broker_breaks_off_is_run_again_and_loses_none() {
    const LETTERS: usize = 60;
    let settings = [
        ("BELLBUOY_RETRY__STEPS", "1ms"),
        ("BELLBUOY_RETRY__CLIENT_ERROR_ATTEMPTS", "1"),
        ("BELLBUOY_LIMITS__FAILURES", "1000000"),
    ];
    let (mut node, mut postgres, fleet) = grounds(&settings).await;
    let (mut api, _fanout, _deliver, _record) =
        tokio::join!(fleet.role("api"), fleet.role("fanout"), fleet.role("deliver"), fleet.role("record"));
    let receiver = Receiver::start().await.expect("a receiver");
    receiver.script("/hook", [Answer::status(400)]);
    let client = api.client().await;
    client.webhook("acme/api", "repo_push", &receiver.url("/hook")).await;
    for number in 0..LETTERS {
        client.publish(&push(&format!("event-{number}"), "acme/api", "v1")).await;
    }
    eventually(SOON, async || (client.dead_letters("").await.len() == LETTERS).then_some(())).await;
    receiver.script("/hook", [Answer::status(200)]);
    receiver.clear();

    let replay = async |api: &support::Member| {
        let url = api.url().await;
        let args =
            ["dead-letters", "replay", "--all", "--yes", "--rate", "20/s", "--url", &url, "--token", TOKEN];
        fleet.launch("replay", &args)
    };
    for victim in ["api", "store", "broker"] {
        let running = replay(&api).await;
        let seen = receiver.requests().len();
        receiver.wait_for(seen + 5, |_| true).await.expect("it is under way");
        match victim {
            "api" => api.kill_9(),
            "store" => postgres.kill_9(),
            _ => node.kill_9(),
        }
        let code = running.wait_exit(SOON).await.code();
        let said = running.lines().join("\n");
        assert!(code == Some(1) && said.contains("run it again to go on"), "{victim}: {code:?} {said}");
        match victim {
            "api" => api.launch_again(&fleet),
            "store" => postgres.start_again().await,
            _ => node.start_again().await,
        }
        api.until_ready().await;
    }
    let last = replay(&api).await;
    assert_eq!(last.wait_exit(SOON).await.code(), Some(0), "{}", last.lines().join("\n"));
    let client = api.client().await;
    assert!(client.dead_letters("").await.is_empty());
    client.until("", LETTERS, &["delivered"]).await;
    let arrived: HashSet<_> = receiver
        .requests()
        .iter()
        .filter_map(|request| request.header("webhook-id").map(str::to_owned))
        .collect();
    assert_eq!(arrived.len(), LETTERS, "each at least once");
}

#[tokio::test]
async fn a_fleet_speaks_to_rabbitmq_over_tls_with_both_certificates() {
    let ours = Authority::new("ours").expect("an authority");
    let server = ours.server(&["127.0.0.1"]).expect("a certificate");
    let us = ours.client("bellbuoy").expect("a certificate");
    let port = free_port();
    let (node, postgres) = tokio::join!(Node::start_with_tls(port, &ours, &server), Postgres::start());
    node.add_vhosts(&["fleet"]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, pem: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, pem).expect("written");
        path.to_string_lossy().into_owned()
    };
    let (ca, certificate, key) =
        (write("ca.pem", &ours.pem()), write("us.crt", &us.cert_pem), write("us.key", &us.key_pem));
    let url = format!("amqps://guest:guest@127.0.0.1:{port}/fleet");
    let store = postgres.database().await;
    let identity =
        [("BELLBUOY_BROKER__CLIENT_CERTIFICATE", &*certificate), ("BELLBUOY_BROKER__CLIENT_KEY", &key)];
    let nobody = Deployment::new(&url, &store, &[("BELLBUOY_BROKER__CA", &ca)]);
    let trusting = Deployment::new(&url, &store, &identity);
    for stranger in [&nobody, &trusting] {
        let (code, said) = stranger.command(&["topology", "apply"]).await;
        assert_eq!(code, Some(1), "{said}");
    }
    let fleet = Deployment::new(&url, &store, &[&identity[..], &[("BELLBUOY_BROKER__CA", &*ca)]].concat());
    fleet.apply_topology().await;
    let serving = fleet.launch("all", &["serve"]);
    let url = eventually(SOON, async || support::url_of(&serving)).await;
    serving.wait_for_ok(&format!("{url}/readyz"), SOON).await;
    let client = Client::new(&url, TOKEN);
    let receiver = Receiver::start().await.expect("a receiver");
    client.webhook("acme/api", "repo_push", &receiver.url("/hook")).await;
    client.publish(&push("one", "acme/api", "one")).await;
    client.until("", 1, &["delivered"]).await;
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
async fn a_lost_connection_costs_a_worker_what_it_has_in_hand_and_no_further_delivery_waits_for_that() {
    let (node, _postgres, fleet) = grounds(&[]).await;
    let (api, _fanout, deliver, _record) =
        tokio::join!(fleet.role("api"), fleet.role("fanout"), fleet.role("deliver"), fleet.role("record"));
    let receiver = Receiver::start().await.expect("a receiver");
    receiver.script("/hung", [Answer::Never, Answer::status(200)]);
    receiver.script("/slow", [Answer::OnRelease(Reply::new(200)), Answer::status(200)]);
    let client = api.client().await;
    for name in ["hung", "slow", "good"] {
        client.webhook(&format!("acme/{name}"), "repo_push", &receiver.url(&format!("/{name}"))).await;
    }
    let arrive = async |name: &str, count: usize| {
        let path = format!("/{name}");
        receiver.wait_for(count, |request| request.path == path).await.expect("requests")
    };
    client.publish(&push("hung", "acme/hung", "v1")).await;
    client.publish(&push("slow", "acme/slow", "v1")).await;
    arrive("hung", 1).await;
    arrive("slow", 1).await;
    node.ctl(&["close_all_connections", "--global", "by the operator"]).await;
    client.publish(&push("good-1", "acme/good", "v1")).await;
    arrive("good", 1).await;
    // It has a new connection, and on the old one nothing can be settled any more.
    receiver.release();
    arrive("slow", 2).await;
    client.publish(&push("good-2", "acme/good", "v2")).await;
    arrive("good", 2).await;
    // One that starts anew would wait for the attempt that hangs, and take nothing meanwhile.
    let restarts = deliver.client().await.counted("bellbuoy_worker_restarts_total", &[]).await;
    assert!(restarts < 0.5, "{restarts} restarts");
    client.until("", 4, &["delivered"]).await;
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

#[tokio::test]
async fn an_edit_a_pause_and_a_deletion_reach_every_process_within_a_second() {
    const EVENTS: usize = 40;
    const PROMISED: Duration = Duration::from_secs(1);
    let (_node, _postgres, fleet) = grounds(&[
        ("BELLBUOY_RETRY__STEPS", "4s,4s,4s,4s,4s,4s"),
        ("BELLBUOY_LIMITS__CIRCUIT_FAILURES", "1000000"),
        ("BELLBUOY_LIMITS__IN_FLIGHT", "16"),
    ])
    .await;
    let (api, _fanout, _record) = tokio::join!(fleet.role("api"), fleet.role("fanout"), fleet.role("record"));
    let members = ["deliver-0", "deliver-1"].map(|name| fleet.member(name, "deliver"));
    let receiver = Receiver::start().await.expect("a receiver");
    let client = api.client().await;
    let body = |path: &str| {
        json!({"scope": {"repository": "acme/api"}, "kinds": ["repo_push"], "method": "webhook",
            "config": {"url": receiver.url(path)}})
    };
    let mut wishes = HashMap::new();
    for path in ["/edited", "/paused", "/deleted"] {
        receiver.script(path, [Answer::status(503)]);
        wishes.insert(path, client.wish(&body(path)).await);
    }
    for number in 0..EVENTS {
        client.publish(&push(&format!("event-{number}"), "acme/api", "v1")).await;
    }
    // Each was tried and waits for its retry, in 2 to 4 s; whoever tried it has its notification in its cache.
    client.until("", 3 * EVENTS, &["waiting"]).await;
    let mut of_each = Vec::new();
    for member in &members {
        let client = member.client().await;
        assert!(client.counted("bellbuoy_delivery_attempts_total", &[]).await > 0.5, "both have some");
        of_each.push(client);
    }

    let mut changed = HashMap::new();
    for (path, method, action, body) in [
        ("/edited", Method::PUT, "", body("/new").to_string()),
        ("/paused", Method::POST, "/pause", String::new()),
        ("/deleted", Method::DELETE, "", String::new()),
    ] {
        let at = format!("/v1/notifications/{}{action}", wishes[path].id);
        let answer = client.send(method, &at, "application/json", body).await;
        assert!(answer.status.is_success(), "{at}: {}", answer.text());
        changed.insert(path, Instant::now());
    }
    for (path, state) in [("/edited", "delivered"), ("/deleted", "cancelled")] {
        client.until(&format!("notification={}", wishes[path].id), EVENTS, &[state]).await;
    }
    for client in &of_each {
        // It holds some of those whose notification is paused.
        eventually(SOON, async || {
            let held = client.counted("bellbuoy_delivery_holds_total", &[r#"reason="paused""#]).await;
            (held > 0.5).then_some(())
        })
        .await;
    }
    for request in receiver.requests() {
        let Some(changed) = changed.get(request.path.as_str()) else { continue };
        let late = request.at.saturating_duration_since(*changed);
        assert!(late <= PROMISED, "{} was sent {late:?} after its notification was changed", request.path);
    }
    let new = receiver.requests().iter().filter(|request| request.path == "/new").count();
    assert_eq!(new, EVENTS, "each retry went to the new address");
}

#[tokio::test]
async fn what_does_not_stand_as_it_should_is_told_after_each_connect_until_it_is_mended() {
    let (mut node, postgres) = tokio::join!(Node::start(), Postgres::start());
    node.add_vhosts(&["fleet", "copy"]).await;
    let store = postgres.database().await;
    let fleet = Deployment::new(&node.url("fleet"), &store, &[]);
    fleet.apply_topology().await;
    let operator = Operator::connect(&node.url("fleet")).await.expect("an operator");
    operator.delete_queue("bellbuoy.deliver.slack").await.expect("deleted");
    operator.delete_queue("bellbuoy.outcomes.due").await.expect("deleted");
    operator.declare_plain_queue("bellbuoy.outcomes.due").await.expect("declared");
    drop(operator);

    // RabbitMQ is away when it starts; what stands there is looked at when it can be. Ended in order: killed, it can forget
    // the queue of just now.
    node.stop().await;
    let member = fleet.member("api", "api");
    let client = member.client().await;
    node.start_again().await;
    let told = eventually(SOON, async || {
        let ready = client.send(Method::GET, "/readyz", "", "").await;
        let why = ready.json()["checks"]["topology"].as_str().map(str::to_owned).unwrap_or_default();
        (ready.status == 503 && why.starts_with("queue `")).then_some(why)
    });
    let told = told.await;
    assert!(told.ends_with("(and 1 more)"), "{told}");
    let said = member.process.lines().join("\n");
    for line in [
        "queue `bellbuoy.deliver.slack` is missing; run `bellbuoy topology apply`",
        "queue `bellbuoy.outcomes.due` differs from what this version needs",
    ] {
        assert_eq!(said.matches(line).count(), 1, "`{line}` is said once in: {said}");
    }
    let (code, said) = fleet.command(&["topology", "apply"]).await;
    assert!(code == Some(1) && said.contains("empty it, delete it and run"), "{code:?} {said}");
    let operator = Operator::connect(&node.url("fleet")).await.expect("an operator");
    operator.delete_queue("bellbuoy.outcomes.due").await.expect("deleted");
    fleet.apply_topology().await;
    member.until_ready().await;

    // What is exported is what is applied.
    let copy = Deployment::new(&node.url("copy"), &store, &[]);
    let (code, definitions) = copy.command(&["topology", "export"]).await;
    assert_eq!(code, Some(0), "{definitions}");
    let file = copy.folder().join("definitions.json");
    std::fs::write(&file, definitions).expect("written");
    node.ctl(&["import_definitions", &file.to_string_lossy()]).await;
    let (code, said) = copy.command(&["topology", "check"]).await;
    assert!(code == Some(0) && said.contains("everything stands on"), "{code:?} {said}");
    member.stop().await;
}

#[tokio::test]
async fn what_a_missing_binding_left_without_a_route_is_told_of_and_delivered_when_it_is_back() {
    let (node, _postgres, fleet) = grounds(&[]).await;
    let (api, _fanout, _deliver, _record) =
        tokio::join!(fleet.role("api"), fleet.role("fanout"), fleet.role("deliver"), fleet.role("record"));
    let receiver = Receiver::start().await.expect("a receiver");
    let client = api.client().await;
    client.webhook("acme/api", "repo_push", &receiver.url("/hook")).await;
    let operator = Operator::connect(&node.url("fleet")).await.expect("an operator");
    operator.unbind("bellbuoy.deliveries", "webhook", "bellbuoy.deliver.webhook").await.expect("unbound");
    client.publish(&push("one", "acme/api", "one")).await;
    let labels = [r#"queue="bellbuoy.unroutable""#, r#"state="ready""#];
    eventually(SOON, async || (client.counted("bellbuoy_queue_messages", &labels).await > 0.5).then_some(()))
        .await;

    let (code, said) = fleet.command(&["topology", "check"]).await;
    assert!(code == Some(1) && said.contains("`bellbuoy.unroutable` holds 1 messages"), "{code:?} {said}");
    let (code, said) = fleet.command(&["topology", "reroute"]).await;
    assert!(code == Some(1) && said.contains("1 have no route still"), "{code:?} {said}");
    fleet.apply_topology().await;
    let (code, said) = fleet.command(&["topology", "reroute"]).await;
    assert!(code == Some(0) && said.contains("1 messages were published once more"), "{code:?} {said}");
    client.until("", 1, &["delivered"]).await;
    assert_eq!(receiver.requests().len(), 1);
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
    let shows = async |figure: &str| {
        let text = client.metrics().await;
        let series = ["publish", "consume"]
            .map(|part| format!("bellbuoy_broker_connected{{connection=\"{part}\"}} {figure}"));
        series.iter().all(|series| text.contains(series)).then_some(())
    };
    eventually(SOON, async || shows("0").await).await;
    node.start_again().await;
    process.wait_for_ok(&format!("http://{address}/readyz"), SOON).await;
    eventually(SOON, async || shows("1").await).await;
    client.webhook("acme/api", "repo_push", &receiver.url("/hook")).await;
    client.publish(&push("one", "acme/api", "one")).await;
    client.until("", 1, &["delivered"]).await;
}

#[tokio::test]
async fn a_process_that_still_waits_for_its_store_ends_when_it_is_told_to() {
    let nobody = format!("127.0.0.1:{}", free_port());
    let broker = format!("amqp://guest:guest@{nobody}/fleet");
    let fleet = Deployment::new(&broker, &format!("postgres://bellbuoy@{nobody}/bellbuoy"), &[]);
    let member = fleet.member("all", "api");
    member.process.wait_for_line("waiting for the store", SOON).await;
    member.stop().await;
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
async fn a_worker_that_gets_nowhere_is_told_of_by_readiness_and_metric_until_it_gets_on() {
    let (_node, postgres, fleet) = grounds(&[("BELLBUOY_LIMITS__STALLED_AFTER_SECONDS", "2")]).await;
    let (api, fanout, _deliver, _record) =
        tokio::join!(fleet.role("api"), fleet.role("fanout"), fleet.role("deliver"), fleet.role("record"));
    let receiver = Receiver::start().await.expect("a receiver");
    let (client, worker) = (api.client().await, fanout.client().await);
    client.webhook("acme/api", "repo_push", &receiver.url("/hook")).await;
    client.publish(&push("before", "acme/api", "before")).await;
    client.until("", 1, &["delivered"]).await;
    let up = async || worker.counted("bellbuoy_worker_up", &[r#"role="fanout""#]).await > 0.5;
    assert!(up().await);

    // It takes connections and questions, and answers nothing.
    postgres.freeze();
    client.publish(&push("during", "acme/api", "during")).await;
    eventually(SOON, async || {
        let ready = worker.send(Method::GET, "/readyz", "", "").await;
        let why = ready.json()["checks"]["fanout"].to_string();
        (ready.status == 503 && why.contains("no progress for") && !up().await).then_some(())
    })
    .await;
    postgres.thaw();
    eventually(SOON, async || up().await.then_some(())).await;
    client.until("", 2, &["delivered"]).await;
    fanout.until_ready().await;
    assert_eq!(receiver.requests().len(), 2);
    assert!(
        worker.counted("bellbuoy_worker_restarts_total", &[]).await < 0.5,
        "it went on, and was not started again"
    );
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
