//! The client: one request, one report, within one deadline.

use std::{
    fmt,
    pin::{Pin, pin},
    time::Duration,
};

use bellbuoy_domain::{Cause, CauseCode, SuccessStatuses};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper_util::client::legacy::connect::{CaptureConnection, Connected, capture_connection};
use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    OwnTls, Target,
    answer::{Steering, judge, steering},
    dial::Since,
    fault::{HeadLimits, cause_of},
    pools::{Pool, Pools},
};
use crate::{Outbound, Report, SetupError};

/// The longest that the body of an answer which is not a 2xx is waited for. Its head has said
/// everything; the body is read only so that the connection can be used again.
const DRAIN: Duration = Duration::from_millis(250);

/// Sends requests to receivers. One for the process: it holds the pool of connections.
///
/// It looks at no proxy settings of the environment, follows no redirect unless it is told to, asks for
/// no compressed answer and repeats nothing that may have left the machine. Only a request of which no byte
/// was written (a pooled connection turned out to be closed) is written once more elsewhere.
pub struct Client {
    pools: Pools,
    user_agent: HeaderValue,
    deadline: Duration,
    head_timeout: Duration,
    max_age: Duration,
    max_body: usize,
    head: HeadLimits,
}

/// A request and what its answer means.
#[derive(Clone)]
pub struct Sending<'a> {
    /// Its method.
    pub method: Method,
    /// Where it goes.
    pub url: &'a str,
    /// Its headers; without a `user-agent` it gets ours.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// Which statuses mean that it was taken; `None` for the 200s.
    pub success: Option<&'a SuccessStatuses>,
    /// Whether a 307 or 308 is followed: the same method and body, at most [`MOST_REDIRECTS`] times, not
    /// from `https` to `http`.
    pub follow: bool,
    /// Who says whether another host may be asked to which that leads; `None` for any.
    pub may_follow: Option<&'a dyn MayFollow>,
    /// Headers that are for the URL's own origin alone: not sent along to another.
    pub private: &'a [HeaderName],
    /// What its notification wants of TLS, for the URL's own origin alone; `None` for what the operator does.
    pub tls: Option<OwnTls<'a>>,
}

impl<'a> Sending<'a> {
    /// A request without headers and with nothing out of the ordinary about it.
    fn plain(method: Method, url: &'a str, body: Bytes) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            body,
            success: None,
            follow: false,
            may_follow: None,
            private: &[],
            tls: None,
        }
    }
}

/// Without its URL, headers and body, any of which may be secret.
impl fmt::Debug for Sending<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending").field("method", &self.method).finish_non_exhaustive()
    }
}

/// Says whether a request may go on to another host, to which a redirect leads, so that a cap on what is in flight there
/// holds for it too. A trait because whoever keeps the caps is above this crate.
pub trait MayFollow: Send + Sync {
    /// Whether `host` (`name:port`) may be asked as well. May wait; the request's deadline goes on meanwhile.
    fn may_follow(&self, host: String) -> Leave<'_>;
}

/// An answer of [`MayFollow`].
pub type Leave<'a> = Pin<Box<dyn Future<Output = bool> + Send + 'a>>;

/// Most redirects that one request follows.
pub const MOST_REDIRECTS: usize = 3;

impl Client {
    /// Builds the client.
    ///
    /// # Errors
    ///
    /// When a certificate, a key or the user agent of `settings` is not usable.
    pub fn new(settings: Outbound) -> Result<Self, SetupError> {
        let user_agent = HeaderValue::try_from(&settings.user_agent)
            .map_err(|_| SetupError::UserAgent(settings.user_agent.clone()))?;
        let head = HeadLimits { bytes: settings.max_header_bytes.max(8 * 1024) };
        Ok(Self {
            user_agent,
            head,
            deadline: settings.deadline,
            head_timeout: settings.head_timeout,
            max_age: settings.pool_max_age,
            max_body: settings.max_response_bytes,
            pools: Pools::new(settings, head)?,
        })
    }

    /// Posts `body` to `url`. Success is a whole answer with a status in the 200s, within the
    /// deadline and the limits; everything else is a cause. `now` is what dates in the answer are
    /// measured from.
    pub async fn post(&self, url: &str, headers: HeaderMap, body: Bytes, now: Timestamp) -> Report {
        self.send(Sending { headers, ..Sending::plain(Method::POST, url, body) }, now).await
    }

    /// The same, with the first `kept` bytes of the answer's body; `None` where none came or it broke off.
    pub(crate) async fn post_and_read(
        &self,
        url: &str,
        headers: HeaderMap,
        body: Bytes,
        (now, kept): (Timestamp, usize),
    ) -> (Report, Option<Vec<u8>>) {
        let sending = Sending { headers, ..Sending::plain(Method::POST, url, body) };
        let mut read = Vec::new();
        let (report, is_whole) = self
            .exchange(sending, now, |data| {
                read.extend_from_slice(&data[..data.len().min(kept - read.len())]);
            })
            .await;
        (report, is_whole.then_some(read))
    }

