//! Notifications of organizations and users, for what becomes of their quota.

use serde_json::{Value, json};

use crate::{
    As, UNKNOWN,
    common::{Rig, problem, quay_problem},
    json_of, rig,
};

const OF_ACME: &str = "/api/v1/organization/acme/notifications";
const OWN: &str = "/api/v1/user/namespacenotifications";

fn body(event: &str) -> Value {
    json!({"event": event, "method": "webhook", "config": {"url": "https://ci.example.com/"}, "eventConfig": {}, "title": "t"})
}

#[tokio::test]
async fn the_whole_life_of_a_namespace_s_notification() {
    let rig = rig().await;
    let ann = As::automation(&rig, "ann").await;
    for all in [OF_ACME, OWN] {
        assert_eq!(json_of(&ann.get(all).await, 200), json!({"notifications": []}));
        let made = json_of(&ann.send("POST", all, Some(&body("quota_warning"))).await, 201);
        assert!(made["config"]["secret"].is_string());
        let one = format!("{all}/{}", made["uuid"].as_str().expect("an id"));
        let shown = json_of(&ann.get(&one).await, 200);
        assert_eq!(
            shown,
            json!({
                "uuid": made["uuid"], "title": "t", "event": "quota_warning", "method": "webhook",
                "config": {"url": "https://ci.example.com/"}, "event_config": {}, "number_of_failures": 0,
            })
        );
        assert_eq!(json_of(&ann.get(all).await, 200), json!({"notifications": [shown]}));
        assert_eq!(
            json_of(&ann.send("POST", &format!("{one}/test"), Some(&json!({}))).await, 200),
            json!({})
        );
        let delivery = rig.drain_deliveries("webhook", 1).await.remove(0);
        assert_eq!(delivery.notification.to_string(), made["uuid"].as_str().expect("an id"));
        assert_eq!(ann.send("POST", &one, None).await.status, 204);
        assert_eq!(json_of(&ann.send("POST", &format!("{one}/pause"), None).await, 200)["paused"], true);
        assert_eq!(
            json_of(&ann.send("PUT", &one, Some(&body("quota_error"))).await, 200)["event"],
            "quota_error"
        );
        let answer = ann.send("DELETE", &one, None).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (204, 0));
        assert_eq!(json_of(&ann.get(all).await, 200), json!({"notifications": []}));
    }
}

#[tokio::test]
async fn what_a_namespace_does_not_have_is_404_for_every_verb() {
    let rig = rig().await;
    let (ann, eve) = (As::automation(&rig, "ann").await, As::automation(&rig, "eve").await);
    let of_beta = json_of(
        &ann.send("POST", "/api/v1/organization/beta/notifications", Some(&body("quota_error"))).await,
        201,
    );
    let other = of_beta["uuid"].as_str().expect("an id");
    let bases = [
        format!("{OF_ACME}/{other}"),
        format!("{OF_ACME}/{UNKNOWN}"),
        format!("{OF_ACME}/x"),
        format!("{OWN}/{other}"),
        format!("{OWN}/{UNKNOWN}"),
    ];
    for base in &bases {
        for (verb, path) in [
            ("GET", base.clone()),
            ("DELETE", base.clone()),
            ("POST", base.clone()),
            ("POST", format!("{base}/test")),
            ("POST", format!("{base}/pause")),
            ("GET", format!("{base}/nonsense")),
        ] {
            quay_problem(&ann.send(verb, &path, None).await, 404, "not_found");
        }
        quay_problem(&ann.send("PUT", base, Some(&body("quota_error"))).await, 404, "not_found");
    }
    for organization in ["nowhere", "ann", "No%20Name"] {
        let path = format!("/api/v1/organization/{organization}/notifications");
        let one = format!("{path}/{other}");
        for (verb, path) in [
            ("GET", &path),
            ("POST", &path),
            ("PUT", &path),
            ("GET", &one),
            ("PUT", &one),
            ("DELETE", &one),
            ("POST", &one),
            ("POST", &format!("{one}/test")),
            ("POST", &format!("{one}/pause")),
        ] {
            for who in [&ann, &eve] {
                let answer = who.send(verb, path, Some(&body("quota_error"))).await;
                quay_problem(&answer, 404, "not_found");
            }
        }
    }
    for path in [format!("{OF_ACME}/"), format!("{OWN}/")] {
        quay_problem(&ann.get(&path).await, 404, "not_found");
    }
}

