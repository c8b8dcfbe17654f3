//! All surfaces together, and what every request passes on its way.

use std::{any::Any, sync::Arc};

use axum::{
    Router,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use percent_encoding::percent_decode_str;
use tokio::time::timeout;
use tower_http::catch_panic::CatchPanicLayer;

use crate::{
    App, auth,
    contract::Routes,
    counts::{self, Surface},
    docker_hub, dtr, health, ingest, native,
    problem::Problem,
    quay,
};

/// Every route, with what the contract says of it.
pub(crate) fn routes() -> Routes {
    health::routes()
        .and(ingest::routes())
        .and(native::routes())
        .and(quay::routes())
        .and(dtr::routes())
        .and(docker_hub::routes())
}

/// Everything, as it is served.
pub(crate) fn router(app: Arc<App>) -> Router {
    guarded(app, routes().into_router())
}

/// What probes and scrapers ask of a process that serves no API.
pub(crate) fn probes(app: Arc<App>) -> Router {
    guarded(app, health::routes().into_router())
}

fn guarded(app: Arc<App>, routes: Router<Arc<App>>) -> Router {
    routes
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .layer(from_fn_with_state(Arc::clone(&app), readable))
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

/// Refuses a path that is no text once its percent-encoding is undone. To Quay's clients it is one that is not there.
async fn readable(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    match percent_decode_str(path).decode_utf8() {
        Ok(_) => next.run(request).await,
        Err(_) if quay::owns(path) => not_found(State(app), request).await,
        Err(_) => Problem::bad("the path is not UTF-8 once its percent-encoding is undone").into_response(),
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
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        // Whatever refused it: a panic, a limit of time, a handler of another surface.
        response = match surface {
            Surface::Quay => quay::problem_response(&app, problem),
            Surface::Dtr => dtr::problem_response(problem),
            _ => response,
        };
    }
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    counts::answered(&app.api.metrics, surface, response.status());
    response
}
