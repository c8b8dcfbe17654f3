use bellbuoy_domain::{
    AccountKind, AccountName, Grantee, NamespaceName, Notification, RepositoryName, RepositoryRole, Scope,
    TeamName, TeamRole, TokenScope, TokenScopes,
};
use bellbuoy_store::{
    Account, AuditEntry, AuditQuery, DirectoryDocument, DirectoryError, InboxRow, Permission, Put,
    Repository, Store, Team, Token,
};
use uuid::Uuid;

use crate::sample::{AWKWARD, at, delivery_id, map, notification, notification_id, repository};

fn name(text: &str) -> AccountName {
    AccountName::parse(text).expect("a name")
}

fn organization(text: &str) -> NamespaceName {
    NamespaceName::parse(text).expect("a name")
}

fn team_name(text: &str) -> TeamName {
    TeamName::parse(text).expect("a name")
}

fn repository_name(text: &str) -> RepositoryName {
    RepositoryName::parse(text).expect("a name")
}

fn account(text: &str, kind: AccountKind) -> Account {
    Account {
        name: name(text),
        id: Uuid::new_v5(&Uuid::NAMESPACE_URL, text.as_bytes()),
        kind,
        email: Some(format!("{text}@example.com")),
        email_verified: false,
        superuser: false,
        enabled: true,
        created_at: at(0),
    }
}

fn team(organization_name: &str, text: &str, role: TeamRole) -> Team {
    Team { organization: organization(organization_name), name: team_name(text), role }
}

fn grant(grantee: &str, role: RepositoryRole) -> Permission {
    Permission { grantee: Grantee::parse(grantee).expect("a grantee"), role }
}

fn known(text: &str) -> Repository {
    Repository { name: repository_name(text), public: false, created_at: at(0) }
}

/// `acme` with owner `ann`, developers `bob` and robot `acme+ci` who may write `acme/api`, and the stranger `eve`.
async fn fill(store: &Store) {
    for user in ["ann", "bob", "eve"] {
        assert_eq!(store.put_account(&account(user, AccountKind::User)).await.expect("put"), Put::Created);
    }
    store.put_account(&account("acme", AccountKind::Organization)).await.expect("put");
    store.put_account(&account("acme+ci", AccountKind::Robot)).await.expect("put");
    for (text, role, members) in
        [("owners", TeamRole::Admin, &["ann"][..]), ("dev", TeamRole::Member, &["bob", "acme+ci"])]
    {
        assert_eq!(store.put_team(&team("acme", text, role)).await.expect("put"), Put::Created);
        for member in members {
            let added = store.add_member(&organization("acme"), &team_name(text), &name(member)).await;
            assert_eq!(added.expect("added"), Put::Created);
        }
    }
    assert_eq!(store.put_repository(&known("acme/api")).await.expect("put"), Put::Created);
    let granted = store.grant(&repository_name("acme/api"), &grant("acme/dev", RepositoryRole::Write)).await;
    assert_eq!(granted.expect("granted"), Put::Created);
}

/// Something in every table of the directory, in those of tokens and the audit too.
pub(crate) async fn fill_every_table(store: &Store) {
    fill(store).await;
    store.request_email(&repository_name("acme/api"), AWKWARD, &[7; 32], at(0)).await.expect("noted");
    let account = Some(name("acme+ci"));
    let token = Token { account, expires_at: Some(at(9)), ..token(1, TokenScope::Publish) };
    store.audited(entry(1)).create_token(&token, &[7; 32]).await.expect("created");
}

fn token(number: u128, scope: TokenScope) -> Token {
    Token {
        id: Uuid::from_u128(number),
        title: AWKWARD.into(),
        account: None,
        scopes: TokenScopes::new([scope]),
        created_by: "admin".into(),
        created_at: at(0),
        expires_at: None,
        last_used_at: None,
    }
}

fn entry(number: u128) -> AuditEntry {
    AuditEntry {
        id: Uuid::from_u128(number),
        at: at(i64::try_from(number).expect("small")),
        actor: "ann".into(),
        address: Some("::1".into()),
        action: "token.create".into(),
        target: AWKWARD.into(),
        place: String::new(),
        details: map(serde_json::json!({ "title": AWKWARD })),
    }
}

fn wanted() -> AuditQuery {
    AuditQuery { actor: None, action: None, target: None, place: None, after: None, limit: 10 }
}

