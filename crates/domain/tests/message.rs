//! What people read of an event: every part of Quay's messages, and that nothing from outside brings
//! markup along.

use bellbuoy_domain::{Event, Kind, KindScope, Markup, Message, Registry, RepositoryName, Subject};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

fn registry() -> Registry {
    Registry { title: "Example".to_owned(), url: "https://r.example".to_owned() }
}

fn event(kind: Kind, data: &Value) -> Event {
    let subject = match kind.scope() {
        KindScope::Namespace => Subject::Namespace("acme".to_owned()),
        _ => Subject::Repository(RepositoryName::parse("acme/api").expect("a name")),
    };
    let mut event = Event::sample(kind, subject, &Map::new(), "r.example", "1", Timestamp::UNIX_EPOCH);
    event.data.clone_from(data.as_object().expect("an object"));
    event
}

fn html(kind: Kind, data: &Value) -> String {
    Message::of(&event(kind, data), &registry()).render(Markup::Html)
}

const REPOSITORY: &str = "<a href=\"https://r.example/repository/acme/api\">acme/api</a>";

fn tag(name: &str) -> String {
    format!("<a href=\"https://r.example/repository/acme/api?tag={name}&amp;tab=tags\">{name}</a>")
}

#[test]
fn a_push_names_who_pushed_which_tags_where() {
    let (v1, v2) = (tag("v1"), tag("v2"));
    let rows = [
        (json!({"updated_tags": ["v1", "v2"]}), format!("Push of {v1}, {v2} in repository {REPOSITORY}")),
        (
            json!({"updated_tags": ["v1"], "actor": {"name": "kim"}}),
            format!("kim pushed {v1} in repository {REPOSITORY}"),
        ),
        (json!({"updated_tags": []}), format!("Push of repository {REPOSITORY}")),
    ];
    for (data, said) in rows {
        assert_eq!(html(Kind::RepoPush, &data), said, "{data}");
    }
}

#[test]
fn a_build_says_which_how_it_went_and_of_what() {
    let build = "<a href=\"https://r.example/repository/acme/api/build/0123456789\">Build 0123456</a>";
    let with = |more: Value| {
        let mut data = json!({"build_id": "0123456789", "trigger_id": "t", "trigger_kind": "github"});
        for (name, member) in more.as_object().expect("an object") {
            data[name] = member.clone();
        }
        data
    };
    for (kind, word) in [
        (Kind::BuildQueued, "queued"),
        (Kind::BuildStart, "started"),
        (Kind::BuildSuccess, "completed"),
        (Kind::BuildFailure, "failure"),
        (Kind::BuildCancelled, "canceled"),
    ] {
        let said = format!("{build} {word} for uploaded Dockerfile for repository {REPOSITORY}");
        assert_eq!(html(kind, &with(json!({"trigger_id": null}))), said);
    }
    let commit = "0123456789abcdef";
    let info = json!({"url": "https://git.example/c", "author": {"username": "kim", "url": "https://git.example/kim"}});
    let linked = "change <a href=\"https://git.example/c\">0123456</a>";
    let author = "by <a href=\"https://git.example/kim\">kim</a>";
    let rows = [
        (json!({"trigger_metadata": {}}), "change to github repository".to_owned()),
        (json!({"trigger_metadata": {"commit": commit}}), "change 0123456".to_owned()),
        (
            json!({"trigger_metadata": {"commit": commit, "ref": "refs/heads/feature/x", "commit_info": info}}),
            format!("{linked} to branch feature/x {author}"),
        ),
        (
            json!({"trigger_metadata": {"commit": commit, "ref": "refs/tags/v1", "commit_info": info}}),
            format!("{linked} to tag v1 {author}"),
        ),
        (
            json!({"trigger_metadata": {"commit": commit, "commit_info": {"message": "m"}}}),
            "change 0123456".to_owned(),
        ),
    ];
    for (more, of) in rows {
        let said = format!("{build} started for {of} for repository {REPOSITORY}");
        assert_eq!(html(Kind::BuildStart, &with(more.clone())), said, "{more}");
    }
    let failed = with(json!({"trigger_id": null, "error_message": "no <such> file"}));
    let said = format!(
        "{build} failure for uploaded Dockerfile for repository {REPOSITORY}<br>no &lt;such&gt; file"
    );
    assert_eq!(html(Kind::BuildFailure, &failed), said);
}

#[test]
fn a_vulnerability_names_three_tags_and_counts_the_rest() {
    let (a, b, c) = (tag("a"), tag("b"), tag("c"));
    let found =
        json!({"id": "CVE-1", "priority": "High", "link": "https://cve.example/1 https://cve.example/2"});
    let link = "<a href=\"https://cve.example/1\">High vulnerability</a>";
    let digest = format!("sha256:{}", "0".repeat(64));
    let rows = [
        (
            json!({"vulnerability": found, "tags": ["a", "b", "c", "d", "e"]}),
            format!(
                "A {link} (CVE-1) was detected in tags/manifests {a}, {b}, {c} (and 2 more) in repository {REPOSITORY}"
            ),
        ),
        (
            json!({"vulnerability": found, "tags": ["a", "b", "c"]}),
            format!(
                "A {link} (CVE-1) was detected in tags/manifests {a}, {b}, {c} in repository {REPOSITORY}"
            ),
        ),
        (
            json!({"vulnerability": found, "tags": [digest]}),
            format!(
                "A {link} (CVE-1) was detected in tags/manifests <a href=\"https://r.example/repository/acme/api/manifest/{digest}\">{digest}</a> in repository {REPOSITORY}"
            ),
        ),
        (
            json!({"vulnerability": {"link": "javascript:alert(1)"}}),
            format!("A Unknown vulnerability was detected in repository {REPOSITORY}"),
        ),
        (
            json!({"vulnerabilities": [{}, {}, {}], "tags": ["a"]}),
            format!("3 vulnerabilities were detected in tags {a} in repository {REPOSITORY}"),
        ),
    ];
    for (data, said) in rows {
        assert_eq!(html(Kind::VulnerabilityFound, &data), said, "{data}");
    }
}

