//! Request bodies: read whole, within a size, a time and the server's memory for them.

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header, request::Parts};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use crate::{auth::Caller, problem::Problem};

/// Beyond its limit, this much of a body is read and dropped, so that the client gets to see the
/// answer; whoever sends still more is cut off.
const DRAINED: u64 = 16 * 1024 * 1024;

/// A budget's unit: a permit stands for this many bytes.
const UNIT: usize = 1024;

/// The part of the memory for bodies of those who have not shown who they are: one in so many bytes.
const STRANGERS: usize = 16;

/// How long a body that has begun waits for more memory.
const MORE: Duration = Duration::from_secs(5);

/// What requests may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// For one body to arrive.
    pub body_time: Duration,
    /// For a whole request to be answered; more than `body_time`.
    pub request_time: Duration,
    /// Bytes of one structured or binary event, and of a body on the REST routes.
    pub event_bytes: usize,
    /// Bytes of a batch of events, or of a registry's envelope.
    pub batch_bytes: usize,
    /// Events in a batch, or that a registry's notices of one request tell of.
    pub batch_events: usize,
    /// Bytes of all bodies in memory together, a sixteenth of them for callers who have not shown who they are; further
    /// requests wait for their turn.
    pub memory_bytes: usize,
    /// Wrong tokens from one address in a minute, and wrong passwords as well; what follows is answered 429.
    pub wrong_tokens: u32,
    /// Wrong passwords of one account in a minute, wherever they come from; what follows is answered 429.
    pub wrong_passwords: u32,
    /// Mails that ask for a confirmation, to one address in a minute; what follows is answered 429.
    pub letters: u32,
}

impl Default for Limits {
    /// 30 s a body, 60 s a request; 256 KiB an event; 4 MiB and 1000 events a batch; 128 MiB for all;
    /// 100 wrong tokens a minute, 10 wrong passwords of an account; 5 letters to an address.
    fn default() -> Self {
        Self {
            body_time: Duration::from_secs(30),
            request_time: Duration::from_mins(1),
            event_bytes: bellbuoy_domain::MAX_EVENT_BYTES,
            batch_bytes: 4 * 1024 * 1024,
            batch_events: 1000,
            memory_bytes: 128 * 1024 * 1024,
            wrong_tokens: 100,
            wrong_passwords: 10,
            letters: 5,
        }
    }
}

/// Reads bodies within [`Limits`]. Memory is reserved as a body arrives, so that whoever announces much and sends little
/// takes nothing from others.
#[derive(Debug)]
pub(crate) struct Bodies {
    /// For callers who have shown who they are.
    known: Budget,
    /// For everybody else: a part of its own, so that they only keep each other waiting.
    strangers: Budget,
    time: Duration,
}

/// A body, which holds its share of the memory until it is dropped.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) bytes: Bytes,
    /// Whether `bytes` is only the beginning, cut at the limit.
    pub(crate) is_cut: bool,
    _share: Option<OwnedSemaphorePermit>,
}

impl Bodies {
    pub(crate) fn new(limits: &Limits) -> Self {
        let strangers = limits.memory_bytes / STRANGERS;
        Self {
            known: Budget::new(limits.memory_bytes - strangers),
            strangers: Budget::new(strangers),
            time: limits.body_time,
        }
    }

    /// Reads up to `limit` bytes.
    ///
    /// # Errors
    ///
    /// 408 when the body does not end in time, 400 when it breaks off, 503 when the memory for
    /// bodies stays taken.
    pub(crate) async fn read(&self, parts: &Parts, mut body: Body, limit: usize) -> Result<Read, Problem> {
        let is_known = parts.extensions.get::<Caller>().is_some();
        let budget = if is_known { &self.known } else { &self.strangers };
        let deadline = Instant::now() + self.time;
        let mut kept = BytesMut::new();
        let mut share = None;
        let (mut is_cut, mut seen) = (false, 0_u64);
        loop {
            let Ok(frame) = timeout_at(deadline, body.frame()).await else {
                let detail = format!("the body did not end within {:?}", self.time);
                return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail));
            };
            let Some(frame) = frame else { break };
            let frame = frame.map_err(|_| Problem::bad("the body broke off before its end"))?;
            let Ok(data) = frame.into_data() else { continue };
            seen += data.len() as u64;
            let room = limit - kept.len();
            is_cut |= data.len() > room;
            let data = &data[..data.len().min(room)];
            budget.cover(&mut share, kept.len() + data.len(), deadline).await?;
            kept.extend_from_slice(data);
            if seen > DRAINED.saturating_add(limit as u64) {
                break;
            }
        }
        Ok(Read { bytes: kept.freeze(), is_cut, _share: share })
    }

    /// Reads a whole body, or refuses it with 413.
    pub(crate) async fn read_whole(&self, parts: &Parts, body: Body, limit: usize) -> Result<Read, Problem> {
        let read = self.read(parts, body, limit).await?;
        if read.is_cut { Err(too_large(limit)) } else { Ok(read) }
    }
}

