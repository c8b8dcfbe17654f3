//! The console, as people use it: in a real Chromium, through the real program.

mod support;

use bellbuoy_testkit::{
    browser::Browser,
    receiver::{Answer, Receiver},
    wait::eventually,
};
use http::Method;
use serde_json::json;
use support::{Fleet, SOON, TOKEN, push};

/// A browser that is signed in with the admin token.
async fn signed_in(fleet: &Fleet, scripts: bool) -> Browser {
    let browser = Browser::start(scripts).await;
    browser.open(&fleet.api.url).await;
    browser.fill("Token", TOKEN).await;
    browser.press("Sign in with the token").await;
    browser.until_it_says("This process").await;
    browser
}

/// A notification by webhook of `acme/api` to `url`, made by the API.
async fn notification(fleet: &Fleet, url: &str) -> String {
    let draft = json!({"title": "deploy hook", "scope": {"repository": "acme/api"}, "kinds": ["repo_push"],
        "method": "webhook", "config": {"url": url}});
    let made = fleet.api.post("/v1/notifications", &draft).await;
    assert_eq!(made.status, 201, "{}", made.text());
    made.json()["id"].as_str().expect("an id").to_owned()
}

async fn publish(fleet: &Fleet, id: &str) {
    let event = push(id, "acme/api", "v1").to_string();
    let taken = fleet.api.send(Method::POST, "/v1/events", "application/cloudevents+json", event).await;
    assert_eq!(taken.status, 202, "{}", taken.text());
}

#[tokio::test]
async fn an_owner_makes_a_notification_tries_it_and_changes_it_with_scripts_and_without() {
    for scripts in [true, false] {
        let receiver = Receiver::start().await.expect("a receiver");
        let fleet = Fleet::start(&[]).await;
        let browser = signed_in(&fleet, scripts).await;
        browser.press("Notifications").await;
        browser.press("New notification").await;
        browser.click("a[href*='method=webhook']").await;
        browser.fill("Title", "deploy hook").await;
        browser.fill("Name of the repository or namespace", "acme/api").await;
        browser.tick("Push to repository").await;
        browser.fill("URL", "nowhere").await;
        browser.press("Make it").await;
        browser.until_it_says("Invalid webhook URL").await;
        assert_eq!(browser.value("Title").await, "deploy hook", "what was written is still there");
        browser.fill("URL", &receiver.url("/deploy")).await;
        browser.press("Make it").await;
        browser.until_it_says("it is shown this once").await;
        assert!(browser.text_of("#secret").await.starts_with("whsec_"));

        browser.press("To the notification").await;
        browser.press("Send a sample").await;
        browser.until_it_says("A sample is on its way.").await;
        eventually(SOON, async || (!receiver.requests().is_empty()).then_some(())).await;

        browser.press("Notifications").await;
        browser.press("deploy hook").await;
        browser.press("Edit").await;
        browser.press("Only some of these events").await;
        browser.fill("Tags", "v1.*").await;
        browser.press("Save").await;
        browser.until_it_says("Changed.").await;
        browser.press("Pause").await;
        browser.until_it_says("Paused. Its deliveries are held").await;
        let kept = fleet.api.get("/v1/notifications").await["notifications"][0].clone();
        assert_eq!((&kept["filter"], &kept["state"]), (&json!({"tags": ["v1.*"]}), &json!("paused")));
        assert_eq!(kept["config"]["url"], receiver.url("/deploy"));

        browser.press("Delete this notification").await;
        browser.press("Delete deploy hook").await;
        browser.until_it_says("Deleted.").await;
        let complaints = browser.complaints().await;
        // What the form was refused for is one of them.
        let others: Vec<_> =
            complaints.iter().filter(|complaint| !complaint.contains("400 (Bad Request)")).collect();
        assert!(others.is_empty(), "{others:?}");
    }
}

#[tokio::test]
async fn a_delivery_that_was_given_up_says_why_and_is_sent_again_once_its_receiver_is_well() {
    let receiver = Receiver::start().await.expect("a receiver");
    receiver.script("/deploy", [Answer::status(500)]);
    let fleet = Fleet::start(&[]).await;
    let id = notification(&fleet, &receiver.url("/deploy")).await;
    publish(&fleet, "one").await;
    let browser = signed_in(&fleet, true).await;
    browser.open(&format!("{}/console/notifications/{id}", fleet.api.url)).await;
    eventually(SOON, async || {
        let letters = fleet.api.get("/v1/dead-letters").await;
        (letters["dead_letters"].as_array()?.len() == 1).then_some(())
    })
    .await;
    browser.press("Dead letters").await;
    browser.until_it_says("attempts_exhausted").await;
    browser.press("attempts_exhausted").await;
    browser.until_it_says("answered 500").await;
    browser.click("dd a[href*='/console/deliveries/']").await;
    browser.until_it_says("The receiver failed. Look in its log. Then send it again.").await;
    assert_eq!(browser.run("return document.querySelectorAll('tbody tr').length").await, 4);

    receiver.script("/deploy", [Answer::status(200)]);
    browser.press("Send again").await;
    browser.until_it_says("It is sent once more").await;
    // The page follows by itself.
    browser.until_it_says("delivered").await;
    browser.click("dd a[href*='/console/events/']").await;
    browser.until_it_says("What it was to the notifications there").await;
    browser.until_it_says("deploy hook").await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test]
