//! Every kind of event by every method, from the API through the real program to a real receiver, against the
//! golden files of the domain; and mail as its readers and its server see it.

mod support;

use std::{collections::BTreeSet, fs};

use bellbuoy_domain::{Event, Format, Kind, KindScope, RepositoryName, Subject};
use bellbuoy_testkit::{
    certs::Authority,
    mail::{MailServer, Received, Setup},
    process::free_port,
    receiver::{Answer, Receiver, Recorded},
    wait::eventually,
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use support::{Client, Fleet, SOON};

const CHATS: &[&str] = &["slack", "mattermost", "rocketchat", "teams", "discord", "hipchat", "flowdock"];

fn golden(name: &str) -> String {
    let path = format!("{}/../domain/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The event that the golden files tell of.
fn sample(kind: Kind) -> Event {
    let subject = match kind.scope() {
        KindScope::Repository => Subject::Repository(RepositoryName::parse("acme/team/api").expect("a name")),
        KindScope::Namespace => Subject::Namespace("acme".to_owned()),
        KindScope::Registry => Subject::Registry,
    };
    let config = json!({"level": "1", "days": 7});
    let at = Timestamp::from_millisecond(1_772_356_811_000).expect("a time");
    Event::sample(
        kind,
        subject,
        config.as_object().expect("an object"),
        "registry.example.com",
        kind.name(),
        at,
    )
}

fn every_kind() -> Vec<&'static str> {
    Kind::ALL.iter().map(|kind| kind.name()).collect()
}

async fn publish_every_kind(fleet: &Fleet) {
    for kind in Kind::ALL {
        fleet.api.publish(&sample(*kind).to_value()).await;
    }
}

#[tokio::test]
async fn every_kind_reaches_every_chat_service_in_its_own_form() {
    let receiver = Receiver::start().await.expect("a receiver");
    let base = receiver.url("");
    let base = base.trim_end_matches('/');
    let fleet = Fleet::start(&[
        ("BELLBUOY_REGISTRY__TITLE", "Example"),
        ("BELLBUOY_SMTP__HOST", "127.0.0.1"),
        ("BELLBUOY_SMTP__FROM", "bells@example.com"),
        ("BELLBUOY_HIPCHAT__BASE_URL", base),
        ("BELLBUOY_FLOWDOCK__BASE_URL", base),
    ])
    .await;
    for chat in CHATS {
        let config = match *chat {
            "hipchat" => json!({"room_id": "12", "notification_token": "tok"}),
            "flowdock" => json!({"flow_api_token": "tok"}),
            other => json!({"url": receiver.url(&format!("/{other}"))}),
        };
        let wish =
            json!({"scope": {"registry": true}, "kinds": every_kind(), "method": chat, "config": config});
        fleet.api.wish(&wish).await;
    }
    publish_every_kind(&fleet).await;
    for chat in CHATS {
        let path = match *chat {
            "hipchat" => "/v2/room/12/notification?auth_token=tok".to_owned(),
            "flowdock" => "/v1/messages/team_inbox/tok".to_owned(),
            other => format!("/{other}"),
        };
        let to_it = || receiver.requests().into_iter().filter(|request| request.path == path);
        let all = async || (to_it().count() >= Kind::ALL.len()).then_some(());
        eventually(SOON * 2, all).await;
        let body = |line: &str| line.split_once(' ').map(|(_, body)| body.to_owned()).expect("a body");
        let expected: BTreeSet<String> = golden(&format!("chat/{chat}.txt")).lines().map(body).collect();
        let sent: BTreeSet<String> =
            to_it().map(|request| String::from_utf8(request.body.to_vec()).expect("UTF-8")).collect();
        assert_eq!(sent, expected, "{chat}");
        assert!(to_it().all(|request| request.header("content-type") == Some("application/json")), "{chat}");
    }
}

#[tokio::test]
async fn a_closed_service_is_a_dead_letter_at_once_that_says_so() {
    let fleet = Fleet::start(&[]).await;
    for (method, config, said) in [
        ("hipchat", json!({"room_id": "12", "notification_token": "tok"}), "the HipChat service has closed"),
        ("flowdock", json!({"flow_api_token": "tok"}), "the Flowdock service has closed"),
    ] {
        let repository = format!("acme/{method}");
        let wish = json!({"scope": {"repository": repository}, "kinds": ["repo_push"], "method": method, "config": config});
        fleet.api.wish(&wish).await;
        fleet.api.publish(&support::push(method, &repository, "v1")).await;
        let letters = async || {
            let letters = fleet.api.dead_letters(&format!("subject={repository}")).await;
            (!letters.is_empty()).then_some(letters)
        };
        let letter = eventually(SOON, letters).await.remove(0);
        assert_eq!(
            (&letter["reason"], &letter["attempt_count"]),
            (&json!("rejected"), &json!(1)),
            "{letter}"
        );
        assert!(letter["detail"].as_str().is_some_and(|detail| detail.contains(said)), "{letter}");
    }
}

#[tokio::test]
async fn a_channel_that_asks_for_less_is_asked_again_when_it_said() {
    let receiver = Receiver::start().await.expect("a receiver");
    receiver.script("/busy", [Answer::status(429).with("retry-after", "2"), Answer::status(200)]);
    let fleet = Fleet::start(&[]).await;
    let wish = json!({"scope": {"repository": "acme/api"}, "kinds": ["repo_push"], "method": "slack",
        "config": {"url": receiver.url("/busy")}});
    fleet.api.wish(&wish).await;
    fleet.api.publish(&support::push("1", "acme/api", "v1")).await;
    fleet.api.until("subject=acme/api", 1, &["delivered"]).await;
    let at: Vec<_> = receiver.requests().iter().map(|request| request.at).collect();
    assert!(at.len() == 2 && (at[1] - at[0]).as_secs_f64() >= 2.0, "{at:?}");
}

/// A mail as the golden file has it: its kind, its subject, its text and its HTML.
fn as_golden_mail(mail: &Received) -> String {
    let field = |name: &str| mail.field(name).unwrap_or_else(|| panic!("no {name}: {}", mail.data));
    let words = mail.words();
    let types: Vec<&str> = words.iter().map(|(media_type, _)| media_type.as_str()).collect();
    assert_eq!(types, ["text/plain", "text/html"], "{}", mail.data);
    let (text, html) = (words[0].1.trim_end(), words[1].1.trim_end());
    format!("{}\nSubject: {}\n\n{text}\n\n{html}", field("X-Bellbuoy-Event"), field("Subject"))
}

#[tokio::test]
async fn what_a_chat_service_says_in_its_answer_decides_what_follows() {
    let receiver = Receiver::start().await.expect("a receiver");
    let fleet = Fleet::start(&[("BELLBUOY_RETRY__STEPS", "1h")]).await;
    let teams = "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429 with ContextId";
    let archived = r#"{"ok":false,"error":"channel_is_archived"}"#;
    let slow = r#"{"message":"You are being rate limited.","retry_after":5400.5,"global":false}"#;
    let cases = [
        ("slack", 200, "ok", "delivered", None, "active"),
        ("slack", 404, "no_service", "dead", Some("channel_gone"), "disabled"),
        ("slack", 200, archived, "dead", Some("channel_gone"), "disabled"),
        ("slack", 403, "action_prohibited", "waiting", Some("http_auth"), "active"),
        ("slack", 400, "invalid_payload", "dead", Some("http_4xx"), "active"),
        ("mattermost", 200, r#"{"ok":false}"#, "waiting", Some("http_4xx"), "active"),
        ("rocketchat", 200, r#"{"success":true}"#, "delivered", None, "active"),
        (
            "rocketchat",
            200,
            r#"{"success":false,"error":"unknown-error"}"#,
            "waiting",
            Some("http_4xx"),
            "active",
        ),
        ("teams", 200, "1", "delivered", None, "active"),
        ("teams", 200, teams, "waiting", Some("rate_limited"), "active"),
        ("discord", 204, "", "delivered", None, "active"),
        (
            "discord",
            404,
            r#"{"message":"Unknown Webhook","code":10015}"#,
            "dead",
            Some("channel_gone"),
            "disabled",
        ),
        ("discord", 429, slow, "waiting", Some("rate_limited"), "active"),
    ];
    let mut wishes = Vec::new();
    for (number, (method, status, body, ..)) in cases.iter().enumerate() {
        let path = format!("/{number}");
        receiver.script(&path, [Answer::text(*status, *body)]);
        let wish = json!({"scope": {"repository": format!("acme/a{number}")}, "kinds": ["repo_push"],
            "method": method, "config": {"url": receiver.url(&path)}});
        wishes.push(fleet.api.wish(&wish).await);
        fleet.api.publish(&support::push(&path, &format!("acme/a{number}"), "v1")).await;
    }
    for (number, (method, status, body, state, code, notification)) in cases.iter().enumerate() {
        let row = fleet.api.until(&format!("subject=acme/a{number}"), 1, &[*state]).await.remove(0);
        let delivery = fleet.api.delivery(&row["id"]).await;
        let attempt = &delivery["attempts"][0];
        assert_eq!(attempt["cause"]["code"], json!(code), "{method} {status} {body}: {delivery}");
        assert_eq!((&attempt["status"], &delivery["attempt_count"]), (&json!(status), &json!(1)));
        let path = format!("/v1/notifications/{}", wishes[number].id);
        let is_so = async || (fleet.api.get(&path).await["state"] == *notification).then_some(());
        eventually(SOON, is_so).await;
        if *body == slow {
            let time = |value: &Value| value.as_str().expect("a time").parse::<Timestamp>().expect("a time");
            let wait = time(&delivery["next_due_at"]).duration_since(time(&attempt["started_at"]));
            assert!(wait.as_secs() >= 5400, "it is asked again when it said: {delivery}");
        }
    }
}

#[tokio::test]
async fn every_kind_arrives_as_a_mail_over_tls_with_login() {
    let authority = Authority::new("ours").expect("an authority");
    let folder = tempfile::tempdir().expect("a folder");
    let setup = Setup {
        starttls: Some(authority.server(&["127.0.0.1"]).expect("a certificate")),
        login: Some(("bells".to_owned(), "hunter2".to_owned())),
        ..Setup::default()
    };
    let server = MailServer::start(folder.path(), &setup).await;
    let (port, ca) = (server.port().to_string(), folder.path().join("ca.pem"));
    fs::write(&ca, authority.pem()).expect("written");
    let fleet = Fleet::start(&[
        ("BELLBUOY_REGISTRY__TITLE", "Example"),
        ("BELLBUOY_SMTP__HOST", "127.0.0.1"),
        ("BELLBUOY_SMTP__PORT", &port),
        ("BELLBUOY_SMTP__USER", "bells"),
        ("BELLBUOY_SMTP__PASSWORD", "hunter2"),
        ("BELLBUOY_SMTP__FROM", "bells@example.com"),
        ("BELLBUOY_OUTBOUND__EXTRA_CA", ca.to_str().expect("UTF-8")),
    ])
    .await;
    let wish = json!({"scope": {"registry": true}, "kinds": every_kind(), "method": "email",
        "config": {"email": "kim@example.com"}});
    fleet.api.wish(&wish).await;
    publish_every_kind(&fleet).await;
    let mails = server.wait_for(Kind::ALL.len()).await;
    let golden = golden("words/mail.txt");
    let expected: BTreeSet<&str> = golden.split("## ").map(str::trim).filter(|one| !one.is_empty()).collect();
    let arrived: BTreeSet<String> = mails.iter().map(as_golden_mail).collect();
    assert_eq!(arrived.iter().map(String::as_str).collect::<BTreeSet<_>>(), expected);
    assert!(mails.iter().all(|mail| mail.tls && mail.user.as_deref() == Some("bells")));
    let ids: BTreeSet<_> = mails.iter().filter_map(|mail| mail.field("Message-ID")).collect();
    assert_eq!(ids.len(), Kind::ALL.len(), "each delivery has its own id");
    assert!(!fleet.log().contains("hunter2"), "the password is in the log");
}

#[tokio::test]
async fn a_mail_server_that_is_away_is_waited_for_and_a_refused_mail_is_a_dead_letter() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let fleet = Fleet::start(&[
        ("BELLBUOY_SMTP__HOST", "127.0.0.1"),
        ("BELLBUOY_SMTP__PORT", &port.to_string()),
        ("BELLBUOY_SMTP__SECURITY", "none"),
        ("BELLBUOY_SMTP__FROM", "bells@example.com"),
        ("BELLBUOY_RETRY__STEPS", "500ms,1s,2s,4s,8s,16s,32s"),
    ])
    .await;
    for (name, address) in [
        ("fine", "kim@example.com"),
        ("grey", "grey@example.com"),
        ("cut", "cut@example.com"),
        ("gone", "never-550@example.com"),
        ("big", "big-552@example.com"),
    ] {
        // Of the whole registry, so that no address has to be confirmed.
        let wish = json!({"scope": {"registry": true}, "kinds": ["repo_push"], "method": "email",
            "config": {"email": address}, "filter": {"condition": {"path": "name", "equals": name}}});
        fleet.api.wish(&wish).await;
        fleet.api.publish(&support::push(name, &format!("acme/{name}"), "v1")).await;
    }
    let waiting = fleet.api.until("state=waiting", 5, &["waiting"]).await;
    let detail = fleet.api.delivery(&waiting[0]["id"]).await;
    assert_eq!(detail["attempts"][0]["cause"]["code"], "connect", "{detail}");
    let server = MailServer::start(folder.path(), &Setup { port, ..Setup::default() }).await;
    for (name, states, code) in [
        ("fine", &["delivered"][..], None),
        ("grey", &["delivered"], Some("smtp_deferred")),
        ("cut", &["delivered"], Some("reset")),
        ("gone", &["dead"], Some("smtp_rejected")),
        ("big", &["dead"], Some("smtp_rejected")),
    ] {
        let row = fleet.api.until(&format!("subject=acme/{name}"), 1, states).await.remove(0);
        let detail = fleet.api.delivery(&row["id"]).await;
        let codes: Vec<_> = detail["attempts"]
            .as_array()
            .expect("attempts")
            .iter()
            .filter_map(|one| one["cause"]["code"].as_str())
            .collect();
        assert!(code.is_none_or(|code| codes.contains(&code)), "{detail}");
    }
    let mails = server.wait_for(4).await;
    assert_eq!(mails.len(), 4);
    // The one whose answer was lost came twice, and says that it is the same.
    let cut = mails.iter().filter(|mail| mail.to == ["cut@example.com"]);
    let ids: Vec<_> = cut.map(|mail| mail.field("Message-ID")).collect();
    assert!(ids.len() == 2 && ids[0].is_some() && ids[0] == ids[1], "{ids:?}");
}

#[tokio::test]
async fn quays_clients_are_told_what_a_message_lacks_in_quays_words() {
    let fleet = Fleet::start(&[]).await;
    let rows = [
        ("quay_notification", json!({}), "Missing target"),
        ("email", json!({}), "Missing e-mail address"),
        ("webhook", json!({}), "Missing webhook URL"),
        ("webhook", json!({"url": "ftp://a.example"}), "Invalid webhook URL"),
        ("flowdock", json!({}), "Missing Flowdock API Token"),
        ("hipchat", json!({"room_id": "1"}), "Missing Hipchat Room Notification Token"),
        ("hipchat", json!({"notification_token": "t"}), "Missing Hipchat Room ID"),
        ("slack", json!({}), "Missing Slack Callback URL"),
    ];
    for (method, config, said) in rows {
        let body = json!({"event": "repo_push", "method": method, "config": config, "eventConfig": {}});
        let answer = fleet.api.post("/api/v1/repository/acme/api/notification/", &body).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["detail"]), (400, &json!(said)), "{body}");
    }
    let body = json!({"event": "repo_push", "method": "slack", "eventConfig": {},
        "config": {"url": "https://hooks.slack.com/services/A/B/c", "text": "${repository}", "of_theirs": 1}});
    let answer = fleet.api.post("/api/v1/repository/acme/api/notification/", &body).await;
    let shown: Map<String, Value> = answer.json()["config"].as_object().cloned().unwrap_or_default();
    assert_eq!(
        (answer.status.as_u16(), Value::from(shown)),
        (201, body["config"].clone()),
        "stored as written"
    );
}

/// The ids that the golden files are made with: of the delivery, the notification and the event.
const DELIVERY: &str = "749931c1-24b5-5b75-8423-64b262e68c38";
const NOTIFICATION: &str = "0b6b1f0e-6f0e-4d7b-9a3a-3d0c9d8d5a11";
const EVENT: &str = "42";

fn told(format: Format) -> impl Iterator<Item = Kind> {
    Kind::ALL.iter().copied().filter(move |kind| format.expresses(*kind))
}

#[tokio::test]
async fn every_kind_reaches_a_webhook_in_every_format_that_has_a_word_for_it() {
    let receiver = Receiver::start().await.expect("a receiver");
    let fleet = Fleet::start(&[("BELLBUOY_REGISTRY__TITLE", "Example")]).await;
    let mut wishes = Vec::new();
    for format in Format::ALL {
        let kinds: Vec<&str> = told(*format).map(Kind::name).collect();
        let config = json!({"url": receiver.url(&format!("/{format}"))});
        let wish = json!({"scope": {"registry": true}, "kinds": kinds, "method": "webhook", "config": config,
            "format": format.name()});
        wishes.push((*format, fleet.api.wish(&wish).await.id));
    }
    // The first of the sample's tags, as a request for each of them tells it.
    for kind in Kind::ALL {
        let mut event = sample(*kind);
        if *kind == Kind::RepoPush {
            event.data.insert("updated_tags".to_owned(), json!(["latest"]));
        }
        fleet.api.publish(&event.to_value()).await;
    }
    let count = Format::ALL.iter().map(|format| told(*format).count()).sum();
    let requests = receiver.wait_for(count, |_| true).await.expect("all");
    for (format, wish) in &wishes {
        let path = format!("/{format}");
        for kind in told(*format) {
            let is_it = |request: &&Recorded| {
                request.path == path && request.header("bellbuoy-event") == Some(kind.name())
            };
            let mut of_it = requests.iter().filter(is_it);
            let (Some(request), None) = (of_it.next(), of_it.next()) else { panic!("{path} {kind}") };
            for name in ["webhook-id", "webhook-timestamp", "webhook-signature", "bellbuoy-attempt"] {
                assert!(request.header(name).is_some(), "{path} {kind} has no {name}");
            }
            assert_eq!(request.header("content-type"), Some(content_type(*format)), "{path} {kind}");
            if let Some(agent) = format.user_agent() {
                assert_eq!(request.header("user-agent"), Some(agent), "{path} {kind}");
            }
            let mut golden: Value =
                serde_json::from_str(&golden(&format!("{format}/{kind}.json"))).expect("JSON");
            if kind == Kind::RepoPush && *format == Format::Quay {
                golden["updated_tags"] = json!(["latest"]);
            }
            if kind == Kind::RepoPush && *format == Format::CloudEvents {
                golden["data"]["updated_tags"] = json!(["latest"]);
            }
            assert_eq!(as_golden(request, wish, kind), golden, "{path} {kind}");
            if *format == Format::Quay && kind != Kind::RepoPush {
                let bytes = String::from_utf8(request.body.to_vec()).expect("UTF-8");
                assert_eq!(bytes, quay_bytes(kind), "byte by byte");
            }
        }
    }
}

fn content_type(format: Format) -> &'static str {
    match format {
        Format::CloudEvents | Format::HarborCloudEvents => "application/cloudevents+json",
        Format::Distribution => "application/vnd.docker.distribution.events.v2+json",
        _ => "application/json",
    }
}

