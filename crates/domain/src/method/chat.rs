//! Chat services: their settings, and what goes into their channels.

use std::fmt;

use serde_json::{Value, json};

use super::{ConfigError, Settings, given, is_receiver_url, owners_text};
use crate::{
    Event, Format, Level, Markup, Message, Payload, Registry, TemplateError, TextTemplate,
    format::{quay, told},
    message::{Room, one_line, whole_line},
    python,
};

/// Largest body of a card, in bytes, as far as its text can make room: Teams takes 28 KB.
const CARD_BYTES: usize = 24_000;

/// A chat service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChatService {
    /// Slack's incoming webhooks.
    Slack,
    /// Mattermost's incoming webhooks.
    Mattermost,
    /// Rocket.Chat's incoming webhooks.
    RocketChat,
    /// Workflows of Microsoft Teams.
    Teams,
    /// Discord's webhooks.
    Discord,
    /// `HipChat`, closed in February 2019; whatever speaks its protocol today.
    HipChat,
    /// Flowdock, closed in August 2023; whatever speaks its protocol today.
    Flowdock,
}

/// A channel of a chat service, and what is said there.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatConfig {
    /// Whose channel.
    pub service: ChatService,
    /// Which.
    pub channel: Channel,
    /// The owner's own words instead of ours, in the service's markup.
    pub text: Option<TextTemplate>,
}

/// Where a chat message goes. All of it is secret, since whoever knows it can write there: its
/// `Debug` form hides it.
#[derive(Clone, PartialEq, Eq)]
pub enum Channel {
    /// The address that the service gave for the channel.
    Url(String),
    /// A room of a `HipChat` server.
    Room {
        /// Its id or name.
        id: String,
        /// Its notification token.
        token: String,
    },
    /// An inbox of a Flowdock server.
    Inbox {
        /// Its API token.
        token: String,
    },
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Channel(..)")
    }
}

impl ChatService {
    /// How people know it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Slack => "Slack",
            Self::Mattermost => "Mattermost",
            Self::RocketChat => "Rocket.Chat",
            Self::Teams => "Teams",
            Self::Discord => "Discord",
            Self::HipChat => "HipChat",
            Self::Flowdock => "Flowdock",
        }
    }

    /// The markup of its messages.
    pub fn markup(self) -> Markup {
        match self {
            Self::Slack => Markup::Slack,
            Self::HipChat | Self::Flowdock => Markup::Html,
            Self::Mattermost | Self::RocketChat | Self::Teams | Self::Discord => Markup::Markdown,
        }
    }

    /// Room for the longest message that it shows: in characters Discord's limit of an embed's description, `HipChat`'s
    /// of a message, and what fits the others' limits in bytes; for Teams the bytes that all else of `said` leaves.
    fn room(self, said: &Told<'_>) -> Room {
        match self {
            Self::Discord => Room::characters(4096),
            Self::HipChat => Room::characters(10_000),
            Self::Teams => {
                let frame = quay::body(&said.teams()).body.len();
                Room::measured(CARD_BYTES.saturating_sub(frame), in_card)
            }
            Self::Slack | Self::Mattermost | Self::RocketChat | Self::Flowdock => Room::characters(12_000),
        }
    }
}

pub(super) fn parse(service: ChatService, config: Settings<'_>) -> Result<ChatConfig, ConfigError> {
    let channel = match service {
        ChatService::HipChat => {
            let token = given(config, "notification_token").ok_or(ConfigError::MissingHipChatToken)?;
            let id = given(config, "room_id").ok_or(ConfigError::MissingHipChatRoom)?;
            Channel::Room { id, token }
        }
        ChatService::Flowdock => {
            let token = given(config, "flow_api_token").ok_or(ConfigError::MissingFlowdockToken)?;
            Channel::Inbox { token }
        }
        _ => match config.get("url") {
            None | Some(Value::Null) => return Err(ConfigError::MissingChatUrl(service)),
            Some(Value::String(url)) if url.is_empty() => return Err(ConfigError::MissingChatUrl(service)),
            Some(Value::String(url)) if is_receiver_url(url) => Channel::Url(url.clone()),
            Some(_) => return Err(ConfigError::InvalidChatUrl(service)),
        },
    };
    Ok(ChatConfig { service, channel, text: owners_text(config, "text")? })
}

impl ChatConfig {
    /// What is posted to the channel for `event`. `sender` is the mail address that Flowdock shows as the sender's.
    ///
    /// # Errors
    ///
    /// When the owner's text can't be filled from this event.
    pub fn payload(
        &self,
        event: &Event,
        format: Format,
        registry: &Registry,
        sender: &str,
    ) -> Result<Payload, TemplateError> {
        let markup = self.service.markup();
        let mut said = Told {
            summary: one_line(&quay::summary(event)),
            text: String::new(),
            level: quay::level(event),
            event,
            registry,
        };
        let room = self.service.room(&said);
        said.text = match &self.text {
            None => Message::of(event, registry).render_within(markup, room),
            Some(text) => fill(text, &told(event, format, registry), markup, room)?,
        };
        Ok(quay::body(&match self.service {
            ChatService::Slack => said.slack(),
            ChatService::Mattermost | ChatService::RocketChat => said.like_slack(),
            ChatService::Teams => said.teams(),
            ChatService::Discord => said.discord(),
            ChatService::HipChat => said.hipchat(),
            ChatService::Flowdock => said.flowdock(sender),
        }))
    }
}