pub(crate) async fn a_token_is_found_by_its_hash_until_it_is_revoked_or_its_account_goes(store: Store) {
    fill(&store).await;
    let own = Token { account: Some(name("ann")), ..token(2, TokenScope::Account) };
    for (token, hash) in [(token(1, TokenScope::Publish), [1; 32]), (own.clone(), [2; 32])] {
        store.create_token(&token, &hash).await.expect("created");
        assert_eq!(store.token_by_hash(&hash).await.expect("read").as_ref(), Some(&token));
        assert_eq!(store.token(token.id).await.expect("read"), Some(token));
    }
    assert_eq!(store.token_by_hash(&[3; 32]).await.expect("read"), None);
    let nobodys = Token { account: Some(name("nobody")), ..token(3, TokenScope::Account) };
    let refused = store.create_token(&nobodys, &[3; 32]).await;
    assert!(matches!(refused, Err(DirectoryError::Missing { .. })), "{refused:?}");
    assert_eq!(store.token_by_hash(&[3; 32]).await.expect("read"), None);
    store.token_used(own.id, at(5)).await.expect("noted");
    let used = Token { last_used_at: Some(at(5)), ..own.clone() };
    assert_eq!(
        store.tokens(Some(&name("ann")), None, 10).await.expect("a page"),
        std::slice::from_ref(&used)
    );
    let first = store.tokens(None, None, 1).await.expect("a page");
    assert_eq!(store.tokens(None, Some(first[0].id), 10).await.expect("a page"), [used]);
    assert!(store.revoke_token(first[0].id).await.expect("revoked"));
    assert!(!store.revoke_token(first[0].id).await.expect("answered"));
    assert!(store.delete_account(&name("ann")).await.expect("deleted"));
    assert_eq!(store.tokens(None, None, 10).await.expect("a page"), []);
    assert_eq!(store.token_by_hash(&[2; 32]).await.expect("read"), None);
}

pub(crate) async fn a_change_is_written_down_with_who_made_it_and_no_change_is_not(store: Store) {
    let one = notification(1);
    store.audited(entry(1)).create_notification(&one).await.expect("created");
    store.audited(entry(2)).create_notification(&one).await.expect_err("taken");
    assert!(store.audited(entry(3)).reset_failures(one.id, at(0)).await.expect("reset"));
    assert!(store.audited(entry(4)).delete_notification(one.id).await.expect("deleted"));
    assert!(!store.audited(entry(5)).delete_notification(one.id).await.expect("answered"));
    assert!(!store.audited(entry(6)).revoke_token(Uuid::nil()).await.expect("answered"));
    store.note(AuditEntry { actor: "bob".into(), ..entry(7) }).await.expect("noted");
    store.note(entry(7)).await.expect("kept once");
    let page = store.audit(&wanted()).await.expect("a page");
    assert_eq!(page.rows[1..], [entry(4), entry(3), entry(1)]);
    assert_eq!((&*page.rows[0].actor, &page.next), ("bob", &None));
    let bobs = AuditQuery { actor: Some("bob".into()), ..wanted() };
    assert_eq!(store.audit(&bobs).await.expect("a page").rows.len(), 1);
    let none = AuditQuery { target: Some("x".into()), ..wanted() };
    assert_eq!(store.audit(&none).await.expect("a page").rows, []);
    let some = store.audit(&AuditQuery { limit: 3, ..wanted() }).await.expect("a page");
    let rest = store.audit(&AuditQuery { after: some.next, ..wanted() }).await.expect("a page");
    assert_eq!(rest.rows, [entry(1)]);
    assert_eq!(store.prune_audit(at(4), at(100), 10).await.expect("pruned"), 2);
    assert_eq!(store.audit(&wanted()).await.expect("a page").rows.len(), 2);
}

pub(crate) async fn a_disabling_is_not_undone_by_a_change_that_did_not_know_of_it(store: Store) {
    let was = notification(1);
    store.create_notification(&was).await.expect("created");
    let changed = Notification { title: Some("new".into()), updated_at: at(5), ..was.clone() };
    assert!(store.disable_notification(was.id, "gone", at(0)).await.expect("disabled"));
    assert!(!store.replace_notification(&changed, &was).await.expect("answered"));
    let known = store.notification(was.id).await.expect("read").expect("there");
    assert_eq!(known.state, bellbuoy_domain::NotificationState::Disabled);
    let later = Notification { title: Some("new".into()), updated_at: at(5), ..known.clone() };
    assert!(store.replace_notification(&later, &known).await.expect("answered"));
    assert!(!store.replace_notification(&later, &known).await.expect("answered"), "of another time");
}

