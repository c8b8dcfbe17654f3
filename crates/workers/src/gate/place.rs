//! Whose lane it is, and what an attempt says of them.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use bellbuoy_domain::{CauseCode, NotificationId, Outcome};

use super::GateLimits;

/// How long a receiver is left in peace that asked for less and did not say for how long.
const PEACE: Duration = Duration::from_secs(1);

/// The longest that a receiver's wish for peace is heeded here; longer ones its own deliveries wait out.
const LONGEST_PEACE: Duration = Duration::from_hours(1);

/// Whose lane it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    Notification(NotificationId),
    Host(Arc<str>),
}

/// What an attempt says of a lane's receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    Answered,
    Failed,
    WantsPeace(Duration),
    /// Nothing.
    None,
}

impl Place {
    pub(super) fn cap(&self, limits: GateLimits) -> NonZeroUsize {
        match self {
            Self::Notification(_) => limits.per_notification,
            Self::Host(_) => limits.per_host,
        }
    }

    /// What all processes of a fleet call it.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Notification(id) => format!("notification:{id}"),
            Self::Host(host) => format!("host:{host}"),
        }
    }

    /// What an attempt's outcome says of this receiver: a host answers even when it answers 503, or that one of
    /// its channels has had enough.
    pub(super) fn sign(&self, outcome: &Outcome) -> Sign {
        let Outcome::Deferred { cause, hint } = outcome else { return Sign::Answered };
        let is_host = matches!(self, Self::Host(_));
        match cause.code {
            CauseCode::Dns | CauseCode::Connect | CauseCode::Tls => Sign::Failed,
            // Of a host that many share, one address that hangs says nothing about the others.
            CauseCode::Timeout if is_host => Sign::None,
            CauseCode::Timeout
            | CauseCode::Reset
            | CauseCode::Http5xx
            | CauseCode::Protocol
            | CauseCode::ResponseTooLarge
                if !is_host =>
            {
                Sign::Failed
            }
            CauseCode::RateLimited if !is_host => {
                Sign::WantsPeace(hint.unwrap_or(PEACE).clamp(PEACE, LONGEST_PEACE))
            }
            code if code.is_ours() => Sign::None,
            _ => Sign::Answered,
        }
    }
}
