//! Making a notification, and changing one.

use askama::Template;
use axum::{
    extract::{Path, RawQuery},
    response::Response,
};
use bellbuoy_domain::{Format, MethodName};
use http::{Method, StatusCode};
use serde_json::Value;

use super::Shown;
use crate::{
    fields::{Field, Shape, describe, fields},
    form::{TESTS, Written, draft, filled, kinds},
    form_body::Form,
    page::{Fault, Place, Shell, done, encoded, page, page_with},
    shapes::Notification,
    visitor::Visitor,
};

/// The first question: how it is to be told.
#[derive(Template)]
#[template(path = "methods.html")]
struct MethodsPage<'a> {
    shell: Shell,
    place: &'a str,
    methods: Vec<(MethodName, &'static str, &'static str)>,
}

#[derive(Template)]
#[template(path = "notification_form.html")]
struct FormPage<'a> {
    shell: Shell,
    /// The one that is changed; none if one is made.
    id: Option<&'a str>,
    /// Where it listens, if that is settled.
    scope: Option<String>,
    method: &'a str,
    method_name: &'static str,
    written: &'a Written,
    fields: &'static [Field],
    fault: Option<&'a str>,
}

/// What a notification can listen to, and what people call it.
const SCOPES: &[(&str, &str)] = &[
    ("repository", "one repository"),
    ("namespace", "a namespace and all its repositories"),
    ("registry", "the whole registry"),
];

/// Whose in-app area there is.
const TARGETS: &[(&str, &str)] = &[("user", "a person"), ("team", "a team"), ("org", "an organization")];

impl FormPage<'_> {
    fn usual(&self) -> impl Iterator<Item = &'static Field> {
        self.fields.iter().filter(|field| !field.is_rare)
    }

    fn rare(&self) -> impl Iterator<Item = &'static Field> {
        self.fields.iter().filter(|field| field.is_rare)
    }

    /// Whether something of the rare settings is set, so that they are not hidden.
    fn has_rare(&self) -> bool {
        self.rare().any(|field| !self.of(field).is_empty())
    }

    /// What is written, or else what the place is.
    fn scope_chosen(&self) -> &str {
        match (self.written.get("scope"), self.written.get("place")) {
            ("", "") => "repository",
            ("", place) if place.contains('/') => "repository",
            ("", _) => "namespace",
            (scope, _) => scope,
        }
    }

    fn of(&self, field: &Field) -> &str {
        self.written.whole(&field.key())
    }

    /// Whether a choice is the one that is written. Templates compare no references.
    #[expect(clippy::unused_self, reason = "templates call methods")]
    fn is(&self, choice: &str, written: &str) -> bool {
        choice.eq_ignore_ascii_case(written)
    }

    /// The same of one among several.
    fn is_among(&self, name: &str, choice: &str) -> bool {
        self.written.all(name).any(|written| choice.eq_ignore_ascii_case(written))
    }

    fn has_filter(&self) -> bool {
        FILTER.iter().any(|name| !self.written.get(name).is_empty())
    }

    fn filter(&self, name: &str) -> &str {
        self.written.get(&format!("filter.{name}"))
    }
}

const FILTER: &[&str] = &[
    "filter.tags",
    "filter.ref-regex",
    "filter.level",
    "filter.days",
    "filter.digest",
    "filter.condition.path",
];

/// The levels of a vulnerability, as filters count them.
const LEVELS: &[(&str, &str)] =
    &[("0", "critical"), ("1", "high"), ("2", "medium"), ("3", "low"), ("4", "negligible"), ("5", "unknown")];

/// What a new notification's address has to show once.
#[derive(Template)]
#[template(path = "notification_made.html")]
struct MadePage<'a> {
    shell: Shell,
    id: &'a str,
    secret: &'a str,
}

