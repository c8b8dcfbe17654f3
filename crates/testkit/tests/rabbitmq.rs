//! Private RabbitMQ nodes: what the tests of the broker rely on.

use std::time::Duration;

use bellbuoy_testkit::{rabbitmq::Node, wait::eventually};

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
