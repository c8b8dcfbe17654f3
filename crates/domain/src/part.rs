//! Into how many requests an event goes, and which of them tells what.
//!
//! A push of several tags goes to some receivers as one request for each tag. Each is a delivery of
//! its own: its id, its retries, its history. Which tag a delivery is of follows from its id and the
//! event alone, so neither a message nor a row has to say it.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::{DeliveryId, Event, Kind, NotificationId};

/// What one request tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Grain {
    /// An event.
    Event,
    /// One tag of a push.
    Tag,
}

impl Grain {
    /// Every grain.
    pub const ALL: &[Self] = &[Self::Event, Self::Tag];

    /// The word for it in a webhook's settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Tag => "tag",
        }
    }
}

/// Most tags of a push that become requests of their own. A push of more stays one delivery.
pub const MAX_TAGS: usize = 100;

impl Event {
    /// The ids of the deliveries that the event becomes for a notification; at least one.
    ///
    /// One that is all of the event has [`DeliveryId::derive`]'s, and so has one for a push of a
    /// single tag, whatever the grain; one of several tags has [`DeliveryId::derive_for_tag`]'s.
    pub fn deliveries(&self, notification: NotificationId, grain: Grain) -> Vec<DeliveryId> {
        let tags = if grain == Grain::Tag { self.pushed_tags() } else { Vec::new() };
        match tags.len() {
            2..=MAX_TAGS => tags.iter().map(|tag| self.delivery_of(notification, tag)).collect(),
            _ => vec![DeliveryId::derive(&self.source, &self.id, notification)],
        }
    }

    /// What a delivery tells: the event, or the event as if its tag alone had been pushed. Such a one
    /// has an id of its own, `ID:TAG`, because no two requests may tell of the same event otherwise.
    pub fn part(&self, delivery: DeliveryId, notification: NotificationId) -> Cow<'_, Self> {
        if delivery == DeliveryId::derive(&self.source, &self.id, notification) {
            return Cow::Borrowed(self);
        }
        let tags = self.pushed_tags();
        let own = tags.into_iter().find(|tag| delivery == self.delivery_of(notification, tag));
        own.map_or(Cow::Borrowed(self), |tag| {
            let mut part = self.clone();
            part.id = format!("{}:{tag}", self.id);
            part.data.insert("updated_tags".to_owned(), json!([tag]));
            Cow::Owned(part)
        })
    }

    fn delivery_of(&self, notification: NotificationId, tag: &str) -> DeliveryId {
        DeliveryId::derive_for_tag(&self.source, &self.id, notification, tag)
    }

    /// The tags of a push, each once, in their order.
    fn pushed_tags(&self) -> Vec<&str> {
        let tags = self.data.get("updated_tags").and_then(Value::as_array);
        let mut distinct = Vec::new();
        for tag in
            tags.filter(|_| self.kind == Kind::RepoPush).into_iter().flatten().filter_map(Value::as_str)
        {
            if !tag.is_empty() && !distinct.contains(&tag) {
                distinct.push(tag);
                if distinct.len() > MAX_TAGS {
                    break;
                }
            }
        }
        distinct
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::*;

    fn push(tags: &Value) -> Event {
        let event = json!({
            "specversion": "1.0", "id": "42", "source": "registry.example.com", "type": "repo_push",
            "subject": "acme/api", "data": {"updated_tags": tags},
        });
        Event::from_value(event, Timestamp::UNIX_EPOCH).expect("an event")
    }

    fn wish() -> NotificationId {
        NotificationId::from(Uuid::from_u128(1))
    }

    fn told(event: &Event, grain: Grain) -> Vec<(String, Value)> {
        let part = |delivery| {
            let part = event.part(delivery, wish());
            (part.id.clone(), part.data["updated_tags"].clone())
        };
        event.deliveries(wish(), grain).into_iter().map(part).collect()
    }

    #[test]
    fn a_push_of_several_tags_is_one_delivery_or_one_for_each() {
        let event = push(&json!(["v1", "latest", "v1", ""]));
        assert_eq!(told(&event, Grain::Event), [("42".to_owned(), json!(["v1", "latest", "v1", ""]))]);
        assert_eq!(
            told(&event, Grain::Tag),
            [("42:v1".to_owned(), json!(["v1"])), ("42:latest".to_owned(), json!(["latest"]))]
        );
        let ids = event.deliveries(wish(), Grain::Tag);
        assert!(ids[0] != ids[1] && !ids.contains(&event.deliveries(wish(), Grain::Event)[0]));
    }

    #[test]
    fn what_has_no_several_tags_is_one_delivery_with_the_events_own_id() {
        let one = DeliveryId::derive("registry.example.com", "42", wish());
        for tags in [json!([]), json!(["v1"]), json!(["v1", "v1"])] {
            assert_eq!(push(&tags).deliveries(wish(), Grain::Tag), [one], "{tags}");
        }
        let mut deletion = push(&json!(["v1", "v2"]));
        deletion.kind = Kind::TagDelete;
        assert_eq!(deletion.deliveries(wish(), Grain::Tag), [one]);
    }

    #[test]
    fn a_push_of_too_many_tags_is_not_split() {
        let tags = |count: usize| push(&json!((0..count).map(|n| n.to_string()).collect::<Vec<_>>()));
        assert_eq!(tags(MAX_TAGS).deliveries(wish(), Grain::Tag).len(), MAX_TAGS);
        assert_eq!(tags(MAX_TAGS + 1).deliveries(wish(), Grain::Tag).len(), 1);
    }
}
