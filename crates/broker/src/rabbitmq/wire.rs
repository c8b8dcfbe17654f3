//! Our messages as RabbitMQ carries them.
//!
//! Ours have up to three headers of their own, which no caller sees: when the message is due, how long the whole
//! wait is, if there is one, and how often it was returned before it was last copied, if it was. Headers that begin with `x-` are
//! RabbitMQ's word to us; they are read and never sent, because a copied `x-death` can stop a message for
//! good on RabbitMQ 3.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use lapin::{
    BasicProperties,
    message::Delivery,
    types::{AMQPValue, FieldTable, ShortString},
};
use uuid::Uuid;

use super::{
    delay::{self, Tolerance},
    pack,
    topology::{Lane, QUEUES, is_level, level_name, owner, route},
};
use crate::{Headers, Outgoing, QueueName};

/// Unix milliseconds before which nobody may have the message.
const DUE: &str = "bellbuoy-due-ms";
/// Milliseconds of the whole wait, from which its tolerance follows.
const WAIT: &str = "bellbuoy-wait-ms";
/// Returns before the last copy; RabbitMQ counts those since.
const RETURNS: &str = "bellbuoy-returns";
/// The AMQP property of that name, as a header.
const CONTENT_TYPE: &str = "content-type";

const PERSISTENT: u8 = 2;

/// A message as we know it.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) queue: QueueName,
    pub(crate) id: Uuid,
    pub(crate) headers: Headers,
    pub(crate) body: Bytes,
    pub(crate) due_ms: i64,
    pub(crate) wait_ms: i64,
    pub(crate) returns: u32,
}

/// A message on its way to an exchange.
#[derive(Debug, Clone)]
pub(super) struct Parcel {
    pub(super) id: Uuid,
    pub(super) exchange: ShortString,
    pub(super) key: ShortString,
    pub(super) properties: BasicProperties,
    pub(super) body: Bytes,
}

impl Message {
    /// A message that is published now.
    pub(super) fn new(outgoing: Outgoing, now: SystemTime) -> Self {
        // Rounded up, so that the millisecond it is due in has begun when it is handed out.
        let due = now.duration_since(UNIX_EPOCH).unwrap_or_default() + outgoing.delay;
        Self {
            queue: outgoing.queue,
            id: outgoing.id,
            headers: outgoing.headers,
            body: outgoing.body,
            due_ms: milliseconds_up(due),
            wait_ms: milliseconds_up(outgoing.delay),
            returns: 0,
        }
    }

    /// As RabbitMQ delivered it.
    pub(super) fn received(queue: &QueueName, delivery: Delivery, now: SystemTime) -> Self {
        let properties = delivery.properties;
        let none = FieldTable::default();
        let table = properties.headers().as_ref().unwrap_or(&none);
        let number = |name: &str| table.inner().get(name).and_then(integer);
        let mut headers = headers(table);
        if let Some(content_type) = properties.content_type() {
            headers.set(CONTENT_TYPE, content_type.as_str());
        }
        if let Some(death) = death(table) {
            headers.explain(&death.origin, &death.reason, &death.detail);
        }
        let now_ms = milliseconds_up(now.duration_since(UNIX_EPOCH).unwrap_or_default());
        let stamped =
            properties.timestamp().and_then(|seconds| i64::try_from(seconds).ok()?.checked_mul(1000));
        let stamped = stamped.map(|stamped| stamped.min(now_ms));
        let before = number(RETURNS).unwrap_or(0).max(0);
        let since = number("x-delivery-count").unwrap_or(0).max(0);
        Self {
            queue: queue.clone(),
            id: id(properties.message_id().as_ref().map(ShortString::as_str), &delivery.data),
            headers,
            body: Bytes::from(delivery.data),
            due_ms: number(DUE).or(stamped).unwrap_or(now_ms).max(0),
            wait_ms: number(WAIT).unwrap_or(0).max(0),
            returns: u32::try_from(before.saturating_add(since)).unwrap_or(u32::MAX),
        }
    }

