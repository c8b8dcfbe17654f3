use bellbuoy_domain::{
    AccountKind, AccountName, Grantee, InAppKind, Kind, NamespaceName, Notification, NotificationState,
    RepositoryName, RepositoryRole, Scope, TeamName, TeamRole,
};
use bellbuoy_store::{Account, Cursor, InboxItem, InboxRow, Permission, Repository, Store, StoreError, Team};
use serde_json::json;
use uuid::Uuid;

use crate::sample::{AWKWARD, at, delivery_id, map, notification};

fn row(number: u128, target: &str) -> InboxRow {
    InboxRow {
        delivery: delivery_id("1", number),
        target_kind: "user".into(),
        target: target.into(),
        kind: Kind::RepoPush.into(),
        metadata: map(json!({"number": number.to_string(), AWKWARD: [AWKWARD]})),
        created_at: at(0),
    }
}

async fn add(store: &Store, rows: &[InboxRow]) {
    store.add_to_inbox(rows).await.expect("added");
}

pub(crate) async fn a_delivery_tells_a_target_once(store: Store) {
    let team = InboxRow { target_kind: "team".into(), ..row(1, "ann") };
    add(&store, &[]).await;
    add(&store, &[row(1, "ann"), row(1, "ann"), row(1, "bob"), team]).await;
    let item = store.inbox("user", "ann", None, 10).await.expect("a page").rows.remove(0);
    assert!(store.set_dismissed("user", "ann", item.id, true).await.expect("dismissed"));
    add(&store, &[InboxRow { created_at: at(9), ..row(1, "ann") }]).await;
    let again = store.inbox("user", "ann", None, 10).await.expect("a page");
    assert_eq!(again.rows.len(), 1);
    assert_eq!((again.rows[0].id, again.rows[0].dismissed), (item.id, true), "still put away");
    assert_eq!(
        (item.delivery, item.kind, item.created_at),
        (delivery_id("1", 1), Kind::RepoPush.into(), at(0))
    );
    assert_eq!((&item.metadata, item.dismissed), (&row(1, "ann").metadata, false));
    for (kind, target) in [("user", "bob"), ("team", "ann")] {
        assert_eq!(store.inbox(kind, target, None, 10).await.expect("a page").rows.len(), 1);
    }
}

pub(crate) async fn a_target_sees_its_own_newest_first(store: Store) {
    for number in 0..7 {
        add(&store, &[row(number, "ann"), row(number + 100, "bob")]).await;
    }
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = store.inbox("user", "ann", after.as_ref(), 3).await.expect("a page");
        found.extend(page.rows.into_iter().map(|item| item.metadata["number"].to_string()));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found, ["\"6\"", "\"5\"", "\"4\"", "\"3\"", "\"2\"", "\"1\"", "\"0\""]);
    assert_eq!(store.inbox("user", "nobody", None, 10).await.expect("a page").rows, []);
}

pub(crate) async fn several_targets_are_one_list_and_each_item_says_whose_it_is(store: Store) {
    for number in 0..4 {
        let org = InboxRow { target_kind: "org".into(), ..row(number, "acme") };
        add(&store, &[row(number, "ann"), org, row(number, "bob")]).await;
    }
    let targets = [("user", "ann"), ("org", "acme")];
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = store.inbox_of(&targets, after.as_ref(), 3).await.expect("a page");
        assert!(page.rows.len() <= 3);
        let told =
            |item: InboxItem| format!("{} {} {}", item.metadata["number"], item.target_kind, item.target);
        found.extend(page.rows.into_iter().map(told));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let expected = (0..4).rev().flat_map(|n| [format!("\"{n}\" org acme"), format!("\"{n}\" user ann")]);
    assert_eq!(found, expected.collect::<Vec<_>>());
    assert_eq!(store.inbox_of(&[], None, 10).await.expect("a page").rows, []);
}

