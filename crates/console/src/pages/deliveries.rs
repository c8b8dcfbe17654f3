//! Deliveries: which there are, what became of one, and sending it again.

use askama::Template;
use axum::extract::{Path, RawQuery};
use bellbuoy_domain::{DeliveryState, MethodName};
use http::Method;

use super::{ROWS, Shown, further};
use crate::{
    form::{Written, kinds},
    page::{Place, Shell, done, encoded, page},
    shapes::{Deliveries, Delivery, DeliveryDetail},
    visitor::Visitor,
};

/// What a list can be narrowed by.
const FILTERS: &[&str] = &["state", "method", "kind", "notification", "subject", "source", "event"];

#[derive(Template)]
#[template(path = "deliveries.html")]
struct ListPage {
    shell: Shell,
    written: Written,
    deliveries: Vec<Delivery>,
    further: Option<String>,
    fault: Option<String>,
}

#[derive(Template)]
#[template(path = "delivery.html")]
struct OnePage {
    shell: Shell,
    detail: DeliveryDetail,
    /// The others of its event, if the visitor may see them.
    siblings: Vec<Delivery>,
}

/// `GET /console/deliveries`
pub(crate) async fn list(visitor: Visitor, RawQuery(query): RawQuery) -> Shown {
    let written = Written::read(query.unwrap_or_default().as_bytes());
    let shell = visitor.shell(Place::Deliveries).await?;
    let filters = written.query(FILTERS);
    let asked = format!("/v1/deliveries?limit={ROWS}&{filters}&{}", written.query(&["after"]));
    let (found, fault) = match visitor.api.get::<Deliveries>(asked.trim_end_matches('&')).await {
        Ok(found) => (found, None),
        Err(refusal) if refusal.is_about_the_question() => {
            (Deliveries { deliveries: Vec::new(), next: None }, Some(refusal.detail))
        }
        Err(refusal) => return Err(refusal.into()),
    };
    let further = further("/console/deliveries", &filters, found.next.as_ref());
    Ok(page(&ListPage { shell, written, deliveries: found.deliveries, further, fault }))
}

/// `GET /console/deliveries/{id}`
pub(crate) async fn show(visitor: Visitor, Path(id): Path<String>) -> Shown {
    let shell = visitor.shell(Place::Deliveries).await?;
    let detail: DeliveryDetail = visitor.api.get(&format!("/v1/deliveries/{}", encoded(&id))).await?;
    let Delivery { source, event, .. } = &detail.delivery;
    let siblings = format!("/v1/deliveries?limit=20&source={}&event={}", encoded(source), encoded(event));
    // All of an event's deliveries are for those who may see everything.
    let siblings =
        visitor.api.get::<Deliveries>(&siblings).await.map(|found| found.deliveries).unwrap_or_default();
    let siblings = siblings.into_iter().filter(|other| other.id != detail.delivery.id).collect();
    Ok(page(&OnePage { shell, detail, siblings }))
}

/// `POST /console/deliveries/{id}/resend`
pub(crate) async fn resend(visitor: Visitor, Path(id): Path<String>) -> Shown {
    visitor.api.act(Method::POST, &format!("/v1/deliveries/{}/resend", encoded(&id)), None).await?;
    Ok(done(&format!("/console/deliveries/{}", encoded(&id)), "resend"))
}
