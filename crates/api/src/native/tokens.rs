//! `/v1/tokens`: credentials with a purpose and an end. A token is shown once, in the answer that makes it.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
};
use bellbuoy_domain::{AccountName, Right, Scope, TokenScope, TokenScopes, Verdict};
use bellbuoy_store::Token;
use http::{StatusCode, Uri};
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::{Limit, id, limit, map, query, unknown};
use crate::{
    App,
    auth::{Caller, make_token},
    body,
    contract::{Operation, Routes},
    now,
    problem::Problem,
};

/// Longest title, in characters.
const MAX_TITLE: usize = 255;

/// A token as it is asked for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TokenDraft")]
pub(crate) struct NewToken {
    /// What it is for.
    #[schemars(extend("minLength" = 1, "maxLength" = MAX_TITLE))]
    pub(crate) title: String,
    /// What it may be used for; within what the credential that asks may be.
    #[schemars(extend("minItems" = 1))]
    pub(crate) scopes: Vec<TokenScope>,
    /// Whose rights it carries; of the registry itself if nobody's.
    pub(crate) account: Option<AccountName>,
    /// For how long from now; for ever without it, if the credential that asks lasts for ever.
    pub(crate) expires_in_seconds: Option<u32>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// This account's; without it, those that the caller may see.
    account: Option<AccountName>,
    /// From after this one on.
    after: Option<Uuid>,
    #[schemars(with = "Option<Limit>")]
    limit: Option<u32>,
}

/// A token, without what its holder shows.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Token")]
struct TokenView<'a> {
    id: Uuid,
    title: &'a str,
    /// Whose rights it carries; null for the registry's own.
    account: Option<&'a AccountName>,
    scopes: Vec<TokenScope>,
    created_by: &'a str,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    last_used_at: Option<Timestamp>,
}

/// A token that was just made.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "NewToken")]
struct NewTokenView<'a> {
    #[serde(flatten)]
    made: TokenView<'a>,
    /// What its holder shows; never shown again.
    token: String,
}

/// A page of tokens.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Tokens")]
struct TokensView<'a> {
    tokens: Vec<TokenView<'a>>,
    /// The `after` of the next page; null at the end.
    next: Option<Uuid>,
}

/// `/v1/tokens`.
pub(super) fn routes() -> Routes {
    Routes::default()
        .serve(
            Operation::get("/v1/tokens", "A page of an account's tokens, or of the registry's.")
                .asks::<ListQuery>()
                .answers::<TokensView<'_>>(200),
            list,
        )
        .serve(
            Operation::post(
                "/v1/tokens",
                "Make a token; its secret is shown in this answer and never again.",
            )
            .takes::<NewToken>()
            .answers::<NewTokenView<'_>>(201)
            .refuses([415]),
            create,
        )
        .serve(
            Operation::delete("/v1/tokens/{id}", "Revoke a token.").answers_nothing(204).refuses([404]),
            revoke,
        )
}

async fn create(State(app): State<Arc<App>>, caller: Caller, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let read = app.bodies.read_whole(&parts, body, app.api.limits.event_bytes).await?;
    body::require_json(&parts.headers)?;
    let (token, secret) = give(&app, &caller, body::object_from_json(&read.bytes)?).await?;
    let view = NewTokenView { made: TokenView::of(&token), token: secret };
    Ok((StatusCode::CREATED, Json(view)).into_response())
}

/// Makes a token: it, and what its holder shows.
pub(crate) async fn give(app: &App, caller: &Caller, wanted: NewToken) -> Result<(Token, String), Problem> {
    let token = draft(caller, wanted)?;
    check(app, caller, &token).await?;
    let (secret, hash) = make_token()?;
    let details =
        json!({ "title": token.title, "account": token.account, "scopes": token.scopes.to_string() });
    let entry = caller.entry("token.create", &token.id, &Scope::Registry, map(details));
    app.api.store.audited(entry).create_token(&token, &hash).await?;
    Ok((token, secret))
}

