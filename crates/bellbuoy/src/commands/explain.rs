//! `bellbuoy explain`: an event, and what it means to every notification that could have wanted it; or a notification,
//! and why nothing came of it.

use std::collections::HashMap;

use bellbuoy_domain::NotificationId;
use clap::{ArgGroup, Parser};
use http::{Method, StatusCode};
use serde_json::Value;

use super::{
    Common,
    client::{Client, Refusal, Target},
    complain, print, print_json,
    table::{Table, pairs},
    talk,
    words::{id, text, time},
};

/// The most deliveries of an event that are looked at.
const DELIVERIES: usize = 10_000;

/// Say which notifications an event matched, what became of it there, and why not the others; or why nothing came of
/// a notification.
#[derive(Debug, Parser)]
#[command(group = ArgGroup::new("what").args(["event", "notification"]).required(true).multiple(true))]
#[command(after_help = "Examples:
  bellbuoy explain 9f6c2f8e --source registry.example.com
  bellbuoy explain --notification 0b6b1f0e-6f0e-4d7b-9a3a-3d0c9d8d5a11
  bellbuoy explain 9f6c2f8e \\
      --notification 0b6b1f0e-6f0e-4d7b-9a3a-3d0c9d8d5a11")]
pub(crate) struct Explain {
    /// The event's id.
    event: Option<String>,
    /// Of this source, where several use the same ids.
    #[arg(long, requires = "event")]
    source: Option<String>,
    /// What the event is to this notification alone, whatever its scope; without an event, why nothing came of it.
    #[arg(long, value_name = "ID", value_parser = id::<NotificationId>)]
    notification: Option<NotificationId>,
    #[command(flatten)]
    common: Common,
}

pub(crate) fn run(args: &Explain) -> anyhow::Result<()> {
    talk(&args.common.connection, async |client| {
        let Some(event) = &args.event else {
            return explain_notification(&client, args.notification, args.common.json).await;
        };
        let notification = args.notification.map(|id| ("notification", id.to_string()));
        let source = args.source.iter().map(|source| ("source", source.clone()));
        let query: Vec<_> = source.chain(notification).collect();
        let target = Target { path: &["v1", "events", event], query: &query };
        let found = client.send_to(Method::GET, &target, None).await?;
        if args.common.json {
            return print_json(&found);
        }
        for (index, event) in found["events"].as_array().into_iter().flatten().enumerate() {
            if index > 0 {
                print("")?;
            }
            explain(&client, event, args.notification).await?;
        }
        Ok(())
    })
}

async fn explain(client: &Client, event: &Value, of: Option<NotificationId>) -> anyhow::Result<()> {
    print(&pairs(&[
        ("event", text(&event["id"])),
        ("source", text(&event["source"])),
        ("kind", text(&event["kind"])),
        ("subject", text(&event["subject"])),
        ("accepted at", text(&event["accepted_at"])),
        ("expanded", if event["fanned_out"] == true { "yes" } else { "not yet" }.to_owned()),
    ]))?;
    let considered = considered(client, event, of).await?;
    // A push of several tags may be several deliveries of one notification.
    let mut made: HashMap<String, Vec<Value>> = HashMap::new();
    for row in deliveries(client, event, of, &considered).await? {
        made.entry(text(&row["notification"])).or_default().push(row);
    }
    let mut table = Table::new(&["NOTIFICATION", "TITLE", "METHOD", "DELIVERY", "WHAT AND WHY"]);
    for one in &considered {
        let rows = made.remove(&text(&one["notification"])).unwrap_or_default();
        let deliveries = if rows.is_empty() { vec![None] } else { rows.iter().map(Some).collect() };
        for delivery in deliveries {
            table.add([
                text(&one["notification"]),
                text(&one["title"]),
                text(&one["method"]),
                delivery.map_or_else(|| "-".to_owned(), |row| text(&row["id"])),
                what(one, delivery, event["fanned_out"] == true),
            ]);
        }
    }
    for (notification, row) in made
        .into_iter()
        .flat_map(|(notification, rows)| rows.into_iter().map(move |row| (notification.clone(), row)))
    {
        let what = format!("{}; the notification is gone", state(&row));
        table.add([notification, "-".to_owned(), text(&row["method"]), text(&row["id"]), what]);
    }
    if table.is_empty() {
        complain("no notification is for what it is about");
        return Ok(());
    }
    print(&format!("\n{table}"))
}

/// What the event means to each notification that it could be for, those of further answers too.
async fn considered(
    client: &Client,
    event: &Value,
    of: Option<NotificationId>,
) -> anyhow::Result<Vec<Value>> {
    let mut all: Vec<Value> = event["considered"].as_array().cloned().unwrap_or_default();
    let (id, mut next) = (text(&event["id"]), event["next"].as_str().map(str::to_owned));
    while let Some(after) = next.take() {
        let mut query = vec![("source", text(&event["source"])), ("after", after)];
        query.extend(of.map(|id| ("notification", id.to_string())));
        let target = Target { path: &["v1", "events", &id], query: &query };
        let found = client.send_to(Method::GET, &target, None).await?;
        all.extend(found["events"][0]["considered"].as_array().cloned().unwrap_or_default());
        next = found["events"][0]["next"].as_str().map(str::to_owned);
    }
    Ok(all)
}

