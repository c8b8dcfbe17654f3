//! The events that one fan-out has fanned out of late.
//!
//! Once the deliveries of an event are durable, whatever still brings it is a repeat. The store learns that from the
//! recorder, a moment later or, while no recorder runs, much later; until then it takes another message with the id of
//! the first one for the first one, come back. In this memory the worker that made the deliveries knows better. What it
//! forgets, or another worker did, is harmless: it makes the same deliveries once more, under the same ids.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use bellbuoy_store::SeenEvent;
use jiff::Timestamp;

use crate::clock;

/// Most events that are remembered: minutes of a busy fleet, and a few megabytes.
const MOST: usize = 20_000;

/// Source and id.
type Key = (Box<str>, Box<str>);

/// Events with the time at which they were accepted, the oldest entry first.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    accepted: HashMap<Key, Timestamp>,
    order: VecDeque<Key>,
}

impl Recent {
    /// Whether the event was fanned out, and accepted no more than `window` before.
    pub(crate) fn knows(&self, event: &SeenEvent, window: Duration) -> bool {
        let known = self.accepted.get(&key(event));
        known.is_some_and(|known| clock::since(*known, event.accepted_at) <= window)
    }

    /// Remembers an event, and forgets the oldest if there are too many.
    pub(crate) fn add(&mut self, event: &SeenEvent) {
        self.put(key(event), event.accepted_at);
    }

    /// Remembers all of another memory's.
    pub(crate) fn extend(&mut self, mut other: Self) {
        for key in other.order {
            if let Some(accepted_at) = other.accepted.remove(&key) {
                self.put(key, accepted_at);
            }
        }
    }

    fn put(&mut self, key: Key, accepted_at: Timestamp) {
        if self.accepted.insert(key.clone(), accepted_at).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.accepted.remove(&oldest);
        }
    }
}

fn key(event: &SeenEvent) -> Key {
    (event.source.as_str().into(), event.id.as_str().into())
}

#[cfg(test)]
mod tests {
    use bellbuoy_domain::Kind;
    use uuid::Uuid;

    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn event(id: usize, second: i64) -> SeenEvent {
        SeenEvent {
            source: "registry".into(),
            id: id.to_string(),
            kind: Kind::RepoPush,
            subject: "acme/api".into(),
            message: Uuid::nil(),
            accepted_at: Timestamp::from_second(second).expect("a time"),
            body: Vec::new(),
        }
    }

    #[test]
    fn an_event_is_known_within_the_window_and_by_source_and_id() {
        let mut recent = Recent::default();
        recent.add(&event(1, 0));
        assert!(recent.knows(&event(1, 0), HOUR) && recent.knows(&event(1, 3600), HOUR));
        assert!(!recent.knows(&event(1, 3601), HOUR), "by then it counts as new");
        assert!(!recent.knows(&event(2, 0), HOUR));
        let elsewhere = SeenEvent { source: "other".into(), ..event(1, 0) };
        assert!(!recent.knows(&elsewhere, HOUR));
    }

    #[test]
    fn the_oldest_is_forgotten_when_there_are_too_many() {
        let (mut recent, mut more) = (Recent::default(), Recent::default());
        recent.add(&event(0, 0));
        for id in 1..=MOST {
            more.add(&event(id, 0));
        }
        recent.extend(more);
        assert!(!recent.knows(&event(0, 0), HOUR) && recent.knows(&event(1, 0), HOUR));
        assert_eq!((recent.order.len(), recent.accepted.len()), (MOST, MOST));
    }
}
