//! What a receiver of Docker Hub's payload calls back, and what that means for a chain of webhooks:
//! [the protocol] that Docker Hub had until 2024.
//!
//! ```mermaid
//! stateDiagram-v2
//!     [*] --> Awaited: a request is sent
//!     Awaited --> Success: success, and the next URL of the chain is called
//!     Awaited --> Failure: failure, and the chain ends
//!     Awaited --> Error: error, and the chain ends
//!     Awaited --> Expired: nothing in time, and the chain ends
//!     Expired --> Awaited: the request is sent again
//! ```
//!
//! [the protocol]: https://github.com/docker/docs/commit/7e69e72bff

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

/// Most URLs of a chain after the first.
pub const MAX_CHAIN: usize = 9;

/// Longest `description`, in characters.
const MAX_DESCRIPTION: usize = 255;

/// Longest `context`, in characters.
const MAX_CONTEXT: usize = 100;

/// Longest `target_url`, in bytes.
const MAX_TARGET_URL: usize = 2048;

/// What a receiver says became of its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CallbackState {
    /// It went well.
    Success,
    /// It found fault with the image.
    Failure,
    /// It could not do its work.
    Error,
}

impl CallbackState {
    /// Every state.
    pub const ALL: &[Self] = &[Self::Success, Self::Failure, Self::Error];

    /// The word for it in the callback and in storage.
    pub fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Error => "error",
        }
    }
}

/// What a receiver calls back. Texts that are absent, null or empty are `None`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct Callback {
    /// What became of its work.
    pub state: CallbackState,
    /// In its own words.
    #[serde(default)]
    #[schemars(extend("maxLength" = MAX_DESCRIPTION))]
    pub description: Option<String>,
    /// Who says so, such as `Jenkins`.
    #[serde(default)]
    #[schemars(extend("maxLength" = MAX_CONTEXT))]
    pub context: Option<String>,
    /// Where more of it can be seen: `http` or `https`.
    #[serde(default)]
    #[schemars(extend("maxLength" = MAX_TARGET_URL))]
    pub target_url: Option<String>,
}

impl Callback {
    /// Reads the body of a callback; further members are ignored.
    ///
    /// # Errors
    ///
    /// Names the member that will not do.
    pub fn from_json(bytes: &[u8]) -> Result<Self, CallbackError> {
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err(CallbackError("the body should be a JSON object".to_owned()));
        }
        let mut read: Self = serde_json::from_slice(bytes).map_err(|error| {
            let words = "`state` should be success, failure or error, and the others texts";
            CallbackError(format!("{error}; {words}"))
        })?;
        for text in [&mut read.description, &mut read.context, &mut read.target_url] {
            *text = text.take().filter(|text| !text.is_empty());
        }
        check_length("description", read.description.as_deref(), MAX_DESCRIPTION)?;
        check_length("context", read.context.as_deref(), MAX_CONTEXT)?;
        if let Some(target) = &read.target_url {
            let is_web = |url: &Url| matches!(url.scheme(), "http" | "https");
            if target.len() > MAX_TARGET_URL || !Url::parse(target).is_ok_and(|url| is_web(&url)) {
                let problem =
                    format!("`target_url` should be an http or https URL of up to {MAX_TARGET_URL} bytes");
                return Err(CallbackError(problem));
            }
        }
        Ok(read)
    }
}

fn check_length(name: &str, text: Option<&str>, most: usize) -> Result<(), CallbackError> {
    let length = text.map_or(0, |text| text.chars().count());
    if length > most {
        return Err(CallbackError(format!("`{name}` is {length} characters long, but may be {most}")));
    }
    Ok(())
}

/// What is wrong with a callback's body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CallbackError(String);

/// What becomes of a callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// It is the first for its delivery, and counts.
    First,
    /// It says again what was said before.
    Again,
    /// Another one was first, and stands.
    Contrary,
    /// It came too late.
    TooLate,
}

impl Received {
    /// Judges what comes at `now` for a delivery that `known` was called back for, if anything was, and
    /// whose time is over at `expires_at`.
    pub fn judge(new: &Callback, known: Option<&Callback>, expires_at: Timestamp, now: Timestamp) -> Self {
        match known {
            Some(known) if known == new => Self::Again,
            Some(_) => Self::Contrary,
            None if now >= expires_at => Self::TooLate,
            None => Self::First,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(body: &Value) -> Result<Callback, CallbackError> {
        Callback::from_json(body.to_string().as_bytes())
    }

    fn of(state: CallbackState) -> Callback {
        Callback { state, description: None, context: None, target_url: None }
    }

    #[test]
    fn what_jenkins_sends_is_read() {
        let body = json!({
            "state": "success", "description": "Build result SUCCESS", "context": "Jenkins",
            "target_url": "https://ci.example.com/job/api/7/",
        });
        let read = read(&body).expect("a callback");
        assert_eq!((read.state, read.context.as_deref()), (CallbackState::Success, Some("Jenkins")));
        assert_eq!(read.target_url.as_deref(), Some("https://ci.example.com/job/api/7/"));
    }

    #[test]
    fn what_is_left_out_null_or_empty_is_nothing() {
        for body in [
            json!({"state": "error"}),
            json!({"state": "error", "description": null, "context": "", "target_url": "", "more": 1}),
        ] {
            assert_eq!(read(&body), Ok(of(CallbackState::Error)), "{body}");
        }
    }

    #[test]
    fn texts_may_be_as_long_as_docker_hubs_and_no_longer() {
        for (name, most) in [("description", MAX_DESCRIPTION), ("context", MAX_CONTEXT)] {
            let body = |length| json!({"state": "failure", name: "é".repeat(length)});
            assert!(read(&body(most)).is_ok(), "{name}");
            let refused = read(&body(most + 1)).expect_err("too long").to_string();
            assert!(refused.contains(name) && refused.contains(&most.to_string()), "{refused}");
        }
    }

    #[test]
    fn what_is_no_callback_is_refused() {
        for body in [
            json!({}),
            json!([]),
            json!("success"),
            json!(null),
            json!({"state": "pending"}),
            json!({"state": "SUCCESS"}),
            json!({"state": null}),
            json!({"state": "success", "description": 7}),
            json!({"state": "success", "target_url": "javascript:alert(1)"}),
            json!({"state": "success", "target_url": "not a URL"}),
            json!({"state": "success", "target_url": format!("https://{}", "a".repeat(MAX_TARGET_URL))}),
        ] {
            assert!(read(&body).is_err(), "{body:.80}");
        }
        for bytes in [&b""[..], b"{", b"\xff", b"[\"success\", null, null, null]"] {
            assert!(Callback::from_json(bytes).is_err());
        }
    }

    #[test]
    fn the_first_in_time_counts_its_repetition_is_welcome_and_no_other_is() {
        let (success, failure) = (of(CallbackState::Success), of(CallbackState::Failure));
        let at = |second| Timestamp::constant(second, 0);
        let judge = |known: Option<&Callback>, now| Received::judge(&success, known, at(10), at(now));
        for (known, now, received) in [
            (None, 9, Received::First),
            (None, 10, Received::TooLate),
            (Some(&success), 9, Received::Again),
            (Some(&success), 11, Received::Again),
            (Some(&failure), 9, Received::Contrary),
            (Some(&failure), 11, Received::Contrary),
        ] {
            assert_eq!(judge(known, now), received, "{known:?} at {now}");
        }
    }
}
