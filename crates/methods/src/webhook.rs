//! The `webhook` method: a signed POST to the receiver's own address.

use bellbuoy_domain::{CauseCode, Context, Registry, Secret, WebhookConfig, webhook_payload};
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::{Attempt, Report, http::Client, signature::sign, trace};

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const BELLBUOY_EVENT: HeaderName = HeaderName::from_static("bellbuoy-event");
const BELLBUOY_ATTEMPT: HeaderName = HeaderName::from_static("bellbuoy-attempt");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Sends the event in the notification's format, signed with the notification's secret if it has one.
///
/// A template that can't be applied is final, and so is a format that can't tell of the event: the same
/// ends the same.
pub(crate) async fn attempt(
    client: &Client,
    registry: &Registry,
    config: &WebhookConfig,
    attempt: &Attempt<'_>,
) -> Report {
    let template = config.template.as_ref();
    let context = Context {
        registry,
        delivery: attempt.delivery,
        notification: attempt.notification.id,
        callback_url: "",
        dtr_type: None,
    };
    let event = attempt.event.part(attempt.delivery, attempt.notification.id);
    let payload = match webhook_payload(&event, attempt.checked.format, template, &context) {
        Ok(payload) => payload,
        Err(error) => return Report::rejected(None, CauseCode::Template, error.to_string()),
    };
    let Some(mut headers) = headers(attempt, &payload.body) else {
        return Report::deferred(CauseCode::Internal, "the notification's stored secret can't be read");
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(payload.content_type));
    client.post(&config.url, headers, payload.body.into(), attempt.now).await
}

/// What every request says of itself; `None` when the stored secret is none.
fn headers(attempt: &Attempt<'_>, body: &[u8]) -> Option<HeaderMap> {
    let id = attempt.delivery.to_string();
    let timestamp = attempt.now.as_second();
    let trace = trace::child(attempt.event.traceparent.as_deref(), attempt.delivery, attempt.number);
    let mut headers = HeaderMap::with_capacity(12);
    headers.insert(BELLBUOY_EVENT, HeaderValue::from_static(attempt.event.kind.name()));
    headers.insert(BELLBUOY_ATTEMPT, attempt.number.into());
    headers.insert(TRACEPARENT, visible(trace));
    headers.insert(WEBHOOK_TIMESTAMP, timestamp.into());
    if let Some(secret) = &attempt.notification.secret {
        let secret = Secret::parse(secret).ok()?;
        headers.insert(WEBHOOK_SIGNATURE, visible(sign(&secret, &id, timestamp, body)));
    }
    headers.insert(WEBHOOK_ID, visible(id));
    Some(headers)
}

fn visible(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("UUIDs, hex and base64 are visible ASCII")
}