fn document() -> DirectoryDocument {
    serde_json::from_value(serde_json::json!({
        "version": 1,
        "users": [{"name": "ann", "email": "ann@example.com"}, {"name": "bob"}],
        "organizations": [{"name": "acme", "owners": ["ann"], "teams": [
            {"name": "dev", "members": ["bob", "acme+ci"]}, {"name": "ops", "role": "creator"},
        ]}],
        "robots": [{"name": "acme+ci"}],
        "repositories": [{"name": "acme/api", "permissions": [
            {"grantee": "acme/dev", "role": "write"}, {"grantee": "bob", "role": "admin"},
        ], "emails": ["kim@example.com", "ops@example.com"]}],
    }))
    .expect("a document")
}

pub(crate) async fn an_import_ends_the_same_however_often_and_a_dry_run_keeps_nothing(store: Store) {
    let import = async |document: &DirectoryDocument, dry_run| {
        let changes = store.import_directory(document, at(0), dry_run).await.expect("imported");
        changes.iter().map(|one| format!("{} {} {}", one.action, one.what, one.name)).collect::<Vec<_>>()
    };
    let tried = import(&document(), true).await;
    assert_eq!(store.accounts(None, None, 10).await.expect("a page"), []);
    assert_eq!(import(&document(), false).await, tried);
    assert_eq!(tried.len(), 15, "{tried:?}");
    assert_eq!(import(&document(), false).await, [""; 0]);
    assert_eq!(role_in(&store, "ann", "acme").await, Some(TeamRole::Admin));
    assert_eq!(role_on(&store, "acme+ci", "acme/api").await, Some(RepositoryRole::Write));

    let api = repository_name("acme/api");
    assert!(store.email_confirmed(&api, "kim@example.com").await.expect("answered"));

    let mut less = document();
    less.repositories[0].emails.as_mut().expect("some").remove(0);
    less.organizations[0].teams.remove(1);
    less.organizations[0].teams[0].members = Some(vec![name("acme+ci")]);
    less.repositories[0].permissions.as_mut().expect("some").remove(1);
    let changes = import(&less, false).await;
    assert_eq!(
        changes,
        [
            "remove member acme/dev: bob",
            "remove permission acme/api: bob",
            "remove email acme/api: kim@example.com"
        ]
    );
    assert!(!store.email_confirmed(&api, "kim@example.com").await.expect("answered"));
    assert_eq!(
        store.teams(&organization("acme")).await.expect("read").len(),
        3,
        "what it does not name stays"
    );

    let mut bad = document();
    bad.users[0].superuser = true;
    bad.repositories[0].permissions.as_mut().expect("some")[0].grantee = Grantee::parse("x").expect("one");
    let refused = store.import_directory(&bad, at(0), false).await;
    assert!(matches!(refused, Err(DirectoryError::Missing { .. })), "{refused:?}");
    let ann = store.account(&name("ann")).await.expect("read").expect("there");
    assert!(!ann.superuser, "all or nothing");
}

async fn role_on(store: &Store, who: &str, what: &str) -> Option<RepositoryRole> {
    store.role_on(&name(who), &repository_name(what)).await.expect("answered")
}

async fn role_in(store: &Store, who: &str, what: &str) -> Option<TeamRole> {
    store.role_in(&name(who), what).await.expect("answered")
}

fn names(accounts: &[Account]) -> Vec<&str> {
    accounts.iter().map(|account| account.name.as_str()).collect()
}