fn draft(caller: &Caller, wanted: NewToken) -> Result<Token, Problem> {
    let title = wanted.title.trim();
    if title.is_empty() || title.chars().count() > MAX_TITLE || title.chars().any(char::is_control) {
        let detail = format!("`title` should say in 1 to {MAX_TITLE} characters what the token is for");
        return Err(Problem::bad(detail));
    }
    let scopes = TokenScopes::new(wanted.scopes);
    if scopes.is_empty() {
        let choices: Vec<&str> = TokenScope::ALL.iter().map(|scope| scope.name()).collect();
        return Err(Problem::bad(format!("`scopes` is empty; choose of {}", choices.join(", "))));
    }
    let created_at = now();
    Ok(Token {
        id: Uuid::new_v4(),
        title: title.to_owned(),
        account: wanted.account,
        scopes,
        created_by: caller.actor(),
        created_at,
        expires_at: wanted.expires_in_seconds.map(|seconds| later(created_at, seconds)).transpose()?,
        last_used_at: None,
    })
}

fn later(now: Timestamp, seconds: u32) -> Result<Timestamp, Problem> {
    let at = now.checked_add(SignedDuration::from_secs(i64::from(seconds)));
    at.ok()
        .filter(|_| seconds > 0)
        .ok_or_else(|| Problem::bad("`expires_in_seconds` should be a time to come"))
}

/// A superuser gives tokens to anybody, everybody else to itself; nobody gives what its own credential does not have,
/// be it scopes or time.
async fn check(app: &App, caller: &Caller, token: &Token) -> Result<(), Problem> {
    need_holder(app, caller, token.account.as_ref()).await?;
    if !token.scopes.are_within(caller.scopes()) {
        let detail = format!("`scopes` goes beyond those of your own credential ({})", caller.scopes());
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    if let Some(end) = caller.until()
        && token.expires_at.is_none_or(|at| at > end)
    {
        let left = end.duration_since(token.created_at).as_secs();
        let detail = format!(
            "your own credential ends at {end}, and no token made with it may outlive it; give \
             `expires_in_seconds` of at most {left}"
        );
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    if let Some(name) = &token.account
        && app.api.store.account(name).await?.is_none()
    {
        return Err(Problem::bad(format!("`account`: there is no account {name}; make it first")));
    }
    Ok(())
}

/// Refuses a caller that may not see to the tokens of `account`, or of the registry.
async fn need_holder(app: &App, caller: &Caller, account: Option<&AccountName>) -> Result<(), Problem> {
    match (caller.account(), account) {
        (Some(own), Some(name)) if own.name == *name => {
            caller.need(app, Right::Account, &Scope::Namespace(name.to_string())).await
        }
        _ => caller.need_superuser(app).await,
    }
}

async fn list(State(app): State<Arc<App>>, caller: Caller, uri: Uri) -> Result<Response, Problem> {
    let wanted: ListQuery = query(&uri)?;
    let limit = limit(wanted.limit)?;
    let is_superuser = caller.judge(&app, Right::Directory, &Scope::Registry).await? == Verdict::Allowed;
    // Without a word of whose, those that the caller may see.
    let own = caller.account().filter(|_| !is_superuser).map(|account| account.name.clone());
    let account = wanted.account.or(own);
    need_holder(&app, &caller, account.as_ref()).await?;
    let tokens = app.api.store.tokens(account.as_ref(), wanted.after, limit).await?;
    let is_full = tokens.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
    let next = tokens.last().filter(|_| is_full).map(|last| last.id);
    let tokens = tokens.iter().map(TokenView::of).collect();
    Ok(Json(TokensView { tokens, next }).into_response())
}

async fn revoke(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(text): Path<String>,
) -> Result<StatusCode, Problem> {
    let token = app.api.store.token(id::<Uuid>(&text, "token")?).await?;
    let token = token.ok_or_else(|| unknown("token", &text))?;
    // That somebody else's token exists is not for everybody to know.
    if need_holder(&app, &caller, token.account.as_ref()).await.is_err() {
        return Err(unknown("token", &text));
    }
    let details = map(json!({ "title": token.title, "account": token.account }));
    let entry = caller.entry("token.revoke", &token.id, &Scope::Registry, details);
    let found = app.api.store.audited(entry).revoke_token(token.id).await?;
    if found { Ok(StatusCode::NO_CONTENT) } else { Err(unknown("token", &text)) }
}

impl<'a> TokenView<'a> {
    fn of(token: &'a Token) -> Self {
        Self {
            id: token.id,
            title: &token.title,
            account: token.account.as_ref(),
            scopes: token.scopes.iter().collect(),
            created_by: &token.created_by,
            created_at: token.created_at,
            expires_at: token.expires_at,
            last_used_at: token.last_used_at,
        }
    }
}