pub(crate) async fn only_the_target_itself_dismisses(store: Store) {
    add(&store, &[row(1, "ann")]).await;
    let id = store.inbox("user", "ann", None, 10).await.expect("a page").rows[0].id;
    for (kind, target, id) in [("user", "bob", id), ("team", "ann", id), ("user", "ann", Uuid::nil())] {
        assert!(!store.set_dismissed(kind, target, id, true).await.expect("answered"));
    }
    assert!(store.set_dismissed("user", "ann", id, true).await.expect("dismissed"));
    assert!(store.set_dismissed("user", "ann", id, false).await.expect("back"));
    assert!(!store.inbox("user", "ann", None, 10).await.expect("a page").rows[0].dismissed);
}

pub(crate) async fn what_several_targets_have_not_put_away_is_one_list_without_gaps(store: Store) {
    let org = |number, name: &str| InboxRow { target_kind: "org".into(), ..row(number, name) };
    for number in 0..3 {
        add(&store, &[row(number, "ann"), org(number + 10, "acme"), row(number + 20, "bob")]).await;
    }
    let targets = [("user", "ann"), ("org", "acme"), ("team", "acme")];
    let page = async |skip, most| -> Vec<(String, String)> {
        let rows = store.undismissed(&targets, skip, most).await.expect("a page");
        let number = |item: &InboxItem| item.metadata["number"].as_str().expect("a number").to_owned();
        rows.into_iter()
            .map(|item| (number(&item), format!("{}/{}", item.target_kind, item.target)))
            .collect()
    };
    let all = page(0, 10).await;
    let expected = [
        ("12", "org/acme"),
        ("2", "user/ann"),
        ("11", "org/acme"),
        ("1", "user/ann"),
        ("10", "org/acme"),
        ("0", "user/ann"),
    ];
    assert_eq!(all, expected.map(|(number, target)| (number.to_owned(), target.to_owned())));
    let pages = [page(0, 4).await, page(4, 4).await, page(8, 4).await].concat();
    assert_eq!(pages, all);

    let item = store.undismissed(&targets, 0, 1).await.expect("a page").remove(0);
    assert!(store.set_dismissed("org", "acme", item.id, true).await.expect("dismissed"));
    assert_eq!(page(0, 10).await, all[1..]);
    let kept = store.inbox_item(item.id).await.expect("answered").expect("it");
    assert_eq!(kept, InboxItem { dismissed: true, ..item });
    assert!(store.inbox_item(Uuid::nil()).await.expect("answered").is_none());
    assert!(store.undismissed(&[], 0, 5).await.expect("a page").is_empty());
}

pub(crate) async fn a_foreign_cursor_is_refused(store: Store) {
    let answer = store.inbox("user", "ann", Some(&Cursor::from("d1")), 10).await;
    assert!(matches!(answer, Err(StoreError::BadCursor { .. })));
}

fn name(text: &str) -> AccountName {
    AccountName::parse(text).expect("a name")
}

async fn add_account(store: &Store, text: &str, kind: AccountKind, change: impl FnOnce(&mut Account)) {
    let mut account = Account {
        name: name(text),
        id: Uuid::new_v4(),
        kind,
        email: None,
        email_verified: false,
        superuser: false,
        enabled: true,
        created_at: at(0),
    };
    change(&mut account);
    store.put_account(&account).await.expect("put");
}

async fn add_team(store: &Store, team: &str, role: TeamRole, members: &[&str]) {
    let team = Team {
        organization: NamespaceName::parse("acme").expect("a name"),
        name: TeamName::parse(team).expect("a name"),
        role,
    };
    store.put_team(&team).await.expect("put");
    for member in members {
        store.add_member(&team.organization, &team.name, &name(member)).await.expect("added");
    }
}

/// Who has been told what, of all that there are.
async fn told(store: &Store) -> Vec<(String, Vec<InboxItem>)> {
    let mut told = Vec::new();
    for account in store.accounts(None, None, 100).await.expect("accounts") {
        for kind in ["user", "org"] {
            let items = store.inbox(kind, account.name.as_str(), None, 10).await.expect("a page").rows;
            if !items.is_empty() {
                told.push((account.name.to_string(), items));
            }
        }
    }
    told
}

