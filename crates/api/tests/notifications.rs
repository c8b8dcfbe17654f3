//! `/v1/notifications`: what Quay's surface can't say.

mod common;

use bellbuoy_domain::{DeliveryId, Event, Notification, NotificationId};
use bellbuoy_store::MOST_NOTIFICATIONS;
use common::{JSON, Rig, problem, quay_problem, webhook_body};
use serde_json::{Value, json};

const ALL: &str = "/v1/notifications";

fn hook(scope: &Value, kinds: &[&str]) -> Value {
    json!({"scope": scope, "kinds": kinds, "method": "webhook", "config": {"url": "https://ci.example.com/hook"}})
}

fn acme() -> Value {
    hook(&json!({"repository": "acme/api"}), &["repo_push"])
}

fn id(notification: &Value) -> NotificationId {
    notification["id"].as_str().expect("an id").parse().expect("a UUID")
}

async fn create(rig: &Rig, body: &Value) -> Value {
    let answer = rig.post(ALL, body).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let made = answer.json();
    assert_eq!(answer.headers["location"], format!("{ALL}/{}", id(&made)));
    made
}

#[tokio::test]
async fn every_scope_and_member_is_kept_and_the_secret_is_shown_once() {
    let rig = Rig::start().await;
    let full = json!({
        "title": "All of it", "scope": {"namespace": "acme"}, "kinds": ["repo_push", "quota_error", "repo_push"],
        "filter": {"tags": ["v*"]}, "method": "webhook", "config": {"url": "https://ci.example.com/hook"},
        "format": "cloudevents",
        "retry": {"steps_ms": [1000, 2000], "longest_hint_ms": 5000, "client_error_attempts": 2},
    });
    let made = create(&rig, &full).await;
    assert!(made["config"]["secret"].as_str().expect("a secret").starts_with("whsec_"));
    let got = rig.get(&format!("{ALL}/{}", id(&made))).await.json();
    for name in ["title", "scope", "filter", "method", "config", "format", "retry"] {
        assert_eq!(got[name], full[name], "{name}");
    }
    assert_eq!(got["kinds"], json!(["repo_push", "quota_error"]));
    assert_eq!((&got["state"], &got["failures"]), (&json!("active"), &json!(0)));
    assert_eq!(got["created_at"], got["updated_at"]);

    for scope in [json!({"repository": "acme/team/api"}), json!({"registry": true})] {
        let made = create(&rig, &hook(&scope, &["repo_push"])).await;
        assert_eq!((&made["scope"], &made["format"], &made["retry"]), (&scope, &json!("quay"), &Value::Null));
    }
    let text = rig.get(ALL).await.text();
    assert!(!text.contains("whsec_"), "{text}");
}

#[tokio::test]
async fn a_list_comes_page_by_page_in_the_order_of_ids_of_all_and_of_one_place() {
    let rig = Rig::start().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(id(&create(&rig, &acme()).await));
    }
    ids.sort_unstable();
    for place in ["", "repository=acme/api&"] {
        let mut listed = Vec::new();
        let mut next = Some(String::new());
        while let Some(after) = next {
            let page = rig.get(&format!("{ALL}?{place}limit=2{after}")).await.json();
            let rows = page["notifications"].as_array().expect("a list");
            assert!(rows.len() <= 2, "{page}");
            listed.extend(rows.iter().map(id));
            next = page["next"].as_str().map(|after| format!("&after={after}"));
        }
        assert_eq!(listed, ids, "{place}");
    }
    assert_eq!(rig.get(&format!("{ALL}?repository=acme/api&limit=5")).await.json()["next"], Value::Null);
    problem(&rig.get(&format!("{ALL}?repository=acme/api&limit=0")).await, 400);
}

