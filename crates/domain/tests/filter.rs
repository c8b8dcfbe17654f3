//! Which events a filter takes, row by row.

use bellbuoy_domain::{Event, Filter, Kind, RepositoryName, Subject};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn event(kind: Kind, data: &Value) -> Event {
    let subject = Subject::Repository(RepositoryName::parse("acme/api").expect("a name"));
    let mut event = Event::sample(kind, subject, &Map::new(), "test", "1", Timestamp::UNIX_EPOCH);
    event.data.clone_from(data.as_object().expect("an object"));
    event
}

fn parse(config: &Value, kind: Kind) -> Result<Filter, String> {
    Filter::parse(config.as_object().expect("an object"), &[kind]).map_err(|error| error.to_string())
}

/// The line that says no, if one does.
fn refused_by(config: &Value, kind: Kind, data: &Value) -> Option<&'static str> {
    let filter = parse(config, kind).unwrap_or_else(|error| panic!("{config}: {error}"));
    filter.allows(&event(kind, data)).err().map(|refusal| refusal.line)
}

#[test]
fn ref_regex_matches_from_the_start_but_not_to_the_end() {
    let head = |branch: &str| json!({"trigger_metadata": {"ref": format!("refs/heads/{branch}")}});
    let rows = [
        (json!({}), json!({}), true),
        (json!({"ref-regex": ""}), json!({}), true),
        (json!({"ref-regex": null}), json!({}), true),
        (json!({"ref-regex": "refs/heads/master"}), json!({}), false),
        (json!({"ref-regex": "refs/heads/master"}), json!({"trigger_metadata": {}}), false),
        (json!({"ref-regex": "refs/heads/master"}), json!({"trigger_metadata": null}), false),
        (json!({"ref-regex": "refs/heads/master"}), json!({"trigger_metadata": {"ref": null}}), false),
        (json!({"ref-regex": "refs/heads/master"}), head("somebranch"), false),
        (json!({"ref-regex": "refs/heads/master"}), head("master"), true),
        (json!({"ref-regex": "refs/heads/master"}), head("master2"), true),
        (json!({"ref-regex": "refs/heads/master$"}), head("master2"), false),
        (json!({"ref-regex": "heads/master"}), head("master"), false),
        (json!({"ref-regex": "refs/heads/.+"}), json!({"trigger_metadata": {"ref": "refs/tags/x"}}), false),
        (json!({"ref-regex": "refs/heads/.+"}), head("anything"), true),
        (json!({"ref-regex": "x|refs"}), head("master"), true),
        (json!({"ref-regex": "(?x) refs # heads"}), head("master"), true),
    ];
    let builds =
        [Kind::BuildQueued, Kind::BuildStart, Kind::BuildSuccess, Kind::BuildFailure, Kind::BuildCancelled];
    for kind in builds {
        for (config, data, fires) in &rows {
            let line = refused_by(config, kind, data);
            assert_eq!(line, (!fires).then_some("ref-regex"), "{kind} {config} {data}");
        }
    }
}

#[test]
fn level_takes_what_is_as_severe_or_worse() {
    let found = |priority: &str| json!({"vulnerability": {"priority": priority}});
    let rows = [
        (json!({}), json!({}), true),
        (json!({"level": 0}), found("Critical"), true),
        (json!({"level": 0}), found("High"), false),
        (json!({"level": "1"}), found("High"), true),
        (json!({"level": "1"}), found("Medium"), false),
        (json!({"level": 3}), found("Medium"), true),
        (json!({"level": 4}), found("Unknown"), false),
        (json!({"level": 5}), found("Unknown"), true),
        // No severity is the severity `Unknown`.
        (json!({"level": 5}), json!({"vulnerability": {}}), true),
        (json!({"level": 4}), json!({"vulnerability": {}}), false),
        (json!({"level": 5}), json!({}), false),
        (json!({"level": 5}), found("Terrible"), false),
        // Vendors' words, and the worst of several.
        (json!({"level": 1}), found("HIGH"), true),
        (json!({"level": 1}), found("Important"), true),
        (json!({"level": 1}), found("Moderate"), false),
        (json!({"level": 1}), json!({"vulnerabilities": [{"priority": "Low"}, {"priority": "High"}]}), true),
        (json!({"level": 0}), json!({"vulnerabilities": [{"priority": "Low"}, {"priority": "High"}]}), false),
        // Quay passes over `level` here; one filter holds everywhere.
        (
            json!({"level": 0}),
            json!({"vulnerable_index_report_created": "true", "vulnerability": {"priority": "Low"}}),
            false,
        ),
    ];
    for (config, data, fires) in rows {
        let line = refused_by(&config, Kind::VulnerabilityFound, &data);
        assert_eq!(line, (!fires).then_some("level"), "{config} {data}");
    }
}

