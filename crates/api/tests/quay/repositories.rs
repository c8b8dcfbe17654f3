//! Repositories and who may do what with them.

use serde_json::{Value, json};

use crate::{As, common::quay_problem, json_of, rig};

const ALL: &str = "/api/v1/repository";
const API: &str = "/api/v1/repository/acme/api";

fn new(namespace: &str, name: &str) -> Value {
    json!({"namespace": namespace, "repository": name, "visibility": "private", "description": "", "repo_kind": "image"})
}

#[tokio::test]
async fn who_may_make_repositories_makes_one_and_administers_it() {
    let rig = rig().await;
    for (who, status) in [("bob", 403), ("kim", 403), ("eve", 403), ("cy", 201), ("ann", 201), ("root", 201)]
    {
        let body = new("acme", &format!("of-{who}"));
        let who_asks = As::automation(&rig, who).await;
        let made = who_asks.send("POST", ALL, Some(&body)).await;
        assert_eq!(made.status, status, "{who}: {}", made.text());
        let path = format!("{ALL}/acme/of-{who}");
        if status == 201 {
            assert_eq!(
                made.json(),
                json!({"namespace": "acme", "name": format!("of-{who}"), "kind": "image"})
            );
            assert_eq!(json_of(&who_asks.get(&path).await, 200)["can_admin"], true, "{who}");
            assert_eq!(who_asks.get(&format!("{path}/notification/")).await.status, 200, "{who}");
            let again = who_asks.send("POST", ALL, Some(&body)).await;
            assert_eq!(quay_problem(&again, 400, "invalid_request"), "Repository already exists");
        } else {
            quay_problem(&who_asks.get(&path).await, 404, "not_found");
        }
    }
    let eve = As::automation(&rig, "eve").await;
    let own = json!({"repository": "mine", "visibility": "public", "description": ""});
    assert_eq!(json_of(&eve.send("POST", ALL, Some(&own)).await, 201)["namespace"], "eve");
    assert_eq!(
        json_of(&As::automation(&rig, "bob").await.get(&format!("{ALL}/eve/mine")).await, 200)["is_public"],
        true
    );
}

#[tokio::test]
async fn what_is_no_repository_is_refused_in_quays_words() {
    let rig = rig().await;
    for (body, expected) in [
        (json!({"namespace": "acme"}), "'repository' is a required property"),
        (json!({"namespace": "acme", "repository": 7}), "7 is not of type 'string'"),
        (
            json!({"namespace": "acme", "repository": "x", "visibility": "secret"}),
            "'secret' is not one of ['public', 'private']",
        ),
        (
            json!({"namespace": "acme", "repository": "x", "repo_kind": "application"}),
            "'application' is not one of ['image']",
        ),
        (new("acme", "No Name"), "Invalid repository name"),
        (new("acme", "../x"), "Invalid repository name"),
        (new("acme", ""), "Invalid repository name"),
        (json!("x"), "'x' is not of type 'object'"),
    ] {
        let detail = quay_problem(&rig.post(ALL, &body).await, 400, "invalid_request");
        assert_eq!(detail.lines().next(), Some(expected), "{body}");
    }
}

