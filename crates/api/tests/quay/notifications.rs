//! Notifications of a repository.

use bellbuoy_broker::queues;
use bellbuoy_domain::{
    AttemptRecord, Cause, CauseCode, DeliveryId, DeliveryState, Event, Kind, NotificationId, Record,
    WIRE_VERSION,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    As, COLLECTION, UNKNOWN,
    common::{JSON, Rig, quay_problem, webhook_body},
    json_of, rig,
};

fn one(notification: &Value) -> String {
    format!("{COLLECTION}{}", notification["uuid"].as_str().expect("an id"))
}

fn id(notification: &Value) -> NotificationId {
    notification["uuid"].as_str().expect("an id").parse().expect("a UUID")
}

fn with(changes: &Value) -> Value {
    let mut body = webhook_body();
    for (name, value) in changes.as_object().expect("an object") {
        body[name] = value.clone();
    }
    body
}

#[tokio::test]
async fn what_is_created_is_listed_and_got_in_quays_form_with_the_secret_shown_once() {
    let rig = Rig::start().await;
    let created = rig.webhook("acme/api").await;
    let secret = created["config"]["secret"].as_str().expect("a secret");
    assert!(secret.starts_with("whsec_"), "{secret}");
    let shown = json!({
        "uuid": created["uuid"], "title": "Deploy hook", "event": "repo_push", "method": "webhook",
        "config": {"url": "https://ci.example.com/hook"}, "event_config": {}, "number_of_failures": 0,
    });
    let mut expected = shown.clone();
    expected["config"]["secret"] = secret.into();
    assert_eq!(created, expected);

    let got = rig.get(&one(&created)).await;
    assert_eq!((got.status.as_u16(), got.json()), (200, shown.clone()));
    let listed = rig.get(COLLECTION).await;
    assert_eq!((listed.status.as_u16(), listed.json()), (200, json!({"notifications": [shown]})));
    assert_eq!(
        rig.get("/api/v1/repository/acme/empty/notification/").await.json(),
        json!({"notifications": []})
    );
}

#[tokio::test]
async fn a_secret_of_the_owners_is_taken_and_a_bad_one_refused_without_repeating_it() {
    let rig = Rig::start().await;
    let given = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let body = with(&json!({"config": {"url": "https://ci.example.com/", "secret": given}}));
    let created = rig.post(COLLECTION, &body).await.json();
    assert_eq!(created["config"]["secret"], given);
    assert_eq!(rig.get(&one(&created)).await.json()["config"], json!({"url": "https://ci.example.com/"}));
    let body = with(&json!({"config": {"url": "https://ci.example.com/", "secret": "hunter2hunter2"}}));
    let detail = quay_problem(&rig.post(COLLECTION, &body).await, 400, "invalid_request");
    assert!(detail.contains("whsec_") && !detail.contains("hunter2"), "{detail}");
}

