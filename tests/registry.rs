//! A real registry (Debian's `docker-registry`, pushed to by `skopeo`) notifies `serve`.

mod support;

use std::time::SystemTime;

use base64::{Engine, prelude::BASE64_STANDARD};
use bellbuoy_testkit::http::Http;
use bellbuoy_testkit::image::{Image, MANIFEST_TYPE};
use bellbuoy_testkit::receiver::{Receiver, Recorded};
use bellbuoy_testkit::registry::{Endpoint, Registry};
use bellbuoy_testkit::wait::{eventually, within};
use http::Method;
use serde_json::{Value, json};
use support::{Fleet, SOON, TOKEN, Wish};
use tempfile::TempDir;

/// A registry, the fleet that it notifies, and a receiver of what comes of it.
struct Chain {
    fleet: Fleet,
    registry: Registry,
    receiver: Receiver,
    http: Http,
    _folder: TempDir,
}

impl Chain {
    async fn start() -> Self {
        let fleet = Fleet::start(&[("BELLBUOY_REGISTRY__URL", "https://registry.example.com")]).await;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let url = format!("{}/v1/ingest/distribution", fleet.api.url);
        let registry = Registry::start(folder.path(), &Endpoint::new(url, format!("Bearer {TOKEN}"))).await;
        let receiver = Receiver::start().await.expect("a receiver");
        Self { fleet, registry, receiver, http: Http::new(), _folder: folder }
    }

    /// How many notices were taken, whatever they were for us.
    async fn notices(&self) -> f64 {
        let of = [r#"source="distribution""#];
        self.fleet.api.counted("bellbuoy_events_accepted_total", &of).await
            + self.fleet.api.counted("bellbuoy_events_dropped_total", &of).await
    }

    async fn dropped(&self, reason: &str) -> f64 {
        let reason = format!("reason={reason:?}");
        self.fleet.api.counted("bellbuoy_events_dropped_total", &[&reason]).await
    }

    /// Waits until `count` notices were taken and everything they made was delivered: `deliveries` in all.
    async fn settled(&self, count: f64, deliveries: usize) {
        let all = within(SOON, async || (self.notices().await >= count).then_some(())).await;
        let taken = self.notices().await;
        assert!(all.is_some() && (taken - count).abs() < 0.5, "{taken} notices instead of {count}");
        self.fleet.api.until("", deliveries, &["delivered"]).await;
    }

    /// A request of the registry's own API, as a client named `containerd/2.0`.
    async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &[u8]) -> u16 {
        let url = format!("http://{}/v2/{path}", self.registry.host());
        let agent = [("user-agent", "containerd/2.0")];
        let headers: Vec<_> = agent.iter().chain(headers).copied().collect();
        let answer = self.http.send(method, &url, &headers, body.to_vec()).await;
        answer.expect("the registry answers").status.as_u16()
    }
}

/// Checks a request's signature as the Standard Webhooks specification tells a receiver to, with nothing of ours.
fn check_signature(request: &Recorded, wish: &Wish) {
    let header = |name: &str| request.header(name).unwrap_or_else(|| panic!("no {name} in {request:?}"));
    let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
    let key = BASE64_STANDARD.decode(wish.secret.strip_prefix("whsec_").expect("a secret")).expect("base64");
    let signed = [format!("{id}.{timestamp}.").as_bytes(), &request.body].concat();
    let signature = header("webhook-signature").strip_prefix("v1,").expect("version 1");
    let signature = BASE64_STANDARD.decode(signature).expect("base64");
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key);
    ring::hmac::verify(&key, &signed, &signature).expect("the signature of id, time and body");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    assert!(now.abs_diff(timestamp.parse().expect("seconds")) < 300, "{timestamp} is not now");
}

fn body(request: &Recorded) -> Value {
    serde_json::from_slice(&request.body).expect("a JSON body")
}

