use bellbuoy_domain::digest::MOST_COLLECTED;
use bellbuoy_store::{Collected, OpenDigest, Store};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::sample::{SOURCE, at, delivery_id, notification_id};

fn one(event: &str, notification: u128, subject: &str, due: i64) -> Collected {
    Collected {
        delivery: delivery_id(event, notification),
        notification: notification_id(notification),
        method: "webhook".into(),
        source: SOURCE.into(),
        subject: subject.into(),
        message: Uuid::from_u128(1),
        due_at: at(due),
        body: event.into(),
    }
}

async fn collect(store: &Store, collected: &[Collected]) -> Vec<OpenDigest> {
    store.collect(collected).await.expect("collected")
}

/// What is due at `now`, leased for ten seconds: whose, of what, and its events.
async fn take(store: &Store, now: i64) -> Vec<(u128, String, Vec<String>)> {
    let taken = store.take_due_digests(at(now), at(now + 10), 100).await.expect("taken");
    let mut taken: Vec<_> = taken
        .into_iter()
        .map(|due| {
            let mut items: Vec<_> =
                due.items.into_iter().map(|body| String::from_utf8(body).expect("text")).collect();
            items.sort();
            (due.notification.as_uuid().as_u128(), due.subject, items)
        })
        .collect();
    taken.sort();
    taken
}

fn due(notification: u128, subject: &str, items: &[&str]) -> (u128, String, Vec<String>) {
    (notification, subject.into(), items.iter().map(|item| (*item).to_owned()).collect())
}

pub(crate) async fn each_notification_and_subject_collects_by_itself_until_its_first_is_due(store: Store) {
    let first =
        collect(&store, &[one("1", 1, "a/b", 60), one("2", 1, "a/b", 60), one("1", 2, "a/b", 60)]).await;
    let later = collect(&store, &[one("3", 1, "a/b", 90), one("4", 1, "a/c", 90)]).await;
    assert!(first[0] == first[1] && first[0] == later[0] && first[0] != first[2] && first[0] != later[1]);
    assert_eq!(first[0].source, SOURCE);
    assert_eq!(take(&store, 59).await, []);
    assert_eq!(take(&store, 60).await, [due(1, "a/b", &["1", "2", "3"]), due(2, "a/b", &["1"])]);
    assert_eq!(take(&store, 90).await.len(), 3, "the leases are over, and none was forgotten");
    assert!(store.collect(&[]).await.expect("nothing").is_empty());
}

pub(crate) async fn what_a_notification_collects_is_listed_until_it_is_told(store: Store) {
    collect(&store, &[one("1", 1, "a/b", 60), one("2", 1, "a/b", 70), one("1", 2, "a/b", 60)]).await;
    collect(&store, &[one("3", 1, "a/c", 50)]).await;
    let of = async |notification, most| {
        let rows = store.collecting(notification_id(notification), most).await.expect("read");
        rows.into_iter().map(|row| (row.subject, row.events, row.due_at)).collect::<Vec<_>>()
    };
    assert_eq!(of(1, 10).await, [("a/c".to_owned(), 1, at(50)), ("a/b".to_owned(), 2, at(60))]);
    assert_eq!(of(1, 1).await, [("a/c".to_owned(), 1, at(50))]);
    assert_eq!(of(3, 10).await, []);
    let taken = store.take_due_digests(at(50), at(90), 10).await.expect("taken");
    assert_eq!(of(1, 10).await.len(), 2, "until it is forgotten");
    store.forget_digest(taken[0].id, at(50)).await.expect("forgotten");
    assert_eq!(of(1, 10).await, [("a/b".to_owned(), 2, at(60))]);
}

pub(crate) async fn what_is_collected_again_stays_in_its_digest(store: Store) {
    let first = collect(&store, &[one("1", 1, "a/b", 60)]).await;
    assert_eq!(
        collect(&store, &[one("1", 1, "a/b", 70), one("2", 1, "a/b", 70)]).await,
        [first[0].clone(), first[0].clone()]
    );
    let due = store.take_due_digests(at(60), at(70), 1).await.expect("taken").remove(0);
    assert_eq!(
        (due.id, due.due_at, due.method.as_str(), due.source.as_str()),
        (first[0].id, at(60), "webhook", SOURCE)
    );
    let again = collect(&store, &[one("1", 1, "a/b", 90), one("3", 1, "a/b", 90)]).await;
    assert!(again[0] == first[0] && again[1] != first[0], "a digest that was taken takes no more");
}

