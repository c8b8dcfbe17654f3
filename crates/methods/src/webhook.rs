//! The `webhook` method: a signed request to the receiver's own address.

use base64::{Engine, engine::general_purpose::STANDARD};
use bellbuoy_domain::{
    Authorization, CauseCode, Context, Event, Format, HttpMethod, Registry, Secret, Secrets, SignatureStyle,
    SuccessStatuses, WebhookConfig, WebhookOptions, webhook_payload,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use crate::{
    Attempt, Callbacks, Report,
    attempt::OurStore,
    http::{Client, MayFollow, OwnTls, Sending},
    signature::{sign, sign_asymmetric, sign_body},
    trace,
};

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const HUB_SIGNATURE: HeaderName = HeaderName::from_static("x-hub-signature-256");
const FLUX_SIGNATURE: HeaderName = HeaderName::from_static("x-signature");
const BELLBUOY_EVENT: HeaderName = HeaderName::from_static("bellbuoy-event");
const BELLBUOY_ATTEMPT: HeaderName = HeaderName::from_static("bellbuoy-attempt");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Sends what the delivery is of the event, in the notification's format, as the notification's settings
/// say: signed with its secret if it has one. With `callbacks`, its receiver may call back; `may_follow` says whether it may
/// lead to another host.
///
/// A template that can't be applied is final, and so is a format that can't tell of the event: the same
/// ends the same.
pub(crate) async fn attempt(
    client: &Client,
    registry: &Registry,
    config: &WebhookConfig,
    callbacks: Option<(&Callbacks, OurStore<'_>)>,
    attempt: &Attempt<'_>,
    may_follow: Option<&dyn MayFollow>,
) -> Report {
    let (format, options) = (attempt.checked.format, &config.options);
    let place = attempt.event.place(attempt.delivery, attempt.notification.id);
    if usize::try_from(place.link).is_ok_and(|link| link > options.chain.len()) {
        let detail = "its owner has shortened the chain: there is no such URL in it any more";
        return Report::rejected(None, CauseCode::NoRecipient, detail);
    }
    let callback_url = match callbacks {
        None => String::new(),
        // Apart, because it is large and rare: every attempt would be as large.
        Some((callbacks, ours)) => match Box::pin(callbacks.url(ours, attempt, &place)).await {
            Ok(url) => url,
            Err(why) => {
                return Report::deferred(CauseCode::Internal, format!("no callback can be awaited: {why}"));
            }
        },
    };
    let heard_as = attempt.notification.hears_as(&place.part).unwrap_or(place.part.kind);
    let event = place.part.heard_as(heard_as);
    let context = Context {
        registry,
        delivery: attempt.delivery,
        notification: attempt.notification.id,
        callback_url: &callback_url,
        dtr_type: options.dtr_type.as_deref(),
    };
    let payload = match webhook_payload(&event, format, config.template.as_ref(), &context) {
        Ok(payload) => payload,
        Err(error) => return Report::rejected(None, CauseCode::Template, error.to_string()),
    };
    let method = method(options.method);
    let body = if method == Method::GET { Bytes::new() } else { Bytes::from(payload.body) };
    let unreadable =
        || Report::deferred(CauseCode::Internal, "the notification's stored secrets can't be read");
    let stored = attempt.notification.secret.as_deref().map(Secrets::parse).transpose();
    let Ok(secrets) = stored.map(Option::unwrap_or_default) else { return unreadable() };
    let Some((mut headers, private)) = headers(attempt, &event, options, &secrets, &body) else {
        return unreadable();
    };
    let Some(tls) = own_tls(options, &secrets) else { return unreadable() };
    if method != Method::GET {
        headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static(payload.content_type));
    }
    if let Some(agent) = format.user_agent() {
        headers.entry(header::USER_AGENT).or_insert(HeaderValue::from_static(agent));
    }
    let url = config.url_for(&event, attempt.delivery);
    let success = success(options, format);
    let sending = Sending {
        method,
        url: &url,
        headers,
        body,
        success: Some(&success),
        follow: options.follow_redirects,
        may_follow,
        private: &private,
        tls,
    };
    client.send(sending, attempt.now).await
}

/// What the notification wants of TLS, if anything; `None` when its key is not among its secrets.
#[expect(clippy::option_option, reason = "nothing wanted, and something that can't be had")]
fn own_tls<'a>(options: &'a WebhookOptions, secrets: &'a Secrets) -> Option<Option<OwnTls<'a>>> {
    let wanted = &options.tls;
    if wanted.is_usual() {
        return Some(None);
    }
    let identity = match &wanted.client_certificate {
        Some(certificate) => Some((certificate.as_str(), secrets.get("client_key")?)),
        None => None,
    };
    let extra_ca = wanted.extra_ca.as_deref();
    Some(Some(OwnTls { extra_ca, identity, skip_verification: wanted.skip_verification }))
}

/// Whether its receiver is told where to call back.
pub(crate) fn awaits_callback(attempt: &Attempt<'_>) -> bool {
    attempt.checked.format == Format::DockerHub
}

fn method(method: HttpMethod) -> Method {
    match method {
        HttpMethod::Get => Method::GET,
        HttpMethod::Post => Method::POST,
        HttpMethod::Put => Method::PUT,
        HttpMethod::Patch => Method::PATCH,
    }
}

fn success(options: &WebhookOptions, format: Format) -> SuccessStatuses {
    options.success.clone().unwrap_or_else(|| SuccessStatuses::usual(format))
}

/// What a request says of itself, and which of it is for the URL's own origin alone; `None` when the
/// stored secrets are not those that the settings speak of.
fn headers(
    attempt: &Attempt<'_>,
    event: &Event,
    options: &WebhookOptions,
    secrets: &Secrets,
    body: &[u8],
) -> Option<(HeaderMap, Vec<HeaderName>)> {
    let mut headers = own(attempt, event);
    sign_as(&options.signatures, secrets, attempt, body, &mut headers)?;
    let mut private = Vec::new();
    for (name, value) in &options.headers {
        let name = put(&mut headers, name, value)?;
        // What is sent, and by whom, may be known wherever it goes.
        if name != header::CONTENT_TYPE && name != header::USER_AGENT {
            private.push(name);
        }
    }
    for name in &options.secret_headers {
        private.push(put(&mut headers, name, secrets.header(name)?)?);
    }
    let authorization = match &options.authorization {
        Authorization::None => None,
        Authorization::Bearer => Some(format!("Bearer {}", secrets.get("bearer_token")?)),
        Authorization::Basic(user) => {
            let pair = format!("{user}:{}", secrets.get("password")?);
            Some(format!("Basic {}", STANDARD.encode(pair)))
        }
        Authorization::Verbatim => Some(secrets.get("authorization")?.to_owned()),
    };
    if let Some(authorization) = authorization {
        private.push(put(&mut headers, header::AUTHORIZATION.as_str(), &authorization)?);
    }
    Some((headers, private))
}

fn put(headers: &mut HeaderMap, name: &str, value: &str) -> Option<HeaderName> {
    let name = HeaderName::try_from(name).ok()?;
    let mut value = HeaderValue::try_from(value).ok()?;
    value.set_sensitive(true);
    headers.insert(name.clone(), value);
    Some(name)
}

/// What every request says; `event` is what it tells.
fn own(attempt: &Attempt<'_>, event: &Event) -> HeaderMap {
    let trace = trace::child(event.traceparent.as_deref(), attempt.delivery, attempt.number);
    let mut headers = HeaderMap::with_capacity(16);
    headers.insert(BELLBUOY_EVENT, HeaderValue::from_static(event.kind.name()));
    headers.insert(BELLBUOY_ATTEMPT, attempt.number.into());
    headers.insert(TRACEPARENT, visible(trace));
    headers.insert(WEBHOOK_TIMESTAMP, attempt.now.as_second().into());
    headers.insert(WEBHOOK_ID, visible(attempt.delivery.to_string()));
    headers
}

/// The signatures that the receiver checks. Those of Standard Webhooks stand in one header, by each key that signs
/// now. Those of a body alone use `hmac_secret` or, without one, the whole text of `secret` as the key. `None`
/// when a stored key is none.
fn sign_as(
    styles: &[SignatureStyle],
    secrets: &Secrets,
    attempt: &Attempt<'_>,
    body: &[u8],
    headers: &mut HeaderMap,
) -> Option<()> {
    let (id, now) = (attempt.delivery.to_string(), attempt.now);
    let mut standard = Vec::new();
    for style in styles {
        match style {
            SignatureStyle::StandardWebhooks => standard
                .extend(secrets.secrets_at(now).map(|secret| sign(secret, &id, now.as_second(), body))),
            SignatureStyle::Asymmetric => {
                for key in secrets.private_keys_at(now) {
                    standard.push(sign_asymmetric(key, &id, now.as_second(), body)?);
                }
            }
            SignatureStyle::Hub => sign_body_as(HUB_SIGNATURE, secrets, body, headers),
            SignatureStyle::Flux => sign_body_as(FLUX_SIGNATURE, secrets, body, headers),
        }
    }
    if !standard.is_empty() {
        // Exactly one space between them: some verifiers stumble over two.
        headers.insert(WEBHOOK_SIGNATURE, visible(standard.join(" ")));
    }
    Some(())
}

fn sign_body_as(name: HeaderName, secrets: &Secrets, body: &[u8], headers: &mut HeaderMap) {
    let own = secrets.get("hmac_secret").map(str::to_owned);
    if let Some(text) = own.or_else(|| secrets.signing.as_ref().map(Secret::reveal)) {
        headers.insert(name, visible(sign_body(&text, body)));
    }
}

fn visible(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("UUIDs, hex and base64 are visible ASCII")
}