#[tokio::test]
async fn automation_s_create_bodies_are_taken_and_config_is_echoed_but_for_what_is_secret() {
    let rig = rig().await;
    let template = r#"{"text": "${repository} pushed"}"#;
    let bodies = [
        json!({"eventConfig": {}, "event_config": {}, "title": "hook one", "event": "repo_push", "method": "webhook",
               "config": {"url": "http://127.0.0.1:9/", "template": template, "extra": {"kept": [1]}}}),
        json!({"eventConfig": {"level": "1"}, "event_config": {"level": "1"}, "title": "vuln",
               "event": "vulnerability_found", "method": "webhook", "config": {"url": "https://x.example.com"}}),
        json!({"eventConfig": {"days": 7}, "event_config": {"days": 7}, "title": "expiry", "event": "repo_image_expiry",
               "method": "quay_notification", "config": {"target": {"name": "dev", "kind": "team", "extra": 1}}}),
        json!({"eventConfig": {}, "event_config": {}, "title": "vuln", "event": "build_failure", "method": "slack",
               "config": {"url": "https://hooks.slack.com/services/AAA/BBB/CCC"}}),
        json!({"eventConfig": {}, "event_config": {}, "title": "hip", "event": "build_failure", "method": "hipchat",
               "config": {"room_id": "12", "notification_token": "tok"}}),
        json!({"eventConfig": {}, "event": "build_failure", "method": "quay_notification", "admin": true,
               "config": {"target": {"name": "acme", "kind": "org"}}}),
    ];
    for body in bodies {
        let answer = rig.post(COLLECTION, &body).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        let got = rig.get(&one(&answer.json())).await.json();
        // What lets others write into a channel is shown when it is written, and masked ever after; so is what the method
        // does not know.
        let expected = match body["method"].as_str() {
            _ if body["config"]["extra"].is_object() => {
                json!({"url": "http://127.0.0.1:9/", "template": template, "extra": "********"})
            }
            Some("slack") => json!({"url": "https://hooks.slack.com/********"}),
            Some("hipchat") => json!({"room_id": "12", "notification_token": "********"}),
            _ => body["config"].clone(),
        };
        assert_eq!(got["config"], expected);
        let mut again = body.clone();
        again["config"] = got["config"].clone();
        let put = rig.send("PUT", &one(&got), &[JSON], again.to_string()).await;
        assert_eq!(put.status, 200, "what was shown can be written back: {}", put.text());
        assert_eq!(put.json()["config"], expected, "writing a mask back shows nothing");
        let kept = rig.store.notification(id(&got)).await.expect("read").expect("it");
        assert_eq!(Value::from(kept.config), body["config"]);
        assert_eq!(got["event_config"], body["eventConfig"]);
        assert_eq!(got["title"], body.get("title").cloned().unwrap_or(Value::Null));
        assert_eq!((&got["event"], &got["method"]), (&body["event"], &body["method"]));
    }
    // Duplicates are allowed.
    let again = rig.post(COLLECTION, &webhook_body()).await.json();
    assert_ne!(again["uuid"], rig.post(COLLECTION, &webhook_body()).await.json()["uuid"]);
}

#[tokio::test]
async fn what_the_schema_refuses_is_400_in_quays_words() {
    let rig = Rig::start().await;
    let without = |name: &str| {
        let mut body = webhook_body();
        body.as_object_mut().expect("an object").remove(name);
        body
    };
    let rows = [
        (without("event"), "'event' is a required property"),
        (without("method"), "'method' is a required property"),
        (without("config"), "'config' is a required property"),
        (without("eventConfig"), "'eventConfig' is a required property"),
        (with(&json!({"title": null})), "None is not of type 'string'"),
        (with(&json!({"event": 7})), "7 is not of type 'string'"),
        (with(&json!({"config": []})), "[] is not of type 'object'"),
        (json!([]), "[] is not of type 'object'"),
        (Value::Null, "Missing JSON body"),
        (with(&json!({"method": "carrier_pigeon"})), "unknown method \"carrier_pigeon\"; known are webhook"),
        (with(&json!({"event": "repo_pushed"})), "event: unknown kind \"repo_pushed\"; known are repo_push"),
        (
            with(&json!({"event": "vulnerability_found", "eventConfig": {"level": "bad"}})),
            "event config: `level`",
        ),
        (
            with(&json!({"event": "build_start", "eventConfig": {"ref-regex": "]["}})),
            "event config: `ref-regex`",
        ),
        (with(&json!({"title": "x".repeat(256)})), "`title` is longer than 255 characters"),
        // Quay looks at the method before the event.
        (with(&json!({"method": "x", "event": "y"})), "unknown method"),
    ];
    for (body, expected) in rows {
        let answer = rig.post(COLLECTION, &body).await;
        let detail = quay_problem(&answer, 400, "invalid_request");
        assert!(detail.starts_with(expected), "{body}: {detail}");
    }
    assert_eq!(rig.get(COLLECTION).await.json(), json!({"notifications": []}));
}

#[tokio::test]
async fn a_body_that_is_no_json_or_too_large_is_refused_as_quays_framework_does() {
    let rig = Rig::start().await;
    let send =
        async |headers: &[(&str, &str)], body: String| rig.send("POST", COLLECTION, headers, body).await;
    for body in ["", "{", "{\"a\":1}}", "'x'", "nul"] {
        let answer = send(&[JSON], body.to_owned()).await;
        let detail = quay_problem(&answer, 400, "invalid_request");
        assert_eq!(answer.json()["message"], detail);
        assert!(detail.starts_with("Failed to decode JSON object"), "{detail}");
    }
    for headers in
        [&[][..], &[("content-type", "text/plain")], &[("content-type", "application/x-www-form-urlencoded")]]
    {
        let answer = send(headers, webhook_body().to_string()).await;
        let detail = quay_problem(&answer, 415, "invalid_request");
        assert_eq!(answer.json()["message"], detail);
    }
    assert_eq!(
        send(&[("content-type", "application/problem+json")], webhook_body().to_string()).await.status,
        201
    );
    quay_problem(&send(&[JSON], " ".repeat(300 * 1024)).await, 413, "invalid_request");
}

