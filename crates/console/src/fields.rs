//! The settings of each method as a form shows them: what they are called, what they are for, and in what shape people
//! write them.

use bellbuoy_domain::MethodName;

/// In what shape a setting is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One line.
    Line,
    /// One line that is not shown.
    Secret,
    /// Several lines, as one text.
    Text,
    /// A list, one a line.
    Lines,
    /// Headers, one a line.
    Headers,
    /// Answers that mean success: numbers, ranges and classes, one a line.
    Statuses,
    /// One of these.
    Choice(&'static [&'static str]),
    /// Any of these.
    Any(&'static [&'static str]),
    /// On or off.
    Switch,
    /// A whole number.
    Number,
    /// Whose in-app area.
    Target,
}

/// A setting.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) label: &'static str,
    pub(crate) help: &'static str,
    pub(crate) shape: Shape,
    /// Whether few need it.
    pub(crate) is_rare: bool,
}

impl Field {
    /// What it is called in a form.
    pub(crate) fn key(&self) -> String {
        format!("config.{}", self.name)
    }
}

const fn usual(name: &'static str, label: &'static str, shape: Shape, help: &'static str) -> Field {
    Field { name, label, help, shape, is_rare: false }
}

const fn rare(name: &'static str, label: &'static str, shape: Shape, help: &'static str) -> Field {
    Field { name, label, help, shape, is_rare: true }
}

const WEBHOOK: &[Field] = &[
    usual(
        "url",
        "URL",
        Shape::Line,
        "Where the request goes. It may hold ${repository}, ${tag}, ${digest} and others.",
    ),
    usual(
        "template",
        "Body template",
        Shape::Text,
        "Your own body instead of the format's, in Quay's template language.",
    ),
    usual(
        "secret",
        "Signing secret",
        Shape::Secret,
        "whsec_…; made, and shown once, if you leave it empty. It stays if you leave it empty later.",
    ),
    rare(
        "http_method",
        "HTTP method",
        Shape::Choice(&["POST", "PUT", "PATCH", "GET"]),
        "POST, if you choose none. GET has no body.",
    ),
    rare(
        "one_request_per",
        "One request per",
        Shape::Choice(&["event", "tag"]),
        "With “tag”, a push of several tags is one delivery for each.",
    ),
    rare(
        "headers",
        "Headers",
        Shape::Headers,
        "One a line, as Name: value. Everybody who sees this notification sees them.",
    ),
    rare("secret_headers", "Secret headers", Shape::Headers, "The same, never shown again."),
    rare("bearer_token", "Bearer token", Shape::Secret, "Sent as Authorization: Bearer. Never shown again."),
    rare("username", "User name", Shape::Line, "With the password, sent as Authorization: Basic."),
    rare("password", "Password", Shape::Secret, "Never shown again."),
    rare(
        "authorization",
        "Authorization",
        Shape::Secret,
        "Sent as the Authorization header, as it is. Never shown again.",
    ),
    rare(
        "success_statuses",
        "Answers that mean success",
        Shape::Statuses,
        "One a line: 204, 400-403 or 2xx. 2xx, if you give none.",
    ),
    rare("rate", "Most attempts a minute", Shape::Number, "What is over is held until its turn."),
    rare("follow_redirects", "Follow redirects", Shape::Switch, "307 and 308, three at most."),
    rare(
        "signatures",
        "Signatures",
        Shape::Any(&["standard-webhooks", "standard-webhooks-v1a", "x-hub-signature-256", "x-signature"]),
        "standard-webhooks, if you choose none.",
    ),
    rare(
        "signing_key",
        "Ed25519 key",
        Shape::Secret,
        "whsk_…; for standard-webhooks-v1a, made if you leave it empty.",
    ),
    rare(
        "hmac_secret",
        "HMAC secret",
        Shape::Secret,
        "For x-hub-signature-256 and x-signature; the signing secret, if you leave it empty.",
    ),
    rare("extra_ca", "Certificates to trust", Shape::Text, "PEM. For this receiver, beside all others."),
    rare(
        "client_certificate",
        "Client certificate",
        Shape::Text,
        "PEM, with its chain. Shown to this receiver.",
    ),
    rare("client_key", "Its key", Shape::Text, "PEM. Never shown again."),
    rare(
        "skip_tls_verification",
        "Take any certificate",
        Shape::Switch,
        "Only where the operator allows it.",
    ),
    rare(
        "chain",
        "Chain",
        Shape::Lines,
        "URLs, one a line, each called after the one before has called back “success” (format dockerhub).",
    ),
    rare(
        "dtr_type",
        "Type in format dtr",
        Shape::Choice(&["REPO_EVENT"]),
        "What a repository's life is called; the event's own type, if you choose none.",
    ),
];

