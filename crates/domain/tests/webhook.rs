//! A webhook's settings beside its URL and template: what each means, and what is refused.

use std::num::NonZeroU32;

use bellbuoy_domain::{
    Authorization, Format, Grain, HttpMethod, Kind, MethodConfig, Notification, NotificationState,
    RepositoryName, Scope, SignatureStyle, SuccessStatuses, WebhookOptions,
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use uuid::Uuid;

fn read(config: &Value) -> Result<WebhookOptions, String> {
    WebhookOptions::parse(config.as_object().expect("an object")).map_err(|error| error.to_string())
}

fn notification(format: &str, kinds: &[Kind], config: &Value) -> Notification {
    Notification {
        id: Uuid::from_u128(1).into(),
        title: None,
        scope: Scope::Repository(RepositoryName::parse("acme/api").expect("a name")),
        kinds: kinds.to_vec(),
        event_config: Map::new(),
        method: "webhook".to_owned(),
        config: config.as_object().expect("an object").clone(),
        secret: None,
        format: format.to_owned(),
        retry: None,
        state: NotificationState::Active,
        state_reason: None,
        failures: 0,
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
        author: None,
        succeeded_at: None,
    }
}

#[test]
fn without_a_word_a_webhook_is_a_signed_post_that_a_2xx_takes() {
    for config in [
        json!({}),
        json!({"version": 1, "unknown": [1]}),
        json!({
            "one_request_per": null, "http_method": "", "headers": null, "secret_headers": null, "bearer_token": "",
            "username": null, "success_statuses": null, "follow_redirects": null, "signatures": null, "dtr_type": "",
        }),
    ] {
        let options = read(&config).expect("options");
        assert_eq!(options.method, HttpMethod::Post);
        assert_eq!((options.grain, &options.success, &options.dtr_type), (None, &None, &None));
        assert_eq!(options.authorization, Authorization::None);
        assert_eq!(options.signatures, [SignatureStyle::StandardWebhooks]);
        assert!(options.headers.is_empty() && options.secret_headers.is_empty() && !options.follow_redirects);
    }
}

#[test]
fn each_setting_is_understood() {
    let options = read(&json!({
        "one_request_per": "tag", "http_method": "put", "headers": {"X-Team": "a b\tc"},
        "secret_headers": {"X-Gitlab-Token": "********"}, "username": "kim", "password": "********",
        "success_statuses": ["2xx", 302, "400-403"], "follow_redirects": true, "rate": 30,
        "signatures": ["x-hub-signature-256", "x-signature", "x-signature"], "dtr_type": "REPO_EVENT",
    }))
    .expect("options");
    assert_eq!((options.grain, options.method), (Some(Grain::Tag), HttpMethod::Put));
    assert_eq!(options.headers, [("x-team".to_owned(), "a b\tc".to_owned())]);
    assert_eq!(options.secret_headers, ["x-gitlab-token"]);
    assert_eq!(options.authorization, Authorization::Basic("kim".to_owned()));
    let success = options.success.expect("statuses");
    let taken =
        [200, 204, 299, 301, 302, 303, 399, 400, 403, 404, 500].map(|status| success.contains(status));
    assert_eq!(taken, [true, true, true, false, true, false, false, true, true, false, false]);
    assert!(options.follow_redirects);
    assert_eq!(options.rate.map(NonZeroU32::get), Some(30));
    assert_eq!(options.signatures, [SignatureStyle::Hub, SignatureStyle::Flux]);
    assert_eq!(options.dtr_type.as_deref(), Some("REPO_EVENT"));
    assert_eq!(
        read(&json!({"bearer_token": "********"})).expect("options").authorization,
        Authorization::Bearer
    );
    assert_eq!(
        read(&json!({"authorization": "********"})).expect("options").authorization,
        Authorization::Verbatim
    );
    assert_eq!(read(&json!({"signatures": []})).expect("options").signatures, []);
}

#[test]
fn what_will_not_do_is_named_with_the_remedy() {
    let many: Map<String, Value> = (0..21).map(|n| (format!("X-{n}"), json!("v"))).collect();
    for (config, expected) in [
        (json!({"version": 2}), "`config.version` is 2, but this program reads version 1"),
        (
            json!({"one_request_per": "page"}),
            "`config.one_request_per` is \"page\", but should be one of event, tag",
        ),
        (
            json!({"http_method": "DELETE"}),
            "`config.http_method` is \"DELETE\", but should be one of GET, POST, PUT, PATCH",
        ),
        (json!({"http_method": 1}), "`config.http_method` should be a string"),
        (json!({"headers": []}), "`config.headers` should be an object"),
        (json!({"headers": {"X-A": 1}}), "`config.headers.X-A` should be a string"),
        (json!({"headers": {"X-A": "a\r\nX-B: c"}}), "`config.headers.X-A` holds control characters"),
        (json!({"headers": {"X A": "v"}}), "`config.headers.X A` is no header's name"),
        (json!({"headers": {"": "v"}}), "is no header's name"),
        (json!({"headers": {"Authorization": "v"}}), "goes into `bearer_token`"),
        (json!({"headers": {"Cookie": "v"}}), "put it into `secret_headers`"),
        (json!({"headers": {"Host": "v"}}), "that Bellbuoy itself or the connection sets"),
        (json!({"headers": {"Webhook-Id": "v"}}), "that Bellbuoy itself"),
        (json!({"headers": {"X-Hub-Signature-256": "v"}}), "that Bellbuoy itself"),
        (json!({"secret_headers": {"Transfer-Encoding": "********"}}), "that Bellbuoy itself"),
        (json!({"headers": many}), "are more than 20"),
        (json!({"username": "a:b", "password": "********"}), "`config.username` holds a colon"),
        (json!({"username": "a"}), "`config.password` is missing"),
        (json!({"password": "********"}), "`config.username` is missing"),
        (json!({"bearer_token": "********", "authorization": "********"}), "choose one of"),
        (json!({"success_statuses": []}), "should hold 1 to 20"),
        (json!({"success_statuses": "2xx"}), "should be an array"),
        (
            json!({"success_statuses": [500]}),
            "`config.success_statuses[0]` is 500, but should be a status from 200",
        ),
        (json!({"success_statuses": [200, "204-200"]}), "`config.success_statuses[1]`"),
        (json!({"success_statuses": ["2XX"]}), "`config.success_statuses[0]`"),
        (json!({"follow_redirects": "yes"}), "should be true or false"),
        (json!({"rate": 0}), "is 0, but should be a whole number from 1 to 60000: attempts a minute"),
        (json!({"rate": 60_001}), "should be a whole number from 1 to 60000"),
        (json!({"rate": "30"}), "should be a whole number from 1 to 60000"),
        (json!({"rate": 0.5}), "should be a whole number from 1 to 60000"),
        (
            json!({"signatures": ["md5"]}),
            "should be one of standard-webhooks, standard-webhooks-v1a, x-hub-signature-256, x-signature",
        ),
        (json!({"signatures": [1]}), "should be an array of strings"),
        (json!({"dtr_type": "TAG_PUSH"}), "can only be \"REPO_EVENT\""),
    ] {
        let error = read(&config).expect_err("refused");
        assert!(error.contains(expected), "{config}: {error}");
    }
}

#[test]
fn success_is_a_2xx_and_for_docker_hubs_receivers_a_302_as_well() {
    for format in Format::ALL {
        let usual = SuccessStatuses::usual(*format);
        assert!(usual.contains(200) && usual.contains(299) && !usual.contains(300) && !usual.contains(404));
        assert_eq!(usual.contains(302), *format == Format::DockerHub, "{format}");
    }
}

#[test]
fn the_format_decides_how_many_requests_a_push_is_unless_the_owner_does() {
    let grain = |format: &str, config: &Value| {
        notification(format, &[Kind::RepoPush], config).check().map(|checked| checked.grain())
    };
    let (plain, by_tag) = (
        json!({"url": "https://ci.example/"}),
        json!({"url": "https://ci.example/", "one_request_per": "tag"}),
    );
    for format in Format::ALL {
        let expected = if format.names_one_tag() { Grain::Tag } else { Grain::Event };
        assert_eq!(grain(format.name(), &plain), Ok(expected), "{format}");
        assert_eq!(grain(format.name(), &by_tag), Ok(Grain::Tag), "{format}");
    }
    let by_event = json!({"url": "https://ci.example/", "one_request_per": "event"});
    assert_eq!(grain("quay", &by_event), Ok(Grain::Event));
    let error = grain("dockerhub", &by_event).expect_err("refused").to_string();
    assert!(error.contains("a payload in format `dockerhub` names one tag"), "{error}");
    let with_type = json!({"url": "https://ci.example/", "dtr_type": "REPO_EVENT"});
    let error = grain("quay", &with_type).expect_err("refused").to_string();
    assert!(error.contains("is for format `dtr` alone"), "{error}");
}

#[test]
fn a_format_without_a_word_for_a_kind_is_refused_and_says_which_it_has() {
    let url = json!({"url": "https://ci.example/"});
    let refused = |format: &str, kinds: &[Kind]| {
        notification(format, kinds, &url).check().expect_err("refused").to_string()
    };
    assert_eq!(
        refused("dockerhub", &[Kind::RepoPush, Kind::BuildStart]),
        "format `dockerhub` has no word for build_start; it can tell of repo_push"
    );
    assert!(
        refused("harbor", &[Kind::TagDelete])
            .contains("it can tell of repo_push, repo_mirror_sync_success, ")
    );
    for format in Format::ALL {
        for kind in Kind::ALL {
            let checked = notification(format.name(), &[*kind], &url).check();
            assert_eq!(checked.is_ok(), format.expresses(*kind), "{format} {kind}");
        }
    }
}

#[test]
fn a_url_with_places_is_checked_like_any_other() {
    for (url, is_fine) in [
        ("https://ci.example/${name}?tag=${tag}", true),
        ("https://${tag}.example/", false),
        ("https://user@ci.example/${tag}", false),
        ("https://ci.example/${nonsense}", false),
        ("ftp://ci.example/${tag}", false),
    ] {
        let checked = notification("quay", &[Kind::RepoPush], &json!({ "url": url })).check();
        assert_eq!(checked.is_ok(), is_fine, "{url}: {checked:?}");
        let error = checked.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(is_fine || error.starts_with("Invalid webhook URL"), "{error}");
    }
}

#[test]
fn a_chain_is_up_to_nine_further_urls_for_the_format_whose_receivers_call_back() {
    let urls = |count: usize| {
        (0..count).map(|n| format!("https://ci.example.com/{n}?tag=${{tag}}")).collect::<Vec<_>>()
    };
    let chained = |format: &str, chain: Value| {
        let config = json!({"url": "https://ci.example.com/first", "chain": chain});
        notification(format, &[Kind::RepoPush], &config).check().map_err(|error| error.to_string())
    };
    let checked = chained("dockerhub", json!(urls(9))).expect("a chain");
    let url_at = |link| {
        checked.at_link(link).map(|checked| match &checked.method {
            MethodConfig::Webhook(webhook) => webhook.url.clone(),
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(url_at(0).as_deref(), Some("https://ci.example.com/first"));
    assert_eq!((url_at(1), url_at(9)), (Some(urls(9)[0].clone()), Some(urls(9)[8].clone())));
    assert_eq!(url_at(10), None);
    assert!(chained("dockerhub", json!([])).is_ok() && chained("quay", json!([])).is_ok());
    for (format, chain, word) in [
        ("dockerhub", json!(urls(10)), "up to 9 URLs"),
        ("dockerhub", json!("https://ci.example.com/"), "an array"),
        ("dockerhub", json!(["https://ci.example.com/", 7]), "`config.chain[1]`"),
        ("dockerhub", json!(["ftp://ci.example.com/"]), "`config.chain[0]`"),
        ("dockerhub", json!(["https://kim:pass@ci.example.com/"]), "`config.chain[0]`"),
        ("dockerhub", json!(["https://${tag}.example.com/"]), "`config.chain[0]`"),
        ("quay", json!(urls(1)), "for format `dockerhub` alone"),
    ] {
        let refused = chained(format, chain).expect_err("refused");
        assert!(refused.contains(word), "{refused}");
    }
}
