//! The map of paths, and what every request passes on its way.

use std::{any::Any, sync::Arc};

use axum::{
    Router,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{any, delete, get, post, put},
};
use http::{HeaderValue, StatusCode, header};
use tokio::time::timeout;
use tower_http::catch_panic::CatchPanicLayer;

use crate::{
    App, auth,
    counts::{self, Surface},
    docker_hub, dtr, health, ingest,
    native::{
        audit, catch_up, dead_letters, deliveries, directory, events, explain, inbox, keys, notifications,
        replay, secrets, tokens,
    },
    problem::Problem,
    quay,
};

/// Every route.
pub(crate) fn router(app: Arc<App>) -> Router {
    let routes = observed()
        .route("/v1/events", post(ingest::cloud_events::accept))
        // Producers that follow a redirect lose their body, so both spellings are served.
        .route("/v1/events/", post(ingest::cloud_events::accept))
        .route("/v1/events/{id}", get(events::get))
        .merge(ingest::registries::routes())
        .route("/v1/notifications", get(notifications::list).post(notifications::create))
        .route(
            "/v1/notifications/{id}",
            get(notifications::get).put(notifications::replace).delete(notifications::delete),
        )
        .route("/v1/notifications/{id}/pause", post(notifications::pause))
        .route("/v1/notifications/{id}/resume", post(notifications::resume))
        .route("/v1/notifications/{id}/reset", post(notifications::reset))
        .route("/v1/notifications/{id}/test", post(notifications::test))
        .route("/v1/notifications/{id}/keys", get(keys::list))
        .route("/v1/notifications/{id}/rotate", post(keys::rotate))
        .route("/v1/notifications/{id}/explain", get(explain::explain))
        .route("/v1/notifications/{id}/catch-up", post(catch_up::catch_up))
        .route("/v1/deliveries", get(deliveries::list))
        .route("/v1/deliveries/{id}", get(deliveries::get))
        .route("/v1/deliveries/{id}/resend", post(deliveries::resend))
        .route("/v1/dead-letters", get(dead_letters::list))
        .route("/v1/dead-letters/{id}", get(dead_letters::get).delete(dead_letters::discard))
        .route("/v1/dead-letters/{id}/replay", post(replay::replay))
        .route("/v1/tokens", get(tokens::list).post(tokens::create))
        .route("/v1/tokens/{id}", delete(tokens::revoke))
        .route("/v1/inbox", get(inbox::list))
        .route("/v1/inbox/{id}", put(inbox::dismiss))
        .route("/v1/audit", get(audit::list))
        .route("/v1/secrets", get(secrets::list))
        .route("/v1/secrets/rewrite", post(secrets::rewrite))
        .route("/v1/directory/accounts", get(directory::accounts))
        .route(
            "/v1/directory/accounts/{name}",
            get(directory::get_account).put(directory::put_account).delete(directory::delete_account),
        )
        .route(
            "/v1/directory/accounts/{name}/password",
            put(directory::put_password).delete(directory::delete_password),
        )
        .route("/v1/directory/organizations/{name}/teams", get(directory::teams))
        .route(
            "/v1/directory/organizations/{name}/teams/{team}",
            put(directory::put_team).delete(directory::delete_team),
        )
        .route("/v1/directory/organizations/{name}/teams/{team}/members", get(directory::members))
        .route(
            "/v1/directory/organizations/{name}/teams/{team}/members/{member}",
            put(directory::add_member).delete(directory::remove_member),
        )
        .route("/v1/directory/repositories", get(directory::repositories))
        .route(
            "/v1/directory/repositories/{*name}",
            put(directory::put_repository).delete(directory::delete_repository),
        )
        .route(
            "/v1/directory/permissions",
            get(directory::permissions).put(directory::grant).delete(directory::revoke),
        )
        .route("/v1/directory/import", post(directory::import))
        .route("/csrf_token", get(quay::csrf_token))
        .route("/api/v1/signin", post(quay::sign_in))
        .route("/api/v1/signout", post(quay::sign_out))
        .route("/authrepoemail", get(quay::confirm))
        .route("/api/v1/user", any(quay::with_slash))
        .route("/api/v1/user/", get(quay::user))
        .route("/api/v1/user/robots", get(quay::robots))
        .route("/api/v1/user/robots/{name}", get(quay::robot))
        .route("/api/v1/user/notifications", get(quay::inbox))
        .route("/api/v1/user/notifications/{uuid}", get(quay::inbox_item).put(quay::dismiss))
        .route("/api/v1/user/namespacenotifications", any(quay::of_own_namespace))
        .route("/api/v1/user/namespacenotifications/{uuid}", any(quay::of_own_namespace))
        .route("/api/v1/user/namespacenotifications/{uuid}/{act}", any(quay::of_own_namespace))
        .route("/api/v1/organization/{org}", get(quay::organization))
        .route("/api/v1/organization/{org}/robots", get(quay::robots))
        .route("/api/v1/organization/{org}/robots/{name}", get(quay::robot))
        .route("/api/v1/organization/{org}/notifications", any(quay::of_organization))
        .route("/api/v1/organization/{org}/notifications/{uuid}", any(quay::of_organization))
        .route("/api/v1/organization/{org}/notifications/{uuid}/{act}", any(quay::of_organization))
        .route("/api/v1/entities/{prefix}", get(quay::entities))
        .route("/api/v1/repository", post(quay::create_repository))
        .route("/api/v0/webhooks", get(dtr::list).post(dtr::create))
        .route("/api/v0/webhooks/test", post(dtr::test))
        .route("/api/v0/webhooks/update", post(dtr::update))
        .route("/api/v0/webhooks/{id}", delete(dtr::delete))
        .route("/api/v0/repositories/{*rest}", get(dtr::list_below))
        .route("/api/v0/accounts/{name}/webhooks", get(dtr::list_of_account))
        .route("/api/v0/api_tokens", post(dtr::make_token))
        .route("/u/{*rest}", post(docker_hub::call_back))
        .route("/_/{*rest}", post(docker_hub::call_back))
        .route("/api/v1/repository/{*rest}", any(quay::dispatch))
        .route("/api/v1/error/{type}", get(quay::describe_error));
    guarded(app, routes)
}