    /// Sends a request. Success is a whole answer with a status that means so, within the deadline and
    /// the limits; everything else is a cause. Redirects that are followed count towards the same
    /// deadline. `now` is what dates in the answer are measured from.
    pub async fn send(&self, sending: Sending<'_>, now: Timestamp) -> Report {
        self.exchange(sending, now, |_| ()).await.0
    }

    /// The same, with each piece of the last answer's body shown to `keep`; and whether that came to its end.
    async fn exchange(
        &self,
        mut sending: Sending<'_>,
        now: Timestamp,
        mut keep: impl FnMut(&[u8]),
    ) -> (Report, bool) {
        let mut target = match Target::parse(sending.url) {
            Ok(target) => target,
            Err(error) => return (Report::deferred(CauseCode::Blocked, error.to_string()), false),
        };
        let mut pool = match self.pools.of(sending.tls.as_ref()) {
            Ok(pool) => pool,
            Err(problem) => return (Report::deferred(CauseCode::Tls, problem), false),
        };
        let begun = Instant::now();
        let until = begun + self.deadline;
        let mut left = if sending.follow { MOST_REDIRECTS } else { 0 };
        loop {
            let (response, connection) = match self.ask(&pool, &sending, &target, until).await {
                Ok(answered) => answered,
                Err(report) => return (report, false),
            };
            self.retire_if_old(&response, &connection);
            let status = response.status();
            let taken = match sending.success {
                Some(success) => success.contains(status.as_u16()),
                None => status.is_success(),
            };
            if taken {
                return self.whole(response, until, &connection, keep).await;
            }
            let next = if left > 0 { redirected(&response, &target) } else { None };
            let waited = SignedDuration::try_from(begun.elapsed()).unwrap_or(SignedDuration::ZERO);
            let now = now.saturating_add(waited).unwrap_or(now);
            let report = judge(status, response.headers(), &target.url, now);
            let is_last = next.is_none();
            let kept = |data: &[u8]| {
                if is_last {
                    keep(data);
                }
            };
            let drained = timeout(DRAIN, read_body(response.into_body(), self.max_body, kept)).await;
            if drained.is_err() {
                retire(&connection);
            }
            let Some(next) = next else { return (report, matches!(drained, Ok(Ok(())))) };
            if next.authority() != target.authority() && !may_follow(&sending, &next).await {
                let detail = "a redirect leads to a host that may have no further request now";
                return (Report::deferred(CauseCode::ReceiverBusy, detail), false);
            }
            if next.url.origin() != target.url.origin() {
                for name in sending.private {
                    sending.headers.remove(name);
                }
                pool = self.pools.usual();
            }
            (target, left) = (next, left - 1);
        }
    }

    /// Fetches a document: the whole body of an answer with a status in the 200s, within the deadline and the limits.
    /// No redirect is followed.
    ///
    /// # Errors
    ///
    /// Why it did not come.
    pub async fn fetch(&self, url: &str, now: Timestamp) -> Result<Bytes, Cause> {
        let target = Target::parse(url).map_err(|error| Cause::new(CauseCode::Blocked, error.to_string()))?;
        let sending = Sending::plain(Method::GET, url, Bytes::new());
        let pool = self.pools.of(None).map_err(|problem| Cause::new(CauseCode::Tls, problem))?;
        let why = |report: Report| {
            let cause = report.outcome.cause().cloned();
            cause.unwrap_or_else(|| Cause::new(CauseCode::Internal, "no answer and no reason"))
        };
        let until = Instant::now() + self.deadline;
        let (response, connection) = self.ask(&pool, &sending, &target, until).await.map_err(why)?;
        self.retire_if_old(&response, &connection);
        if !response.status().is_success() {
            retire(&connection);
            return Err(why(judge(response.status(), response.headers(), &target.url, now)));
        }
        let mut document = BytesMut::new();
        let read = read_body(response.into_body(), self.max_body, |data| document.extend_from_slice(data));
        match timeout_at(until, read).await {
            Ok(Ok(())) => Ok(document.freeze()),
            Ok(Err(error)) => Err(self.broken(error)),
            Err(_) => Err(self.overdue(&connection)),
        }
    }