#[tokio::test]
async fn each_push_is_one_signed_repo_push_at_the_webhook() {
    let chain = Chain::start().await;
    let wish = chain.fleet.api.webhook("acme/app", "repo_push", &chain.receiver.url("/hook")).await;
    let image = Image::new("one");
    let mut ids = Vec::new();
    // Two blobs and a manifest the first time; the blobs are looked for by HEAD after that.
    for (count, tag) in [(1, "v1"), (2, "v1"), (3, "latest")] {
        chain.registry.push(&image, "acme/app", tag).await;
        chain.settled(f64::from(3 * count), usize::try_from(count).expect("small")).await;
        let requests = chain.receiver.requests();
        assert_eq!(requests.len(), usize::try_from(count).expect("small"), "one request per push");
        let request = requests.last().expect("the last");
        check_signature(request, &wish);
        let expected = json!({
            "repository": "acme/app", "namespace": "acme", "name": "app",
            "docker_url": "registry.example.com/acme/app",
            "homepage": "https://registry.example.com/repository/acme/app",
            "updated_tags": [tag],
        });
        let found = body(request);
        for (member, value) in expected.as_object().expect("an object") {
            assert_eq!(&found[member], value, "{member} in {found}");
        }
        assert_eq!(found["digest"], image.digest());
        assert_eq!(
            (request.method.as_str(), request.header("content-type"), request.header("bellbuoy-event")),
            ("POST", Some("application/json"), Some("repo_push"))
        );
        ids.push(request.header("webhook-id").expect("an id").to_owned());
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 3, "a push again is an event of its own");
}

/// What one operation makes: a word per event, what DTR's webhooks of each type hear of it, both in any order, and how
/// many notices are dropped as what.
struct Row {
    operation: &'static str,
    events: &'static [&'static str],
    dtr: &'static [&'static str],
    dropped: &'static [(&'static str, u32)],
}

/// The table of what clients do, in the order in which the test does it.
const ROWS: &[Row] = &[
    Row {
        operation: "first push by tag",
        events: &["repo_push v1"],
        dtr: &["TAG_PUSH", "MANIFEST_PUSH"],
        dropped: &[("blob", 2)],
    },
    Row {
        operation: "the same push again",
        events: &["repo_push v1"],
        dtr: &["TAG_PUSH", "MANIFEST_PUSH"],
        dropped: &[("blob", 2)],
    },
    Row {
        operation: "the same image by another tag",
        events: &["repo_push latest"],
        dtr: &["TAG_PUSH", "MANIFEST_PUSH"],
        dropped: &[("blob", 2)],
    },
    Row { operation: "push by digest", events: &["manifest_push"], dtr: &["MANIFEST_PUSH"], dropped: &[] },
    Row { operation: "mount into another repository", events: &[], dtr: &[], dropped: &[("mount", 2)] },
    Row {
        operation: "and its manifest",
        events: &["repo_push copied"],
        dtr: &["TAG_PUSH", "MANIFEST_PUSH"],
        dropped: &[],
    },
    Row {
        operation: "pull as docker does",
        events: &["tag_pull v1"],
        dtr: &["TAG_PULL"],
        dropped: &[("merged_pull", 1)],
    },
    Row {
        operation: "pull as skopeo does",
        events: &["tag_pull v1"],
        dtr: &["TAG_PULL"],
        dropped: &[("blob", 2)],
    },
    Row { operation: "HEAD that is answered 304", events: &[], dtr: &[], dropped: &[] },
    Row {
        operation: "HEAD of a client that has it",
        events: &["tag_pull latest"],
        dtr: &["TAG_PULL"],
        dropped: &[],
    },
    Row { operation: "HEAD by digest", events: &[], dtr: &[], dropped: &[("probe", 1)] },
    Row { operation: "pull by digest", events: &["manifest_pull"], dtr: &["MANIFEST_PULL"], dropped: &[] },
    Row { operation: "delete of a tag, which this registry can't", events: &[], dtr: &[], dropped: &[] },
    Row {
        operation: "delete by digest",
        events: &["manifest_delete", "tag_delete v1", "tag_delete latest"],
        dtr: &["MANIFEST_DELETE", "TAG_DELETE", "TAG_DELETE"],
        dropped: &[],
    },
    Row {
        operation: "delete of a blob",
        events: &["manifest_delete?"],
        dtr: &["MANIFEST_DELETE"],
        dropped: &[],
    },
];

