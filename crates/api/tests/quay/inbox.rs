//! In-app notifications: the bell of a user.

use bellbuoy_domain::{DeliveryId, Kind};
use bellbuoy_store::InboxRow;
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    As, UNKNOWN,
    common::{JSON, Rig, quay_problem},
    json_of, rig,
};

const ALL: &str = "/api/v1/user/notifications";

async fn tell(rig: &Rig, number: u128, kind: &str, name: &str) {
    let metadata = json!({"repository": "acme/api", "updated_tags": [number.to_string()]});
    let row = InboxRow {
        delivery: DeliveryId::from(Uuid::from_u128(number)),
        target_kind: kind.into(),
        target: name.into(),
        kind: Kind::RepoPush.into(),
        metadata: metadata.as_object().expect("an object").clone(),
        created_at: "2026-08-20T12:00:00Z".parse::<Timestamp>().expect("a time"),
    };
    rig.store.add_to_inbox(&[row]).await.expect("told");
}

fn numbers(page: &Value) -> Vec<String> {
    let rows = page["notifications"].as_array().expect("a list");
    let number = |row: &Value| row["metadata"]["updated_tags"][0].as_str().expect("a number").to_owned();
    rows.iter().map(number).collect()
}

#[tokio::test]
async fn a_user_sees_its_own_and_those_of_organizations_it_owns_newest_first() {
    let rig = rig().await;
    for (number, kind, name) in [
        (1, "user", "ann"),
        (2, "org", "acme"),
        (3, "user", "bob"),
        (4, "org", "beta"),
        (5, "user", "ann"),
        (6, "team", "acme/dev"),
    ] {
        tell(&rig, number, kind, name).await;
    }
    let (ann, bob) = (As::automation(&rig, "ann").await, As::automation(&rig, "bob").await);
    let page = json_of(&ann.get(ALL).await, 200);
    assert_eq!(
        (numbers(&page), &page["additional"]),
        (vec!["5".into(), "4".into(), "2".into(), "1".into()], &json!(false))
    );
    let shown = &page["notifications"][1];
    let expected = json!({
        "id": shown["id"], "organization": "beta", "kind": "repo_push", "created": "Thu, 20 Aug 2026 12:00:00 -0000",
        "metadata": {"repository": "acme/api", "updated_tags": ["4"]}, "dismissed": false,
    });
    assert_eq!(*shown, expected);
    assert_eq!(page["notifications"][0]["organization"], Value::Null);
    assert_eq!(
        numbers(&bob.get(ALL).await.json()),
        ["6", "3"],
        "a member's own and its team's, not the owners'"
    );
    let eve = As::automation(&rig, "eve").await;
    assert_eq!(json_of(&eve.get(ALL).await, 200), json!({"notifications": [], "additional": false}));
    assert_eq!(
        json_of(&rig.get(ALL).await, 200),
        json!({"notifications": [], "additional": false}),
        "nobody's"
    );
}

#[tokio::test]
async fn pages_leave_nothing_out_and_the_first_is_called_0_and_1() {
    let rig = rig().await;
    for number in 0..12 {
        let (kind, name) = if number % 3 == 0 { ("org", "acme") } else { ("user", "ann") };
        tell(&rig, number, kind, name).await;
    }
    let ann = As::automation(&rig, "ann").await;
    let page = async |query: &str| json_of(&ann.get(&format!("{ALL}{query}")).await, 200);
    let usual = page("").await;
    assert_eq!((numbers(&usual).len(), &usual["additional"]), (5, &json!(true)));
    assert_eq!(page("?page=0").await, page("?page=1").await);
    let mut found = Vec::new();
    for number in 1.. {
        let page = page(&format!("?page={number}&limit=4")).await;
        found.extend(numbers(&page));
        if page["additional"] == false {
            break;
        }
    }
    let expected: Vec<String> = (0..12).rev().map(|number: u32| number.to_string()).collect();
    assert_eq!(found, expected);
    assert_eq!(numbers(&page("?limit=1000000").await).len(), 12);
    for bad in ["?page=x", "?limit=-1", "?page=4000000000"] {
        quay_problem(&ann.get(&format!("{ALL}{bad}")).await, 400, "invalid_request");
    }
}

#[tokio::test]
async fn what_is_dismissed_is_listed_no_more_until_it_is_put_back() {
    let rig = rig().await;
    tell(&rig, 1, "org", "acme").await;
    tell(&rig, 2, "user", "ann").await;
    let (ann, bob) = (As::automation(&rig, "ann").await, As::automation(&rig, "bob").await);
    let row = json_of(&ann.get(ALL).await, 200)["notifications"][1].clone();
    let one = format!("{ALL}/{}", row["id"].as_str().expect("an id"));
    assert_eq!(json_of(&ann.get(&one).await, 200), row);
    let mut away = row.clone();
    away["dismissed"] = true.into();
    assert_eq!(json_of(&ann.send("PUT", &one, Some(&json!({"dismissed": true}))).await, 200), away);
    assert_eq!(numbers(&ann.get(ALL).await.json()), ["2"]);
    assert_eq!(json_of(&ann.get(&one).await, 200), away, "still there, dismissed");
    let back = ann.send("PUT", &one, Some(&json!({}))).await;
    assert_eq!(json_of(&back, 200), row, "without a word it is put back");
    for (body, expected) in [
        (json!({"dismissed": "yes"}), "'yes' is not of type 'boolean'"),
        (json!({"dismissed": 1}), "1 is not of type 'boolean'"),
        (json!([]), "[] is not of type 'object'"),
    ] {
        let detail = quay_problem(&ann.send("PUT", &one, Some(&body)).await, 400, "invalid_request");
        assert_eq!(detail.lines().next(), Some(expected));
    }
    for path in [one.clone(), format!("{ALL}/{UNKNOWN}"), format!("{ALL}/x")] {
        quay_problem(&bob.get(&path).await, 404, "not_found");
        quay_problem(&bob.send("PUT", &path, Some(&json!({"dismissed": true}))).await, 404, "not_found");
    }
    assert_eq!(json_of(&ann.get(&one).await, 200), row, "nobody else's business");
    let answer = rig.raw("PUT", &one, &[("authorization", &ann.authorization), JSON], "").await;
    quay_problem(&answer, 400, "invalid_request");
}
