//! Addresses that agree to hear of a repository.

use serde_json::json;

use crate::{
    As, COLLECTION,
    common::{Rig, quay_problem},
    json_of, rig,
};
use bellbuoy_api::ServerLimits;
use bellbuoy_domain::RepositoryName;

fn path(email: &str) -> String {
    format!("/api/v1/repository/acme/api/authorizedemail/{email}")
}

/// The path and query of the link in the last mail, which went to `email`.
fn link(rig: &Rig, email: &str) -> String {
    let mails = rig.mails.lock().expect("the mails");
    let (to, letter) = mails.last().expect("a mail");
    assert_eq!(to, email);
    let subject = "[Test] Please verify your e-mail address for repository acme/api";
    assert_eq!(letter.subject, subject);
    let link = letter.text.split_whitespace().find(|word| word.starts_with("https://")).expect("a link");
    assert!(letter.html.contains(link), "{}", letter.html);
    link.strip_prefix("https://bellbuoy.example.com").expect("our own link").to_owned()
}

fn sent(rig: &Rig) -> usize {
    rig.mails.lock().expect("the mails").len()
}

#[tokio::test]
async fn an_address_agrees_by_its_link_and_gets_notifications_from_then_on() {
    let rig = rig().await;
    let kim = As::automation(&rig, "kim").await;
    let path = path("new@example.com");
    quay_problem(&kim.get(&path).await, 404, "not_found");
    let asked =
        json!({"email": "new@example.com", "repository": "api", "namespace": "acme", "confirmed": false});
    assert_eq!(json_of(&kim.send("POST", &path, None).await, 200), asked);
    assert_eq!((json_of(&kim.get(&path).await, 200), sent(&rig)), (asked.clone(), 1));
    let wish = json!({"event": "repo_push", "method": "email", "config": {"email": "new@example.com"}, "eventConfig": {}});
    quay_problem(&kim.send("POST", COLLECTION, Some(&wish)).await, 400, "invalid_request");

    let link = link(&rig, "new@example.com");
    assert!(link.len() > "/authrepoemail?code=".len() + 40, "{link}");
    assert_eq!(rig.raw("HEAD", &link, &[], "").await.status, 200);
    assert_eq!(json_of(&kim.get(&path).await, 200), asked, "a look at the link's head agrees to nothing");
    let page = rig.raw("GET", &link, &[], "").await;
    assert_eq!(
        (page.status.as_u16(), &page.headers["content-type"]),
        (200, &"text/html; charset=utf-8".parse().expect("a value"))
    );
    assert!(page.text().contains("new@example.com") && page.text().contains("acme/api"), "{}", page.text());
    let confirmed =
        json!({"email": "new@example.com", "repository": "api", "namespace": "acme", "confirmed": true});
    assert_eq!(json_of(&kim.get(&path).await, 200), confirmed);
    assert_eq!(json_of(&kim.send("POST", &path, None).await, 200), confirmed);
    assert_eq!(sent(&rig), 1, "whoever has agreed is not asked again");
    assert_eq!(kim.send("POST", COLLECTION, Some(&wish)).await.status, 201);

    let again = rig.raw("GET", &link, &[], "").await;
    assert_eq!((again.status, again.text()), (page.status, page.text()), "confirming twice is harmless");
    assert_eq!(json_of(&kim.get(&path).await, 200), confirmed);
    let audit = rig.get("/v1/audit?place=acme/api").await.json().to_string();
    for word in ["email.request", "email.confirm", "mail:new@example.com"] {
        assert_eq!(audit.matches(word).count(), 1, "{word}: {audit}");
    }
    assert!(!audit.contains(link.split_once('=').expect("a code").1));
}

#[tokio::test]
async fn a_newer_mail_replaces_the_link_and_what_is_no_link_says_so() {
    let rig = rig().await;
    let path = path("new@example.com");
    rig.send("POST", &path, &[], "").await;
    let old = link(&rig, "new@example.com");
    rig.send("POST", &path, &[], "").await;
    let new = link(&rig, "new@example.com");
    assert_ne!(old, new);
    for wrong in [
        &*old,
        "/authrepoemail",
        "/authrepoemail?code=",
        "/authrepoemail?code=%3Cscript%3E",
        "/authrepoemail?code=1&code=2",
        "/authrepoemail?code=%ff",
    ] {
        let page = rig.raw("GET", wrong, &[], "").await;
        assert_eq!(page.status, 400, "{wrong}");
        assert!(page.text().contains("<h1>") && !page.text().contains("script"), "{}", page.text());
    }
    assert_eq!(json_of(&rig.get(&path).await, 200)["confirmed"], false);
    assert_eq!(rig.raw("GET", &new, &[], "").await.status, 200);
}

#[tokio::test]
async fn the_link_of_an_address_that_was_forgotten_does_not_bring_it_back() {
    let rig = rig().await;
    let path = path("new@example.com");
    rig.send("POST", &path, &[], "").await;
    let link = link(&rig, "new@example.com");
    assert_eq!(rig.raw("GET", &link, &[], "").await.status, 200);
    let repository = RepositoryName::parse("acme/api").expect("a name");
    assert!(rig.store.forget_email(&repository, "new@example.com").await.expect("a store"));
    assert_eq!(rig.raw("GET", &link, &[], "").await.status, 400);
    quay_problem(&rig.get(&path).await, 404, "not_found");
}

#[tokio::test]
async fn a_mail_that_could_not_be_sent_leaves_everything_as_it_was() {
    let rig = rig().await;
    let never = path("never@example.com");
    let answer = rig.send("POST", &never, &[], "").await;
    let words = "Could not send email. Please contact an administrator and report this problem.";
    assert_eq!(quay_problem(&answer, 400, "invalid_request"), words);
    assert_eq!(answer.json()["message"], words);
    quay_problem(&rig.get(&never).await, 404, "not_found");
}

#[tokio::test]
async fn what_is_no_repository_or_no_address_is_400() {
    let rig = rig().await;
    for (repository, shown) in [("acme/none", "acme/none"), ("Acme/api", "Acme/api"), ("alpine", "alpine")] {
        let answer = rig
            .send("POST", &format!("/api/v1/repository/{repository}/authorizedemail/a@b.example"), &[], "")
            .await;
        let words = format!("Invalid repository {shown}");
        assert_eq!(quay_problem(&answer, 400, "invalid_request"), words);
        assert_eq!(answer.json()["message"], words);
    }
    for email in ["x", "a@b.example%0d%0aBcc:%20e@x.y", "a@b.example,c@d.example", "%22|sh%22@b.example"] {
        let answer = rig.send("POST", &path(email), &[], "").await;
        assert_eq!(quay_problem(&answer, 400, "invalid_request"), "Invalid e-mail address", "{email}");
    }
    assert_eq!(sent(&rig), 0);
}

#[tokio::test]
async fn nobody_is_flooded_with_mails_that_ask() {
    let rig = Rig::with(|api| api.limits.letters = 3, ServerLimits::default()).await;
    crate::fill(&rig).await;
    for (email, status) in [
        ("new@example.com", 200),
        ("NEW@example.com", 200),
        ("new@example.com", 200),
        ("New@example.com", 429),
        ("other@example.com", 200),
    ] {
        let answer = rig.send("POST", &path(email), &[], "").await;
        assert_eq!(answer.status, status, "{email}: {}", answer.text());
        assert_eq!(answer.headers.contains_key("retry-after"), status == 429);
    }
    assert_eq!(sent(&rig), 4);
}
