//! Which receivers a notification may name, as far as a URL shows whom it names: by a function that the binary hands in, for the
//! network rules are those of the methods, which ask them again about every address that they dial.

use std::{fmt, sync::Arc};

use bellbuoy_domain::{ConfigError, MethodName};
use serde_json::{Map, Value};

/// What of a receiver's URL the network rules close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// Its host.
    Host,
    /// Its port.
    Port(u16),
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let opening = "an operator can open it with";
        match self {
            Self::Host => write!(f, "the network rules close its host; {opening} outbound.allow"),
            Self::Port(port) => write!(f, "the network rules close port {port}; {opening} outbound.ports"),
        }
    }
}

/// A receiver that no request may go to.
#[derive(Debug, thiserror::Error)]
#[error("{fault}: {closed}")]
pub(crate) struct OutOfReach {
    /// In Quay's words.
    pub(crate) fault: ConfigError,
    pub(crate) closed: Closed,
}

type Judge = dyn Fn(&str) -> Option<Closed> + Send + Sync;

/// Says of a URL what keeps requests from going there. Clones share it.
#[derive(Clone)]
pub struct Reach(Arc<Judge>);

impl Reach {
    /// By `closed`, which finds nothing in whatever is no URL: that is refused elsewhere.
    pub fn new(closed: impl Fn(&str) -> Option<Closed> + Send + Sync + 'static) -> Self {
        Self(Arc::new(closed))
    }

    /// Looks at the URLs among the settings of `method`, before anything else is looked at in them, as Quay does.
    pub(crate) fn check(&self, method: MethodName, config: &Map<String, Value>) -> Result<(), OutOfReach> {
        let closed = |url: &Value| url.as_str().and_then(|url| (self.0)(url));
        let url = config.get("url");
        let chain = config.get("chain").and_then(Value::as_array).into_iter().flatten();
        let (closed, fault) = match (method, method.chat_service()) {
            (MethodName::Webhook, _) => {
                (url.into_iter().chain(chain).find_map(closed), ConfigError::InvalidUrl)
            }
            // Their servers are the operator's choice.
            (MethodName::HipChat | MethodName::Flowdock, _) => return Ok(()),
            (_, Some(service)) => (url.and_then(closed), ConfigError::InvalidChatUrl(service)),
            _ => return Ok(()),
        };
        closed.map_or(Ok(()), |closed| Err(OutOfReach { fault, closed }))
    }
}

impl fmt::Debug for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reach(..)")
    }
}