fn quay_bytes(kind: Kind) -> String {
    golden(&format!("quay/{kind}.json")).trim_end_matches('\n').to_owned()
}

/// A request's body with the ids of the golden files in the place of its own.
fn as_golden(request: &Recorded, wish: &str, kind: Kind) -> Value {
    fn rename(value: &mut Value, kind: Kind) {
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    // Each event has its kind for its id.
                    if matches!(name.as_str(), "id" | "report_id") && *member == kind.name() {
                        *member = EVENT.into();
                    }
                    rename(member, kind);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| rename(item, kind)),
            _ => {}
        }
    }
    let delivery = request.header("webhook-id").expect("an id");
    let text = String::from_utf8(request.body.to_vec()).expect("UTF-8");
    let text = text.replace(delivery, DELIVERY).replace(wish, NOTIFICATION);
    let mut body: Value = serde_json::from_str(&text).expect("JSON");
    rename(&mut body, kind);
    if let Some(url) = body.get_mut("callback_url") {
        let (place, token) =
            url.as_str().and_then(|url| url.split_once("/hook/")).expect("where to call back");
        assert!(place.ends_with("/u/acme/team/api") && token.len() > 40, "{url}");
        *url =
            "https://notify.example.com/u/acme/team/api/hook/2141b5bi5i5b02bec211i4eeih0242eg11000a/".into();
    }
    body
}

