//! How one attempt ended, and why.

use std::{fmt, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How one attempt ended. The only thing a delivery method may report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver took it.
    Delivered,
    /// The cause may pass. `hint` is the wait the receiver asked for, if any.
    Deferred {
        /// What went wrong.
        cause: Cause,
        /// The receiver's own wish, from `Retry-After`; uncapped.
        hint: Option<Duration>,
    },
    /// Another attempt would end the same way.
    Rejected {
        /// What went wrong.
        cause: Cause,
    },
}

impl Outcome {
    /// The word for it in metrics, history and the API.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Deferred { .. } => "deferred",
            Self::Rejected { .. } => "rejected",
        }
    }

    /// Why it was not delivered.
    pub fn cause(&self) -> Option<&Cause> {
        match self {
            Self::Delivered => None,
            Self::Deferred { cause, .. } | Self::Rejected { cause } => Some(cause),
        }
    }
}

/// Why an attempt did not deliver: a code to count and branch on, and a sentence to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cause {
    /// One of a closed set: safe as a metric's label.
    pub code: CauseCode,
    /// For people: names what was seen, at most some 300 characters, without secrets or bodies.
    pub detail: String,
}

impl Cause {
    /// A cause with its sentence.
    pub fn new(code: CauseCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.detail)
    }
}

macro_rules! cause_codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// The closed set of causes.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum CauseCode {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)*
        }

        impl CauseCode {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word for it in metrics, history and the API.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

cause_codes! {
    /// A redirect that is not followed: the notification does not say so, or it leads too far or nowhere.
    Http3xx = "http_3xx",
    /// A client error that says that this request will not do.
    Http4xx = "http_4xx",
    /// A client error that passes with time: 408, 409, 425.
    HttpRetryable = "http_retryable",
    /// 401, 403 or 407: credentials are being put right, so it is tried as long as a server error.
    HttpAuth = "http_auth",
    /// 429: the receiver asks for less.
    RateLimited = "rate_limited",
    /// 410: the receiver wants no more of this notification.
    Gone = "gone",
    /// The chat service said that the channel, or the address that stands for it, is no more.
    ChannelGone = "channel_gone",
    /// The receiver's answer said `webhook-delivery: disable`: it wants no more of this notification.
    Unwanted = "unwanted",
    /// The receiver's answer said `webhook-delivery: abort-message`: it wants no more of this delivery.
    Aborted = "aborted",
    /// A server error.
    Http5xx = "http_5xx",
    /// An answer whose status is outside 200 to 599.
    HttpOther = "http_other",
    /// The whole attempt took longer than its deadline.
    Timeout = "timeout",
    /// The host name has no address, or the resolver did not answer.
    Dns = "dns",
    /// The address refused or did not answer in time.
    Connect = "connect",
    /// The TLS handshake failed.
    Tls = "tls",
    /// The connection was cut before the answer was whole.
    Reset = "reset",
    /// The answer was not HTTP, or its head was larger than allowed.
    Protocol = "protocol",
    /// The answer's body was larger than allowed.
    ResponseTooLarge = "response_too_large",
    /// The operator's network rules forbid the address.
    Blocked = "blocked",
    /// The notification's template can't be applied to this event.
    Template = "template",
    /// The mail server asked to come back later.
    SmtpDeferred = "smtp_deferred",
    /// The mail server refused the address or the mail for good.
    SmtpRejected = "smtp_rejected",
    /// The service is no more, and nobody runs another one here.
    ServiceClosed = "service_closed",
    /// The person, team or address no longer exists.
    NoRecipient = "no_recipient",
    /// As many attempts as the receiver may have were in flight.
    ReceiverBusy = "receiver_busy",
    /// As many attempts that follow an earlier one as may be in flight were.
    RetriesBusy = "retries_busy",
    /// The receiver had stopped answering, and was tried by one attempt at a time.
    CircuitOpen = "circuit_open",
    /// Its owner wants no deliveries for now.
    Paused = "paused",
    /// Its notification had been switched off, and another delivery was to find out whether it works again.
    OnProbation = "on_probation",
    /// The notification was switched off while the delivery waited.
    Disabled = "disabled",
    /// It is told together with others, in a delivery of their own, which the detail names.
    Digested = "digested",
    /// Our own task ended without a result.
    WorkerPanicked = "worker_panicked",
    /// Our own store or settings failed; never the receiver's fault.
    Internal = "internal",
}

impl CauseCode {
    /// Whether the receiver wants no more of the notification: it is to be switched off.
    pub fn ends_notification(self) -> bool {
        matches!(self, Self::Gone | Self::ChannelGone | Self::Unwanted)
    }

    /// Whether the fault is ours, so that it must not spend a receiver's attempts.
    pub fn is_ours(self) -> bool {
        matches!(self, Self::WorkerPanicked | Self::Internal)
    }
}