    /// The messages that were packed into this one, if it is a pack. Why it died, if it did, is true of each.
    pub(super) fn members(&self) -> Option<Vec<Self>> {
        if self.headers.get(CONTENT_TYPE) != Some(pack::CONTENT_TYPE) {
            return None;
        }
        let members = pack::unpack(&self.body)?.into_iter().map(|pack::Member { id, mut headers, body }| {
            for (name, value) in self.headers.iter().filter(|(name, _)| *name != CONTENT_TYPE) {
                headers.set(name, value);
            }
            Self { queue: self.queue.clone(), id, headers, body, ..*self }
        });
        Some(members.collect())
    }

    /// How long nobody may have it yet.
    pub(crate) fn remaining(&self, now: SystemTime) -> Duration {
        // One that was never delayed is not held back by a clock that lags behind its publisher's.
        if self.wait_ms == 0 {
            return Duration::ZERO;
        }
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        Duration::from_millis(self.due_ms.max(0).unsigned_abs()).saturating_sub(now)
    }

    /// For its queue, or while it has to wait, for the level that fits.
    pub(super) fn parcel(&self, now: SystemTime, tolerance: Tolerance) -> Parcel {
        let remaining = self.remaining(now);
        if remaining.is_zero() {
            let (exchange, key) = route(&self.queue);
            return self.addressed(exchange, key);
        }
        let whole = Duration::from_millis(self.wait_ms.unsigned_abs());
        let level = delay::level(remaining, tolerance.of(whole));
        self.addressed(&level_name(level), &Lane::Due.of(&self.queue))
    }

    /// As it stood on another broker: what has waited goes to where waits end.
    pub(super) fn parcel_as_it_stands(&self, now: SystemTime, tolerance: Tolerance) -> Parcel {
        if self.wait_ms > 0 && self.remaining(now).is_zero() {
            return self.parcel_for(Lane::Due);
        }
        self.parcel(now, tolerance)
    }

    /// For one part of its queue.
    pub(super) fn parcel_for(&self, lane: Lane) -> Parcel {
        self.addressed(QUEUES, &lane.of(&self.queue))
    }

    fn addressed(&self, exchange: &str, key: &str) -> Parcel {
        let mut table = FieldTable::default();
        let mut properties = BasicProperties::default();
        for (name, value) in self.headers.iter() {
            if name == CONTENT_TYPE && u8::try_from(value.len()).is_ok() {
                properties = properties.with_content_type(value.into());
            } else if !is_ours(name) && !name.starts_with("x-") {
                // AMQP has no longer names, and nothing of ours makes any.
                if let Ok(name) = ShortString::try_new(name) {
                    table.insert(name, AMQPValue::LongString(value.into()));
                }
            }
        }
        table.insert(DUE.into(), AMQPValue::LongLongInt(self.due_ms));
        // Most were never delayed nor returned, and RabbitMQ takes every header apart.
        for (name, value) in [(WAIT, self.wait_ms), (RETURNS, i64::from(self.returns))] {
            if value != 0 {
                table.insert(name.into(), AMQPValue::LongLongInt(value));
            }
        }
        let properties = properties
            .with_delivery_mode(PERSISTENT)
            .with_message_id(self.id.to_string().into())
            .with_headers(table);
        Parcel {
            id: self.id,
            exchange: exchange.into(),
            key: key.into(),
            properties,
            body: self.body.clone(),
        }
    }
}

/// The id that a returned message was published with.
pub(super) fn returned_id(properties: &BasicProperties) -> Option<Uuid> {
    Uuid::parse_str(properties.message_id().as_ref()?.as_str()).ok()
}

/// Why RabbitMQ itself made a message a dead letter.
struct Death {
    reason: String,
    origin: String,
    detail: String,
}

// The latest death comes first, on every version; a level queue's is how a wait ends.
fn death(table: &FieldTable) -> Option<Death> {
    let AMQPValue::FieldArray(deaths) = table.inner().get("x-death")? else { return None };
    deaths.as_slice().iter().find_map(|entry| {
        let AMQPValue::FieldTable(entry) = entry else { return None };
        let word = |name: &str| entry.inner().get(name).and_then(text);
        let (queue, reason) = (word("queue")?, word("reason")?);
        if is_level(&queue) {
            return None;
        }
        let origin = owner(&queue).to_owned();
        Some(if reason == "delivery_limit" {
            let detail = "it was returned or lost with its worker too often".into();
            Death { reason: "poisoned".into(), origin, detail }
        } else {
            let detail = format!("RabbitMQ moved it here out of queue {queue}: {reason}");
            Death { reason, origin, detail }
        })
    })
}

