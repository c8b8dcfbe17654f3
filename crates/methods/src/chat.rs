//! The methods of chat services: one message into one channel.

use std::fmt;

use bellbuoy_domain::{
    CHAT_ANSWER_BYTES, Cause, CauseCode, Channel, ChatAnswer, ChatConfig, ChatService, Outcome, Registry,
};
use http::{HeaderMap, HeaderValue, header};
use ring::digest;
use url::Url;

use crate::{
    Attempt, Report, Services,
    http::{Client, Target, code_of},
};

/// What Flowdock is told as the sender where the settings name none: Quay's default.
const SENDER: &str = "admin@example.com";

/// A channel as everybody may know it: by a digest of its address, which is secret, since whoever has it can write there.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChannelKey(u128);

impl ChannelKey {
    /// That of an address, however it is spelt.
    pub fn of(address: &str) -> Self {
        let spelt =
            Target::parse(address).map_or_else(|_| address.to_owned(), |target| target.uri.to_string());
        let hash = digest::digest(&digest::SHA256, spelt.as_bytes());
        Self(hash.as_ref().iter().take(16).fold(0, |key, byte| key << 8 | u128::from(*byte)))
    }
}

impl fmt::Display for ChannelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for ChannelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Posts the event into the channel.
///
/// A text of the owner's that can't be filled is final, and so is a service that has closed and that
/// nobody runs here. The service's answer is read as it means it ([`ChatAnswer`]).
pub(crate) async fn attempt(
    client: &Client,
    services: &Services,
    registry: &Registry,
    config: &ChatConfig,
    attempt: &Attempt<'_>,
) -> Report {
    let Some(url) = address(config, services) else {
        return Report::rejected(None, CauseCode::ServiceClosed, closed(config.service));
    };
    let sender = services.smtp.as_ref().map_or(SENDER, |smtp| smtp.sender.as_str());
    let payload = match config.payload(attempt.event, attempt.checked.format, registry, sender) {
        Ok(payload) => payload,
        Err(error) => return Report::rejected(None, CauseCode::Template, error.to_string()),
    };
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(payload.content_type));
    let kept = (attempt.now, CHAT_ANSWER_BYTES);
    let (report, body) = client.post_and_read(&url, headers, payload.body.into(), kept).await;
    match (report.status, body) {
        (Some(status), Some(body)) => heed(report, status, config.service.answer(status, &body)),
        _ => report,
    }
}

/// What the report of a whole answer becomes by what the service says in the body.
fn heed(report: Report, status: u16, said: ChatAnswer) -> Report {
    let hint = match &report.outcome {
        Outcome::Deferred { hint, .. } => *hint,
        Outcome::Delivered | Outcome::Rejected { .. } => None,
    };
    let deferred =
        |code, detail: String, hint| Report::deferred_after(Some(status), Cause::new(code, detail), hint);
    match said {
        ChatAnswer::AsStatus => report,
        ChatAnswer::As(meant) if meant == status => report,
        ChatAnswer::As(meant) => match code_of(meant) {
            CauseCode::Gone => {
                Report::rejected(Some(status), CauseCode::Gone, format!("answered {status} and said {meant}"))
            }
            code => deferred(code, format!("answered {status} and said {meant}"), hint),
        },
        ChatAnswer::NoChannel(word) => Report::rejected(
            Some(status),
            CauseCode::ChannelGone,
            format!("answered {status} and that the channel is no more: {word}"),
        ),
        ChatAnswer::Unfit(word) => Report::rejected(
            Some(status),
            CauseCode::Http4xx,
            format!("answered {status} and that it takes no such message: {word}"),
        ),
        ChatAnswer::TooMany(wait) => deferred(
            CauseCode::RateLimited,
            format!("answered {status} and that there were too many messages"),
            hint.max(wait),
        ),
        ChatAnswer::Failed => deferred(
            CauseCode::Http4xx,
            format!("answered {status} and that it did not take the message"),
            hint,
        ),
    }
}

/// Where the message goes; `None` if the service has closed and the settings name no server that stands in.
pub(crate) fn address(config: &ChatConfig, services: &Services) -> Option<String> {
    match &config.channel {
        Channel::Url(url) => Some(url.clone()),
        Channel::Room { id, token } => {
            let base = services.hipchat_url.as_deref()?;
            let mut url = below(base, &["v2", "room", id, "notification"])?;
            url.query_pairs_mut().append_pair("auth_token", token);
            Some(url.into())
        }
        Channel::Inbox { token } => {
            let base = services.flowdock_url.as_deref()?;
            below(base, &["v1", "messages", "team_inbox", token]).map(String::from)
        }
    }
}

/// `base` with further parts of a path, each escaped, so that none can lead elsewhere.
fn below(base: &str, parts: &[&str]) -> Option<Url> {
    let mut url = Url::parse(base).ok()?;
    url.path_segments_mut().ok()?.pop_if_empty().extend(parts);
    Some(url)
}

