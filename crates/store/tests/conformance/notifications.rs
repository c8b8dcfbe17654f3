use std::{collections::BTreeSet, num::NonZeroU32, time::Duration};

use bellbuoy_domain::{Kind, Notification, NotificationState, RepositoryName, RetryPolicy, Scope, Subject};
use bellbuoy_store::{Page, Store, StoreError};
use serde_json::json;
use uuid::Uuid;

use crate::sample::{AWKWARD, at, map, notification, notification_id, repository};

const AUTHOR: Uuid = Uuid::from_u128(77);

fn full() -> Notification {
    let steps = vec![Duration::from_secs(1), Duration::from_mins(1)];
    Notification {
        title: Some("Tell the builders".into()),
        scope: Scope::Namespace("acme".into()),
        kinds: vec![Kind::RepoPush, Kind::VulnerabilityFound],
        event_config: map(json!({"ref-regex": ".*", "vulnerability": {"priority": "1"}})),
        config: map(json!({"url": "https://example.com/hook?a=1"})),
        secret: Some("whsec_c2VjcmV0".into()),
        retry: Some(RetryPolicy::new(steps, Duration::ZERO, NonZeroU32::MIN).expect("a policy")),
        state: NotificationState::Paused,
        state_reason: Some("its owner is on holiday".into()),
        failures: 2,
        created_at: at(1),
        updated_at: at(2),
        author: Some(AUTHOR),
        succeeded_at: Some(at(3)),
        ..notification(1)
    }
}

async fn create(store: &Store, notifications: &[Notification]) {
    for notification in notifications {
        store.create_notification(notification).await.expect("created");
    }
}

async fn read(store: &Store, number: u128) -> Option<Notification> {
    store.notification(notification_id(number)).await.expect("read")
}

pub(crate) async fn what_is_created_is_read_back_the_same(store: Store) {
    let registry = Notification { scope: Scope::Registry, ..notification(2) };
    create(&store, &[full(), registry.clone(), notification(3)]).await;
    assert_eq!(read(&store, 1).await, Some(full()));
    assert_eq!(read(&store, 2).await, Some(registry));
    assert_eq!(read(&store, 3).await, Some(notification(3)));
    assert_eq!(read(&store, 4).await, None);
}

pub(crate) async fn an_id_is_taken_once(store: Store) {
    create(&store, &[full()]).await;
    let again = store.create_notification(&notification(1)).await;
    assert!(matches!(again, Err(StoreError::Exists { id }) if id == notification_id(1)), "{again:?}");
    assert_eq!(read(&store, 1).await, Some(full()));
    create(&store, &[notification(2)]).await;
}

pub(crate) async fn an_update_writes_all_but_failures_author_and_success(store: Store) {
    create(&store, &[Notification { failures: 1, ..notification(1) }, notification(2)]).await;
    assert!(store.update_notification(&full()).await.expect("updated"));
    let kept = Notification { failures: 1, author: None, succeeded_at: None, ..full() };
    assert_eq!(read(&store, 1).await, Some(kept));
    assert_eq!(read(&store, 2).await, Some(notification(2)));
}

pub(crate) async fn what_is_not_there_is_neither_changed_nor_deleted(store: Store) {
    create(&store, &[notification(2)]).await;
    let id = notification_id(1);
    assert!(!store.update_notification(&notification(1)).await.expect("answered"));
    assert!(!store.delete_notification(id).await.expect("answered"));
    assert!(!store.reset_failures(id, at(0)).await.expect("answered"));
    assert!(!store.disable_notification(id, "gone", at(0)).await.expect("answered"));
    assert!(store.delete_notification(notification_id(2)).await.expect("deleted"));
    assert!(!store.delete_notification(notification_id(2)).await.expect("answered"));
    assert_eq!(read(&store, 2).await, None);
}

pub(crate) async fn an_author_lists_its_own_oldest_first(store: Store) {
    let by = |number, author, seconds| Notification {
        author,
        created_at: at(seconds),
        scope: Scope::Registry,
        ..notification(number)
    };
    let (old, new) = (by(9, Some(AUTHOR), 1), by(1, Some(AUTHOR), 2));
    create(&store, &[new.clone(), by(2, None, 0), old.clone(), by(3, Some(Uuid::nil()), 0)]).await;
    assert_eq!(store.notifications_by(AUTHOR, 10).await.expect("listed"), [old.clone(), new]);
    assert_eq!(store.notifications_by(AUTHOR, 1).await.expect("listed"), [old]);
    assert_eq!(store.notifications_by(Uuid::max(), 10).await.expect("listed"), []);
}

