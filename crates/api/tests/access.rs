//! Who gets in where: every route with every kind of credential, and what strangers learn.

mod common;

use base64::{Engine, prelude::BASE64_STANDARD};
use bellbuoy_api::{Auth, Readiness, ServerLimits};
use bellbuoy_telemetry::Counter;
use common::{JSON, Rig, TOKEN, problem, quay_problem};
use serde_json::json;

/// Every route, a verb that it has, and what it answers to a holder of the token who sends no body.
const ROUTES: &[(&str, &str, u16)] = &[
    ("GET", "/metrics", 200),
    ("POST", "/v1/events", 415),
    ("POST", "/v1/events/", 415),
    ("GET", "/v1/events/1", 404),
    ("POST", "/v1/ingest/distribution", 202),
    ("POST", "/v1/ingest/distribution/", 202),
    ("POST", "/v1/ingest/gitlab", 202),
    ("POST", "/v1/ingest/harbor", 202),
    ("POST", "/v1/ingest/zot", 202),
    ("POST", "/v1/ingest/acr", 202),
    ("POST", "/v1/ingest/dockerhub", 202),
    ("POST", "/v1/ingest/ecr", 202),
    ("POST", "/v1/ingest/ghcr", 202),
    ("GET", "/v1/notifications", 200),
    ("POST", "/v1/notifications", 415),
    ("GET", "/v1/notifications/0b6b1f0e-6f0e-4d7b-9a3a-3d0c9d8d5a11", 404),
    ("PUT", "/v1/notifications/0b6b1f0e-6f0e-4d7b-9a3a-3d0c9d8d5a11", 415),
    ("DELETE", "/v1/notifications/0b6b1f0e-6f0e-4d7b-9a3a-3d0c9d8d5a11", 404),
    ("POST", "/v1/notifications/0b6b1f0e-6f0e-4d7b-9a3a-3d0c9d8d5a11/pause", 404),
    ("POST", "/v1/notifications/0b6b1f0e-6f0e-4d7b-9a3a-3d0c9d8d5a11/resume", 404),
    ("POST", "/v1/notifications/0b6b1f0e-6f0e-4d7b-9a3a-3d0c9d8d5a11/reset", 404),
    ("POST", "/v1/notifications/0b6b1f0e-6f0e-4d7b-9a3a-3d0c9d8d5a11/test", 404),
    ("GET", "/v1/deliveries", 200),
    ("GET", "/v1/deliveries/0b6b1f0e-6f0e-4d7b-9a3a-3d0c9d8d5a11", 404),
    ("POST", "/v1/deliveries/0b6b1f0e-6f0e-4d7b-9a3a-3d0c9d8d5a11/resend", 404),
    ("GET", "/v1/dead-letters", 200),
    ("GET", "/v1/dead-letters/0b6b1f0e-6f0e-4d7b-9a3a-3d0c9d8d5a11", 404),
    ("DELETE", "/v1/dead-letters/0b6b1f0e-6f0e-4d7b-9a3a-3d0c9d8d5a11", 404),
    ("POST", "/v1/dead-letters/0b6b1f0e-6f0e-4d7b-9a3a-3d0c9d8d5a11/replay", 404),
    ("GET", "/v1/nothing", 404),
    ("GET", "/nothing", 404),
    ("GET", "/healthz/", 404),
    ("GET", "//healthz", 404),
    ("GET", "/v1/../healthz", 404),
];

/// The same on Quay's surface.
const QUAY_ROUTES: &[(&str, &str, u16)] = &[
    ("GET", "/api/v1/repository/acme/api/notification/", 200),
    ("POST", "/api/v1/repository/acme/api/notification/", 415),
    ("GET", "/api/v1/repository/acme/api/notification", 308),
    ("GET", "/api/v1/repository/acme/api/notification/0b6b1f0e-6f0e-4d7b-9a3a-3d0c9d8d5a11", 404),
    ("DELETE", "/api/v1/repository/acme/api/notification/0b6b1f0e-6f0e-4d7b-9a3a-3d0c9d8d5a11", 400),
    ("POST", "/api/v1/repository/acme/api/notification/0b6b1f0e-6f0e-4d7b-9a3a-3d0c9d8d5a11", 400),
    ("POST", "/api/v1/repository/acme/api/notification/0b6b1f0e-6f0e-4d7b-9a3a-3d0c9d8d5a11/test", 400),
    ("PUT", "/api/v1/repository/acme/api/notification/0b6b1f0e-6f0e-4d7b-9a3a-3d0c9d8d5a11", 400),
    ("GET", "/api/v1/repository/acme/api", 404),
    ("DELETE", "/api/v1/repository/acme/api", 404),
    ("POST", "/api/v1/repository", 415),
    ("GET", "/api/v1/repository/acme/api/permissions/team/", 200),
    ("GET", "/api/v1/repository/acme/api/authorizedemail/a@b.c", 404),
    ("GET", "/api/v1/user/", 200),
    ("GET", "/api/v1/user/notifications", 200),
    ("GET", "/api/v1/user/namespacenotifications", 403),
    ("GET", "/api/v1/organization/acme", 404),
    ("POST", "/api/v1/organization/acme/notifications", 404),
    ("GET", "/api/v1/entities/ann", 200),
    ("POST", "/api/v1/signout", 200),
    ("GET", "/api/v1/error/not_found", 200),
    ("GET", "/api/v1/error/nothing", 404),
    ("GET", "/api/v1/nothing", 404),
];

