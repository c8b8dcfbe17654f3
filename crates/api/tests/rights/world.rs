//! Who asks, by which credential, and what the routes are about.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bellbuoy_domain::{
    AccountKind, AccountName, AttemptRecord, DeliveryId, DeliveryState, FannedOut, Grantee, Kind,
    NamespaceName, Notification, NotificationId, NotificationState, PlannedDelivery, Record, RepositoryName,
    RepositoryRole, Scope, TeamName, TeamRole, TokenScope, TokenScopes, WIRE_VERSION,
};
use bellbuoy_store::{Account, DeadLetter, InboxRow, Permission, Repository, SeenEvent, Store, Team, Token};
use jiff::{SignedDuration, Timestamp};
use ring::digest::{SHA256, digest};
use serde_json::{Map, json};
use uuid::Uuid;

use crate::{
    common::{TOKEN, push_event, registry},
    table::{ALIKE, ROLES},
};

/// What the roles meet.
pub(crate) struct Made {
    delivery: [DeliveryId; 4],
    item: Uuid,
}

const NUMBERS: [(&str, u128); 4] = [("R", 1), ("N", 2), ("G", 3), ("A", 4)];
const LETTERS: [(&str, u128); 3] = [("LR", 11), ("LN", 12), ("LX", 13)];
const ADMINS_TOKEN: u128 = 21;

impl Made {
    pub(crate) fn path(&self, path: &str) -> String {
        let mut named: Vec<(String, Uuid)> = Vec::new();
        for (index, (word, number)) in NUMBERS.iter().enumerate() {
            named.push(((*word).to_owned(), Uuid::from_u128(*number)));
            named.push((format!("D{word}"), self.delivery[index].as_uuid()));
        }
        named.extend(LETTERS.iter().map(|(word, number)| ((*word).to_owned(), Uuid::from_u128(*number))));
        named.push(("T".to_owned(), Uuid::from_u128(ADMINS_TOKEN)));
        named.push(("I".to_owned(), self.item));
        let is_end = |text: &str| text.is_empty() || text.starts_with('/');
        for (word, id) in &named {
            for before in ["/", "notification="] {
                let wanted = format!("{before}{word}");
                if let Some(at) = path.find(&wanted)
                    && is_end(&path[at + wanted.len()..])
                {
                    return path.replacen(&wanted, &format!("{before}{id}"), 1);
                }
            }
        }
        path.to_owned()
    }
}

pub(crate) fn account_name(text: &str) -> AccountName {
    AccountName::parse(text).expect("a name")
}

fn namespace(text: &str) -> NamespaceName {
    NamespaceName::parse(text).expect("a name")
}

fn repository(text: &str) -> RepositoryName {
    RepositoryName::parse(text).expect("a name")
}

fn scopes() -> [Scope; 4] {
    let namespace = |name: &str| Scope::Namespace(name.into());
    [Scope::Repository(repository("acme/api")), namespace("acme"), Scope::Registry, namespace("admin")]
}

pub(crate) fn secret(role: &str) -> String {
    // Of the form that tokens have, so that it is looked up.
    format!("bbt_{role:x<43}")
}

pub(crate) fn hash(token: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    bytes
}

pub(crate) fn token(id: Uuid, account: Option<&str>, scope: TokenScope) -> Token {
    Token {
        id,
        title: "test".into(),
        account: account.map(account_name),
        scopes: TokenScopes::new([scope]),
        created_by: "test".into(),
        created_at: Timestamp::UNIX_EPOCH,
        expires_at: None,
        last_used_at: None,
    }
}

async fn add_account(store: &Store, name: &str, kind: AccountKind) {
    let account = Account {
        name: account_name(name),
        id: Uuid::new_v4(),
        kind,
        email: None,
        email_verified: false,
        superuser: name == "superuser",
        enabled: true,
        created_at: Timestamp::UNIX_EPOCH,
    };
    store.put_account(&account).await.expect("put");
}

async fn add_owners(store: &Store, organization: &str, owner: &str) {
    add_account(store, organization, AccountKind::Organization).await;
    let team = Team {
        organization: namespace(organization),
        name: TeamName::parse("owners").expect("a name"),
        role: TeamRole::Admin,
    };
    store.put_team(&team).await.expect("put");
    store.add_member(&team.organization, &team.name, &account_name(owner)).await.expect("added");
}