const TEXT: Field =
    usual("text", "Text", Shape::Text, "Your own words instead of Quay's, in Quay's template language.");

const CHAT: &[Field] = &[
    usual(
        "url",
        "Webhook URL",
        Shape::Line,
        "The address that the service gave you for the channel. It is masked once it is saved.",
    ),
    TEXT,
];

const EMAIL: &[Field] = &[
    usual("email", "Address", Shape::Line, "It has to have agreed to hear of this repository."),
    usual("subject", "Subject", Shape::Line, "Your own instead of Quay's, in Quay's template language."),
    TEXT,
];

const HIPCHAT: &[Field] = &[
    usual("room_id", "Room", Shape::Line, "Its number or name."),
    usual(
        "notification_token",
        "Token",
        Shape::Secret,
        "The room's notification token. Masked once it is saved.",
    ),
    TEXT,
];

const IN_APP: &[Field] = &[usual("target", "Whom it tells", Shape::Target, "")];

const FLOWDOCK: &[Field] =
    &[usual("flow_api_token", "Flow token", Shape::Secret, "Masked once it is saved."), TEXT];

/// What a form shows of a method's settings.
pub(crate) fn fields(method: MethodName) -> &'static [Field] {
    match method {
        MethodName::Webhook => WEBHOOK,
        MethodName::QuayNotification => IN_APP,
        MethodName::Email => EMAIL,
        MethodName::Slack
        | MethodName::Mattermost
        | MethodName::RocketChat
        | MethodName::Teams
        | MethodName::Discord => CHAT,
        MethodName::HipChat => HIPCHAT,
        MethodName::Flowdock => FLOWDOCK,
    }
}

/// What people call a method, and what it does.
pub(crate) fn describe(method: MethodName) -> (&'static str, &'static str) {
    match method {
        MethodName::Webhook => ("Webhook", "A signed HTTP request to an address of yours."),
        MethodName::QuayNotification => ("In-app", "The bell of a person, a team or an organization."),
        MethodName::Email => ("E-mail", "A mail to an address that agreed to it."),
        MethodName::Slack => ("Slack", "A message in a channel."),
        MethodName::Mattermost => ("Mattermost", "A message in a channel."),
        MethodName::RocketChat => ("Rocket.Chat", "A message in a channel."),
        MethodName::Teams => ("Microsoft Teams", "A message in a channel."),
        MethodName::Discord => ("Discord", "A message in a channel."),
        MethodName::HipChat => ("HipChat", "A message in a room of your own HipChat server."),
        MethodName::Flowdock => ("Flowdock", "A message in a flow of a server that speaks its API."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_shows_every_setting_of_its_method_once_and_no_other() {
        for method in MethodName::ALL {
            let mut shown: Vec<&str> = fields(*method).iter().map(|field| field.name).collect();
            // Always 1: there is nothing to choose.
            let mut known: Vec<&str> =
                method.settings().iter().copied().filter(|name| *name != "version").collect();
            shown.sort_unstable();
            known.sort_unstable();
            assert_eq!(shown, known, "{method}");
        }
    }
}
