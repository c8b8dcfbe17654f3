//! What stands on RabbitMQ: exchanges, queues and bindings, described once.
//!
//! A queue of ours is three of RabbitMQ's: messages that were never delayed, those whose delay has ended (so
//! that a storm of retries does not stand in front of what is new), and suspects, which are tried one at a
//! time. Whatever waits, waits in a level queue and comes back through `bellbuoy.queues`.
//!
//! ```text
//! events (topic)    --#-------------> bellbuoy.events
//! deliveries        --METHOD[.SHARD]-> bellbuoy.deliver.METHOD[.SHARD]
//! outcomes (fanout) -----------------> bellbuoy.outcomes
//! dead (fanout)     -----------------> bellbuoy.dead
//! queues (direct)   --NAME-----------> NAME, NAME.due, NAME.suspects, of every queue
//! delay.v1.KK       -----------------> bellbuoy.delay.v1.KK --after 500 ms x 2^KK, same key--> queues
//! any other queue   --limit reached--> dead
//! any exchange      --no route-------> unroutable
//! ```
//!
//! Everything that correctness hangs on is an argument, so that a declaration finds what differs.

use std::time::Duration;

use lapin::{
    ExchangeKind,
    types::{AMQPValue, FieldTable},
};
use serde_json::{Map, Value, json};

use super::delay;
use crate::{QueueName, Shards, queues};

/// Returns of the process kind that make a message a suspect.
pub(super) const SUSPECT_RETURNS: u32 = 2;

/// And the further returns, each of it alone, that a suspect survives; the next one makes it dead. With those
/// before, a message is dead after five returns.
const SUSPECT_LIMIT: i64 = 2;

/// Returns that a queue outlives when nobody moves its suspects: a worker that dies as soon as it starts,
/// fifty times over.
const OUTER_LIMIT: i64 = 50;

/// Stands for no limit, which RabbitMQ 3 can't be told and RabbitMQ 4 would take for 20 returns.
const NO_LIMIT: i64 = 1_000_000_000;

/// Where the level queues send what has waited; the routing key is the queue's name on RabbitMQ.
pub(super) const QUEUES: &str = "bellbuoy.queues";

/// Where a message goes that reached the limit of its queue.
const DEAD: &str = "bellbuoy.dead";

/// What had no route.
pub(super) const UNROUTABLE: &str = "bellbuoy.unroutable";

/// What the level queues are called together.
pub(super) const DELAYS: &str = "bellbuoy.delay";

/// Which of the three queues that make one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    Fresh,
    Due,
    Suspects,
}

impl Lane {
    pub(super) const ALL: [Self; 3] = [Self::Fresh, Self::Due, Self::Suspects];

    /// The name on RabbitMQ of this part of `queue`.
    pub(super) fn of(self, queue: &QueueName) -> String {
        match self {
            Self::Fresh => queue.as_str().to_owned(),
            Self::Due => format!("{queue}.due"),
            Self::Suspects => format!("{queue}.suspects"),
        }
    }
}

/// Our name of the queue that `name` is a part of on RabbitMQ.
pub(super) fn owner(name: &str) -> &str {
    name.strip_suffix(".due").or_else(|| name.strip_suffix(".suspects")).unwrap_or(name)
}

/// The exchange of a level, which has its queue's name.
pub(super) fn level_name(level: u8) -> String {
    format!("{DELAYS}.v1.{level:02}")
}

/// Whether a queue of that name keeps waiting messages.
pub(super) fn is_level(name: &str) -> bool {
    name.strip_prefix(DELAYS).is_some_and(|rest| rest.starts_with('.'))
}

/// The exchange and the routing key by which a message for at once reaches `queue`.
pub(super) fn route(queue: &QueueName) -> (&'static str, &str) {
    let name = queue.as_str();
    match name.strip_prefix("bellbuoy.") {
        Some("events") => ("bellbuoy.events", "ingest"),
        Some("outcomes") => ("bellbuoy.outcomes", ""),
        Some("dead") => ("bellbuoy.dead", ""),
        Some(rest) => match rest.strip_prefix("deliver.") {
            Some(method) => ("bellbuoy.deliveries", method),
            None => (QUEUES, name),
        },
        None => (QUEUES, name),
    }
}

/// Everything that has to stand on RabbitMQ.
#[derive(Debug, Clone)]
pub struct Topology {
    methods: Vec<String>,
    shards: Shards,
    pub(super) names: Vec<QueueName>,
    pub(super) exchanges: Vec<Exchange>,
    pub(super) queues: Vec<Queue>,
    pub(super) bindings: Vec<Binding>,
}

#[derive(Debug, Clone)]
pub(super) struct Exchange {
    pub(super) name: String,
    pub(super) kind: ExchangeKind,
    pub(super) arguments: Arguments,
}

#[derive(Debug, Clone)]
pub(super) struct Queue {
    pub(super) name: String,
    pub(super) arguments: Arguments,
}

#[derive(Debug, Clone)]
pub(super) struct Binding {
    pub(super) exchange: String,
    pub(super) queue: String,
    pub(super) key: String,
}

