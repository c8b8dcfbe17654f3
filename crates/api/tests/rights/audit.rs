//! Who did what is written down.

use serde_json::json;

use crate::{
    common::{self, JSON, Rig},
    world::{credential, fill},
};

#[tokio::test]
async fn who_did_what_is_written_down() {
    let rig = Rig::start().await;
    fill(&rig.store).await;
    let admin = credential("admin").expect("a credential");
    let headers = [("authorization", &*admin), JSON];
    let path = "/api/v1/repository/acme/api/notification/";
    let made = rig.raw("POST", path, &headers, common::webhook_body().to_string()).await.json();
    let id = made["uuid"].as_str().expect("an id").to_owned();
    assert_eq!(rig.raw("POST", &format!("/v1/notifications/{id}/pause"), &headers, "").await.status, 200);
    assert_eq!(rig.raw("POST", &format!("/v1/notifications/{id}/pause"), &headers, "").await.status, 200);
    assert_eq!(rig.raw("POST", &format!("/v1/notifications/{id}/reset"), &headers, "").await.status, 200);
    assert_eq!(rig.raw("DELETE", &format!("{path}{id}"), &headers, "").await.status, 204);
    let audit = rig.get(&format!("/v1/audit?target={id}")).await.json();
    let entries = audit["entries"].as_array().expect("a list");
    let actions: Vec<&str> = entries.iter().filter_map(|entry| entry["action"].as_str()).collect();
    assert_eq!(
        actions,
        ["notification.delete", "notification.reset", "notification.pause", "notification.create"],
        "a second pause changes nothing"
    );
    for entry in entries {
        assert_eq!((&entry["actor"], &entry["place"]), (&json!("admin"), &json!("acme/api")));
        assert!(entry["address"].is_string());
    }
    assert!(!audit.to_string().contains("whsec_"));
}

#[tokio::test]
async fn every_change_by_quays_surface_is_written_down_of_a_repository_s_and_of_a_namespace_s() {
    let rig = Rig::start().await;
    fill(&rig.store).await;
    let quota = json!({"event": "quota_error", "method": "webhook", "config": {"url": "https://ci.example.com/"}, "eventConfig": {}});
    for (who, all, body, place) in [
        ("admin", "/api/v1/repository/acme/api/notification/", common::webhook_body(), "acme/api"),
        ("owner", "/api/v1/organization/acme/notifications", quota.clone(), "acme"),
        ("owner", "/api/v1/user/namespacenotifications", quota, "owner"),
    ] {
        let credential = credential(who).expect("a credential");
        let headers = [("authorization", &*credential), JSON];
        let made = rig.raw("POST", all, &headers, body.to_string()).await;
        assert_eq!(made.status, 201, "{}", made.text());
        let id = made.json()["uuid"].as_str().expect("an id").to_owned();
        let one = format!("{}/{id}", all.trim_end_matches('/'));
        for (verb, path, body, status) in [
            ("PUT", one.clone(), body.to_string(), 200),
            ("POST", format!("{one}/pause"), String::new(), 200),
            ("POST", format!("{one}/resume"), String::new(), 200),
            ("POST", one.clone(), String::new(), 204),
            ("POST", format!("{one}/test"), String::new(), 200),
            ("GET", one.clone(), String::new(), 200),
            ("DELETE", one.clone(), String::new(), 204),
        ] {
            let answer = rig.raw(verb, &path, &headers, body).await;
            assert_eq!(answer.status, status, "{verb} {path}: {}", answer.text());
        }
        let audit = rig.get(&format!("/v1/audit?target={id}")).await.json();
        let entries = audit["entries"].as_array().expect("a list");
        let actions: Vec<&str> = entries.iter().rev().filter_map(|entry| entry["action"].as_str()).collect();
        let expected = ["create", "change", "pause", "resume", "reset", "delete"]
            .map(|word| format!("notification.{word}"));
        assert_eq!(actions, expected, "{all}: neither a look nor a test is a change");
        for entry in entries {
            assert_eq!((&entry["actor"], &entry["place"]), (&json!(who), &json!(place)), "{entry}");
        }
    }
}
