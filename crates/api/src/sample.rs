//! Test calls: a sample event for one notification alone, over the same road as every delivery.

use std::time::Duration;

use bellbuoy_broker::{Outgoing, queues};
use bellbuoy_domain::{
    DeliveryId, DeliveryMessage, Event, FannedOut, Grain, Kind, KindScope, Notification, PlannedDelivery,
    Record, RepositoryName, Scope, Subject, WIRE_VERSION,
};
use bellbuoy_store::SeenEvent;
use jiff::Timestamp;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{App, problem::Problem};

/// Who says that a sample happened.
pub(crate) const SOURCE: &str = "bellbuoy";

/// The word for a repository or namespace where the notification names none.
const EXAMPLE: &str = "example";

/// Publishes a sample event of `kind` as a delivery of `notification`, past its filter.
pub(crate) async fn deliver_sample(
    app: &App,
    notification: &Notification,
    kind: Kind,
    now: Timestamp,
) -> Result<DeliveryId, Problem> {
    let id = format!("test-{}", Uuid::new_v4());
    let subject = subject(&notification.scope, kind);
    let event = Event::sample(kind, subject, &notification.event_config, SOURCE, &id, now);
    // Where a request names one tag, it is the sample's first.
    let grain = notification.check().map_or(Grain::Event, |checked| checked.grain());
    let delivery = event.deliveries(notification.id, grain).into_iter().next();
    let delivery = delivery.unwrap_or_else(|| DeliveryId::derive(&event.source, &event.id, notification.id));
    let body = event.to_json();
    // Kept like any event, so that the delivery can be looked into and sent again.
    let seen = SeenEvent {
        source: event.source.clone(),
        id: event.id.clone(),
        kind,
        subject: event.subject.name().unwrap_or_default().to_owned(),
        message: Uuid::new_v4(),
        accepted_at: now,
        body: body.clone(),
    };
    app.api.store.admit_events(&[seen], Duration::ZERO).await?;
    let message = DeliveryMessage {
        v: WIRE_VERSION,
        delivery,
        notification: notification.id,
        attempt: 1,
        spent: 0,
        accepted_at: now,
        due_at: now,
        held_since: None,
        event: raw(body)?,
    };
    let record = Record {
        v: WIRE_VERSION,
        fanned_out: Some(fanned_out(&event, [delivery], notification, now)),
        attempt: None,
    };
    let queue = app.api.shards.queue(&notification.method, notification.id.as_uuid().as_u128());
    let messages =
        vec![Outgoing::new(queue, message.to_json()), Outgoing::new(queues::outcomes(), record.to_json())];
    app.api.broker.publish(messages).await?;
    Ok(delivery)
}

pub(crate) fn fanned_out(
    event: &Event,
    deliveries: impl IntoIterator<Item = DeliveryId>,
    notification: &Notification,
    accepted_at: Timestamp,
) -> FannedOut {
    let planned = |delivery| PlannedDelivery {
        delivery,
        notification: notification.id,
        method: notification.method.clone(),
    };
    FannedOut {
        source: event.source.clone(),
        event: event.id.clone(),
        kind: event.kind,
        subject: event.subject.name().unwrap_or_default().to_owned(),
        accepted_at,
        deliveries: deliveries.into_iter().map(planned).collect(),
    }
}

/// An event's stored bytes as a member of a message.
pub(crate) fn raw(event: Vec<u8>) -> Result<Box<RawValue>, Problem> {
    let text = String::from_utf8(event).ok();
    text.and_then(|text| RawValue::from_string(text).ok()).ok_or_else(|| {
        tracing::error!("an event's canonical form is not JSON");
        Problem::internal()
    })
}

fn subject(scope: &Scope, kind: Kind) -> Subject {
    let namespace = match scope {
        Scope::Repository(name) => name.namespace(),
        Scope::Namespace(namespace) => namespace,
        Scope::Registry => EXAMPLE,
    };
    match (kind.scope(), scope) {
        (KindScope::Registry, _) => Subject::Registry,
        (KindScope::Namespace, _) if namespace.is_empty() => Subject::Namespace(EXAMPLE.to_owned()),
        (KindScope::Namespace, _) => Subject::Namespace(namespace.to_owned()),
        (KindScope::Repository, Scope::Repository(name)) => Subject::Repository(name.clone()),
        (KindScope::Repository, _) => RepositoryName::parse(format!("{namespace}/{EXAMPLE}"))
            .map_or(Subject::Registry, Subject::Repository),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_about_what_the_notification_listens_to() {
        let repository = |name: &str| RepositoryName::parse(name).expect("a name");
        let of = |scope: Scope, kind| subject(&scope, kind).name().map(str::to_owned);
        let acme = || Scope::Namespace("acme".into());
        let api = || Scope::Repository(repository("acme/team/api"));
        assert_eq!(of(api(), Kind::RepoPush).as_deref(), Some("acme/team/api"));
        assert_eq!(of(api(), Kind::QuotaError).as_deref(), Some("acme"));
        assert_eq!(of(Scope::Repository(repository("api")), Kind::QuotaError).as_deref(), Some("example"));
        assert_eq!(of(acme(), Kind::RepoPush).as_deref(), Some("acme/example"));
        assert_eq!(of(acme(), Kind::QuotaError).as_deref(), Some("acme"));
        assert_eq!(of(Scope::Registry, Kind::RepoPush).as_deref(), Some("example/example"));
        assert_eq!(of(Scope::Registry, Kind::ScannerUpdateCompleted), None);
    }
}
