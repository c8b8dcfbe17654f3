//! The same request for many dead letters: some at a time, at a pace, with a bar for whoever
//! watches. Each is done or not by itself, so a run can be broken off anywhere and done again.

use std::{fmt, pin::pin, time::Duration};

use http::{Method, StatusCode};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval_at},
};
use uuid::Uuid;

use super::{
    client::{Client, Refusal, Target},
    complain,
    words::count,
};

/// Requests on their way at once.
const AT_ONCE: usize = 8;

/// Refusals that are shown one by one; of more of them only the number.
const SHOWN: usize = 20;

/// What is done to each.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Act {
    Replay { as_event: bool },
    Discard,
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Replay { .. } => "replay",
            Self::Discard => "discard",
        })
    }
}

/// How fast.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// At least so long between two; as fast as the server answers without it.
    pub(crate) each: Option<Duration>,
}

/// What came of a run.
pub(crate) struct Ended {
    pub(crate) tally: Tally,
    /// An error if it was broken off, or any letter was refused.
    pub(crate) result: anyhow::Result<()>,
}

/// How many ended how.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) done: usize,
    /// Their deliveries had gone on already.
    pub(crate) superseded: usize,
    /// Somebody else was faster.
    pub(crate) gone: usize,
    pub(crate) refused: usize,
    pub(crate) left: usize,
}

/// How one ended.
enum One {
    Done,
    Superseded,
    Gone,
    Refused(String),
}