pub(crate) async fn what_is_put_is_read_back_and_put_again_is_the_same(store: Store) {
    fill(&store).await;
    let ann = Account {
        email: Some(AWKWARD.into()),
        email_verified: true,
        superuser: true,
        enabled: false,
        ..account("ann", AccountKind::User)
    };
    assert_eq!(store.put_account(&ann).await.expect("put"), Put::Changed);
    let later = Account { id: Uuid::nil(), created_at: at(9), ..ann.clone() };
    assert_eq!(store.put_account(&later).await.expect("put"), Put::Same, "id and time stay");
    assert_eq!(store.account(&ann.name).await.expect("read").as_ref(), Some(&ann));
    assert_eq!(store.account_by_id(ann.id).await.expect("read"), Some(ann.clone()));
    let users = store.accounts(Some(AccountKind::User), Some("ann"), 10).await.expect("a page");
    assert_eq!(names(&users), ["bob", "eve"]);
    assert_eq!(names(&store.accounts(None, None, 3).await.expect("a page")), ["acme", "acme+ci", "ann"]);

    for (role, put) in [(TeamRole::Member, Put::Same), (TeamRole::Creator, Put::Changed)] {
        assert_eq!(store.put_team(&team("acme", "dev", role)).await.expect("put"), put);
    }
    let teams = store.teams(&organization("acme")).await.expect("read");
    assert_eq!(teams, [team("acme", "dev", TeamRole::Creator), team("acme", "owners", TeamRole::Admin)]);
    assert_eq!(store.teams_of(&name("bob")).await.expect("read"), teams[..1]);
    let one = store.team(&organization("acme"), &team_name("dev")).await.expect("read");
    assert_eq!(one.as_ref(), teams.first());
    let again = store.add_member(&organization("acme"), &team_name("dev"), &name("bob")).await;
    assert_eq!(again.expect("added"), Put::Same);

    assert_eq!(store.put_repository(&known("acme/api")).await.expect("put"), Put::Same);
    let public = Repository { public: true, ..known("acme/api") };
    assert_eq!(store.put_repository(&public).await.expect("put"), Put::Changed);
    let dev = grant("acme/dev", RepositoryRole::Write);
    let api = repository_name("acme/api");
    assert_eq!(store.grant(&api, &dev).await.expect("granted"), Put::Same);
    let stronger = Permission { role: RepositoryRole::Admin, ..dev };
    assert_eq!(store.grant(&api, &stronger).await.expect("granted"), Put::Changed);
    assert_eq!(store.permissions(&api).await.expect("read"), std::slice::from_ref(&stronger));
    assert!(store.revoke(&api, &stronger.grantee).await.expect("revoked"));
    assert!(!store.revoke(&api, &stronger.grantee).await.expect("revoked"));
}

pub(crate) async fn what_is_put_again_as_it_is_is_not_written_down(store: Store) {
    fill(&store).await;
    let again = store.audited(entry(1));
    let (acme, dev, api) = (organization("acme"), team_name("dev"), repository_name("acme/api"));
    for put in [
        again.put_account(&account("ann", AccountKind::User)).await.expect("put"),
        again.put_team(&team("acme", "dev", TeamRole::Member)).await.expect("put"),
        again.add_member(&acme, &dev, &name("bob")).await.expect("added"),
        again.put_repository(&known("acme/api")).await.expect("put"),
        again.grant(&api, &grant("acme/dev", RepositoryRole::Write)).await.expect("granted"),
    ] {
        assert_eq!(put, Put::Same);
    }
    assert_eq!(store.audit(&wanted()).await.expect("a page").rows, []);
    let changed = store.audited(entry(2)).put_team(&team("acme", "dev", TeamRole::Creator)).await;
    assert_eq!(changed.expect("put"), Put::Changed);
    assert_eq!(store.audit(&wanted()).await.expect("a page").rows, [entry(2)]);
}

pub(crate) async fn nothing_is_put_upon_what_is_not_there(store: Store) {
    fill(&store).await;
    let missing = |answer: Result<Put, DirectoryError>| {
        assert!(matches!(answer, Err(DirectoryError::Missing { .. })), "{answer:?}");
    };
    missing(store.put_account(&account("nobody+ci", AccountKind::Robot)).await);
    missing(store.put_team(&team("nobody", "dev", TeamRole::Member)).await);
    missing(store.put_team(&team("ann", "dev", TeamRole::Member)).await);
    missing(store.add_member(&organization("acme"), &team_name("none"), &name("ann")).await);
    missing(store.add_member(&organization("acme"), &team_name("dev"), &name("nobody")).await);
    missing(store.add_member(&organization("acme"), &team_name("dev"), &name("acme")).await);
    let (api, admin) = (repository_name("acme/api"), RepositoryRole::Admin);
    missing(store.grant(&repository_name("acme/none"), &grant("ann", admin)).await);
    for grantee in ["nobody", "acme/none", "other/dev"] {
        missing(store.grant(&api, &grant(grantee, admin)).await);
    }
    let other = store.put_account(&account("ann", AccountKind::Organization)).await;
    assert!(matches!(other, Err(DirectoryError::OtherKind { kind: AccountKind::User, .. })), "{other:?}");
    for (text, kind) in [("ann+ci", AccountKind::User), ("ann2", AccountKind::Robot)] {
        let answer = store.put_account(&account(text, kind)).await;
        assert!(matches!(answer, Err(DirectoryError::BadName { .. })), "{answer:?}");
    }
}

