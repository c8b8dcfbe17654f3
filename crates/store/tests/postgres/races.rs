//! Several processes at one database.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bellbuoy_domain::{
    AccountKind, AccountName, DeliveryState, Grantee, NamespaceName, RepositoryName, RepositoryRole,
    TeamName, TeamRole, TokenScope, TokenScopes,
};
use bellbuoy_store::{
    Account, Admission, DirectoryError, Permission, Repository, SeenEvent, Store, Team, Token,
};
use bellbuoy_testkit::{postgres::Postgres, wait::eventually};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::{sync::Barrier, task::JoinSet};
use uuid::Uuid;

use crate::{WINDOW, at, ended, event, fanned_out, notification, notification_id, open};

const EVENTS: u128 = 10;

/// For what comes by itself.
const LIMIT: Duration = Duration::from_mins(1);
const TASKS: u128 = 8;

/// The same events from each of several tasks of two stores, each in an order and by messages of its own; how often
/// each was admitted.
async fn admitted(stores: &[Store; 2], round: u128) -> HashMap<String, u32> {
    let mut tasks = JoinSet::new();
    let all = Arc::new(Barrier::new(TASKS as usize));
    for task in 0..TASKS {
        let store = stores[task as usize % 2].clone();
        // Every number below EVENTS once, by steps that share no factor with it. An event is older than the window
        // from one round to the next, and a message of the round before would still be admitted.
        let step = [1, 3, 7, 9][task as usize % 4];
        let (message, seconds) = (round * TASKS + task, i64::try_from(round * 200).expect("few rounds"));
        let events: Vec<SeenEvent> =
            (0..EVENTS).map(|i| event(&((i * step + task) % EVENTS).to_string(), message, seconds)).collect();
        let all = Arc::clone(&all);
        tasks.spawn(async move {
            all.wait().await;
            let admissions = store.admit_events(&events, WINDOW).await.expect("admitted");
            let admitted = events.into_iter().zip(admissions).filter(|(_, answer)| *answer == Admission::New);
            admitted.map(|(event, _)| event.id).collect::<Vec<_>>()
        });
    }
    let mut counts = HashMap::new();
    for id in tasks.join_all().await.concat() {
        *counts.entry(id).or_insert(0) += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_stores_with_the_same_events_one_admits_each_of_them() {
    let server = Postgres::start().await;
    let url = server.database().await;
    let stores = [open(&url).await, open(&url).await];
    // New to all of them; then old enough to be taken over, by one of them.
    for round in 0..100 {
        let counts = admitted(&stores, round).await;
        assert_eq!(counts.len() as u128, EVENTS, "in round {round}");
        assert!(counts.values().all(|count| *count == 1), "in round {round}: {counts:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_stores_that_record_the_same_deliveries_in_different_order_wait_for_no_deadlock() {
    let server = Postgres::start_with(&["deadlock_timeout=60s"]).await;
    let url = server.database().await;
    let stores = [open(&url).await, open(&url).await];
    stores[0].create_notification(&notification(1)).await.expect("created");
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let store = stores[task as usize % 2].clone();
        tasks.spawn(async move {
            for round in 0..5 {
                let mut records: Vec<_> = (0..100)
                    .map(|i| format!("{round}/{i}"))
                    .flat_map(|event| [fanned_out(&event), ended(&event, DeliveryState::Dead)])
                    .collect();
                records.rotate_left(task as usize * 11);
                store.record(&records, 3).await.expect("recorded, within the limit of a lock");
            }
        });
    }
    tasks.join_all().await;
    let found = stores[1].notification(notification_id(1)).await.expect("read").expect("there");
    assert_eq!(u128::from(found.failures), 500, "each death counted once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_was_given_up_for_another_is_run_again() {
    let server = Postgres::start().await;
    let url = server.database().await;
    let store = open(&url).await;
    store.create_notification(&notification(1)).await.expect("created");
    // The first two changes fail as a deadlock and a serialization failure do.
    server
        .sql(
            url.rsplit('/').next().expect("a name"),
            "CREATE SEQUENCE changes;
             CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                CASE nextval('changes')
                    WHEN 1 THEN RAISE SQLSTATE '40P01';
                    WHEN 2 THEN RAISE SQLSTATE '40001';
                    ELSE RETURN NEW;
                END CASE;
             END $$;
             CREATE TRIGGER refuse BEFORE UPDATE ON notifications FOR EACH ROW EXECUTE FUNCTION refuse();",
        )
        .await;
    let now = jiff::Timestamp::UNIX_EPOCH;
    assert!(
        store.disable_notification(notification_id(1), "gone", now).await.expect("changed at the third try")
    );
    let found = store.notification(notification_id(1)).await.expect("read").expect("there");
    assert_eq!(found.state_reason.as_deref(), Some("gone"));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_nodes_that_start_at_once_one_makes_the_schema() {
    let server = Postgres::start().await;
    let url = server.database().await;
    let mut starting = JoinSet::new();
    for _ in 0..8 {
        let url = url.clone();
        starting.spawn(async move { open(&url).await });
    }
    for store in starting.join_all().await {
        store.ping().await.expect("ready");
    }
    let name = url.rsplit('/').next().expect("a name");
    assert_eq!(
        server.sql(name, "SELECT version, success FROM _sqlx_migrations").await,
        "1|t\n3|t\n4|t\n5|t\n6|t\n8|t\n10|t\n11|t\n12|t\n13|t"
    );
    assert_eq!(server.sql(name, "SELECT count(*) FROM counters").await, "1");
}

/// What a call answers that began while another transaction had done `change`, and was committed then.
async fn beside<T: Send + 'static>(
    url: &str,
    change: &str,
    call: impl Future<Output = T> + Send + 'static,
) -> T {
    let mut other = PgConnection::connect(url).await.expect("a connection");
    let mut changing = other.begin().await.expect("a transaction");
    sqlx::query(AssertSqlSafe(change.to_owned())).execute(&mut *changing).await.expect("changed");
    let mut watching = PgConnection::connect(url).await.expect("a connection");
    let call = tokio::spawn(call);
    eventually(LIMIT, async || {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(&mut watching).await.expect("counted");
        (waiting > 0 || call.is_finished()).then_some(())
    })
    .await;
    changing.commit().await.expect("committed");
    call.await.expect("answered")
}

fn user(name: &str) -> Account {
    Account {
        name: AccountName::parse(name).expect("a name"),
        id: Uuid::from_u128(1),
        kind: AccountKind::User,
        email: None,
        email_verified: false,
        superuser: false,
        enabled: true,
        created_at: at(0),
    }
}

#[tokio::test]
async fn a_session_that_begins_while_the_password_is_changed_is_refused() {
    let server = Postgres::start().await;
    let url = server.database().await;
    let store = open(&url).await;
    let ann = user("ann");
    store.put_account(&ann).await.expect("put");
    for change in ["UPDATE accounts SET password = '$new'", "DELETE FROM accounts"] {
        store.set_password(&ann.name, Some("$old")).await.expect("set");
        let (store, ann) = (store.clone(), ann.clone());
        let begun = beside(&url, change, async move {
            store.begin_session(&ann, "$old", &[1; 32], at(0), at(10)).await.expect("answered")
        });
        assert!(!begun.await, "{change}");
    }
    assert_eq!(store.session(&[1; 32], at(1)).await.expect("answered"), None);
}

/// A store with a user `ann`, and a team and a repository of `acme`.
async fn filled(url: &str) -> Store {
    let store = open(url).await;
    store.put_account(&user("ann")).await.expect("put");
    let id = Uuid::from_u128(2);
    let organization = Account { id, kind: AccountKind::Organization, ..user("acme") };
    store.put_account(&organization).await.expect("put");
    let role = TeamRole::Member;
    store.put_team(&Team { organization: acme(), name: dev(), role }).await.expect("put");
    let repository = Repository { name: api(), public: false, created_at: at(0) };
    store.put_repository(&repository).await.expect("put");
    store
}

fn acme() -> NamespaceName {
    NamespaceName::parse("acme").expect("a name")
}

fn dev() -> TeamName {
    TeamName::parse("dev").expect("a name")
}

fn api() -> RepositoryName {
    RepositoryName::parse("acme/api").expect("a name")
}

fn may_read(grantee: &str) -> Permission {
    Permission { grantee: Grantee::parse(grantee).expect("a grantee"), role: RepositoryRole::Read }
}

/// That a call finds nothing to write of, in a filled store in which `change` is under way.
async fn refused<T: std::fmt::Debug + Send + 'static, F>(
    url: &str,
    change: &str,
    call: impl FnOnce(Store) -> F,
) where
    F: Future<Output = Result<T, DirectoryError>> + Send + 'static,
{
    let call = Box::pin(call(filled(url).await));
    let answer = beside(url, change, call).await;
    assert!(matches!(answer, Err(DirectoryError::Missing { .. })), "{change}: {answer:?}");
}

#[tokio::test]
async fn nothing_is_written_of_what_is_deleted_meanwhile() {
    let server = Postgres::start().await;
    let url = server.database().await;
    let gone = "DELETE FROM accounts WHERE name = 'ann'";
    refused(&url, gone, |store| async move { store.grant(&api(), &may_read("ann")).await }).await;
    let ann = user("ann").name;
    refused(&url, gone, |store| async move { store.add_member(&acme(), &dev(), &ann).await }).await;
    let robot = Account { kind: AccountKind::Robot, id: Uuid::from_u128(3), ..user("ann+ci") };
    refused(&url, gone, |store| async move { store.put_account(&robot).await }).await;
    let token = Token {
        id: Uuid::from_u128(4),
        title: "ci".into(),
        account: Some(user("ann").name),
        scopes: TokenScopes::new([TokenScope::Account]),
        created_by: "ann".into(),
        created_at: at(0),
        expires_at: None,
        last_used_at: None,
    };
    refused(&url, gone, |store| async move { store.create_token(&token, &[1; 32]).await }).await;

    let gone = "DELETE FROM teams";
    refused(&url, gone, |store| async move { store.grant(&api(), &may_read("acme/dev")).await }).await;
    let ann = user("ann").name;
    refused(&url, gone, |store| async move { store.add_member(&acme(), &dev(), &ann).await }).await;
    let gone = "DELETE FROM repositories";
    refused(&url, gone, |store| async move { store.grant(&api(), &may_read("ann")).await }).await;
    let gone = "DELETE FROM accounts WHERE name = 'acme'";
    let team = Team { organization: acme(), name: dev(), role: TeamRole::Admin };
    refused(&url, gone, |store| async move { store.put_team(&team).await }).await;
}