/// So many deliveries of a notification that died of its receiver, as the recorder notes them.
async fn fail(rig: &Rig, notification: NotificationId, count: usize) {
    let death = |number: usize| {
        let event = format!("failed-{number}");
        Record {
            v: WIRE_VERSION,
            fanned_out: None,
            attempt: Some(AttemptRecord {
                delivery: DeliveryId::derive("registry.example.com", &event, notification),
                notification,
                method: "webhook".into(),
                source: "registry.example.com".into(),
                event,
                kind: Kind::RepoPush,
                subject: "acme/api".into(),
                accepted_at: Timestamp::UNIX_EPOCH,
                attempt: 1,
                started_at: Timestamp::UNIX_EPOCH,
                duration_ms: 1,
                outcome: "rejected".into(),
                cause: Some(Cause::new(CauseCode::Http4xx, "it answered 404")),
                status: Some(404),
                state: DeliveryState::Dead,
                next_due_at: None,
                on_probation: false,
            }),
        }
    };
    let records: Vec<_> = (0..count).map(death).collect();
    rig.store.record(&records, 20).await.expect("recorded");
}

#[tokio::test]
async fn three_failures_or_more_are_shown_of_a_disabled_notification_and_of_no_other() {
    let rig = Rig::start().await;
    for (failures, while_active, once_disabled) in [(0, 0, 3), (1, 1, 3), (2, 2, 3), (3, 2, 3), (19, 2, 19)] {
        let made = rig.webhook("acme/api").await;
        let shown = async || rig.get(&one(&made)).await.json()["number_of_failures"].clone();
        fail(&rig, id(&made), failures).await;
        let kept = rig.store.notification(id(&made)).await.expect("read").expect("it");
        assert_eq!(kept.failures as usize, failures);
        assert_eq!(shown().await, while_active, "{failures} failures");
        let listed = rig.get(COLLECTION).await.json()["notifications"].clone();
        let of_it = |one: &&Value| one["uuid"] == made["uuid"];
        let listed = listed.as_array().expect("a list").iter().find(of_it).expect("it").clone();
        assert_eq!(listed["number_of_failures"], while_active, "{failures} failures");
        rig.store
            .disable_notification(id(&made), "it kept failing", Timestamp::UNIX_EPOCH)
            .await
            .expect("disabled");
        assert_eq!(shown().await, once_disabled, "{failures} failures, disabled");
        assert_eq!(rig.send("POST", &one(&made), &[], "").await.status, 204);
        assert_eq!(shown().await, 0);
    }
}

#[tokio::test]
async fn delete_and_reset_answer_204_without_a_body_and_400_for_what_is_not_there() {
    let rig = Rig::start().await;
    let made = rig.webhook("acme/api").await;
    let path = one(&made);
    rig.store
        .disable_notification(id(&made), "it kept failing", Timestamp::UNIX_EPOCH)
        .await
        .expect("disabled");
    assert_eq!(rig.get(&path).await.json()["number_of_failures"], 3);
    for body in ["{}", ""] {
        let answer = rig.send("POST", &path, &[], body).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (204, 0));
    }
    assert_eq!(rig.get(&path).await.json()["number_of_failures"], 0);
    let answer = rig.send("DELETE", &path, &[], "").await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (204, 0));

    let uuid = made["uuid"].as_str().expect("an id");
    let absent = format!("No repository notification found for: acme, api, {uuid}");
    for (verb, path) in [("DELETE", path.clone()), ("POST", path.clone()), ("POST", format!("{path}/test"))] {
        let answer = rig.send(verb, &path, &[JSON], "{}").await;
        assert_eq!(quay_problem(&answer, 400, "invalid_request"), absent, "{verb} {path}");
        // Quay's words for resetting what is another repository's, beside those for what is nowhere.
        let is_reset = verb == "POST" && !path.ends_with("/test");
        let message = format!("No repository notification found with uuid: {uuid}");
        let expected = if is_reset { Some(json!(message)) } else { None };
        assert_eq!(answer.json().get("message").cloned(), expected, "{verb} {path}");
    }
    assert_eq!(quay_problem(&rig.get(&path).await, 404, "not_found"), "Not Found");
}