pub(crate) async fn teams_and_organizations_list_their_members_once(store: Store) {
    fill(&store).await;
    let acme = organization("acme");
    store.add_member(&acme, &team_name("dev"), &name("ann")).await.expect("added");
    let dev = store.members_of_team(&acme, &team_name("dev")).await.expect("listed");
    assert_eq!(names(&dev), ["acme+ci", "ann", "bob"]);
    let all = store.members_of_organization(&acme).await.expect("listed");
    assert_eq!(names(&all), ["acme+ci", "ann", "bob"]);
    assert_eq!(names(&store.owners_of_organization(&acme).await.expect("listed")), ["ann"]);
    assert_eq!(store.members_of_team(&acme, &team_name("none")).await.expect("listed"), []);
    assert_eq!(store.members_of_organization(&organization("none")).await.expect("listed"), []);
    assert!(store.remove_member(&acme, &team_name("dev"), &name("ann")).await.expect("removed"));
    assert!(!store.remove_member(&acme, &team_name("dev"), &name("ann")).await.expect("removed"));
    assert_eq!(store.members_of_team(&acme, &team_name("dev")).await.expect("listed").len(), 2);
}

pub(crate) async fn a_role_is_the_strongest_of_ones_own_and_ones_teams(store: Store) {
    fill(&store).await;
    assert_eq!(role_on(&store, "bob", "acme/api").await, Some(RepositoryRole::Write));
    assert_eq!(role_on(&store, "acme+ci", "acme/api").await, Some(RepositoryRole::Write));
    assert_eq!(role_on(&store, "eve", "acme/api").await, None);
    let api = repository_name("acme/api");
    for (who, given, found) in [
        ("bob", RepositoryRole::Read, RepositoryRole::Write),
        ("bob", RepositoryRole::Admin, RepositoryRole::Admin),
        ("eve", RepositoryRole::Read, RepositoryRole::Read),
    ] {
        store.grant(&api, &grant(who, given)).await.expect("granted");
        assert_eq!(role_on(&store, who, "acme/api").await, Some(found));
    }
    for stranger in ["acme/api2", "acme/api/v2", "acme2/api", "api"] {
        assert_eq!(role_on(&store, "bob", stranger).await, None, "{stranger}");
    }
    assert_eq!(role_in(&store, "ann", "acme").await, Some(TeamRole::Admin));
    assert_eq!(role_in(&store, "bob", "acme").await, Some(TeamRole::Member));
    assert_eq!(role_in(&store, "eve", "acme").await, None);
    assert_eq!(role_in(&store, "ann", "acme2").await, None);
}

pub(crate) async fn a_team_that_goes_takes_its_grants_and_items_along(store: Store) {
    fill(&store).await;
    let (acme, dev) = (organization("acme"), team_name("dev"));
    store.add_to_inbox(&[item("team", "acme/dev"), item("team", "acme/dev2")]).await.expect("added");
    assert!(store.delete_team(&acme, &dev).await.expect("deleted"));
    assert!(!store.delete_team(&acme, &dev).await.expect("deleted"));
    assert_eq!(role_on(&store, "bob", "acme/api").await, None);
    store.put_team(&team("acme", "dev", TeamRole::Member)).await.expect("put");
    assert_eq!(store.members_of_team(&acme, &dev).await.expect("listed"), []);
    assert_eq!(store.permissions(&repository_name("acme/api")).await.expect("read"), []);
    assert_eq!((items(&store, "team", "acme/dev").await, items(&store, "team", "acme/dev2").await), (0, 1));
}

fn item(kind: &str, target: &str) -> InboxRow {
    InboxRow {
        delivery: delivery_id("1", 1),
        target_kind: kind.into(),
        target: target.into(),
        kind: bellbuoy_domain::Kind::RepoPush.into(),
        metadata: map(serde_json::json!({})),
        created_at: at(0),
    }
}

async fn items(store: &Store, kind: &str, target: &str) -> usize {
    store.inbox(kind, target, None, 10).await.expect("a page").rows.len()
}

fn scoped(number: u128, scope: Scope) -> Notification {
    Notification { scope, ..notification(number) }
}