    /// Sends a request to one place and waits for the head of the answer.
    async fn ask(
        &self,
        pool: &Pool,
        sending: &Sending<'_>,
        target: &Target,
        until: Instant,
    ) -> Result<(Response<Incoming>, CaptureConnection), Report> {
        let mut request = Request::new(Full::new(sending.body.clone()));
        *request.method_mut() = sending.method.clone();
        *request.uri_mut() = target.uri.clone();
        *request.headers_mut() = sending.headers.clone();
        request.headers_mut().entry(header::USER_AGENT).or_insert_with(|| self.user_agent.clone());
        let connection = capture_connection(&mut request);
        let mut connected = connection.clone();
        let mut answering = pin!(pool.request(request));
        // Until it has a connection, only the deadline counts.
        let early = tokio::select! {
            biased;
            answered = timeout_at(until, &mut answering) => Some(answered),
            () = is_connected(&mut connected) => None,
        };
        let head_by = until.min(Instant::now() + self.head_timeout);
        let answered = match early {
            Some(answered) => answered,
            None => timeout_at(head_by, answering).await,
        };
        let cause = match answered {
            Ok(Ok(response)) => return Ok((response, connection)),
            Ok(Err(error)) => cause_of(&error, self.head),
            Err(_) if head_by < until && retire(&connection) => Cause::new(
                CauseCode::Timeout,
                format!("no answer within {:?} of the request", self.head_timeout),
            ),
            Err(_) => self.overdue(&connection),
        };
        Err(Report::deferred_after(None, cause, None))
    }

    /// Waits for the rest of an answer that means success.
    async fn whole(
        &self,
        response: Response<Incoming>,
        until: Instant,
        connection: &CaptureConnection,
        keep: impl FnMut(&[u8]),
    ) -> (Report, bool) {
        let status = Some(response.status().as_u16());
        let was_last = steering(response.headers()) == Some(Steering::Disable);
        let cause = match timeout_at(until, read_body(response.into_body(), self.max_body, keep)).await {
            Ok(Ok(())) => return (Report { was_last, ..Report::delivered(status) }, true),
            Ok(Err(error)) => self.broken(error),
            Err(_) => {
                retire(connection);
                let detail = format!("the answer was not whole within {:?}", self.deadline);
                Cause::new(CauseCode::Timeout, detail)
            }
        };
        (Report::deferred_after(status, cause, None), false)
    }

    fn broken(&self, error: BodyError) -> Cause {
        match error {
            BodyError::TooLarge => {
                let detail = format!("the body of the answer was larger than {} bytes", self.max_body);
                Cause::new(CauseCode::ResponseTooLarge, detail)
            }
            BodyError::Broken(error) => cause_of(&error, self.head),
        }
    }

    fn overdue(&self, connection: &CaptureConnection) -> Cause {
        let what = if retire(connection) { "answer" } else { "connection" };
        Cause::new(CauseCode::Timeout, format!("no {what} within {:?}", self.deadline))
    }

    fn retire_if_old(&self, response: &Response<Incoming>, connection: &CaptureConnection) {
        let old = |Since(since): &Since| since.elapsed() > self.max_age;
        if response.extensions().get().is_some_and(old) {
            retire(connection);
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

/// Waits until a request has a connection.
async fn is_connected(connection: &mut CaptureConnection) {
    let _metadata = connection.wait_for_connection_metadata().await;
}

/// Sees to it that the request's connection is used for no other. False if it had none yet.
fn retire(connection: &CaptureConnection) -> bool {
    let metadata = connection.connection_metadata();
    metadata.as_ref().map(Connected::poison).is_some()
}

/// Where a 307 or 308 leads, if a request may follow it there.
fn redirected(response: &Response<Incoming>, from: &Target) -> Option<Target> {
    if !matches!(response.status(), StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT) {
        return None;
    }
    let location = response.headers().get(header::LOCATION)?.to_str().ok()?;
    let next = Target::parse(from.url.join(location).ok()?.as_str()).ok()?;
    // What was private on its way must not be open from here on.
    (from.url.scheme() != "https" || next.url.scheme() == "https").then_some(next)
}

async fn may_follow(sending: &Sending<'_>, next: &Target) -> bool {
    match sending.may_follow {
        Some(keeper) => keeper.may_follow(next.authority()).await,
        None => true,
    }
}

enum BodyError {
    TooLarge,
    Broken(hyper::Error),
}

/// Reads a body to its end, shows each piece to `keep`, and drops it. Dropping one that is not at its end, as when it is
/// too large, closes the connection.
async fn read_body(mut body: Incoming, most: usize, mut keep: impl FnMut(&[u8])) -> Result<(), BodyError> {
    if body.size_hint().lower() > most as u64 {
        return Err(BodyError::TooLarge);
    }
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(BodyError::Broken)?;
        let Some(data) = frame.data_ref() else { continue };
        read += data.len();
        if read > most {
            return Err(BodyError::TooLarge);
        }
        keep(data);
    }
    Ok(())
}
