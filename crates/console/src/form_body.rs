//! A form as it arrives: bounded, whoever sends it and however slowly.

use std::{sync::Arc, time::Duration};

use axum::extract::{FromRequest, Request};
use http::StatusCode;
use http_body_util::{BodyExt, Limited};
use tokio::{sync::Semaphore, time::timeout};

use crate::{Console, form::Written, page::Fault};

/// The most that a form may send: a notification's settings are 128 KiB at most, and an encoded letter takes three
/// bytes.
const FORM_BYTES: usize = 512 * 1024;

/// The most that a sign-in sends.
const SIGN_IN_BYTES: usize = 16 * 1024;

/// How long one may take to arrive.
const FORM_TIME: Duration = Duration::from_secs(20);

/// How many are read at once: so much memory all of them take together, 32 MiB and 4 MiB.
#[derive(Debug)]
pub(crate) struct Forms {
    visitors: Semaphore,
    strangers: Semaphore,
}

impl Default for Forms {
    fn default() -> Self {
        Self { visitors: Semaphore::new(64), strangers: Semaphore::new(256) }
    }
}

/// What somebody who is signed in has written. As a handler's last argument it is read after the visitor was found.
pub(crate) struct Form(pub(crate) Written);

/// What a stranger has written to sign in.
pub(crate) struct SignIn(pub(crate) Written);

impl FromRequest<Arc<Console>> for Form {
    type Rejection = Fault;

    async fn from_request(request: Request, console: &Arc<Console>) -> Result<Self, Fault> {
        read(request, &console.forms.visitors, FORM_BYTES).await.map(Self)
    }
}

impl FromRequest<Arc<Console>> for SignIn {
    type Rejection = Fault;

    async fn from_request(request: Request, console: &Arc<Console>) -> Result<Self, Fault> {
        read(request, &console.forms.strangers, SIGN_IN_BYTES).await.map(Self)
    }
}

async fn read(request: Request, places: &Semaphore, limit: usize) -> Result<Written, Fault> {
    let _place = places.try_acquire().map_err(|_| {
        Fault::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "Too many forms are on their way; send it again in a moment.",
        )
    })?;
    let body = timeout(FORM_TIME, Limited::new(request.into_body(), limit).collect()).await;
    let body =
        body.map_err(|_| Fault::new(StatusCode::REQUEST_TIMEOUT, "The form did not arrive in time."))?;
    let body = body.map_err(|_| {
        Fault::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("The form was cut off, or is larger than {limit} bytes."),
        )
    })?;
    Ok(Written::read(&body.to_bytes()))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[tokio::test]
    async fn a_form_is_refused_over_its_limit_and_beyond_those_that_are_read_at_once() {
        let form = |bytes: usize| Request::new(Body::from("x".repeat(bytes)));
        let place = Semaphore::new(1);
        assert!(read(form(100), &place, 100).await.is_ok());
        let status = |read: Result<Written, Fault>| read.expect_err("a refusal").status();
        assert_eq!(status(read(form(101), &place, 100).await), StatusCode::PAYLOAD_TOO_LARGE);
        let held = place.acquire().await.expect("a place that was given back");
        assert_eq!(status(read(form(1), &place, 100).await), StatusCode::SERVICE_UNAVAILABLE);
        drop(held);
        assert!(read(form(1), &place, 100).await.is_ok());
    }
}