fn basic(pair: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(pair))
}

#[tokio::test]
async fn every_route_but_health_needs_a_token_of_ours() {
    let rig = Rig::with(|api| api.limits.wrong_tokens = u32::MAX, ServerLimits::default()).await;
    let wrong = [
        None,
        Some("Bearer".to_owned()),
        Some("Bearer wrong".to_owned()),
        Some(format!("Bearer {TOKEN}x")),
        Some(TOKEN.to_owned()),
        Some(basic(TOKEN)),
        Some(basic(&format!("{TOKEN}:"))),
        Some("Basic ???".to_owned()),
        Some(format!("Bearer {}", "x".repeat(40_000))),
    ];
    let right = [format!("Bearer {TOKEN}"), format!("bearer {TOKEN}"), basic(&format!("any:{TOKEN}"))];
    for (index, (verb, path, expected)) in ROUTES.iter().chain(QUAY_ROUTES).enumerate() {
        for credential in &wrong {
            let headers: Vec<_> = credential.iter().map(|value| ("authorization", value.as_str())).collect();
            let answer = rig.raw(verb, path, &headers, "").await;
            // Quay takes a change without a right credential for the doing of a browser that was misled.
            let misled = index >= ROUTES.len() && *verb != "GET";
            assert_eq!(answer.headers.contains_key("www-authenticate"), !misled, "{verb} {path}");
            if index < ROUTES.len() {
                problem(&answer, 401);
            } else if misled {
                quay_problem(&answer, 403, "insufficient_scope");
            } else {
                assert_eq!(quay_problem(&answer, 401, "invalid_token"), "Requires authentication");
            }
        }
        for credential in &right {
            let answer = rig.raw(verb, path, &[("authorization", credential)], "").await;
            assert_eq!(answer.status.as_u16(), *expected, "{verb} {path} {}", answer.text());
        }
    }
}

/// What guesses of a token over and over are answered.
async fn guess(rig: &Rig, path: &str, times: usize) -> Vec<u16> {
    let mut answers = Vec::with_capacity(times);
    for _ in 0..times {
        let answer = rig.raw("GET", path, &[("authorization", "Bearer wrong")], "").await;
        assert_eq!(answer.headers.contains_key("www-authenticate"), answer.status == 401);
        if answer.status == 429 {
            let wait: u64 = answer.headers["retry-after"].to_str().expect("text").parse().expect("seconds");
            assert!((1..=60).contains(&wait), "{wait}");
        }
        answers.push(answer.status.as_u16());
    }
    answers
}

#[tokio::test]
async fn guessing_a_token_is_slow_and_luck_does_not_show() {
    let limited = |wrong| Rig::with(move |api| api.limits.wrong_tokens = wrong, ServerLimits::default());
    let rig = limited(3).await;
    assert_eq!(guess(&rig, "/v1/notifications", 4).await, [401, 401, 401, 429]);
    let quay = "/api/v1/repository/acme/api/notification/";
    assert_eq!(guess(&rig, quay, 1).await, [429]);
    let detail = problem(&rig.get("/v1/notifications").await, 429);
    assert!(detail.contains("too many"), "a right one is told the same: {detail}");
    assert_eq!(rig.get("/").await.json().get("version"), None, "nor does any other answer tell");
    let stranger = rig.raw("GET", "/v1/notifications", &[], "").await;
    assert_eq!((stranger.status.as_u16(), rig.get("/healthz").await.status.as_u16()), (401, 200));

    // Guesses where a right token makes a difference are guesses too.
    let rig = limited(3).await;
    assert_eq!(guess(&rig, "/", 2).await, [200, 200]);
    assert_eq!(guess(&rig, "/readyz", 1).await, [200]);
    assert_eq!(guess(&rig, "/v1/notifications", 1).await, [429]);
}

