//! `serve --demo`, as somebody who has just built Bellbuoy runs it.

mod support;

use bellbuoy_testkit::{http::Http, process::Launch};
use support::{BINARY, SOON};

#[tokio::test]
async fn the_demo_shows_a_recovery_and_a_dead_letter_then_stays_until_it_is_told_to_stop() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let demo = Launch::new("demo", BINARY, folder.path())
        .args(["serve", "--demo"])
        .env("BELLBUOY_LISTEN", "127.0.0.1:0")
        .env("TMPDIR", folder.path())
        .start();
    demo.wait_for_line("Where to look", SOON).await;
    demo.wait_for_line("one more event", SOON).await;
    let lines = demo.lines();
    let place = |words: &[&str]| {
        let all_of = |line: &String| words.iter().all(|word| line.contains(word));
        lines
            .iter()
            .position(all_of)
            .unwrap_or_else(|| panic!("no line with {words:?}:\n{}", lines.join("\n")))
    };

    let flaky =
        ["attempt 1 deferred: answered 503", "attempt 2 deferred: answered 503", "attempt 3 delivered"];
    let flaky = flaky.map(|attempt| place(&["build_success", "webhook", attempt]));
    assert!(flaky.is_sorted(), "{lines:#?}");
    let broken =
        ["attempt 1 deferred: answered 500", "attempt 4 deferred: answered 500", "given up: a dead letter"];
    let broken = broken.map(|attempt| place(&["build_failure", "webhook", attempt]));
    assert!(broken.is_sorted(), "{lines:#?}");
    place(&["repo_push", "webhook", "attempt 1 delivered"]);
    place(&["repo_push", "quay_notification", "attempt 1 delivered"]);
    place(&[r#""updated_tags": ["1.4.2", "latest"]"#]);

    // What it prints can be pasted: the URL answers, and the token opens it.
    let look = &lines[place(&["the dead letter", "curl"])];
    let token = look.split("Bearer ").nth(1).and_then(|rest| rest.split('\'').next()).expect("a token");
    let url = look.split_whitespace().last().expect("a URL");
    let bearer = format!("Bearer {token}");
    let answer = Http::new().send(http::Method::GET, url, &[("authorization", &bearer)], "").await;
    let letters = answer.expect("the demo still answers").json();
    assert_eq!(letters["dead_letters"][0]["reason"], "attempts_exhausted", "{letters}");

    assert!(demo.is_running());
    demo.terminate();
    assert_eq!(demo.wait_exit(SOON).await.code(), Some(0), "{}", demo.lines().join("\n"));
    let left = std::fs::read_dir(folder.path()).expect("the folder").count();
    assert_eq!(left, 1, "only the test's own log is left");
}