/// So that one who takes the name later inherits nothing.
pub(crate) async fn an_account_that_goes_takes_all_that_is_its_own_along_and_nothing_else(store: Store) {
    fill(&store).await;
    store.put_account(&account("acme2", AccountKind::Organization)).await.expect("put");
    store.put_account(&account("acme-x+ci", AccountKind::Robot)).await.expect_err("no owner");
    let api2 = repository_name("acme2/api");
    store.put_repository(&known("acme2/api")).await.expect("put");
    for who in ["acme+ci", "bob"] {
        store.grant(&api2, &grant(who, RepositoryRole::Read)).await.expect("granted");
    }
    store.request_email(&repository_name("acme/api"), "a@b.c", &[1; 32], at(0)).await.expect("noted");
    store.request_email(&api2, "a@b.c", &[2; 32], at(0)).await.expect("noted");
    for (number, scope) in [
        (1, repository("acme/api")),
        (2, Scope::Namespace("acme".into())),
        (3, repository("acme2/api")),
        (4, Scope::Namespace("acme2".into())),
        (5, Scope::Registry),
    ] {
        store.create_notification(&scoped(number, scope)).await.expect("created");
    }
    let tell = [item("org", "acme"), item("team", "acme/dev"), item("org", "acme2"), item("user", "acme+ci")];
    store.add_to_inbox(&tell).await.expect("added");
    let (hint, version) = (store.changes(), store.notifications_version().await.expect("a version"));

    assert!(store.delete_account(&name("acme")).await.expect("deleted"));
    assert!(!store.delete_account(&name("acme")).await.expect("deleted"));

    assert!(store.notifications_version().await.expect("a version") > version);
    assert!(*hint.borrow() > version);
    let mut left = Vec::new();
    for number in 1..=5 {
        if store.notification(notification_id(number)).await.expect("read").is_some() {
            left.push(number);
        }
    }
    assert_eq!(left, [3, 4, 5]);
    assert_eq!(names(&store.accounts(None, None, 10).await.expect("a page")), ["acme2", "ann", "bob", "eve"]);
    fill_again(&store).await;
    assert_eq!(store.members_of_organization(&organization("acme")).await.expect("listed"), []);
    for who in ["ann", "bob", "acme+ci"] {
        assert_eq!(role_on(&store, who, "acme/api").await, None, "{who}");
        assert_eq!(role_in(&store, who, "acme").await, None, "{who}");
    }
    assert_eq!(role_on(&store, "acme+ci", "acme2/api").await, None);
    assert_eq!(role_on(&store, "bob", "acme2/api").await, Some(RepositoryRole::Read));
    assert!(!store.email_confirmed(&repository_name("acme/api"), "a@b.c").await.expect("answered"));
    assert_eq!(store.authorized_emails(&repository_name("acme/api")).await.expect("listed"), []);
    assert_eq!(store.authorized_emails(&api2).await.expect("listed").len(), 1);
    assert_eq!((items(&store, "org", "acme").await, items(&store, "team", "acme/dev").await), (0, 0));
    assert_eq!(items(&store, "org", "acme2").await, 1);
}

/// The same names, by somebody else.
async fn fill_again(store: &Store) {
    store.put_account(&account("acme", AccountKind::Organization)).await.expect("put");
    store.put_account(&account("acme+ci", AccountKind::Robot)).await.expect("put");
    for (text, role) in [("owners", TeamRole::Admin), ("dev", TeamRole::Member)] {
        store.put_team(&team("acme", text, role)).await.expect("put");
    }
    store.put_repository(&known("acme/api")).await.expect("put");
}

pub(crate) async fn a_password_is_kept_apart_and_survives_a_change(store: Store) {
    fill(&store).await;
    let ann = name("ann");
    assert_eq!(store.password(&ann).await.expect("read"), None);
    assert!(store.set_password(&ann, Some("$argon2id$...")).await.expect("set"));
    let changed = Account { superuser: true, ..account("ann", AccountKind::User) };
    store.put_account(&changed).await.expect("put");
    assert_eq!(store.password(&ann).await.expect("read").as_deref(), Some("$argon2id$..."));
    assert!(store.set_password(&ann, None).await.expect("set"));
    assert_eq!(store.password(&ann).await.expect("read"), None);
    assert!(!store.set_password(&name("nobody"), Some("x")).await.expect("answered"));
}