/// `GET /console/notifications/new`
pub(crate) async fn blank(visitor: Visitor, RawQuery(query): RawQuery) -> Shown {
    let written = Written::read(query.unwrap_or_default().as_bytes());
    let shell = visitor.shell(Place::Notifications).await?;
    if written.get("method").is_empty() {
        let methods = MethodName::ALL.iter().map(|method| {
            let (name, what) = describe(*method);
            (*method, name, what)
        });
        return Ok(page(&MethodsPage { shell, place: written.get("place"), methods: methods.collect() }));
    }
    form(shell, None, &written, None)
}

/// `POST /console/notifications/new`
pub(crate) async fn create(visitor: Visitor, Form(written): Form) -> Shown {
    let made = match send(&visitor, Method::POST, "/v1/notifications", &written, None).await? {
        Ok(made) => made,
        Err(refused) => {
            return form(visitor.shell(Place::Notifications).await?, None, &written, Some(&refused));
        }
    };
    let id = made["id"].as_str().unwrap_or_default();
    match &made["config"]["secret"] {
        Value::String(secret) => {
            let shell = visitor.shell(Place::Notifications).await?;
            Ok(page_with(StatusCode::CREATED, &MadePage { shell, id, secret }))
        }
        _ => Ok(done(&format!("/console/notifications/{}", encoded(id)), "created")),
    }
}

/// Sends what is written. What the API refuses of it stands in the inner result, for the form to be shown again.
async fn send(
    visitor: &Visitor,
    method: Method,
    path: &str,
    written: &Written,
    kept: Option<&Notification>,
) -> Result<Result<Value, (StatusCode, String)>, Fault> {
    let draft = match draft(written, kept) {
        Ok(draft) => draft,
        Err(fault) => return Ok(Err((StatusCode::BAD_REQUEST, fault))),
    };
    match visitor.api.act(method, path, Some(draft)).await {
        Ok(answer) => Ok(Ok(answer.body)),
        Err(refusal) if refusal.is_about_the_question() => Ok(Err((refusal.status, refusal.detail))),
        Err(refusal) => Err(refusal.into()),
    }
}

async fn find(visitor: &Visitor, id: &str) -> Result<Notification, Fault> {
    Ok(visitor.api.get(&format!("/v1/notifications/{}", encoded(id))).await?)
}

/// `GET /console/notifications/{id}/edit`
pub(crate) async fn edit(visitor: Visitor, Path(id): Path<String>) -> Shown {
    let notification = find(&visitor, &id).await?;
    let shell = visitor.shell(Place::Notifications).await?;
    form(shell, Some(&notification), &filled(&notification), None)
}

/// `POST /console/notifications/{id}/edit`
pub(crate) async fn change(visitor: Visitor, Path(id): Path<String>, Form(written): Form) -> Shown {
    let kept = find(&visitor, &id).await?;
    let path = format!("/v1/notifications/{}", encoded(&id));
    match send(&visitor, Method::PUT, &path, &written, Some(&kept)).await? {
        Ok(_) => Ok(done(&format!("/console/notifications/{}", encoded(&id)), "changed")),
        Err(refused) => {
            form(visitor.shell(Place::Notifications).await?, Some(&kept), &written, Some(&refused))
        }
    }
}

fn form(
    shell: Shell,
    changed: Option<&Notification>,
    written: &Written,
    refused: Option<&(StatusCode, String)>,
) -> Result<Response, Fault> {
    let method = written.get("method");
    let known = method.parse::<MethodName>();
    let known = known.map_err(|error| Fault::new(StatusCode::BAD_REQUEST, format!("{error}.")))?;
    let form = FormPage {
        shell,
        id: changed.map(|changed| changed.id.as_str()),
        scope: changed.map(|changed| changed.scope.to_string()),
        method,
        method_name: describe(known).0,
        written,
        fields: fields(known),
        fault: refused.map(|(_, fault)| fault.as_str()),
    };
    Ok(page_with(refused.map_or(StatusCode::OK, |(status, _)| *status), &form))
}