#[tokio::test]
async fn every_kind_reaches_the_in_app_area_as_quay_has_it() {
    let fleet = Fleet::start(&[("BELLBUOY_REGISTRY__TITLE", "Example")]).await;
    let people = json!({"version": 1, "users": [{"name": "kim"}, {"name": "eve"}]});
    assert_eq!(fleet.api.post("/v1/directory/import", &people).await.status, 200);
    let token = async |name: &str| {
        let body = json!({"title": "test", "account": name, "scopes": ["user:admin"]});
        let made = fleet.api.post("/v1/tokens", &body).await.json();
        Client::new(&fleet.api.url, made["token"].as_str().expect("a token"))
    };
    let (kim, eve) = (token("kim").await, token("eve").await);
    let wish = json!({"scope": {"registry": true}, "kinds": every_kind(), "method": "quay_notification",
        "config": {"target": {"kind": "user", "name": "kim"}}});
    fleet.api.wish(&wish).await;
    publish_every_kind(&fleet).await;
    fleet.api.until("method=quay_notification", Kind::ALL.len(), &["delivered"]).await;
    let page = kim.get("/v1/inbox?limit=100").await;
    let items = page["items"].as_array().expect("a list");
    assert_eq!(items.len(), Kind::ALL.len());
    for kind in Kind::ALL {
        let item = items.iter().find(|item| item["kind"] == kind.name()).expect("an item");
        let golden: Value = serde_json::from_str(&golden(&format!("quay/{kind}.json"))).expect("JSON");
        assert_eq!((&item["metadata"], &item["dismissed"]), (&golden, &json!(false)), "{kind}");
    }
    assert_eq!(eve.get("/v1/inbox?limit=100").await["items"], json!([]), "nobody else's");
}

