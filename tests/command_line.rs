//! The commands for people: what they print, and the exit codes 0 (done), 1 (failed), 2 (misused).

mod support;

use std::path::Path;

use bellbuoy_testkit::process::{Launch, Process, free_port};
use bellbuoy_testkit::receiver::Receiver;
use bellbuoy_testkit::wait::within;
use serde_json::json;
use support::{BINARY, Client, Fleet, SOON, TOKEN};

/// Runs a command to its end; its exit code and everything it said.
async fn run(folder: &Path, args: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let process = start(folder, args, environment);
    let code = process.wait_exit(SOON).await.code();
    (code, process.lines().join("\n"))
}

fn start(folder: &Path, args: &[&str], environment: &[(&str, &str)]) -> Process {
    let launch = Launch::new("command", BINARY, folder).args(args);
    environment.iter().fold(launch, |launch, (name, value)| launch.env(name, value)).start()
}

#[tokio::test]
async fn config_check_says_that_all_is_right_or_everything_that_is_not() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let key = "01".repeat(32);
    let settings = [("BELLBUOY_LIMITS__IN_FLIGHT", "7"), ("BELLBUOY_STORE__SECRET_KEY", key.as_str())];
    let good = run(folder.path(), &["config", "check"], &settings).await;
    assert_eq!(good, (Some(0), "the settings are right".to_owned()));
    let (code, said) = run(folder.path(), &["config", "check"], &settings[..1]).await;
    let parts = ["the settings are right\n", "secrets are stored unencrypted; set `store.secret_key`"];
    assert!(code == Some(0) && parts.iter().all(|part| said.contains(part)), "{said}");

    let file = "[limits]\nin_fligth = 3\n[retry]\nsteps = \"5\"\n";
    std::fs::write(folder.path().join("bellbuoy.toml"), file).expect("a file");
    let wrong = [("BELLBUOY_AUTH__ADMIN_TOKEN", "hunter2"), ("BELLBUOY_HISTORY__KEEP_DAYS", "0")];
    let (code, said) = run(folder.path(), &["config", "check", "--config", "bellbuoy.toml"], &wrong).await;
    assert_eq!(code, Some(1), "{said}");
    for part in [
        "the settings have 4 mistakes",
        "`limits.in_fligth` in bellbuoy.toml is not a setting; did you mean `limits.in_flight`?",
        "`retry.steps` in bellbuoy.toml is `5`, but should be waits such as 5s,5m,2h",
        "`BELLBUOY_AUTH__ADMIN_TOKEN` is `••••••`, but should be a token of at least 16",
        "`BELLBUOY_HISTORY__KEEP_DAYS` is `0`, but should be a whole number of days from 1 to 3650",
    ] {
        assert!(said.contains(part), "{part:?} is not in:\n{said}");
    }
    assert!(!said.contains("hunter2"), "{said}");

    let (code, said) = run(folder.path(), &["config", "check", "--config", "absent.toml"], &[]).await;
    assert!(code == Some(1) && said.contains("absent.toml"), "{said}");
}

#[tokio::test]
async fn config_show_names_each_value_and_its_origin_and_no_secret() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let environment = [("BELLBUOY_AUTH__ADMIN_TOKEN", TOKEN), ("BELLBUOY_LIMITS__IN_FLIGHT", "7")];
    let (code, said) = run(folder.path(), &["config", "show"], &environment).await;
    assert_eq!(code, Some(0), "{said}");
    let line = |key: &str| said.lines().find(|line| line.starts_with(key)).expect("a line").to_owned();
    assert!(line("limits.in_flight").ends_with("7  (BELLBUOY_LIMITS__IN_FLIGHT)"), "{said}");
    assert!(line("listen").ends_with("127.0.0.1:8080  (default)"), "{said}");
    assert!(line("auth.admin_token").contains("••••••") && !said.contains(TOKEN), "{said}");
}

#[tokio::test]
async fn the_example_file_is_valid_as_it_is_printed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (code, example) = run(folder.path(), &["config", "example"], &[]).await;
    assert!(code == Some(0) && example.contains("#: in_flight = \"256\""), "{example}");
    std::fs::write(folder.path().join("example.toml"), example.replace("#: ", "")).expect("a file");
    let checked = run(folder.path(), &["config", "check", "--config", "example.toml"], &[]).await;
    assert!(checked.0 == Some(0) && checked.1.starts_with("the settings are right\n"), "{checked:?}");
}

