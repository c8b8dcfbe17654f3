//! What follows a callback: the delivery to the next URL of its chain, once, whoever died over it.

mod common;

use bellbuoy_broker::queues;
use bellbuoy_domain::{Callback, CallbackState, DeliveryId, DeliveryMessage, NotificationId, Record};
use bellbuoy_store::{AwaitedCallback, CallbackRow};
use bellbuoy_telemetry::Counter;
use bellbuoy_testkit::wait::eventually;
use common::{PATIENCE, Rig, id_of, push_event};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

const SOURCE: &str = "registry.example.com";

fn ago(seconds: i64) -> Timestamp {
    Timestamp::now() - SignedDuration::from_secs(seconds)
}

/// A notification with a chain of three URLs, and a push that it was sent.
async fn pushed(rig: &Rig) -> NotificationId {
    let urls = ["/one", "/two", "/three"].map(|path| rig.receiver.url(path));
    let wish = rig
        .notify(1, |wish| {
            wish.format = "dockerhub".into();
            wish.config.insert("url".to_owned(), urls[0].as_str().into());
            wish.config.insert("chain".to_owned(), json!(urls[1..]));
        })
        .await;
    rig.publish(queues::events(), push_event("1").to_string()).await;
    let fanout = rig.fanout();
    rig.emptied(queues::events()).await;
    fanout.stop().await;
    let claim = rig.take(queues::deliver("webhook")).await;
    rig.broker.settle(vec![claim], Vec::new()).await.expect("settled");
    let claim = rig.take(queues::outcomes()).await;
    rig.broker.settle(vec![claim], Vec::new()).await.expect("settled");
    wish
}

/// A success called back two minutes ago for the `link`th URL.
async fn succeeded(rig: &Rig, wish: NotificationId, event: &str, link: u32) -> CallbackRow {
    let first = id_of(event, wish);
    let delivery = if link == 0 { first } else { DeliveryId::derive_for_link(first, link) };
    let awaited = AwaitedCallback {
        delivery,
        first,
        link,
        notification: wish,
        source: SOURCE.into(),
        event: event.into(),
        subject: "acme/api".into(),
        expires_at: Timestamp::now(),
    };
    rig.store.await_callback(&awaited, &[u8::try_from(link).expect("few"); 32]).await.expect("awaited");
    let success =
        Callback { state: CallbackState::Success, description: None, context: None, target_url: None };
    assert!(rig.store.call_back(delivery, &success, ago(120)).await.expect("taken"));
    rig.store.callback(delivery).await.expect("read").expect("there")
}

async fn nothing_is_due(rig: &Rig) {
    let due = async || {
        let due = rig.store.due_links(Timestamp::MAX, 10).await.expect("read");
        due.is_empty().then_some(())
    };
    eventually(PATIENCE, due).await;
}

#[tokio::test]
async fn of_two_processes_one_queues_the_next_link_and_stands_in_for_one_that_died() {
    let rig = Rig::start().await;
    let wish = pushed(&rig).await;
    let row = succeeded(&rig, wish, "1", 0).await;
    assert!(rig.store.take_link(&row, ago(60)).await.expect("taken"), "by one that dies");
    let (one, other) = (rig.chains(), rig.chains());
    nothing_is_due(&rig).await;
    one.stop().await;
    other.stop().await;
    assert_eq!(rig.depth(&queues::deliver("webhook")), 1);
    let claim = rig.take(queues::deliver("webhook")).await;
    let message = DeliveryMessage::from_json(claim.body()).expect("a delivery");
    let next = DeliveryId::derive_for_link(id_of("1", wish), 1);
    assert_eq!((message.delivery, message.notification, message.attempt), (next, wish, 1));
    assert!(message.event.get().contains(r#""id":"1""#), "{}", message.event);
    let record = Record::from_json(rig.take(queues::outcomes()).await.body()).expect("a record");
    assert_eq!(record.fanned_out.expect("a plan").deliveries[0].delivery, next, "history knows of it");
}

#[tokio::test]
async fn nothing_follows_the_last_link_nor_what_is_no_longer_there() {
    let rig = Rig::start().await;
    let wish = pushed(&rig).await;
    succeeded(&rig, wish, "1", 2).await;
    succeeded(&rig, NotificationId::from(uuid::Uuid::from_u128(99)), "1", 1).await;
    succeeded(&rig, wish, "forgotten", 0).await;
    let chains = rig.chains();
    nothing_is_due(&rig).await;
    chains.stop().await;
    assert_eq!(rig.depth(&queues::deliver("webhook")), 0);
}

#[tokio::test]
async fn a_callback_that_does_not_come_is_counted_once_by_whichever_process_sees_it() {
    let rig = Rig::start().await;
    let wish = pushed(&rig).await;
    let awaited = |link: u32, expires_at| AwaitedCallback {
        delivery: DeliveryId::derive_for_link(id_of("1", wish), link),
        first: id_of("1", wish),
        link,
        notification: wish,
        source: SOURCE.into(),
        event: "1".into(),
        subject: "acme/api".into(),
        expires_at,
    };
    for (link, expires_at) in [(1, ago(1)), (2, ago(1)), (3, ago(-3600))] {
        let hash = [u8::try_from(link).expect("few"); 32];
        rig.store.await_callback(&awaited(link, expires_at), &hash).await.expect("awaited");
    }
    let chains = [rig.chains(), rig.chains()];
    let counted = async || (rig.counted(Counter::Callbacks, &["expired"]) >= 2).then_some(());
    eventually(PATIENCE, counted).await;
    // What is due after them passes the same loop.
    succeeded(&rig, wish, "1", 0).await;
    nothing_is_due(&rig).await;
    for worker in chains {
        worker.stop().await;
    }
    assert_eq!(rig.counted(Counter::Callbacks, &["expired"]), 2);
}