#[tokio::test]
async fn a_fault_in_the_body_is_named_with_its_path() {
    let rig = Rig::start().await;
    let with = |name: &str, value: Value| {
        let mut body = acme();
        body[name] = value;
        body
    };
    let rows = [
        (json!({}), "missing field `scope`"),
        (json!([]), "the body should be a JSON object"),
        (json!("x"), "invalid type: string"),
        (with("owner", json!("me")), "unknown field `owner`"),
        (with("id", json!("x")), "unknown field `id`"),
        (with("state", json!("active")), "unknown field `state`"),
        (with("kinds", json!(["repo_push", "nonsense"])), "`kinds[1]`: unknown kind \"nonsense\""),
        (with("kinds", json!("repo_push")), "`kinds`: invalid type"),
        (with("kinds", json!([])), "the notification names no kind of event"),
        (with("scope", json!({"repository": "Acme"})), "`scope.repository`: repository name"),
        (with("scope", json!({"namespace": "acme/api"})), "`scope.namespace` holds a slash"),
        (with("scope", json!({"registry": false})), "`scope.registry` can only be true"),
        (with("scope", json!({})), "`scope` should hold exactly one"),
        (with("scope", json!({"registry": true, "namespace": "acme"})), "`scope` should hold exactly one"),
        (with("scope", json!({"galaxy": "x"})), "unknown field `galaxy`"),
        (with("method", json!("pigeon")), "unknown method \"pigeon\""),
        (with("method", json!(7)), "`method`: invalid type"),
        (with("config", json!({"url": "gopher://x"})), "Invalid webhook URL"),
        (with("config", json!({"url": "https://x.example.com", "secret": 7})), "`secret` should be a string"),
        (with("format", json!("xml")), "unknown format \"xml\"; known are quay, cloudevents"),
        (with("filter", json!({"tags": 7})), "event config: `tags`"),
        (with("filter", json!(7)), "`filter`: invalid type"),
        (with("title", json!("a\u{0}b")), "`title` holds control characters"),
        (with("kinds", json!(["quota_error"])), "`kinds`: quota_error never happens in a repository"),
        (
            with("retry", json!({"steps_ms": [0], "longest_hint_ms": 0, "client_error_attempts": 1})),
            "`retry`: retry step 0ns should be from 1 ms",
        ),
        (with("retry", json!({"steps_ms": [], "longest_hint_ms": 0, "client_error_attempts": 0})), "`retry"),
    ];
    for (body, expected) in rows {
        let detail = problem(&rig.post(ALL, &body).await, 400);
        assert!(detail.contains(expected), "{body}: {detail}");
    }
    let detail = problem(&rig.send("POST", ALL, &[], acme().to_string()).await, 415);
    assert!(detail.contains("application/json"), "{detail}");
    assert_eq!(rig.get(ALL).await.json(), json!({"notifications": [], "next": null}));
}

#[tokio::test]
async fn a_setting_that_the_method_does_not_know_is_refused_with_what_was_meant_perhaps() {
    let rig = Rig::start().await;
    let made = create(&rig, &acme()).await;
    let with = |method: &str, name: &str| {
        let mut body = acme();
        body["method"] = method.into();
        body["config"][name] = "hunter2".into();
        body
    };
    for (body, key, said) in [
        (
            with("webhook", "authorisation"),
            "authorisation",
            "the method webhook; did you mean `authorization`?",
        ),
        (with("webhook", "hmac_secert"), "hmac_secert", "the method webhook; did you mean `hmac_secret`?"),
        (with("webhook", "of_theirs"), "of_theirs", "the method webhook; known are url, template, "),
        (with("slack", "bearer_token"), "bearer_token", "the method slack; known are url, text"),
    ] {
        for (verb, path) in [("POST", ALL.to_owned()), ("PUT", format!("{ALL}/{}", id(&made)))] {
            let answer = rig.send(verb, &path, &[JSON], body.to_string()).await;
            let detail = problem(&answer, 400);
            assert!(detail.starts_with(&format!("`config.{key}` means nothing to {said}")), "{detail}");
            assert_eq!(answer.json()["path"], format!("config.{key}"));
            assert!(!answer.text().contains("hunter2"), "{}", answer.text());
        }
    }
}

#[tokio::test]
async fn verification_is_skipped_only_where_the_operator_permits_it_or_the_webhook_does_so_already() {
    let rig = Rig::start().await;
    let mut skipping = acme();
    skipping["config"]["skip_tls_verification"] = json!(true);
    let mut of_quay = webhook_body();
    of_quay["config"]["skip_tls_verification"] = json!(true);
    let quay = "/api/v1/repository/acme/api/notification/";
    let said = "have the operator set outbound.allow_skip_verification";
    for (path, body) in [(ALL, &skipping), (quay, &of_quay)] {
        let answer = rig.post(path, body).await;
        assert!(answer.status == 400 && answer.text().contains(said), "{path}: {}", answer.text());
    }

    let made = create(&rig, &acme()).await;
    let paths = [format!("{ALL}/{}", id(&made)), format!("{quay}{}", id(&made))];
    let put = async |path: &str, body: &Value| rig.send("PUT", path, &[JSON], body.to_string()).await;
    for (path, body) in paths.iter().zip([&skipping, &of_quay]) {
        assert_eq!(put(path, body).await.status, 400, "{path}");
    }
    // As if the operator had permitted it once.
    let stored = rig.store.notification(id(&made)).await.expect("read").expect("there");
    let mut skips = stored.clone();
    skips.config.insert("skip_tls_verification".to_owned(), true.into());
    assert!(rig.store.update_notification(&skips).await.expect("written"));
    for (path, body) in paths.iter().zip([&skipping, &of_quay]) {
        assert_eq!(put(path, body).await.status, 200, "what it has may stay");
    }
}

