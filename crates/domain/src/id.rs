//! One type per id, so that a delivery's can't be passed where a notification's is meant.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Names one notification. Random (UUID v4), as Quay's clients expect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct NotificationId(Uuid);

/// Names one delivery: one event for one notification, over all its attempts.
///
/// Receivers get it as `webhook-id`, their idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct DeliveryId(Uuid);

impl DeliveryId {
    /// Derives the id from what the delivery is, so that an event fanned out twice makes the
    /// same deliveries: UUID v5 in the URL namespace of `source`, `event_id` and the
    /// notification's hyphenated lower-case id, joined by line feeds.
    pub fn derive(source: &str, event_id: &str, notification: NotificationId) -> Self {
        let name = format!("{source}\n{event_id}\n{notification}");
        Self(Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()))
    }

    /// Derives the id of one of several deliveries of an event, that of `tag` alone: likewise, with
    /// the tag as the fourth line.
    pub fn derive_for_tag(source: &str, event_id: &str, notification: NotificationId, tag: &str) -> Self {
        let name = format!("{source}\n{event_id}\n{notification}\n{tag}");
        Self(Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()))
    }
}

impl DeliveryId {
    /// Derives the id of the delivery to a later URL of a webhook chain, the `link`th after the first, whose own
    /// id is `first`: UUID v5 in the URL namespace of `first` and `link`, joined by a line feed.
    pub fn derive_for_link(first: Self, link: u32) -> Self {
        let name = format!("{first}\n{link}");
        Self(Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()))
    }
}

macro_rules! uuid_id {
    ($id:ident) => {
        impl $id {
            /// The bare UUID, for storing.
            pub fn as_uuid(self) -> Uuid {
                self.0
            }
        }
        impl From<Uuid> for $id {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }
        impl FromStr for $id {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }
    };
}
uuid_id!(NotificationId);
uuid_id!(DeliveryId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_id_is_the_uuid_v5_of_its_event_and_notification() {
        let notification: NotificationId = "0b6b1f0e-6f0e-4d7b-9a3a-3d0c9d8d5a11".parse().expect("a UUID");
        // python3: uuid.uuid5(uuid.NAMESPACE_URL, "registry.example.com\n42\n0b6b1f0e-6f0e-4d7b-9a3a-3d0c9d8d5a11")
        assert_eq!(
            DeliveryId::derive("registry.example.com", "42", notification).to_string(),
            "749931c1-24b5-5b75-8423-64b262e68c38"
        );
        let first = DeliveryId::derive("registry.example.com", "42", notification);
        // python3: uuid.uuid5(uuid.NAMESPACE_URL, "749931c1-24b5-5b75-8423-64b262e68c38\n1")
        assert_eq!(DeliveryId::derive_for_link(first, 1).to_string(), "f11c1634-147c-560f-809d-047fe5f2ae01");
        // python3: the event's own with "\nv1" at its end
        assert_eq!(
            DeliveryId::derive_for_tag("registry.example.com", "42", notification, "v1").to_string(),
            "7cb53f86-7bf7-5381-beec-364bee93c4e5"
        );
    }

    #[test]
    fn another_source_event_or_notification_is_another_delivery() {
        let one = NotificationId::from(Uuid::from_u128(1));
        let two = NotificationId::from(Uuid::from_u128(2));
        let ids = [
            DeliveryId::derive("a", "1", one),
            DeliveryId::derive("b", "1", one),
            DeliveryId::derive("a", "2", one),
            DeliveryId::derive("a", "1", two),
        ];
        let distinct: std::collections::HashSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
    }
}
