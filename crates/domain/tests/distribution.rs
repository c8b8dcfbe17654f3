//! What becomes of a Distribution registry's notices.

use bellbuoy_domain::{
    Event, Kind, MAX_EVENT_BYTES, RepositoryName,
    ingest::{Dropped, Item, Pull, PullHalf, PullKey, distribution::classify},
};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// What one request may tell of.
const MOST: usize = 1000;

fn items(envelope: &Value) -> Vec<Item> {
    classify(envelope.to_string().as_bytes(), "", MOST, Timestamp::UNIX_EPOCH).expect("an envelope")
}

fn notice() -> Value {
    json!({
        "id": "1", "timestamp": "2026-11-20T23:13:01.964338477Z", "action": "push",
        "target": {"mediaType": MANIFEST, "size": 439, "digest": "sha256:6f", "repository": "acme/app", "tag": "v1"},
        "request": {"addr": "192.0.2.7:48840", "host": "registry.example.net:5000", "method": "PUT", "useragent": "x/1"},
        "actor": {"name": "kim"}, "source": {"addr": "node1:5000", "instanceID": "06c7"},
    })
}

fn one(notice: &Value) -> Item {
    items(&json!({"events": [notice]})).pop().expect("one item")
}

fn event(notice: &Value) -> Event {
    match one(notice) {
        Item::Event { event, .. } => *event,
        other => panic!("{notice} became {other:?}"),
    }
}

/// In a word: the event's kind and its tags, or why there is none.
fn word(item: &Item) -> String {
    match item {
        Item::Event { event, .. } => {
            let tag = event.data.get("tag").or_else(|| event.data.get("updated_tags")?.get(0));
            match tag.and_then(Value::as_str) {
                Some(tag) => format!("{} {tag}", event.kind),
                None => event.kind.to_string(),
            }
        }
        Item::Dropped(why) => format!("({})", why.name()),
        Item::Undecodable { why, .. } => format!("? {why}"),
    }
}

#[test]
fn every_line_of_a_registrys_capture_means_what_the_client_did() {
    let expected = [
        ("first push by tag v1", vec!["(blob)", "(blob)", "repo_push v1"]),
        ("re-push of same image and tag", vec!["(blob)", "(blob)", "repo_push v1"]),
        ("push same digest as tag v2", vec!["(blob)", "(blob)", "repo_push v2"]),
        (
            "copy to another repository of the same registry",
            vec!["tag_pull v1", "(blob)", "(mount)", "(blob)", "(blob)", "repo_push v1"],
        ),
        ("HEAD by tag then GET by digest", vec!["tag_pull v1", "manifest_pull"]),
        ("blob mount", vec!["(mount)"]),
        ("manifest push by digest", vec!["manifest_push"]),
        (
            "manifest delete by digest with tags v1 and v2",
            vec!["manifest_delete", "tag_delete v1", "tag_delete v2"],
        ),
        // The registry says no more of it than of a manifest.
        ("blob delete", vec!["manifest_delete"]),
    ];
    let mut seen: Vec<(String, Vec<String>)> = Vec::new();
    for line in include_str!("data/distribution-2.8.2-capture.jsonl").lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let operation = line["operation"].as_str().expect("text");
        let words = items(&line["body"]).iter().map(word).collect::<Vec<_>>();
        match seen.last_mut() {
            Some((last, all)) if last == operation => all.extend(words),
            _ => seen.push((operation.to_owned(), words)),
        }
    }
    assert_eq!(seen.len(), expected.len());
    for ((operation, words), (expected_operation, expected_words)) in seen.iter().zip(&expected) {
        assert_eq!(
            (operation.as_str(), words),
            (*expected_operation, &expected_words.iter().map(ToString::to_string).collect())
        );
    }
}

#[test]
fn a_push_by_tag_becomes_a_repo_push_with_all_that_is_known() {
    let event = event(&notice());
    let data = Value::Object(event.data);
    assert_eq!(
        data,
        json!({
            "updated_tags": ["v1"], "digest": "sha256:6f", "media_type": MANIFEST, "size": 439,
            "actor": {"name": "kim"}, "request": {"host": "registry.example.net:5000", "user_agent": "x/1"},
            "instance": "06c7", "distribution": notice(),
        })
    );
    assert_eq!((event.kind, event.id.as_str()), (Kind::RepoPush, "1"));
    assert_eq!(event.subject.name(), Some("acme/app"));
    assert_eq!(event.time.to_string(), "2026-11-20T23:13:01.964338477Z");
}