fn headers(table: &FieldTable) -> Headers {
    let mut headers = Headers::default();
    for (name, value) in table.inner() {
        let name = name.as_str();
        if !is_ours(name)
            && !name.starts_with("x-")
            && let Some(value) = text(value)
        {
            headers.set(name, value);
        }
    }
    headers
}

fn is_ours(name: &str) -> bool {
    [DUE, WAIT, RETURNS].contains(&name)
}

// One that is no UUID, or none at all, gives the same id each time the message is delivered. Producers count anew, and two
// of them count alike: what is not the same message must not be taken for it.
fn id(message_id: Option<&str>, body: &[u8]) -> Uuid {
    let Some(text) = message_id else { return Uuid::new_v5(&Uuid::NAMESPACE_OID, body) };
    Uuid::parse_str(text).unwrap_or_else(|_| {
        let of_that_name = Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes());
        Uuid::new_v5(&of_that_name, body)
    })
}

fn text(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => Some(String::from_utf8_lossy(text.as_bytes()).into_owned()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        AMQPValue::Boolean(flag) => Some(flag.to_string()),
        AMQPValue::Float(number) => Some(number.to_string()),
        AMQPValue::Double(number) => Some(number.to_string()),
        other => integer(other).map(|number| number.to_string()),
    }
}

fn integer(value: &AMQPValue) -> Option<i64> {
    match value {
        AMQPValue::ShortShortInt(number) => Some((*number).into()),
        AMQPValue::ShortShortUInt(number) => Some((*number).into()),
        AMQPValue::ShortInt(number) => Some((*number).into()),
        AMQPValue::ShortUInt(number) => Some((*number).into()),
        AMQPValue::LongInt(number) => Some((*number).into()),
        AMQPValue::LongUInt(number) => Some((*number).into()),
        AMQPValue::LongLongInt(number) => Some(*number),
        AMQPValue::Timestamp(number) => i64::try_from(*number).ok(),
        _ => None,
    }
}