#[tokio::test]
async fn a_notification_of_another_repository_is_as_unknown_as_one_that_is_not_there() {
    let rig = Rig::start().await;
    let made = rig.webhook("acme/api").await;
    let uuid = made["uuid"].as_str().expect("an id");
    for repository in ["acme/api2", "acme", "acme/api/x", "acme/Api", "acme%252Fapi", "../acme/api"] {
        for (verb, suffix) in [("GET", ""), ("DELETE", ""), ("POST", ""), ("POST", "/test")] {
            let there = format!("/api/v1/repository/{repository}/notification/{uuid}{suffix}");
            let (here, missing) = (rig.send(verb, &there, &[], "").await, there.replace(uuid, UNKNOWN));
            let missing = rig.send(verb, &missing, &[], "").await;
            assert_eq!(here.status, missing.status, "{verb} {there}");
            assert_eq!(here.text().replace(uuid, ""), missing.text().replace(UNKNOWN, ""), "{verb} {there}");
            assert!(here.status.is_client_error(), "{verb} {there}: {}", here.status);
        }
    }
    assert_eq!(rig.get(&one(&made)).await.status, 200);
    assert_eq!(rig.depth(&queues::deliver("webhook")), 0);
}

#[tokio::test]
async fn names_hold_slashes_and_may_be_called_notification() {
    let rig = Rig::start().await;
    for repository in ["acme/team/api", "alpine", "acme/notification", "notification/notification"] {
        let made = rig.webhook(repository).await;
        let uuid = made["uuid"].as_str().expect("an id");
        let path = format!("/api/v1/repository/{repository}/notification/{uuid}");
        assert_eq!(rig.get(&path).await.status, 200, "{path}");
        assert_eq!(rig.send("POST", &format!("{path}/test"), &[], "").await.status, 200, "{path}");
        assert_eq!(rig.send("DELETE", &path, &[], "").await.status, 204, "{path}");
    }
    let encoded = "/api/v1/repository/acme%2Fapi/notification/";
    assert_eq!(rig.post(encoded, &webhook_body()).await.status, 201);
    assert_eq!(rig.get(COLLECTION).await.json()["notifications"].as_array().map(Vec::len), Some(1));
    for name in ["Acme/api", "acme/..", "acme/a%0Ab", "acme/%3Cscript%3E"] {
        let path = format!("/api/v1/repository/{name}/notification/");
        let detail = quay_problem(&rig.post(&path, &webhook_body()).await, 400, "invalid_request");
        assert!(detail.starts_with("repository name"), "{detail}");
        quay_problem(&rig.get(&path).await, 400, "invalid_request");
    }
}

#[tokio::test]
async fn the_collection_without_its_slash_is_redirected_within_this_host() {
    let rig = Rig::start().await;
    for verb in ["GET", "POST", "DELETE"] {
        let answer = rig.send(verb, "/api/v1/repository/acme/api/notification?x=1&y=//z", &[], "").await;
        assert_eq!(answer.status, 308, "{verb}");
        assert_eq!(answer.headers["location"], "/api/v1/repository/acme/api/notification/?x=1&y=//z");
    }
    for path in [format!("{COLLECTION}{UNKNOWN}/"), format!("{COLLECTION}{UNKNOWN}/test/")] {
        quay_problem(&rig.get(&path).await, 404, "not_found");
    }
}

