//! The notifications of an organization, or of the calling user's own namespace.

use std::sync::Arc;

use axum::{
    extract::{RawPathParams, Request, State},
    response::Response,
};
use bellbuoy_domain::{AccountKind, NamespaceName, Right, Scope, Verdict};

use super::{
    forbidden, not_found,
    notifications::Notifications,
    path::{Act, Part},
    people::need_purpose,
};
use crate::{App, auth::Caller, problem::Problem};

/// `/api/v1/organization/{org}/notifications[/{uuid}[/{act}]]`.
pub(crate) async fn of_organization(
    State(app): State<Arc<App>>,
    caller: Caller,
    params: RawPathParams,
    request: Request,
) -> Result<Response, Problem> {
    // Which organizations there are is no secret to whoever may ask for one.
    need_purpose(&caller)?;
    let name = NamespaceName::parse(param(&params, "org").unwrap_or_default()).map_err(|_| not_found())?;
    let account = app.api.store.account(&name.clone().into()).await?;
    account.filter(|account| account.kind == AccountKind::Organization).ok_or_else(not_found)?;
    let place = Scope::Namespace(name.to_string());
    if !caller.owns(&app, &place).await? {
        return Err(forbidden());
    }
    answer(&app, &caller, place, &params, request).await
}

/// `/api/v1/user/namespacenotifications[/{uuid}[/{act}]]`.
pub(crate) async fn own(
    State(app): State<Arc<App>>,
    caller: Caller,
    params: RawPathParams,
    request: Request,
) -> Result<Response, Problem> {
    let account = caller.account().filter(|account| account.kind == AccountKind::User);
    let place = Scope::Namespace(account.ok_or_else(forbidden)?.name.to_string());
    if caller.judge(&app, Right::Account, &place).await? != Verdict::Allowed {
        return Err(forbidden());
    }
    answer(&app, &caller, place, &params, request).await
}

async fn answer(
    app: &App,
    caller: &Caller,
    scope: Scope,
    params: &RawPathParams,
    request: Request,
) -> Result<Response, Problem> {
    let part = match (param(params, "uuid"), param(params, "act")) {
        (None, _) => Part::All,
        (Some(uuid), None) => Part::One(uuid.to_owned()),
        (Some(uuid), Some(act)) => Part::Act(uuid.to_owned(), Act::read(act).ok_or_else(not_found)?),
    };
    let (parts, body) = request.into_parts();
    Notifications { app, caller, scope }.answer(&part, &parts, body).await
}

fn param<'a>(params: &'a RawPathParams, name: &str) -> Option<&'a str> {
    params.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
}
