//! `/v1/secrets`: which keys the store's secrets are sealed with, and sealing them anew.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use bellbuoy_domain::Scope;
use bellbuoy_store::StoreError;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::map;
use crate::{
    App,
    auth::Caller,
    contract::{Operation, Routes},
    problem::Problem,
};

/// A key, and what is sealed with it.
#[derive(Debug, Serialize, JsonSchema)]
struct SecretKey {
    /// Its name; null for what is not sealed.
    key: Option<String>,
    /// How many notifications are stored under it.
    notifications: u64,
    /// Whether it is the one that new secrets are sealed with.
    writes: bool,
    /// Whether this process has it.
    known: bool,
}

/// All of them.
#[derive(Debug, Serialize, JsonSchema)]
struct SecretKeys {
    keys: Vec<SecretKey>,
}

/// What was sealed anew.
#[derive(Debug, Serialize, JsonSchema)]
struct Rewritten {
    /// How many notifications.
    rewritten: u64,
}

/// `/v1/secrets`.
pub(super) fn routes() -> Routes {
    Routes::default()
        .serve(
            Operation::get("/v1/secrets", "What the stored secrets are sealed with, by key.")
                .answers::<SecretKeys>(200),
            list,
        )
        .serve(
            Operation::post("/v1/secrets/rewrite", "Seal all stored secrets with the first key.")
                .answers::<Rewritten>(200)
                .refuses([409]),
            rewrite,
        )
}

/// Every key that is known here or that a notification is stored under; null is none.
async fn list(State(app): State<Arc<App>>, caller: Caller) -> Result<Response, Problem> {
    caller.need_superuser(&app).await?;
    let store = &app.api.store;
    let known = store.secret_keys().names().map(|name| (Some(name.to_owned()), 0));
    let mut counts: BTreeMap<Option<String>, u64> = known.collect();
    counts.extend(store.sealings().await?.into_iter().map(|sealing| (sealing.key, sealing.notifications)));
    let writes = store.secret_keys().names().next();
    let view = |(key, notifications): (Option<String>, u64)| {
        let known = key.as_deref().is_none_or(|key| store.secret_keys().names().any(|name| name == key));
        SecretKey { writes: key.as_deref() == writes, key, notifications, known }
    };
    Ok(Json(SecretKeys { keys: counts.into_iter().map(view).collect() }).into_response())
}

/// Seals everything with the first key.
async fn rewrite(State(app): State<Arc<App>>, caller: Caller) -> Result<Response, Problem> {
    caller.need_superuser(&app).await?;
    if app.api.store.secret_keys().is_empty() {
        let detail = "there is no key to encrypt with; set `store.secret_key` and start again";
        return Err(Problem::conflict(detail));
    }
    let rewritten = app.api.store.seal_anew().await.map_err(|error| match error {
        StoreError::Sealed { .. } => Problem::conflict(error.to_string()),
        other => other.into(),
    })?;
    if rewritten > 0 {
        let details = map(json!({ "rewritten": rewritten }));
        app.api.store.note(caller.entry("secrets.rewrite", &"", &Scope::Registry, details)).await?;
    }
    Ok(Json(Rewritten { rewritten }).into_response())
}