#[tokio::test]
async fn a_test_call_is_a_delivery_of_a_sample_for_that_notification_alone() {
    let rig = Rig::start().await;
    let made = rig.webhook("acme/api").await;
    rig.webhook("acme/api").await;
    let answer = rig.send("POST", &format!("{}/test", one(&made)), &[JSON], "{}").await;
    assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({})));

    let message = rig.drain_deliveries("webhook", 1).await.remove(0);
    let event = Event::from_json(message.event.get().as_bytes(), message.accepted_at).expect("an event");
    assert_eq!((message.notification, message.attempt, message.spent), (id(&made), 1, 0));
    assert_eq!((event.kind, event.source.as_str()), (Kind::RepoPush, "bellbuoy"));
    assert!(event.id.starts_with("test-"), "{}", event.id);
    assert_eq!(event.subject.name(), Some("acme/api"));
    assert_eq!(event.data["updated_tags"], json!(["latest", "foo"]));
    assert_eq!(message.delivery, DeliveryId::derive("bellbuoy", &event.id, id(&made)));

    // History shows it, as if fan-out had made it.
    let record = rig.drain_records(1).await.remove(0);
    rig.store.record(std::slice::from_ref(&record), 3).await.expect("recorded");
    let fanned_out = record.fanned_out.expect("a fan-out");
    assert_eq!((&fanned_out.event, fanned_out.deliveries.len()), (&event.id, 1));
    let shown = rig.get(&format!("/v1/deliveries/{}", message.delivery)).await.json();
    assert_eq!((&shown["state"], &shown["event"]), (&json!("pending"), &json!(event.id)));
    let stored = rig.get(&format!("/v1/events/{}", event.id)).await.json();
    assert_eq!(stored["events"][0]["fanned_out"], true);
    assert_eq!(rig.depth(&queues::events()), 0);
}

#[tokio::test]
async fn a_test_call_is_sent_past_the_filter_so_that_it_always_shows_something() {
    let rig = Rig::start().await;
    // In Quay such a test silently sends nothing: its sample is of refs/heads/somebranch.
    let filtered = with(&json!({"event": "build_failure", "eventConfig": {"ref-regex": "refs/tags/.*"}}));
    let made = json_of(&rig.post(COLLECTION, &filtered).await, 201);
    let answer = rig.send("POST", &format!("{}/test", one(&made)), &[JSON], "{}").await;
    assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({})));
    let message = rig.drain_deliveries("webhook", 1).await.remove(0);
    let event = Event::from_json(message.event.get().as_bytes(), message.accepted_at).expect("an event");
    assert_eq!((message.notification, event.kind), (id(&made), Kind::BuildFailure));
    assert_eq!(event.data["trigger_metadata"]["ref"], "refs/heads/somebranch");
    let kept = rig.store.notification(id(&made)).await.expect("read").expect("it");
    let filter = kept.check().expect("understood").filter;
    assert!(filter.allows(&event).is_err(), "the filter would not have let it through");
}

#[tokio::test]
async fn error_types_are_described() {
    let rig = Rig::start().await;
    let answer = rig.get("/api/v1/error/invalid_request").await;
    let body = answer.json();
    assert_eq!((answer.status.as_u16(), &body["title"]), (200, &json!("invalid_request")));
    assert_eq!(body["type"], "https://bellbuoy.example.com/api/v1/error/invalid_request");
    assert!(body["description"].is_string());
}

#[tokio::test]
async fn an_update_changes_what_is_written_and_keeps_what_quay_can_not_say() {
    let rig = Rig::start().await;
    let made = rig.webhook("acme/api").await;
    let path = one(&made);
    let body = with(&json!({"title": "New", "config": {"url": "https://new.example.com/"}}));
    let put = async |path: &str, body: &Value| rig.send("PUT", path, &[JSON], body.to_string()).await;
    let changed = json_of(&put(&path, &body).await, 200);
    assert_eq!((&changed["uuid"], &changed["title"]), (&made["uuid"], &json!("New")));
    assert_eq!(
        changed["config"],
        json!({"url": "https://new.example.com/"}),
        "the secret stays and is not shown"
    );
    assert_eq!(rig.get(&path).await.json(), changed);

    let native = json!({"scope": {"repository": "acme/api"}, "kinds": ["repo_push", "build_start"], "method": "webhook",
                        "format": "cloudevents", "config": {"url": "https://ci.example.com/hook"}});
    let at = format!("/v1/notifications/{}", id(&made));
    assert_eq!(rig.send("PUT", &at, &[JSON], native.to_string()).await.status, 200);
    json_of(&put(&path, &body).await, 200);
    let kept = rig.get(&at).await.json();
    assert_eq!(
        (&kept["format"], &kept["kinds"]),
        (&json!("cloudevents"), &json!(["repo_push", "build_start"]))
    );
    json_of(&put(&path, &with(&json!({"event": "build_start"}))).await, 200);
    assert_eq!(rig.get(&at).await.json()["kinds"], json!(["build_start"]));

    let detail = quay_problem(&put(&path, &with(&json!({"config": {}}))).await, 400, "invalid_request");
    assert_eq!(detail, "Missing webhook URL");
    let elsewhere = path.replace("acme/api", "acme/web");
    for (path, uuid) in
        [(elsewhere, made["uuid"].as_str()), (format!("{COLLECTION}{UNKNOWN}"), Some(UNKNOWN))]
    {
        let detail = quay_problem(&put(&path, &body).await, 400, "invalid_request");
        let uuid = uuid.expect("an id");
        assert!(
            detail.starts_with("No repository notification found for: acme, ") && detail.ends_with(uuid),
            "{detail}"
        );
    }
}