pub(crate) async fn a_session_ends_by_itself_by_its_holder_with_the_password_and_with_its_account(
    store: Store,
) {
    fill(&store).await;
    let ann = name("ann");
    let held = async |number: u8, now: i64| {
        store.session(&[number; 32], at(now)).await.expect("answered").map(|name| name.to_string())
    };
    for account in ["ann", "bob", "eve"] {
        assert!(store.set_password(&name(account), Some("$old")).await.expect("set"));
    }
    for (number, account) in [(1, "ann"), (2, "ann"), (3, "bob"), (4, "eve")] {
        assert!(begins(&store, account, "$old", number, 0).await);
    }
    assert_eq!(held(1, 9).await.as_deref(), Some("ann"));
    assert_eq!((held(1, 10).await, held(9, 1).await), (None, None), "expired, and never begun");
    assert!(store.end_session(&[1; 32]).await.expect("ended"));
    assert!(!store.end_session(&[1; 32]).await.expect("answered"));
    assert_eq!((held(1, 1).await, held(2, 1).await.as_deref()), (None, Some("ann")));
    assert!(store.set_password(&ann, Some("$argon2id$...")).await.expect("set"));
    assert_eq!((held(2, 1).await, held(3, 1).await.as_deref()), (None, Some("bob")));
    assert!(store.delete_account(&name("bob")).await.expect("deleted"));
    assert_eq!((held(3, 1).await, held(4, 1).await.as_deref()), (None, Some("eve")));
    assert!(begins(&store, "ann", "$argon2id$...", 5, 10).await);
    assert_eq!(held(4, 1).await, None, "what has expired is forgotten");
    assert_eq!(held(5, 19).await.as_deref(), Some("ann"));
}

/// Whether an account that is there has this password, for a session of that number and ten seconds.
async fn begins(store: &Store, account: &str, password: &str, number: u8, from: i64) -> bool {
    let account = store.account(&name(account)).await.expect("read").expect("there");
    let begun = store.begin_session(&account, password, &[number; 32], at(from), at(from + 10)).await;
    begun.expect("answered")
}

pub(crate) async fn a_session_begins_only_by_what_is_the_password_of_that_very_account_by_then(store: Store) {
    fill(&store).await;
    let ann = name("ann");
    assert!(!begins(&store, "ann", "$old", 1, 0).await, "no password is none that fits");
    assert!(store.set_password(&ann, Some("$old")).await.expect("set"));
    assert!(begins(&store, "ann", "$old", 2, 0).await);
    assert!(store.set_password(&ann, Some("$new")).await.expect("set"));
    assert!(!begins(&store, "ann", "$old", 3, 0).await);

    let enabled = store.account(&ann).await.expect("read").expect("there");
    store.put_account(&Account { enabled: false, ..enabled.clone() }).await.expect("put");
    assert!(!begins(&store, "ann", "$new", 4, 0).await, "disabled");
    store.put_account(&enabled).await.expect("put");
    assert!(begins(&store, "ann", "$new", 5, 0).await);

    assert!(store.delete_account(&ann).await.expect("deleted"));
    let gone = store.begin_session(&enabled, "$new", &[6; 32], at(0), at(10)).await;
    assert!(!gone.expect("answered"), "gone");
    let other = Account { id: Uuid::from_u128(6), ..enabled.clone() };
    store.put_account(&other).await.expect("put");
    assert!(store.set_password(&ann, Some("$new")).await.expect("set"));
    let taken = store.begin_session(&enabled, "$new", &[7; 32], at(0), at(10)).await;
    assert!(!taken.expect("answered"), "the name is somebody else's");
    for number in [1, 3, 4, 6, 7] {
        assert_eq!(store.session(&[number; 32], at(1)).await.expect("answered"), None, "{number}");
    }
}

pub(crate) async fn a_repository_is_created_once_with_its_administrator(store: Store) {
    fill(&store).await;
    let new = Repository { public: true, ..known("acme/new") };
    assert!(store.create_repository(&new, Some(&name("bob"))).await.expect("created"));
    let again = Repository { public: false, created_at: at(5), ..new.clone() };
    assert!(!store.create_repository(&again, Some(&name("eve"))).await.expect("answered"));
    assert_eq!(store.repository(&new.name).await.expect("read"), Some(new.clone()));
    assert_eq!(store.permissions(&new.name).await.expect("read"), [grant("bob", RepositoryRole::Admin)]);
    let other = known("acme/other");
    let refused = store.create_repository(&other, Some(&name("nobody"))).await;
    assert!(matches!(refused, Err(DirectoryError::Missing { .. })), "{refused:?}");
    assert_eq!(store.repository(&other.name).await.expect("read"), None, "all of it or nothing");
}