#[tokio::test]
async fn a_channel_has_one_pace_and_one_peace_whichever_notifications_go_there() {
    const PEACE: &str = "the receiver asked for fewer requests";
    let receiver = Receiver::start().await.expect("a receiver");
    receiver.script("/busy", [Answer::status(429).with("retry-after", "3600")]);
    let fleet = Fleet::start(&[]).await;
    let wish = async |path: &str| {
        let wish = json!({"scope": {"repository": format!("acme{path}")}, "kinds": ["repo_push"], "method": "slack",
            "config": {"url": receiver.url(path)}});
        fleet.api.wish(&wish).await;
    };
    for _ in 0..5 {
        wish("/calm").await;
        wish("/busy").await;
    }
    fleet.api.publish(&support::push("calm", "acme/calm", "v1")).await;
    fleet.api.until("subject=acme/calm", 5, &["delivered"]).await;
    // Each notification by itself would have gone at once.
    let labels = ["method=\"slack\"", "reason=\"rate_limited\""];
    assert!(fleet.api.counted("bellbuoy_delivery_holds_total", &labels).await >= 1.0);

    fleet.api.publish(&support::push("busy", "acme/busy", "v1")).await;
    let settled = async || {
        let rows = fleet.api.deliveries("subject=acme/busy").await;
        let is_held = |row: &Value| row["attempt_count"] == 0 && row["cause"]["detail"] == PEACE;
        let (held, tried): (Vec<Value>, Vec<Value>) = rows.into_iter().partition(is_held);
        (held.len() + tried.len() == 5 && tried.iter().all(|row| row["attempt_count"] == 1))
            .then_some((held, tried))
    };
    let (held, tried) = eventually(SOON, settled).await;
    assert!(!held.is_empty(), "what another notification was told is heeded: {tried:?}");
    let asked = receiver.requests().iter().filter(|request| request.path == "/busy").count();
    assert_eq!(asked, tried.len());
}

