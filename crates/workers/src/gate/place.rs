//! Whose lane it is, and what an attempt says of them.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    sync::Arc,
    time::Duration,
};

use bellbuoy_domain::{CauseCode, MethodName, NotificationId, Outcome, Pace};
use bellbuoy_methods::ChannelKey;

use super::{GateLimits, Hold};

/// How long a receiver is left in peace that asked for less and did not say for how long.
const PEACE: Duration = Duration::from_secs(1);

/// The longest that a receiver's wish for peace is heeded here; longer ones its own deliveries wait out.
const LONGEST_PEACE: Duration = Duration::from_hours(1);

/// What is said of an attempt that is too early for its notification's, its channel's or its host's pace.
pub(super) const PACED: &str = "its service, its owner or the operator allows no more requests in this time";

/// What is said of an attempt that would come faster than its receiver took others.
pub(super) const LEARNT: &str =
    "the receiver refused requests that came too fast, and gets fewer for a while";

/// What is said of an attempt whose receiver has stopped answering.
pub(super) const UNANSWERED: &str =
    "the receiver has stopped answering, and is tried by one attempt at a time";

/// Whose lane it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    Notification(NotificationId),
    /// A channel of a chat service: of all notifications that go there, instead of a lane for each.
    Channel(ChannelKey),
    Host(Arc<str>),
    /// A notification that is on probation.
    Probation(NotificationId),
    /// The finding out, over a whole fleet, whether a receiver is back that had stopped answering.
    Probe(Box<Place>),
    /// A pace.
    Pace(Paced, Pace),
    /// Attempts of a method that follow an earlier one, whomever they go to: those of this process alone.
    Retries(MethodName),
}

/// Whose pace it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Paced {
    Notification(NotificationId),
    Channel(ChannelKey),
    Host(Arc<str>),
}

/// What an attempt says of a lane's receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    Answered,
    Failed,
    /// It answered that there were too many, and wants peace.
    Refused(Duration),
    /// It failed, and wants peace.
    Overloaded(Duration),
    /// Nothing.
    None,
}

impl Sign {
    /// For how long the receiver wants peace, if it does.
    pub(super) fn peace(self) -> Option<Duration> {
        match self {
            Self::Refused(wait) | Self::Overloaded(wait) => Some(wait),
            Self::Answered | Self::Failed | Self::None => None,
        }
    }
}

impl Place {
    pub(super) fn cap(&self, limits: GateLimits) -> NonZeroUsize {
        match self {
            Self::Pace(_, pace) => NonZeroUsize::try_from(pace.parts()).unwrap_or(NonZeroUsize::MIN),
            Self::Notification(_) | Self::Channel(_) => limits.per_notification,
            Self::Host(_) => limits.per_host,
            Self::Retries(_) => limits.retries,
            Self::Probation(_) | Self::Probe(_) => NonZeroUsize::MIN,
        }
    }

    /// Whether all processes of a fleet share it.
    pub(super) fn is_shared(&self) -> bool {
        !matches!(self, Self::Retries(_))
    }

    /// The lane that its probes pass in a fleet, if it can have more than one attempt in flight.
    pub(super) fn probe(&self) -> Option<Self> {
        let is_probed = matches!(self, Self::Notification(_) | Self::Channel(_) | Self::Host(_));
        is_probed.then(|| Self::Probe(Box::new(self.clone())))
    }

    /// The pace, if it is one.
    pub(super) fn pace(&self) -> Option<Pace> {
        if let Self::Pace(_, pace) = self { Some(*pace) } else { None }
    }

