//! How long chat messages are shortened: never within markup.

use bellbuoy_domain::{
    Event, Format, Kind, MethodConfig, MethodName, Registry, RepositoryName, Scope, Subject,
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// Each service, where its message stands in the body, and its limit in characters.
const SERVICES: &[(MethodName, &str, usize)] = &[
    (MethodName::Slack, "/attachments/0/text", 12_000),
    (MethodName::Mattermost, "/attachments/0/text", 12_000),
    (MethodName::RocketChat, "/attachments/0/text", 12_000),
    (MethodName::Teams, "/attachments/0/content/body/1/text", 24_000),
    (MethodName::Discord, "/embeds/0/description", 4096),
    (MethodName::HipChat, "/message", 10_000),
    (MethodName::Flowdock, "/content", 12_000),
];

/// A push of tags that need all that a markup escapes.
fn push(tags: usize) -> Event {
    let subject = Subject::Repository(RepositoryName::parse("acme/api").expect("a name"));
    let mut push =
        Event::sample(Kind::RepoPush, subject, &Map::new(), "r.example", "1", Timestamp::UNIX_EPOCH);
    let tag = |number| format!("{number}&<[_]>\"'{}", "x".repeat(230));
    push.data["updated_tags"] = (0..tags).map(tag).collect();
    push
}

/// The bytes that a service gets.
fn body(method: MethodName, text: Option<&str>, event: &Event) -> Vec<u8> {
    let mut config = match method {
        MethodName::HipChat => json!({"room_id": "12", "notification_token": "tok"}),
        MethodName::Flowdock => json!({"flow_api_token": "tok"}),
        _ => json!({"url": "https://chat.example.com/hook"}),
    };
    config["text"] = json!(text);
    let config = MethodConfig::parse(method, config.as_object().expect("an object"), &Scope::Registry);
    let Ok(MethodConfig::Chat(config)) = config else { panic!("{method}: {config:?}") };
    let registry = Registry { title: "Ours".into(), url: "https://r.example".into() };
    config.payload(event, Format::Quay, &registry, "").expect("a payload").body
}

fn message(body: &[u8], pointer: &str) -> String {
    let body: Value = serde_json::from_slice(body).expect("JSON");
    body.pointer(pointer).and_then(Value::as_str).expect("a message").to_owned()
}

/// Panics unless every bracket has its other and every entity its end.
fn assert_whole(text: &str) {
    let mut open = Vec::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => assert!(letters.next().is_some(), "an escape of nothing: {text}"),
            '<' | '[' | '(' => open.push(letter),
            '>' => assert_eq!(open.pop(), Some('<'), "{text}"),
            ']' => assert_eq!(open.pop(), Some('['), "{text}"),
            ')' => assert_eq!(open.pop(), Some('('), "{text}"),
            _ => {}
        }
    }
    assert!(open.is_empty(), "{open:?} is not closed: {text}");
    assert!(!text.contains("]..."), "a link without its URL: {text}");
    assert_eq!(text.matches("<a ").count(), text.matches("</a>").count(), "{text}");
}

/// The same of HTML and Slack's, where `&` begins an entity.
fn assert_entities(text: &str) {
    for entity in text.split('&').skip(1) {
        let ends = ["amp;", "lt;", "gt;", "quot;", "#39;"].iter().any(|name| entity.starts_with(name));
        assert!(ends, "&{entity}");
    }
}

fn has_entities(method: MethodName) -> bool {
    matches!(method, MethodName::Slack | MethodName::HipChat | MethodName::Flowdock)
}

#[test]
fn a_message_of_many_long_tags_ends_between_them_and_within_the_services_limit() {
    for (method, pointer, longest) in SERVICES {
        let said = message(&body(*method, None, &push(50)), pointer);
        assert!(said.ends_with("..."), "{method}: {said}");
        let length = said.chars().count();
        assert!(length <= *longest && length > longest / 3, "{method}: {length}");
        // In HTML and Slack's a bracket is a letter like others.
        let said = if has_entities(*method) { said.replace(['[', ']'], "") } else { said };
        assert_whole(&said);
        if has_entities(*method) {
            assert_entities(&said);
        }
    }
}

