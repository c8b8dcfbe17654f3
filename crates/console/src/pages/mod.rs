//! The pages, one a file.

pub(crate) mod audit;
pub(crate) mod dead_letters;
pub(crate) mod deliveries;
pub(crate) mod events;
pub(crate) mod inbox;
pub(crate) mod notification_form;
pub(crate) mod notifications;
pub(crate) mod overview;
pub(crate) mod sign_in;
pub(crate) mod tokens;

use axum::response::Response;

use crate::page::Fault;

/// A page, or why there is none.
type Shown = Result<Response, Fault>;

/// Rows of a list.
const ROWS: &str = "50";

/// The path of a list's next page: the same filters, from `next` on.
fn further(path: &str, filters: &str, next: Option<&String>) -> Option<String> {
    let next = crate::page::encoded(next?);
    let and = if filters.is_empty() { "" } else { "&" };
    Some(format!("{path}?{filters}{and}after={next}"))
}
