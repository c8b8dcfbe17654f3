//! Payloads as strict receivers read them: numbers are integers, texts are texts and arrays are
//! arrays, in the shapes that the receivers of each registry declare.

use bellbuoy_domain::{
    Context, DeliveryId, Event, Format, Grain, Kind, KindScope, NotificationId, Registry, RepositoryName,
    Subject, Template, dtr, webhook_payload,
};
use jiff::Timestamp;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use uuid::Uuid;

const DIGEST: &str = "sha256:6f664262917ccf81c43c83531a1585726b1276cbc84eb5187ef075d5cad3badb";

fn wish() -> NotificationId {
    NotificationId::from(Uuid::from_u128(1))
}

fn registry() -> Registry {
    Registry { title: "Example".to_owned(), url: "https://registry.example.com:5000".to_owned() }
}

fn push(data: &Value) -> Event {
    let event = json!({
        "specversion": "1.0", "id": "42", "source": "registry.example.com", "type": "repo_push",
        "subject": "acme/app", "time": "2026-03-01T09:20:11.046620425Z", "data": data,
    });
    Event::from_value(event, Timestamp::UNIX_EPOCH).expect("an event")
}

fn full_push() -> Event {
    push(&json!({
        "updated_tags": ["1.4.2"], "digest": DIGEST, "size": 439, "actor": {"name": "kim"},
        "media_type": "application/vnd.oci.image.manifest.v1+json",
        "distribution": {"request": {"addr": "192.0.2.7:48840"}},
    }))
}

fn written(event: &Event, format: Format) -> Result<Value, String> {
    written_by(event, format, None)
}

fn written_by(event: &Event, format: Format, template: Option<&Template>) -> Result<Value, String> {
    let registry = registry();
    let delivery = event.deliveries(wish(), Grain::Event).remove(0);
    let context =
        Context { registry: &registry, delivery, notification: wish(), callback_url: "", dtr_type: None };
    let payload = webhook_payload(event, format, template, &context).map_err(|error| error.to_string())?;
    Ok(serde_json::from_slice(&payload.body).expect("JSON"))
}

fn read<T: DeserializeOwned>(event: &Event, format: Format) -> T {
    serde_json::from_value(written(event, format).expect("a payload"))
        .expect("what a strict receiver declares")
}

#[derive(Deserialize)]
struct DockerHub {
    callback_url: String,
    push_data: PushData,
    repository: HubRepository,
}

#[derive(Deserialize)]
struct PushData {
    images: Vec<String>,
    media_type: String,
    pushed_at: i64,
    pusher: String,
    tag: String,
}

#[derive(Deserialize)]
struct HubRepository {
    comment_count: i64,
    date_created: i64,
    description: String,
    dockerfile: String,
    full_description: String,
    is_official: bool,
    is_private: bool,
    is_trusted: bool,
    name: String,
    namespace: String,
    owner: String,
    repo_name: String,
    repo_url: String,
    star_count: i64,
    status: String,
}

