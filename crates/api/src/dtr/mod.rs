//! Webhooks as Docker Trusted Registry and Mirantis Secure Registry 2 and 3 have them, for their clients and scripts.
//!
//! What is made here is a notification by the method `webhook` in format `dtr`, seen through every other API; and every
//! webhook that another API made is seen here. Paths, codes and bodies are DTR's, by its [documentation]; where that is
//! silent, `README.md` says what this does.
//!
//! [documentation]: https://docs.mirantis.com/msr/2.9/ops/manage-webhooks.html

mod form;
mod object;
mod problem;
mod tokens;

pub(crate) use problem::{ErrorsView, not_allowed, not_found, response as problem_response};
pub(crate) use tokens::{REFRESH_TOKEN, lift as lift_token};

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    body::Body,
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
};
use bellbuoy_domain::{
    Format, MethodName, NamespaceName, Notification, NotificationId, NotificationState, RepositoryName,
    Right, Scope, TokenScope, dtr,
};
use bellbuoy_store::{MAX_PAGE, Page, StoreError};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, StatusCode, Uri, header};
use jiff::Timestamp;
use schemars::JsonSchema;

use crate::{
    App,
    auth::Caller,
    body,
    change::change,
    contract::{Operation, Routes},
    draft::Draft,
    now,
    problem::Problem,
    trial::Failure,
};
use form::{CreateForm, TestForm, UpdateForm};
use object::{WebhookView, is_inactive, view};
use problem::Refusal;

/// Where DTR's API lies.
const PREFIX: &str = "/api/v0/";

/// Most of its own that one who may not see all is shown: the oldest.
const MOST_OF_ONES_OWN: u32 = 10_000;

/// When a test may be tried again that others left no place.
const LET_OTHERS_END: Duration = Duration::from_secs(5);

/// Whether a path belongs to DTR's surface, so that even its refusals are in DTR's form.
pub(crate) fn owns(path: &str) -> bool {
    path.starts_with(PREFIX)
}

/// What may stand in the query of a list.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "a schema: the query holds credentials as well, and is read member by member")]
struct ListQuery {
    /// Those of this event type alone; `any` is any.
    #[schemars(rename = "webhookType")]
    webhook_type: Option<String>,
}

