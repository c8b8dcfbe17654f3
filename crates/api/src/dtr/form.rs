//! What DTR's clients send. Members that are not known are ignored: some clients send a whole webhook of empty texts.

use axum::extract::Request;
use bellbuoy_domain::{Event, Kind, MethodName, NamespaceName, Notification, RepositoryName, Scope, dtr};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{FORMAT, need_json_accepted, problem::Refusal};
use crate::{
    App, body,
    draft::{Draft, kind_outside, skips_verification},
    problem::Problem,
};

/// The settings of a webhook that DTR's `tlsCert` and `skipTLSVerification` stand for.
pub(super) const TRUSTED: &str = "extra_ca";
pub(super) const UNVERIFIED: &str = "skip_tls_verification";

/// How the endpoint's server is known.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Tls {
    /// PEM; empty for the system's.
    #[serde(rename = "tlsCert")]
    certificate: Option<String>,
    /// Whether any certificate will do.
    #[serde(rename = "skipTLSVerification")]
    skip: Option<bool>,
}

impl Tls {
    /// Puts what is said into a webhook's settings; what is not said stays as it is there. Of plain http, where there
    /// is nothing to verify, DTR wants it said that nothing is.
    pub(super) fn put(&self, config: &mut Map<String, Value>) {
        match self.certificate.as_deref() {
            None => {}
            Some("") => drop(config.shift_remove(TRUSTED)),
            Some(pem) => drop(config.insert(TRUSTED.to_owned(), pem.into())),
        }
        match self.skip {
            None => {}
            Some(true) if !is_plain(config) => drop(config.insert(UNVERIFIED.to_owned(), true.into())),
            Some(_) => drop(config.shift_remove(UNVERIFIED)),
        }
    }
}

/// Refuses settings that ask for no verification where the operator does not permit that.
pub(super) fn check(app: &App, config: &Map<String, Value>) -> Result<(), Problem> {
    if !skips_verification(config) || app.api.may_skip_verification {
        return Ok(());
    }
    Err(Problem::bad(
        "`skipTLSVerification` is not permitted here: give the endpoint's authority as `tlsCert`, or have the operator \
         set outbound.allow_skip_verification",
    ))
}

/// Whether a webhook's URL is plain http.
pub(super) fn is_plain(config: &Map<String, Value>) -> bool {
    let url = config.get("url").and_then(Value::as_str).unwrap_or_default();
    url.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://"))
}

/// A webhook as it is asked for.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "DtrWebhookDraft")]
pub(super) struct CreateForm {
    /// The event type, such as `TAG_PUSH`.
    #[serde(rename = "type")]
    event_type: String,
    /// `namespace/repository`, `namespace`, or nothing for the registry.
    key: Option<String>,
    endpoint: String,
    #[serde(flatten)]
    tls: Tls,
}

impl CreateForm {
    /// Whose events it is for.
    pub(super) fn place(&self) -> Result<Scope, Refusal> {
        let fault = |error: &dyn std::fmt::Display| {
            let detail = format!("`key` should be a repository, a namespace or empty: {error}");
            Problem::bad(detail).into()
        };
        match self.key.as_deref().unwrap_or_default() {
            "" => Ok(Scope::Registry),
            key if key.contains('/') => {
                RepositoryName::parse(key).map(Scope::Repository).map_err(|error| fault(&error))
            }
            key => {
                let name = NamespaceName::parse(key).map_err(|error| fault(&error))?;
                Ok(Scope::Namespace(name.to_string()))
            }
        }
    }

    pub(super) fn draft(&self, place: Scope) -> Result<Draft, Problem> {
        draft(&self.event_type, &self.endpoint, &self.tls, place)
    }
}

/// An endpoint to be tried.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "DtrTest")]
pub(super) struct TestForm {
    /// The event type, such as `TAG_PUSH`.
    #[serde(rename = "type")]
    event_type: String,
    endpoint: String,
    #[serde(flatten)]
    tls: Tls,
}

impl TestForm {
    /// The constant event of its type, and a webhook that is never stored to send it by.
    pub(super) fn trial(&self, app: &App, now: Timestamp) -> Result<(Event, Notification), Problem> {
        let draft = draft(&self.event_type, &self.endpoint, &self.tls, Scope::Registry)?;
        check(app, &draft.config)?;
        let kind = draft.kinds.first().copied();
        let event = kind.and_then(|kind| dtr::test_event(kind, now));
        let event = event.ok_or_else(|| unknown_type(&self.event_type))?;
        Ok((event, draft.create(now)?))
    }
}

/// What is to be changed of a webhook; what is left out stays.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "DtrWebhookChange")]
pub(super) struct UpdateForm {
    pub(super) id: String,
    pub(super) inactive: Option<bool>,
    #[serde(flatten)]
    pub(super) tls: Tls,
}

fn draft(event_type: &str, endpoint: &str, tls: &Tls, scope: Scope) -> Result<Draft, Problem> {
    let kinds = dtr::kinds(event_type).ok_or_else(|| unknown_type(event_type))?;
    if let Some(kind) = kind_outside(&scope, &kinds) {
        let name = kind.dtr_type().unwrap_or(kind.name());
        let detail = format!("`type`: {name} never happens in a {}; leave `key` out", scope.word());
        return Err(Problem::bad(detail));
    }
    let mut config = Map::new();
    config.insert("url".to_owned(), endpoint.into());
    if event_type == dtr::REPO_EVENT {
        config.insert("dtr_type".to_owned(), event_type.into());
    }
    tls.put(&mut config);
    Ok(Draft {
        title: None,
        scope,
        kinds,
        event_config: Map::new(),
        method: MethodName::Webhook.name().to_owned(),
        config,
        format: FORMAT.name().to_owned(),
        retry: None,
    })
}

fn unknown_type(name: &str) -> Problem {
    let known: Vec<&str> = Kind::ALL.iter().filter_map(|kind| kind.dtr_type()).collect();
    let name: String = name.chars().filter(|letter| !letter.is_control()).take(80).collect();
    Problem::bad(format!("unknown `type` {name:?}; known are {}, {}", known.join(", "), dtr::REPO_EVENT))
}

/// Reads a body.
pub(super) async fn read<T: DeserializeOwned>(app: &App, request: Request) -> Result<T, Refusal> {
    let (parts, body) = request.into_parts();
    need_json_accepted(&parts.headers)?;
    let read = app.bodies.read_whole(&parts, body, app.api.limits.event_bytes).await?;
    body::require_json(&parts.headers)?;
    Ok(body::object_from_json(&read.bytes)?)
}
