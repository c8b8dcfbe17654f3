#![doc = include_str!("../README.md")]

mod callback;
mod circuit;
mod delivery;
pub mod digest;
mod directory;
mod event;
mod filter;
mod format;
mod health;
mod id;
mod in_app;
pub mod ingest;
mod kind;
mod learnt;
mod masked;
mod message;
mod method;
mod name;
mod notification;
mod outcome;
mod pace;
mod part;
pub mod payload;
mod pem;
mod probation;
mod python;
mod retry;
mod rights;
mod schema;
mod secret;
mod severity;
mod signing;
mod slots;
mod template;
mod unknown_key;
mod url_template;
mod webhook;

pub use callback::{Callback, CallbackError, CallbackState, MAX_CHAIN, Received};
pub use circuit::{Admission, Circuit};
pub use delivery::{
    AttemptRecord, DeadReason, DeliveryMessage, DeliveryState, FannedOut, PlannedDelivery, Record,
    WIRE_VERSION, WireError,
};
pub use digest::Digest;
pub use directory::{
    AccountKind, AccountName, Grantee, NamespaceName, RepositoryRole, TeamName, TeamRole, UnknownWord,
};
pub use event::{Event, EventError, MAX_DEPTH, MAX_EVENT_BYTES};
pub use filter::{Filter, FilterError, Refusal};
pub use format::{
    Context, Format, Inexpressible, Payload, PayloadError, Registry, UnknownFormat, dtr, quay,
    webhook_payload,
};
pub use health::{Health, Opened, Sighting};
pub use id::{DeliveryId, NotificationId};
pub use in_app::InAppKind;
pub use kind::{Kind, KindScope, Level, UnknownKind};
pub use learnt::Learnt;
pub use masked::{masked, unmask};
pub use message::{Markup, Message};
pub use method::{
    CHAT_ANSWER_BYTES, Channel, ChatAnswer, ChatConfig, ChatService, ConfigError, EmailAddress, EmailConfig,
    InAppTarget, Letter, MethodConfig, MethodName, TargetKind, UnknownMethod, WebhookConfig,
};
pub use name::{NameError, RepositoryName, Subject};
pub use notification::{CheckedNotification, Notification, NotificationError, NotificationState, Scope};
pub use outcome::{Cause, CauseCode, Outcome};
pub use pace::{Bucket, Pace};
pub use part::{Grain, MAX_TAGS, Place};
pub use probation::{Disabling, Finding};
pub use retry::{InvalidPolicy, Next, RetryPolicy};
pub use rights::{Need, Right, Standing, TokenScope, TokenScopes, Verdict, judge, standing_by_actions};
pub use schema::{event_schema, format_schema, settings_schema};
pub use secret::{MASK, Secret, SecretError, Secrets};
pub use signing::{KeyKind, MOST_RETIRED, PrivateKey, PublicOf, Retired, SigningKey};
pub use slots::{Asker, Granted, grant};
pub use template::{Template, TemplateError, TextTemplate};
pub use unknown_key::{UnknownKey, nearest};
pub use webhook::{
    Authorization, HttpMethod, OptionError, SignatureStyle, SuccessStatuses, TlsOptions, WEBHOOK_VERSION,
    WebhookOptions, check_certificates,
};
