//! What only the `SQLite` store has to do: open or refuse a file, and keep what it was given.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use bellbuoy_store::{Admission, InboxRow, OpenError, SeenEvent, Store};
use jiff::Timestamp;
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;
use uuid::Uuid;

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.db");
    (directory, path)
}

async fn open(path: &Path) -> Store {
    Store::open_sqlite(path).await.expect("a store")
}

async fn refused(path: &Path) -> OpenError {
    match Store::open_sqlite(path).await {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => error,
    }
}

/// Changes the file behind the store's back.
async fn tamper(path: &Path, statement: &'static str) {
    let options = SqliteConnectOptions::new().filename(path);
    let mut connection = SqliteConnection::connect_with(&options).await.expect("a connection");
    sqlx::query(statement).execute(&mut connection).await.expect("tampered with");
    connection.close().await.expect("closed");
}

fn event(number: u128) -> SeenEvent {
    SeenEvent {
        source: "registry.example.com".into(),
        id: number.to_string(),
        kind: bellbuoy_domain::Kind::RepoPush,
        subject: "acme/api".into(),
        message: Uuid::from_u128(number),
        accepted_at: Timestamp::UNIX_EPOCH,
        body: b"{}".to_vec(),
    }
}

async fn admit(store: &Store, number: u128) -> Vec<Admission> {
    store.admit_events(&[event(number)], std::time::Duration::MAX).await.expect("admitted")
}

#[tokio::test]
async fn what_was_answered_is_there_after_the_store_was_dropped_without_closing() {
    let (_directory, path) = place();
    for number in 0..5 {
        let store = open(&path).await;
        assert_eq!(admit(&store, number).await, [Admission::New]);
        for known in 0..=number {
            assert_eq!(store.event(None, &known.to_string()).await.expect("read").len(), 1);
        }
    }
}

#[tokio::test]
async fn what_was_answered_is_in_a_copy_taken_at_any_time() {
    // The files as a crash would leave them: the log not copied back, nobody having closed anything.
    let (_directory, path) = place();
    let store = open(&path).await;
    for number in 0..20 {
        admit(&store, number).await;
    }
    let (_elsewhere, copy) = place();
    for suffix in ["", "-wal"] {
        let of = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
        fs::copy(of(&path), of(&copy)).expect("copied");
    }
    let copy = open(&copy).await;
    for number in 0..20 {
        assert_eq!(copy.event(None, &number.to_string()).await.expect("read").len(), 1);
    }
}

#[tokio::test]
async fn its_files_are_for_their_owner_alone() {
    let (directory, path) = place();
    let store = open(&path).await;
    admit(&store, 1).await;
    let files: Vec<PathBuf> =
        fs::read_dir(directory.path()).expect("listed").map(|file| file.expect("a file").path()).collect();
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        let mode = fs::metadata(&file).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", file.display());
    }
}

#[tokio::test]
async fn a_second_opener_is_told_who_holds_it_until_that_one_is_gone() {
    let (_directory, path) = place();
    let store = open(&path).await;
    let error = refused(&path).await;
    let expected = format!("process {}", std::process::id());
    assert!(matches!(&error, OpenError::InUse { holder, .. } if *holder == expected), "{error:?}");
    admit(&store, 1).await;
    drop(store);
    open(&path).await;
}

#[tokio::test]
async fn a_missing_directory_is_named() {
    let (directory, _) = place();
    let missing = directory.path().join("nowhere");
    let error = refused(&missing.join("store.db")).await;
    assert!(matches!(&error, OpenError::NoDirectory { path } if *path == missing), "{error:?}");
}

#[tokio::test]
async fn a_file_that_can_not_be_written_is_refused() {
    let (_directory, path) = place();
    open(&path).await.close().await;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).expect("set");
    let error = refused(&path).await;
    assert!(matches!(error, OpenError::ReadOnly { .. }), "{error:?}");
}

