//! A message of a deliver queue as a delivery.

use std::sync::{Arc, Mutex, PoisonError};

use bellbuoy_broker::Claim;
use bellbuoy_domain::{DeliveryMessage, Event, EventError, WireError};
use jiff::Timestamp;
use serde_json::value::RawValue;

/// A delivery at hand.
pub(super) struct Delivery {
    pub(super) message: DeliveryMessage,
    pub(super) event: Arc<Event>,
}

/// The event that was read last, as it was written. Deliveries of one event come one after the other, so that in a wide
/// fan-out nearly all find theirs here.
#[derive(Default)]
pub(super) struct LastEvent(Mutex<Option<ReadEvent>>);

struct ReadEvent {
    text: Box<RawValue>,
    accepted_at: Timestamp,
    event: Arc<Event>,
}

impl LastEvent {
    fn read(&self, message: &DeliveryMessage) -> Result<Arc<Event>, EventError> {
        let last = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*last()
            && known.accepted_at == message.accepted_at
            && known.text.get() == message.event.get()
        {
            return Ok(Arc::clone(&known.event));
        }
        let event = Arc::new(Event::from_json(message.event.get().as_bytes(), message.accepted_at)?);
        let (text, accepted_at) = (message.event.clone(), message.accepted_at);
        *last() = Some(ReadEvent { text, accepted_at, event: Arc::clone(&event) });
        Ok(event)
    }
}

/// Why a message is not a delivery to us.
pub(super) enum Unreadable {
    Newer(String),
    Malformed(String),
}

pub(super) fn read(claim: &Claim, last: &LastEvent) -> Result<Delivery, Unreadable> {
    let message = DeliveryMessage::from_json(claim.body()).map_err(|error| match error {
        WireError::Newer { .. } => Unreadable::Newer(error.to_string()),
        WireError::Malformed { .. } => Unreadable::Malformed(error.to_string()),
    })?;
    let event = last.read(&message).map_err(|error| Unreadable::Malformed(format!("its event: {error}")))?;
    Ok(Delivery { message, event })
}

#[cfg(test)]
mod tests {
    use bellbuoy_domain::WIRE_VERSION;

    use super::*;

    #[test]
    fn an_event_is_read_once_for_deliveries_that_follow_one_another_and_never_taken_for_another() {
        let message = |event: &str, accepted_ms: i64| -> DeliveryMessage {
            let value = serde_json::json!({
                "v": WIRE_VERSION, "delivery": uuid::Uuid::nil(), "notification": uuid::Uuid::nil(), "attempt": 1,
                "spent": 0, "accepted_at": accepted_ms, "due_at": accepted_ms, "event": {
                    "specversion": "1.0", "id": event, "source": "registry.example.com", "type": "repo_push",
                    "subject": "acme/api", "data": {"updated_tags": ["v1"]},
                },
            });
            DeliveryMessage::from_json(value.to_string().as_bytes()).expect("a delivery")
        };
        let last = LastEvent::default();
        let read = |event: &str, accepted_ms| last.read(&message(event, accepted_ms)).expect("an event");
        let first = read("1", 1);
        assert!(Arc::ptr_eq(&first, &read("1", 1)));
        let later = read("1", 2);
        assert!(
            !Arc::ptr_eq(&first, &later) && first.time != later.time,
            "its time is that of its acceptance"
        );
        assert_eq!(read("2", 2).id, "2");
        let mut none = message("3", 2);
        none.event = RawValue::from_string("{}".into()).expect("JSON");
        assert!(last.read(&none).is_err());
        assert_eq!(read("2", 2).id, "2");
    }
}