/// Everything below [`PREFIX`].
pub(crate) fn routes() -> Routes {
    let list_of = |path: &'static str, summary: &'static str| {
        Operation::get(path, summary)
            .asks::<ListQuery>()
            .answers::<Vec<WebhookView<'_>>>(200)
            .refuses([404, 406])
    };
    tokens::routes()
        .serve(list_of("/api/v0/webhooks", "The caller's webhooks: a bare array."), list)
        .serve_rest(
            "/api/v0/repositories/{*rest}",
            [
                list_of("/api/v0/repositories/{namespace}/webhooks", "A namespace's webhooks."),
                list_of("/api/v0/repositories/{namespace}/{reponame}/webhooks", "A repository's webhooks."),
            ],
            list_below,
        )
        .serve(list_of("/api/v0/accounts/{name}/webhooks", "An account's webhooks."), list_of_account)
        .serve(
            Operation::post("/api/v0/webhooks", "Make a webhook.")
                .takes::<CreateForm>()
                .answers::<WebhookView<'_>>(201)
                .refuses([404, 406, 409, 415]),
            create,
        )
        .serve(
            Operation::post("/api/v0/webhooks/update", "Change a webhook.")
                .takes::<UpdateForm>()
                .answers::<[WebhookView<'_>; 1]>(200)
                .refuses([404, 406, 409, 415]),
            update,
        )
        .serve(
            Operation::post(
                "/api/v0/webhooks/test",
                "Send a type's constant payload to an endpoint at once.",
            )
            .takes::<TestForm>()
            .answers_nothing(200)
            .refuses([406, 415, 502]),
            test,
        )
        .serve(
            Operation::delete("/api/v0/webhooks/{id}", "Delete a webhook.")
                .answers_nothing(204)
                .refuses([404, 406, 415]),
            delete,
        )
}

/// `GET /webhooks`: all for whoever may do everything, else those that the caller made and administers.
async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Refusal> {
    need_json_accepted(&headers)?;
    let wanted = Wanted::of(&uri);
    if caller.owns(&app, &Scope::Registry).await? {
        return Ok(stream_all(app, wanted));
    }
    let Some(account) = caller.account() else {
        let detail = "only the tokens of an account or of a superuser have webhooks to list";
        return Err(Problem::new(StatusCode::FORBIDDEN, detail).into());
    };
    let mut own = app.api.store.notifications_by(account.id, MOST_OF_ONES_OWN).await?;
    let mut shown = Vec::new();
    for notification in own.drain(..).filter(|one| wanted.fits(one)) {
        // Who made it may no longer be who administers the place.
        if caller.owns(&app, &notification.scope).await? {
            shown.push(notification);
        }
    }
    let shown: Vec<_> = shown.iter().map(|one| view(one, false)).collect();
    Ok(Json(shown).into_response())
}

/// `GET /repositories/{namespace}/{reponame}/webhooks`, and with a namespace alone, as DTR's prose has it. A
/// repository's name may hold slashes, so the path is read from its end.
async fn list_below(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    Path(rest): Path<String>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let name = rest.strip_suffix("/webhooks").ok_or_else(not_found)?;
    let place = if name.contains('/') {
        let parsed = RepositoryName::parse(name).map_err(|_| problem::no_such("repository", name))?;
        Scope::Repository(parsed)
    } else {
        namespace(name)?
    };
    list_at(&app, &caller, &headers, &place, &uri).await
}

/// `GET /accounts/{namespace}/webhooks`.
async fn list_of_account(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Response, Refusal> {
    list_at(&app, &caller, &headers, &namespace(&name)?, &uri).await
}

fn namespace(name: &str) -> Result<Scope, Refusal> {
    let parsed = NamespaceName::parse(name).map_err(|_| problem::no_such("account", name))?;
    Ok(Scope::Namespace(parsed.to_string()))
}

/// Everybody's for exactly that place, to those who administer it.
async fn list_at(
    app: &App,
    caller: &Caller,
    headers: &HeaderMap,
    place: &Scope,
    uri: &Uri,
) -> Result<Response, Refusal> {
    need_json_accepted(headers)?;
    need(app, caller, place).await?;
    let wanted = Wanted::of(uri);
    let found = app.api.store.notifications_in(place).await?;
    let shown: Vec<_> = found.iter().filter(|one| wanted.fits(one)).map(|one| view(one, false)).collect();
    Ok(Json(shown).into_response())
}

/// `POST /webhooks`.
async fn create(State(app): State<Arc<App>>, caller: Caller, request: Request) -> Result<Response, Refusal> {
    let form: CreateForm = form::read(&app, request).await?;
    let place = form.place()?;
    need(&app, &caller, &place).await?;
    let draft = form.draft(place)?;
    draft.check_reach(&app.api.reach)?;
    form::check(&app, &draft.config)?;
    let notification = caller.authored(draft.create(now())?);
    caller.audited(&app, "notification.create", &notification).create_notification(&notification).await?;
    Ok((StatusCode::CREATED, Json(view(&notification, true))).into_response())
}

/// `POST /webhooks/update`: what a webhook may have changed, in an array as DTR's Swagger says.
async fn update(State(app): State<Arc<App>>, caller: Caller, request: Request) -> Result<Response, Refusal> {
    let form: UpdateForm = form::read(&app, request).await?;
    let found = find(&app, &caller, &form.id).await?;
    let new = change(&app, &caller, "notification.change", found, |old| {
        let new = changed(&old, &form)?;
        if let Some(new) = new.as_ref().filter(|new| new.config != old.config) {
            form::check(&app, &new.config)?;
        }
        Ok(new)
    });
    let mut new = new.await?.ok_or_else(|| problem::no_such("webhook", &form.id))?;
    if new.state == NotificationState::Disabled && form.inactive == Some(false) {
        // DTR has no other way to say that the receiver was put right.
        let store = caller.audited(&app, "notification.reset", &new);
        store.reset_failures(new.id, Timestamp::now()).await?;
        new = find(&app, &caller, &form.id).await?;
    }
    Ok(Json([view(&new, false)]).into_response())
}

/// The notification as the form wants it, by the same road as every other; `None` if it is so already. What shows the state
/// that is asked for keeps its own, and no form makes active what was disabled: that is on probation first.
fn changed(old: &Notification, form: &UpdateForm) -> Result<Option<Notification>, Problem> {
    let mut config = old.config.clone();
    form.tls.put(&mut config);
    let state = match form.inactive {
        Some(true) if !is_inactive(old.state) => NotificationState::Paused,
        Some(false) if old.state == NotificationState::Paused => NotificationState::Active,
        _ => old.state,
    };
    if state == old.state && config == old.config {
        return Ok(None);
    }
    let draft = Draft {
        title: old.title.clone(),
        scope: old.scope.clone(),
        kinds: old.kinds.clone(),
        event_config: old.event_config.clone(),
        method: old.method.clone(),
        config,
        format: old.format.clone(),
        retry: old.retry.clone(),
    };
    let new = draft.replace(old.clone(), now())?;
    let is_new = state != old.state;
    Ok(Some(Notification { state, state_reason: new.state_reason.clone().filter(|_| !is_new), ..new }))
}

/// `DELETE /webhooks/{webhook}`.
async fn delete(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<StatusCode, Refusal> {
    need_json_accepted(&headers)?;
    need_no_other_body(&headers)?;
    let notification = find(&app, &caller, &id).await?;
    let store = caller.audited(&app, "notification.delete", &notification);
    let found = store.delete_notification(notification.id).await?;
    if found { Ok(StatusCode::NO_CONTENT) } else { Err(problem::no_such("webhook", &id)) }
}

/// `POST /webhooks/test`: sends the type's constant payload to the endpoint at once, without a webhook.
async fn test(State(app): State<Arc<App>>, caller: Caller, request: Request) -> Result<Response, Refusal> {
    need_some_place(&app, &caller).await?;
    let form: TestForm = form::read(&app, request).await?;
    let now = now();
    let (event, notification) = form.trial(&app, now)?;
    app.api.trial.make(notification, event, now).await.map_err(untaken)?;
    Ok(StatusCode::OK.into_response())
}

fn untaken(failure: Failure) -> Problem {
    match failure {
        Failure::Busy => {
            let detail =
                "other tests are under way, of this endpoint's host or in all; wait until they have ended";
            Problem {
                retry_after: Some(LET_OTHERS_END),
                ..Problem::new(StatusCode::TOO_MANY_REQUESTS, detail)
            }
        }
        Failure::NotTaken(why) => {
            let detail = format!("the endpoint did not take it: {why}");
            Problem::new(StatusCode::BAD_GATEWAY, detail).with(problem::CODE, "ENDPOINT_FAILED")
        }
    }
}

/// A request to an address of the caller's choice is for those who could make a webhook with it anywhere: in their own
/// namespace, if nowhere else.
async fn need_some_place(app: &App, caller: &Caller) -> Result<(), Refusal> {
    let scopes = caller.scopes();
    let may_subscribe = scopes.has(TokenScope::RepositoryAdmin) || scopes.has(TokenScope::NamespaceAdmin);
    if (caller.account().is_some() && may_subscribe) || caller.owns(app, &Scope::Registry).await? {
        return Ok(());
    }
    let (repository, namespace) = (TokenScope::RepositoryAdmin, TokenScope::NamespaceAdmin);
    let detail = format!("this takes an account's credential with the scope `{repository}` or `{namespace}`");
    Err(Problem::new(StatusCode::FORBIDDEN, detail).into())
}

/// Refuses a caller that does not administer a place that it named.
async fn need(app: &App, caller: &Caller, place: &Scope) -> Result<(), Refusal> {
    caller.need(app, Right::Notifications, place).await.map_err(|refused| match (refused.status, place) {
        (StatusCode::NOT_FOUND, Scope::Repository(_)) => {
            refused.with(problem::CODE, "NO_SUCH_REPOSITORY").into()
        }
        (StatusCode::NOT_FOUND, _) => refused.with(problem::CODE, "NO_SUCH_ACCOUNT").into(),
        _ => refused.into(),
    })
}

/// The webhook, if there is one and the caller administers it.
async fn find(app: &App, caller: &Caller, id: &str) -> Result<Notification, Refusal> {
    let unknown = || problem::no_such("webhook", id);
    let parsed: NotificationId = id.parse().map_err(|_| unknown())?;
    let found = caller.notification(app, parsed).await?;
    found.filter(is_webhook).ok_or_else(unknown)
}

/// Whether DTR has a form for it: all that has an endpoint.
fn is_webhook(notification: &Notification) -> bool {
    notification.method == MethodName::Webhook.name()
}

/// Which webhooks are asked for.
struct Wanted(Option<String>);

impl Wanted {
    /// By `?webhookType=`, where `any` is any.
    fn of(uri: &Uri) -> Self {
        let wanted = crate::ingest::query_value(uri, "webhookType");
        Self(wanted.filter(|wanted| !wanted.is_empty() && wanted != "any"))
    }

    fn fits(&self, notification: &Notification) -> bool {
        let fits = |wanted: &String| dtr::type_name(&notification.kinds) == *wanted;
        is_webhook(notification) && self.0.as_ref().is_none_or(fits)
    }
}

/// DTR's lists have no pages, so that this one is read from the store as the client takes it.
fn stream_all(app: Arc<App>, wanted: Wanted) -> Response {
    struct Reading {
        app: Arc<App>,
        wanted: Wanted,
        after: Option<NotificationId>,
        /// What comes before the next webhook.
        before: &'static str,
    }
    let reading = Reading { app, wanted, after: None, before: "[" };
    let pages = stream::try_unfold(Some(reading), async |reading| {
        let Some(mut reading) = reading else { return Ok(None) };
        let page = Page { after: reading.after, limit: MAX_PAGE };
        let rows = reading.app.api.store.list_notifications(&page).await.inspect_err(|error| {
            tracing::error!("a list of webhooks breaks off: {error}");
        })?;
        let mut piece = String::new();
        for notification in rows.iter().filter(|one| reading.wanted.fits(one)) {
            piece.push_str(std::mem::replace(&mut reading.before, ","));
            piece.push_str(&serde_json::to_string(&view(notification, false)).unwrap_or_default());
        }
        let Some(last) = rows.last() else {
            piece.push_str(if reading.before == "[" { "[]" } else { "]" });
            return Ok::<_, StoreError>(Some((Bytes::from(piece), None)));
        };
        reading.after = Some(last.id);
        Ok(Some((Bytes::from(piece), Some(reading))))
    });
    let mut response = Response::new(Body::from_stream(pages.boxed()));
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

/// Refuses a client that takes no JSON.
fn need_json_accepted(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut ranges = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let fits = |range: &str| {
        let essence = range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        matches!(&*essence, "" | "*/*" | "application/*" | "application/json")
    };
    if !headers.contains_key(header::ACCEPT) || ranges.any(|ranges| ranges.split(',').any(fits)) {
        return Ok(());
    }
    Err(Problem::new(StatusCode::NOT_ACCEPTABLE, "answers here are application/json").into())
}

/// Refuses what says that it sends anything but JSON, where nothing need be sent at all.
fn need_no_other_body(headers: &HeaderMap) -> Result<(), Refusal> {
    if headers.contains_key(header::CONTENT_TYPE) {
        body::require_json(headers)?;
    }
    Ok(())
}

/// The format that DTR's webhooks are made in.
const FORMAT: Format = Format::Dtr;
