//! The commands for people against a running server: what they do, print and exit with.

mod support;

use std::collections::HashSet;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use bellbuoy_testkit::process::free_port;
use bellbuoy_testkit::receiver::{Answer, Receiver};
use bellbuoy_testkit::wait::within;
use http::Method;
use serde_json::{Value, json};
use support::{BINARY, Fleet, SOON, TOKEN, push};

/// A shell whose Bellbuoy is the fleet's.
struct Shell {
    url: String,
    folder: tempfile::TempDir,
}

/// What a command said and ended with.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    data: String,
    talk: String,
}

impl Said {
    /// What it printed, if it did what it was told.
    #[track_caller]
    fn data(&self) -> &str {
        assert_eq!(self.code, Some(0), "{self:?}");
        &self.data
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(self.data()).expect("JSON")
    }

    /// What it complained of, if it ended with `code` and printed nothing.
    #[track_caller]
    fn complaint(&self, code: i32) -> &str {
        assert_eq!((self.code, self.data.as_str()), (Some(code), ""), "{self:?}");
        &self.talk
    }
}

impl Shell {
    fn of(fleet: &Fleet) -> Self {
        Self { url: fleet.api.url.clone(), folder: tempfile::tempdir().expect("a temporary folder") }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(args).env_clear().current_dir(self.folder.path());
        command.env("BELLBUOY_URL", &self.url).env("BELLBUOY_TOKEN", TOKEN);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end, while the test's own receivers go on.
    async fn run(&self, args: &[&str]) -> Said {
        self.run_as(TOKEN, args).await
    }

    /// The same with a token of somebody else's.
    async fn run_as(&self, token: &str, args: &[&str]) -> Said {
        let mut command = self.command(args);
        command.env("BELLBUOY_TOKEN", token);
        let ended = tokio::task::spawn_blocking(move || command.output());
        Self::said(ended.await.expect("it was run").expect("it started"))
    }

    fn said(output: Output) -> Said {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Said { code: output.status.code(), data: text(output.stdout), talk: text(output.stderr) }
    }
}

/// The lines below a table's head.
#[track_caller]
fn rows(table: &str) -> Vec<&str> {
    assert!(table.starts_with("ID "), "{table}");
    table.lines().skip(1).collect()
}

/// A fleet, a receiver that takes nothing, and as many dead letters for each repository as given.
async fn with_dead_letters(of: &[(&str, usize)]) -> (Fleet, Receiver, Shell) {
    let fleet = Fleet::start(&[("BELLBUOY_RETRY__STEPS", "1ms")]).await;
    let receiver = Receiver::start().await.expect("a receiver");
    receiver.script("/hook", [Answer::status(404)]);
    let mut all = 0;
    for (repository, how_many) in of {
        fleet.api.webhook(repository, "repo_push", &receiver.url("/hook")).await;
        for number in 0..*how_many {
            fleet.api.publish(&push(&format!("{repository}-{number}"), repository, "v1")).await;
        }
        all += how_many;
    }
    fleet.api.until("", all, &["dead"]).await;
    let archived = within(SOON, async || (fleet.api.dead_letters("").await.len() == all).then_some(()));
    archived.await.expect("every death in the archive");
    receiver.script("/hook", [Answer::status(200)]);
    receiver.clear();
    let shell = Shell::of(&fleet);
    (fleet, receiver, shell)
}

#[tokio::test]
async fn a_notification_is_made_looked_at_changed_tested_and_deleted() {
    let fleet = Fleet::start(&[]).await;
    let receiver = Receiver::start().await.expect("a receiver");
    let shell = Shell::of(&fleet);
    let hook = receiver.url("/hook");
    assert!(shell.run(&["notifications", "list"]).await.talk.contains("no such notifications"));

    let create = ["notifications", "create", "--repository", "acme/api", "--kind", "repo_push", "--webhook"];
    let said = shell.run(&[&create[..], &[&hook, "--title", "Deploy"]].concat()).await;
    assert!(said.data().contains("whsec_") && said.talk.contains("not shown again"), "{said:?}");
    let id = said.data().lines().next().and_then(|line| line.split_whitespace().last()).expect("an id");
    let made = shell.run(&["notifications", "list", "--json"]).await.json();
    assert_eq!((&made[0]["id"], &made[0]["title"]), (&json!(id), &json!("Deploy")));

    let people = json!({"version": 1, "organizations": [{"name": "acme", "teams": [{"name": "ops"}]}]});
    assert_eq!(fleet.api.post("/v1/directory/import", &people).await.status, 200);
    let in_app = ["notifications", "create", "--namespace", "acme", "--kind", "repo_push,tag_delete"];
    shell.run(&[&in_app[..], &["--in-app", "team:ops"]].concat()).await.data();
    let list = shell.run(&["notifications", "list"]).await;
    assert_eq!(rows(list.data()).len(), 2, "{list:?}");
    assert!(list.data.contains("acme/*") && list.data.contains("repo_push,tag_delete"), "{list:?}");
    let one = shell.run(&["notifications", "list", "--repository", "acme/api", "--state", "active"]).await;
    assert!(rows(one.data()).len() == 1 && one.data.contains(id), "{one:?}");

    let update = ["notifications", "update", id, "--title", "Ship", "--filter", r#"{"tags": ["v*"]}"#];
    assert!(shell.run(&update).await.data().contains("Ship"));
    let shown = shell.run(&["notifications", "show", id, "--json"]).await.json();
    assert_eq!((&shown["title"], &shown["filter"]), (&json!("Ship"), &json!({"tags": ["v*"]})));
    assert_eq!(shown["config"], json!({"url": hook}));
    std::fs::write(shell.folder.path().join("wish.json"), shown.to_string()).expect("a file");
    let again = shell.run(&["notifications", "create", "--from", "wish.json", "--json"]).await.json();
    assert_ne!(again["id"], shown["id"]);
    assert_eq!((&again["filter"], &again["title"]), (&shown["filter"], &shown["title"]));

    for (verb, done, state) in
        [("pause", "paused", "paused"), ("resume", "resumed", "active"), ("reset", "reset", "active")]
    {
        let said = shell.run(&["notifications", verb, id]).await;
        assert_eq!(said.data(), format!("{done} {id}\n"));
        assert_eq!(said.talk.contains("within five minutes"), verb == "resume", "{said:?}");
        assert_eq!(shell.run(&["notifications", "show", id, "--json"]).await.json()["state"], state);
    }
    let test = shell.run(&["notifications", "test", id]).await;
    let delivery = test.data().trim().to_owned();
    receiver.wait_for(1, |request| request.header("webhook-id") == Some(&delivery)).await.expect("a sample");

    let unknown = shell.run(&["notifications", "test", id, "--kind", "tag_delete"]).await;
    assert!(unknown.complaint(1).contains("not one of the notification's"), "{unknown:?}");
    assert_eq!(shell.run(&["notifications", "delete", id]).await.data(), format!("deleted {id}\n"));
    assert!(shell.run(&["notifications", "show", id]).await.complaint(1).contains("404"));
    let twice = shell.run(&["notifications", "delete", id, again["id"].as_str().expect("an id")]).await;
    assert_eq!((twice.code, twice.data.lines().count()), (Some(1), 1), "what can be done is: {twice:?}");
    assert!(twice.talk.contains("failed for 1 of 2"), "{twice:?}");
}

#[tokio::test]
async fn with_json_whatever_a_command_prints_is_one_value_an_array_where_several_ids_are_given() {
    let fleet = Fleet::start(&[]).await;
    let receiver = Receiver::start().await.expect("a receiver");
    let shell = Shell::of(&fleet);
    let one = fleet.api.webhook("acme/api", "repo_push", &receiver.url("/one")).await.id;
    let two = fleet.api.webhook("acme/api", "repo_push", &receiver.url("/two")).await.id;
    let json = async |args: &[&str]| shell.run(&[args, &["--json"]].concat()).await.json();

    let event =
        json(&["publish", "repo_push", "acme/api", "--id", "1", "--data", r#"{"updated_tags": ["v1"]}"#])
            .await;
    assert_eq!(event, json!({"id": "1", "source": "bellbuoy-publish"}));
    let delivered = fleet.api.until("", 2, &["delivered"]).await;
    for verb in ["pause", "resume", "reset"] {
        assert_eq!(json(&["notifications", verb, &one]).await["id"], json!(one));
        let both = json(&["notifications", verb, &one, &two]).await;
        assert_eq!((&both[0]["id"], &both[1]["id"]), (&json!(one), &json!(two)), "{both}");
    }
    let caught_up = json(&["notifications", "catch-up", &one, &two, "--since", "0s"]).await;
    assert_eq!(caught_up.as_array().map(Vec::len), Some(2), "{caught_up}");
    let sent = [0, 1].map(|at: usize| delivered[at]["id"].as_str().expect("an id"));
    assert_eq!(json(&["deliveries", "resend", sent[0], sent[1]]).await.as_array().map(Vec::len), Some(2));
    assert_eq!(json(&["notifications", "delete", &one, &two]).await, json!([{"id": one}, {"id": two}]));
    let none = shell.run(&["notifications", "delete", &one, &two, "--json"]).await;
    assert_eq!((none.code, none.data.trim()), (Some(1), "[]"), "{none:?}");

    let create = ["token", "create", "ci", "--scope", "metrics:read"];
    let token = json(&create).await["id"].clone();
    assert_eq!(json(&["token", "revoke", token.as_str().expect("an id")]).await, json!({ "id": token }));
    let key = json(&["secrets", "new-key"]).await;
    assert_eq!(key["key"].as_str().map(str::len), Some(44), "{key}");
}

#[tokio::test]
async fn deliveries_are_listed_over_pages_shown_with_their_attempts_and_sent_again() {
    let fleet = Fleet::start(&[]).await;
    let receiver = Receiver::start().await.expect("a receiver");
    receiver.script("/flaky", [Answer::status(503), Answer::status(200)]);
    fleet.api.webhook("acme/api", "repo_push", &receiver.url("/flaky")).await;
    fleet.api.publish(&push("first", "acme/api", "v1")).await;
    fleet.api.until_ended("", 1).await;
    fleet.api.webhook("acme/web", "repo_push", &receiver.url("/good")).await;
    let many: Vec<_> = (0..1200).map(|number| push(&format!("m-{number}"), "acme/web", "v1")).collect();
    for batch in many.chunks(600) {
        let batch = Value::from(batch.to_vec()).to_string();
        let sent =
            fleet.api.send(Method::POST, "/v1/events", "application/cloudevents-batch+json", batch).await;
        assert_eq!(sent.status, 202, "{}", sent.text());
    }
    let all = fleet.api.until_ended("", 1 + 1200).await.len();
    let shell = Shell::of(&fleet);

    let list = shell.run(&["deliveries", "list"]).await;
    assert!(rows(list.data()).len() == 50 && list.talk.contains("more may follow"), "{list:?}");
    let list = shell.run(&["deliveries", "list", "--limit", "9999", "--json"]).await;
    assert_eq!(list.json().as_array().map(Vec::len), Some(all));
    let filters =
        ["--subject", "acme/api", "--state", "delivered", "--method", "webhook", "--kind", "repo_push"];
    let list = shell.run(&[&["deliveries", "list", "--event", "first"][..], &filters].concat()).await;
    assert_eq!(rows(list.data()).len(), 1, "{list:?}");
    let id =
        list.data.lines().nth(1).and_then(|row| row.split_whitespace().next()).expect("an id").to_owned();

    let shown = shell.run(&["deliveries", "show", &id]).await;
    let attempts: Vec<&str> = shown.data().lines().skip_while(|line| !line.starts_with("ATTEMPT")).collect();
    assert!(
        attempts.len() == 3 && attempts[1].contains("503") && attempts[2].contains("delivered"),
        "{shown:?}"
    );

    let resent = shell.run(&["deliveries", "resend", &id]).await;
    assert_eq!(resent.data(), format!("resent {id} as attempt 3\n"));
    receiver.wait_for(3, |request| request.path == "/flaky").await.expect("one more");
    let missing = "0b6b1f0e-6f0e-5d7b-9a3a-3d0c9d8d5a11";
    assert!(shell.run(&["deliveries", "show", missing]).await.complaint(1).contains("there is no delivery"));

    let mut command = shell.command(&["deliveries", "list", "--limit", "9999"]);
    let mut child = command.spawn().expect("it starts");
    drop(child.stdout.take()); // Whoever read has gone.
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output()).await.expect("it was run");
    let said = Shell::said(ended.expect("it ended"));
    assert_eq!((said.code, said.talk.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn dead_letters_are_found_looked_at_replayed_in_bulk_and_discarded() {
    let (fleet, receiver, shell) = with_dead_letters(&[("acme/api", 12), ("acme/web", 3)]).await;
    let list = shell.run(&["dead-letters", "list", "--since", "1h", "--subject", "acme/web"]).await;
    assert_eq!(rows(list.data()).len(), 3, "{list:?}");
    let none = shell.run(&["dead-letters", "list", "--until", "1h"]).await;
    assert!(none.data().is_empty() && none.talk.contains("no such dead letters"), "{none:?}");
    let id =
        list.data.lines().nth(1).and_then(|row| row.split_whitespace().next()).expect("an id").to_owned();
    let shown = shell.run(&["dead-letters", "show", &id]).await;
    assert!(
        shown.data().contains("bellbuoy.deliver.webhook") && shown.data.contains("updated_tags"),
        "{shown:?}"
    );

    let select = ["dead-letters", "replay", "--subject", "acme/api", "--reason", "attempts_exhausted"];
    let rehearsed = shell.run(&[&select[..], &["--dry-run"]].concat()).await;
    assert_eq!(rows(rehearsed.data()).len(), 12, "{rehearsed:?}");
    assert!(rehearsed.talk.contains("would replay 12 dead letters"), "{rehearsed:?}");
    let unasked = shell.run(&select).await;
    assert!(unasked.complaint(2).contains("--yes"), "{unasked:?}");
    assert_eq!((fleet.api.dead_letters("").await.len(), receiver.requests().len()), (15, 0));

    let began = Instant::now();
    let replayed = shell.run(&[&select[..], &["--yes", "--rate", "40/s"]].concat()).await;
    assert!(began.elapsed() >= Duration::from_millis(11 * 25), "{:?}", began.elapsed());
    assert_eq!(replayed.data(), "replayed 12 dead letters\n");
    assert_eq!(replayed.talk, "", "no bar where nobody watches");
    receiver.wait_for(12, |_| true).await.expect("every delivery");
    fleet.api.until("subject=acme/api", 12, &["delivered"]).await;

    let one = shell.run(&["dead-letters", "replay", &id, "--json"]).await;
    assert_eq!(one.json(), json!({"done": 1, "superseded": 0, "gone": 0, "refused": 0, "left": 0}));
    let gone = shell.run(&["dead-letters", "replay", &id]).await;
    assert_eq!(gone.data(), "replayed 0 dead letters, 1 gone already\n");
    assert_eq!(
        shell.run(&["dead-letters", "discard", "--all", "-y"]).await.data(),
        "discarded 2 dead letters\n"
    );
    assert!(fleet.api.dead_letters("").await.is_empty());
}

#[tokio::test]
async fn what_the_server_refuses_to_replay_stays_and_is_said() {
    let (fleet, receiver, shell) = with_dead_letters(&[("acme/api", 25), ("acme/web", 2)]).await;
    // Twenty in a row disabled the notification.
    let disabled = within(SOON, async || {
        let list = fleet.api.get("/v1/notifications").await;
        let mut all = list["notifications"].as_array().expect("rows").iter();
        all.find(|one| one["state"] == "disabled").map(|one| one["id"].as_str().expect("an id").to_owned())
    });
    let disabled = disabled.await.expect("disabled");
    let said = shell.run(&["dead-letters", "replay", "--all", "--yes"]).await;
    assert_eq!(
        (said.code, said.data.as_str()),
        (Some(1), "replayed 2 dead letters, 25 refused\n"),
        "{said:?}"
    );
    assert_eq!(said.talk.matches("is disabled; reset it first").count(), 20, "{said:?}");
    assert!(
        said.talk.contains("more were refused") && said.talk.contains("25 dead letters refused"),
        "{said:?}"
    );
    receiver.wait_for(2, |_| true).await.expect("the others");
    assert_eq!(fleet.api.dead_letters("").await.len(), 25);

    shell.run(&["notifications", "reset", &disabled]).await.data();
    assert_eq!(
        shell.run(&["dead-letters", "replay", "--all", "-y"]).await.data(),
        "replayed 25 dead letters\n"
    );
    receiver.wait_for(27, |_| true).await.expect("all of them");
}

#[tokio::test]
async fn a_replay_broken_off_anywhere_is_run_again_and_loses_none() {
    let (mut fleet, receiver, shell) = with_dead_letters(&[("acme/api", 15), ("acme/web", 15)]).await;
    let replay = ["dead-letters", "replay", "--all", "--yes", "--rate", "10/s"];
    // By its user, by the machine, by the server's death.
    for signal in ["INT", "KILL"] {
        let seen = receiver.requests().len();
        let child = shell.command(&replay).spawn().expect("it starts");
        receiver.wait_for(seen + 3, |_| true).await.expect("a beginning");
        let kill = Command::new("sh").args(["-c", &format!("kill -{signal} {}", child.id())]).status();
        assert!(kill.expect("sh").success());
        let ended = tokio::task::spawn_blocking(move || child.wait_with_output()).await.expect("it was run");
        let said = Shell::said(ended.expect("it ended"));
        if signal == "INT" {
            assert_eq!(said.code, Some(1), "{said:?}");
            assert!(
                said.data.contains(" left\n") && said.talk.contains("run it again to go on: interrupted"),
                "{said:?}"
            );
        }
    }
    let mut command = shell.command(&replay);
    let seen = receiver.requests().len();
    let running = tokio::task::spawn_blocking(move || command.output());
    receiver.wait_for(seen + 3, |_| true).await.expect("a beginning");
    fleet.launch_again();
    let said = Shell::said(running.await.expect("it was run").expect("it ended"));
    assert!(said.code == Some(1) && said.talk.contains("run it again to go on"), "{said:?}");
    fleet.until_up().await;
    assert!(shell.run(&replay).await.data().starts_with("replayed "));

    assert!(fleet.api.dead_letters("").await.is_empty());
    fleet.api.until("", 30, &["delivered"]).await;
    let ids: HashSet<_> = receiver
        .requests()
        .iter()
        .filter_map(|request| request.header("webhook-id").map(str::to_owned))
        .collect();
    assert_eq!(ids.len(), 30, "each at least once");
}

#[tokio::test]
async fn a_replay_shows_a_bar_to_whoever_watches() {
    let (_fleet, _receiver, shell) = with_dead_letters(&[("acme/api", 12)]).await;
    // `script` runs it on a terminal.
    let line = format!("{BINARY} dead-letters replay --all --yes --rate 20/s");
    let replay = shell.command(&[]);
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]).current_dir(shell.folder.path());
    for (name, value) in replay.get_envs() {
        command.env(name, value.expect("it is set"));
    }
    command.env("TERM", "xterm").stdin(Stdio::null()).stderr(Stdio::null());
    let ended = tokio::task::spawn_blocking(move || command.output()).await.expect("it was run");
    let ended = ended.expect("script, which is part of every Debian");
    let seen = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(ended.status.success() && seen.contains("replayed 12 dead letters"), "{seen}");
    let places: HashSet<_> = (1..=12).filter(|place| seen.contains(&format!(" {place}/12 "))).collect();
    assert!(places.len() > 3 && seen.contains(" left"), "it moved: {seen}");
}

#[tokio::test]
async fn explain_says_what_an_event_became_and_why_not() {
    let fleet = Fleet::start(&[]).await;
    let receiver = Receiver::start().await.expect("a receiver");
    receiver.script("/bad", [Answer::status(404)]);
    let hit = fleet.api.webhook("acme/api", "repo_push", &receiver.url("/hook")).await;
    let dead = fleet.api.webhook("acme/api", "repo_push", &receiver.url("/bad")).await;
    let other = fleet.api.webhook("acme/api", "build_success", &receiver.url("/hook")).await;
    let deleted = fleet.api.webhook("acme/api", "repo_push", &receiver.url("/hook")).await;
    fleet.api.publish(&push("a/b c", "acme/api", "v1")).await;
    fleet.api.until_ended("", 3).await;
    let shell = Shell::of(&fleet);
    shell.run(&["notifications", "delete", &deleted.id]).await.data();
    let late = fleet.api.webhook("acme/api", "repo_push", &receiver.url("/hook")).await;

    let said = shell.run(&["explain", "a/b c", "--source", "journeys"]).await;
    let line = |id: &str| said.data().lines().find(|line| line.starts_with(id)).expect("a line").to_owned();
    assert!(said.data().starts_with("event        a/b c\n"), "{said:?}");
    for (id, part) in [
        (&hit.id, "  delivered"),
        (&dead.id, "  dead (answered 404"),
        (&other.id, "  no: it listens to build_success, not to repo_push"),
        (&deleted.id, "  delivered; the notification is gone"),
        (&late.id, "  it matches now, but did not when the event came"),
    ] {
        assert!(line(id).contains(part), "{part:?} is not in {:?}", line(id));
    }
    let json = shell.run(&["explain", "a/b c", "--json"]).await.json();
    assert_eq!(json["events"][0]["considered"].as_array().map(Vec::len), Some(4));
    assert!(shell.run(&["explain", "unknown"]).await.complaint(1).contains("there is no event unknown"));
}

#[tokio::test]
async fn who_administers_a_repository_lists_its_notifications_and_has_its_events_explained() {
    let fleet = Fleet::start(&[]).await;
    let receiver = Receiver::start().await.expect("a receiver");
    let shell = Shell::of(&fleet);
    let people = json!({"version": 1, "users": [{"name": "ann"}], "repositories": [
        {"name": "acme/api", "permissions": [{"grantee": "ann", "role": "admin"}]}]});
    assert_eq!(fleet.api.post("/v1/directory/import", &people).await.status, 200);
    let token = ["token", "create", "ci", "--account", "ann", "--scope", "repo:admin"];
    let token = shell.run(&token).await.data().trim().to_owned();
    let mut own = Vec::new();
    for kind in ["repo_push", "build_success"] {
        own.push(fleet.api.webhook("acme/api", kind, &receiver.url("/hook")).await.id);
    }
    let foreign = json!({"scope": {"namespace": "acme"}, "kinds": ["repo_push"], "method": "webhook",
                         "config": {"url": receiver.url("/hook")}});
    let foreign = fleet.api.post("/v1/notifications", &foreign).await.json();
    fleet.api.publish(&push("one", "acme/api", "v1")).await;
    fleet.api.until_ended("", 2).await;

    let list = ["notifications", "list", "--repository", "acme/api"];
    let ids = async |token: &str, extra: &[&str]| {
        let said = shell.run_as(token, &[&list[..], extra].concat()).await;
        let ids = rows(said.data()).into_iter().filter_map(|row| row.split_whitespace().next());
        let ids: HashSet<String> = ids.map(str::to_owned).collect();
        (ids, said.talk)
    };
    let all: HashSet<String> = own.iter().cloned().collect();
    assert_eq!(ids(&token, &["--state", "active"]).await.0, all);
    assert_eq!(ids(TOKEN, &[]).await.0, all, "those of the namespace are not the repository's");
    let (first, talk) = ids(&token, &["--limit", "1"]).await;
    assert!(first.len() == 1 && talk.contains("more"), "{first:?} {talk}");
    assert!(shell.run_as(&token, &["notifications", "list"]).await.complaint(1).contains("?repository="));

    let said = shell.run_as(&token, &["explain", "one"]).await;
    let line = |id: &str| said.data().lines().find(|line| line.starts_with(id)).map(str::to_owned);
    for (id, what) in own.iter().zip(["  delivered", "  no: it listens to build_success"]) {
        assert!(line(id).is_some_and(|line| line.contains(what)), "{what:?} of {id}: {said:?}");
    }
    assert_eq!(line(foreign["id"].as_str().expect("an id")), None);
}

#[tokio::test]
async fn explain_says_of_a_notification_why_nothing_came() {
    let fleet = Fleet::start(&[("BELLBUOY_RETRY__STEPS", "1h")]).await;
    let receiver = Receiver::start().await.expect("a receiver");
    receiver.script("/busy", [Answer::status(503)]);
    let shell = Shell::of(&fleet);
    let wish = async |kind: &str, filter: Value, path: &str| {
        let body = json!({
            "scope": {"repository": "acme/api"}, "kinds": [kind], "filter": filter, "method": "webhook",
            "config": {"url": receiver.url(path)},
        });
        fleet.api.wish(&body).await.id
    };
    let hears = wish("repo_push", json!({}), "/hook").await;
    let of_another_kind = wish("tag_delete", json!({}), "/hook").await;
    let filtered = wish("repo_push", json!({"tags": ["release-*"]}), "/hook").await;
    let fails = wish("repo_push", json!({}), "/busy").await;
    let paused = wish("repo_push", json!({}), "/hook").await;
    shell.run(&["notifications", "pause", &paused]).await.data();
    let body = json!({
        "scope": {"repository": "acme/web"}, "kinds": ["repo_push"], "method": "webhook",
        "config": {"url": receiver.url("/hook")},
    });
    let elsewhere = fleet.api.wish(&body).await.id;
    fleet.api.publish(&push("1", "acme/api", "v1")).await;
    for (id, state) in [(&hears, "delivered"), (&fails, "waiting"), (&paused, "waiting")] {
        fleet.api.until(&format!("notification={id}"), 1, &[state]).await;
    }
    for (id, words) in [
        (&hears, &["Nothing keeps its receiver from hearing", "1      repo_push  acme/api"][..]),
        (&of_another_kind, &["none of the 1 newest events", "it listens to tag_delete, not to repo_push"]),
        (&filtered, &["none of the 1 newest events", "`tags`"]),
        (&fails, &["1 of its newest deliveries wait for another attempt", "http_5xx"]),
        (&paused, &["it is paused", "paused 1"]),
        (&elsewhere, &["no event of the repository acme/web"]),
    ] {
        let said = shell.run(&["explain", "--notification", id]).await;
        for part in words {
            assert!(said.data().contains(part), "{part:?} is not in {}", said.data());
        }
    }
    let json = shell.run(&["explain", "--notification", &filtered, "--json"]).await.json();
    assert_eq!(json["events"][0]["refused_by"], "filter");
    // An event of another repository, and what it is to a notification that could not have wanted it.
    let said = shell.run(&["explain", "1", "--notification", &elsewhere]).await;
    assert!(
        said.data().contains("no: it is for the repository acme/web, and the event is about acme/api"),
        "{said:?}"
    );
    let unknown = shell.run(&["explain", "--notification", "0b6b1f0e-6f0e-4d7b-9a3a-3d0c9d8d5a11"]).await;
    assert!(unknown.complaint(1).contains("there is no notification"), "{unknown:?}");
    assert!(shell.run(&["explain"]).await.complaint(2).contains("EVENT"));
}

#[tokio::test]
async fn misuse_is_2_and_a_server_that_does_not_help_is_1() {
    let fleet = Fleet::start(&[]).await;
    let shell = Shell::of(&fleet);
    let id = "0b6b1f0e-6f0e-4d7b-9a3a-3d0c9d8d5a11";
    for (args, part) in [
        (&["deliveries"][..], "list"),
        (&["deliveries", "list", "--state", "lost"], "possible values: pending, waiting"),
        (&["deliveries", "list", "--kind", "lost"], "unknown kind"),
        (&["deliveries", "show", "lost"], "lost"),
        (&["deliveries", "resend"], "<IDS>"),
        (&["dead-letters", "list", "--since", "lately"], "2026-11-20"),
        (&["dead-letters", "replay"], "say which"),
        (&["dead-letters", "replay", id, "--since", "2h"], "not both"),
        (&["dead-letters", "discard", "--all", "--since", "2h"], "not both"),
        (&["dead-letters", "discard", "--all"], "--yes"),
        (&["dead-letters", "discard", "--all", "--rate", "0/s"], "50/s"),
        (&["notifications", "update", id], "say what to change"),
        (&["notifications", "update", id, "--registry"], "--registry"),
        (&["notifications", "create", "--repository", "a/b", "--registry"], "--registry"),
        (&["notifications", "create", "--kind", "repo_push"], "--repository, --namespace or --registry"),
        (
            &["notifications", "create", "--registry", "--kind", "repo_push"],
            "--webhook, --in-app or --method",
        ),
        (&["notifications", "show", "123"], "should be an id such as 7d3a2c0e-"),
        (&["token", "revoke", "123"], "should be an id such as 7d3a2c0e-"),
        (&["explain"], "--notification"),
        (&["explain", ".."], "names nothing"),
        (&["explain", "x", "--url", "ftp://x"], "--url"),
        (&["explain", "x", "--token", ""], "no token"),
    ] {
        let said = shell.run(args).await;
        assert!(said.complaint(2).contains(part), "{args:?}: {said:?}");
    }
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    for (args, part) in [
        (&["notifications", "list", "--token", "wrong"][..], "none of this server's"),
        (&["deliveries", "list", "--url", &nowhere], "refused"),
    ] {
        let said = shell.run(args).await;
        assert!(said.complaint(1).contains(part), "{args:?}: {said:?}");
    }
    for (args, part) in [
        (&["notifications", "--help"][..], "notifications create --repository acme/api"),
        (&["deliveries", "--help"], "deliveries resend"),
        (&["dead-letters", "--help"], "--dry-run"),
        (&["explain", "--help"], "bellbuoy explain"),
    ] {
        let said = shell.run(args).await;
        assert!(said.data().contains(part) && !said.data.contains(TOKEN), "{args:?}: {said:?}");
    }
}

#[tokio::test]
async fn a_directory_is_imported_whole_and_again_without_a_change() {
    let fleet = Fleet::start(&[]).await;
    let shell = Shell::of(&fleet);
    let file = shell.folder.path().join("people.toml");
    let people = r#"
        version = 1
        [[users]]
        name = "ann"
        email = "ann@example.com"
        [[users]]
        name = "bob"
        [[organizations]]
        name = "acme"
        owners = ["ann"]
        teams = [{ name = "dev", members = ["bob", "acme+ci"] }]
        [[robots]]
        name = "acme+ci"
        [[repositories]]
        name = "acme/api"
        permissions = [{ grantee = "acme/dev", role = "write" }]
    "#;
    std::fs::write(&file, people).expect("written");
    let import = async |options: &[&str]| {
        shell.run(&[&["directory", "import", "people.toml"][..], options].concat()).await
    };
    let planned = import(&["--dry-run"]).await;
    assert!(planned.data().contains("create user ann") && planned.talk.contains("to change"), "{planned:?}");
    assert!(fleet.api.get("/v1/directory/accounts").await["accounts"].as_array().expect("a list").is_empty());

    let done = import(&[]).await;
    assert_eq!(done.data(), planned.data(), "what it said it would do");
    for line in [
        "create organization acme",
        "create robot acme+ci",
        "create team acme/dev",
        "create repository acme/api",
    ] {
        assert!(done.data().lines().any(|said| said == line), "{line}: {done:?}");
    }
    let again = import(&[]).await;
    assert_eq!((again.data(), again.talk.trim()), ("", "0 changed"));
    std::fs::write(&file, people.replace("role = \"write\"", "role = \"admin\"")).expect("written");
    let answer = import(&["--json"]).await.json();
    assert_eq!(changes_of(&answer), ["change permission acme/api: acme/dev"]);

    for (text, said) in [
        ("version = 1\n[[users]]\nname = \"Ann\"\n", "Ann"),
        ("version = 2\n", "version"),
        ("version = 1\n[[teams]]\n", "teams"),
    ] {
        std::fs::write(&file, text).expect("written");
        let refused = import(&[]).await;
        assert!(refused.complaint(1).contains(said), "{refused:?}");
    }
    std::fs::write(&file, "version = = 1").expect("written");
    assert!(import(&[]).await.complaint(2).contains("can't be understood"));
    assert!(shell.run(&["directory", "import", "missing.toml"]).await.complaint(1).contains("missing.toml"));
}

fn changes_of(answer: &Value) -> Vec<String> {
    let text = |change: &Value, member: &str| change[member].as_str().expect("a text").to_owned();
    let line = |change: &Value| {
        format!("{} {} {}", text(change, "action"), text(change, "what"), text(change, "name"))
    };
    answer["changes"].as_array().expect("a list").iter().map(line).collect()
}

#[tokio::test]
async fn a_token_opens_what_its_scopes_and_account_say_until_it_is_revoked_and_the_audit_tells_of_it() {
    let fleet = Fleet::start(&[]).await;
    let shell = Shell::of(&fleet);
    let people = json!({"version": 1, "users": [{"name": "ann"}, {"name": "bob"}], "repositories": [
        {"name": "acme/api", "permissions": [{"grantee": "ann", "role": "admin"}]}]});
    assert_eq!(fleet.api.post("/v1/directory/import", &people).await.status, 200);

    let made = shell
        .run(&[
            "token",
            "create",
            "ann's laptop",
            "--account",
            "ann",
            "--scope",
            "repo:admin",
            "--scope",
            "user:admin",
        ])
        .await;
    let token = made.data().trim().to_owned();
    assert!(
        token.starts_with("bbt_")
            && made.talk.contains("ann's laptop")
            && made.talk.contains("shown this once")
    );
    let create = |repository: &'static str| {
        [
            "notifications",
            "create",
            "--repository",
            repository,
            "--kind",
            "repo_push",
            "--webhook",
            "https://a.example/",
        ]
    };
    let wish = shell.run_as(&token, &create("acme/api")).await;
    assert!(wish.data().contains("whsec_"), "{wish:?}");
    assert!(shell.run_as(&token, &create("acme/web")).await.complaint(1).contains("acme/web"));

    let listed = shell.run(&["token", "list", "--account", "ann"]).await;
    let row = rows(listed.data()).remove(0).to_owned();
    assert!(
        row.contains("ann's laptop") && row.contains("repo:admin user:admin") && !row.contains(&token),
        "{row}"
    );
    let id = row.split_whitespace().next().expect("an id").to_owned();
    // It has an end, and makes nothing that lasts longer or may do more.
    let another = async |extra: &[&str]| {
        let args = [&["token", "create", "mine", "--account", "ann"][..], extra].concat();
        shell.run_as(&token, &args).await
    };
    assert!(another(&["--scope", "user:admin", "--never-expires"]).await.complaint(1).contains("outlive"));
    assert!(another(&["--scope", "user:admin", "--days", "400"]).await.complaint(1).contains("outlive"));
    assert!(another(&["--scope", "org:admin", "--days", "1"]).await.complaint(1).contains("scopes"));
    assert_eq!(another(&["--scope", "user:admin", "--days", "1"]).await.code, Some(0));

    let anybodys =
        shell.run(&["token", "create", "all", "--scope", "repo:admin", "--scope", "metrics:read"]).await;
    assert!(
        !anybodys.data().is_empty() && anybodys.talk.contains("no account, and so acts on every repository;"),
        "{anybodys:?}"
    );
    let registry = shell
        .run(&["token", "create", "registry", "--scope", "events:publish", "--never-expires", "--json"])
        .await
        .json();
    let sends = registry["token"].as_str().expect("a token").to_owned();
    assert!(registry["expires_at"].is_null());
    let event = ["publish", "repo_push", "acme/api", "--data", r#"{"updated_tags": ["v1"]}"#];
    assert_eq!(shell.run_as(&sends, &event).await.code, Some(0));
    assert!(shell.run_as(&sends, &["notifications", "list"]).await.code == Some(1), "it sends, and no more");

    assert_eq!(shell.run(&["token", "revoke", &id]).await.data().trim(), format!("revoked {id}"));
    assert!(shell.run(&["token", "revoke", &id]).await.code == Some(1), "there is none any more");
    let refused = within(SOON, async || {
        let said = shell.run_as(&token, &["notifications", "list", "--repository", "acme/api"]).await;
        (said.code == Some(1)).then_some(())
    });
    refused.await.expect("refused within a second or so");

    let audit = shell.run(&["audit", "--actor", "ann", "--json"]).await.json();
    let actions: Vec<&str> =
        audit.as_array().expect("a list").iter().filter_map(|entry| entry["action"].as_str()).collect();
    assert_eq!(actions, ["token.create", "notification.create"]);
    let table = shell.run(&["audit", "--action", "token.revoke"]).await;
    let lines: Vec<&str> = table.data().lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("AT ") && lines[1].contains(&id), "{lines:?}");
    assert!(lines[1].contains("token:admin") && lines[1].contains("127.0.0.1"));
    assert_eq!(rows_of(&shell.run(&["audit", "--place", "acme/api"]).await), 1);
    assert!(!shell.run(&["audit", "--json"]).await.data().contains(&token), "no token is written down");
}

fn rows_of(said: &Said) -> usize {
    said.data().lines().count() - 1
}

#[tokio::test]
async fn what_a_notification_missed_while_it_was_disabled_is_sent_for_it_once() {
    let fleet = Fleet::start(&[("BELLBUOY_RETRY__STEPS", "1ms"), ("BELLBUOY_LIMITS__FAILURES", "1")]).await;
    let receiver = Receiver::start().await.expect("a receiver");
    let shell = Shell::of(&fleet);
    receiver.script("/hook", [Answer::status(404)]);
    let wish = fleet.api.webhook("acme/api", "repo_push", &receiver.url("/hook")).await;
    let other = fleet.api.webhook("acme/api", "repo_push", &receiver.url("/other")).await;
    fleet.api.publish(&push("dead", "acme/api", "v1")).await;
    let path = format!("/v1/notifications/{}", wish.id);
    let disabled = within(SOON, async || (fleet.api.get(&path).await["state"] == "disabled").then_some(()));
    disabled.await.expect("disabled");
    for number in 0..60 {
        fleet.api.publish(&push(&format!("missed-{number}"), "acme/api", "v2")).await;
    }
    fleet.api.publish(&push("elsewhere", "acme/web", "v2")).await;
    fleet.api.until(&format!("notification={}", other.id), 61, &["delivered"]).await;
    fleet.api.until(&format!("notification={}", wish.id), 1, &["dead"]).await;
    let catch_up = ["notifications", "catch-up", &wish.id, "--since", "1h"];
    assert!(shell.run(&catch_up).await.complaint(1).contains("reset it first"));

    receiver.script("/hook", [Answer::status(200)]);
    shell.run(&["notifications", "reset", &wish.id]).await.data();
    let said = shell.run(&catch_up).await;
    assert_eq!(said.data(), format!("sent 60 of 61 deliveries for {}, the others were known\n", wish.id));
    let replay = ["dead-letters", "replay", "--since", "1h", "--notification", &wish.id, "--yes"];
    assert_eq!(shell.run(&replay).await.data(), "replayed 1 dead letter\n");
    fleet.api.until(&format!("notification={}", wish.id), 61, &["delivered"]).await;
    let again = shell.run(&[&catch_up[..], &["--json"]].concat()).await.json();
    assert_eq!(again, json!({"id": wish.id, "sent": 0, "known": 61}));
    let none = shell.run(&["notifications", "catch-up", &wish.id, "--since", "0s"]).await;
    assert_eq!(none.data(), format!("sent 0 of 0 deliveries for {}, the others were known\n", wish.id));
}