/// Everybody, and the tokens that they ask with.
pub(crate) async fn fill(store: &Store) {
    // Its robots belong to it.
    add_account(store, "acme", AccountKind::Organization).await;
    let others = ALIKE.iter().map(|(role, _)| role);
    for (place, role) in ROLES
        .iter()
        .chain(others)
        .enumerate()
        .filter(|(_, role)| !["anonymous", "operator", "registry", "cookie"].contains(role))
    {
        let (account, scope) = match *role {
            "robot" => (Some("acme+ci"), TokenScope::Superuser),
            "narrow" => (Some("admin"), TokenScope::Account),
            "producer" => (None, TokenScope::Publish),
            "metrics" => (None, TokenScope::Metrics),
            role => (Some(role), TokenScope::Superuser),
        };
        if let Some(name) = account {
            let kind = if *role == "robot" { AccountKind::Robot } else { AccountKind::User };
            add_account(store, name, kind).await;
        }
        let id = Uuid::from_u128(100 + place as u128);
        store.create_token(&token(id, account, scope), &hash(&secret(role))).await.expect("created");
    }
    add_owners(store, "acme", "owner").await;
    add_owners(store, "other", "neighbour").await;
    for (team, member, role) in [
        ("dev", "writer", TeamRole::Member),
        ("x", "owner", TeamRole::Member),
        ("makers", "creator", TeamRole::Creator),
    ] {
        let name = TeamName::parse(team).expect("a name");
        let team = Team { organization: namespace("acme"), name, role };
        store.put_team(&team).await.expect("put");
        store.add_member(&team.organization, &team.name, &account_name(member)).await.expect("added");
    }
    for name in ["acme/api", "acme/open", "other/x"] {
        let public = name == "acme/open";
        let repository = Repository { name: repository(name), public, created_at: Timestamp::UNIX_EPOCH };
        store.put_repository(&repository).await.expect("put");
    }
    for (grantee, role) in [("acme+ci", RepositoryRole::Read), ("admin", RepositoryRole::Admin)] {
        grant(store, grantee, role).await;
    }
}

async fn grant(store: &Store, grantee: &str, role: RepositoryRole) {
    let permission = Permission { grantee: Grantee::parse(grantee).expect("one"), role };
    store.grant(&repository("acme/api"), &permission).await.expect("granted");
}

fn notification(number: u128, scope: Scope) -> Notification {
    Notification {
        id: Uuid::from_u128(number).into(),
        title: None,
        scope,
        kinds: vec![Kind::RepoPush],
        event_config: Map::new(),
        method: "webhook".into(),
        config: json!({"url": "https://ci.example.com/"}).as_object().expect("an object").clone(),
        secret: None,
        format: "quay".into(),
        retry: None,
        state: NotificationState::Active,
        state_reason: None,
        failures: 0,
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
        author: None,
        succeeded_at: None,
    }
}