fn milliseconds_up(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use lapin::types::FieldArray;

    use super::*;

    const USUAL: Tolerance = Tolerance::percent(1);

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_700_000_000)
    }

    fn outgoing(delay: Duration) -> Message {
        let mut outgoing = Outgoing::new(QueueName::new("bellbuoy.deliver.webhook"), "{}").after(delay);
        outgoing.headers.set("traceparent", "00-abc");
        outgoing.headers.set("x-death", "never sent on");
        Message::new(outgoing, now())
    }

    fn delivered(parcel: &Parcel) -> Delivery {
        let mut delivery =
            Delivery::mock(1, parcel.exchange.clone(), parcel.key.clone(), false, parcel.body.to_vec());
        delivery.properties = parcel.properties.clone();
        delivery
    }

    fn text(value: &str) -> AMQPValue {
        AMQPValue::LongString(value.into())
    }

    fn names(table: &FieldTable) -> Vec<&str> {
        table.inner().keys().map(ShortString::as_str).collect()
    }

    fn entry(queue: &str, reason: &str) -> AMQPValue {
        let mut entry = FieldTable::default();
        entry.insert("queue".into(), text(queue));
        entry.insert("reason".into(), text(reason));
        AMQPValue::FieldTable(entry)
    }

    // Another version may read what this one wrote: these names are for ever.
    #[test]
    fn what_is_written_is_pinned() {
        let parcel = outgoing(Duration::from_secs(4)).parcel(now(), USUAL);
        assert_eq!(
            (parcel.exchange.as_str(), parcel.key.as_str()),
            ("bellbuoy.delay.v1.03", "bellbuoy.deliver.webhook.due")
        );
        assert_eq!(parcel.properties.delivery_mode(), &Some(2));
        assert_eq!(returned_id(&parcel.properties), Some(parcel.id));
        let table = parcel.properties.headers().clone().expect("headers");
        assert_eq!(names(&table), ["bellbuoy-due-ms", "bellbuoy-wait-ms", "traceparent"]);
        assert_eq!(table.inner()["bellbuoy-due-ms"], AMQPValue::LongLongInt(1_700_000_004_000));
        assert_eq!(table.inner()["bellbuoy-wait-ms"], AMQPValue::LongLongInt(4000));
        let at_once = outgoing(Duration::ZERO).parcel(now(), USUAL);
        assert_eq!((at_once.exchange.as_str(), at_once.key.as_str()), ("bellbuoy.deliveries", "webhook"));
        let table = at_once.properties.headers().clone().expect("headers");
        assert_eq!(names(&table), ["bellbuoy-due-ms", "traceparent"]);
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        let message = outgoing(Duration::from_secs(4));
        let read = Message::received(&message.queue, delivered(&message.parcel(now(), USUAL)), now());
        assert_eq!((read.id, &read.body, read.due_ms), (message.id, &message.body, message.due_ms));
        assert_eq!(read.headers.iter().collect::<Vec<_>>(), [("traceparent", "00-abc")]);
        assert_eq!(read.remaining(now()), Duration::from_secs(4));
        assert_eq!(read.remaining(now() + Duration::from_secs(5)), Duration::ZERO);
    }

    #[test]
    fn the_members_of_a_dead_pack_are_told_why_it_died() {
        let told = |body: &'static str| Outgoing::new(crate::queues::outcomes(), body);
        let (one, two) = (told("1"), told("2"));
        let ids = [one.id, two.id];
        let parcel = Message::new(pack::pack(&[one, two]).remove(0), now()).parcel(now(), USUAL);
        let mut delivery = delivered(&parcel);
        let mut table = parcel.properties.headers().clone().expect("headers");
        let deaths = FieldArray::from(vec![entry("bellbuoy.outcomes", "delivery_limit")]);
        table.insert("x-death".into(), AMQPValue::FieldArray(deaths));
        delivery.properties = parcel.properties.with_headers(table);
        let dead = Message::received(&crate::queues::dead(), delivery, now());
        let members = dead.members().expect("a pack");
        assert_eq!(members.iter().map(|member| member.id).collect::<Vec<_>>(), ids);
        for member in members {
            assert_eq!(member.headers.get("bellbuoy-reason"), Some("poisoned"));
            assert_eq!(member.headers.get(CONTENT_TYPE), None);
            assert!(member.members().is_none());
        }
    }

    #[test]
    fn returns_are_those_before_the_last_copy_and_those_since() {
        let mut message = outgoing(Duration::ZERO);
        message.returns = 2;
        let mut parcel = message.parcel_for(Lane::Suspects);
        assert_eq!(
            (parcel.exchange.as_str(), parcel.key.as_str()),
            ("bellbuoy.queues", "bellbuoy.deliver.webhook.suspects")
        );
        let mut table = parcel.properties.headers().clone().expect("headers");
        assert_eq!(table.inner()["bellbuoy-returns"], AMQPValue::LongLongInt(2));
        table.insert("x-delivery-count".into(), AMQPValue::LongLongInt(1));
        parcel.properties = parcel.properties.with_headers(table);
        assert_eq!(Message::received(&message.queue, delivered(&parcel), now()).returns, 3);
    }

    #[test]
    fn a_death_at_the_limit_reads_as_poisoned_and_the_end_of_a_wait_as_nothing() {
        let read = |deaths: Vec<AMQPValue>| {
            let mut table = FieldTable::default();
            table.insert("x-death".into(), AMQPValue::FieldArray(FieldArray::from(deaths)));
            let mut delivery = Delivery::mock(1, "bellbuoy.dead".into(), "".into(), false, Vec::new());
            delivery.properties = BasicProperties::default().with_headers(table);
            let message = Message::received(&crate::queues::dead(), delivery, now());
            let word = |name| message.headers.get(name).map(ToOwned::to_owned);
            (word("bellbuoy-reason"), word("bellbuoy-origin"))
        };
        let waited = || entry("bellbuoy.delay.v1.03", "expired");
        let poisoned = (Some("poisoned".into()), Some("bellbuoy.events".into()));
        assert_eq!(read(vec![entry("bellbuoy.events.suspects", "delivery_limit"), waited()]), poisoned);
        assert_eq!(read(vec![waited(), entry("bellbuoy.events", "delivery_limit")]), poisoned);
        assert_eq!(read(vec![waited()]), (None, None));
        let expired = (Some("expired".into()), Some("bellbuoy.events".into()));
        assert_eq!(read(vec![entry("bellbuoy.events", "expired")]), expired);
    }
}