/// Memory that bodies share.
#[derive(Debug)]
struct Budget {
    left: Arc<Semaphore>,
    all: u32,
}

impl Budget {
    fn new(bytes: usize) -> Self {
        let units = (bytes / UNIT).clamp(1, Semaphore::MAX_PERMITS);
        Self { left: Arc::new(Semaphore::new(units)), all: u32::try_from(units).unwrap_or(u32::MAX) }
    }

    /// Makes `share` large enough for `bytes`, at least twice what it was. A body that has a share already waits for
    /// [`MORE`] only: if many hold some and all want more, some have to let go.
    async fn cover(
        &self,
        share: &mut Option<OwnedSemaphorePermit>,
        bytes: usize,
        deadline: Instant,
    ) -> Result<(), Problem> {
        let has = share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let needs = bytes.div_ceil(UNIT);
        if needs <= has {
            return Ok(());
        }
        let wants = u32::try_from(needs.max(2 * has)).unwrap_or(u32::MAX).min(self.all);
        let more = wants.saturating_sub(u32::try_from(has).unwrap_or(u32::MAX));
        let until = if has == 0 { deadline } else { deadline.min(Instant::now() + MORE) };
        let turn = Arc::clone(&self.left).acquire_many_owned(more);
        let Ok(Ok(more)) = timeout_at(until, turn).await else {
            return Err(Problem::unavailable("too many requests with large bodies at once; try again"));
        };
        match share {
            Some(share) => share.merge(more),
            None => *share = Some(more),
        }
        Ok(())
    }
}

pub(crate) fn too_large(limit: usize) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("the body is larger than the {limit} bytes that are taken here"),
    )
}

/// Reads a JSON object of one type. An array will not do, although serde would take its items for
/// the members in their order.
///
/// # Errors
///
/// 400 with the path of the member that will not do.
pub(crate) fn object_from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(Problem::bad("the body should be a JSON object"));
    }
    from_json(bytes)
}

/// Reads JSON of one type.
///
/// # Errors
///
/// 400 with the path of the member that will not do.
pub(crate) fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if inner.is_data() && path != "." {
            Problem::bad(format!("`{path}`: {inner}")).with("path", path)
        } else if inner.is_data() {
            Problem::bad(inner.to_string())
        } else {
            Problem::bad(format!("the body is not JSON: {inner}"))
        }
    })?;
    reader.end().map_err(|error| Problem::bad(format!("the body is not JSON: {error}")))?;
    Ok(value)
}

/// The media type of `Content-Type` in lower case, and its `charset` if it names one.
pub(crate) fn media_type(headers: &HeaderMap) -> Option<(String, Option<String>)> {
    let text = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let mut parts = text.split(';');
    let essence = parts.next()?.trim().to_ascii_lowercase();
    let charset = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("charset")
            .then(|| value.trim().trim_matches('"').to_ascii_lowercase())
    });
    Some((essence, charset))
}

/// Refuses a body that does not say that it is JSON.
pub(crate) fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    match media_type(headers) {
        Some((essence, _)) if is_json(&essence) => Ok(()),
        _ => {
            let detail = "send the body as `content-type: application/json`";
            Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail))
        }
    }
}

/// Whether a media type is JSON's, as Flask judges it.
pub(crate) fn is_json(essence: &str) -> bool {
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}
