//! The one HTTP client that every method sends with: guarded, bounded in time and memory, pooled.

mod answer;
mod client;
mod connect;
mod dial;
mod fault;
mod pools;
mod port;
mod proxy;
mod resolve;
mod room;
mod target;
mod tls;

pub(crate) use answer::code_of;
pub use answer::retry_after;
pub use client::{Client, Leave, MOST_REDIRECTS, MayFollow, Sending};
pub(crate) use dial::{DialError, Dialer};
pub use port::PortRules;
pub use proxy::Proxy;
pub use resolve::{NameServers, Resolver, Script, ScriptedAnswer};
pub use target::{Target, TargetError};
pub use tls::OwnTls;
pub(crate) use tls::{configuration as tls_configuration, explain as explain_tls};