#[tokio::test]
async fn each_operation_of_a_client_makes_the_events_of_the_table_and_nothing_for_blobs() {
    let chain = Chain::start().await;
    let kinds = [
        "repo_push",
        "manifest_push",
        "tag_pull",
        "manifest_pull",
        "tag_delete",
        "manifest_delete",
        "repo_deleted",
    ];
    let wish = json!({"scope": {"registry": true}, "kinds": kinds, "method": "webhook", "format": "cloudevents",
        "config": {"url": chain.receiver.url("/hook")}});
    chain.fleet.api.wish(&wish).await;
    for name in ["TAG_PUSH", "MANIFEST_PUSH", "TAG_PULL", "MANIFEST_PULL", "TAG_DELETE", "MANIFEST_DELETE"] {
        let form = json!({"type": name, "endpoint": chain.receiver.url(&format!("/dtr/{name}"))});
        let created = chain.fleet.api.post("/api/v0/webhooks", &form).await;
        assert_eq!(created.status, 201, "{name}: {}", created.text());
    }

    let (mut notices, mut deliveries) = (0, 0);
    for row in ROWS {
        let mut before = Vec::new();
        for (reason, _) in row.dropped {
            before.push(chain.dropped(reason).await);
        }
        chain.receiver.clear();
        operate(&chain, row.operation).await;

        notices += row.events.len() + row.dropped.iter().map(|(_, count)| *count as usize).sum::<usize>();
        deliveries += row.events.len() + row.dtr.len();
        chain.settled(f64::from(u32::try_from(notices).expect("few")), deliveries).await;
        let (own, dtr): (Vec<_>, Vec<_>) =
            chain.receiver.requests().into_iter().partition(|request| request.path == "/hook");
        let mut found: Vec<_> = own.iter().map(|request| word(&body(request))).collect();
        let mut expected = row.events.to_vec();
        found.sort();
        expected.sort_unstable();
        assert_eq!(found, expected, "{}", row.operation);
        let mut heard: Vec<_> = dtr.iter().map(heard_by_dtr).collect();
        let mut expected = row.dtr.to_vec();
        heard.sort();
        expected.sort_unstable();
        assert_eq!(heard, expected, "{}", row.operation);
        for ((reason, count), before) in row.dropped.iter().zip(before) {
            let more = chain.dropped(reason).await - before;
            assert!((more - f64::from(*count)).abs() < 0.5, "{}: {more} dropped as {reason}", row.operation);
        }
    }
}

async fn operate(chain: &Chain, operation: &str) {
    let image = Image::new("one");
    let digest = image.digest();
    let by_digest = format!("acme/app/manifests/{digest}");
    let (typed, wanted) = ([("content-type", MANIFEST_TYPE)], [("accept", MANIFEST_TYPE)]);
    match operation {
        "first push by tag" | "the same push again" => chain.registry.push(&image, "acme/app", "v1").await,
        "the same image by another tag" => chain.registry.push(&image, "acme/app", "latest").await,
        "push by digest" => {
            assert_eq!(chain.ask(Method::PUT, &by_digest, &typed, image.manifest()).await, 201);
        }
        "mount into another repository" => {
            for blob in blobs(&image) {
                let path = format!("acme/copy/blobs/uploads/?mount={blob}&from=acme/app");
                assert_eq!(chain.ask(Method::POST, &path, &[], b"").await, 201);
            }
        }
        "and its manifest" => {
            assert_eq!(
                chain.ask(Method::PUT, "acme/copy/manifests/copied", &typed, image.manifest()).await,
                201
            );
        }
        "pull as docker does" => {
            assert_eq!(chain.ask(Method::HEAD, "acme/app/manifests/v1", &wanted, b"").await, 200);
            assert_eq!(chain.ask(Method::GET, &by_digest, &wanted, b"").await, 200);
        }
        "pull as skopeo does" => chain.registry.pull("acme/app", "v1").await,
        "HEAD that is answered 304" => {
            let known = [wanted[0], ("if-none-match", &*format!("\"{digest}\""))];
            assert_eq!(chain.ask(Method::HEAD, "acme/app/manifests/v1", &known, b"").await, 304);
        }
        "HEAD of a client that has it" => {
            let other = [wanted[0], ("x-client", "other")];
            assert_eq!(chain.ask(Method::HEAD, "acme/app/manifests/latest", &other, b"").await, 200);
        }
        "HEAD by digest" => {
            assert_eq!(chain.ask(Method::HEAD, &by_digest, &wanted, b"").await, 200);
        }
        "pull by digest" => {
            // By one who did not ask for a tag before.
            let copy = format!("acme/copy/manifests/{digest}");
            assert_eq!(chain.ask(Method::GET, &copy, &wanted, b"").await, 200);
        }
        "delete of a tag, which this registry can't" => {
            assert_eq!(chain.ask(Method::DELETE, "acme/app/manifests/v1", &[], b"").await, 400);
        }
        "delete by digest" => chain.registry.delete("acme/app", &digest).await,
        "delete of a blob" => {
            let path = format!("acme/app/blobs/{}", blobs(&image)[0]);
            assert_eq!(chain.ask(Method::DELETE, &path, &[], b"").await, 202);
        }
        other => panic!("nobody knows how to do {other:?}"),
    }
}