#[test]
fn the_source_is_the_same_on_each_retry_and_after_a_restart() {
    let mut restarted = notice();
    restarted["source"]["instanceID"] = json!("another");
    assert_eq!(event(&notice()).source, event(&restarted).source);
    let named = |notice: &Value, registry: &str| {
        let envelope = json!({"events": [notice]}).to_string();
        match classify(envelope.as_bytes(), registry, MOST, Timestamp::UNIX_EPOCH).expect("an envelope").pop()
        {
            Some(Item::Event { event, .. }) => event.source,
            other => panic!("{other:?}"),
        }
    };
    let mut without_host = notice();
    without_host["request"] = json!({});
    let mut bare = without_host.clone();
    bare["source"] = json!({});
    assert_eq!(named(&notice(), "registry.example.com"), "registry.example.com");
    assert_eq!(named(&notice(), ""), "registry.example.net:5000");
    assert_eq!(named(&without_host, ""), "node1:5000");
    assert_eq!(named(&bare, ""), "distribution");
}

#[test]
fn each_action_and_target_has_one_meaning() {
    let target = |target: Value| -> Value {
        let mut all = json!({"repository": "acme/app"});
        for (name, member) in target.as_object().expect("an object") {
            all[name] = member.clone();
        }
        all
    };
    let rows = [
        ("push", "PUT", json!({"mediaType": MANIFEST, "tag": "v1"}), "repo_push v1"),
        ("push", "PUT", json!({"mediaType": MANIFEST}), "manifest_push"),
        (
            "push",
            "PUT",
            json!({"mediaType": "application/vnd.oci.image.index.v1+json", "tag": "v1"}),
            "repo_push v1",
        ),
        ("push", "PUT", json!({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip"}), "(blob)"),
        // Some registries call a manifest a stream of bytes; the URL knows better.
        (
            "push",
            "PUT",
            json!({"mediaType": "application/octet-stream", "tag": "v1", "url": "http://r/v2/acme/app/manifests/sha256:6f"}),
            "repo_push v1",
        ),
        (
            "push",
            "PUT",
            json!({"mediaType": "application/vnd.acme.thing+json", "tag": "v1", "url": "http://r/v2/acme/app/manifests/sha256:6f"}),
            "repo_push v1",
        ),
        ("push", "PUT", json!({"url": "http://r/v2/acme/manifests/blobs/sha256:6f"}), "(blob)"),
        ("push", "PUT", json!({}), "(blob)"),
        ("pull", "HEAD", json!({"mediaType": MANIFEST, "tag": "v1"}), "tag_pull v1"),
        ("pull", "GET", json!({"mediaType": MANIFEST, "tag": "v1"}), "tag_pull v1"),
        ("pull", "GET", json!({"mediaType": MANIFEST}), "manifest_pull"),
        ("pull", "HEAD", json!({"mediaType": MANIFEST}), "(probe)"),
        ("pull", "GET", json!({"mediaType": "application/octet-stream"}), "(blob)"),
        ("mount", "POST", json!({"mediaType": "application/octet-stream"}), "(mount)"),
        ("delete", "DELETE", json!({"tag": "v1"}), "tag_delete v1"),
        // Registry 3 writes what it does not know as empty.
        ("delete", "DELETE", json!({"tag": "v1", "mediaType": "", "digest": "", "size": 0}), "tag_delete v1"),
        ("delete", "DELETE", json!({"digest": "sha256:6f"}), "manifest_delete"),
        ("delete", "DELETE", json!({}), "repo_deleted"),
        ("delete", "DELETE", json!({"mediaType": "", "digest": "", "size": 0, "tag": null}), "repo_deleted"),
    ];
    for (action, method, given, expected) in rows {
        let mut notice = notice();
        notice["action"] = json!(action);
        notice["request"]["method"] = json!(method);
        notice["target"] = target(given);
        assert_eq!(word(&one(&notice)), expected, "{notice}");
    }
}

#[test]
fn a_deleted_manifest_is_certain_only_if_the_registry_says_so() {
    let mut notice = notice();
    notice["action"] = json!("delete");
    notice["target"] = json!({"repository": "acme/app", "digest": "sha256:6f"});
    assert_eq!(event(&notice).data["certain"], json!(false));
    notice["target"]["mediaType"] = json!(MANIFEST);
    assert_eq!(event(&notice).data["certain"], json!(true));
}

#[test]
fn the_two_halves_of_a_pull_share_a_key() {
    let half = |method: &str, tag: Option<&str>| {
        let mut notice = notice();
        notice["action"] = json!("pull");
        notice["request"]["method"] = json!(method);
        notice["target"]["tag"] = json!(tag);
        match one(&notice) {
            Item::Event { pull, .. } => pull,
            other => panic!("{other:?}"),
        }
    };
    let key = PullKey {
        repository: RepositoryName::parse("acme/app").expect("a name"),
        digest: "sha256:6f".to_owned(),
        user_agent: "x/1".to_owned(),
    };
    let pull = |half| Some(Pull { key: key.clone(), half });
    assert_eq!(half("HEAD", Some("v1")), pull(PullHalf::HeadWithTag));
    assert_eq!(half("GET", None), pull(PullHalf::GetWithoutTag));
    assert_eq!(half("GET", Some("v1")), None, "it is whole");
}

#[test]
fn pulls_of_our_own_and_of_registry_jobs_are_dropped_but_not_their_pushes() {
    for agent in ["bellbuoy/0.1.0", "harbor-registry-client"] {
        let mut notice = notice();
        notice["request"]["useragent"] = json!(agent);
        assert_eq!(word(&one(&notice)), "repo_push v1");
        notice["action"] = json!("pull");
        assert_eq!(one(&notice), Item::Dropped(Dropped::OwnTraffic));
    }
}

#[test]
fn a_notice_that_is_not_understood_is_kept_and_holds_up_no_other() {
    let rows = [
        (json!({"action": "tag"}), "`action` is \"tag\""),
        (json!({"action": null}), "`action` is missing"),
        (json!({"id": ""}), "`id` is missing"),
        (json!({"id": 5}), "`id` should be a string"),
        (json!({"target": null}), "`target` is missing"),
        (json!({"target": {"tag": "v1"}}), "`target.repository` is missing"),
        (json!({"target": {"repository": "../etc"}}), "`target.repository`: repository name \"../etc\""),
        // Without its tag it would read as a deleted repository.
        (json!({"action": "delete", "target": {"repository": "a/b", "tag": 5}}), "`tag` should be a string"),
        (json!({"id": "a\nb"}), "`id` holds control characters"),
    ];
    for (wrong, why) in rows {
        let mut broken = notice();
        for (name, member) in wrong.as_object().expect("an object") {
            broken[name] = member.clone();
        }
        let items = items(&json!({"events": [notice(), broken, notice()]}));
        assert_eq!(
            (word(&items[0]), word(&items[2])),
            ("repo_push v1".to_owned(), "repo_push v1".to_owned())
        );
        let Item::Undecodable { index: 1, why: said, raw } = &items[1] else { panic!("{items:?}") };
        assert!(said.starts_with(why), "{said}");
        assert_eq!(serde_json::from_slice::<Value>(raw).expect("JSON"), broken);
    }
}

#[test]
fn an_absent_or_strange_time_costs_no_event() {
    for time in [json!(null), json!("yesterday"), json!(5)] {
        let mut notice = notice();
        notice["timestamp"] = time;
        assert_eq!(event(&notice).time, Timestamp::UNIX_EPOCH);
    }
}

#[test]
fn a_notice_too_large_for_an_event_goes_along_without_itself() {
    let mut large = notice();
    large["target"]["references"] = json!(vec!["x".repeat(1000); MAX_EVENT_BYTES / 1000]);
    let event = event(&large);
    assert!(!event.data.contains_key("distribution"));
    assert!(event.to_json().len() <= MAX_EVENT_BYTES);
    large["target"]["tag"] = json!("x".repeat(MAX_EVENT_BYTES));
    assert!(word(&one(&large)).starts_with("? the event is"));
}

#[test]
fn what_is_no_envelope_is_refused_whole() {
    for bytes in
        [&b""[..], b"{", b"[]", b"null", b"{}", b"{\"events\": {}}", b"\xff", "[".repeat(100_000).as_bytes()]
    {
        assert!(classify(bytes, "", MOST, Timestamp::UNIX_EPOCH).is_err());
    }
    assert_eq!(items(&json!({"events": [], "more": 1})), []);
}

/// Any JSON, with the words of a notice more often than not.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        prop::sample::select(vec!["push", "pull", "mount", "delete", MANIFEST, "acme/app", "HEAD", "GET"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 8, |inner| {
        let names = prop::sample::select(vec![
            "id",
            "action",
            "target",
            "repository",
            "tag",
            "digest",
            "mediaType",
            "url",
            "size",
            "request",
            "method",
            "useragent",
            "host",
            "actor",
            "name",
            "source",
            "timestamp",
            "events",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((names, inner), 0..10).prop_map(|members| {
                Value::Object(members.into_iter().map(|(name, member)| (name.to_owned(), member)).collect())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = classify(&bytes, "", MOST, Timestamp::UNIX_EPOCH);
    }

    #[test]
    fn no_json_makes_it_panic_and_every_notice_has_an_item(
        notices in prop::collection::vec(any_json(), 0..5),
        patch in any_json(),
        member in prop::sample::select(vec!["id", "action", "target", "request", "actor", "source", "timestamp"]),
    ) {
        let mut patched = notice();
        patched[member] = patch;
        let mut all = notices;
        all.push(patched);
        let count = all.len();
        let items = items(&json!({"events": all}));
        prop_assert_eq!(items.len(), count);
        for item in items {
            if let Item::Event { event, .. } = item {
                prop_assert!(Event::from_json(&event.to_json(), Timestamp::UNIX_EPOCH).is_ok());
            }
        }
    }
}
