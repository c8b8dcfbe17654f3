//! Into how many requests an event goes, and which of them tells what.
//!
//! A push of several tags goes to some receivers as one request for each tag. Each is a delivery of
//! its own: its id, its retries, its history. Which tag a delivery is of follows from its id and the
//! event alone, so neither a message nor a row has to say it.

use std::{borrow::Cow, collections::BTreeSet, iter};

use serde_json::{Value, json};

use crate::{DeliveryId, Event, Kind, MAX_CHAIN, NotificationId};

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

/// Most tags that one push may name; an event with more is refused when it is read, and its producer sends several.
/// Each may become a request of its own, so this bounds what one event becomes.
pub const MAX_TAGS: usize = 1000;

/// Which of an event's deliveries one is.
#[derive(Debug, Clone, PartialEq)]
pub struct Place<'a> {
    /// What it tells: the event, or the event as if its tag alone had been pushed. Such a one has an id of its own,
    /// `ID:TAG`, because no two requests may tell of the same event otherwise.
    pub part: Cow<'a, Event>,
    /// The delivery to the first URL of its webhook chain: itself, unless it is to a later one.
    pub first: DeliveryId,
    /// Which URL of the chain it goes to, from 0.
    pub link: u32,
}

impl Event {
    /// The ids of the deliveries that the event becomes for a notification; at least one.
    ///
    /// One that is all of the event has [`DeliveryId::derive`]'s, and so has one for a push of a
    /// single tag, whatever the grain; one of several tags has [`DeliveryId::derive_for_tag`]'s.
    pub fn deliveries(&self, notification: NotificationId, grain: Grain) -> Vec<DeliveryId> {
        self.split(notification, grain).into_iter().map(|(delivery, _)| delivery).collect()
    }

    /// The same, each with the tag that it is of, if it is of one of several.
    pub fn split(&self, notification: NotificationId, grain: Grain) -> Vec<(DeliveryId, Option<&str>)> {
        let tags = if grain == Grain::Tag { self.pushed_tags() } else { Vec::new() };
        if tags.len() < 2 {
            return vec![(self.whole(notification), None)];
        }
        tags.into_iter().map(|tag| (self.delivery_of(notification, tag), Some(tag))).collect()
    }

    /// The event with no other tag than `tag`: all that the message of a delivery of one of several tags has to
    /// carry. A thousand tags would otherwise be carried a thousand times.
    #[must_use]
    pub fn with_tag_alone(&self, tag: &str) -> Self {
        let mut alone = self.clone();
        alone.data.insert("updated_tags".to_owned(), json!([tag]));
        alone
    }

