#![doc = include_str!("../README.md")]

mod api;
mod assets;
mod cookies;
mod fields;
mod form;
mod form_body;
mod origin;
mod page;
mod pages;
mod remedy;
mod shapes;
mod visitor;

use std::{any::Any, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::Request,
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use http::{HeaderMap, Method, StatusCode, header};
use tokio::time::timeout;
use tower_http::catch_panic::CatchPanicLayer;

use api::Connection;
use form_body::Forms;
use page::Fault;

/// How long one page may take: longer than the API takes for any one question before it says so itself, 60 s.
const PAGE_TIME: Duration = Duration::from_secs(75);

/// What the pages have in common.
#[derive(Debug)]
struct Console {
    /// The API that they ask, as any client asks it.
    api: Router,
    /// Our own base URL as browsers know it.
    public_url: String,
    forms: Forms,
}

/// The pages at `/console`, and behind them everything that `api` serves, as it serves it. A browser that comes to `/` is
/// led to the pages. `public_url` is our own base URL as browsers know it.
pub fn over(api: Router, public_url: impl Into<String>) -> Router {
    let console =
        Arc::new(Console { api: api.clone(), public_url: public_url.into(), forms: Forms::default() });
    let all = pages(console).fallback_service(api.layer(from_fn(front_door)));
    Router::new().fallback_service(all).layer(from_fn(Connection::keep))
}

fn pages(console: Arc<Console>) -> Router {
    use pages::{
        audit, dead_letters, deliveries, events, inbox, notification_form, notifications, overview, sign_in,
        tokens,
    };
    Router::new()
        .route("/console", get(overview::show))
        .route("/console/", get(async || Redirect::to("/console")))
        .route("/console/sign-in", get(sign_in::show).post(sign_in::sign_in))
        .route("/console/sign-out", post(sign_in::sign_out))
        .route("/console/notifications", get(notifications::list))
        .route("/console/notifications/new", get(notification_form::blank).post(notification_form::create))
        .route("/console/notifications/{id}", get(notifications::show))
        .route(
            "/console/notifications/{id}/edit",
            get(notification_form::edit).post(notification_form::change),
        )
        .route("/console/notifications/{id}/{act}", post(notifications::act))
        .route("/console/deliveries", get(deliveries::list))
        .route("/console/deliveries/{id}", get(deliveries::show))
        .route("/console/deliveries/{id}/resend", post(deliveries::resend))
        .route("/console/dead-letters", get(dead_letters::list).post(dead_letters::act_on_many))
        .route("/console/dead-letters/{id}", get(dead_letters::show))
        .route("/console/dead-letters/{id}/{act}", post(dead_letters::act))
        .route("/console/events", get(events::find))
        .route("/console/events/{id}", get(events::show))
        .route("/console/inbox", get(inbox::list))
        .route("/console/inbox/{id}/{act}", post(inbox::act))
        .route("/console/audit", get(audit::list))
        .route("/console/tokens", get(tokens::list).post(tokens::make))
        .route("/console/tokens/{id}/revoke", post(tokens::revoke))
        .route("/console/assets/{name}", get(assets::serve))
        .route("/console/{*rest}", get(nothing))
        .method_not_allowed_fallback(not_so)
        .layer(from_fn_with_state(Arc::clone(&console), origin::guard))
        .layer(from_fn(in_time))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn(page::seal))
        .with_state(console)
}

/// Leads people to the pages; programs are told what is where.
async fn front_door(request: Request, next: Next) -> Response {
    if request.method() == Method::GET && request.uri().path() == "/" && wants_page(request.headers()) {
        return Redirect::to("/console").into_response();
    }
    next.run(request).await
}

fn wants_page(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|kind| kind.trim().starts_with("text/html"))
}

async fn nothing() -> Fault {
    Fault::new(StatusCode::NOT_FOUND, "There is no such page.")
}

async fn not_so() -> Fault {
    Fault::new(StatusCode::METHOD_NOT_ALLOWED, "This page takes nothing of that kind.")
}

async fn in_time(request: Request, next: Next) -> Response {
    timeout(PAGE_TIME, next.run(request)).await.unwrap_or_else(|_| {
        let why = "The broker or the store did not answer in time. What you asked for may still happen.";
        Fault::new(StatusCode::SERVICE_UNAVAILABLE, why).into_response()
    })
}

/// A panic's text stays in the log, where the panic hook wrote it.
fn panicked(_panic: Box<dyn Any + Send + 'static>) -> Response {
    Fault::new(StatusCode::INTERNAL_SERVER_ERROR, "This page failed; the server's log says why.")
        .into_response()
}