async fn many_dead_letters_are_replayed_at_once() {
    let receiver = Receiver::start().await.expect("a receiver");
    receiver.script("/deploy", [Answer::status(500)]);
    let fleet = Fleet::start(&[("BELLBUOY_RETRY__STEPS", "50ms")]).await;
    notification(&fleet, &receiver.url("/deploy")).await;
    for id in ["one", "two", "three"] {
        publish(&fleet, id).await;
    }
    let letters =
        async || fleet.api.get("/v1/dead-letters").await["dead_letters"].as_array().map_or(0, Vec::len);
    eventually(SOON, async || (letters().await == 3).then_some(())).await;
    receiver.script("/deploy", [Answer::status(200)]);
    let browser = signed_in(&fleet, true).await;
    browser.press("Dead letters").await;
    browser.press("Replay the chosen").await;
    browser.until_it_says("Choose at least one dead letter first.").await;
    browser.open(&format!("{}/console/dead-letters", fleet.api.url)).await;
    browser.click("input[data-all=id]").await;
    browser.press("Replay the chosen").await;
    browser.until_it_says("On its way again.").await;
    eventually(SOON, async || (letters().await == 0).then_some(())).await;
}

#[tokio::test]
async fn an_account_signs_in_by_its_password_sees_its_own_and_its_inbox_and_signs_out() {
    let fleet = Fleet::start(&[]).await;
    let document = json!({"version": 1, "users": [{"name": "kim"}],
        "repositories": [{"name": "acme/api", "permissions": [{"grantee": "kim", "role": "admin"}]}]});
    assert_eq!(fleet.api.post("/v1/directory/import", &document).await.status, 200);
    let password = json!({"password": "correct horse battery"}).to_string();
    let set = fleet
        .api
        .send(Method::PUT, "/v1/directory/accounts/kim/password", "application/json", password)
        .await;
    assert_eq!(set.status, 204, "{}", set.text());
    let told = json!({"scope": {"repository": "acme/api"}, "kinds": ["repo_push"], "method": "quay_notification",
        "config": {"target": {"kind": "user", "name": "kim"}}});
    assert_eq!(fleet.api.post("/v1/notifications", &told).await.status, 201);
    publish(&fleet, "one").await;
    eventually(SOON, async || {
        let ended = fleet.api.get("/v1/deliveries?state=delivered").await;
        (ended["deliveries"].as_array()?.len() == 1).then_some(())
    })
    .await;

    let browser = Browser::start(true).await;
    browser.open(&format!("{}/console/inbox", fleet.api.url)).await;
    browser.fill("Account", "kim").await;
    browser.fill("Password", "wrong").await;
    browser.press("Sign in with the account").await;
    browser.until_it_says("Invalid Username or Password").await;
    browser.fill("Password", "correct horse battery").await;
    browser.press("Sign in with the account").await;
    browser.until_it_says("Push to repository").await;
    assert!(browser.url().await.ends_with("/console/inbox"), "led to where it wanted to be");
    let unread = "return document.querySelector('.count')?.textContent";
    assert_eq!(browser.run(unread).await, "1 unread");
    browser.press("Put away").await;
    browser.until_it_says("Put away.").await;
    assert_eq!(browser.run("return document.querySelector('.count').hidden").await, true);
    assert!(!browser.text_of("header").await.contains("Audit"), "what is a superuser's is not offered");
    browser.open(&format!("{}/console/audit", fleet.api.url)).await;
    browser.until_it_says("Not allowed").await;
    browser.open(&format!("{}/console/notifications?place=acme/api", fleet.api.url)).await;
    browser.until_it_says("quay_notification").await;
    browser.press("Sign out").await;
    browser.until_it_says("With an account").await;
    browser.open(&format!("{}/console/inbox", fleet.api.url)).await;
    browser.until_it_says("With an account").await;
}

