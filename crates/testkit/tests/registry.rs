//! A real registry, a real push, and the notifications that come of it.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bellbuoy_testkit::image::Image;
use bellbuoy_testkit::registry::{Endpoint, Registry};
use bellbuoy_testkit::wait::eventually;
use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Collected, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;

const SOON: Duration = Duration::from_secs(20);

/// The events told to a listener so far, in the order they came.
type Told = Arc<Mutex<Vec<Value>>>;

#[tokio::test]
async fn a_push_is_told_to_the_endpoint_with_its_credentials() {
    let (_folder, registry, told) = registry_with_listener().await;
    let image = Image::new("one");
    registry.push(&image, "acme/app", "v1").await;

    let push = event(&told, "push", |target| target["tag"] == "v1").await;
    assert_eq!(push["target"]["digest"], image.digest().as_str(), "{push}");
    assert_eq!(push["target"]["repository"], "acme/app", "{push}");
    assert_eq!(registry.digest("acme/app", "v1").await, Some(image.digest()));
    assert_eq!(registry.digest("acme/app", "v2").await, None);
}

#[tokio::test]
async fn a_second_tag_is_a_push_of_the_same_digest_and_a_delete_ends_both() {
    let (_folder, registry, told) = registry_with_listener().await;
    let image = Image::new("one");
    registry.push(&image, "acme/app", "v1").await;
    registry.push(&image, "acme/app", "latest").await;
    let push = event(&told, "push", |target| target["tag"] == "latest").await;
    assert_eq!(push["target"]["digest"], image.digest().as_str(), "{push}");

    registry.delete("acme/app", &image.digest()).await;
    event(&told, "delete", |target| target["digest"] == image.digest().as_str()).await;
    event(&told, "delete", |target| target["tag"] == "v1").await;
    event(&told, "delete", |target| target["tag"] == "latest").await;
    assert_eq!(registry.digest("acme/app", "v1").await, None);
}

#[tokio::test]
async fn a_killed_registry_comes_back_with_its_images_at_the_same_port() {
    let (_folder, mut registry, told) = registry_with_listener().await;
    registry.push(&Image::new("one"), "acme/app", "v1").await;
    let host = registry.host();
    registry.process().kill_9();
    registry.start_again().await;
    registry.pull("acme/app", "v1").await;
    event(&told, "pull", |target| target["tag"] == "v1").await;
    assert_eq!(registry.host(), host);
    registry.stop().await;
    assert!(!registry.process().is_running());
}

async fn registry_with_listener() -> (TempDir, Registry, Told) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has a free port");
    let url = format!("http://{}/events", listener.local_addr().expect("a bound listener has an address"));
    let told = Told::default();
    tokio::spawn(listen(listener, Arc::clone(&told)));
    let registry = Registry::start(folder.path(), &Endpoint::new(url, "Bearer listener's")).await;
    (folder, registry, told)
}

async fn listen(listener: TcpListener, told: Told) {
    while let Ok((stream, _)) = listener.accept().await {
        let told = Arc::clone(&told);
        let service = service_fn(move |request| take(request, Arc::clone(&told)));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn take(request: Request<Incoming>, told: Told) -> Result<Response<Empty<Bytes>>, Infallible> {
    let allowed =
        request.headers().get(header::AUTHORIZATION).is_some_and(|value| value == "Bearer listener's");
    let body = request.into_body().collect().await.map(Collected::to_bytes).unwrap_or_default();
    if let (true, Ok(mut envelope)) = (allowed, serde_json::from_slice::<Value>(&body)) {
        let events = envelope["events"].as_array_mut().map(std::mem::take).unwrap_or_default();
        told.lock().expect("a whole list").extend(events);
    }
    Ok(Response::new(Empty::new()))
}

async fn event(told: &Told, action: &str, of: impl Fn(&Value) -> bool) -> Value {
    let fits = |event: &&Value| event["action"] == action && of(&event["target"]);
    eventually(SOON, async || told.lock().expect("a whole list").iter().find(fits).cloned()).await
}
