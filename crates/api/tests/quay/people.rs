//! What automation asks about itself, organizations, robots and names.

use serde_json::{Value, json};

use crate::{As, common::quay_problem, json_of, rig};

#[tokio::test]
async fn a_caller_learns_its_own_name_by_any_credential() {
    let rig = rig().await;
    assert_eq!(json_of(&rig.get("/api/v1/user/").await, 200)["username"], "admin");
    let ann = json_of(&As::scoped(&rig, "ann", &["repo:admin"]).await.get("/api/v1/user/").await, 200);
    assert_eq!(
        (&ann["username"], &ann["anonymous"], &ann["super_user"]),
        (&json!("ann"), &json!(false), &json!(false))
    );
    let owned =
        |name: &str| json!({"name": name, "is_org_admin": true, "can_create_repo": true, "public": false});
    assert_eq!(ann["organizations"], json!([owned("acme"), owned("beta")]));
    let cy = json_of(&As::automation(&rig, "cy").await.get("/api/v1/user/").await, 200);
    assert_eq!(
        cy["organizations"],
        json!([{"name": "acme", "is_org_admin": false, "can_create_repo": true, "public": false}])
    );
    let without = rig.get("/api/v1/user?x=1").await;
    assert_eq!(
        (without.status.as_u16(), &without.headers["location"]),
        (308, &"/api/v1/user/?x=1".parse().expect("a value"))
    );
    let made = rig.post("/v1/tokens", &json!({"title": "x", "scopes": ["events:publish"]})).await.json();
    let authorization = format!("Bearer {}", made["token"].as_str().expect("a token"));
    let answer = rig.raw("GET", "/api/v1/user/", &[("authorization", &authorization)], "").await;
    quay_problem(&answer, 403, "insufficient_scope");
}

#[tokio::test]
async fn an_organization_shows_its_teams_to_its_members_alone() {
    let rig = rig().await;
    let path = "/api/v1/organization/acme";
    let shown = json_of(&As::scoped(&rig, "ann", &["repo:admin"]).await.get(path).await, 200);
    assert_eq!(
        (&shown["name"], &shown["is_admin"], &shown["is_member"]),
        (&json!("acme"), &json!(true), &json!(true))
    );
    let teams: Vec<&String> = shown["teams"].as_object().expect("a map").keys().collect();
    assert_eq!(teams, ["dev", "makers", "owners"]);
    assert_eq!(
        (&shown["teams"]["owners"]["role"], &shown["teams"]["dev"]["name"]),
        (&json!("admin"), &json!("dev"))
    );
    let bob = json_of(&As::automation(&rig, "bob").await.get(path).await, 200);
    assert_eq!(
        (&bob["is_admin"], &bob["is_member"], &bob["teams"]),
        (&json!(false), &json!(true), &shown["teams"])
    );
    let kim = json_of(&As::automation(&rig, "kim").await.get(path).await, 200);
    assert_eq!((&kim["is_member"], &kim["teams"], &kim["email"]), (&json!(false), &json!({}), &Value::Null));
    for path in
        ["/api/v1/organization/nowhere", "/api/v1/organization/ann", "/api/v1/organization/No%20Where"]
    {
        quay_problem(&rig.get(path).await, 404, "not_found");
    }
}

#[tokio::test]
async fn robots_are_shown_to_those_who_know_their_owner_from_within() {
    let rig = rig().await;
    let robot = json!({
        "name": "acme+ci", "description": "", "created": null, "last_accessed": null, "unstructured_metadata": {},
    });
    let one = "/api/v1/organization/acme/robots/ci";
    for (who, status) in [("ann", 200), ("bob", 200), ("root", 200), ("kim", 404), ("eve", 404)] {
        let who = As::automation(&rig, who).await;
        let answer = who.get(one).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_eq!(who.get("/api/v1/organization/acme/robots").await.status, status);
        assert_eq!(who.get("/api/v1/organization/acme/robots/none").await.status, 404);
        if status == 200 {
            let mut shown = answer.json();
            assert!(shown["created"].as_str().is_some_and(|at| at.ends_with(" -0000")), "{shown}");
            shown["created"] = Value::Null;
            assert_eq!(shown, robot);
        }
    }
    let ann = As::automation(&rig, "ann").await;
    assert_eq!(json_of(&ann.get("/api/v1/user/robots/bot").await, 200)["name"], "ann+bot");
    let own = json_of(&ann.get("/api/v1/user/robots").await, 200);
    assert_eq!(own["robots"].as_array().map(Vec::len), Some(1));
    for path in ["/api/v1/user/robots/ci", "/api/v1/user/robots/acme", "/api/v1/user/robots/acme+ci"] {
        quay_problem(&ann.get(path).await, 404, "not_found");
        quay_problem(&rig.get(path).await, 404, "not_found");
    }
}

#[tokio::test]
async fn a_name_is_found_by_itself_and_by_its_beginning_for_superusers() {
    let rig = rig().await;
    let names = |answer: &Value| -> Vec<String> {
        let results = answer["results"].as_array().expect("a list");
        results
            .iter()
            .map(|one| {
                format!("{} {}", one["kind"].as_str().expect("a kind"), one["name"].as_str().expect("a name"))
            })
            .collect()
    };
    let (eve, bob) = (As::automation(&rig, "eve").await, As::automation(&rig, "bob").await);
    let ask = async |who: &As<'_>, query: &str| {
        names(&json_of(&who.get(&format!("/api/v1/entities/{query}")).await, 200))
    };
    assert_eq!(ask(&eve, "ann?includeOrgs=False&includeTeams=False").await, ["user ann"]);
    assert_eq!(ask(&eve, "an").await, [""; 0]);
    assert_eq!(ask(&eve, "acme").await, [""; 0], "organizations only when asked for");
    assert_eq!(ask(&eve, "acme?includeOrgs=true").await, ["org acme"]);
    assert_eq!(ask(&eve, "acme+ci").await, [""; 0]);
    assert_eq!(ask(&bob, "acme%2Bci").await, ["user acme+ci"]);
    assert_eq!(ask(&eve, "de?includeTeams=True&namespace=acme").await, [""; 0]);
    assert_eq!(ask(&bob, "de?includeTeams=True&namespace=acme").await, ["team dev"]);
    let found = json_of(&rig.get("/api/v1/entities/a?includeOrgs=True").await, 200);
    assert_eq!(names(&found), ["org acme", "user acme+ci", "user ann", "user ann+bot"]);
    assert_eq!(found["results"][1]["is_robot"], true);
    assert_eq!(ask(&eve, "No%20Body").await, [""; 0]);
}