/// Puts what the routes are about back to where it was.
pub(crate) async fn restore(store: &Store) -> Made {
    let at = Timestamp::UNIX_EPOCH;
    store.delete_repository(&repository("acme/new")).await.expect("answered");
    let x = TeamName::parse("x").expect("a name");
    store.remove_member(&namespace("acme"), &x, &account_name("stranger")).await.expect("answered");
    let old = Repository { name: repository("acme/old"), public: false, created_at: at };
    store.put_repository(&old).await.expect("put");
    grant(store, "reader", RepositoryRole::Read).await;
    grant(store, "acme/dev", RepositoryRole::Write).await;
    sign_in(store).await;
    let event = "of-repository";
    let source = "registry.example.com";
    let body = push_event(event).to_string().into_bytes();
    let seen = SeenEvent {
        source: source.into(),
        id: event.into(),
        kind: Kind::RepoPush,
        subject: "acme/api".into(),
        message: Uuid::nil(),
        accepted_at: at,
        body,
    };
    store.admit_events(&[seen], Duration::from_secs(1)).await.expect("admitted");
    let mut delivery = [DeliveryId::from(Uuid::nil()); 4];
    for (index, ((_, number), scope)) in NUMBERS.iter().zip(scopes()).enumerate() {
        let notification = notification(*number, scope);
        store.delete_notification(notification.id).await.expect("answered");
        store.create_notification(&notification).await.expect("created");
        delivery[index] = DeliveryId::derive(source, event, notification.id);
        let records = delivered(source, event, delivery[index], notification.id, at);
        store.record(&records, 100).await.expect("recorded");
        store.free_sends(&[(delivery[index], 2)]).await.expect("freed");
    }
    let [of_repository, of_namespace] =
        [1, 2].map(|number| Some(NotificationId::from(Uuid::from_u128(number))));
    for ((_, number), of) in LETTERS.iter().zip([of_repository, of_namespace, None]) {
        let letter = DeadLetter {
            id: Uuid::from_u128(*number),
            origin: "ingest.distribution".into(),
            reason: "undecodable".into(),
            detail: String::new(),
            delivery: None,
            notification: of,
            method: None,
            subject: None,
            attempts: 0,
            body: b"?".to_vec(),
            died_at: at,
        };
        store.archive_dead_letters(&[letter]).await.expect("archived");
    }
    let own = token(Uuid::from_u128(ADMINS_TOKEN), Some("admin"), TokenScope::Account);
    store.create_token(&own, &hash("of nobody")).await.expect("created");
    let told = InboxRow {
        delivery: delivery[0],
        target_kind: "user".into(),
        target: "admin".into(),
        kind: Kind::RepoPush.into(),
        metadata: Map::new(),
        created_at: at,
    };
    store.add_to_inbox(&[told]).await.expect("added");
    let item = store.inbox("user", "admin", None, 1).await.expect("a page").rows[0].id;
    Made { delivery, item }
}

/// The admin's cookie is of a login again, whatever became of it.
async fn sign_in(store: &Store) {
    let (now, known) = (Timestamp::now(), hash(&cookie()));
    let (admin, password) = (account_name("admin"), "$argon2id$...");
    store.set_password(&admin, Some(password)).await.expect("set");
    let admin = store.account(&admin).await.expect("read").expect("there");
    let end = now + SignedDuration::from_hours(1);
    assert!(store.begin_session(&admin, password, &known, now, end).await.expect("answered"));
}

fn delivered(
    source: &str,
    event: &str,
    delivery: DeliveryId,
    notification: NotificationId,
    at: Timestamp,
) -> [Record; 2] {
    let planned = PlannedDelivery { delivery, notification, method: "webhook".into() };
    let fanned_out = FannedOut {
        source: source.into(),
        event: event.into(),
        kind: Kind::RepoPush,
        subject: "acme/api".into(),
        accepted_at: at,
        deliveries: vec![planned],
    };
    // Later than any resend of an earlier round told.
    let attempt = AttemptRecord {
        delivery,
        notification,
        method: "webhook".into(),
        source: source.into(),
        event: event.into(),
        kind: Kind::RepoPush,
        subject: "acme/api".into(),
        accepted_at: at,
        attempt: 1,
        started_at: at + SignedDuration::from_secs(1),
        duration_ms: 1,
        outcome: "delivered".into(),
        cause: None,
        status: Some(200),
        state: DeliveryState::Delivered,
        next_due_at: None,
        on_probation: false,
    };
    [
        Record { v: WIRE_VERSION, fanned_out: Some(fanned_out), attempt: None },
        Record { v: WIRE_VERSION, fanned_out: None, attempt: Some(attempt) },
    ]
}

pub(crate) fn credential(role: &str) -> Option<String> {
    match role {
        "anonymous" => None,
        "operator" => Some(format!("Bearer {TOKEN}")),
        "registry" => {
            let header = json!({"alg": "EdDSA", "kid": "ed25519"});
            let claims = registry::claims("acme/api", &["*"]);
            Some(format!("Bearer {}", registry::sign("ed25519", &header, &claims)))
        }
        role => Some(format!("Bearer {}", secret(role))),
    }
}

/// The cookie of the admin's login.
fn cookie() -> String {
    format!("bbs_{:x<43}", "cookie")
}

/// The headers by which a role shows who it is.
pub(crate) fn headers_of(role: &str) -> Vec<(&'static str, String)> {
    if role != "cookie" {
        return credential(role).into_iter().map(|credential| ("authorization", credential)).collect();
    }
    let cookie = cookie();
    let word = BASE64_URL_SAFE_NO_PAD.encode(hash(&format!("csrf\n{cookie}")));
    vec![("cookie", format!("bellbuoy_session={cookie}")), ("x-csrf-token", word)]
}