#[tokio::test]
async fn a_pause_shows_and_ends_and_does_not_touch_what_is_disabled() {
    let rig = Rig::start().await;
    let made = rig.webhook("acme/api").await;
    let act = async |word: &str| rig.send("POST", &format!("{}/{word}", one(&made)), &[], "").await;
    let paused = json_of(&act("pause").await, 200);
    assert_eq!(paused["paused"], true);
    assert_eq!(rig.get(&one(&made)).await.json(), paused);
    assert_eq!(json_of(&act("resume").await, 200).get("paused"), None);
    rig.store.disable_notification(id(&made), "answered 410", Timestamp::UNIX_EPOCH).await.expect("disabled");
    for word in ["pause", "resume"] {
        let detail = quay_problem(&act(word).await, 409, "invalid_request");
        assert!(detail.contains("answered 410") && detail.contains("reset"), "{detail}");
    }
    assert_eq!(rig.send("POST", &one(&made), &[], "").await.status, 204);
    json_of(&act("pause").await, 200);
}

#[tokio::test]
async fn a_wrong_verb_is_405_and_names_the_right_ones() {
    let rig = Rig::start().await;
    let made = rig.webhook("acme/api").await;
    for (verb, path, allowed) in [
        ("PUT", COLLECTION.to_owned(), "GET,HEAD,POST"),
        ("PATCH", one(&made), "GET,HEAD,PUT,DELETE,POST"),
        ("GET", format!("{}/test", one(&made)), "POST"),
        ("DELETE", format!("{}/pause", one(&made)), "POST"),
        ("PUT", "/api/v1/repository/acme/api".to_owned(), "GET,HEAD,DELETE"),
        ("POST", "/api/v1/repository/acme/api/permissions/team/".to_owned(), "GET,HEAD"),
        ("POST", "/api/v1/repository/acme/api/permissions/team/dev".to_owned(), "GET,HEAD,PUT,DELETE"),
        ("DELETE", "/api/v1/repository/acme/api/authorizedemail/a@b.c".to_owned(), "GET,HEAD,POST"),
        ("POST", "/api/v1/user/".to_owned(), "GET,HEAD"),
    ] {
        let answer = rig.send(verb, &path, &[JSON], "{}").await;
        let detail = quay_problem(&answer, 405, "invalid_request");
        assert_eq!(
            (answer.json()["message"].as_str(), &answer.headers["allow"]),
            (Some(&*detail), &allowed.parse().expect("a value"))
        );
    }
}

#[tokio::test]
async fn only_who_administers_the_repository_gets_at_its_notifications() {
    let rig = rig().await;
    let made = rig.webhook("acme/api").await;
    for (who, may) in
        [("ann", true), ("kim", true), ("root", true), ("bob", false), ("cy", false), ("eve", false)]
    {
        let who = As::automation(&rig, who).await;
        for path in
            [COLLECTION.to_owned(), one(&made), one(&made).replace("/api/notification", "/none/notification")]
        {
            let answer = who.get(&path).await;
            if may && !path.contains("none") {
                assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            } else if !may {
                assert_eq!(quay_problem(&answer, 403, "insufficient_scope"), "Unauthorized", "{path}");
            }
        }
    }
}
