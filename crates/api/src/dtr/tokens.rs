//! How DTR's clients come by a token, and where they put it.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use bellbuoy_domain::AccountName;
use http::{HeaderValue, StatusCode, header};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::{
    owns,
    problem::{Refusal, no_such},
};
use crate::{
    App,
    auth::Caller,
    body,
    ingest::query_value,
    native::tokens::{NewToken, give},
    now,
};

/// What a token is called whose maker does not say.
const USUAL_LABEL: &str = "made through DTR's API";

#[derive(Debug, Default, Deserialize)]
struct Form {
    #[serde(rename = "tokenLabel")]
    label: Option<String>,
}

/// `POST /api_tokens?username=U`: a token with the rights of U's account and no more scopes than the caller's own.
pub(crate) async fn make(
    State(app): State<Arc<App>>,
    caller: Caller,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let read = app.bodies.read_whole(&parts.headers, body, app.api.limits.event_bytes).await?;
    let form: Form =
        if read.bytes.is_empty() { Form::default() } else { body::object_from_json(&read.bytes)? };
    let account = whose(&app, &caller, query_value(&parts.uri, "username")).await?;
    let wanted = NewToken {
        title: form.label.filter(|label| !label.trim().is_empty()).unwrap_or_else(|| USUAL_LABEL.to_owned()),
        scopes: caller.scopes().iter().collect(),
        account,
        expires_in_seconds: caller.until().map(left),
    };
    let (token, secret) = give(&app, &caller, wanted).await?;
    let object = json!({
        "token": secret,
        "tokenLabel": token.title,
        "hashedToken": token.id,
        "isActive": true,
        "createdAt": token.created_at.to_string(),
        "generatedBy": token.created_by,
        "lastUsed": "",
    });
    Ok((StatusCode::CREATED, Json(object)).into_response())
}

/// Whole seconds until shortly before `end`: what is made outlives nothing that it was made with.
fn left(end: Timestamp) -> u32 {
    let seconds = end.duration_since(now()).as_secs() - 1;
    u32::try_from(seconds.max(0)).unwrap_or(u32::MAX)
}

/// Whose token it is to be. Who asks without an account of its own by a name that is no account's either asks for one
/// like its own.
async fn whose(app: &App, caller: &Caller, name: Option<String>) -> Result<Option<AccountName>, Refusal> {
    let own = caller.account().map(|account| account.name.clone());
    let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(own) };
    let known = match AccountName::parse(&name) {
        Ok(name) => app.api.store.account(&name).await?.map(|account| account.name),
        Err(_) => None,
    };
    match (known, own) {
        (Some(known), _) => Ok(Some(known)),
        (None, None) => Ok(None),
        // Which accounts there are is for superusers alone to know.
        (None, Some(_)) => {
            caller.need_superuser(app).await?;
            Err(no_such("account", name))
        }
    }
}

/// Puts the `refresh_token` of a URL where every other credential stands, if there is none there.
pub(crate) fn lift(request: &mut Request) {
    if !owns(request.uri().path()) || request.headers().contains_key(header::AUTHORIZATION) {
        return;
    }
    let Some(token) = query_value(request.uri(), "refresh_token") else { return };
    if let Ok(mut value) = HeaderValue::try_from(format!("Bearer {token}")) {
        value.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
}
