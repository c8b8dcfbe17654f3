//! The files beside the pages: one style, one script, one picture, part of the program.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::{
    extract::Path,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header};

use crate::page::Fault;

const FILES: &[(&str, &str, &str)] = &[
    ("console.css", "text/css; charset=utf-8", include_str!("../assets/console.css")),
    ("console.js", "text/javascript; charset=utf-8", include_str!("../assets/console.js")),
    ("icon.svg", "image/svg+xml", include_str!("../assets/icon.svg")),
];

/// A file, or that the browser has it already.
pub(crate) async fn serve(Path(wanted): Path<String>, headers: HeaderMap) -> Result<Response, Fault> {
    let found = FILES.iter().find(|(name, ..)| *name == wanted);
    let (_, kind, text) = found.ok_or_else(|| Fault::new(StatusCode::NOT_FOUND, "There is no such file."))?;
    let tag = tag(text);
    let kept = [(header::ETAG, tag.clone()), (header::CACHE_CONTROL, "no-cache".to_owned())];
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| *known == tag) {
        return Ok((StatusCode::NOT_MODIFIED, kept).into_response());
    }
    Ok((kept, [(header::CONTENT_TYPE, *kind)], *text).into_response())
}

fn tag(text: &str) -> String {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}