pub(crate) async fn a_scope_lists_its_own_oldest_first(store: Store) {
    let of = |number, scope, seconds| Notification { scope, created_at: at(seconds), ..notification(number) };
    let old = of(9, repository("acme/api"), 1);
    let new = of(1, repository("acme/api"), 2);
    let other = of(2, repository("acme/web"), 0);
    let wide = of(3, Scope::Namespace("acme".into()), 0);
    create(&store, &[new.clone(), old.clone(), other, wide.clone()]).await;
    let listed = store.notifications_in(&repository("acme/api")).await.expect("listed");
    assert_eq!(listed, [old, new]);
    let namespace = Scope::Namespace("acme".into());
    assert_eq!(store.notifications_in(&namespace).await.expect("listed"), [wide]);
    assert_eq!(store.notifications_in(&Scope::Registry).await.expect("listed"), []);
}

pub(crate) async fn a_subject_is_covered_by_repository_namespace_and_registry(store: Store) {
    let scopes = [
        repository("acme/api"),
        repository("acme/web"),
        repository("acme"),
        Scope::Namespace("acme".into()),
        Scope::Namespace("other".into()),
        Scope::Registry,
    ];
    let all: Vec<Notification> = (0..)
        .zip(scopes)
        .map(|(number, scope)| Notification {
            scope,
            state: NotificationState::Disabled,
            ..notification(number)
        })
        .collect();
    create(&store, &all).await;
    let repository = |name| Subject::Repository(RepositoryName::parse(name).expect("a name"));
    let subjects = [
        repository("acme/api"),
        repository("acme/other"),
        repository("acme"),
        Subject::Namespace("acme".into()),
        Subject::Namespace("nobody".into()),
        Subject::Registry,
    ];
    for subject in subjects {
        let expected: Vec<_> = all.iter().filter(|one| one.scope.covers(&subject)).cloned().collect();
        let found = store.notifications_covering(&subject).await.expect("listed");
        assert_eq!(found, expected, "{subject:?}");
    }
}

pub(crate) async fn pages_hold_everything_once_even_when_rows_go(store: Store) {
    let all: Vec<Notification> = (0..25).map(|number| notification(number * 7919 % 25)).collect();
    create(&store, &all).await;
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = store.list_notifications(&Page { after, limit: 4 }).await.expect("a page");
        assert!(page.len() <= 4);
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        store.delete_notification(last.id).await.expect("deleted");
        found.extend(page.iter().map(|one| one.id));
    }
    assert_eq!(found.len(), 25);
    assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), 25);
    assert_eq!(store.list_notifications(&Page { after: None, limit: 0 }).await.expect("a page").len(), 1);
}

pub(crate) async fn disabling_and_resetting_move_state_and_failures(store: Store) {
    let failing = Notification { failures: 1, ..notification(1) };
    let worse = Notification { failures: 5, ..notification(2) };
    let paused = Notification {
        state: NotificationState::Paused,
        state_reason: Some("quiet".into()),
        failures: 2,
        ..notification(3)
    };
    create(&store, &[failing.clone(), worse.clone(), paused.clone()]).await;
    for (number, failures) in [(1, 3), (2, 5)] {
        assert!(store.disable_notification(notification_id(number), "gone", at(0)).await.expect("disabled"));
        let found = read(&store, number).await.expect("there");
        assert_eq!((found.state, found.failures), (NotificationState::Disabled, failures));
        assert_eq!(found.state_reason.as_deref(), Some("gone"));
    }
    for (number, before) in [(1, failing), (2, worse), (3, paused)] {
        assert!(store.reset_failures(notification_id(number), at(1)).await.expect("reset"));
        let after = match number {
            3 => Notification { failures: 0, ..before },
            _ => Notification {
                failures: 0,
                state: NotificationState::Probation,
                state_reason: Some("gone".into()),
                ..before
            },
        };
        assert_eq!(read(&store, number).await, Some(after));
    }
    for (number, passes) in [(1, true), (1, false), (3, false), (9, false)] {
        assert_eq!(store.end_probation(notification_id(number), at(1)).await.expect("answered"), passes);
    }
    let active = read(&store, 1).await.expect("there");
    assert_eq!((active.state, active.state_reason), (NotificationState::Active, None));
}