    /// Which of the event's deliveries for a notification one is. One that is none of them counts as the whole.
    pub fn place(&self, delivery: DeliveryId, notification: NotificationId) -> Place<'_> {
        let whole = self.whole(notification);
        if delivery == whole {
            return Place { part: Cow::Borrowed(self), first: delivery, link: 0 };
        }
        let tags = self.pushed_tags();
        let of_tags = tags.iter().map(|tag| (self.delivery_of(notification, tag), Some(*tag)));
        let firsts: Vec<_> = iter::once((whole, None)).chain(of_tags).collect();
        let links = 1..=u32::try_from(MAX_CHAIN).unwrap_or(u32::MAX);
        let own = firsts.iter().find(|(first, _)| *first == delivery).map(|(_, tag)| (delivery, *tag, 0));
        let own = own.or_else(|| {
            let link_of =
                |first| links.clone().find(|link| DeliveryId::derive_for_link(first, *link) == delivery);
            firsts.iter().find_map(|(first, tag)| Some((*first, *tag, link_of(*first)?)))
        });
        let (first, tag, link) = own.unwrap_or((delivery, None, 0));
        let part = tag.map_or(Cow::Borrowed(self), |tag| {
            let mut part = self.with_tag_alone(tag);
            part.id = format!("{}:{tag}", self.id);
            Cow::Owned(part)
        });
        Place { part, first, link }
    }

    /// What a delivery tells: see [`Place::part`].
    pub fn part(&self, delivery: DeliveryId, notification: NotificationId) -> Cow<'_, Self> {
        self.place(delivery, notification).part
    }

    /// Whether it tells of a `kind` that is not its own: a push by tag, of the manifest that was pushed.
    pub(crate) fn tells_of(&self, kind: Kind) -> bool {
        let has_digest = self.data.get("digest").and_then(Value::as_str).is_some_and(|text| !text.is_empty());
        (self.kind, kind) == (Kind::RepoPush, Kind::ManifestPush) && has_digest
    }

    /// What one that hears of it as of a `kind` is told; see [`Notification::hears_as`](crate::Notification::hears_as).
    /// A push of one tag names that as a manifest does.
    pub fn heard_as(&self, kind: Kind) -> Cow<'_, Self> {
        if !self.tells_of(kind) {
            return Cow::Borrowed(self);
        }
        let mut heard = Self { kind, ..self.clone() };
        heard.data.remove("updated_tags");
        if let [tag] = self.pushed_tags()[..] {
            heard.data.insert("tag".to_owned(), tag.into());
        }
        Cow::Owned(heard)
    }

    fn whole(&self, notification: NotificationId) -> DeliveryId {
        DeliveryId::derive(&self.source, &self.id, notification)
    }

    fn delivery_of(&self, notification: NotificationId, tag: &str) -> DeliveryId {
        DeliveryId::derive_for_tag(&self.source, &self.id, notification, tag)
    }

    /// The tags of a push, each once, in their order. Empty ones are none.
    pub(crate) fn pushed_tags(&self) -> Vec<&str> {
        let tags = self.data.get("updated_tags").and_then(Value::as_array);
        let tags =
            tags.filter(|_| self.kind == Kind::RepoPush).into_iter().flatten().filter_map(Value::as_str);
        let mut known = BTreeSet::new();
        tags.filter(|tag| !tag.is_empty() && known.insert(*tag)).collect()
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
    fn a_push_of_as_many_tags_as_may_be_is_split_whole_and_each_message_carries_its_own_alone() {
        let tags: Vec<String> = (0..MAX_TAGS).map(|n| n.to_string()).collect();
        let event = push(&json!(tags));
        let split = event.split(wish(), Grain::Tag);
        assert_eq!(split.len(), MAX_TAGS);
        for (number, (delivery, tag)) in split.iter().enumerate().step_by(97) {
            assert_eq!(*tag, Some(tags[number].as_str()));
            let carried = event.with_tag_alone(&tags[number]);
            assert!(carried.to_json().len() < 300 && carried.id == event.id);
            assert_eq!(carried.part(*delivery, wish()), event.part(*delivery, wish()), "told the same");
        }
    }

    #[test]
    fn a_push_by_tag_tells_of_its_manifest_where_its_digest_is_known() {
        let mut event = push(&json!(["v1"]));
        assert_eq!(event.heard_as(Kind::ManifestPush), Cow::Borrowed(&event), "without a digest");
        event.data.insert("digest".to_owned(), json!("sha256:6f"));
        let heard = event.heard_as(Kind::ManifestPush);
        assert_eq!((heard.kind, &heard.id), (Kind::ManifestPush, &event.id));
        assert_eq!(Value::from(heard.data.clone()), json!({"tag": "v1", "digest": "sha256:6f"}));
        for kind in Kind::ALL.iter().filter(|kind| **kind != Kind::ManifestPush) {
            assert_eq!(event.heard_as(*kind), Cow::Borrowed(&event), "{kind}");
        }
        event.data.insert("updated_tags".to_owned(), json!(["v1", "latest"]));
        assert_eq!(
            event.heard_as(Kind::ManifestPush).data.get("tag"),
            None,
            "of several tags none is its own"
        );
    }

    #[test]
    fn a_link_of_a_chain_tells_the_same_as_the_first_and_has_an_id_of_its_own() {
        let event = push(&json!(["v1", "latest"]));
        for (first, tag) in
            event.split(wish(), Grain::Tag).into_iter().chain(event.split(wish(), Grain::Event))
        {
            let told = event.place(first, wish());
            assert_eq!((told.first, told.link), (first, 0), "{tag:?}");
            for link in [1, 9] {
                let later = event.place(DeliveryId::derive_for_link(first, link), wish());
                assert_eq!(later, Place { link, ..told.clone() }, "{tag:?}");
            }
            let beyond = DeliveryId::derive_for_link(first, 10);
            assert_eq!(
                event.place(beyond, wish()),
                Place { part: Cow::Borrowed(&event), first: beyond, link: 0 }
            );
        }
    }
}
