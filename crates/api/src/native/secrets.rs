//! `/v1/secrets`: which keys the store's secrets are sealed with, and sealing them anew.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use bellbuoy_store::StoreError;
use serde_json::{Value, json};

use crate::{App, auth::Caller, problem::Problem};

/// Every key that is known here or that a notification is stored under; null is none.
pub(crate) async fn list(State(app): State<Arc<App>>, caller: Caller) -> Result<Response, Problem> {
    caller.need_superuser(&app).await?;
    let store = &app.api.store;
    let known = store.secret_keys().names().map(|name| (Some(name.to_owned()), 0));
    let mut counts: BTreeMap<Option<String>, u64> = known.collect();
    counts.extend(store.sealings().await?.into_iter().map(|sealing| (sealing.key, sealing.notifications)));
    let writes = store.secret_keys().names().next();
    let object = |(key, notifications): (Option<String>, u64)| {
        let is_known = key.as_deref().is_none_or(|key| store.secret_keys().names().any(|name| name == key));
        json!({"key": key, "notifications": notifications, "writes": key.as_deref() == writes, "known": is_known})
    };
    let keys: Vec<Value> = counts.into_iter().map(object).collect();
    Ok(Json(json!({ "keys": keys })).into_response())
}

/// Seals everything with the first key.
pub(crate) async fn rewrite(State(app): State<Arc<App>>, caller: Caller) -> Result<Response, Problem> {
    caller.need_superuser(&app).await?;
    if app.api.store.secret_keys().is_empty() {
        let detail = "there is no key to encrypt with; set `store.secret_key` and start again";
        return Err(Problem::conflict(detail));
    }
    let rewritten = app.api.store.seal_anew().await.map_err(|error| match error {
        StoreError::Sealed { .. } => Problem::conflict(error.to_string()),
        other => other.into(),
    })?;
    Ok(Json(json!({ "rewritten": rewritten })).into_response())
}
