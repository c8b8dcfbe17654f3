//! Tokens: which there are, making one, and revoking it.

use askama::Template;
use axum::extract::{Path, RawQuery};
use bellbuoy_domain::TokenScope;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{ROWS, Shown, further};
use crate::{
    form::Written,
    form_body::Form,
    page::{Place, Shell, done, encoded, page_with},
    shapes::{Token, Tokens},
    visitor::Visitor,
};

#[derive(Template)]
#[template(path = "tokens.html")]
struct ListPage<'a> {
    shell: Shell,
    tokens: Vec<Token>,
    further: Option<String>,
    written: &'a Written,
    fault: Option<&'a str>,
    /// One that was just made, which is shown this once.
    made: Option<&'a str>,
}

impl ListPage<'_> {
    #[expect(clippy::unused_self, reason = "templates call methods")]
    /// Every scope, with what it lets its holder do.
    fn scopes(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        TokenScope::ALL.iter().map(|scope| (scope.name(), may(*scope)))
    }
}

/// What a scope lets its holder do.
fn may(scope: TokenScope) -> &'static str {
    match scope {
        TokenScope::RepositoryAdmin => "look after the repositories that its account administers",
        TokenScope::NamespaceAdmin => "look after the namespaces that its account owns",
        TokenScope::Account => "the account's inbox and tokens",
        TokenScope::Publish => "send events in",
        TokenScope::Metrics => "read /metrics, and why /readyz fails",
        TokenScope::Superuser => "everything",
    }
}

/// `GET /console/tokens`
pub(crate) async fn list(visitor: Visitor, RawQuery(query): RawQuery) -> Shown {
    let written = Written::read(query.unwrap_or_default().as_bytes());
    show(&visitor, &written, StatusCode::OK, None, None).await
}

/// `POST /console/tokens`
pub(crate) async fn make(visitor: Visitor, Form(written): Form) -> Shown {
    let scopes: Vec<&str> = written.all("scope").collect();
    let account = Some(written.get("account")).filter(|account| !account.is_empty());
    let days = written.get("days");
    let seconds = match days {
        "" => Value::Null,
        days => days.parse::<u32>().map_or_else(|_| days.into(), |days| (u64::from(days) * 86_400).into()),
    };
    let draft = json!({"title": written.get("title"), "scopes": scopes, "account": account, "expires_in_seconds": seconds});
    match visitor.api.act(Method::POST, "/v1/tokens", Some(draft)).await {
        Ok(made) => {
            let token = made.body["token"].as_str();
            show(&visitor, &Written::default(), StatusCode::CREATED, None, token).await
        }
        Err(refusal) if refusal.is_about_the_question() => {
            show(&visitor, &written, refusal.status, Some(&refusal.detail), None).await
        }
        Err(refusal) => Err(refusal.into()),
    }
}

/// `POST /console/tokens/{id}/revoke`
pub(crate) async fn revoke(visitor: Visitor, Path(id): Path<String>, _form: Form) -> Shown {
    visitor.api.act(Method::DELETE, &format!("/v1/tokens/{}", encoded(&id)), None).await?;
    Ok(done("/console/tokens", "revoked"))
}

async fn show(
    visitor: &Visitor,
    written: &Written,
    status: StatusCode,
    fault: Option<&str>,
    made: Option<&str>,
) -> Shown {
    let shell = visitor.shell(Place::Tokens).await?;
    let asked = format!("/v1/tokens?limit={ROWS}&{}", written.query(&["after"]));
    let Tokens { tokens, next } = visitor.api.get(asked.trim_end_matches('&')).await?;
    let further = further("/console/tokens", "", next.as_ref());
    Ok(page_with(status, &ListPage { shell, tokens, further, written, fault, made }))
}