#[test]
fn mirrors_expiry_and_quotas_say_what_quay_says() {
    let (a, b) = (tag("a"), tag("b"));
    let usage = json!({
        "threshold_percent": 80, "usage_percent": 81, "usage_bytes_formatted": "819.20 MB",
        "limit_bytes_formatted": "1.00 GB",
    });
    let used = "<br><br>Current usage: 819.20 MB of 1.00 GB (81%)";
    let rows = [
        (
            Kind::RepoMirrorSyncStarted,
            json!({"message": "'x' with tag pattern 'v*'"}),
            "&#39;x&#39; with tag pattern &#39;v*&#39;".to_owned(),
        ),
        (
            Kind::RepoMirrorSyncSuccess,
            json!({"message": "'x'", "actor": {"name": "kim"}}),
            "kim &#39;x&#39;".to_owned(),
        ),
        (
            Kind::RepoMirrorSyncFailed,
            json!({}),
            format!("Repository mirror unsuccessful of repository {REPOSITORY}"),
        ),
        (
            Kind::RepoImageExpiry,
            json!({"tags": ["a", "b"], "expiring_in": "7 days"}),
            format!("Images of repository {REPOSITORY} are due to expire in 7 days :<br>{a}, {b}"),
        ),
        (
            Kind::QuotaWarning,
            usage.clone(),
            format!("Namespace <b>acme</b> storage usage has reached <b>80%</b> of its quota limit.{used}"),
        ),
        (
            Kind::QuotaError,
            usage,
            format!("Namespace <b>acme</b> storage usage has <b>exceeded</b> its quota limit.{used}"),
        ),
        (
            Kind::QuotaError,
            json!({"details": "1 GiB is <too> much"}),
            "Namespace <b>acme</b> storage usage has <b>exceeded</b> its quota limit.<br><br>1 GiB is &lt;too&gt; much"
                .to_owned(),
        ),
    ];
    for (kind, data, said) in rows {
        assert_eq!(html(kind, &data), said, "{kind} {data}");
    }
}

/// Data of every kind in which each text tries to be markup.
fn hostile() -> Value {
    let evil = "<b>\"x'&</b>\r\nBcc: eve@example.com\u{202e}<!channel>](javascript:1)";
    json!({
        "updated_tags": [evil], "tags": [evil], "docker_tags": [evil], "actor": {"name": evil}, "message": evil,
        "build_id": evil, "trigger_id": evil, "trigger_kind": evil, "error_message": evil, "error": evil,
        "trigger_metadata": {"commit": evil, "ref": format!("refs/heads/{evil}"), "commit_info": {
            "url": format!("https://a.example/{evil}"), "author": {"username": evil, "url": evil}}},
        "vulnerability": {"id": evil, "priority": evil, "link": format!("https://a.example/?{evil}")},
        "expiring_in": evil, "usage_bytes_formatted": evil, "limit_bytes_formatted": evil, "threshold_percent": evil,
        "tag": evil, "chart": evil, "version": evil, "promotion": {"sourceRepository": evil, "sourceTag": evil},
    })
}

#[test]
fn no_text_from_outside_brings_markup_or_a_line_along() {
    for kind in Kind::ALL {
        let message = Message::of(&event(*kind, &hostile()), &registry());
        let html = message.render(Markup::Html);
        let allowed = ["<a href=\"http", "</a>", "<b>", "</b>", "<br>"];
        for tag in html.split('<').skip(1).map(|rest| format!("<{rest}")) {
            assert!(allowed.iter().any(|start| tag.starts_with(start)), "{kind}: {tag} in {html}");
        }
        assert!(!html.contains("<b>\"") && !html.contains('\''), "{kind}: {html}");
        let slack = message.render(Markup::Slack);
        for tag in slack.split('<').skip(1) {
            assert!(tag.starts_with("http") && tag.contains('|') && tag.contains('>'), "{kind}: {tag}");
        }
        let markdown = message.render(Markup::Markdown);
        for place in markdown.match_indices("](").map(|(place, _)| place) {
            let escaped = markdown[..place].ends_with('\\');
            assert!(escaped || markdown[place..].starts_with("](http"), "{kind}: {markdown}");
        }
        for markup in [Markup::Html, Markup::Plain, Markup::Slack, Markup::Markdown] {
            let said = message.render(markup);
            assert!(!said.contains(['\r', '\u{202e}']) && !said.contains("\nBcc"), "{kind}: {said:?}");
        }
    }
}

#[test]
fn no_message_needs_any_member() {
    for kind in Kind::ALL {
        assert!(!html(*kind, &json!({})).is_empty(), "{kind}");
    }
}