#[tokio::test]
async fn only_its_owners_get_at_an_organizations_and_only_a_user_at_its_own() {
    let rig = rig().await;
    for (who, status) in [("ann", 200), ("root", 200), ("bob", 403), ("cy", 403), ("kim", 403), ("eve", 403)]
    {
        let who = As::automation(&rig, who).await;
        assert_eq!(who.get(OF_ACME).await.status, status);
        assert_eq!(who.get(OWN).await.status, 200);
    }
    let robot = As::automation(&rig, "ann+bot").await;
    quay_problem(&robot.get(OWN).await, 403, "insufficient_scope");
    quay_problem(&rig.get(OWN).await, 403, "insufficient_scope");
}

async fn refused(rig: &Rig, body: &Value) -> String {
    quay_problem(&rig.post(OF_ACME, body).await, 400, "invalid_request")
}

#[tokio::test]
async fn only_quota_events_and_known_methods_are_taken() {
    let rig = rig().await;
    for event in ["repo_push", "quota", "", "build_queued"] {
        let expected = format!("Invalid event '{event}'. Must be one of: quota_error, quota_warning");
        assert_eq!(refused(&rig, &body(event)).await, expected);
    }
    let mut wrong = body("quota_error");
    wrong["method"] = "carrier_pigeon".into();
    assert_eq!(refused(&rig, &wrong).await, "Unknown notification method 'carrier_pigeon'");
    wrong["method"] = "quay_notification".into();
    for (target, expected) in [
        (json!({"kind": "org", "name": "beta"}), "Organization name must match repository namespace"),
        (json!({"kind": "org", "name": "nowhere"}), "Unknown organization nowhere"),
        (json!({"kind": "team", "name": "qa"}), "Unknown team qa"),
        (json!({"kind": "user", "name": "nobody"}), "Unknown user nobody"),
    ] {
        wrong["config"] = json!({ "target": target });
        assert_eq!(refused(&rig, &wrong).await, expected);
    }
    wrong["config"] = json!({"target": {"kind": "team", "name": "dev"}});
    assert_eq!(rig.post(OF_ACME, &wrong).await.status, 201);
}

#[tokio::test]
async fn mail_is_for_those_to_whom_the_namespace_belongs_whoever_that_is_when_it_is_sent() {
    let rig = rig().await;
    let mail = |config: Value| {
        let mut mail = body("quota_error");
        mail["method"] = "email".into();
        mail["config"] = config;
        mail
    };
    let of_acme = async |email: &str| rig.post(OF_ACME, &mail(json!({ "email": email }))).await;
    for empty in [json!({}), json!({"email": ""}), json!({"email": null})] {
        let made = json_of(&rig.post(OF_ACME, &mail(empty.clone())).await, 201);
        assert_eq!(made["config"], empty, "nobody in particular");
    }
    for foreign in ["eve@example.com", "list@example.com", "contact@acme.example", "Ann@example.com"] {
        let detail = quay_problem(&of_acme(foreign).await, 400, "invalid_request");
        assert_eq!(detail, NOT_THEIRS, "{foreign}: not theirs, or not known to be");
    }
    assert_eq!(quay_problem(&of_acme("no address").await, 400, "invalid_request"), "Invalid e-mail address");
    assert_eq!(json_of(&of_acme("ann@example.com").await, 201)["config"]["email"], "ann@example.com");
    let verified = json!({"kind": "organization", "email": "contact@acme.example", "email_verified": true});
    let answer =
        rig.send("PUT", "/v1/directory/accounts/acme", &[crate::common::JSON], verified.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let made = json_of(&of_acme("contact@acme.example").await, 201);

    let one = format!("{OF_ACME}/{}", made["uuid"].as_str().expect("an id"));
    let changed = mail(json!({"email": "eve@example.com"})).to_string();
    let answer = rig.send("PUT", &one, &[crate::common::JSON], changed).await;
    assert_eq!(quay_problem(&answer, 400, "invalid_request"), NOT_THEIRS);
    let native = json!({"scope": {"namespace": "acme"}, "kinds": ["quota_error"], "method": "email",
        "config": {"email": "eve@example.com"}});
    assert_eq!(problem(&rig.post("/v1/notifications", &native).await, 400), NOT_THEIRS);

    let ann = As::automation(&rig, "ann").await;
    assert_eq!(ann.send("POST", OWN, Some(&mail(json!({"email": "ann@example.com"})))).await.status, 201);
    // Whether eve has an address by then shows when there is something to send.
    let eve = As::automation(&rig, "eve").await;
    assert_eq!(eve.send("POST", OWN, Some(&mail(json!({})))).await.status, 201);
    let answer = eve.send("POST", OWN, Some(&mail(json!({"email": "ann@example.com"})))).await;
    assert_eq!(quay_problem(&answer, 400, "invalid_request"), NOT_THEIRS);
}

const NOT_THEIRS: &str =
    "The specified e-mail address is not authorized to receive notifications for this namespace";