pub(crate) async fn whoever_looks_after_a_notification_is_told_once_that_it_was_disabled(store: Store) {
    for user in ["ann", "bob", "cy", "dee", "eve", "root"] {
        add_account(&store, user, AccountKind::User, |account| account.superuser = user == "root").await;
    }
    add_account(&store, "off", AccountKind::User, |account| account.enabled = false).await;
    add_account(&store, "acme", AccountKind::Organization, |_| {}).await;
    add_account(&store, "acme+ci", AccountKind::Robot, |_| {}).await;
    add_team(&store, "owners", TeamRole::Admin, &["ann", "off", "acme+ci"]).await;
    add_team(&store, "dev", TeamRole::Member, &["bob", "ann"]).await;
    add_team(&store, "ops", TeamRole::Member, &["eve"]).await;
    let api = RepositoryName::parse("acme/api").expect("a name");
    let repository = Repository { name: api.clone(), public: true, created_at: at(0) };
    store.put_repository(&repository).await.expect("put");
    for (grantee, role) in [
        ("acme/dev", RepositoryRole::Admin),
        ("cy", RepositoryRole::Admin),
        ("acme+ci", RepositoryRole::Admin),
        ("dee", RepositoryRole::Write),
        ("acme/ops", RepositoryRole::Read),
    ] {
        let grantee = Grantee::parse(grantee).expect("a grantee");
        store.grant(&api, &Permission { grantee, role }).await.expect("granted");
    }
    let wish = Notification {
        title: Some("deploy".into()),
        config: map(json!({"url": "https://secret.example/"})),
        ..notification(1)
    };
    store.create_notification(&wish).await.expect("created");

    for round in 1..=2_usize {
        assert!(store.disable_notification(wish.id, "answered 410", at(7)).await.expect("disabled"));
        assert!(!store.disable_notification(wish.id, "failing", at(8)).await.expect("is disabled already"));
        let told = told(&store).await;
        let names: Vec<&str> = told.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            ["ann", "bob", "cy"],
            "owners of the namespace and administrators of the repository"
        );
        for (_, items) in &told {
            assert_eq!(items.len(), round, "one for each disabling");
            assert_eq!((items[0].kind, items[0].created_at), (InAppKind::NotificationDisabled, at(7)));
            let expected = json!({"repository": "acme/api", "notification_uuid": wish.id.to_string(),
                "title": "deploy", "method": "webhook", "message": "answered 410"});
            assert_eq!(
                serde_json::Value::from(items[0].metadata.clone()),
                expected,
                "and nothing of its settings"
            );
        }
        assert!(store.reset_failures(wish.id, at(8)).await.expect("reset"));
    }
    let found = store.notification(wish.id).await.expect("read").expect("there");
    assert_eq!(found.state, NotificationState::Probation);
}

pub(crate) async fn where_nobody_looks_after_it_the_superusers_are_told(store: Store) {
    add_account(&store, "ann", AccountKind::User, |_| {}).await;
    add_account(&store, "root", AccountKind::User, |account| account.superuser = true).await;
    add_account(&store, "rest", AccountKind::User, |account| {
        (account.superuser, account.enabled) = (true, false);
    })
    .await;
    for (number, scope) in
        [(1, Scope::Registry), (2, Scope::Namespace("nobody".into())), (3, Scope::Namespace("ann".into()))]
    {
        let wish = Notification { scope, ..notification(number) };
        store.create_notification(&wish).await.expect("created");
        assert!(store.disable_notification(wish.id, "gone", at(0)).await.expect("disabled"));
    }
    let told = told(&store).await;
    let counts: Vec<(&str, usize)> = told.iter().map(|(name, items)| (name.as_str(), items.len())).collect();
    assert_eq!(counts, [("ann", 1), ("root", 2)]);
    assert_eq!(told[0].1[0].metadata["namespace"], "ann");
    assert!(!told[1].1[1].metadata.contains_key("namespace"));
}
