//! The fleet: every role a process of its own, RabbitMQ between them, PostgreSQL below them.

mod support;

use std::collections::HashSet;

use bellbuoy_testkit::postgres::Postgres;
use bellbuoy_testkit::rabbitmq::Node;
use bellbuoy_testkit::receiver::{Answer, Receiver};
use support::{Deployment, ENDED, push};

/// Events published before each kill.
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
