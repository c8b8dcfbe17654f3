//! What probes and scrapers ask for.

use std::{collections::BTreeMap, fmt, future::Future, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use bellbuoy_domain::{Right, Scope, Verdict};
use http::{HeaderValue, StatusCode, header};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use crate::{
    App, auth,
    contract::{Operation, Routes},
    server::Peer,
};

/// How long a dependency may take to answer before it counts as out of reach.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a finding serves further probes, so that asking costs the broker and store little
/// however often strangers ask.
const FRESH: Duration = Duration::from_secs(1);

/// The form of metrics that Prometheus reads.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

type Check = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What besides the broker and the store has to be well before work may be sent here: workers
/// that have not stalled.
#[derive(Clone, Default)]
pub struct Readiness(Vec<(String, Check)>);

impl Readiness {
    /// Adds a part by name. Its check has to answer at once; the text says what is wrong.
    #[must_use]
    pub fn with(
        mut self,
        name: impl Into<String>,
        check: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.0.push((name.into(), Arc::new(check)));
        self
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// The latest finding.
#[derive(Debug, Default)]
pub(crate) struct Findings(Mutex<Option<(Instant, Vec<Finding>)>>);

/// How a part is.
#[derive(Debug, Clone)]
struct Finding {
    name: String,
    result: Result<(), String>,
}

/// What is where.
#[derive(Debug, Serialize, JsonSchema)]
struct Places<'a> {
    name: &'static str,
    health: &'static str,
    readiness: &'static str,
    metrics: &'static str,
    events: &'static str,
    distribution: &'static str,
    notifications: &'static str,
    deliveries: &'static str,
    dead_letters: &'static str,
    tokens: &'static str,
    inbox: &'static str,
    directory: &'static str,
    audit: &'static str,
    quay: &'static str,
    /// For those who may read metrics.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
}

/// That the process lives.
#[derive(Debug, Serialize, JsonSchema)]
struct Alive {
    alive: bool,
}

/// Whether work may be sent here.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Readiness")]
struct ReadinessView {
    ready: bool,
    /// Of each part `ok`, or `failing`; those who may read metrics are told why.
    #[schemars(with = "BTreeMap<String, String>")]
    checks: Map<String, Value>,
}

/// What probes and scrapers ask for, and `/`.
pub(crate) fn routes() -> Routes {
    Routes::default()
        .serve(Operation::get("/", "What is where.").answers::<Places<'_>>(200), root)
        .serve(Operation::get("/healthz", "Whether the process lives.").answers::<Alive>(200), alive)
        .serve(
            Operation::get("/readyz", "Whether it can take work.")
                .answers::<ReadinessView>(200)
                .answers::<ReadinessView>(503),
            ready,
        )
        .serve(
            Operation::get("/metrics", "Metrics for Prometheus.").answers_as::<String>(200, TEXT_FORMAT),
            metrics,
        )
}

async fn root(State(app): State<Arc<App>>, request: Request) -> Response {
    let places = Places {
        name: "bellbuoy",
        health: "/healthz",
        readiness: "/readyz",
        metrics: "/metrics",
        events: "/v1/events",
        distribution: "/v1/ingest/distribution",
        notifications: "/v1/notifications",
        deliveries: "/v1/deliveries",
        dead_letters: "/v1/dead-letters",
        tokens: "/v1/tokens",
        inbox: "/v1/inbox",
        directory: "/v1/directory",
        audit: "/v1/audit",
        quay: "/api/v1/repository/NAMESPACE/NAME/notification/",
        version: may_know(&app, request).await.then_some(app.api.version.as_str()),
    };
    Json(places).into_response()
}

pub(crate) async fn alive() -> Response {
    Json(Alive { alive: true }).into_response()
}

/// 200 while everything that work needs is well, else 503. Strangers learn which part is not;
/// what is wrong with it is for those who may read metrics.
async fn ready(State(app): State<Arc<App>>, request: Request) -> Response {
    let may_know = may_know(&app, request).await;
    let findings = look(&app).await;
    let is_ready = findings.iter().all(|finding| finding.result.is_ok());
    let checks: Map<String, Value> = findings
        .into_iter()
        .map(|finding| {
            let word = match finding.result {
                Ok(()) => "ok".to_owned(),
                Err(why) if may_know => why,
                Err(_) => "failing".to_owned(),
            };
            (finding.name, word.into())
        })
        .collect();
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(ReadinessView { ready: is_ready, checks })).into_response()
}

/// Whether the caller may read metrics, which tell as much.
async fn may_know(app: &App, request: Request) -> bool {
    if app.api.auth.tells_everybody() {
        return true;
    }
    let peer = request.extensions().get::<Peer>().copied();
    let (parts, _body) = request.into_parts();
    match auth::identify(app, peer, &parts.headers).await {
        Ok(caller) => {
            matches!(caller.judge(app, Right::Metrics, &Scope::Registry).await, Ok(Verdict::Allowed))
        }
        Err(_) => false,
    }
}

async fn look(app: &App) -> Vec<Finding> {
    // Held while looking: whoever comes meanwhile gets this finding instead of looking too.
    let mut latest = app.findings.0.lock().await;
    if let Some((at, findings)) = latest.as_ref()
        && at.elapsed() < FRESH
    {
        return findings.clone();
    }
    let (broker, store) =
        tokio::join!(reach("broker", app.api.broker.ping()), reach("store", app.api.store.ping()),);
    let mut findings = vec![broker, store];
    findings.extend(
        app.api.readiness.0.iter().map(|(name, check)| Finding { name: name.clone(), result: check() }),
    );
    *latest = Some((Instant::now(), findings.clone()));
    findings
}

async fn reach<E: fmt::Display>(name: &str, ping: impl Future<Output = Result<(), E>>) -> Finding {
    let result = match timeout(PATIENCE, ping).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {PATIENCE:?}")),
    };
    Finding { name: name.to_owned(), result }
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static(TEXT_FORMAT))], app.api.metrics.render())
        .into_response()
}
