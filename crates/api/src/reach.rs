//! Which receivers a notification may name, as far as a URL shows whom it names: by a function that the binary hands in, for the
//! network rules are those of the methods, which ask them again about every address that they dial.

use std::{fmt, sync::Arc};

use bellbuoy_domain::{ConfigError, MethodName};
use serde_json::{Map, Value};

/// Says of a URL whether requests may go there. Clones share it.
#[derive(Clone)]
pub struct Reach(Arc<dyn Fn(&str) -> bool + Send + Sync>);

impl Reach {
    /// By `allows`, which says yes to whatever is no URL: that is refused elsewhere.
    pub fn new(allows: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(allows))
    }

    /// Looks at the URLs among the settings of `method`, before anything else is looked at in them, as Quay does.
    pub(crate) fn check(&self, method: MethodName, config: &Map<String, Value>) -> Result<(), ConfigError> {
        let is_closed = |url: &Value| url.as_str().is_some_and(|url| !(self.0)(url));
        let url = config.get("url");
        let chain = config.get("chain").and_then(Value::as_array).into_iter().flatten();
        match (method, method.chat_service()) {
            (MethodName::Webhook, _) if url.into_iter().chain(chain).any(is_closed) => {
                Err(ConfigError::InvalidUrl)
            }
            // Their servers are the operator's choice.
            (MethodName::HipChat | MethodName::Flowdock, _) => Ok(()),
            (_, Some(service)) if url.is_some_and(is_closed) => Err(ConfigError::InvalidChatUrl(service)),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reach(..)")
    }
}