#[test]
fn days_takes_tags_that_expire_no_later() {
    let rows = [
        (json!({"days": 7}), json!({"expiring_in": "7 days"}), true),
        (json!({"days": 7}), json!({"expiring_in": "8 days"}), false),
        (json!({"days": 7}), json!({"expiring_in": "None days"}), true),
        (json!({"days": 7}), json!({}), true),
        (json!({"days": "30"}), json!({"expiring_in": "30 days"}), true),
    ];
    for (config, data, fires) in rows {
        let line = refused_by(&config, Kind::RepoImageExpiry, &data);
        assert_eq!(line, (!fires).then_some("days"), "{config} {data}");
    }
    assert_eq!(parse(&json!({"days": 7}), Kind::RepoImageExpiry).expect("a filter").days(), Some(7));
}

#[test]
fn tags_takes_events_of_which_one_tag_matches_one_pattern() {
    let rows = [
        (json!(["v*"]), json!({"updated_tags": ["latest", "v1"]}), true),
        (json!(["v*"]), json!({"updated_tags": ["latest"]}), false),
        (json!(["v*", "latest"]), json!({"updated_tags": ["latest"]}), true),
        (json!("v*"), json!({"updated_tags": ["v1"]}), true),
        (json!(["{v{1,2}{,.{0,1}},[!a-z]}"]), json!({"updated_tags": ["v2.1"]}), true),
        (json!(["é[ü]".to_owned() + &"*?".repeat(500)]), json!({"updated_tags": ["v1"]}), false),
        (json!(["1.?"]), json!({"updated_tags": ["1.4"]}), true),
        (json!(["1.?"]), json!({"updated_tags": ["1.4.2"]}), false),
        (json!(["[0-9]*"]), json!({"tags": ["1.4.2"]}), true),
        (json!(["{stable,edge}"]), json!({"tag": "edge"}), true),
        (json!(["/^v\\d+$/"]), json!({"tag": "v12"}), true),
        (json!(["/^v\\d+$/"]), json!({"tag": "v1.2"}), false),
        (json!(["/\\d/"]), json!({"docker_tags": ["b7"]}), true),
        (json!(["*"]), json!({"updated_tags": []}), false),
        (json!(["*"]), json!({"digest": "sha256:0"}), false),
        (json!([]), json!({}), true),
        (json!(null), json!({}), true),
    ];
    for (patterns, data, fires) in rows {
        let line = refused_by(&json!({"tags": patterns}), Kind::RepoPush, &data);
        assert_eq!(line, (!fires).then_some("tags"), "{patterns} {data}");
    }
}