#[tokio::test]
async fn certificates_that_are_none_inside_are_refused_and_those_that_are_kept_stay() {
    let rig = Rig::start().await;
    let none = "-----BEGIN CERTIFICATE-----\naHVudGVyMg==\n-----END CERTIFICATE-----\n";
    let mut with = acme();
    with["config"]["extra_ca"] = none.into();
    let detail = problem(&rig.post(ALL, &with).await, 400);
    assert!(detail.starts_with("`config.extra_ca` holds no certificate in its 1. block"), "{detail}");

    let made = create(&rig, &acme()).await;
    let path = format!("{ALL}/{}", id(&made));
    let put = async || rig.send("PUT", &path, &[JSON], with.to_string()).await;
    problem(&put().await, 400);
    // As one that was made before these were looked at.
    let stored = rig.store.notification(id(&made)).await.expect("read").expect("there");
    let mut kept = stored.clone();
    kept.config.insert("extra_ca".to_owned(), none.into());
    assert!(rig.store.update_notification(&kept).await.expect("written"));
    assert_eq!(put().await.status, 200);
}

#[tokio::test]
async fn what_another_surface_keeps_of_unknown_settings_is_masked_and_stays_when_its_mask_is_written() {
    let rig = Rig::start().await;
    let mut body = webhook_body();
    body["config"]["authorisation"] = "Bearer hunter2".into();
    body["config"]["extra"] = json!({"token": "hunter3"});
    let made = rig.post("/api/v1/repository/acme/api/notification/", &body).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let one = made.json()["uuid"].as_str().expect("a UUID").to_owned();
    let path = format!("{ALL}/{one}");
    let quay = format!("/api/v1/repository/acme/api/notification/{one}");
    for path in [&path, &quay] {
        let shown = rig.get(path).await.json()["config"].clone();
        assert_eq!((&shown["authorisation"], &shown["extra"]), (&json!("********"), &json!("********")));
    }

    let mut again = acme();
    again["title"] = "Renamed".into();
    again["config"] = rig.get(&path).await.json()["config"].clone();
    let put = async |body: &Value| rig.send("PUT", &path, &[JSON], body.to_string()).await;
    let changed = put(&again).await;
    assert_eq!((changed.status.as_u16(), &changed.json()["title"]), (200, &json!("Renamed")));
    assert!(!changed.text().contains("hunter"), "{}", changed.text());
    let kept = rig.store.notification(one.parse().expect("an id")).await.expect("read").expect("there");
    assert_eq!(Value::from(kept.config), body["config"]);

    let mut other = again.clone();
    other["config"]["authorisation"] = "Bearer hunter4".into();
    assert!(problem(&put(&other).await, 400).contains("did you mean `authorization`?"));
    again["config"].as_object_mut().expect("an object").retain(|name, _| name == "url");
    assert_eq!(put(&again).await.json()["config"], json!({"url": "https://ci.example.com/hook"}));
}

#[tokio::test]
async fn a_misspelt_key_of_a_filter_is_refused_and_one_of_another_surface_is_kept_and_explained() {
    let rig = Rig::start().await;
    let mut misspelt = acme();
    misspelt["filter"] = json!({"days": 7, "tag": ["v*"]});
    let answer = rig.post(ALL, &misspelt).await;
    let said = "`filter.tag` means nothing to a filter; did you mean `tags`?";
    assert_eq!((problem(&answer, 400).as_str(), &answer.json()["path"]), (said, &json!("filter.tag")));
    misspelt["filter"] = json!({"branch": "main"});
    let detail = problem(&rig.post(ALL, &misspelt).await, 400);
    assert!(detail.ends_with("known are ref-regex, level, days, tags, condition, digest"), "{detail}");

    let mut body = webhook_body();
    body["eventConfig"] = json!({"tag": ["v*"]});
    let made = rig.post("/api/v1/repository/acme/api/notification/", &body).await;
    assert_eq!((made.status.as_u16(), &made.json()["event_config"]), (201, &body["eventConfig"]));
    let path = format!("{ALL}/{}", made.json()["uuid"].as_str().expect("a UUID"));
    let explained = rig.get(&format!("{path}/explain")).await.json();
    assert_eq!(explained["unknown_filter_keys"], json!(["tag"]), "{explained}");
    let put = async |filter: Value| {
        let mut body = acme();
        body["filter"] = filter;
        rig.send("PUT", &path, &[JSON], body.to_string()).await
    };
    assert_eq!(put(json!({"tag": ["v*"], "tags": ["v1*"]})).await.status, 200, "what it has may stay");
    assert_eq!(problem(&put(json!({"tag": ["w*"]})).await, 400), said);
    assert_eq!(put(json!({"tags": ["v*"]})).await.status, 200);
    assert_eq!(rig.get(&format!("{path}/explain")).await.json()["unknown_filter_keys"], json!([]));
}