/// The digests of an image's configuration and layer.
fn blobs(image: &Image) -> Vec<String> {
    let manifest: Value = serde_json::from_slice(image.manifest()).expect("JSON");
    [&manifest["config"], &manifest["layers"][0]]
        .map(|blob| blob["digest"].as_str().expect("a digest").to_owned())
        .into()
}

/// An event in a word: its kind and tag; with a question mark where the registry did not say what was deleted.
fn word(event: &Value) -> String {
    let kind = event["type"].as_str().expect("a kind");
    let tag = event["data"]["updated_tags"][0].as_str().or(event["data"]["tag"].as_str());
    let digest = event["data"]["digest"].as_str();
    assert!(digest.is_some() || kind == "tag_delete", "{event}");
    let is_blob = digest.is_some_and(|digest| blobs(&Image::new("one")).iter().any(|blob| blob == digest));
    match tag {
        Some(tag) => format!("{kind} {tag}"),
        None if is_blob => format!("{kind}?"),
        None => kind.to_owned(),
    }
}

/// What DTR's webhook of a type was told: its type, and never without what that is of.
fn heard_by_dtr(request: &Recorded) -> String {
    let told = body(request);
    let name = told["type"].as_str().expect("a type").to_owned();
    assert_eq!(request.path, format!("/dtr/{name}"), "{told}");
    let member = if name.starts_with("TAG_") { "tag" } else { "digest" };
    assert!(told["contents"][member].as_str().is_some_and(|text| !text.is_empty()), "{told}");
    let event = request.header("bellbuoy-event").expect("a kind").to_ascii_uppercase();
    assert_eq!(event.replace("REPO_PUSH", "TAG_PUSH"), name, "the header and the payload agree");
    name
}

/// Where each format's payload says what was pushed: the tag, and the repository.
const FORMATS: &[(&str, &str, &str, &str)] = &[
    ("quay", "/updated_tags/0", "/repository", "acme/app"),
    ("cloudevents", "/data/updated_tags/0", "/subject", "acme/app"),
    ("dockerhub", "/push_data/tag", "/repository/repo_name", "acme/app"),
    ("dtr", "/contents/tag", "/contents/imageName", "registry.example.com/acme/app:v1"),
    (
        "harbor",
        "/event_data/resources/0/tag",
        "/event_data/resources/0/resource_url",
        "registry.example.com/acme/app:v1",
    ),
    ("harbor-cloudevents", "/data/resources/0/tag", "/data/repository/repo_full_name", "acme/app"),
    ("acr", "/target/tag", "/target/repository", "acme/app"),
    ("distribution", "/events/0/target/tag", "/events/0/target/repository", "acme/app"),
];

