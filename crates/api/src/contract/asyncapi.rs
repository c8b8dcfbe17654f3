//! The document of what producers publish over AMQP, in AsyncAPI 3.0.

use bellbuoy_broker::{Shards, Topology, queues};
use bellbuoy_domain::{Kind, MAX_EVENT_BYTES};
use serde_json::{Value, json};

use crate::ingest::modes::STRUCTURED;

/// The version of `AsyncAPI`'s bindings for AMQP.
const BINDING: &str = "0.3.0";

/// The published contract of the one exchange that producers publish to.
pub fn asyncapi() -> Value {
    let exchange = exchange();
    let name = exchange["name"].as_str().unwrap_or_default();
    let kinds: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
    let size = format!("A structured CloudEvents 1.0 event in JSON, at most {} KiB", MAX_EVENT_BYTES / 1024);
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Bellbuoy: events over AMQP",
            "version": "1",
            "description": format!(
                "Producers publish to the exchange `{name}`; no other part of the broker is for them. Publish persistent \
                 messages with publisher confirms: an event is taken once its confirm has come. What can not be read \
                 becomes a dead letter with its bytes and the reason."
            ),
        },
        "servers": {"broker": {
            "host": "rabbitmq.example.com:5671",
            "protocol": "amqps",
            "description": "RabbitMQ 3.10 or later: the one of `broker.url`. A producer's user may write to this exchange alone.",
        }},
        "defaultContentType": STRUCTURED,
        "channels": {"events": {
            "address": "{kind}",
            "title": "Events of registries",
            "parameters": {"kind": {
                "description": "The event's `type`, also the routing key.",
                "enum": kinds,
            }},
            "messages": {"event": {"$ref": "#/components/messages/event"}},
            "bindings": {"amqp": {"is": "routingKey", "exchange": exchange, "bindingVersion": BINDING}},
        }},
        "operations": {"publishEvent": {
            "action": "receive",
            "title": "Publish an event",
            "channel": {"$ref": "#/channels/events"},
            "bindings": {"amqp": {"deliveryMode": 2, "mandatory": true, "bindingVersion": BINDING}},
        }},
        "components": {"messages": {"event": {
            "name": "event",
            "title": size,
            "contentType": STRUCTURED,
            "payload": {"$ref": "schema/event.json"},
            "bindings": {"amqp": {"messageType": STRUCTURED, "bindingVersion": BINDING}},
        }}},
    })
}

/// The exchange that gives the queue of events whatever it gets, as `bellbuoy topology apply` makes it.
fn exchange() -> Value {
    let definitions = Topology::new(&[], Shards::ONE).definitions("/");
    let is_it = |one: &Value| one["destination"] == queues::events().as_str() && one["routing_key"] == "#";
    let rows = |what: &str| definitions[what].as_array().cloned().unwrap_or_default();
    let bound = rows("bindings").into_iter().find(is_it);
    let source = bound.map(|binding| binding["source"].clone());
    let made =
        rows("exchanges").into_iter().find(|one| Some(&one["name"]) == source.as_ref()).unwrap_or_default();
    json!({
        "name": made["name"],
        "type": made["type"],
        "durable": made["durable"],
        "autoDelete": made["auto_delete"],
    })
}