#[tokio::test]
async fn a_file_of_another_kind_is_refused_and_left_alone() {
    let (_directory, path) = place();
    for bytes in [&b"x"[..], &[b'x'; 5000], b"SQLite format 3\0"] {
        fs::write(&path, bytes).expect("written");
        let error = refused(&path).await;
        assert!(matches!(error, OpenError::NotADatabase { .. }), "{error:?}");
        assert_eq!(fs::read(&path).expect("read"), bytes);
    }
    let (directory, _) = place();
    assert!(matches!(refused(directory.path()).await, OpenError::Other { .. }), "a directory");
}

#[tokio::test]
async fn a_file_that_lost_its_end_is_refused() {
    let (_directory, path) = place();
    open(&path).await.close().await;
    let length = fs::metadata(&path).expect("there").len();
    fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|file| file.set_len(length / 2))
        .expect("truncated");
    let error = refused(&path).await;
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
}

#[tokio::test]
async fn a_newer_schema_is_refused_with_both_versions() {
    let (_directory, path) = place();
    open(&path).await.close().await;
    tamper(&path, "UPDATE _sqlx_migrations SET version = 9999 WHERE version = 1").await;
    let error = refused(&path).await;
    assert!(matches!(error, OpenError::NewerSchema { found: 9999, known: 2.., .. }), "{error:?}");
}

#[tokio::test]
async fn a_schema_that_no_release_made_is_refused() {
    let (_directory, path) = place();
    open(&path).await.close().await;
    tamper(&path, "UPDATE _sqlx_migrations SET checksum = x'00'").await;
    let error = refused(&path).await;
    assert!(matches!(error, OpenError::ForeignSchema { .. }), "{error:?}");
}

#[tokio::test]
async fn a_file_that_was_made_but_never_filled_is_filled() {
    let (_directory, path) = place();
    fs::write(&path, b"").expect("made");
    assert_eq!(admit(&open(&path).await, 1).await, [Admission::New]);
}

#[tokio::test]
async fn a_deep_page_of_the_in_app_area_reads_its_own_rows_alone() {
    let (_directory, path) = place();
    let store = open(&path).await;
    let row = |number: u128| InboxRow {
        delivery: Uuid::from_u128(number).into(),
        target_kind: "user".into(),
        target: "ann".into(),
        kind: bellbuoy_domain::Kind::RepoPush.into(),
        metadata: serde_json::Map::new(),
        created_at: Timestamp::UNIX_EPOCH,
    };
    store.add_to_inbox(&(0..10).map(row).collect::<Vec<_>>()).await.expect("added");
    // Whoever reads the newest eight meets a text that is none.
    tamper(&path, "UPDATE inbox SET metadata = CAST(x'ff' AS TEXT) WHERE seq > 2").await;
    let page = store.undismissed(&[("user", "ann")], 8, 5).await.expect("a page");
    let told: Vec<_> = page.iter().map(|item| item.delivery.as_uuid().as_u128()).collect();
    assert_eq!(told, [1, 0]);
    store.undismissed(&[("user", "ann")], 7, 1).await.expect_err("what can't be read is in this page");
}

#[tokio::test]
async fn each_refusal_says_what_to_do() {
    let path = || PathBuf::from("/data/store.db");
    let errors = [
        (OpenError::NoDirectory { path: path() }, "make it"),
        (OpenError::ReadOnly { path: path() }, "give this user write access"),
        (OpenError::InUse { path: path(), holder: "process 7".into() }, "stop that first"),
        (OpenError::NotADatabase { path: path() }, "move it away"),
        (OpenError::Damaged { path: path(), detail: "half".into() }, "restore it from a backup"),
        (
            OpenError::NewerSchema { place: "/data/store.db".into(), found: 2, known: 1 },
            "start the newer version",
        ),
    ];
    for (error, remedy) in errors {
        let text = error.to_string();
        assert!(text.contains("/data/store.db") && text.contains(remedy), "{text}");
    }
}
