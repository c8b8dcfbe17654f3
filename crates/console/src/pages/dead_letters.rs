//! Dead letters: which there are, why, and sending them on their way again or discarding them.

use askama::Template;
use axum::extract::{Path, RawQuery};
use bellbuoy_domain::{DeadReason, MethodName};
use http::{Method, StatusCode};

use super::{ROWS, Shown, further};
use crate::{
    api::Refusal,
    form::Written,
    form_body::Form,
    page::{Fault, Place, Shell, done, encoded, page},
    shapes::{DeadLetter, DeadLetters, WholeDeadLetter},
    visitor::Visitor,
};

/// What a list can be narrowed by.
const FILTERS: &[&str] = &["reason", "method", "notification", "subject", "origin"];

/// The most of a body that a page shows, in bytes.
const SHOWN_BODY: usize = 64 * 1024;

#[derive(Template)]
#[template(path = "dead_letters.html")]
struct ListPage {
    shell: Shell,
    written: Written,
    letters: Vec<DeadLetter>,
    filters: String,
    further: Option<String>,
    fault: Option<String>,
}

#[derive(Template)]
#[template(path = "dead_letter.html")]
struct OnePage {
    shell: Shell,
    letter: DeadLetter,
    body: String,
    encoding: String,
    is_cut: bool,
}

/// What several acts at once came to.
#[derive(Template)]
#[template(path = "dead_letters_done.html")]
struct ManyPage {
    shell: Shell,
    act: &'static str,
    count: usize,
    /// Those that it was not done to, and why.
    refused: Vec<(String, String)>,
    back: String,
}

/// `GET /console/dead-letters`
pub(crate) async fn list(visitor: Visitor, RawQuery(query): RawQuery) -> Shown {
    let written = Written::read(query.unwrap_or_default().as_bytes());
    let shell = visitor.shell(Place::DeadLetters).await?;
    let filters = written.query(FILTERS);
    let asked = format!("/v1/dead-letters?limit={ROWS}&{filters}&{}", written.query(&["after"]));
    let (found, fault) = match visitor.api.get::<DeadLetters>(asked.trim_end_matches('&')).await {
        Ok(found) => (found, None),
        Err(refusal) if refusal.is_about_the_question() => {
            (DeadLetters { dead_letters: Vec::new(), next: None }, Some(refusal.detail))
        }
        Err(refusal) => return Err(refusal.into()),
    };
    let further = further("/console/dead-letters", &filters, found.next.as_ref());
    Ok(page(&ListPage { shell, written, letters: found.dead_letters, filters, further, fault }))
}

/// `GET /console/dead-letters/{id}`
pub(crate) async fn show(visitor: Visitor, Path(id): Path<String>) -> Shown {
    let shell = visitor.shell(Place::DeadLetters).await?;
    let whole: WholeDeadLetter = visitor.api.get(&format!("/v1/dead-letters/{}", encoded(&id))).await?;
    let WholeDeadLetter { letter, mut body, body_encoding: encoding } = whole;
    let is_cut = body.len() > SHOWN_BODY;
    body.truncate(body.floor_char_boundary(SHOWN_BODY));
    Ok(page(&OnePage { shell, letter, body, encoding, is_cut }))
}

/// `POST /console/dead-letters/{id}/{act}`
pub(crate) async fn act(
    visitor: Visitor,
    Path((id, act)): Path<(String, String)>,
    Form(written): Form,
) -> Shown {
    let as_event = written.has("as", "event");
    let act = known(&act)?;
    do_one(&visitor, act, &id, as_event).await?;
    Ok(done("/console/dead-letters", act))
}

/// `POST /console/dead-letters`: the same for each that was chosen.
pub(crate) async fn act_on_many(visitor: Visitor, Form(written): Form) -> Shown {
    let act = known(written.get("act"))?;
    let chosen: Vec<&str> = written.all("id").collect();
    if chosen.is_empty() {
        return Err(Fault::new(StatusCode::BAD_REQUEST, "Choose at least one dead letter first."));
    }
    let mut refused = Vec::new();
    for id in &chosen {
        if let Err(refusal) = do_one(&visitor, act, id, false).await {
            refused.push(((*id).to_owned(), refusal.detail));
        }
    }
    let filters = written.get("filters");
    let back = if filters.is_empty() {
        "/console/dead-letters".to_owned()
    } else {
        format!("/console/dead-letters?{}", Written::read(filters.as_bytes()).query(FILTERS))
    };
    if refused.is_empty() {
        return Ok(done(&back, act));
    }
    let shell = visitor.shell(Place::DeadLetters).await?;
    let count = chosen.len() - refused.len();
    Ok(page(&ManyPage { shell, act, count, refused, back }))
}

async fn do_one(visitor: &Visitor, act: &str, id: &str, as_event: bool) -> Result<(), Refusal> {
    let path = format!("/v1/dead-letters/{}", encoded(id));
    match act {
        "replay" => {
            let query = if as_event { "?as=event" } else { "" };
            visitor.api.act(Method::POST, &format!("{path}/replay{query}"), None).await?;
        }
        _ => {
            visitor.api.act(Method::DELETE, &path, None).await?;
        }
    }
    Ok(())
}

fn known(act: &str) -> Result<&'static str, Fault> {
    let found = ["replay", "discard"].into_iter().find(|known| *known == act);
    found.ok_or_else(|| Fault::new(StatusCode::NOT_FOUND, "There is no such act."))
}