#[test]
fn condition_takes_events_of_which_one_value_is_as_it_says() {
    let data = json!({
        "actor": {"name": "kim"}, "size": 439, "updated_tags": ["v1", "latest"], "nothing": null, "ok": true,
    });
    let rows = [
        (json!({"path": "actor.name", "equals": "kim"}), true),
        (json!({"path": "actor.name", "equals": "lee"}), false),
        (json!({"path": "actor.name", "in": ["lee", "kim"]}), true),
        (json!({"path": "actor.name", "in": []}), false),
        (json!({"path": "actor.name", "matches": "^k"}), true),
        (json!({"path": "actor.name", "matches": "^i"}), false),
        (json!({"path": "size", "equals": 439.0}), true),
        (json!({"path": "size", "matches": "^4\\d\\d$"}), true),
        (json!({"path": "updated_tags[*]", "equals": "latest"}), true),
        (json!({"path": "updated_tags", "equals": ["v1", "latest"]}), true),
        (json!({"path": "ok", "equals": true}), true),
        (json!({"path": "nothing", "equals": null}), true),
        (json!({"path": "nothing", "matches": ".*"}), false),
        (json!({"path": "nothing", "exists": true}), true),
        (json!({"path": "missing", "equals": null}), false),
        (json!({"path": "missing", "exists": false}), true),
        (json!({"path": "actor", "exists": false}), false),
        (json!({"path": "repository", "equals": "acme/api"}), true),
        (json!({"path": "namespace", "equals": "acme"}), true),
        (json!({"path": "name", "equals": "api"}), true),
        (json!({"path": "kind", "equals": "repo_push"}), true),
    ];
    for (condition, fires) in rows {
        let line = refused_by(&json!({"condition": condition}), Kind::RepoPush, &data);
        assert_eq!(line, (!fires).then_some("condition"), "{condition}");
    }
}

#[test]
fn a_refusal_says_what_the_event_has_instead() {
    let rows = [
        (
            json!({"ref-regex": "refs/tags/"}),
            Kind::BuildStart,
            json!({"trigger_metadata": {"ref": "refs/heads/x"}}),
            "`ref-regex` does not match `refs/heads/x`",
        ),
        (
            json!({"level": 1}),
            Kind::VulnerabilityFound,
            json!({"vulnerability": {"priority": "Low"}}),
            "`level` asks for High or worse, and this is Low",
        ),
        (json!({"tags": ["v*"]}), Kind::RepoPush, json!({"updated_tags": ["x"]}), "`tags` takes none of `x`"),
        (
            json!({"condition": {"path": "a.b", "equals": 1}}),
            Kind::RepoPush,
            json!({"a": {"b": 2}}),
            "`condition` does not hold: `a.b` is `2`",
        ),
    ];
    for (config, kind, data, said) in rows {
        let filter = parse(&config, kind).expect("a filter");
        assert_eq!(filter.allows(&event(kind, &data)).expect_err("refused").to_string(), said);
    }
}

#[test]
fn a_line_that_is_not_understood_is_refused_by_name() {
    let rows = [
        ("ref-regex", Kind::BuildStart, json!("][")),
        ("ref-regex", Kind::BuildStart, json!("(?=x)")),
        ("ref-regex", Kind::BuildStart, json!(7)),
        ("ref-regex", Kind::BuildStart, json!("x".repeat(1025))),
        ("ref-regex", Kind::BuildStart, json!("(((x{100}){100}){100})")),
        ("ref-regex", Kind::BuildStart, json!("(".repeat(500) + &")".repeat(500))),
        ("level", Kind::VulnerabilityFound, json!("high")),
        ("level", Kind::VulnerabilityFound, json!(6)),
        ("level", Kind::VulnerabilityFound, json!(-1)),
        ("level", Kind::VulnerabilityFound, json!(1.5)),
        ("days", Kind::RepoImageExpiry, json!(0)),
        ("days", Kind::RepoImageExpiry, json!("soon")),
        ("days", Kind::RepoImageExpiry, json!(5_000_000_000_u64)),
        ("tags", Kind::RepoPush, json!(["[a"])),
        ("tags", Kind::RepoPush, json!(["/(/"])),
        ("tags", Kind::RepoPush, json!([1])),
        ("tags", Kind::RepoPush, json!({"a": 1})),
        ("tags", Kind::RepoPush, json!(vec!["x"; 101])),
        ("tags", Kind::RepoPush, json!(["x".repeat(1025)])),
        ("tags", Kind::RepoPush, json!(["{".repeat(250) + "x" + &"}".repeat(250)])),
        ("tags", Kind::RepoPush, json!(["{a,".repeat(250) + "x" + &"}".repeat(250)])),
        ("tags", Kind::RepoPush, json!(["{a,b[}]".repeat(140) + "x" + &"}".repeat(140)])),
        ("condition", Kind::RepoPush, json!("x")),
        ("condition", Kind::RepoPush, json!({"equals": 1})),
        ("condition", Kind::RepoPush, json!({"path": "a"})),
        ("condition", Kind::RepoPush, json!({"path": "a;", "equals": 1})),
        ("condition", Kind::RepoPush, json!({"path": "a", "equals": 1, "exists": true})),
        ("condition", Kind::RepoPush, json!({"path": "a", "like": 1})),
        ("condition", Kind::RepoPush, json!({"path": "a", "in": 1})),
        ("condition", Kind::RepoPush, json!({"path": "a", "matches": "("})),
        ("condition", Kind::RepoPush, json!({"path": "a", "exists": "yes"})),
    ];
    for (line, kind, wrong) in rows {
        let config = json!({line: wrong});
        let error = parse(&config, kind).expect_err("refused");
        assert!(error.starts_with(&format!("`{line}` ")), "{config}: {error}");
        assert!(error.len() < 400, "{error}");
    }
}