/// Where each service's message is in what is sent to it.
fn text_of<'a>(chat: &str, body: &'a Value) -> &'a Value {
    match chat {
        "slack" | "mattermost" | "rocketchat" => &body["attachments"][0]["text"],
        "teams" => &body["attachments"][0]["content"]["body"][1]["text"],
        "discord" => &body["embeds"][0]["description"],
        "hipchat" => &body["message"],
        _ => &body["content"],
    }
}

#[tokio::test]
async fn the_owners_own_words_arrive_in_a_channel_and_in_a_mail() {
    let (receiver, folder) =
        (Receiver::start().await.expect("a receiver"), tempfile::tempdir().expect("a folder"));
    let server = MailServer::start(folder.path(), &Setup::default()).await;
    let (base, port) = (receiver.url(""), server.port().to_string());
    let fleet = Fleet::start(&[
        ("BELLBUOY_SMTP__HOST", "127.0.0.1"),
        ("BELLBUOY_SMTP__PORT", &port),
        ("BELLBUOY_SMTP__SECURITY", "none"),
        ("BELLBUOY_SMTP__FROM", "bells@example.com"),
        ("BELLBUOY_HIPCHAT__BASE_URL", &base),
        ("BELLBUOY_FLOWDOCK__BASE_URL", &base),
    ])
    .await;
    let text = ":package: *${repository}* has ${updated_tags[*]} (${level}: ${summary})";
    for chat in CHATS {
        let config = match *chat {
            "hipchat" => json!({"room_id": "hipchat", "notification_token": "tok", "text": text}),
            "flowdock" => json!({"flow_api_token": "flowdock", "text": text}),
            other => json!({"url": receiver.url(&format!("/{other}")), "text": text}),
        };
        let wish = json!({"scope": {"repository": "acme/api"}, "kinds": ["repo_push"], "method": chat, "config": config});
        fleet.api.wish(&wish).await;
    }
    let words = json!({"email": "kim@example.com", "subject": "[${namespace}] ${updated_tags[*]} is there",
        "text": "Look at it:\n${homepage} <now>"});
    let wish =
        json!({"scope": {"registry": true}, "kinds": ["repo_push"], "method": "email", "config": words});
    fleet.api.wish(&wish).await;
    fleet.api.publish(&support::push("1", "acme/api", "v1")).await;
    let requests = receiver.wait_for(CHATS.len(), |_| true).await.expect("a message for each");
    for chat in CHATS {
        let of_it = requests.iter().find(|request| request.path.contains(*chat)).expect("a message");
        let body: Value = serde_json::from_slice(&of_it.body).expect("JSON");
        let said = ":package: *acme/api* has v1 (primary: Repository acme/api updated)";
        assert_eq!(text_of(chat, &body), said, "{chat}: {body}");
    }
    let mail = server.wait_for(1).await.remove(0);
    assert_eq!(mail.field("Subject").as_deref(), Some("[acme] v1 is there"));
    let page = "https://registry.example.com/repository/acme/api";
    let words: Vec<_> = mail.words().into_iter().map(|(_, text)| text.trim_end().to_owned()).collect();
    assert_eq!(words, [format!("Look at it:\n{page} <now>"), format!("Look at it:<br>\n{page} &lt;now&gt;")]);
}