pub(crate) async fn repositories_are_seen_once_and_stay_as_they_are(store: Store) {
    let public = Repository { public: true, ..known("acme/api") };
    store.put_repository(&public).await.expect("put");
    let seen: Vec<RepositoryName> =
        ["acme/api", "acme/web", "bare", "acme/web", "beta/x"].into_iter().map(repository_name).collect();
    store.see_repositories(&[], at(5)).await.expect("nothing seen");
    store.see_repositories(&seen, at(5)).await.expect("seen");
    store.see_repositories(&seen, at(6)).await.expect("seen");
    let later = |text: &str| Repository { created_at: at(5), ..known(text) };
    let all = store.repositories(None, None, 10).await.expect("a page");
    assert_eq!(all, [public.clone(), later("acme/web"), later("bare"), later("beta/x")]);
    let own = store.repositories(Some(&organization("acme")), Some("acme/api"), 10).await.expect("a page");
    assert_eq!(own, [later("acme/web")]);
    assert_eq!(store.repository(&public.name).await.expect("read"), Some(public));
}

pub(crate) async fn a_repository_that_goes_takes_its_own_along_but_no_longer_name(store: Store) {
    fill(&store).await;
    let (api, longer) = (repository_name("acme/api"), repository_name("acme/api/v2"));
    store.put_repository(&known("acme/api/v2")).await.expect("put");
    for repository in [&api, &longer] {
        store.grant(repository, &grant("eve", RepositoryRole::Read)).await.expect("granted");
        let code = [u8::from(repository == &api); 32];
        store.request_email(repository, "a@b.c", &code, at(0)).await.expect("noted");
    }
    store.create_notification(&scoped(1, Scope::Repository(api.clone()))).await.expect("created");
    store.create_notification(&scoped(2, Scope::Repository(longer.clone()))).await.expect("created");
    assert!(store.delete_repository(&api).await.expect("deleted"));
    assert!(!store.delete_repository(&api).await.expect("deleted"));
    assert_eq!(store.permissions(&api).await.expect("read"), []);
    assert_eq!(store.permissions(&longer).await.expect("read").len(), 1);
    assert_eq!(store.authorized_emails(&longer).await.expect("read").len(), 1);
    assert_eq!(store.authorized_emails(&api).await.expect("read"), []);
    assert!(store.notification(notification_id(1)).await.expect("read").is_none());
    assert!(store.notification(notification_id(2)).await.expect("read").is_some());
}

pub(crate) async fn an_address_is_confirmed_by_the_last_code_for_its_repository_alone(store: Store) {
    let (api, web) = (repository_name("acme/api"), repository_name("acme/web"));
    let confirmed = async |repository: &RepositoryName, address: &str| {
        store.email_confirmed(repository, address).await.expect("answered")
    };
    assert!(store.authorized_email(&api, "a@b.c").await.expect("read").is_none());
    assert!(store.request_email(&api, "a@b.c", &[1; 32], at(1)).await.expect("noted"));
    assert!(store.request_email(&api, "a@b.c", &[2; 32], at(2)).await.expect("noted"));
    assert!(store.request_email(&web, "a@b.c", &[3; 32], at(2)).await.expect("noted"));
    assert!(!confirmed(&api, "a@b.c").await);
    assert!(store.confirm_email(&[1; 32], at(0)).await.expect("answered").is_none(), "replaced");
    assert!(store.confirm_email(&[2; 32], at(3)).await.expect("answered").is_none(), "expired");
    assert!(!confirmed(&api, "a@b.c").await);
    let asked = store.email_by_code(&[2; 32]).await.expect("answered").expect("a code");
    assert_eq!((&*asked.email, asked.confirmed), ("a@b.c", false));
    let email = store.confirm_email(&[2; 32], at(2)).await.expect("answered").expect("a code");
    assert_eq!((&email.repository, &*email.email, email.confirmed), (&api, "a@b.c", true));
    let again = store.confirm_email(&[2; 32], at(9)).await.expect("answered");
    assert_eq!(again, Some(email), "once more is harmless, and later than it could be confirmed");
    assert!(confirmed(&api, "a@b.c").await);
    assert!(!confirmed(&web, "a@b.c").await && !confirmed(&api, "A@b.c").await);
    assert!(!store.request_email(&api, "a@b.c", &[4; 32], at(3)).await.expect("answered"), "nothing to send");
    assert!(confirmed(&api, "a@b.c").await);
    assert!(store.forget_email(&api, "a@b.c").await.expect("forgotten"));
    assert!(!store.forget_email(&api, "a@b.c").await.expect("answered"));
    assert!(!confirmed(&api, "a@b.c").await);
    assert!(store.request_email(&api, AWKWARD, &[5; 32], at(4)).await.expect("noted"));
    assert_eq!(store.authorized_emails(&api).await.expect("listed")[0].email, AWKWARD);
}