#[tokio::test]
async fn whoever_was_let_in_before_is_not_shut_out_by_a_guesser_from_the_same_address() {
    let rig = Rig::start().await;
    assert_eq!(rig.get("/v1/notifications").await.status, 200);
    let answers = guess(&rig, "/v1/notifications", 110).await;
    assert!(answers[..100].iter().all(|status| *status == 401), "{answers:?}");
    assert!(answers.contains(&429), "{answers:?}");
    assert_eq!(rig.get("/v1/notifications").await.status, 200);
}

#[tokio::test]
async fn a_token_in_the_query_is_none() {
    let rig = Rig::start().await;
    let path = "/v1/notifications?token=correct%20horse&access_token=correct%20horse";
    problem(&rig.raw("GET", path, &[], "").await, 401);
}

#[tokio::test]
async fn strangers_learn_that_it_lives_and_nothing_else() {
    let rig = Rig::with(
        |api| {
            api.readiness =
                Readiness::default().with("fanout", || Err("last seen at secret-host".to_owned()));
        },
        ServerLimits::default(),
    )
    .await;
    assert_eq!(rig.raw("GET", "/healthz", &[], "").await.status, 200);
    let root = rig.raw("GET", "/", &[], "").await;
    assert_eq!((root.status.as_u16(), root.json().get("version")), (200, None));
    assert_eq!(rig.get("/").await.json()["version"], "1.2.3-test");

    let ready = rig.raw("GET", "/readyz", &[], "").await;
    let expected = serde_json::json!({
        "ready": false, "checks": {"broker": "ok", "store": "ok", "fanout": "failing"},
    });
    assert_eq!((ready.status.as_u16(), ready.json()), (503, expected));
    assert_eq!(rig.get("/readyz").await.json()["checks"]["fanout"], "last seen at secret-host");
}

#[tokio::test]
async fn where_metrics_are_open_everybody_learns_why_it_is_not_ready() {
    let rig = Rig::with(
        |api| {
            api.auth = Auth::new([TOKEN]).expect("a token").with_open_metrics();
            api.readiness = Readiness::default().with("fanout", || Err("waits for the store".to_owned()));
        },
        ServerLimits::default(),
    )
    .await;
    let ready = rig.raw("GET", "/readyz", &[], "").await;
    assert_eq!(
        (ready.status.as_u16(), &ready.json()["checks"]["fanout"]),
        (503, &"waits for the store".into())
    );
}

#[tokio::test]
async fn metrics_are_open_only_where_the_settings_say_so() {
    let closed = Rig::start().await;
    problem(&closed.raw("GET", "/metrics", &[], "").await, 401);
    let open = Rig::with(
        |api| api.auth = Auth::new([TOKEN]).expect("a token").with_open_metrics(),
        ServerLimits::default(),
    )
    .await;
    let answer = open.raw("GET", "/metrics", &[], "").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert!(answer.text().contains("# TYPE process_resident_memory_bytes gauge"), "{}", answer.text());
}

#[tokio::test]
async fn bad_credentials_are_counted_by_surface() {
    let rig = Rig::start().await;
    for path in ["/v1/events", "/v1/ingest/distribution", "/v1/ingest/unknown", "/api/v1/x", "/v1/x", "/x"] {
        rig.raw("POST", path, &[("authorization", "Bearer wrong")], "{}").await;
    }
    let counted = |surface| rig.counted(Counter::RequestsUnauthorized, &[surface]);
    assert_eq!([counted("ingest"), counted("quay"), counted("native"), counted("other")], [3, 1, 1, 1]);
}

#[tokio::test]
async fn forwarding_headers_do_not_help_and_every_answer_is_nosniff() {
    let rig = Rig::start().await;
    let headers =
        [("x-forwarded-for", "127.0.0.1"), ("x-real-ip", "127.0.0.1"), ("x-forwarded-user", "admin")];
    let refused = rig.raw("GET", "/v1/notifications", &headers, "").await;
    let answers = [
        refused,
        rig.raw("GET", "/healthz", &[], "").await,
        rig.get("/nothing").await,
        rig.get("/v1/notifications").await,
        rig.get("/api/v1/repository/acme/api/notification").await,
        rig.send("PATCH", "/v1/events", &[], "").await,
    ];
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status.as_u16()).collect();
    assert_eq!(statuses, [401, 200, 404, 200, 308, 405]);
    for answer in answers {
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
    }
}