/// What probes and scrapers ask of a process that serves no API.
pub(crate) fn probes(app: Arc<App>) -> Router {
    guarded(app, observed())
}

fn observed() -> Router<Arc<App>> {
    Router::new()
        .route("/", get(health::root))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
}

fn guarded(app: Arc<App>, routes: Router<Arc<App>>) -> Router {
    routes
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .layer(from_fn_with_state(Arc::clone(&app), auth::guard))
        .layer(from_fn_with_state(Arc::clone(&app), in_time))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(Arc::clone(&app), seal))
        .with_state(app)
}

async fn not_found(State(app): State<Arc<App>>, request: Request) -> Response {
    if quay::owns(request.uri().path()) {
        quay::problem_response(&app, quay::not_found())
    } else if dtr::owns(request.uri().path()) {
        dtr::not_found().into_response()
    } else {
        Problem::not_found("there is nothing at this path").into_response()
    }
}

async fn not_allowed(State(app): State<Arc<App>>, request: Request) -> Response {
    if quay::owns(request.uri().path()) {
        quay::problem_response(&app, quay::not_allowed())
    } else if dtr::owns(request.uri().path()) {
        dtr::problem_response(dtr::not_allowed())
    } else {
        let detail = format!("{} is not for this path; `allow` says what is", request.method());
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail).into_response()
    }
}

/// Bounds a whole request, so that a broker or store that hangs does not hang its clients.
async fn in_time(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let limit = app.api.limits.request_time;
    timeout(limit, next.run(request)).await.unwrap_or_else(|_| {
        tracing::error!("gave up on a request after {limit:?}: the broker or store hangs");
        Problem::unavailable("the server could not answer in time; try again").into_response()
    })
}

/// A panic's text stays in the log, where the panic hook wrote it.
fn panicked(_panic: Box<dyn Any + Send + 'static>) -> Response {
    Problem::internal().into_response()
}

/// What every answer carries, and its count.
async fn seal(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let surface = Surface::of(request.uri().path());
    let mut response = next.run(request).await;
    if surface == Surface::Quay
        && let Some(problem) = response.extensions_mut().remove::<Problem>()
    {
        response = quay::problem_response(&app, problem);
    }
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    counts::answered(&app.api.metrics, surface, response.status());
    response
}