#[tokio::test]
async fn one_push_reaches_receivers_in_every_registrys_format_at_once() {
    let chain = Chain::start().await;
    for (format, ..) in FORMATS {
        let wish = json!({
            "scope": {"repository": "acme/app"}, "kinds": ["repo_push"], "method": "webhook", "format": format,
            "config": {"url": chain.receiver.url(&format!("/{format}/${{name}}")), "bearer_token": "hunter2"},
        });
        chain.fleet.api.wish(&wish).await;
    }
    let image = Image::new("one");
    chain.registry.push(&image, "acme/app", "v1").await;
    chain.settled(3.0, FORMATS.len()).await;
    let requests = chain.receiver.requests();
    for (format, tag, subject, expected) in FORMATS {
        let path = format!("/{format}/app");
        let mut of = requests.iter().filter(|request| request.path == path);
        let (Some(request), None) = (of.next(), of.next()) else { panic!("not one request to {path}") };
        let payload = body(request);
        assert_eq!(payload.pointer(tag), Some(&json!("v1")), "{format}: {payload}");
        assert_eq!(payload.pointer(subject), Some(&json!(expected)), "{format}: {payload}");
        let text = payload.to_string();
        assert!(*format == "dockerhub" || text.contains(&image.digest()), "{format}: {payload}");
        assert_eq!(request.header("authorization"), Some("Bearer hunter2"));
    }
    let shown = chain.fleet.api.get("/v1/notifications").await;
    assert!(!shown.to_string().contains("hunter2") && shown.to_string().contains("********"), "{shown}");
    assert!(chain.fleet.process.lines().iter().all(|line| !line.contains("hunter2")), "no secret in the log");
}

#[tokio::test]
async fn a_webhook_of_a_dtr_client_is_tried_hears_of_a_push_and_shows_its_success() {
    let chain = Chain::start().await;
    let (api, endpoint) = (&chain.fleet.api, chain.receiver.url("/hook"));
    let form =
        json!({"type": "TAG_PUSH", "key": "acme/app", "endpoint": endpoint, "skipTLSVerification": true});
    let tried = api.post("/api/v0/webhooks/test", &form).await;
    assert_eq!((tried.status.as_u16(), tried.text().as_str()), (200, ""));
    let sample = body(&chain.receiver.requests()[0]);
    assert_eq!((&sample["type"], &sample["contents"]["namespace"]), (&json!("TAG_PUSH"), &json!("foo")));
    chain.receiver.clear();
    let nowhere = json!({"type": "TAG_PUSH", "endpoint": "http://169.254.169.254/latest"});
    let refused = api.post("/api/v0/webhooks/test", &nowhere).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.json()["errors"][0]["code"]),
        (502, &json!("ENDPOINT_FAILED"))
    );
    assert!(refused.text().contains("network rules"), "{}", refused.text());

    let created = api.post("/api/v0/webhooks", &form).await;
    assert_eq!(created.status, 201, "{}", created.text());
    let image = Image::new("one");
    chain.registry.push(&image, "acme/app", "v1").await;
    chain.settled(3.0, 1).await;
    let requests = chain.receiver.requests();
    let told = body(&requests[0]);
    assert_eq!((requests.len(), &told["type"]), (1, &json!("TAG_PUSH")));
    assert_eq!(told["contents"]["imageName"], "registry.example.com/acme/app:v1");
    assert_eq!(told["contents"]["digest"], image.digest());
    assert_eq!(told["location"], "/repositories/acme/app/tags/v1");
    let shown = api.get("/api/v0/repositories/acme/app/webhooks").await;
    let success = shown[0]["lastSuccessfulAt"].as_str().expect("a time");
    assert!(!success.starts_with("0001"), "{shown}");
}

#[tokio::test]
async fn what_one_bellbuoy_tells_as_a_registry_another_takes_for_one() {
    let chain = Chain::start().await;
    let next = Fleet::start(&[("BELLBUOY_REGISTRY__URL", "https://mirror.example.com")]).await;
    let routes = [
        ("distribution", "distribution"),
        ("harbor", "harbor"),
        ("harbor-cloudevents", "harbor"),
        ("acr", "acr"),
        ("dockerhub", "dockerhub"),
    ];
    for (format, registry) in routes {
        let url = format!("{}/v1/ingest/{registry}?source={format}", next.api.url);
        let wish = json!({
            "scope": {"registry": true}, "kinds": ["repo_push"], "method": "webhook", "format": format,
            "config": {"url": url, "bearer_token": TOKEN},
        });
        chain.fleet.api.wish(&wish).await;
        let wish = json!({
            "scope": {"repository": "acme/app"}, "kinds": ["repo_push"], "method": "webhook", "format": "cloudevents",
            "filter": {}, "config": {"url": chain.receiver.url("/end")},
        });
        if format == "distribution" {
            next.api.wish(&wish).await;
        }
    }
    chain.registry.push(&Image::new("one"), "acme/app", "v1").await;
    chain.fleet.api.until("", routes.len(), &["delivered"]).await;
    next.api.until("", routes.len(), &["delivered"]).await;
    let mut sources: Vec<String> = Vec::new();
    for request in chain.receiver.requests() {
        let event = body(&request);
        assert_eq!((&event["type"], &event["subject"]), (&json!("repo_push"), &json!("acme/app")));
        assert_eq!(event["data"]["updated_tags"], json!(["v1"]));
        sources.push(event["source"].as_str().expect("a source").to_owned());
    }
    sources.sort();
    let mut expected: Vec<&str> = routes.iter().map(|(format, _)| *format).collect();
    expected.sort_unstable();
    assert_eq!(sources, expected);
}