#[tokio::test]
async fn a_verb_that_a_path_does_not_have_is_405_and_says_which_it_has() {
    let rig = Rig::start().await;
    for (verb, path, allowed) in [
        ("GET", "/v1/events", "POST"),
        ("GET", "/v1/ingest/distribution", "POST"),
        ("HEAD", "/v1/ingest/distribution/", "POST"),
        ("OPTIONS", "/v1/notifications", "GET,HEAD,POST"),
        ("TRACE", "/v1/notifications", "GET,HEAD,POST"),
        ("BREW", "/v1/deliveries", "GET,HEAD"),
        ("POST", "/v1/deliveries", "GET,HEAD"),
        ("GET", "/v1/deliveries/1/resend", "POST"),
        ("PUT", "/v1/dead-letters/1", "GET,HEAD,DELETE"),
        ("GET", "/v1/dead-letters/1/replay", "POST"),
        ("PUT", "/api/v1/repository/acme/api/notification/", "GET,HEAD,POST"),
        ("PATCH", "/api/v1/repository/acme/api/notification/u", "GET,HEAD,PUT,DELETE,POST"),
        ("GET", "/api/v1/signin", "POST"),
        ("DELETE", "/api/v1/user/notifications/u", "GET,HEAD,PUT"),
        ("GET", "/api/v1/repository/acme/api/notification/u/test", "POST"),
        ("DELETE", "/api/v1/error/not_found", "GET,HEAD"),
    ] {
        let answer = rig.send(verb, path, &[], "").await;
        assert_eq!(answer.status, 405, "{verb} {path}");
        assert_eq!(answer.headers["allow"], allowed, "{verb} {path}");
        if verb == "HEAD" {
            assert!(answer.body.is_empty());
        } else if path.starts_with("/api/") {
            quay_problem(&answer, 405, "invalid_request");
        } else {
            problem(&answer, 405);
        }
    }
}

/// One notice of a push, as GitHub and Docker Hub send it.
fn package() -> String {
    json!({"action": "published", "package": {
        "name": "api", "namespace": "acme", "ecosystem": "CONTAINER",
        "package_version": {"container_metadata": {"tag": {"name": "v1"}}},
    }})
    .to_string()
}

#[tokio::test]
async fn a_registry_that_can_send_no_header_shows_its_token_in_the_url_of_ingest_and_nowhere_else() {
    let (rig, token) = (Rig::start().await, TOKEN.replace(' ', "%20"));
    for (path, status) in [
        (format!("/v1/ingest/dockerhub?token={token}"), 202),
        (format!("/v1/ingest/ghcr/?source=a&token={token}"), 202),
        ("/v1/ingest/dockerhub?token=wrong".to_owned(), 401),
        ("/v1/ingest/dockerhub?token=".to_owned(), 401),
        ("/v1/ingest/dockerhub".to_owned(), 401),
        (format!("/v1/events?token={token}"), 401),
        (format!("/v1/notifications?token={token}"), 401),
    ] {
        let answer = rig.raw("POST", &path, &[JSON], package()).await;
        assert_eq!(answer.status, status, "{path}");
    }
    // A header of its own is what counts.
    let headers = [JSON, ("authorization", "Bearer wrong")];
    let answer = rig.raw("POST", &format!("/v1/ingest/ghcr?token={token}"), &headers, package()).await;
    assert_eq!(answer.status, 401);
}

#[tokio::test]
async fn what_github_signs_with_our_secret_needs_no_token() {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"hunter2");
    let sign = |body: &str| {
        let tag = ring::hmac::sign(&key, body.as_bytes());
        tag.as_ref().iter().fold("sha256=".to_owned(), |text, byte| text + &format!("{byte:02x}"))
    };
    let (genuine, forged) = (sign(&package()), sign("another body"));
    let rig = Rig::with(|api| api.github_secret = Some("hunter2".into()), ServerLimits::default()).await;
    let authorization = format!("Bearer {TOKEN}");
    for (path, signature, token, status) in [
        ("/v1/ingest/ghcr", genuine.as_str(), None, 202),
        ("/v1/ingest/ghcr/", &genuine, Some(authorization.as_str()), 202),
        ("/v1/ingest/ghcr", &forged, None, 401),
        ("/v1/ingest/ghcr", &forged, Some(&authorization), 401),
        ("/v1/ingest/ghcr", "sha256=", None, 401),
        ("/v1/ingest/ghcr", &genuine, Some("Bearer wrong"), 401),
        ("/v1/ingest/harbor", &genuine, None, 401),
        ("/v1/events", &genuine, None, 401),
    ] {
        let mut headers = vec![JSON, ("x-hub-signature-256", signature)];
        headers.extend(token.map(|token| ("authorization", token)));
        let answer = rig.raw("POST", path, &headers, package()).await;
        assert_eq!(answer.status, status, "{path} {signature} {token:?}");
    }
    let answer =
        rig.raw("POST", "/v1/ingest/ghcr", &[JSON, ("authorization", &authorization)], package()).await;
    assert_eq!(answer.status, 202, "without a signature a token will do");

    let rig = Rig::start().await;
    let headers = [JSON, ("x-hub-signature-256", genuine.as_str())];
    assert_eq!(
        rig.raw("POST", "/v1/ingest/ghcr", &headers, package()).await.status,
        401,
        "we have no secret"
    );
}