#[tokio::test]
async fn misuse_is_exit_code_2_and_help_is_not_misuse() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (args, code, part) in [
        (&["frobnicate"][..], 2, "frobnicate"),
        (&["serve", "--frobnicate"], 2, "--frobnicate"),
        (&["publish", "nonsense", "--token", "t"], 2, "unknown kind \"nonsense\"; known are repo_push"),
        (&["publish", "repo_push", "acme/api"], 2, "--token"),
        (
            &["serve", "--roles", "nonsense"],
            2,
            "'--roles <ROLES>': should be some of api,fanout,deliver,record",
        ),
        (&["serve", "--methods", "slak"], 2, "'--methods <METHODS>': should be methods such as webhook"),
        (&["notifications", "list", "--method", "slak"], 2, "unknown method \"slak\"; known are webhook"),
        (&[], 2, "serve"),
        (&["serve", "--demo", "--config", "my.toml"], 2, "leave out --config"),
        (&["--help"], 0, "Exit codes: 0 done, 1 failed, 2 misused"),
        (&["--version"], 0, "bellbuoy "),
        (&["completions", "bash"], 0, "bellbuoy"),
    ] {
        let (found, said) = run(folder.path(), args, &[]).await;
        assert!(found == Some(code) && said.contains(part), "{args:?}: {found:?} {said}");
    }
}

#[tokio::test]
async fn publish_hands_an_event_to_a_running_server_or_says_why_not() {
    let fleet = Fleet::start(&[]).await;
    let receiver = Receiver::start().await.expect("a receiver");
    fleet.api.webhook("acme/api", "repo_push", &receiver.url("/hook")).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let here = [("BELLBUOY_URL", fleet.api.url.as_str()), ("BELLBUOY_TOKEN", TOKEN)];

    let tags = r#"{"updated_tags": ["v1"]}"#;
    let args = ["publish", "repo_push", "acme/api", "--id", "one", "--data", tags];
    let accepted = run(folder.path(), &args, &here).await;
    assert_eq!(accepted, (Some(0), "accepted event one of bellbuoy-publish".to_owned()));
    let requests = receiver.wait_for(1, |_| true).await.expect("a delivery");
    let body: serde_json::Value = serde_json::from_slice(&requests[0].body).expect("JSON");
    assert_eq!((&body["repository"], &body["updated_tags"]), (&json!("acme/api"), &json!(["v1"])));

    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let wrong_token = [here[0], ("BELLBUOY_TOKEN", "wrong-wrong-wrong")];
    let wrong_url = [("BELLBUOY_URL", nowhere.as_str()), here[1]];
    for (args, environment, code, parts) in [
        (&args[..], wrong_token, 1, &["401", "none of this server's"][..]),
        (&args, wrong_url, 1, &["can't publish to http://127.0.0.1", "refused"]),
        (&["publish", "repo_push", "acme/api", "--data", "{"], here, 2, &["--data is not a JSON object"]),
        (&["publish", "repo_push", "acme/api", "--data", "[1]"], here, 2, &["--data is not a JSON object"]),
        (
            &["publish", "repo_push", "acme/api", "--data", r#"{"updated_tags": 1}"#],
            here,
            2,
            &["updated_tags"],
        ),
        (&["publish", "repo_push", "../x", "--data", tags], here, 2, &["subject"]),
        (&["publish", "repo_push", "--data", tags], here, 2, &["`subject` is missing"]),
    ] {
        let (found, said) = run(folder.path(), args, &environment).await;
        let is_said = parts.iter().all(|part| said.contains(part));
        assert!(found == Some(code) && is_said, "{args:?}: {found:?} {said}");
        assert!(!said.contains("wrong-wrong"), "{said}");
        assert!(said.matches("is not valid;").count() <= 1, "{said}");
    }
}

#[tokio::test]
async fn serve_refuses_to_start_on_what_it_can_not_use_and_says_what_that_is() {
    let fleet = Fleet::start(&[]).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("file"), "").expect("a file");
    std::fs::create_dir(folder.path().join("broken")).expect("a folder");
    std::fs::write(folder.path().join("broken/store.db"), "no database at all, ".repeat(1000))
        .expect("a file");
    let (data, address) = (fleet.data().display().to_string(), fleet.address().to_owned());
    let free = ("BELLBUOY_LISTEN", "127.0.0.1:0");
    for (environment, parts) in [
        ([free, ("BELLBUOY_DATA_DIR", data.as_str())], &["broker.lock", "in use"][..]),
        (
            [("BELLBUOY_LISTEN", address.as_str()), ("BELLBUOY_DATA_DIR", "own")],
            &["can't listen on", "BELLBUOY_LISTEN"],
        ),
        (
            [free, ("BELLBUOY_DATA_DIR", "file/data")],
            &["can't make the data directory file/data", "BELLBUOY_DATA_DIR"],
        ),
        ([free, ("BELLBUOY_DATA_DIR", "broken")], &["store.db", "not a database"]),
        (
            [free, ("BELLBUOY_DATADIR", "x")],
            &["`BELLBUOY_DATADIR` is not a setting", "did you mean `data_dir`?"],
        ),
        (
            [free, ("BELLBUOY_BROKER__URL", "redis://x")],
            &["`BELLBUOY_BROKER__URL` is `redis://x`", "embedded:"],
        ),
        (
            [free, ("BELLBUOY_LOG__FILTER", "bellbuoy=nope")],
            &["the settings have 1 mistake:", "`BELLBUOY_LOG__FILTER` is `bellbuoy=nope`", "a level"],
        ),
    ] {
        let (code, said) = run(folder.path(), &["serve"], &environment).await;
        assert_eq!(code, Some(1), "{environment:?}: {said}");
        assert!(parts.iter().all(|part| said.contains(part)), "{parts:?} are not in: {said}");
        assert!(!said.contains("Bellbuoy ") && !said.contains("panicked"), "{said}");
    }
    // The one that was there before is none the worse for it.
    fleet.api.publish(&support::push("1", "acme/api", "v1")).await;
    fleet.stop().await;
}

