//! Notifications of organizations and users, for what becomes of their quota.

use serde_json::{Value, json};

use crate::{
    As, UNKNOWN,
    common::{Rig, quay_problem},
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
    let ann = As::automation(&rig, "ann").await;
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
    for path in ["/api/v1/organization/nowhere/notifications", "/api/v1/organization/ann/notifications"] {
        quay_problem(&rig.get(path).await, 404, "not_found");
        quay_problem(&rig.post(path, &body("quota_error")).await, 404, "not_found");
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
async fn mail_without_an_address_goes_to_whom_the_namespace_belongs() {
    let rig = rig().await;
    let mut mail = body("quota_error");
    mail["method"] = "email".into();
    mail["config"] = json!({});
    let of = |organization: &str| format!("/api/v1/organization/{organization}/notifications");
    let made = json_of(&rig.post(&of("acme"), &mail).await, 201);
    assert_eq!(made["config"]["email"], "ann@example.com", "the contact's address is not known to be theirs");
    let verified = json!({"kind": "organization", "email": "contact@acme.example", "email_verified": true});
    let answer =
        rig.send("PUT", "/v1/directory/accounts/acme", &[crate::common::JSON], verified.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(json_of(&rig.post(&of("acme"), &mail).await, 201)["config"]["email"], "contact@acme.example");
    let ann = As::automation(&rig, "ann").await;
    assert_eq!(json_of(&ann.send("POST", OWN, Some(&mail)).await, 201)["config"]["email"], "ann@example.com");
    let eve = As::automation(&rig, "eve").await;
    let answer = eve.send("POST", OWN, Some(&mail)).await;
    assert_eq!(quay_problem(&answer, 400, "invalid_request"), "Missing e-mail address");
}
