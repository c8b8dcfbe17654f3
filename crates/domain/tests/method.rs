//! What a method's settings may be, with the messages that Quay's clients know.

use bellbuoy_domain::{
    CheckedNotification, ConfigError, EmailAddress, Event, Format, Kind, MethodConfig, MethodName,
    Notification, NotificationId, NotificationState, Registry, RepositoryName, Scope, Subject, TargetKind,
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

fn repository() -> Scope {
    Scope::Repository(RepositoryName::parse("acme/api").expect("a name"))
}

fn parse(method: MethodName, config: &Value, scope: &Scope) -> Result<MethodConfig, ConfigError> {
    MethodConfig::parse(method, config.as_object().expect("an object"), scope)
}

/// Quay's answer to these settings; `ok` if it takes them.
fn said(method: MethodName, config: &Value) -> String {
    parse(method, config, &repository()).err().map_or("ok".to_owned(), |error| error.to_string())
}

#[test]
fn a_webhook_needs_a_url_that_everyone_reads_alike() {
    let good = [
        "http://receiver.example.com",
        "https://receiver.example.com/hook?x=1",
        "https://receiver.example.com:8443/",
        "http://192.0.2.7/x",
        "http://[2001:db8::1]:8080/x",
        "HTTP://Receiver.Example.com/",
        // Whether these may be dialled is asked when they are dialled.
        "http://receiver.example.com/@kim?mail=a@b",
        "http://localhost/x",
        "http://127.0.0.1:9000/x",
        "http://xn--bcher-kva.example/",
    ];
    for url in good {
        assert_eq!(said(MethodName::Webhook, &json!({"url": url})), "ok", "{url}");
    }
    let bad = [
        "receiver.example.com",
        "ftp://receiver.example.com",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "http://",
        "http:///x",
        "http:/receiver.example.com",
        "http:receiver.example.com",
        "http://?x",
        "http://#x",
        "http://:80/",
        "http://[::1",
        "http://[::zz]/",
        "http://user@receiver.example.com/",
        "http://user:secret@receiver.example.com/",
        "http://@receiver.example.com/",
        "http://:secret@receiver.example.com/",
        "http://good.example\\@evil.example/",
        "http://receiver.example.com/a b",
        "http://receiver.example.com/\r\nX: y",
        " http://receiver.example.com/",
        "http://receiver.example.com:99999/",
        "http://receiver.example.com:0/",
        "http://re%00ceiver/",
    ];
    for url in bad {
        assert_eq!(said(MethodName::Webhook, &json!({"url": url})), "Invalid webhook URL", "{url:?}");
    }
    let long = format!("http://receiver.example.com/{}", "x".repeat(2048));
    assert_eq!(said(MethodName::Webhook, &json!({"url": long})), "Invalid webhook URL");
}

#[test]
fn what_a_webhook_lacks_is_told_in_quays_words() {
    let url = "https://receiver.example.com/";
    let rows = [
        (json!({}), "Missing webhook URL"),
        (json!({"url": ""}), "Missing webhook URL"),
        (json!({"url": null}), "Missing webhook URL"),
        (json!({"url": 5}), "Invalid webhook URL"),
        (json!({"url": url, "template": ""}), "ok"),
        (json!({"url": url, "template": null}), "ok"),
        (json!({"url": url, "template": "{\"text\": \"${repository} pushed\"}"}), "ok"),
        (
            json!({"url": url, "template": "nope"}),
            "Could not parse template: Expecting value: line 1 column 1 (char 0)",
        ),
        (json!({"url": url, "template": "\"${}\""}), "Empty expression found"),
        (
            json!({"url": url, "template": "\"${;;}\""}),
            "For expression `;;`: Error on line 1, col 0: Unexpected character: ; ",
        ),
        (
            json!({"url": url, "template": {"a": 1}}),
            "Could not parse template: the template must be a string that holds JSON",
        ),
        (json!({"url": url, "of_theirs": [1]}), "ok"),
    ];
    for (config, message) in rows {
        assert_eq!(said(MethodName::Webhook, &config), message, "{config}");
    }
}

#[test]
fn an_in_app_target_is_a_user_a_team_or_the_namespaces_organization() {
    let target = |target: Value| json!({"target": target, "of_theirs": 1});
    let rows = [
        (json!({}), "Missing target"),
        (target(json!(null)), "Missing target"),
        (target(json!("kim")), "Missing target"),
        (target(json!({})), "Missing target"),
        (target(json!({"name": "kim"})), "Missing target"),
        (target(json!({"kind": "", "name": "kim"})), "Missing target"),
        (
            target(json!({"kind": "robot", "name": "kim"})),
            "Unknown target kind robot; known are user, team, org",
        ),
        (target(json!({"kind": "user"})), "Missing target name"),
        (target(json!({"kind": "user", "name": ""})), "Missing target name"),
        (target(json!({"kind": "user", "name": 5})), "Missing target name"),
        (
            target(json!({"kind": "org", "name": "other"})),
            "Organization name must match repository namespace",
        ),
        (target(json!({"kind": "org", "name": "acme"})), "ok"),
        (target(json!({"kind": "team", "name": "owners"})), "ok"),
        (target(json!({"kind": "user", "name": "kim", "delegate": {}})), "ok"),
    ];
    for (config, message) in rows {
        assert_eq!(said(MethodName::QuayNotification, &config), message, "{config}");
    }
}

#[test]
fn a_notification_of_the_whole_registry_can_name_users_and_organizations_but_no_team() {
    let parse = |kind: &str| {
        let config = json!({"target": {"kind": kind, "name": "acme"}});
        parse(MethodName::QuayNotification, &config, &Scope::Registry)
    };
    assert!(parse("user").is_ok());
    assert!(parse("org").is_ok());
    assert_eq!(parse("team"), Err(ConfigError::TeamWithoutNamespace));
}

#[test]
fn a_mail_and_each_chat_service_is_told_what_it_lacks_in_quays_words() {
    use MethodName::{Discord, Email, Flowdock, HipChat, Mattermost, RocketChat, Slack, Teams};
    let rows = [
        (Email, json!({}), "Missing e-mail address"),
        (Email, json!({"email": ""}), "Missing e-mail address"),
        (Email, json!({"email": null}), "Missing e-mail address"),
        (Email, json!({"email": "kim"}), "Invalid e-mail address"),
        (Email, json!({"email": "kim@example.com\r\nBcc: eve@example.com"}), "Invalid e-mail address"),
        (Email, json!({"email": "kim@example.com", "subject": 5}), "`subject` should be a string"),
        (Email, json!({"email": "kim@example.com", "text": "${}"}), "Empty expression found"),
        (Email, json!({"email": "kim@example.com", "of_theirs": [1]}), "ok"),
        (Slack, json!({}), "Missing Slack Callback URL"),
        (Slack, json!({"url": ""}), "Missing Slack Callback URL"),
        (Slack, json!({"url": null}), "Missing Slack Callback URL"),
        (Slack, json!({"url": "ftp://hooks.slack.com/x"}), "Invalid Slack Callback URL"),
        (Slack, json!({"url": 5}), "Invalid Slack Callback URL"),
        (Slack, json!({"url": "https://hooks.slack.com/services/A/B/c"}), "ok"),
        (Slack, json!({"url": "https://chat.example.com/", "text": "${repository} <!here>"}), "ok"),
        (Mattermost, json!({}), "Missing Mattermost Callback URL"),
        (RocketChat, json!({"url": "x"}), "Invalid Rocket.Chat Callback URL"),
        (Teams, json!({}), "Missing Teams Callback URL"),
        (Discord, json!({}), "Missing Discord Callback URL"),
        (Flowdock, json!({}), "Missing Flowdock API Token"),
        (Flowdock, json!({"flow_api_token": ""}), "Missing Flowdock API Token"),
        (Flowdock, json!({"flow_api_token": "tok"}), "ok"),
        (HipChat, json!({"room_id": "12"}), "Missing Hipchat Room Notification Token"),
        (HipChat, json!({}), "Missing Hipchat Room Notification Token"),
        (HipChat, json!({"notification_token": "tok"}), "Missing Hipchat Room ID"),
        (HipChat, json!({"notification_token": "tok", "room_id": ""}), "Missing Hipchat Room ID"),
        (HipChat, json!({"notification_token": "tok", "room_id": "12"}), "ok"),
        (HipChat, json!({"notification_token": "tok", "room_id": 12}), "ok"),
    ];
    for (method, config, message) in rows {
        assert_eq!(said(method, &config), message, "{method} {config}");
    }
}

#[test]
fn a_namespace_s_mail_needs_no_address_for_it_goes_to_its_people() {
    let namespace = Scope::Namespace("acme".to_owned());
    for config in
        [json!({}), json!({"email": ""}), json!({"email": null}), json!({"email": "kim@example.com"})]
    {
        let parsed = parse(MethodName::Email, &config, &namespace).expect("settings");
        let MethodConfig::Email(mail) = parsed else { panic!("not mail") };
        let written = config["email"].as_str().filter(|email| !email.is_empty());
        assert_eq!(mail.address.as_ref().map(EmailAddress::as_str), written, "{config}");
    }
    assert_eq!(
        parse(MethodName::Email, &json!({"email": "kim"}), &namespace),
        Err(ConfigError::InvalidEmail)
    );
    assert_eq!(parse(MethodName::Email, &json!({}), &Scope::Registry), Err(ConfigError::MissingEmail));
}

#[test]
fn what_only_the_directory_knows_is_refused_in_quays_words_too() {
    let rows = [
        (ConfigError::UnknownUser("kim".into()), "Unknown user kim"),
        (ConfigError::UnknownOrganization("acme".into()), "Unknown organization acme"),
        (ConfigError::UnknownTeam("owners".into()), "Unknown team owners"),
        (
            ConfigError::UnconfirmedEmail,
            "The specified e-mail address is not authorized to receive notifications for this repository",
        ),
        (
            ConfigError::ForeignEmail,
            "The specified e-mail address is not authorized to receive notifications for this namespace",
        ),
    ];
    for (error, message) in rows {
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn a_channels_address_and_tokens_stand_in_no_debug_form() {
    let rows = [
        (MethodName::Slack, json!({"url": "https://hooks.slack.com/hunter2"})),
        (MethodName::HipChat, json!({"room_id": "hunter2", "notification_token": "hunter2"})),
        (MethodName::Flowdock, json!({"flow_api_token": "hunter2"})),
    ];
    for (method, config) in rows {
        let parsed = parse(method, &config, &repository()).expect("settings");
        assert!(!format!("{parsed:?}").contains("hunter2"), "{parsed:?}");
    }
}

#[test]
fn the_owners_own_words_keep_their_markup_and_what_is_put_in_has_none() {
    let subject = Subject::Repository(RepositoryName::parse("acme/api").expect("a name"));
    let mut push =
        Event::sample(Kind::RepoPush, subject, &Map::new(), "r.example", "1", Timestamp::UNIX_EPOCH);
    push.data["updated_tags"] = json!(["<!channel>", "v_1"]);
    let registry = Registry { title: "Ours".into(), url: "https://r.example".into() };
    let text =
        "*${event}* <https://x.example|${repository}>: ${updated_tags}, ${missing} (${level}: ${summary})";
    let rows = [
        (
            MethodName::Slack,
            "*repo_push* <https://x.example|acme/api>: &lt;!channel&gt;,v_1, (none) (primary: Repository acme/api updated)",
        ),
        (
            MethodName::Discord,
            "*repo\\_push* <https://x.example|acme/api>: \\<!channel\\>,v\\_1, (none) (primary: Repository acme/api updated)",
        ),
    ];
    for (method, words) in rows {
        let config = json!({"url": "https://chat.example.com/", "text": text});
        let Ok(MethodConfig::Chat(config)) = parse(method, &config, &repository()) else {
            panic!("{method}")
        };
        let sent = config.payload(&push, Format::Quay, &registry, "").expect("a payload");
        let sent: Value = serde_json::from_slice(&sent.body).expect("JSON");
        let told = [&sent["attachments"][0]["text"], &sent["embeds"][0]["description"]];
        assert!(told.contains(&&json!(words)), "{sent}");
    }
    let config =
        json!({"email": "k@x.y", "subject": "${event}\r\nBcc: e@x.y", "text": "a <b>\n${updated_tags}"});
    let Ok(MethodConfig::Email(config)) = parse(MethodName::Email, &config, &repository()) else { panic!() };
    let letter = config.letter(&push, Format::CloudEvents, &registry).expect("a letter");
    assert_eq!(letter.subject, "repo_push Bcc: e@x.y");
    assert_eq!((letter.text.as_str(), letter.html.as_str()), ("a <b>\n(none)", "a &lt;b&gt;<br>\n(none)"));
}

fn notification() -> Notification {
    Notification {
        id: NotificationId::from(uuid::Uuid::from_u128(1)),
        title: None,
        scope: repository(),
        kinds: vec![Kind::VulnerabilityFound],
        event_config: json!({"level": "1"}).as_object().expect("an object").clone(),
        method: "quay_notification".to_owned(),
        config: json!({"target": {"kind": "team", "name": "owners"}}).as_object().expect("an object").clone(),
        secret: None,
        format: "quay".to_owned(),
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

#[test]
fn a_notification_is_understood_as_a_whole() {
    let CheckedNotification { method, format, .. } = notification().check().expect("understood");
    let MethodConfig::QuayNotification(target) = method else { panic!("{method:?}") };
    assert_eq!((target.kind, target.name.as_str(), format), (TargetKind::Team, "owners", Format::Quay));
}

#[test]
fn a_notification_is_refused_for_the_first_member_that_is_not_understood() {
    type Spoil = fn(&mut Notification);
    let rows: [(Spoil, &str); 5] = [
        (|it| it.kinds.clear(), "the notification names no kind of event"),
        (
            |it| drop(it.event_config.insert("level".into(), json!("x"))),
            "event config: `level` is `\"x\"`, but should be",
        ),
        (
            |it| it.method = "pigeon".into(),
            "unknown method \"pigeon\"; known are webhook, quay_notification, email, slack",
        ),
        (|it| it.config.clear(), "Missing target"),
        (|it| it.format = "xml".into(), "unknown format \"xml\"; known are quay, cloudevents"),
    ];
    for (spoil, message) in rows {
        let mut spoilt = notification();
        spoil(&mut spoilt);
        let error = spoilt.check().expect_err(message).to_string();
        assert!(error.starts_with(message), "{error}");
    }
}

#[test]
fn every_method_and_format_is_read_back_by_its_name() {
    for method in MethodName::ALL {
        assert_eq!(method.name().parse(), Ok(*method));
    }
    for format in Format::ALL {
        assert_eq!(format.name().parse(), Ok(*format));
    }
}