pub(crate) async fn a_disabled_notification_comes_back_on_probation_when_its_time_has_come(store: Store) {
    create(&store, &[notification(1), notification(2), notification(3)]).await;
    for (number, back_at) in [(1, Some(at(10))), (2, Some(at(11))), (3, None)] {
        let id = notification_id(number);
        assert!(store.disable_notification_until(id, "failing", at(0), back_at).await.expect("disabled"));
    }
    let states = async || {
        let mut states = Vec::new();
        for number in 1..=3 {
            states.push(read(&store, number).await.expect("there").state);
        }
        states
    };
    let (disabled, probation) = (NotificationState::Disabled, NotificationState::Probation);
    assert!(!store.end_pauses(at(9)).await.expect("answered"));
    assert_eq!(states().await, [disabled, disabled, disabled]);
    assert!(store.end_pauses(at(10)).await.expect("answered"));
    assert_eq!(states().await, [probation, disabled, disabled]);
    assert!(store.end_pauses(at(1000)).await.expect("answered"));
    assert_eq!(states().await, [probation, probation, disabled]);
    assert!(!store.end_pauses(at(1000)).await.expect("answered"));
}

pub(crate) async fn an_attempt_of_an_earlier_probation_does_not_end_a_later_one(store: Store) {
    create(&store, &[notification(1), notification(2)]).await;
    let ids = [notification_id(1), notification_id(2)];
    for (id, back_at) in ids.into_iter().zip([Some(at(10)), None]) {
        assert!(store.disable_notification_until(id, "failing", at(0), back_at).await.expect("disabled"));
    }
    assert!(store.end_pauses(at(11)).await.expect("answered"), "the first comes back by itself");
    assert!(store.reset_failures(ids[1], at(10)).await.expect("reset"), "the second by its owner");
    // Once more, in the middle of it, it begins no other one.
    assert!(store.reset_failures(ids[1], at(20)).await.expect("reset"));
    for id in ids {
        let seen_before = ("it failed", at(9));
        assert!(!store.disable_on_probation(id, seen_before, at(30), None).await.expect("answered"));
        for (seen_at, ends) in [(at(9), false), (at(10), true), (at(11), false)] {
            assert_eq!(store.end_probation(id, seen_at).await.expect("answered"), ends, "{seen_at}");
        }
        let active = ("it failed", at(11));
        assert!(!store.disable_on_probation(id, active, at(30), None).await.expect("answered"));
    }
    assert!(
        store.disable_notification_until(ids[0], "failing", at(0), Some(at(10))).await.expect("disabled")
    );
    assert!(store.end_pauses(at(10)).await.expect("answered"));
    let seen = ("it failed", at(10));
    assert!(store.disable_on_probation(ids[0], seen, at(30), Some(at(40))).await.expect("answered"));
    let again = store.notification(ids[0]).await.expect("read").expect("there");
    assert_eq!(
        (again.state, again.state_reason.as_deref()),
        (NotificationState::Disabled, Some("it failed"))
    );
    assert!(!store.disable_on_probation(ids[0], seen, at(30), None).await.expect("answered"));
}

pub(crate) async fn the_version_grows_with_every_change_and_only_then(store: Store) {
    let hint = store.changes();
    let mut version = store.notifications_version().await.expect("a version");
    assert_eq!(*hint.borrow(), version);
    let id = notification_id(1);
    for step in 0..8 {
        let changed = match step {
            0 => store.update_notification(&notification(1)).await,
            1 => store.create_notification(&notification(1)).await.map(|()| true),
            2 => store.update_notification(&full()).await,
            3 => store.disable_notification(id, "gone", at(0)).await,
            4 | 7 => store.reset_failures(id, at(0)).await,
            5 => store.clone().delete_notification(id).await,
            _ => store.delete_notification(id).await,
        };
        let now = store.notifications_version().await.expect("a version");
        assert_eq!(now > version, changed.expect("answered"), "step {step}");
        assert_eq!(*hint.borrow(), now, "step {step}");
        version = now;
    }
}

pub(crate) async fn text_of_any_sort_is_kept_whole(store: Store) {
    let awkward = Notification {
        title: Some(AWKWARD.repeat(10_000)),
        event_config: map(json!({AWKWARD: [AWKWARD, 1.5, -3, null, {"": ""}]})),
        config: map(json!({"template": "x".repeat(1_000_000)})),
        state_reason: Some(String::new()),
        ..notification(1)
    };
    create(&store, std::slice::from_ref(&awkward)).await;
    assert_eq!(read(&store, 1).await, Some(awkward));
}