/// Arguments of a declaration.
#[derive(Debug, Clone, Default)]
pub(super) struct Arguments(Vec<(&'static str, Argument)>);

#[derive(Debug, Clone)]
enum Argument {
    Text(String),
    Number(i64),
}

impl Topology {
    /// What the given delivery methods need, each on so many shards.
    pub fn new(methods: &[&str], shards: Shards) -> Self {
        let mut topology = Self::frame();
        topology.methods = methods.iter().map(|method| (*method).to_owned()).collect();
        topology.shards = shards;
        topology.add(&queues::events());
        topology.add(&queues::outcomes());
        topology.add(&queues::dead());
        topology.bind("bellbuoy.events", &queues::events(), "#");
        topology.bind("bellbuoy.outcomes", &queues::outcomes(), "");
        topology.bind("bellbuoy.dead", &queues::dead(), "");
        for method in methods {
            for queue in shards.queues(method) {
                topology.add(&queue);
                let (exchange, key) = route(&queue);
                topology.bind(exchange, &queue, key);
            }
        }
        topology
    }

    /// Of each method, the shards that would follow those described.
    pub(super) fn beyond(&self) -> impl Iterator<Item = impl Iterator<Item = QueueName>> {
        self.methods.iter().map(|method| {
            let mut shards = Some(self.shards);
            std::iter::from_fn(move || {
                let (queue, more) = shards?.next(method)?;
                shards = Some(more);
                Some(queue)
            })
        })
    }

    /// The queues, by our names.
    pub fn queues(&self) -> &[QueueName] {
        &self.names
    }

    /// And these queues besides.
    #[must_use]
    pub fn with_queues(mut self, queues: &[QueueName]) -> Self {
        for queue in queues {
            self.add(queue);
        }
        self
    }

    /// As RabbitMQ's `definitions.json`, for import into `vhost`: `rabbitmqctl import_definitions`, once the
    /// cluster has formed. Definitions that are loaded while it boots leave every queue with one member.
    pub fn definitions(&self, vhost: &str) -> Value {
        let queues = self.queues.iter().map(|queue| {
            json!({ "name": queue.name, "vhost": vhost, "durable": true, "auto_delete": false,
                    "arguments": queue.arguments.json() })
        });
        let exchanges = self.exchanges.iter().map(|exchange| {
            json!({ "name": exchange.name, "vhost": vhost, "type": kind_name(&exchange.kind), "durable": true,
                    "auto_delete": false, "internal": false, "arguments": exchange.arguments.json() })
        });
        let bindings = self.bindings.iter().map(|binding| {
            json!({ "source": binding.exchange, "vhost": vhost, "destination": binding.queue,
                    "destination_type": "queue", "routing_key": binding.key, "arguments": {} })
        });
        json!({
            "exchanges": exchanges.collect::<Value>(),
            "queues": queues.collect::<Value>(),
            "bindings": bindings.collect::<Value>(),
        })
    }

    // What does not depend on which queues there are.
    fn frame() -> Self {
        let mut topology = Self {
            methods: Vec::new(),
            shards: Shards::ONE,
            names: Vec::new(),
            exchanges: Vec::new(),
            queues: Vec::new(),
            bindings: Vec::new(),
        };
        for (name, kind) in [
            ("bellbuoy.events", ExchangeKind::Topic),
            ("bellbuoy.deliveries", ExchangeKind::Direct),
            ("bellbuoy.outcomes", ExchangeKind::Fanout),
            ("bellbuoy.dead", ExchangeKind::Fanout),
            (QUEUES, ExchangeKind::Direct),
        ] {
            topology.exchange(
                name.to_owned(),
                kind,
                Arguments::default().text("alternate-exchange", UNROUTABLE),
            );
        }
        topology.exchange(UNROUTABLE.to_owned(), ExchangeKind::Fanout, Arguments::default());
        let parked = quorum().number("x-delivery-limit", NO_LIMIT);
        topology.queues.push(Queue { name: UNROUTABLE.to_owned(), arguments: parked });
        topology.binding(UNROUTABLE, UNROUTABLE.to_owned(), "");
        for level in 0..delay::LEVELS {
            topology.level(level);
        }
        topology
    }

    fn level(&mut self, level: u8) {
        let name = level_name(level);
        let with_alternate = Arguments::default().text("alternate-exchange", UNROUTABLE);
        self.exchange(name.clone(), ExchangeKind::Fanout, with_alternate);
        let arguments = quorum()
            .number("x-delivery-limit", NO_LIMIT)
            .number("x-message-ttl", milliseconds(delay::wait_of(level)))
            .dead_letters_to(QUEUES);
        self.queues.push(Queue { name: name.clone(), arguments });
        self.binding(&name.clone(), name, "");
    }

    fn add(&mut self, queue: &QueueName) {
        for lane in Lane::ALL {
            let name = lane.of(queue);
            let limit = if lane == Lane::Suspects { SUSPECT_LIMIT } else { OUTER_LIMIT };
            // A dead letter stays one, however often it is returned.
            let arguments = if *queue == queues::dead() {
                quorum().number("x-delivery-limit", NO_LIMIT)
            } else {
                quorum().number("x-delivery-limit", limit).dead_letters_to(DEAD)
            };
            self.queues.push(Queue { name: name.clone(), arguments });
            self.binding(QUEUES, name.clone(), &name);
        }
        self.names.push(queue.clone());
    }

    fn bind(&mut self, exchange: &str, queue: &QueueName, key: &str) {
        self.binding(exchange, queue.as_str().to_owned(), key);
    }

    fn exchange(&mut self, name: String, kind: ExchangeKind, arguments: Arguments) {
        self.exchanges.push(Exchange { name, kind, arguments });
    }

    fn binding(&mut self, exchange: &str, queue: String, key: &str) {
        self.bindings.push(Binding { exchange: exchange.to_owned(), queue, key: key.to_owned() });
    }
}

fn kind_name(kind: &ExchangeKind) -> &str {
    match kind {
        ExchangeKind::Custom(name) => name,
        ExchangeKind::Direct => "direct",
        ExchangeKind::Fanout => "fanout",
        ExchangeKind::Headers => "headers",
        ExchangeKind::Topic => "topic",
    }
}

fn quorum() -> Arguments {
    Arguments::default().text("x-queue-type", "quorum").text("x-queue-leader-locator", "balanced")
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl Arguments {
    fn text(mut self, name: &'static str, value: &str) -> Self {
        self.0.push((name, Argument::Text(value.to_owned())));
        self
    }

    fn number(mut self, name: &'static str, value: i64) -> Self {
        self.0.push((name, Argument::Number(value)));
        self
    }

    // At least once needs all three, or RabbitMQ silently falls back to at most once.
    fn dead_letters_to(self, exchange: &str) -> Self {
        self.text("x-dead-letter-exchange", exchange)
            .text("x-dead-letter-strategy", "at-least-once")
            .text("x-overflow", "reject-publish")
    }

    /// As a declaration carries them.
    pub(super) fn table(&self) -> FieldTable {
        let mut table = FieldTable::default();
        for (name, value) in &self.0 {
            let value = match value {
                Argument::Text(text) => AMQPValue::LongString(text.as_str().into()),
                Argument::Number(number) => AMQPValue::LongLongInt(*number),
            };
            table.insert((*name).into(), value);
        }
        table
    }

    fn json(&self) -> Value {
        let pairs = self.0.iter().map(|(name, value)| {
            let value = match value {
                Argument::Text(text) => Value::from(text.as_str()),
                Argument::Number(number) => Value::from(*number),
            };
            ((*name).to_owned(), value)
        });
        Value::Object(pairs.collect::<Map<_, _>>())
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, num::NonZeroU16};

    use super::*;

    fn topology() -> Topology {
        Topology::new(&["webhook", "email"], Shards::new(NonZeroU16::new(2).expect("not zero")))
    }

    #[test]
    fn every_binding_and_dead_letter_leads_to_something_described() {
        let topology = topology();
        let exchanges: HashSet<_> = topology.exchanges.iter().map(|exchange| &exchange.name).collect();
        let queues: HashSet<_> = topology.queues.iter().map(|queue| &queue.name).collect();
        assert_eq!(queues.len(), topology.queues.len(), "a queue is described twice");
        for binding in &topology.bindings {
            assert!(exchanges.contains(&binding.exchange) && queues.contains(&binding.queue), "{binding:?}");
        }
        for queue in &topology.queues {
            for (name, value) in &queue.arguments.0 {
                if let ("x-dead-letter-exchange", Argument::Text(exchange)) = (*name, value) {
                    assert!(exchanges.contains(exchange), "{queue:?}");
                }
            }
        }
    }

    #[test]
    fn every_route_of_a_described_queue_has_its_binding() {
        let topology = topology().with_queues(&[QueueName::new("q")]);
        for queue in &topology.names {
            let (exchange, key) = route(queue);
            let bound = topology.bindings.iter().any(|binding| {
                binding.exchange == exchange
                    && binding.queue == queue.as_str()
                    && (binding.key == key || binding.key == "#")
            });
            assert!(bound, "{queue} by {exchange} and `{key}`");
        }
    }

    #[test]
    fn no_queue_relies_on_a_delivery_limit_that_changed_between_versions() {
        for queue in topology().queues {
            assert!(queue.arguments.0.iter().any(|(name, _)| *name == "x-delivery-limit"), "{queue:?}");
        }
    }

    #[test]
    fn the_parts_of_a_queue_are_known_by_their_names() {
        let queue = QueueName::new("q");
        assert_eq!(Lane::ALL.map(|lane| lane.of(&queue)), ["q", "q.due", "q.suspects"]);
        assert!(Lane::ALL.iter().all(|lane| owner(&lane.of(&queue)) == "q"));
        assert!(is_level(&level_name(3)) && !is_level("bellbuoy.dead"));
    }
}
