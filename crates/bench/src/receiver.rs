//! The receiver, as a process of its own with one thread. It answers 200, and remembers of each group of
//! requests when they arrived, how long after the making of their event, and how many were repeats.
//!
//! ```text
//! /hook/GROUP/...   a request of that group
//! /dead/...         accepted and never answered
//! /seen/GROUP       how many different ones arrived
//! /take/GROUP       all that is known of the group, which begins anew
//! ```
//!
//! The time of making stands in the body as `"t-MICROSECONDS`; a request is known by its `webhook-id`.

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Collected, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::figures::{micros_now, percentile_ms};

/// What the line begins with that says where it listens.
pub(crate) const ANNOUNCEMENT: &str = "receiver listens on";

/// The mark before the time in a body.
pub(crate) const MADE: &str = "\"t-";

pub(crate) fn run() -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        announce(&listener.local_addr()?.to_string());
        let groups = Arc::<Mutex<Groups>>::default();
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let groups = Arc::clone(&groups);
            tokio::spawn(async move {
                let answer = service_fn(move |request| answer(request, Arc::clone(&groups)));
                let _ = hyper::server::conn::http1::Builder::new()
                    .pipeline_flush(true)
                    .serve_connection(TokioIo::new(stream), answer)
                    .await;
            });
        }
    })
}

#[expect(clippy::print_stdout, reason = "tells its parent where it listens")]
fn announce(address: &str) {
    println!("{ANNOUNCEMENT} {address}");
}

type Groups = HashMap<String, Arrivals>;

/// What arrived of one group.
#[derive(Debug, Default)]
struct Arrivals {
    first: u64,
    last: u64,
    repeats: u64,
    ids: HashSet<Box<[u8]>>,
    ages: Vec<u64>,
}

impl Arrivals {
    fn note(&mut self, now: u64, id: &[u8], made: Option<u64>) {
        if !self.ids.insert(id.into()) {
            self.repeats += 1;
            return;
        }
        if self.ids.len() == 1 {
            self.first = now;
        }
        self.last = now;
        self.ages.extend(made.map(|made| now.saturating_sub(made)));
    }

    fn into_json(mut self) -> Value {
        self.ages.sort_unstable();
        json!({
            "seen": self.ids.len(), "repeats": self.repeats, "first": self.first, "last": self.last,
            "p50_ms": percentile_ms(&self.ages, 50), "p99_ms": percentile_ms(&self.ages, 99),
        })
    }
}

async fn answer(
    request: Request<Incoming>,
    groups: Arc<Mutex<Groups>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let now = micros_now();
    let path = request.uri().path().to_owned();
    let mut steps = path.split('/').skip(1);
    let (verb, group) = (steps.next().unwrap_or_default(), steps.next().unwrap_or_default());
    let id = request.headers().get("webhook-id").map(|id| id.as_bytes().to_vec()).unwrap_or_default();
    let body = request.into_body().collect().await.map(Collected::to_bytes).unwrap_or_default();
    if verb == "dead" {
        std::future::pending::<()>().await;
    }
    let mut groups = groups.lock().unwrap_or_else(PoisonError::into_inner);
    let answer = match verb {
        "seen" => json!({"seen": groups.get(group).map_or(0, |arrivals| arrivals.ids.len())}),
        "take" => groups.remove(group).unwrap_or_default().into_json(),
        _ => {
            match groups.get_mut(group) {
                Some(arrivals) => arrivals.note(now, &id, made_at(&body)),
                None => groups.entry(group.to_owned()).or_default().note(now, &id, made_at(&body)),
            }
            return Ok(Response::new(Full::default()));
        }
    };
    Ok(Response::new(Full::from(answer.to_string())))
}

fn made_at(body: &[u8]) -> Option<u64> {
    let start = body.windows(MADE.len()).position(|window| window == MADE.as_bytes())? + MADE.len();
    let digits = body[start..].iter().take_while(|byte| byte.is_ascii_digit());
    digits.map(|byte| char::from(*byte)).collect::<String>().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_making_is_read_out_of_any_body() {
        assert_eq!(
            made_at(b"{\"updated_tags\": [\"t-1700000000000001\", \"0xx\"]}"),
            Some(1_700_000_000_000_001)
        );
        assert_eq!(made_at(b"{}"), None);
    }

    #[test]
    fn a_repeat_is_counted_apart_and_moves_no_figure() {
        let mut arrivals = Arrivals::default();
        arrivals.note(10, b"a", Some(4));
        arrivals.note(20, b"b", Some(12));
        arrivals.note(90, b"a", Some(4));
        let told = arrivals.into_json();
        assert_eq!((&told["seen"], &told["repeats"], &told["last"]), (&json!(2), &json!(1), &json!(20)));
    }
}
