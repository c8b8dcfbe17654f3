//! Secrets under keys.

use bellbuoy_domain::Notification;
use bellbuoy_store::{Sealing, SecretKeys, Store, StoreError};
use serde_json::json;

use crate::sample::{AWKWARD, at, map, notification, notification_id};

/// Keys of 32 equal bytes.
pub(crate) fn keys(bytes: &[u8]) -> SecretKeys {
    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}").repeat(32)).collect();
    SecretKeys::parse(&hex.join(",")).expect("keys")
}

pub(crate) fn with_secrets(number: u128) -> Notification {
    Notification {
        config: map(json!({"url": "https://example.com/hook?token=hunter2", "awkward": AWKWARD})),
        secret: Some("whsec_hunter2".into()),
        ..notification(number)
    }
}

async fn read(store: &Store, number: u128) -> Result<Option<Notification>, StoreError> {
    store.notification(notification_id(number)).await
}

fn sealing(keys: &SecretKeys, notifications: u64) -> Sealing {
    Sealing { key: keys.names().next().map(str::to_owned), notifications, readable: true }
}

pub(crate) async fn what_is_sealed_is_read_back_with_its_key_alone(store: Store) {
    let sealed = store.clone().with_secret_keys(keys(&[1]));
    sealed.create_notification(&with_secrets(1)).await.expect("created");
    assert_eq!(read(&sealed, 1).await.expect("read"), Some(with_secrets(1)));
    let changed = Notification { secret: Some("whsec_other".into()), updated_at: at(9), ..with_secrets(1) };
    assert!(sealed.replace_notification(&changed, &with_secrets(1)).await.expect("replaced"));
    assert_eq!(read(&sealed, 1).await.expect("read"), Some(changed.clone()));

    for other in [store.clone(), store.with_secret_keys(keys(&[2]))] {
        let refused = read(&other, 1).await.expect_err("sealed");
        assert!(matches!(&refused, StoreError::Sealed { id, .. } if *id == changed.id), "{refused:?}");
        let counted = other.sealings().await.expect("counted");
        assert_eq!(counted, [Sealing { readable: false, ..sealing(&keys(&[1]), 1) }]);
        let refused = other.seal_anew().await;
        assert!(other.secret_keys().is_empty() || matches!(refused, Err(StoreError::Sealed { .. })));
    }
}

pub(crate) async fn a_new_key_takes_every_row_over_and_the_old_one_is_needed_no_more(store: Store) {
    // More than one look's worth; some from before there was a key.
    for number in 0..250 {
        let store = if number % 2 == 0 { store.clone() } else { store.clone().with_secret_keys(keys(&[1])) };
        store.create_notification(&with_secrets(number)).await.expect("created");
    }
    let both = store.clone().with_secret_keys(keys(&[2, 1]));
    let plain = Sealing { key: None, notifications: 125, readable: true };
    assert_eq!(both.sealings().await.expect("counted"), [plain, sealing(&keys(&[1]), 125)]);
    let version = both.notifications_version().await.expect("a version");
    assert_eq!(both.seal_anew().await.expect("sealed"), 250);
    assert_eq!(both.seal_anew().await.expect("nothing left"), 0);
    assert_eq!(
        both.notifications_version().await.expect("a version"),
        version,
        "nothing has changed for readers"
    );

    let new = store.with_secret_keys(keys(&[2]));
    assert_eq!(new.sealings().await.expect("counted"), [sealing(&keys(&[2]), 250)]);
    for number in 0..250 {
        assert_eq!(read(&new, number).await.expect("read"), Some(with_secrets(number)));
    }
}

pub(crate) async fn without_a_key_nothing_is_sealed(store: Store) {
    store.create_notification(&with_secrets(1)).await.expect("created");
    assert_eq!(store.seal_anew().await.expect("nothing to do"), 0);
    let plain = Sealing { key: None, notifications: 1, readable: true };
    assert_eq!(store.sealings().await.expect("counted"), [plain]);
}
