//! What an account finds in its in-app area, and that it is nobody else's.

mod common;

use bellbuoy_domain::{AccountName, InAppKind, Kind, TokenScope, TokenScopes};
use bellbuoy_store::{InboxRow, Token};
use common::{JSON, Rig, problem};
use jiff::Timestamp;
use ring::digest::{SHA256, digest};
use serde_json::{Map, Value, json};
use uuid::Uuid;

const PEOPLE: [&str; 4] = ["ann", "bob", "cy", "eve"];

fn secret(name: &str) -> String {
    format!("bbt_{name:x<43}")
}

/// `ann` and `bob` own `acme`, where `cy` is a member of a team; `eve` is nobody there.
async fn rig() -> Rig {
    let rig = Rig::start().await;
    let users: Vec<Value> = PEOPLE.iter().map(|name| json!({"name": name})).collect();
    let document = json!({"version": 1, "users": users, "organizations": [
        {"name": "acme", "owners": ["ann", "bob"], "teams": [{"name": "dev", "members": ["cy", "ann"]}]}]});
    assert_eq!(rig.post("/v1/directory/import", &document).await.status, 200);
    for name in PEOPLE {
        let token = Token {
            id: Uuid::new_v4(),
            title: name.into(),
            account: Some(AccountName::parse(name).expect("a name")),
            scopes: TokenScopes::new([TokenScope::Account]),
            created_by: "test".into(),
            created_at: Timestamp::UNIX_EPOCH,
            expires_at: None,
            last_used_at: None,
        };
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, secret(name).as_bytes()).as_ref());
        rig.store.create_token(&token, &hash).await.expect("created");
    }
    rig
}

async fn tell(rig: &Rig, number: u128, kind: &str, target: &str) {
    let row = InboxRow {
        delivery: Uuid::from_u128(number).into(),
        target_kind: kind.into(),
        target: target.into(),
        kind: Kind::RepoPush.into(),
        metadata: Map::new(),
        created_at: Timestamp::UNIX_EPOCH,
    };
    rig.store.add_to_inbox(&[row]).await.expect("added");
}

async fn ask(rig: &Rig, who: &str, method: &str, path: &str, body: &Value) -> bellbuoy_testkit::http::Answer {
    let authorization = format!("Bearer {}", secret(who));
    rig.raw(method, path, &[("authorization", &authorization), JSON], body.to_string()).await
}

/// Each item that somebody reads: its delivery's number, whose it is, and whether it was put away.
async fn read(rig: &Rig, who: &str, query: &str) -> Vec<(u128, String, bool)> {
    let page = ask(rig, who, "GET", &format!("/v1/inbox{query}"), &Value::Null).await;
    assert_eq!(page.status, 200, "{}", page.text());
    let item = |item: &Value| {
        let delivery: Uuid = item["delivery"].as_str().and_then(|id| id.parse().ok()).expect("an id");
        let target = item["target"].as_str().expect("a target").to_owned();
        (delivery.as_u128(), target, item["dismissed"].as_bool().expect("a word"))
    };
    page.json()["items"].as_array().expect("a list").iter().map(item).collect()
}

async fn id_of(rig: &Rig, kind: &str, target: &str) -> String {
    rig.store.inbox(kind, target, None, 1).await.expect("a page").rows[0].id.to_string()
}

