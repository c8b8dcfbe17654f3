//! Opening and refusing a database.

use bellbuoy_store::{OpenError, Store};
use bellbuoy_testkit::{certs::Authority, postgres::Postgres, process::free_port};

use crate::{event, open};

/// Everything that an error says, with its causes.
fn told(error: &OpenError) -> String {
    let mut told = format!("{error} {error:?}");
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        told.push_str(&cause.to_string());
        source = cause.source();
    }
    told
}

async fn refused(url: &str) -> OpenError {
    match Store::open(url).await {
        Ok(_) => panic!("{url} was opened"),
        Err(error) => error,
    }
}

fn name(url: &str) -> &str {
    url.rsplit('/').next().expect("a name")
}

#[tokio::test]
async fn a_url_of_no_store_is_refused_without_being_told_on() {
    let secret = "hunter2";
    for url in [
        "",
        "sqlite:",
        "mysql://bellbuoy:hunter2@localhost/x",
        "/var/lib/store.db",
        "postgres://bellbuoy:hunter2@localhost:notaport/x",
        "postgres://bellbuoy:hunter2@localhost/x?sslmode=sometimes",
        "postgres://bellbuoy:hunter2@[::1/x",
    ] {
        let error = refused(url).await;
        assert!(matches!(error, OpenError::BadUrl { .. }), "{url}: {error:?}");
        assert!(error.to_string().contains("postgres://USER:PASSWORD@HOST:PORT/DATABASE"), "{error}");
        assert!(!told(&error).contains(secret), "{}", told(&error));
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_without_the_password() {
    let url = format!("postgres://bellbuoy:hunter2@127.0.0.1:{}/x", free_port());
    let error = refused(&url).await;
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error:?}");
    assert!(
        error.to_string().contains("127.0.0.1:") && !told(&error).contains("hunter2"),
        "{}",
        told(&error)
    );
}

#[tokio::test]
async fn a_user_logs_in_by_a_password_of_any_characters_and_a_wrong_one_is_told_apart() {
    let server = Postgres::start().await;
    let url = server.database().await;
    server
        .sql(name(&url), "CREATE ROLE app LOGIN PASSWORD 'p:a/s@s? %'; GRANT ALL ON SCHEMA public TO app")
        .await;
    let as_app = |password: &str| url.replace("bellbuoy@", &format!("app:{password}@"));
    let store = open(&as_app("p%3Aa%2Fs%40s%3F%20%25")).await;
    store.ping().await.expect("ready");
    let error = refused(&as_app("hunter2")).await;
    assert!(matches!(&error, OpenError::Denied { user, .. } if user == "app"), "{error:?}");
    assert!(!told(&error).contains("hunter2"), "{}", told(&error));
    let error = refused(&url.replace("bellbuoy@", "nobody:x@")).await;
    assert!(matches!(error, OpenError::Denied { .. }), "{error:?}");
}

#[tokio::test]
async fn once_the_schema_is_there_no_right_to_make_tables_is_needed() {
    let server = Postgres::start().await;
    let url = server.database().await;
    server
        .sql(name(&url), "CREATE ROLE app LOGIN PASSWORD 'x'; REVOKE CREATE ON SCHEMA public FROM public")
        .await;
    let as_app = url.replace("bellbuoy@", "app:x@");
    let error = refused(&as_app).await;
    assert!(matches!(error, OpenError::Denied { .. }), "{error:?}");
    open(&url).await.close().await;
    server
        .sql(name(&url), "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO app")
        .await;
    let store = open(&as_app).await;
    store.admit_events(&[event("1", 1, 0)], crate::WINDOW).await.expect("admitted");
}

#[tokio::test]
async fn a_missing_database_is_named() {
    let server = Postgres::start().await;
    let error = refused(&server.url("nowhere")).await;
    assert!(matches!(error, OpenError::NoDatabase { .. }), "{error:?}");
    assert!(
        error.to_string().contains("/nowhere") && error.to_string().contains("CREATE DATABASE"),
        "{error}"
    );
}

#[tokio::test]
async fn a_database_that_can_not_hold_every_text_is_refused() {
    let server = Postgres::start().await;
    server.sql("postgres", "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0").await;
    let error = refused(&server.url("latin")).await;
    assert!(matches!(&error, OpenError::Encoding { found, .. } if found == "LATIN1"), "{error:?}");
}

#[tokio::test]
async fn a_newer_schema_is_refused_with_both_versions() {
    let server = Postgres::start().await;
    let url = server.database().await;
    open(&url).await.close().await;
    server.sql(name(&url), "INSERT INTO _sqlx_migrations SELECT 9999, description, installed_on, success, checksum, 0 FROM _sqlx_migrations WHERE version = 1").await;
    let error = refused(&url).await;
    assert!(matches!(error, OpenError::NewerSchema { found: 9999, known: 2.., .. }), "{error:?}");
    assert!(error.to_string().contains("start the newer version"), "{error}");
}

#[tokio::test]
async fn a_schema_that_no_release_made_is_refused() {
    let server = Postgres::start().await;
    let url = server.database().await;
    open(&url).await.close().await;
    server.sql(name(&url), "UPDATE _sqlx_migrations SET checksum = '\\x00'").await;
    let error = refused(&url).await;
    assert!(matches!(error, OpenError::ForeignSchema { .. }), "{error:?}");
}

#[tokio::test]
async fn what_was_stored_is_there_for_the_next_to_open() {
    let server = Postgres::start().await;
    let url = server.database().await;
    for number in 0..3 {
        let store = open(&url.replace("postgres://", "postgresql://")).await;
        store.admit_events(&[event(&number.to_string(), 1, 0)], crate::WINDOW).await.expect("admitted");
        for known in 0..=number {
            assert_eq!(store.event(None, &known.to_string()).await.expect("read").len(), 1);
        }
    }
}

#[tokio::test]
async fn with_verify_full_the_server_has_to_prove_its_name() {
    let authority = Authority::new("ours").expect("an authority");
    let server = Postgres::start().await;
    let identity = authority.server(&["127.0.0.1"]).expect("a certificate");
    let file = |name: &str, content: &str| server.file(name, content).display().to_string();
    let (certificate, key) = (file("server.pem", &identity.cert_pem), file("server.key", &identity.key_pem));
    let ours = file("ours.pem", &authority.pem());
    let other = file("other.pem", &Authority::new("other").expect("an authority").pem());
    for setting in
        [format!("ssl_cert_file = '{certificate}'"), format!("ssl_key_file = '{key}'"), "ssl = on".into()]
    {
        server.sql("postgres", &format!("ALTER SYSTEM SET {setting}")).await;
    }
    server.sql("postgres", "SELECT pg_reload_conf()").await;
    let url = server.database().await;
    bellbuoy_testkit::wait::eventually(std::time::Duration::from_secs(20), async || {
        Store::open(&format!("{url}?sslmode=require")).await.ok()
    })
    .await;
    let store = open(&format!("{url}?sslmode=verify-full&sslrootcert={ours}")).await;
    store.ping().await.expect("ready");
    let in_use = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'bellbuoy'";
    assert_eq!(server.sql("postgres", in_use).await, "t");
    let error = refused(&format!("{url}?sslmode=verify-full&sslrootcert={other}")).await;
    assert!(told(&error).to_lowercase().contains("certificate"), "{}", told(&error));
    let error =
        refused(&format!("{}?sslmode=verify-full&sslrootcert={ours}", url.replace("127.0.0.1", "localhost")))
            .await;
    assert!(told(&error).to_lowercase().contains("certificate"), "{}", told(&error));
}