/// What became of the event at every notification, also those that are gone; for one who may not see everything, at each
/// that it was shown.
async fn deliveries(
    client: &Client,
    event: &Value,
    of: Option<NotificationId>,
    considered: &[Value],
) -> anyhow::Result<Vec<Value>> {
    let list = async |notification: Option<String>| {
        let mut query = vec![("event", text(&event["id"])), ("source", text(&event["source"]))];
        query.extend(notification.map(|id| ("notification", id)));
        let (rows, _) = client.pages("deliveries", "deliveries", query).first(DELIVERIES, |_| true).await?;
        anyhow::Ok(rows)
    };
    match list(of.map(|id| id.to_string())).await {
        Err(error) if of.is_none() && is_forbidden(&error) => {}
        listed => return listed,
    }
    let mut rows = Vec::new();
    for one in considered {
        rows.extend(list(Some(text(&one["notification"]))).await?);
    }
    Ok(rows)
}

fn is_forbidden(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Refusal>().is_some_and(|refusal| refusal.status == StatusCode::FORBIDDEN)
}

/// Why nothing came of a notification: the reasons, then the newest events of its scope.
async fn explain_notification(client: &Client, id: Option<NotificationId>, json: bool) -> anyhow::Result<()> {
    let id = id.map(|id| id.to_string()).unwrap_or_default();
    let found = client.send(Method::GET, &["v1", "notifications", &id, "explain"], None).await?;
    if json {
        return print_json(&found);
    }
    print(&pairs(&[
        ("notification", text(&found["notification"])),
        ("title", text(&found["title"])),
        ("state", text(&found["state"])),
        ("last success", text(&found["succeeded_at"])),
        ("newest deliveries", counts(&found["deliveries"]["states"])),
        ("waiting for", counts(&found["deliveries"]["waiting_for"])),
        ("newest callbacks", counts(&found["callbacks"]["states"])),
        ("dead letters", text(&found["dead_letters"].as_array().map_or(0, Vec::len).into())),
    ]))?;
    let reasons: Vec<String> = found["why"].as_array().into_iter().flatten().map(text).collect();
    if reasons.is_empty() {
        print("\nNothing keeps its receiver from hearing.")?;
    } else {
        print(&format!("\n{}", reasons.join("\n")))?;
    }
    let mut table = Table::new(&["EVENT", "KIND", "SUBJECT", "ACCEPTED", "WHAT AND WHY"]);
    for event in found["events"].as_array().into_iter().flatten() {
        table.add([
            text(&event["id"]),
            text(&event["kind"]),
            text(&event["subject"]),
            time(&event["accepted_at"]),
            of_one(event),
        ]);
    }
    if table.is_empty() { Ok(()) } else { print(&format!("\n{table}")) }
}

/// `delivered 3, waiting 1`.
fn counts(counts: &Value) -> String {
    let counts = counts.as_object().into_iter().flatten();
    let counts: Vec<String> = counts.map(|(word, count)| format!("{word} {count}")).collect();
    if counts.is_empty() { "-".to_owned() } else { counts.join(", ") }
}

/// What an event was to the notification.
fn of_one(event: &Value) -> String {
    match (event["state"].as_str(), event["why_not"].as_str()) {
        (Some(_), _) => state(event),
        (None, Some(why)) => format!("no: {why}"),
        (None, None) if event["fanned_out"] == true => "it matches now".to_owned(),
        (None, None) => "it matches; not expanded yet".to_owned(),
    }
}

/// What became of the event for one notification: history first, then what it would be now.
fn what(considered: &Value, delivery: Option<&Value>, expanded: bool) -> String {
    let why_not = considered["why_not"].as_str();
    match (delivery, why_not) {
        (Some(delivery), None) => state(delivery),
        (Some(delivery), Some(why)) => format!("{}; now it would not match: {why}", state(delivery)),
        (None, Some(why)) => format!("no: {why}"),
        (None, None) if expanded => "it matches now, but did not when the event came".to_owned(),
        (None, None) => "it matches".to_owned(),
    }
}

fn state(delivery: &Value) -> String {
    let cause = delivery["cause"]["detail"].as_str().map(|detail| format!(" ({detail})"));
    format!("{}{}", text(&delivery["state"]), cause.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn history_goes_before_what_would_be_now() {
        let (matches, refuses) = (json!({"why_not": null}), json!({"why_not": "its filter's `tags`"}));
        let dead = json!({"state": "dead", "cause": {"code": "gone", "detail": "answered 410"}});
        for (considered, delivery, expanded, expected) in [
            (&matches, Some(&dead), true, "dead (answered 410)"),
            (&refuses, Some(&dead), true, "dead (answered 410); now it would not match: its filter's `tags`"),
            (&refuses, None, true, "no: its filter's `tags`"),
            (&matches, None, true, "it matches now, but did not when the event came"),
            (&matches, None, false, "it matches"),
        ] {
            assert_eq!(what(considered, delivery, expanded), expected);
        }
    }
}