/// The example of the README for services that have no method of their own.
fn pagerduty() -> Value {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");
    let readme = fs::read_to_string(readme).expect("the README");
    let blocks = readme.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next());
    let example = blocks.into_iter().find(|block| block.contains("pagerduty")).expect("an example");
    serde_json::from_str(example).unwrap_or_else(|error| panic!("{error}: {example}"))
}

#[tokio::test]
async fn the_readmes_template_makes_what_pagerduty_takes() {
    let (fleet, receiver) = (Fleet::start(&[]).await, Receiver::start().await.expect("a receiver"));
    let mut wish = pagerduty();
    assert_eq!(wish["config"]["url"], "https://events.pagerduty.com/v2/enqueue");
    wish["config"]["url"] = receiver.url("/v2/enqueue").into();
    wish["scope"] = json!({"repository": "acme/api"});
    wish["kinds"] = json!(["vulnerability_found"]);
    fleet.api.wish(&wish).await;
    let event = json!({"specversion": "1.0", "id": "1", "source": "journeys", "type": "vulnerability_found",
        "subject": "acme/api", "data": {"tags": ["v1"], "vulnerability": {"id": "CVE-2026-1", "priority": "Critical"}}});
    fleet.api.publish(&event).await;
    let request = receiver.wait_for(1, |_| true).await.expect("a request").remove(0);
    assert_eq!(request.header("content-type"), Some("application/json"));
    let body: Value = serde_json::from_slice(&request.body).expect("JSON");
    let expected = json!({
        "routing_key": "KEY", "event_action": "trigger", "dedup_key": "CVE-2026-1",
        "payload": {
            "summary": "CVE-2026-1 in acme/api", "source": "registry.example.com/acme/api", "severity": "critical",
        },
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn a_team_s_members_and_an_organization_s_owners_are_told_in_app_and_nobody_else() {
    let fleet = Fleet::start(&[]).await;
    let people = json!({
        "version": 1, "users": [{"name": "ann"}, {"name": "bob"}, {"name": "cy"}, {"name": "eve"}],
        "organizations": [
            {"name": "acme", "owners": ["ann"], "teams": [{"name": "dev", "members": ["bob", "cy"]}]},
            {"name": "beta", "owners": ["eve"], "teams": [{"name": "dev", "members": ["eve"]}]},
        ],
    });
    assert_eq!(fleet.api.post("/v1/directory/import", &people).await.status, 200);
    for (kind, name) in [("team", "dev"), ("org", "acme")] {
        let body = json!({"event": "repo_push", "method": "quay_notification", "eventConfig": {},
            "config": {"target": {"kind": kind, "name": name}}});
        let made = fleet.api.post("/api/v1/repository/acme/api/notification/", &body).await;
        assert_eq!(made.status, 201, "{}", made.text());
    }
    fleet.api.publish(&support::push("1", "acme/api", "v1")).await;
    fleet.api.until("method=quay_notification", 2, &["delivered"]).await;
    for (who, organizations) in
        [("ann", &[json!("acme")][..]), ("bob", &[Value::Null]), ("cy", &[Value::Null]), ("eve", &[])]
    {
        let body = json!({"title": "test", "account": who, "scopes": ["user:admin"]});
        let made = fleet.api.post("/v1/tokens", &body).await.json();
        let client = Client::new(&fleet.api.url, made["token"].as_str().expect("a token"));
        let page = client.get("/api/v1/user/notifications").await;
        let items = page["notifications"].as_array().expect("a list");
        let found: Vec<Value> = items.iter().map(|item| item["organization"].clone()).collect();
        assert_eq!(found, organizations, "{who}: {page}");
        for item in items {
            assert_eq!(
                (&item["kind"], &item["metadata"]["updated_tags"]),
                (&json!("repo_push"), &json!(["v1"]))
            );
        }
    }
}
