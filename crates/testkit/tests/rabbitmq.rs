//! Private RabbitMQ nodes: what the tests of the broker rely on.

use std::time::Duration;

use bellbuoy_testkit::{
    amqp::{Producer, Publication},
    rabbitmq::Node,
    wait::eventually,
};

#[tokio::test]
async fn a_node_keeps_its_data_over_a_kill_and_leaves_nothing_behind() {
    let mut node = Node::start().await;
    let pid = node.process().id();
    let program = std::fs::read_to_string(format!("/proc/{pid}/comm")).expect("the process");
    assert_eq!(program.trim(), "beam.smp", "a kill would hit a shell");
    node.add_vhosts(&["kept", "kept too"]).await;
    node.kill_9();
    node.start_again().await;
    let vhosts = node.ctl(&["list_vhosts"]).await;
    assert!(vhosts.contains("kept\n") && vhosts.contains("kept too\n"), "{vhosts}");
    let pid = node.process().id();
    drop(node);
    eventually(Duration::from_secs(10), async || {
        (!std::path::Path::new(&format!("/proc/{pid}")).exists()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_producer_is_told_ok_for_what_the_node_holds_and_connects_anew_after_a_failure() {
    let mut node = Node::start().await;
    node.ctl(&["eval", "rabbit_amqqueue:declare(rabbit_misc:r(<<\"/\">>, queue, <<\"q\">>), true, false, [], none, <<\"test\">>)."])
        .await;
    // Until then a kill takes with it what Mnesia has not written of the queue.
    node.ctl(&["eval", "mnesia:sync_log()."]).await;
    let to =
        |key| Publication { exchange: "", key, content_type: "text/plain", message_id: None, body: b"x" };
    let mut producer = Producer::new([node.url("%2f")]);
    producer.publish(to("q")).await.expect("confirmed");
    let unroutable = producer.publish(to("nowhere")).await.expect_err("no such queue");
    assert_eq!(unroutable.to_string(), "no queue is bound for `nowhere`");
    node.kill_9();
    producer.publish(to("q")).await.expect_err("a node that is gone");
    node.start_again().await;
    eventually(Duration::from_mins(1), async || producer.publish(to("q")).await.ok()).await;
    let queues = node.ctl(&["list_queues", "name", "messages"]).await;
    assert!(queues.contains("q\t2"), "{queues}");
}
