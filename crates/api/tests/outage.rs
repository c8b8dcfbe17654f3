//! While the broker or the store is out of reach: never a false 2xx, and 503 says when to come back.

mod common;

use bellbuoy_domain::DeliveryId;
use common::{JSON, Rig, STRUCTURED, problem, push_event, quay_problem, webhook_body};
use serde_json::json;

#[tokio::test]
async fn nothing_is_accepted_while_the_broker_does_not_take_it() {
    let rig = Rig::start().await;
    let made = rig.webhook("acme/api").await;
    let uuid = made["uuid"].as_str().expect("an id");
    rig.broker.close().await;

    let answer = rig.send("POST", "/v1/events", &[STRUCTURED], push_event("1").to_string()).await;
    problem(&answer, 503);
    assert_eq!(answer.headers["retry-after"], "5");
    // What can't be understood has to be kept as well.
    for body in ["", "{}", "nonsense"] {
        let answer = rig.send("POST", "/v1/ingest/distribution", &[JSON], body).await;
        problem(&answer, 503);
        assert!(answer.headers.contains_key("retry-after"));
    }
    let path = format!("/api/v1/repository/acme/api/notification/{uuid}/test");
    quay_problem(&rig.send("POST", &path, &[], "").await, 503, "downstream_issue");
    problem(&rig.post(&format!("/v1/notifications/{uuid}/test"), &json!({})).await, 503);

    assert_eq!(rig.raw("GET", "/healthz", &[], "").await.status, 200);
    let ready = rig.raw("GET", "/readyz", &[], "").await;
    assert_eq!((ready.status.as_u16(), &ready.json()["checks"]["broker"]), (503, &json!("failing")));
}

#[tokio::test]
async fn without_the_store_events_are_still_taken_and_everything_else_waits() {
    let rig = Rig::start().await;
    rig.store.close().await;
    let answer = rig.send("POST", "/v1/events", &[STRUCTURED], push_event("1").to_string()).await;
    assert_eq!(answer.status, 202);
    let id = DeliveryId::from(uuid::Uuid::nil());
    for path in [
        "/v1/notifications",
        "/v1/deliveries",
        "/v1/dead-letters",
        "/v1/events/1",
        &format!("/v1/deliveries/{id}"),
    ] {
        let answer = rig.get(path).await;
        problem(&answer, 503);
        assert_eq!(answer.headers["retry-after"], "5", "{path}");
    }
    let collection = "/api/v1/repository/acme/api/notification/";
    let answers = [rig.get(collection).await, rig.post(collection, &webhook_body()).await];
    for answer in answers {
        let detail = quay_problem(&answer, 503, "downstream_issue");
        assert_eq!(answer.json()["message"], detail, "what Quay's clients read of a 503");
        assert_eq!(answer.headers["retry-after"], "5");
    }
    assert_eq!(rig.get("/readyz").await.status, 503);
}
