//! The cached view of the notifications is never wrong for longer than it says.

mod common;

use std::{sync::Arc, time::Duration};

use bellbuoy_domain::{RepositoryName, Scope, Subject};
use bellbuoy_testkit::wait::eventually;
use bellbuoy_workers::Wishes;
use common::{PATIENCE, Rig};

fn repository(name: &str) -> Subject {
    Subject::Repository(RepositoryName::parse(name).expect("a name"))
}

#[tokio::test]
async fn a_change_is_seen_by_the_next_look() {
    let rig = Rig::start().await;
    let wishes = Wishes::new(rig.store.clone());
    let subject = repository("acme/api");
    assert_eq!(wishes.covering(&subject).await.expect("looked up").len(), 0);
    let id = rig.notify(1, |_| {}).await;
    assert_eq!(wishes.covering(&subject).await.expect("looked up").len(), 1, "one that was made");
    let mut edited = rig.notification(id).await;
    edited.title = Some("edited".into());
    rig.store.update_notification(&edited).await.expect("updated");
    let seen = wishes.get(id).await.expect("looked up").expect("there");
    assert_eq!(seen.notification.title.as_deref(), Some("edited"), "one that was edited");
    rig.store.delete_notification(id).await.expect("deleted");
    assert!(wishes.get(id).await.expect("looked up").is_none(), "one that was deleted");
    assert_eq!(wishes.covering(&subject).await.expect("looked up").len(), 0);
}

#[tokio::test]
async fn a_notification_is_understood_once_however_many_repositories_it_covers() {
    let rig = Rig::start().await;
    let id = rig.notify(1, |wide| wide.scope = Scope::Namespace("acme".into())).await;
    let wishes = Wishes::new(rig.store.clone());
    let one = wishes.covering(&repository("acme/api")).await.expect("looked up");
    let other = wishes.covering(&repository("acme/web")).await.expect("looked up");
    let direct = wishes.get(id).await.expect("looked up").expect("there");
    assert!(Arc::ptr_eq(&one[0], &other[0]) && Arc::ptr_eq(&one[0], &direct));
}

#[tokio::test]
async fn what_is_cached_is_not_served_once_the_store_is_out_of_reach() {
    let rig = Rig::start().await;
    let id = rig.notify(1, |_| {}).await;
    let wishes = Wishes::new(rig.store.clone());
    assert!(wishes.get(id).await.expect("looked up").is_some());
    rig.store.close().await;
    let refused = async || wishes.get(id).await.err();
    eventually(PATIENCE.min(Duration::from_secs(5)), refused).await;
}
