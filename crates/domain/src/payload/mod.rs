//! What an event of each kind carries in `data`.

use serde_json::{Map, Value};

use crate::Kind;

/// The data of a test event.
pub fn sample(_kind: Kind, _event_config: &Map<String, Value>) -> Map<String, Value> {
    Map::new()
}