    /// What all processes call it.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Notification(id) => format!("notification:{id}"),
            Self::Channel(key) => format!("channel:{key}"),
            Self::Host(host) => format!("host:{host}"),
            Self::Pace(Paced::Notification(id), pace) => format!("pace:{id}:{}", pace.interval.as_micros()),
            Self::Pace(Paced::Channel(key), pace) => {
                format!("pace:channel:{key}:{}", pace.interval.as_micros())
            }
            Self::Pace(Paced::Host(host), pace) => {
                format!("pace:host:{host}:{}", pace.interval.as_micros())
            }
            Self::Probation(id) => format!("probation:{id}"),
            Self::Probe(place) => format!("probe:{}", place.name()),
            Self::Retries(method) => format!("retries:{method}"),
        }
    }

    /// The same hold, in the words of this lane: whatever keeps others back on probation, it is the probation.
    pub(super) fn worded(&self, hold: Hold) -> Hold {
        let (code, detail) = self.busy();
        if matches!(self, Self::Probation(_)) { Hold { code, detail, ..hold } } else { hold }
    }

    /// How many failures in a row open its circuit.
    pub(super) fn to_open(&self, limits: GateLimits) -> NonZeroU32 {
        if matches!(self, Self::Probation(_)) { NonZeroU32::MIN } else { limits.circuit_failures }
    }

    /// What is said of an attempt that it has no room for.
    pub(super) fn busy(&self) -> (CauseCode, &'static str) {
        match self {
            Self::Probe(_) => (CauseCode::CircuitOpen, UNANSWERED),
            Self::Notification(_) | Self::Channel(_) | Self::Host(_) => {
                (CauseCode::ReceiverBusy, "as many attempts as its receiver may have are in flight")
            }
            Self::Probation(_) => (
                CauseCode::OnProbation,
                "its notification was disabled, and one delivery finds out whether it works again",
            ),
            Self::Pace(..) => (CauseCode::RateLimited, PACED),
            Self::Retries(_) => {
                (CauseCode::RetriesBusy, "as many attempts that follow a failed one as may be in flight are")
            }
        }
    }

    /// What an attempt's outcome says of this receiver: a host answers even when it answers 503, or that one of
    /// its channels has had enough. Of a host that many share, no handshake that fails says anything: it may be one
    /// owner's https for a port of plain http, or certificates of that owner's own.
    pub(super) fn sign(&self, outcome: &Outcome) -> Sign {
        if let (Self::Probation(_), Outcome::Rejected { .. }) = (self, outcome) {
            return Sign::Failed;
        }
        // These say nothing of a receiver.
        if matches!(self, Self::Retries(_) | Self::Probe(_)) {
            return Sign::Answered;
        }
        // Of a probation, that nothing could leave is a finding.
        if !matches!(self, Self::Probation(_)) && never_left(outcome) {
            return Sign::None;
        }
        let Outcome::Deferred { cause, hint } = outcome else { return Sign::Answered };
        let is_host = matches!(self, Self::Host(_));
        match cause.code {
            // Nor does one address of it that hangs say anything about the others.
            CauseCode::Tls | CauseCode::Timeout if is_host => Sign::None,
            CauseCode::Dns | CauseCode::Connect | CauseCode::Tls => Sign::Failed,
            CauseCode::Http5xx if !is_host && hint.is_some() => {
                Sign::Overloaded(peace(hint.unwrap_or(PEACE)))
            }
            CauseCode::Timeout
            | CauseCode::Reset
            | CauseCode::Http5xx
            | CauseCode::Protocol
            | CauseCode::ResponseTooLarge
                if !is_host =>
            {
                Sign::Failed
            }
            CauseCode::RateLimited if !is_host => Sign::Refused(peace(hint.unwrap_or(PEACE))),
            code if code.is_ours() => Sign::None,
            _ if matches!(self, Self::Probation(_)) => Sign::Failed,
            _ => Sign::Answered,
        }
    }
}

/// Whether it ended before anybody was asked, so that nobody has answered.
fn never_left(outcome: &Outcome) -> bool {
    let code = outcome.cause().map(|cause| cause.code);
    matches!(
        code,
        Some(CauseCode::Blocked | CauseCode::Template | CauseCode::NoRecipient | CauseCode::ServiceClosed)
    )
}

fn peace(asked: Duration) -> Duration {
    asked.clamp(PEACE, LONGEST_PEACE)
}
