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
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    owns,
    problem::{Refusal, no_such},
};
use crate::{
    App,
    auth::Caller,
    body,
    contract::{Operation, Routes},
    ingest::query_value,
    native::tokens::{NewToken, give},
    now,
};

/// The member of a query that holds a credential.
pub(crate) const REFRESH_TOKEN: &str = "refresh_token";

/// What a token is called whose maker does not say.
const USUAL_LABEL: &str = "made through DTR's API";

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(rename = "DtrTokenDraft")]
struct Form {
    /// What it is for.
    #[serde(rename = "tokenLabel")]
    label: Option<String>,
}

/// What may stand in the query.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "a schema: the query holds credentials as well, and is read member by member")]
struct TokenQuery {
    /// Whose token it is to be; the caller's own without it.
    username: Option<String>,
}

/// A token as DTR shows it.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "DtrToken")]
struct TokenView<'a> {
    /// What its holder shows; never shown again.
    token: String,
    token_label: &'a str,
    /// Its id.
    hashed_token: Uuid,
    is_active: bool,
    created_at: Timestamp,
    generated_by: &'a str,
    /// Empty: it was not used yet.
    last_used: &'static str,
}

/// `POST /api_tokens`.
pub(super) fn routes() -> Routes {
    Routes::default().serve(
        Operation::post("/api/v0/api_tokens", "Make a token; it is shown in this answer and never again.")
            .asks::<TokenQuery>()
            .may_take::<Form>()
            .answers::<TokenView<'_>>(201)
            .refuses([404]),
        make,
    )
}

/// `POST /api_tokens?username=U`: a token with the rights of U's account and no more scopes than the caller's own.
async fn make(State(app): State<Arc<App>>, caller: Caller, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let read = app.bodies.read_whole(&parts, body, app.api.limits.event_bytes).await?;
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
    let view = TokenView {
        token: secret,
        token_label: &token.title,
        hashed_token: token.id,
        is_active: true,
        created_at: token.created_at,
        generated_by: &token.created_by,
        last_used: "",
    };
    Ok((StatusCode::CREATED, Json(view)).into_response())
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
    let Some(token) = query_value(request.uri(), REFRESH_TOKEN) else { return };
    if let Ok(mut value) = HeaderValue::try_from(format!("Bearer {token}")) {
        value.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
}