#[test]
fn no_format_or_template_tells_a_receiver_of_a_clients_address() {
    let mut push = full_push();
    push.data["distribution"]["target"] = json!({"tag": "1.4.2"});
    push.data.insert("request".to_owned(), json!({"user_agent": "192.0.2.7"}));
    for format in Format::ALL {
        let told = written(&push, *format).expect("a payload").to_string();
        assert!(told.contains("1.4.2") && !told.contains("192.0.2.7"), "{format}: {told}");
    }
    let template = Template::parse(r#"{"all": "${data}", "one": "${data.distribution.request.addr}"}"#);
    let template = template.expect("a template");
    let told = written_by(&push, Format::CloudEvents, Some(&template)).expect("a payload").to_string();
    assert!(told.contains("1.4.2") && !told.contains("192.0.2.7"), "{told}");
}

#[test]
fn docker_hubs_push_has_integers_and_texts_and_always_a_tag_and_a_name() {
    let payload: DockerHub = read(&full_push(), Format::DockerHub);
    let (data, repository) = (&payload.push_data, &payload.repository);
    assert_eq!((data.pushed_at, data.tag.as_str(), data.pusher.as_str()), (1_772_356_811, "1.4.2", "kim"));
    assert_eq!(data.media_type, "application/vnd.oci.image.config.v1+json");
    assert_eq!(repository.repo_name, "acme/app");
    assert_eq!(repository.repo_url, "https://registry.example.com:5000/r/acme/app");
    assert_eq!(
        [&repository.namespace, &repository.name, &repository.owner, &repository.status],
        ["acme", "app", "acme", "Active"]
    );
    assert_eq!((repository.comment_count, repository.star_count, repository.date_created), (0, 0, 0));
    assert!(!repository.is_official && repository.is_private && !repository.is_trusted);
    assert!(data.images.is_empty() && payload.callback_url.is_empty());
    assert!(repository.description.is_empty() && repository.full_description.is_empty());
    assert!(repository.dockerfile.is_empty());
}

#[derive(Deserialize)]
struct Dtr {
    r#type: String,
    #[serde(rename = "createdAt")]
    created_at: Timestamp,
    contents: Map<String, Value>,
    location: Option<String>,
}

#[test]
fn dtrs_push_is_as_documented() {
    let payload: Dtr = read(&full_push(), Format::Dtr);
    assert_eq!(payload.r#type, "TAG_PUSH");
    assert_eq!(payload.created_at.to_string(), "2026-03-01T09:20:11.046620425Z");
    assert_eq!(payload.location.as_deref(), Some("/repositories/acme/app/tags/1.4.2"));
    assert_eq!(
        Value::from(payload.contents),
        json!({
            "namespace": "acme", "repository": "app", "tag": "1.4.2", "digest": DIGEST,
            "imageName": "registry.example.com:5000/acme/app:1.4.2", "os": "", "architecture": "",
            "author": "kim", "pushedAt": "2026-03-01T09:20:11.046620425Z",
        })
    );
}

/// The members of a test call's contents, in their order.
const DTR_CONTENTS: &[(Kind, &str)] = &[
    (Kind::RepoPush, "namespace repository tag digest imageName os architecture author pushedAt"),
    (Kind::TagPull, "namespace repository tag digest imageName os architecture author pulledAt"),
    (Kind::TagDelete, "namespace repository tag digest imageName os architecture author deletedAt"),
    (Kind::ManifestPush, "namespace repository tag digest imageName os architecture author pushedAt"),
    (Kind::ManifestPull, "namespace repository tag digest imageName os architecture author pulledAt"),
    (Kind::ManifestDelete, "namespace repository tag digest imageName os architecture author deletedAt"),
    (Kind::ScanCompleted, "namespace repository tag imageName scanSummary"),
    (Kind::ScanFailed, "namespace repository tag imageName error"),
    (Kind::RepoCreated, "namespace repository event author data"),
    (Kind::RepoUpdated, "namespace repository event author data"),
    (Kind::RepoDeleted, "namespace repository event author"),
    (
        Kind::ScannerUpdateCompleted,
        "scanner_version scanner_updated_at db_version db_updated_at success replicas",
    ),
    (Kind::Promotion, "namespace repository tag digest imageName os architecture author pushedAt promotion"),
    (
        Kind::PushMirroring,
        "namespace repository tag digest imageName os architecture author pushedAt mirroring",
    ),
    (
        Kind::PollMirroring,
        "namespace repository tag digest imageName os architecture author pushedAt mirroring",
    ),
    (Kind::ChartPush, "namespace repository chart version author pushedAt"),
    (Kind::ChartPull, "namespace repository chart version author pulledAt"),
    (Kind::ChartDelete, "namespace repository chart version author deletedAt"),
    (Kind::ChartLinted, "namespace repository chart version author lintedAt"),
];

#[test]
fn dtrs_test_call_is_constant_for_every_type_but_for_its_time() {
    let now: Timestamp = "2026-11-20T12:00:00Z".parse().expect("a time");
    let later: Timestamp = "2026-11-21T12:00:00Z".parse().expect("a time");
    for kind in Kind::ALL {
        let row = DTR_CONTENTS.iter().find(|(listed, _)| listed == kind);
        let payload = dtr::test_payload(*kind, &registry(), now);
        assert_eq!(payload.is_some(), row.is_some(), "{kind}");
        let (Some(mut payload), Some((_, members))) = (payload, row) else { continue };
        let contents = payload["contents"].as_object().expect("an object");
        assert_eq!(contents.keys().map(String::as_str).collect::<Vec<_>>().join(" "), *members, "{kind}");
        for (member, value) in [
            ("namespace", "foo"),
            ("repository", "bar"),
            ("tag", "latest"),
            ("digest", "sha256:b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c"),
            ("imageName", "registry.example.com:5000/foo/bar:latest"),
            ("os", "linux"),
            ("architecture", "amd64"),
            ("author", ""),
            ("pushedAt", "2015-01-02T15:04:05Z"),
            ("pulledAt", "2015-01-02T15:04:05Z"),
            ("deletedAt", "2015-01-02T15:04:05Z"),
        ] {
            assert!(contents.get(member).is_none_or(|found| found == value), "{kind} {member}: {contents:?}");
        }
        assert_eq!(payload["createdAt"], "2026-11-20T12:00:00Z");
        payload["createdAt"] = json!("2026-11-21T12:00:00Z");
        assert_eq!(dtr::test_payload(*kind, &registry(), later), Some(payload), "{kind}");
    }
    let scan = dtr::test_payload(Kind::ScanCompleted, &registry(), now).expect("a payload");
    assert_eq!(
        scan["contents"]["scanSummary"],
        json!({
            "namespace": "foo", "reponame": "bar", "repository": "bar", "tag": "latest", "critical": 5,
            "major": 3, "minor": 0, "last_scan_status": 6, "check_completed_at": "2015-01-02T15:04:05Z",
            "should_rescan": false, "has_foreign_layers": false,
        })
    );
}

#[test]
fn dtrs_subscription_to_a_repositorys_life_names_itself_and_the_event() {
    let registry = registry();
    for kind in [Kind::RepoCreated, Kind::RepoUpdated, Kind::RepoDeleted] {
        let event = sample(kind);
        let context = Context {
            registry: &registry,
            delivery: DeliveryId::from(Uuid::nil()),
            notification: wish(),
            callback_url: "",
            dtr_type: Some(dtr::REPO_EVENT),
        };
        let payload = webhook_payload(&event, Format::Dtr, None, &context).expect("a payload");
        let payload: Value = serde_json::from_slice(&payload.body).expect("JSON");
        assert_eq!(
            (&payload["type"], payload["contents"]["event"].as_str()),
            (&json!("REPO_EVENT"), kind.dtr_type())
        );
    }
}

#[derive(Deserialize)]
struct Harbor {
    r#type: String,
    occur_at: i64,
    operator: String,
    event_data: HarborData,
}

#[derive(Deserialize)]
struct HarborData {
    #[serde(default)]
    resources: Vec<HarborResource>,
    repository: Option<HarborRepository>,
}

#[derive(Deserialize)]
struct HarborResource {
    digest: String,
    tag: String,
    resource_url: String,
    scan_overview: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
struct HarborRepository {
    date_created: Option<i64>,
    name: String,
    namespace: String,
    repo_full_name: String,
    repo_type: String,
}

#[test]
fn harbors_push_names_the_image_as_a_client_pulls_it() {
    let payload: Harbor = read(&full_push(), Format::Harbor);
    assert_eq!(
        (payload.r#type.as_str(), payload.occur_at, payload.operator.as_str()),
        ("PUSH_ARTIFACT", 1_772_356_811, "kim")
    );
    let [resource] = &payload.event_data.resources[..] else { panic!("one resource") };
    assert_eq!(
        (resource.digest.as_str(), resource.tag.as_str(), resource.resource_url.as_str()),
        (DIGEST, "1.4.2", "registry.example.com:5000/acme/app:1.4.2")
    );
    assert!(resource.scan_overview.is_none());
    let repository = payload.event_data.repository.expect("a repository");
    assert_eq!(
        [&repository.name, &repository.namespace, &repository.repo_full_name, &repository.repo_type],
        ["app", "acme", "acme/app", "private"]
    );
    assert_eq!(repository.date_created, None, "left out when unknown");
}

#[test]
fn harbors_untagged_push_has_the_digest_as_its_tag() {
    let mut event = full_push();
    event.kind = Kind::ManifestPush;
    event.data.remove("updated_tags");
    let payload: Harbor = read(&event, Format::Harbor);
    let resource = &payload.event_data.resources[0];
    assert_eq!(resource.tag, DIGEST);
    assert_eq!(resource.resource_url, format!("registry.example.com:5000/acme/app@{DIGEST}"));
}

#[test]
fn harbors_cloud_event_holds_the_same_data_and_is_one() {
    for kind in Kind::ALL.iter().filter(|kind| Format::Harbor.expresses(**kind)) {
        let event = told(*kind);
        let plain: Value = written(&event, Format::Harbor).expect("a payload");
        let wrapped = written(&event, Format::HarborCloudEvents).expect("a payload");
        assert_eq!(wrapped["data"], plain["event_data"], "{kind}");
        for (name, value) in [("specversion", "1.0"), ("datacontenttype", "application/json")] {
            assert_eq!(wrapped[name], value);
        }
        for name in ["id", "source", "type", "time", "requestid", "operator"] {
            assert!(wrapped[name].is_string(), "{kind} {name}");
        }
        assert!(wrapped["type"].as_str().is_some_and(|name| name.starts_with("harbor.")));
    }
}

#[derive(Deserialize)]
struct Notice {
    id: Uuid,
    timestamp: Timestamp,
    action: String,
    target: Target,
    request: NoticeRequest,
}

#[derive(Deserialize)]
struct Target {
    #[serde(rename = "mediaType")]
    media_type: Option<String>,
    size: Option<i64>,
    length: Option<i64>,
    digest: Option<String>,
    repository: String,
    url: Option<String>,
    tag: Option<String>,
}

#[derive(Deserialize)]
struct NoticeRequest {
    host: String,
    method: String,
    useragent: String,
}

#[derive(Deserialize)]
struct Envelope {
    events: Vec<Notice>,
}

#[test]
fn a_distribution_push_has_a_manifests_url_and_no_clients_address() {
    let envelope: Envelope = read(&full_push(), Format::Distribution);
    let [notice] = &envelope.events[..] else { panic!("one notice") };
    let target = &notice.target;
    let url = target.url.as_deref().expect("a URL");
    assert_eq!(url.rsplit('/').nth(1), Some("manifests"), "{url}");
    assert_eq!(url, format!("https://registry.example.com:5000/v2/acme/app/manifests/{DIGEST}"));
    assert_eq!((target.size, target.length), (Some(439), Some(439)));
    assert_eq!(target.media_type.as_deref(), Some("application/vnd.oci.image.manifest.v1+json"));
    assert_eq!((target.digest.as_deref(), target.tag.as_deref()), (Some(DIGEST), Some("1.4.2")));
    assert_eq!((notice.action.as_str(), target.repository.as_str()), ("push", "acme/app"));
    assert_eq!(
        (notice.request.host.as_str(), notice.request.method.as_str()),
        ("registry.example.com:5000", "PUT")
    );
    assert_eq!(notice.timestamp.as_second(), 1_772_356_811);
    assert_eq!(DeliveryId::from(notice.id), full_push().deliveries(wish(), Grain::Event)[0]);
    let text = written(&full_push(), Format::Distribution).expect("a payload").to_string();
    assert!(!text.contains("192.0.2.7"), "{text}");
}

#[test]
fn a_distribution_deletion_says_by_what_it_names_what_was_deleted() {
    for (kind, has_tag, has_digest) in [
        (Kind::TagDelete, true, false),
        (Kind::ManifestDelete, false, true),
        (Kind::RepoDeleted, false, false),
    ] {
        let envelope: Envelope = read(&sample(kind), Format::Distribution);
        let target = &envelope.events[0].target;
        assert_eq!((target.tag.is_some(), target.digest.is_some()), (has_tag, has_digest), "{kind}");
        assert_eq!(envelope.events[0].action, "delete");
    }
}

#[test]
fn azures_push_is_a_bare_notice_from_its_own_user_agent() {
    let notice: Notice = read(&full_push(), Format::Acr);
    assert_eq!((notice.action.as_str(), notice.target.tag.as_deref()), ("push", Some("1.4.2")));
    assert!(notice.request.useragent.starts_with("AzureContainerRegistry"));
    assert!(Format::Acr.user_agent().is_some_and(|agent| agent.starts_with("AzureContainerRegistry")));
    let deletion = written(&sample(Kind::ManifestDelete), Format::Acr).expect("a payload");
    assert_eq!(
        deletion["target"].as_object().expect("an object").keys().collect::<Vec<_>>(),
        ["mediaType", "digest", "repository"]
    );
}

#[test]
fn what_an_event_lacks_is_named_and_nothing_is_made_up() {
    let without_tag = push(&json!({"updated_tags": [], "digest": DIGEST}));
    let several = push(&json!({"updated_tags": ["a", "b"]}));
    let mut nothing = push(&json!({"updated_tags": []}));
    nothing.kind = Kind::ManifestPush;
    let mut chart = push(&json!({"updated_tags": [], "chart": "api", "digest": DIGEST}));
    chart.kind = Kind::ChartPush;
    for (event, formats, why) in [
        (
            &without_tag,
            &[Format::DockerHub, Format::Dtr, Format::Acr, Format::Distribution][..],
            "it has no tag",
        ),
        (
            &several,
            &[Format::DockerHub, Format::Dtr, Format::Acr, Format::Distribution, Format::Harbor],
            "it has 2 tags, and a request in this format names one",
        ),
        (&nothing, &[Format::Dtr, Format::Acr, Format::Distribution], "it has no digest"),
        (&chart, &[Format::Acr], "it has no version"),
        (&nothing, &[Format::Harbor, Format::HarborCloudEvents], "it has no tag or digest"),
    ] {
        for format in formats {
            let refused = written(event, *format).expect_err("refused");
            assert_eq!(refused, format!("format `{format}` can't tell of this {}: {why}", event.kind));
        }
    }
}

#[test]
fn an_empty_tag_is_none_and_a_tag_named_twice_is_one_in_every_format_that_names_one() {
    let one_tag = || Format::ALL.iter().filter(|format| format.names_one_tag());
    assert!(one_tag().count() > 4);
    for format in one_tag() {
        let told = |tags: Value| written(&push(&json!({"updated_tags": tags, "digest": DIGEST})), *format);
        let plain = told(json!(["v1"]));
        assert!(plain.is_ok(), "{format} {plain:?}");
        for tags in [json!(["v1", ""]), json!(["", "v1"]), json!(["v1", "", "v1"])] {
            assert_eq!(told(tags.clone()), plain, "{format} {tags}");
        }
        assert_eq!(told(json!([""])), told(json!([])), "{format}");
        let several = told(json!(["v1", "", "v2", "v1"])).expect_err("refused");
        assert!(several.contains("it has 2 tags"), "{several}");
    }
}

#[test]
fn a_format_tells_of_a_kinds_test_call_exactly_if_it_has_a_word_for_it() {
    for (format, kind) in
        Format::ALL.iter().flat_map(|format| Kind::ALL.iter().map(move |kind| (format, kind)))
    {
        assert_eq!(written(&told(*kind), *format).is_ok(), format.expresses(*kind), "{format} {kind}");
    }
}

fn sample(kind: Kind) -> Event {
    let subject = match kind.scope() {
        KindScope::Repository => Subject::Repository(RepositoryName::parse("acme/app").expect("a name")),
        KindScope::Namespace => Subject::Namespace("acme".to_owned()),
        KindScope::Registry => Subject::Registry,
    };
    Event::sample(kind, subject, &Map::new(), "registry.example.com", "42", Timestamp::UNIX_EPOCH)
}

/// The first request of a kind's sample where a request names one tag.
fn told(kind: Kind) -> Event {
    let event = sample(kind);
    let first = event.deliveries(wish(), Grain::Tag).remove(0);
    event.part(first, wish()).into_owned()
}