fn closed(service: ChatService) -> String {
    let (when, key) = match service {
        ChatService::HipChat => ("in February 2019", "hipchat.base_url"),
        _ => ("in August 2023", "flowdock.base_url"),
    };
    let title = service.title();
    format!(
        "the {title} service has closed {when}; choose another method, or let an operator name a server that speaks its protocol with {key}"
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn services() -> Services {
        Services {
            hipchat_url: Some("https://chat.example.com/base/".to_owned()),
            flowdock_url: Some("https://flow.example.com".to_owned()),
            ..Services::default()
        }
    }

    fn config(service: ChatService, channel: Channel) -> ChatConfig {
        ChatConfig { service, channel, text: None }
    }

    #[test]
    fn what_a_service_says_decides_and_the_longer_wait_counts() {
        let hint = Some(Duration::from_secs(3));
        let limited = || Report::deferred_after(Some(429), Cause::new(CauseCode::RateLimited, "429"), hint);
        let delivered = || Report::delivered(Some(200));
        for (report, status, said, expected, wait) in [
            (delivered(), 200, ChatAnswer::AsStatus, None, None),
            (delivered(), 200, ChatAnswer::As(429), Some(CauseCode::RateLimited), None),
            (delivered(), 200, ChatAnswer::As(413), Some(CauseCode::Http4xx), None),
            (delivered(), 200, ChatAnswer::As(410), Some(CauseCode::Gone), None),
            (delivered(), 200, ChatAnswer::As(503), Some(CauseCode::Http5xx), None),
            (delivered(), 200, ChatAnswer::Failed, Some(CauseCode::Http4xx), None),
            (delivered(), 200, ChatAnswer::NoChannel("no_service"), Some(CauseCode::ChannelGone), None),
            (delivered(), 200, ChatAnswer::Unfit("no_text"), Some(CauseCode::Http4xx), None),
            (limited(), 429, ChatAnswer::TooMany(None), Some(CauseCode::RateLimited), Some(3)),
            (
                limited(),
                429,
                ChatAnswer::TooMany(Some(Duration::from_secs(7))),
                Some(CauseCode::RateLimited),
                Some(7),
            ),
            (
                limited(),
                429,
                ChatAnswer::TooMany(Some(Duration::from_secs(1))),
                Some(CauseCode::RateLimited),
                Some(3),
            ),
            (limited(), 429, ChatAnswer::AsStatus, Some(CauseCode::RateLimited), Some(3)),
        ] {
            let heeded = heed(report, status, said);
            assert_eq!(heeded.outcome.cause().map(|cause| cause.code), expected, "{said:?}");
            assert_eq!(heeded.status, Some(status));
            let is_final =
                matches!(said, ChatAnswer::NoChannel(_) | ChatAnswer::Unfit(_) | ChatAnswer::As(410));
            assert_eq!(matches!(heeded.outcome, Outcome::Rejected { .. }), is_final, "{said:?}");
            if let Outcome::Deferred { hint, .. } = heeded.outcome {
                assert_eq!(hint.map(|hint| hint.as_secs()), wait, "{said:?}");
            }
        }
    }

    #[test]
    fn a_room_or_a_token_can_not_lead_elsewhere() {
        let room = Channel::Room { id: "../x?y#z".to_owned(), token: "a&b=c".to_owned() };
        assert_eq!(
            address(&config(ChatService::HipChat, room), &services()).as_deref(),
            Some("https://chat.example.com/base/v2/room/..%2Fx%3Fy%23z/notification?auth_token=a%26b%3Dc")
        );
        let inbox = Channel::Inbox { token: "a/../b".to_owned() };
        assert_eq!(
            address(&config(ChatService::Flowdock, inbox), &services()).as_deref(),
            Some("https://flow.example.com/v1/messages/team_inbox/a%2F..%2Fb")
        );
    }

    #[test]
    fn a_channel_is_one_however_its_address_is_spelt_and_its_key_shows_nothing_of_it() {
        let one = ChannelKey::of("https://hooks.slack.com/services/AAA/BBB/hunter2");
        assert_eq!(one, ChannelKey::of("HTTPS://hooks.Slack.com:443/services/AAA/BBB/hunter2#x"));
        assert_ne!(one, ChannelKey::of("https://hooks.slack.com/services/AAA/BBB/hunter3"));
        let shown = format!("{one} {one:?}");
        assert!(shown.len() == 65 && !shown.contains("hunter2") && !shown.contains("slack"), "{shown}");
    }

    #[test]
    fn a_closed_service_has_no_address_unless_the_settings_name_one() {
        for (service, channel) in [
            (ChatService::HipChat, Channel::Room { id: "1".to_owned(), token: "t".to_owned() }),
            (ChatService::Flowdock, Channel::Inbox { token: "t".to_owned() }),
        ] {
            assert_eq!(address(&config(service, channel), &Services::default()), None);
            assert!(closed(service).contains("has closed"), "{}", closed(service));
        }
    }
}
