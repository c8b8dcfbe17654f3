//! Who looks at a page: a browser that carries a credential.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::{Method, StatusCode, Uri, request::Parts};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    Console,
    api::{Api, Connection, Refusal},
    cookies,
    page::{Fault, Place, Shell, said},
    shapes::{Audit, Inbox},
};

/// A browser that is signed in, as far as its cookies tell: whether they hold is for the API to say, which is asked before a
/// form is read.
#[derive(Debug)]
pub(crate) struct Visitor {
    pub(crate) api: Api,
    uri: Uri,
}

#[derive(Debug, Deserialize)]
struct Who {
    username: String,
}

impl Visitor {
    /// What stands around every page.
    pub(crate) async fn shell(&self, place: Place) -> Result<Shell, Refusal> {
        let who = match self.api.get::<Who>("/api/v1/user/").await {
            Ok(who) => who,
            Err(refusal) if refusal.status == StatusCode::UNAUTHORIZED => return Err(refusal),
            // A token for one purpose alone may not even ask that.
            Err(_) => Who { username: "a token".to_owned() },
        };
        // Only accounts have an inbox.
        let inbox = self.api.get::<Inbox>("/v1/inbox?limit=100").await.ok();
        // Whoever is shown everything, by rank or as one who may only look.
        let sees_all = self.api.get::<Audit>("/v1/audit?limit=1").await.is_ok();
        Ok(Shell {
            place,
            who: who.username,
            sees_all,
            unread: inbox.map(|inbox| inbox.unread()),
            said: self.uri.query().and_then(said),
        })
    }
}

impl FromRequestParts<Arc<Console>> for Visitor {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, console: &Arc<Console>) -> Result<Self, Fault> {
        let credential = cookies::credential(&parts.headers).ok_or_else(Fault::stranger)?;
        let api = Api::new(console.api.clone(), credential, Connection::of(&parts.extensions));
        if parts.method != Method::GET {
            // No stranger has a form read, which takes memory.
            match api.get::<Value>("/api/v1/user/").await {
                Err(refusal) if refusal.status != StatusCode::FORBIDDEN => return Err(refusal.into()),
                _ => {}
            }
        }
        Ok(Self { api, uri: parts.uri.clone() })
    }
}
