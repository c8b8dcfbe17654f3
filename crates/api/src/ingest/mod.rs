//! Ways in: events become durable messages before anybody is told that they were taken.

mod cloud_events;
pub(crate) mod credentials;
pub(crate) mod modes;
mod pulls;
mod registries;

pub(crate) use pulls::Pulls;

use bellbuoy_broker::{Outgoing, queues};
use bellbuoy_domain::Event;
use http::Uri;
use jiff::Timestamp;

use crate::contract::Routes;

/// Every way in.
pub(crate) fn routes() -> Routes {
    cloud_events::routes().and(registries::routes())
}

/// Header that says when an event was accepted, in Unix milliseconds.
const ACCEPTED: &str = "bellbuoy-accepted-ms";

/// The last value of `name` in a query, decoded; `None` if there is none or it is no text.
pub(crate) fn query_value(uri: &Uri, name: &str) -> Option<String> {
    form_value(uri.query().unwrap_or_default(), name)
}

/// The last value of that name in `name=value&...`, as queries and forms have it, decoded.
pub(crate) fn form_value(form: &str, name: &str) -> Option<String> {
    let pairs = form.split('&');
    let mut values = pairs.filter_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let value = percent_encoding::percent_decode_str(values.next_back()?);
    value.decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

/// An event as a message for fan-out.
pub(crate) fn message(event: Vec<u8>, now: Timestamp) -> Outgoing {
    let mut message = Outgoing::new(queues::events(), event);
    message.headers.set(ACCEPTED, now.as_millisecond().to_string());
    message
}

/// The event's canonical bytes, which fan-out has to be able to read again.
///
/// # Errors
///
/// When they are larger than what any reader takes; the canonical form can be longer than what
/// came in.
fn canonical(event: &Event) -> Result<Vec<u8>, bellbuoy_domain::EventError> {
    let bytes = event.to_json();
    if bytes.len() > bellbuoy_domain::MAX_EVENT_BYTES {
        return Err(bellbuoy_domain::EventError::TooLarge { bytes: bytes.len() });
    }
    Ok(bytes)
}