/// Does `act` to all of `ids`, in their order. Ends early when the server can't be reached or says
/// that it can't now, and at Ctrl-C; what is on its way then is waited for.
pub(crate) async fn run(client: &Client, ids: &[Uuid], act: Act, pace: Pace) -> Ended {
    let bar = bar(ids.len());
    let mut tally = Tally { left: ids.len(), ..Tally::default() };
    let mut waiting = ids.iter().copied();
    let mut requests = JoinSet::new();
    let mut turns = pace.each.map(|each| interval_at(Instant::now(), each));
    if let Some(turns) = &mut turns {
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    let mut interrupt = pin!(tokio::signal::ctrl_c());
    let mut broken_off = None;
    loop {
        let may_start = broken_off.is_none() && requests.len() < AT_ONCE && waiting.len() > 0;
        if requests.is_empty() && !may_start {
            break;
        }
        let turn = async {
            if let Some(turns) = &mut turns {
                turns.tick().await;
            }
        };
        tokio::select! {
            biased;
            Some(ended) = requests.join_next() => match ended {
                Ok((id, Ok(one))) => tally.take(id, one, &bar),
                Ok((_, Err(error))) => broken_off = broken_off.or(Some(error)),
                Err(error) => broken_off = broken_off.or(Some(error.into())),
            },
            _ = &mut interrupt, if broken_off.is_none() => {
                broken_off = Some(anyhow::anyhow!("interrupted"));
            }
            () = turn, if may_start => if let Some(id) = waiting.next() {
                let client = client.clone();
                requests.spawn(async move { (id, once(&client, id, act).await) });
            },
        }
    }
    bar.finish_and_clear();
    Ended { tally, result: tally.judge(broken_off) }
}

async fn once(client: &Client, id: Uuid, act: Act) -> anyhow::Result<One> {
    let id = id.to_string();
    let (method, path) = match act {
        Act::Replay { .. } => (Method::POST, &["v1", "dead-letters", &id, "replay"][..]),
        Act::Discard => (Method::DELETE, &["v1", "dead-letters", &id][..]),
    };
    let query = match act {
        Act::Replay { as_event: true } => vec![("as", "event".to_owned())],
        _ => Vec::new(),
    };
    match client.send_to(method, &Target { path, query: &query }, None).await {
        Ok(answer) if answer["outcome"] == "superseded" => Ok(One::Superseded),
        Ok(_) => Ok(One::Done),
        Err(error) => match error.downcast_ref::<Refusal>() {
            Some(refusal) if refusal.status == StatusCode::NOT_FOUND => Ok(One::Gone),
            // Only about this one; any other answer would be the same for all.
            Some(refusal) if refusal.status == StatusCode::CONFLICT => {
                Ok(One::Refused(in_flags(&refusal.detail)))
            }
            _ => Err(error),
        },
    }
}

/// The API's remedy in words of the command line.
fn in_flags(detail: &str) -> String {
    detail.replace("`?as=event`", "`--as-event`")
}

impl Tally {
    fn take(&mut self, id: Uuid, one: One, bar: &ProgressBar) {
        self.left -= 1;
        bar.inc(1);
        match one {
            One::Done => self.done += 1,
            One::Superseded => self.superseded += 1,
            One::Gone => self.gone += 1,
            One::Refused(detail) => {
                self.refused += 1;
                match self.refused {
                    1..=SHOWN => bar.suspend(|| complain(&format!("bellbuoy: {id}: {detail}"))),
                    refused if refused == SHOWN + 1 => {
                        bar.suspend(|| complain("bellbuoy: more were refused, which are not shown"));
                    }
                    _ => {}
                }
            }
        }
    }

    fn judge(self, broken_off: Option<anyhow::Error>) -> anyhow::Result<()> {
        match broken_off {
            Some(error) => {
                let left = count(self.left, "dead letter");
                Err(error.context(format!("broken off with {left} left; run it again to go on")))
            }
            None if self.refused > 0 => {
                anyhow::bail!("{} refused and stay where they are", count(self.refused, "dead letter"))
            }
            None => Ok(()),
        }
    }

    pub(crate) fn to_json(self) -> Value {
        json!({
            "done": self.done,
            "superseded": self.superseded,
            "gone": self.gone,
            "refused": self.refused,
            "left": self.left,
        })
    }

    /// `replayed 10 dead letters, 1 had gone on already`.
    pub(crate) fn to_text(self, act: Act) -> String {
        let done = match act {
            Act::Replay { .. } => "replayed",
            Act::Discard => "discarded",
        };
        let mut parts = vec![format!("{done} {}", count(self.done, "dead letter"))];
        for (how_many, what) in [
            (self.superseded, "had gone on already"),
            (self.gone, "gone already"),
            (self.refused, "refused"),
            (self.left, "left"),
        ] {
            if how_many > 0 {
                parts.push(format!("{how_many} {what}"));
            }
        }
        parts.join(", ")
    }
}

/// A bar on standard error, which draws nothing unless that is a terminal.
fn bar(length: usize) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(length as u64), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len}  {per_sec}  {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_names_what_there_was() {
        let tally = Tally { done: 10, superseded: 1, gone: 0, refused: 2, left: 3 };
        assert_eq!(
            tally.to_text(Act::Replay { as_event: false }),
            "replayed 10 dead letters, 1 had gone on already, 2 refused, 3 left"
        );
        let one = Tally { done: 1, ..Tally::default() };
        assert_eq!(one.to_text(Act::Discard), "discarded 1 dead letter");
    }

    #[test]
    fn a_remedy_names_the_flag_and_not_the_parameter() {
        let said = in_flags("its bytes could not be read; add `?as=event` to try them once more");
        assert_eq!(said, "its bytes could not be read; add `--as-event` to try them once more");
    }

    #[test]
    fn only_a_run_that_did_all_is_a_success() {
        let all = Tally { done: 3, superseded: 1, gone: 1, ..Tally::default() };
        assert!(all.judge(None).is_ok());
        assert!(Tally { refused: 1, ..all }.judge(None).is_err());
        let cut = Tally { left: 2, ..all }.judge(Some(anyhow::anyhow!("interrupted")));
        let text = format!("{:#}", cut.expect_err("broken off"));
        assert_eq!(text, "broken off with 2 dead letters left; run it again to go on: interrupted");
    }
}