/// What is said, in a service's markup.
struct Told<'a> {
    summary: String,
    text: String,
    level: Level,
    event: &'a Event,
    registry: &'a Registry,
}

impl Told<'_> {
    /// Quay's body, to the last word.
    fn slack(&self) -> Value {
        let summary = Markup::Slack.escape(&self.summary);
        let color = match self.level {
            Level::Info => "#ffffff",
            Level::Warning => "warning",
            Level::Error => "danger",
            Level::Success | Level::Primary => "good",
        };
        json!({"text": summary, "username": "quayiobot", "attachments": [
            {"fallback": summary, "text": self.text, "color": color, "mrkdwn_in": ["text"]},
        ]})
    }

    fn like_slack(&self) -> Value {
        json!({"text": Markup::Markdown.escape(&self.summary), "username": self.registry.title, "attachments": [
            {"fallback": self.summary, "text": self.text, "color": format!("#{:06x}", self.color())},
        ]})
    }

    /// An adaptive card, which is what the workflows of Teams take ([schema 1.4]).
    ///
    /// [schema 1.4]: https://adaptivecards.io/explorer/AdaptiveCard.html
    fn teams(&self) -> Value {
        let color = match self.level {
            Level::Info => "default",
            Level::Warning => "warning",
            Level::Error => "attention",
            Level::Success => "good",
            Level::Primary => "accent",
        };
        let homepage = quay::payload(self.event, self.registry).get("homepage").cloned();
        let summary = Markup::Markdown.escape(&self.summary);
        // In a card a single line break is a space.
        let text = self.text.replace('\n', "\n\n");
        json!({"type": "message", "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "fallbackText": self.summary,
                "body": [
                    {"type": "TextBlock", "text": summary, "weight": "bolder", "color": color, "wrap": true},
                    {"type": "TextBlock", "text": text, "wrap": true},
                ],
                "actions": [{"type": "Action.OpenUrl", "title": "Open", "url": homepage}],
            },
        }]})
    }

    fn discord(&self) -> Value {
        let homepage = quay::payload(self.event, self.registry).get("homepage").cloned();
        json!({"username": Room::characters(80).fit(&self.registry.title, Markup::Plain), "embeds": [{
            "title": Room::characters(256).fit(&self.summary, Markup::Markdown),
            "description": self.text,
            "url": homepage,
            "color": self.color(),
        }], "allowed_mentions": {"parse": []}})
    }

    fn hipchat(&self) -> Value {
        let color = match self.level {
            Level::Info => "gray",
            Level::Warning => "yellow",
            Level::Error => "red",
            Level::Success => "green",
            Level::Primary => "purple",
        };
        json!({
            "color": color, "message": self.text, "notify": self.level == Level::Error, "message_format": "html",
        })
    }

    fn flowdock(&self, sender: &str) -> Value {
        let payload = quay::payload(self.event, self.registry);
        let member = |name: &str| payload.get(name).and_then(Value::as_str).unwrap_or_default();
        json!({
            "source": "Quay",
            "from_address": sender,
            "subject": self.summary,
            "content": self.text,
            "from_name": member("namespace"),
            "project": format!("{} {}", member("namespace"), member("name")).trim(),
            "tags": [format!("#{}", self.event.kind)],
            "link": member("homepage"),
        })
    }

    /// Red, green and blue.
    fn color(&self) -> u32 {
        match self.level {
            Level::Info => 0x8a_8d_91,
            Level::Warning => 0xda_a0_38,
            Level::Error => 0xa3_02_00,
            Level::Success => 0x2e_b8_86,
            Level::Primary => 0x2b_7c_d3,
        }
    }
}

/// How many bytes a letter takes in the body of a card, where a line break becomes two.
fn in_card(letter: char) -> usize {
    let times = if letter == '\n' { 2 } else { 1 };
    times * python::json_bytes(letter)
}

/// The owner's text filled from `document`; what is put in is one line, whatever it was. The longest that an owner may write has room by itself, so what is put in is
/// what gets shorter; what needs less than its share leaves the rest to those after it.
fn fill(text: &TextTemplate, document: &Value, markup: Markup, room: Room) -> Result<String, TemplateError> {
    let whole = text.apply(document, |put_in| markup.escape(&whole_line(put_in)))?;
    if room.holds(&whole) {
        return Ok(whole);
    }
    let (mut room, mut many) = (room.beside(&text.own_text()), text.expressions());
    text.apply(document, |put_in| {
        let piece = room.shared_by(many).fit(&whole_line(put_in), markup);
        (room, many) = (room.beside(&piece), many.saturating_sub(1));
        piece
    })
}