#[tokio::test]
async fn an_account_reads_its_own_and_its_organizations_as_one_list_and_nothing_else() {
    let rig = rig().await;
    for (number, kind, target) in
        [(1, "user", "ann"), (2, "org", "acme"), (3, "user", "bob"), (4, "user", "ann"), (5, "user", "cy")]
    {
        tell(&rig, number, kind, target).await;
    }
    let item = |number, target: &str| (number, target.to_owned(), false);
    let of_ann = [item(4, "user/ann"), item(2, "org/acme"), item(1, "user/ann")];
    assert_eq!(read(&rig, "ann", "").await, of_ann);
    assert_eq!(read(&rig, "bob", "").await, [item(3, "user/bob"), item(2, "org/acme")]);
    assert_eq!(read(&rig, "cy", "").await, [item(5, "user/cy")], "a member does not own");
    assert_eq!(read(&rig, "eve", "").await, []);
    assert_eq!(read(&rig, "ann", "?target=org/acme").await, [item(2, "org/acme")]);
    for (who, target) in
        [("cy", "org/acme"), ("eve", "user/ann"), ("eve", "team/acme/dev"), ("eve", "user/nobody")]
    {
        problem(&ask(&rig, who, "GET", &format!("/v1/inbox?target={target}"), &Value::Null).await, 404);
    }
    let mut collected = Vec::new();
    let mut query = "?limit=1".to_owned();
    loop {
        collected.extend(read(&rig, "ann", &query).await);
        let page = ask(&rig, "ann", "GET", &format!("/v1/inbox{query}"), &Value::Null).await.json();
        let Some(next) = page["next"].as_str() else { break };
        query = format!("?limit=1&after={next}");
    }
    assert_eq!(collected, of_ann, "page by page as well");
}

#[tokio::test]
async fn nobody_puts_away_what_is_anothers_nor_learns_that_it_is_there() {
    let rig = rig().await;
    tell(&rig, 1, "user", "ann").await;
    tell(&rig, 1, "user", "cy").await;
    tell(&rig, 2, "org", "acme").await;
    let (of_ann, of_acme) = (id_of(&rig, "user", "ann").await, id_of(&rig, "org", "acme").await);
    let away = json!({"dismissed": true});
    let put = async |who: &str, id: &str| ask(&rig, who, "PUT", &format!("/v1/inbox/{id}"), &away).await;
    let nothing = problem(&put("eve", &Uuid::nil().to_string()).await, 404);
    for (who, id) in
        [("eve", &of_ann), ("eve", &of_acme), ("cy", &of_acme), ("bob", &of_ann), ("cy", &of_ann)]
    {
        let told = problem(&put(who, id).await, 404);
        assert_eq!(told.replace(id.as_str(), ""), nothing.replace(&Uuid::nil().to_string(), ""), "{who}");
    }
    assert_eq!(put("ann", &of_ann).await.status, 204);
    assert!(read(&rig, "ann", "").await.contains(&(1, "user/ann".to_owned(), true)));
    assert_eq!(read(&rig, "cy", "").await, [(1, "user/cy".to_owned(), false)], "each member's is its own");
    assert_eq!(put("bob", &of_acme).await.status, 204);
    assert!(read(&rig, "ann", "").await.contains(&(2, "org/acme".to_owned(), true)), "owners share it");
}

#[tokio::test]
async fn a_disabled_notification_is_told_of_in_words_that_name_it() {
    let rig = rig().await;
    let made = rig.webhook("acme/api").await;
    let id: Uuid = made["uuid"].as_str().and_then(|id| id.parse().ok()).expect("an id");
    let now = Timestamp::UNIX_EPOCH;
    assert!(
        rig.store
            .disable_notification(id.into(), "its receiver answered 410 Gone", now)
            .await
            .expect("disabled")
    );
    for owner in ["ann", "bob"] {
        let page = ask(&rig, owner, "GET", "/v1/inbox", &Value::Null).await.json();
        let items = page["items"].as_array().expect("a list");
        assert_eq!((items.len(), &items[0]["kind"]), (1, &json!(InAppKind::NotificationDisabled)), "{page}");
        assert_eq!(items[0]["metadata"]["message"], "its receiver answered 410 Gone");
        assert_eq!(items[0]["metadata"]["notification_uuid"], made["uuid"]);
        assert_eq!(items[0]["metadata"]["repository"], "acme/api");
    }
    assert_eq!(read(&rig, "cy", "").await, []);
}
