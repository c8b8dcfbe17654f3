#![doc = include_str!("../README.md")]

mod auth;
mod body;
mod change;
mod contract;
mod counts;
mod docker_hub;
mod draft;
mod dtr;
mod guesses;
mod health;
mod ingest;
mod keys;
mod mail;
mod native;
mod problem;
mod quay;
mod reach;
mod recipients;
mod routes;
mod sample;
mod server;
mod trial;
mod waiting;

pub use auth::{Auth, BlankToken, RegistryTokens};
pub use body::Limits;
pub use contract::{asyncapi, openapi};
pub use health::Readiness;
pub use mail::Mailer;
pub use reach::{Closed, Reach};
pub use server::{ServerLimits, serve};
pub use trial::Trial;
pub use waiting::waiting;

use std::sync::Arc;

use axum::Router;
use bellbuoy_broker::{Broker, Shards};
use bellbuoy_domain::Registry;
use bellbuoy_store::Store;
use bellbuoy_telemetry::Metrics;
use jiff::Timestamp;

/// Everything that answering takes.
pub struct Api {
    /// Where events, samples and resends become durable.
    pub broker: Broker,
    /// Over how many queues the deliveries of a method go.
    pub shards: Shards,
    /// Where notifications and history are.
    pub store: Store,
    /// What is counted and shown at `/metrics`.
    pub metrics: Arc<Metrics>,
    /// Who may ask.
    pub auth: Auth,
    /// The registry; its host is the source of Distribution's events.
    pub registry: Registry,
    /// Our own base URL as clients know it, for links in answers.
    pub public_url: String,
    /// The secret of the webhooks by which GitHub reports packages, if it signs them.
    pub github_secret: Option<String>,
    /// What sends the mail that asks an address whether it wants to hear of a repository.
    pub mailer: Mailer,
    /// Whether only events are taken, and nothing that is kept is changed by a request.
    pub read_only: bool,
    /// Whether a webhook may do without verifying its receiver's certificate.
    pub may_skip_verification: bool,
    /// What says which receivers a notification may name.
    pub reach: Reach,
    /// What tries an endpoint out that is no notification's yet.
    pub trial: Trial,
    /// What requests may take.
    pub limits: Limits,
    /// What else has to be well for `/readyz`.
    pub readiness: Readiness,
    /// Shown at `/` to holders of a token.
    pub version: String,
}

impl Api {
    /// Every route, behind authentication and limits.
    pub fn router(self) -> Router {
        routes::router(Arc::new(App::new(self)))
    }

    /// Health, readiness and metrics alone: for a process of a fleet that has another role.
    pub fn probes(self) -> Router {
        routes::probes(Arc::new(App::new(self)))
    }
}

/// [`Api`] and what lives beside it while it is served.
struct App {
    api: Api,
    bodies: body::Bodies,
    findings: health::Findings,
    guesses: guesses::Guesses,
    /// How often an address may be written to.
    letters: guesses::Guesses,
    passwords: auth::passwords::Passwords,
    pulls: ingest::Pulls,
    throttle: auth::Throttle,
    tokens: auth::Tokens,
}

impl App {
    fn new(api: Api) -> Self {
        counts::start_at_zero(&api.metrics);
        Self {
            bodies: body::Bodies::new(&api.limits),
            findings: health::Findings::default(),
            guesses: guesses::Guesses::new(api.limits.wrong_tokens),
            letters: guesses::Guesses::new(api.limits.letters),
            passwords: auth::passwords::Passwords::new(api.limits.wrong_passwords, api.limits.wrong_tokens),
            pulls: ingest::Pulls::default(),
            throttle: auth::Throttle::default(),
            tokens: auth::Tokens::default(),
            api,
        }
    }
}

/// The time in whole milliseconds, as messages and the store keep it, so that an answer shows the
/// same time as every later one.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}
