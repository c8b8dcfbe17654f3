//! What workers do with what they have in hand while RabbitMQ has an alarm and takes no messages.

mod common;

use bellbuoy_broker::{Broker, BrokerUrl, Outgoing, RabbitMqOptions, Shards, Topology, queues};
use bellbuoy_domain::{DeliveryId, Event, Kind, NotificationId};
use bellbuoy_store::Collected;
use bellbuoy_telemetry::Counter;
use bellbuoy_testkit::{rabbitmq::Node, wait::eventually};
use common::{PATIENCE, Rig};
use jiff::Timestamp;
use serde_json::json;

async fn on(node: &Node) -> Rig {
    node.add_vhosts(&["v"]).await;
    let Ok(BrokerUrl::RabbitMq(url)) = node.url("v").parse() else { panic!("a node has an address") };
    let topology = Topology::new(&["webhook"], Shards::ONE);
    let options = RabbitMqOptions { topology: topology.clone(), ..RabbitMqOptions::default() };
    topology.apply(&url, &options).await.expect("the topology");
    let mut rig = Rig::start().await;
    rig.broker = Broker::open_rabbitmq(&url, &options).expect("a broker");
    eventually(PATIENCE, async || rig.broker.ping().await.ok()).await;
    rig
}

/// Leaves a finding in the store that is to be told of now.
async fn collect(rig: &Rig, to: NotificationId) {
    let finding = json!({
        "specversion": "1.0", "id": "1", "source": "registry.example.com", "type": "vulnerability_found",
        "subject": "acme/api", "data": {"tags": ["v1"], "vulnerability": {"id": "CVE-1", "priority": "High"}},
    });
    let now = Timestamp::now();
    let event = Event::from_json(finding.to_string().as_bytes(), now).expect("an event");
    let collected = Collected {
        delivery: DeliveryId::derive(&event.source, &event.id, to),
        message: uuid::Uuid::nil(),
        notification: to,
        method: "webhook".into(),
        source: event.source.clone(),
        subject: "acme/api".into(),
        due_at: now,
        body: event.to_json(),
    };
    rig.store.collect(&[collected]).await.expect("collected");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_has_something_to_publish_waits_for_the_end_of_an_alarm_and_is_not_started_again() {
    let node = Node::start().await;
    let rig = on(&node).await;
    let to = rig.notify(1, |notification| notification.kinds = vec![Kind::VulnerabilityFound]).await;
    collect(&rig, to).await;
    rig.publish(queues::outcomes(), "no record").await;
    node.ctl(&["set_vm_memory_high_watermark", "0.0000001"]).await;
    // RabbitMQ tells whoever publishes.
    let refused = async || rig.broker.publish(vec![Outgoing::new(queues::events(), "{}")]).await.err();
    eventually(PATIENCE, refused).await;

    let workers = [rig.digests(), rig.record()];
    for worker in &workers {
        let waits = || worker.vital.check().err().filter(|why| why.contains("takes no messages"));
        eventually(PATIENCE, async || waits()).await;
    }
    node.ctl(&["set_vm_memory_high_watermark", "0.6"]).await;
    let (digest, dead) = (rig.take(queues::deliver("webhook")).await, rig.take(queues::dead()).await);
    assert_eq!(&**dead.body(), b"no record");
    for worker in &workers {
        eventually(PATIENCE, async || worker.vital.check().ok()).await;
    }
    assert_eq!(["digest", "record"].map(|role| rig.counted(Counter::WorkerRestarts, &[role])), [0, 0]);
    rig.broker.settle(vec![digest], Vec::new()).await.expect("settled");
    rig.broker.settle(vec![dead], Vec::new()).await.expect("settled");
    for worker in workers {
        worker.stop().await;
    }
}