#[tokio::test]
async fn what_was_pushed_while_serve_was_down_arrives_once_when_it_is_back() {
    let mut chain = Chain::start().await;
    chain.fleet.api.webhook("acme/app", "repo_push", &chain.receiver.url("/hook")).await;
    for (count, is_killed) in [(1, false), (2, true)] {
        if is_killed {
            chain.fleet.process.kill_9();
        } else {
            chain.fleet.stop().await;
        }
        chain.registry.push(&Image::new("one"), "acme/app", &format!("v{count}")).await;
        eventually(SOON, async || {
            let tries = |line: &String| line.contains("retryingsink: error writing event");
            chain.registry.process().lines().iter().any(tries).then_some(())
        })
        .await;
        chain.fleet.start_again().await;
        // The counters began anew with the process, the history did not.
        chain.settled(3.0, count).await;
        assert_eq!(chain.receiver.requests().len(), count, "once per push");
        assert_eq!(body(&chain.receiver.requests()[count - 1])["updated_tags"], json!([format!("v{count}")]));
    }
}

#[tokio::test]
async fn a_registry_that_repeats_a_notice_is_answered_and_nobody_hears_of_it_twice() {
    let chain = Chain::start().await;
    chain.fleet.api.webhook("acme/app", "repo_push", &chain.receiver.url("/hook")).await;
    let media_type = "application/vnd.docker.distribution.events.v1+json";
    let notice = json!({"events": [{
        "id": "2cf0934c-1c0e-4f8f-9a3e-0d7b2d6b8a11", "timestamp": "2026-11-20T23:13:01.964338477Z", "action": "push",
        "target": {"mediaType": MANIFEST_TYPE, "digest": Image::new("one").digest(), "repository": "acme/app", "tag": "v1"},
        "request": {"method": "PUT"}, "actor": {}, "source": {"addr": "node1:5000", "instanceID": "06c7"},
    }]});
    for _ in 0..3 {
        let answer = chain
            .fleet
            .api
            .send(Method::POST, "/v1/ingest/distribution", media_type, notice.to_string())
            .await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (202, 0));
    }
    let repeated = async || {
        let repeated = chain.fleet.api.counted("bellbuoy_events_repeated_total", &[]).await;
        (repeated > 1.5).then_some(())
    };
    eventually(SOON, repeated).await;
    chain.settled(3.0, 1).await;
    assert_eq!(chain.receiver.requests().len(), 1);
}

#[tokio::test]
async fn a_registry_with_a_wrong_token_keeps_its_notices_until_that_is_put_right() {
    let chain = Chain::start().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let url = format!("{}/v1/ingest/distribution", chain.fleet.api.url);
    let stranger = Registry::start(folder.path(), &Endpoint::new(url, "Bearer not-the-token")).await;
    stranger.push(&Image::new("one"), "acme/app", "v1").await;
    let refused = async || {
        let refused =
            chain.fleet.api.counted("bellbuoy_requests_unauthorized_total", &[r#"surface="ingest""#]).await;
        (refused > 1.5).then_some(())
    };
    eventually(SOON, refused).await;
    let line = chain.fleet.process.wait_for_line("refused events from 127.0.0.1", SOON).await;
    assert!(line.contains("a wrong credential; its registry holds them back"), "{line}");
    assert!(!line.contains("not-the-token"), "{line}");
    assert!(chain.notices().await < 0.5);
}