#[tokio::test]
async fn a_repository_is_seen_by_those_who_may_pull_and_deleted_by_those_who_administer() {
    let rig = rig().await;
    for (who, status, writes, administers) in [
        ("ann", 200, true, true),
        ("kim", 200, true, true),
        ("bob", 200, true, false),
        ("acme+ci", 200, true, false),
        ("cy", 404, false, false),
        ("eve", 404, false, false),
    ] {
        let who_asks = As::automation(&rig, who).await;
        let answer = who_asks.get(API).await;
        assert_eq!(answer.status, status, "{who}: {}", answer.text());
        if status == 200 {
            let shown = answer.json();
            assert_eq!(
                (&shown["namespace"], &shown["name"], &shown["kind"]),
                (&json!("acme"), &json!("api"), &json!("image"))
            );
            assert_eq!(
                (&shown["can_write"], &shown["can_admin"]),
                (&json!(writes), &json!(administers)),
                "{who}"
            );
            assert_eq!((&shown["is_organization"], &shown["is_public"]), (&json!(true), &json!(false)));
        }
        if !administers {
            quay_problem(&who_asks.send("DELETE", API, None).await, 403, "insufficient_scope");
        }
    }
    rig.webhook("acme/api").await;
    let kim = As::automation(&rig, "kim").await;
    let answer = kim.send("DELETE", API, None).await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (204, 0));
    quay_problem(&rig.get(API).await, 404, "not_found");
    quay_problem(&rig.send("DELETE", API, &[], "").await, 404, "not_found");
    assert_eq!(json_of(&rig.get(&format!("{API}/notification/")).await, 200), json!({"notifications": []}));
    quay_problem(&kim.get(API).await, 404, "not_found");
    for path in [format!("{API}/"), format!("{ALL}/Acme/api"), format!("{ALL}/acme/api//x")] {
        quay_problem(&rig.get(&path).await, 404, "not_found");
    }
}

#[tokio::test]
async fn permissions_are_listed_granted_changed_and_taken_away() {
    let rig = rig().await;
    let kim = As::automation(&rig, "kim").await;
    let (teams, users) = (format!("{API}/permissions/team/"), format!("{API}/permissions/user/"));
    let dev = json!({"name": "dev", "role": "write"});
    assert_eq!(json_of(&kim.get(&teams).await, 200), json!({"permissions": {"dev": dev}}));
    let user = |name: &str, role: &str, is_robot: bool, is_org_member: bool| json!({"name": name, "role": role, "is_robot": is_robot, "is_org_member": is_org_member});
    let (robot, admin) = (user("acme+ci", "read", true, true), user("kim", "admin", false, false));
    let listed = json!({"permissions": {"acme+ci": robot, "kim": admin}});
    assert_eq!(json_of(&kim.get(&users).await, 200), listed);

    let (bob, owners) = (format!("{users}bob"), format!("{teams}owners"));
    quay_problem(&kim.get(&bob).await, 404, "not_found");
    for role in ["read", "write", "admin"] {
        let granted = json_of(&kim.send("PUT", &bob, Some(&json!({"role": role}))).await, 200);
        assert_eq!(granted, user("bob", role, false, true));
        assert_eq!(json_of(&kim.get(&bob).await, 200), granted);
        json_of(&kim.send("PUT", &owners, Some(&json!({"role": role}))).await, 200);
    }
    assert_eq!(As::automation(&rig, "bob").await.get(&users).await.status, 200, "now it administers");
    for path in [&bob, &owners] {
        let answer = kim.send("DELETE", path, None).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (204, 0));
        quay_problem(&kim.send("DELETE", path, None).await, 404, "not_found");
    }
    assert_eq!(json_of(&kim.get(&users).await, 200), listed);
    quay_problem(&As::automation(&rig, "bob").await.get(&users).await, 403, "insufficient_scope");
    for without in [teams.trim_end_matches('/'), users.trim_end_matches('/')] {
        assert_eq!(kim.get(without).await.status, 308);
    }
}

#[tokio::test]
async fn a_permission_needs_somebody_and_a_role() {
    let rig = rig().await;
    let put = async |path: &str, body: Value| {
        let path = format!("{API}/permissions/{path}");
        let answer = rig.send("PUT", &path, &[crate::common::JSON], body.to_string()).await;
        quay_problem(&answer, 400, "invalid_request")
    };
    assert_eq!(put("user/bob", json!({})).await.lines().next(), Some("'role' is a required property"));
    assert_eq!(put("user/bob", json!({"role": 1})).await.lines().next(), Some("1 is not of type 'string'"));
    let detail = put("user/bob", json!({"role": "owner"})).await;
    assert_eq!(detail.lines().next(), Some("'owner' is not one of ['read', 'write', 'admin']"));
    let role = || json!({"role": "read"});
    assert!(put("user/nobody", role()).await.contains("nobody"));
    assert!(put("team/qa", role()).await.contains("acme/qa"));
    assert_eq!(put("user/No%20Body", role()).await, "Unknown user No Body");
}