#[test]
fn a_broken_expression_is_named_with_its_fault() {
    let error = parse(&json!({"ref-regex": "]["}), Kind::BuildStart).expect_err("refused");
    assert_eq!(
        error,
        "`ref-regex` has the regular expression `][`, which can't be used: unclosed character class"
    );
}

#[test]
fn lines_for_other_kinds_and_unknown_keys_are_ignored() {
    let config = json!({"ref-regex": "][", "level": "high", "days": -1, "of_theirs": {"x": 1}});
    assert_eq!(refused_by(&config, Kind::RepoPush, &json!({})), None);
}

#[test]
fn a_key_that_is_no_line_is_found_where_it_is_written() {
    let of = |value: Value| value.as_object().expect("an object").clone();
    let lines = of(json!({"ref-regex": 1, "level": 1, "days": 1, "tags": 1, "condition": 1, "digest": 1}));
    assert_eq!(Filter::check_keys(&lines, &of(json!({}))), Ok(()));
    for (key, hint) in [
        ("tag", "did you mean `tags`?"),
        ("ref_regex", "did you mean `ref-regex`?"),
        ("branch", "known are ref-regex, level, days, tags, condition, digest"),
    ] {
        let written = of(json!({"level": 1, key: 1}));
        let fault = Filter::check_keys(&written, &of(json!({}))).expect_err("unknown").to_string();
        assert_eq!(fault, format!("`filter.{key}` means nothing to a filter; {hint}"));
        assert_eq!(Filter::unknown_keys(&written).collect::<Vec<_>>(), [key]);
    }
}

#[test]
fn every_line_must_agree() {
    let config = json!({"tags": ["v*"], "condition": {"path": "size", "equals": 1}});
    let rows = [
        (json!({"tag": "v1", "size": 1}), None),
        (json!({"tag": "x", "size": 1}), Some("tags")),
        (json!({"tag": "v1", "size": 2}), Some("condition")),
    ];
    for (data, line) in rows {
        assert_eq!(refused_by(&config, Kind::TagPull, &data), line, "{data}");
    }
}

proptest! {
    #[test]
    fn no_filter_panics(
        text in "\\PC{0,40}",
        line in prop::sample::select(vec!["ref-regex", "level", "days", "tags", "condition"]),
    ) {
        for wrong in [json!(text), json!([text]), json!({"path": text, "matches": text})] {
            let config = json!({line: wrong});
            let config = config.as_object().expect("an object");
            if let Ok(filter) = Filter::parse(config, Kind::ALL) {
                for kind in Kind::ALL {
                    let data = json!({"tag": text, "trigger_metadata": {"ref": text}, "expiring_in": text});
                    let _ = filter.allows(&event(*kind, &data));
                }
            }
        }
    }
}