#[test]
fn a_message_that_has_room_is_not_shortened() {
    for (method, pointer, _) in SERVICES {
        let said = message(&body(*method, None, &push(3)), pointer);
        assert!(!said.contains("...") && said.contains("acme/api"), "{method}: {said}");
        // More than half of the room for one of two.
        let text = "${updated_tags} ${repository}";
        let said = message(&body(*method, Some(text), &push(12)), pointer);
        assert!(said.ends_with("x acme/api"), "{method}: {said}");
    }
}

#[test]
fn in_an_owners_text_what_is_put_in_gets_shorter_and_the_markup_stays() {
    for (method, pointer, longest) in SERVICES {
        for tags in (30..130).step_by(11) {
            let text = "<${updated_tags}> [${repository}](x) <${updated_tags}> ${repository}";
            let said = message(&body(*method, Some(text), &push(tags)), pointer);
            let length = said.chars().count();
            assert!(length <= *longest, "{method}: {length}");
            if tags == 129 {
                assert!(said.contains("...> [") && said.ends_with("...> acme/api"), "{method}: {said}");
            }
            if has_entities(*method) {
                assert_entities(&said);
            } else {
                assert_whole(&said);
            }
        }
    }
}

#[test]
fn what_is_put_into_an_owners_text_brings_no_line_mark_or_call_along() {
    let mut event = push(0);
    event.data["updated_tags"] = json!(["a\r\n- b\u{202e}\u{7}\n\n@kim", "c@sha256:1"]);
    for (method, pointer, _) in SERVICES {
        let said = message(&body(*method, Some("@ann:\n${updated_tags[*]}"), &event), pointer);
        let own = if *method == MethodName::Teams { "@ann:\n\n" } else { "@ann:\n" };
        let put_in = said.strip_prefix(own).expect("the owner's own words stay");
        assert!(!put_in.contains(['\r', '\n', '\u{202e}', '\u{7}']), "{method}: {put_in:?}");
        assert!(put_in.contains("a - b ") && put_in.contains("c@sha256:1"), "{method}: {put_in:?}");
        let is_markdown = !has_entities(*method);
        assert_eq!(put_in.contains("@kim"), !is_markdown, "{method}: {put_in:?}");
    }
}

#[test]
fn the_longest_text_of_an_owner_has_room() {
    let text = "${updated_tags}".repeat(4096 / "${updated_tags}".len());
    for (method, pointer, longest) in SERVICES {
        let said = message(&body(*method, Some(&text), &push(14)), pointer);
        assert!(said.chars().count() <= *longest && said.ends_with("..."), "{method}: {said}");
        let own = "x".repeat(4096);
        assert_eq!(message(&body(*method, Some(&own), &push(1)), pointer), own, "{method}");
    }
}

#[test]
fn a_card_of_teams_takes_at_most_24_kb_whatever_it_is_written_in() {
    let said = |text: Option<&str>, event: &Event| body(MethodName::Teams, text, event).len();
    for letter in ["x", "\"", "\u{44f}", "\u{1f514}", "\n", "\u{1}", "_", "\u{44f}\n"] {
        let mut push = push(1);
        push.data["updated_tags"] = json!([letter.repeat(24_000)]);
        let filled = said(Some("${updated_tags}"), &push);
        assert!(filled <= 24_000 && filled > 20_000, "{letter:?}: {filled}");
        push.data["updated_tags"] = vec![letter.repeat(499); 50].into();
        let ours = said(None, &push);
        assert!(ours <= 24_000, "{letter:?}: {ours}");
        let own = letter.repeat(4096 / letter.len());
        let own_alone = said(Some(&own), &push);
        assert!(own_alone <= 28 << 10, "an owner's own text is never shortened; {letter:?}: {own_alone}");
    }
    let namespace = Subject::Namespace("\u{1f514}".repeat(499));
    let mut quota =
        Event::sample(Kind::QuotaWarning, namespace, &Map::new(), "r.example", "1", Timestamp::UNIX_EPOCH);
    quota.data.insert("x".to_owned(), "\u{1f514}".repeat(24_000).into());
    let bytes = said(Some("${x}"), &quota);
    assert!(bytes <= 24_000, "with the longest summary: {bytes}");
}