#[tokio::test]
async fn the_list_comes_in_pages_that_cover_everything_once() {
    let rig = Rig::start().await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(id(&create(&rig, &acme()).await).to_string());
    }
    made.sort();
    let (mut listed, mut after) = (Vec::new(), String::new());
    loop {
        let page = rig.get(&format!("{ALL}?limit=2{after}")).await.json();
        let rows = page["notifications"].as_array().expect("a list");
        listed.extend(rows.iter().map(|row| row["id"].as_str().expect("an id").to_owned()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(listed, made);
    for query in ["limit=0", "limit=-1", "limit=1001", "limit=x", "after=nonsense", "offset=1"] {
        let detail = problem(&rig.get(&format!("{ALL}?{query}")).await, 400);
        assert!(detail.starts_with("query: "), "{query}: {detail}");
    }
}

#[tokio::test]
async fn replacing_changes_what_its_owner_writes_and_nothing_else() {
    let rig = Rig::start().await;
    let made = create(&rig, &acme()).await;
    let path = format!("{ALL}/{}", id(&made));
    rig.store.disable_notification(id(&made), "gone", jiff::Timestamp::UNIX_EPOCH).await.expect("disabled");
    let body = hook(&made["scope"], &["tag_delete"]);
    let answer = rig.send("PUT", &path, &[JSON], body.to_string()).await;
    let after = answer.json();
    assert_eq!((answer.status.as_u16(), &after["id"], &after["kinds"]), (200, &made["id"], &body["kinds"]));
    assert_eq!((&after["state"], &after["state_reason"]), (&json!("disabled"), &json!("gone")));
    assert_eq!(after["created_at"], made["created_at"]);
    assert!(!answer.text().contains("whsec_"));
    let kept = rig.store.notification(id(&made)).await.expect("a store").expect("it");
    assert_eq!(kept.secret.as_deref(), made["config"]["secret"].as_str());

    let ann = json!({"kind": "user"});
    rig.send("PUT", "/v1/directory/accounts/ann", &[JSON], ann.to_string()).await;
    let body = json!({"scope": made["scope"], "kinds": ["tag_delete"], "method": "quay_notification",
                      "config": {"target": {"kind": "user", "name": "ann"}}});
    assert_eq!(rig.send("PUT", &path, &[JSON], body.to_string()).await.status, 200);
    let kept = rig.store.notification(id(&made)).await.expect("a store").expect("it");
    assert_eq!(kept.secret, None);
    let again = rig.send("PUT", &path, &[JSON], acme().to_string()).await.json();
    assert!(again["config"]["secret"].is_string(), "a secret that had to be made is shown");

    let unknown = format!("{ALL}/{}", uuid::Uuid::nil());
    problem(&rig.send("PUT", &unknown, &[JSON], acme().to_string()).await, 404);
    problem(&rig.send("PUT", &path, &[JSON], "{}").await, 400);
}

#[tokio::test]
async fn a_scope_stays_so_that_nobody_is_shown_what_happened_elsewhere() {
    let rig = Rig::start().await;
    let scopes = [
        json!({"registry": true}),
        json!({"namespace": "acme"}),
        json!({"repository": "acme/api"}),
        json!({"repository": "other/x"}),
    ];
    for of in &scopes {
        let path = format!("{ALL}/{}", id(&create(&rig, &hook(of, &["repo_push"])).await));
        for to in &scopes {
            let answer = rig.send("PUT", &path, &[JSON], hook(to, &["tag_delete"]).to_string()).await;
            if of == to {
                assert_eq!(answer.status, 200, "{}", answer.text());
            } else {
                let detail = problem(&answer, 409);
                assert!(detail.contains("make a new notification"), "{of} to {to}: {detail}");
            }
        }
        assert_eq!(&rig.get(&path).await.json()["scope"], of);
    }
}

#[tokio::test]
async fn pausing_resuming_and_resetting_move_between_the_three_states() {
    let rig = Rig::start().await;
    let made = create(&rig, &acme()).await;
    let act = async |verb: &str| rig.send("POST", &format!("{ALL}/{}/{verb}", id(&made)), &[], "").await;
    for (verb, state) in [
        ("pause", "paused"),
        ("pause", "paused"),
        ("resume", "active"),
        ("resume", "active"),
        ("pause", "paused"),
    ] {
        let answer = act(verb).await;
        assert_eq!((answer.status.as_u16(), answer.json()["state"].as_str()), (200, Some(state)), "{verb}");
    }
    rig.store
        .disable_notification(id(&made), "answered 410", jiff::Timestamp::UNIX_EPOCH)
        .await
        .expect("disabled");
    for verb in ["pause", "resume"] {
        let detail = problem(&act(verb).await, 409);
        assert!(detail.contains("answered 410") && detail.contains("reset"), "{detail}");
    }
    let answer = act("reset").await.json();
    assert_eq!((&answer["state"], &answer["failures"]), (&json!("probation"), &json!(0)));
    assert_eq!(act("resume").await.json()["state"], "active", "its owner knows better");
    assert_eq!(rig.send("DELETE", &format!("{ALL}/{}", id(&made)), &[], "").await.status, 204);
    for verb in ["pause", "resume", "reset", "test"] {
        problem(&act(verb).await, 404);
    }
}

#[tokio::test]
async fn a_test_call_sends_a_sample_of_the_kind_that_is_asked_for() {
    let rig = Rig::start().await;
    let made = create(&rig, &hook(&json!({"namespace": "acme"}), &["repo_push", "quota_error"])).await;
    let path = format!("{ALL}/{}/test", id(&made));
    for (body, subject) in
        [("", "acme/example"), ("{}", "acme/example"), (r#"{"kind":"quota_error"}"#, "acme")]
    {
        let answer = rig.send("POST", &path, &[JSON], body).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        let delivery: DeliveryId =
            answer.json()["delivery"].as_str().expect("an id").parse().expect("a UUID");
        let message = rig.drain_deliveries("webhook", 1).await.remove(0);
        let event = Event::from_json(message.event.get().as_bytes(), message.accepted_at).expect("an event");
        assert_eq!((message.delivery, event.subject.name()), (delivery, Some(subject)));
    }
    for body in [r#"{"kind":"tag_pull"}"#, r#"{"kind":"x"}"#, r#"{"kind":7}"#, "[", r#"{"to":"x"}"#] {
        problem(&rig.send("POST", &path, &[JSON], body).await, 400);
    }
}

#[tokio::test]
async fn a_place_that_is_full_and_settings_that_are_too_large_are_refused_on_every_surface() {
    let rig = Rig::start().await;
    let made = create(&rig, &acme()).await;
    let one = rig.store.notification(id(&made)).await.expect("read").expect("there");
    for number in 1..MOST_NOTIFICATIONS {
        let next = Notification { id: uuid::Uuid::from_u128(number.into()).into(), ..one.clone() };
        rig.store.create_notification(&next).await.expect("room");
    }
    let form = |endpoint: &str| json!({"type": "TAG_PUSH", "key": "acme/api", "endpoint": endpoint});
    let quay = "/api/v1/repository/acme/api/notification/";
    let why = "repository acme/api can have 1000 notifications and has as many; delete one that is not needed any more";
    assert_eq!(problem(&rig.post(ALL, &acme()).await, 409), why);
    let detail = quay_problem(&rig.post(quay, &webhook_body()).await, 409, "invalid_request");
    assert_eq!(detail, why);
    let answer = rig.post("/api/v0/webhooks", &form("https://ci.example.com/hook")).await;
    let error = &answer.json()["errors"][0];
    assert_eq!(
        (answer.status.as_u16(), &error["code"], &error["message"]),
        (409, &json!("CONFLICT"), &json!(why))
    );
    create(&rig, &hook(&json!({"repository": "acme/web"}), &["repo_push"])).await;

    let large = "x".repeat(128 * 1024);
    let mut native = acme();
    native["filter"] = json!({"condition": {"path": "name", "equals": large}});
    let too_large = |detail: &str| detail.contains("bytes of JSON, but may be 131072 at most");
    for (verb, path) in [("POST", ALL.to_owned()), ("PUT", format!("{ALL}/{}", id(&made)))] {
        let detail = problem(&rig.send(verb, &path, &[JSON], native.to_string()).await, 400);
        assert!(too_large(&detail), "{detail}");
    }
    let mut body = webhook_body();
    body["config"]["unknown"] = json!(large);
    let detail = quay_problem(&rig.post(quay, &body).await, 400, "invalid_request");
    assert!(too_large(&detail), "{detail}");
}