pub(crate) async fn what_was_told_is_not_collected_again_as_long_as_history_is_kept(store: Store) {
    let both = [one("1", 1, "a/b", 60), one("2", 1, "a/b", 60)];
    let told = collect(&store, &both).await;
    assert_eq!(take(&store, 60).await, [due(1, "a/b", &["1", "2"])]);
    store.forget_digest(told[0].id, at(60)).await.expect("forgotten");
    assert_eq!(collect(&store, &both).await, told, "its fan-out is repeated");
    assert_eq!(
        store.collecting(notification_id(1), 9).await.expect("read"),
        [],
        "no digest is opened for it"
    );
    let other = collect(&store, &[one("3", 1, "a/b", 90), one("1", 2, "a/b", 90)]).await;
    assert!(!other.contains(&told[0]), "another event, and another notification");

    let told_by =
        async |before, chunk| store.prune(at(before), at(before), chunk).await.expect("pruned").told;
    assert_eq!(told_by(60, 9).await, 0);
    assert_eq!([told_by(61, 1).await, told_by(61, 1).await, told_by(61, 1).await], [1, 1, 0]);
    assert_ne!(collect(&store, &both).await[0], told[0]);
}

pub(crate) async fn what_another_message_brings_after_it_was_told_is_told_again(store: Store) {
    let first = one("1", 1, "a/b", 60);
    let again = Collected { message: Uuid::from_u128(2), due_at: at(90), ..first.clone() };
    let told = collect(&store, std::slice::from_ref(&first)).await;
    let meanwhile = collect(&store, std::slice::from_ref(&again)).await;
    assert_eq!(meanwhile, told, "one telling is enough for both, as long as it is to come");
    store.forget_digest(told[0].id, at(60)).await.expect("forgotten");

    let anew = collect(&store, std::slice::from_ref(&again)).await;
    assert_ne!(anew, told);
    assert_eq!(take(&store, 90).await, [due(1, "a/b", &["1"])]);
    store.forget_digest(anew[0].id, at(90)).await.expect("forgotten");
    assert_eq!(collect(&store, &[again]).await, anew, "its fan-out is repeated");
}

pub(crate) async fn a_digest_is_one_workers_until_its_lease_is_over_and_goes_when_it_is_forgotten(
    store: Store,
) {
    let id = collect(&store, &[one("1", 1, "a/b", 0)]).await.remove(0).id;
    assert_eq!(take(&store, 0).await, [due(1, "a/b", &["1"])]);
    assert_eq!(take(&store, 9).await, [], "leased");
    assert_eq!(take(&store, 10).await, [due(1, "a/b", &["1"])], "its worker died");
    store.forget_digest(id, at(10)).await.expect("forgotten");
    store.forget_digest(id, at(10)).await.expect("forgotten twice");
    assert_eq!(take(&store, 99).await, []);
}

pub(crate) async fn a_full_digest_takes_no_more_and_the_next_begins(store: Store) {
    let many: Vec<_> = (0..=MOST_COLLECTED).map(|n| one(&n.to_string(), 1, "a/b", 60)).collect();
    let digests = collect(&store, &many).await;
    let (first, last) = (&digests[0], &digests[digests.len() - 1]);
    assert!(digests[..digests.len() - 1].iter().all(|digest| digest == first) && first != last);
    let large = |event: &str| Collected { body: vec![b'x'; 3 << 20], ..one(event, 2, "a/b", 60) };
    let digests = collect(&store, &[large("1"), large("2"), large("3")]).await;
    assert!(digests[0] == digests[1] && digests[1] != digests[2], "full by its bytes");
    let sizes: Vec<_> = store.take_due_digests(at(60), at(61), 9).await.expect("taken");
    let mut sizes: Vec<_> = sizes.iter().map(|due| due.items.len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 1, 2, MOST_COLLECTED as usize]);
}

pub(crate) async fn collectors_and_takers_at_once_lose_nothing_and_take_nothing_twice(store: Store) {
    let mut tasks = JoinSet::new();
    for task in 0..4_u128 {
        let store = store.clone();
        tasks.spawn(async move {
            for round in 0..20 {
                let (event, other) = (format!("{task}-{round}"), format!("{task}-{round}-b"));
                let both = [one(&event, 1 + task % 2, "a/b", 0), one(&other, 2 - task % 2, "a/b", 0)];
                store.collect(&both).await.expect("collected");
            }
            Vec::new()
        });
    }
    for _ in 0..2 {
        let store = store.clone();
        tasks.spawn(async move {
            let mut found = Vec::new();
            for _ in 0..20 {
                for due in store.take_due_digests(at(0), at(100), 100).await.expect("taken") {
                    found.extend(due.items);
                    store.forget_digest(due.id, at(0)).await.expect("forgotten");
                }
                tokio::task::yield_now().await;
            }
            found
        });
    }
    let mut found: Vec<Vec<u8>> = tasks.join_all().await.into_iter().flatten().collect();
    for due in store.take_due_digests(at(0), at(100), 1000).await.expect("taken") {
        found.extend(due.items);
    }
    let all = found.len();
    found.sort();
    found.dedup();
    assert_eq!((all, found.len()), (160, 160));
}