#[tokio::test]
async fn a_token_is_made_shown_once_and_revoked() {
    let fleet = Fleet::start(&[]).await;
    let browser = signed_in(&fleet, true).await;
    browser.press("Tokens").await;
    browser.fill("Title", "registry-eu").await;
    browser.click("input[value='events:publish']").await;
    browser.press("Make it").await;
    browser.until_it_says("It is shown this once").await;
    let token = browser.text_of("#made").await;
    assert!(token.starts_with("bbt_"), "{token:.4}");
    browser.press("Tokens").await;
    browser.until_it_says("registry-eu").await;
    assert!(!browser.text().await.contains(&token));
    browser.click("td button").await;
    browser.until_it_says("Revoked.").await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test]
async fn what_another_site_sends_changes_nothing_and_an_event_says_nothing_in_the_consoles_name() {
    let receiver = Receiver::start().await.expect("a receiver");
    let fleet = Fleet::start(&[]).await;
    let id = notification(&fleet, &receiver.url("/deploy")).await;
    let browser = signed_in(&fleet, true).await;
    // Another origin on the same host: its pages send the cookies along.
    let other = Receiver::start().await.expect("a receiver");
    browser.open(&other.url("/")).await;
    let target = format!("{}/console/notifications/{id}/pause", fleet.api.url);
    let form = format!(
        "const form = document.createElement('form'); form.method = 'post'; form.action = '{target}'; \
         document.documentElement.append(form); form.submit();"
    );
    browser.run(&form).await;
    browser.until_it_says("This was sent by a page of another site").await;
    let kept = fleet.api.get(&format!("/v1/notifications/{id}")).await;
    assert_eq!(kept["state"], "active");

    let event = json!({"specversion": "1.0", "id": "<script>alert(1)</script>", "source": "\"><img src=x onerror=alert(2)>",
        "type": "repo_push", "subject": "acme/api", "data": {"updated_tags": ["</pre><script>alert(3)</script>"]}});
    let taken =
        fleet.api.send(Method::POST, "/v1/events", "application/cloudevents+json", event.to_string()).await;
    assert_eq!(taken.status, 202, "{}", taken.text());
    browser.open(&format!("{}/console/events?id=%3Cscript%3Ealert(1)%3C/script%3E", fleet.api.url)).await;
    browser.until_it_says("</pre><script>alert(3)</script>").await;
    assert_eq!(
        browser.run("return document.querySelectorAll('script, img').length").await,
        2,
        "our own alone"
    );
}

#[tokio::test]
async fn every_field_has_a_name_and_every_page_one_heading() {
    let receiver = Receiver::start().await.expect("a receiver");
    let fleet = Fleet::start(&[]).await;
    let id = notification(&fleet, &receiver.url("/deploy")).await;
    publish(&fleet, "one").await;
    eventually(SOON, async || (!receiver.requests().is_empty()).then_some(())).await;
    let browser = signed_in(&fleet, true).await;
    let pages = [
        String::new(),
        "/notifications".to_owned(),
        format!("/notifications/{id}"),
        format!("/notifications/{id}/edit"),
        "/notifications/new".to_owned(),
        "/deliveries".to_owned(),
        "/dead-letters".to_owned(),
        "/events".to_owned(),
        "/events/one".to_owned(),
        "/audit".to_owned(),
        "/tokens".to_owned(),
    ];
    let methods = ["webhook", "quay_notification", "email", "slack", "hipchat", "flowdock"];
    let forms = methods.iter().map(|method| format!("/notifications/new?method={method}"));
    for page in pages.into_iter().chain(forms) {
        browser.open(&format!("{}/console{page}", fleet.api.url)).await;
        let nameless = browser
            .run(
                "return [...document.querySelectorAll('input:not([type=hidden]), select, textarea, button, a')]\
                 .filter((one) => !one.labels?.length && !one.getAttribute('aria-label') && !one.textContent.trim())\
                 .map((one) => one.outerHTML)",
            )
            .await;
        assert_eq!(nameless, json!([]), "{page}");
        assert_eq!(browser.run("return document.querySelectorAll('h1').length").await, 1, "{page}");
        let twice = "const ids = [...document.querySelectorAll('[id]')].map((one) => one.id); \
                     return ids.filter((id, place) => ids.indexOf(id) !== place)";
        assert_eq!(browser.run(twice).await, json!([]), "{page}");
        let wide = "return document.documentElement.scrollWidth > document.documentElement.clientWidth";
        assert_eq!(browser.run(wide).await, json!(false), "{page} is wider than its window");
        assert_eq!(browser.complaints().await, Vec::<String>::new(), "{page}");
    }
}