#[tokio::test]
async fn a_token_that_serve_made_itself_opens_it_again_after_a_restart() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let environment = [("BELLBUOY_LISTEN", "127.0.0.1:0"), ("BELLBUOY_DATA_DIR", "data")];
    let mut tokens = Vec::new();
    for _ in 0..2 {
        let serve = start(folder.path(), &["serve"], &environment);
        let greeting = serve.wait_for_line("The admin token is in data/admin-token", SOON).await;
        let url =
            greeting.split("listens on ").nth(1).and_then(|rest| rest.split(". ").next()).expect("a URL");
        let token = std::fs::read_to_string(folder.path().join("data/admin-token")).expect("a token");
        Client::new(url, token.trim()).get("/v1/notifications").await;
        tokens.push(token);
        serve.terminate();
        assert_eq!(serve.wait_exit(SOON).await.code(), Some(0));
    }
    assert_eq!(tokens[0], tokens[1]);
}

#[tokio::test]
async fn healthcheck_says_by_its_exit_code_whether_the_process_is_ready() {
    let fleet = Fleet::start(&[]).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ready = run(folder.path(), &["healthcheck"], &[("BELLBUOY_LISTEN", fleet.address())]).await;
    assert_eq!(ready, (Some(0), String::new()));
    let nobody = format!("127.0.0.1:{}", free_port());
    let (code, said) = run(folder.path(), &["healthcheck"], &[("BELLBUOY_LISTEN", &nobody)]).await;
    assert!(code == Some(1) && said.contains("can't reach"), "{code:?} {said}");
}

#[tokio::test]
async fn healthcheck_says_why_a_worker_is_not_ready_to_whom_metrics_are_open_or_who_has_the_admin_token() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let broker = format!("amqp://guest:guest@127.0.0.1:{}/", free_port());
    for told in [("BELLBUOY_AUTH__OPEN_METRICS", "true"), ("BELLBUOY_AUTH__ADMIN_TOKEN", TOKEN)] {
        let listen = format!("127.0.0.1:{}", free_port());
        let environment = [("BELLBUOY_LISTEN", &*listen), ("BELLBUOY_BROKER__URL", &*broker), told];
        let serve = start(folder.path(), &["serve", "--roles", "fanout"], &environment);
        serve.wait_for_ok(&format!("http://{listen}/healthz"), SOON).await;
        // First it opens its store.
        let told = within(SOON, async || {
            let (code, said) = run(folder.path(), &["healthcheck"], &environment).await;
            assert_eq!(code, Some(1), "{said}");
            said.lines().find_map(|line| line.strip_prefix("broker: ")).map(str::to_owned)
        });
        assert_ne!(told.await.expect("the broker is away"), "failing");
        serve.terminate();
        serve.wait_exit(SOON).await;
    }
}
