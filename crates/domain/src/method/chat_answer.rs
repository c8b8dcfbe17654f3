//! What chat services say in the bodies of their answers, where their statuses do not say it.
//!
//! Slack and Mattermost name what is wrong, Rocket.Chat says it in a member `success`, Discord gives a number, and Teams
//! answers 200 to what it did not deliver, with the status that it should have had in a sentence.

use std::time::Duration;

use serde_json::Value;

use super::ChatService;

/// What an answer means beyond its status.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ChatAnswer {
    /// What its status says.
    AsStatus,
    /// What this status would have said.
    As(u16),
    /// The channel, or the address that stands for it, is no more: no message gets there again. In the service's words.
    NoChannel(&'static str),
    /// The service will never take this message. In its words.
    Unfit(&'static str),
    /// There were too many messages; the wait that it asked for in the body, if any.
    TooMany(Option<Duration>),
    /// It did nothing with the message, although the status says that it did.
    Failed,
}

use ChatAnswer::{As, AsStatus, Failed, NoChannel, TooMany, Unfit};

/// What is wrong, as Slack names it, and whoever does as Slack does.
const SLACK: &[(&str, ChatAnswer)] = &[
    ("no_service", NoChannel("no_service")),
    ("no_service_id", NoChannel("no_service_id")),
    ("no_active_hooks", NoChannel("no_active_hooks")),
    ("no_team", NoChannel("no_team")),
    ("team_disabled", NoChannel("team_disabled")),
    ("channel_not_found", NoChannel("channel_not_found")),
    ("channel_is_archived", NoChannel("channel_is_archived")),
    ("is_archived", NoChannel("is_archived")),
    ("user_not_found", NoChannel("user_not_found")),
    ("invalid_payload", Unfit("invalid_payload")),
    ("no_text", Unfit("no_text")),
    ("msg_too_long", Unfit("msg_too_long")),
    ("too_many_attachments", Unfit("too_many_attachments")),
    ("invalid_attachments", Unfit("invalid_attachments")),
    ("invalid_blocks", Unfit("invalid_blocks")),
    ("rate_limited", TooMany(None)),
    ("ratelimited", TooMany(None)),
    // A permission or a token can be put right: as for a 403.
    ("invalid_token", As(403)),
    ("invalid_auth", As(403)),
    ("action_prohibited", As(403)),
    ("posting_to_general_channel_denied", As(403)),
    ("rollup_error", As(500)),
    ("internal_error", As(500)),
    ("fatal_error", As(500)),
];

/// What Mattermost's errors have for an `id`.
const MATTERMOST: &[(&str, ChatAnswer)] = &[
    ("web.incoming_webhook.invalid.app_error", NoChannel("invalid webhook")),
    ("web.incoming_webhook.channel.app_error", NoChannel("no such channel")),
    ("web.incoming_webhook.user.app_error", NoChannel("no such user")),
    ("web.incoming_webhook.text.app_error", Unfit("no text")),
    ("web.incoming_webhook.parse.app_error", Unfit("unreadable")),
    ("web.incoming_webhook.split_props_length.app_error", Unfit("too long")),
];

const ROCKET_CHAT: &[(&str, ChatAnswer)] = &[
    ("Invalid integration id or token provided.", NoChannel("invalid integration id or token")),
    ("error-invalid-channel", NoChannel("error-invalid-channel")),
    ("invalid-channel", NoChannel("invalid-channel")),
];

/// Discord's numbers.
const DISCORD: &[(u64, ChatAnswer)] = &[
    (10_003, NoChannel("unknown channel")),
    (10_015, NoChannel("unknown webhook")),
    (50_027, NoChannel("invalid webhook token")),
    (50_006, Unfit("empty message")),
    (50_035, Unfit("invalid form body")),
];

/// How Teams begins to say that a message was not delivered.
const TEAMS_FAILED: &str = "Webhook message delivery failed with error";

/// What comes before the status of the endpoint behind it.
const TEAMS_STATUS: &str = "HTTP error ";

/// The longest wait that is read in a body.
const LONGEST_WAIT: f64 = 30.0 * 24.0 * 3600.0;

/// How much of a body is worth reading, in bytes.
pub const CHAT_ANSWER_BYTES: usize = 4096;

impl ChatService {
    /// Reads an answer: its status, and the first [`CHAT_ANSWER_BYTES`] of its body. What is not understood means
    /// nothing.
    pub fn answer(self, status: u16, body: &[u8]) -> ChatAnswer {
        let text = String::from_utf8_lossy(body);
        let text = text.trim();
        let json: Value = serde_json::from_str(text).unwrap_or_default();
        let is_success = (200..300).contains(&status);
        let said = match self {
            Self::Teams => teams(text),
            Self::Discord => discord(status, &json),
            Self::Mattermost => named(MATTERMOST, json["id"].as_str()).or_else(|| slack(text, &json)),
            Self::RocketChat => named(ROCKET_CHAT, json["error"].as_str()).or_else(|| slack(text, &json)),
            Self::Slack | Self::HipChat | Self::Flowdock => slack(text, &json),
        };
        let denies = [&json["ok"], &json["success"]].contains(&&Value::Bool(false));
        match said {
            Some(said) => said,
            None if is_success && denies => Failed,
            None => AsStatus,
        }
    }
}

fn slack(text: &str, json: &Value) -> Option<ChatAnswer> {
    named(SLACK, json["error"].as_str().or(Some(text)))
}

fn named(table: &[(&str, ChatAnswer)], name: Option<&str>) -> Option<ChatAnswer> {
    let name = name?;
    table.iter().find(|(known, _)| *known == name).map(|(_, answer)| *answer)
}

fn teams(text: &str) -> Option<ChatAnswer> {
    let (_, why) = text.split_once(TEAMS_FAILED)?;
    let status = why.split_once(TEAMS_STATUS).and_then(|(_, rest)| rest.get(..3)?.parse().ok());
    // Whatever stands there, it is no success.
    Some(status.filter(|status| (300..600).contains(status)).map_or(Failed, As))
}

fn discord(status: u16, json: &Value) -> Option<ChatAnswer> {
    if status == 429 {
        let wait = json["retry_after"].as_f64().filter(|seconds| *seconds >= 0.0);
        return Some(TooMany(wait.map(|seconds| Duration::from_secs_f64(seconds.min(LONGEST_WAIT)))));
    }
    let code = json["code"].as_u64().filter(|_| (400..500).contains(&status))?;
    DISCORD.iter().find(|(known, _)| *known == code).map(|(_, answer)| *answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ChatService::{Discord, Flowdock, HipChat, Mattermost, RocketChat, Slack, Teams};

    #[test]
    fn each_service_is_understood_in_its_own_way() {
        let wait = |millis| TooMany(Some(Duration::from_millis(millis)));
        for (service, status, body, expected) in [
            (Slack, 200, "ok", AsStatus),
            (Slack, 200, r#"{"ok":true}"#, AsStatus),
            (Slack, 200, r#"{"ok":false,"error":"channel_is_archived"}"#, NoChannel("channel_is_archived")),
            (Slack, 200, r#"{"ok":false,"error":"something new"}"#, Failed),
            (Slack, 200, r#"{"ok":false,"error":"ratelimited"}"#, TooMany(None)),
            (Slack, 404, "no_service", NoChannel("no_service")),
            (Slack, 404, "no_service\n", NoChannel("no_service")),
            (Slack, 404, "no_team", NoChannel("no_team")),
            (Slack, 404, "<html>not found</html>", AsStatus),
            (Slack, 410, "channel_is_archived", NoChannel("channel_is_archived")),
            (Slack, 403, "invalid_token", As(403)),
            (Slack, 400, "action_prohibited", As(403)),
            (Slack, 400, "invalid_payload", Unfit("invalid_payload")),
            (Slack, 429, "rate_limited", TooMany(None)),
            (Slack, 500, "rollup_error", As(500)),
            (Mattermost, 200, "ok", AsStatus),
            (
                Mattermost,
                400,
                r#"{"id":"web.incoming_webhook.invalid.app_error","message":"Invalid webhook.","status_code":400}"#,
                NoChannel("invalid webhook"),
            ),
            (Mattermost, 501, r#"{"id":"web.incoming_webhook.disabled.app_error"}"#, AsStatus),
            (Mattermost, 200, r#"{"ok":false}"#, Failed),
            (RocketChat, 200, r#"{"success":true}"#, AsStatus),
            (RocketChat, 200, r#"{"success":false,"error":"unknown-error"}"#, Failed),
            (RocketChat, 400, r#"{"success":false,"error":"unknown-error"}"#, AsStatus),
            (
                RocketChat,
                404,
                r#"{"success":false,"error":"Invalid integration id or token provided."}"#,
                NoChannel("invalid integration id or token"),
            ),
            (Teams, 200, "1", AsStatus),
            (Teams, 202, "", AsStatus),
            (
                Teams,
                200,
                "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429 with \
                 ContextId tcid=0,server=msgapi",
                As(429),
            ),
            (
                Teams,
                200,
                "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 413",
                As(413),
            ),
            (
                Teams,
                200,
                "Webhook message delivery failed with error: Error contacting Microsoft Teams endpoint",
                Failed,
            ),
            (Teams, 200, "Webhook message delivery failed with error: HTTP error 200", Failed),
            (Teams, 200, "Webhook message delivery failed with error: HTTP error 4", Failed),
            (Teams, 429, "", AsStatus),
            (Discord, 204, "", AsStatus),
            (Discord, 429, r#"{"message":"...","retry_after":0.673,"global":false}"#, wait(673)),
            (Discord, 429, r#"{"retry_after":1e300}"#, wait(30 * 24 * 3600 * 1000)),
            (Discord, 429, r#"{"retry_after":-1}"#, TooMany(None)),
            (Discord, 429, "<html>", TooMany(None)),
            (Discord, 404, r#"{"message":"Unknown Webhook","code":10015}"#, NoChannel("unknown webhook")),
            (Discord, 401, r#"{"code":50027}"#, NoChannel("invalid webhook token")),
            (Discord, 400, r#"{"code":50035}"#, Unfit("invalid form body")),
            (Discord, 400, r#"{"code":1}"#, AsStatus),
            (Discord, 200, r#"{"code":10015}"#, AsStatus),
            (HipChat, 204, "", AsStatus),
            (HipChat, 200, r#"{"ok":false}"#, Failed),
            (Flowdock, 404, "{}", AsStatus),
        ] {
            assert_eq!(service.answer(status, body.as_bytes()), expected, "{service:?} {status} {body}");
        }
    }

    #[test]
    fn what_is_no_text_or_cut_in_the_middle_means_nothing() {
        for body in [
            &b"\xff\xfe"[..],
            br#"{"ok":false,"error":"channel_is_arch"#,
            b"[false]",
            b"null",
            b"no_service no_service",
        ] {
            for service in [Slack, Mattermost, RocketChat, Teams, Discord, HipChat, Flowdock] {
                assert_eq!(service.answer(200, body), AsStatus, "{service:?} {body:?}");
            }
        }
    }
}
