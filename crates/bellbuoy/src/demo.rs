//! `serve --demo`: the main job, shown. A sample repository with notifications of several methods,
//! a receiver of its own, and events of which one is delivered at once, one after two failures and
//! one never. Everything goes through the same API that any client uses.

mod receiver;

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, bail};
use axum::body::Body;
use bellbuoy_store::SecretKeys;
use http::{Method, Request, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;

use self::receiver::Receiver;
use crate::{
    commands::say,
    config::{self, Config},
    serve::{Fleet, Signals, runtime},
};

/// How long the show may take before it says that something is wrong.
const PATIENCE: Duration = Duration::from_mins(1);

/// How often the history is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

const REPOSITORY: &str = "acme/api";

/// The settings that make the show short; the environment wins over them.
const SETTINGS: &[(&str, &str)] = &[
    ("BELLBUOY_OUTBOUND__ALLOW", "127.0.0.0/8"),
    ("BELLBUOY_RETRY__STEPS", "1s,2s,4s"),
    ("BELLBUOY_REGISTRY__URL", "https://registry.example.com"),
    ("BELLBUOY_LOG__FILTER", "warn,bellbuoy_workers=error"),
];

/// `bellbuoy serve --demo`.
pub(crate) fn run(environment: &BTreeMap<String, String>) -> anyhow::Result<()> {
    runtime()?.block_on(async {
        let demo = Demo::prepare(environment).await?;
        let mut signals = Signals::listen()?;
        let Some(fleet) = Fleet::start_unless(demo.config.clone(), &mut signals).await? else {
            return Ok(());
        };
        let result = tokio::select! {
            result = demo.play(&fleet) => result,
            () = signals.next() => Ok(()),
        };
        signals.end_at_the_next();
        fleet.stop().await;
        result
    })
}

/// The demo before its fleet is started.
struct Demo {
    config: Config,
    receiver: Receiver,
    // Deleted when the demo ends.
    _directory: TempDir,
}

impl Demo {
    async fn prepare(environment: &BTreeMap<String, String>) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("bellbuoy-demo-").tempdir()?;
        let mut settings: BTreeMap<String, String> =
            SETTINGS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        settings.insert("BELLBUOY_DATA_DIR".to_owned(), directory.path().display().to_string());
        if !environment.keys().any(|name| name.starts_with("BELLBUOY_STORE__SECRET_KEY")) {
            let key =
                SecretKeys::generate().map_err(|_| anyhow::anyhow!("the system gives no random bytes"))?;
            settings.insert("BELLBUOY_STORE__SECRET_KEY".to_owned(), key);
        }
        settings.extend(environment.clone());
        if !environment.contains_key("BELLBUOY_LISTEN") && is_taken("127.0.0.1:8080").await {
            settings.insert("BELLBUOY_LISTEN".to_owned(), "127.0.0.1:0".to_owned());
        }
        let config =
            config::load(None, &settings, |path| std::fs::read_to_string(path)).map_err(|errors| {
                anyhow::anyhow!("{}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
            })?;
        Ok(Self { config, receiver: Receiver::start().await?, _directory: directory })
    }

    /// Plays the show and then stays, so that its audience can look around.
    async fn play(&self, fleet: &Fleet) -> anyhow::Result<()> {
        say(&format!("Bellbuoy is up at {}, with a receiver at {}.\n", fleet.url, self.receiver.url));
        say(&format!("1. Notifications of repository {REPOSITORY}, made as a Quay client makes them:"));
        for (title, event, path) in [
            ("deploy hook", "repo_push", "/deploy"),
            ("build status (its receiver fails twice, then recovers)", "build_success", "/flaky"),
            ("old audit log (its receiver is broken for good)", "build_failure", "/broken"),
        ] {
            let config = json!({"url": format!("{}{path}", self.receiver.url)});
            self.notify(fleet, title, event, "webhook", config).await?;
        }
        let people = json!({"version": 1, "users": [{"name": "kim"}], "organizations": [
            {"name": "acme", "teams": [{"name": "platform", "members": ["kim"]}]}]});
        ask(fleet, Method::POST, "/v1/directory/import", Some((people, "application/json"))).await?;
        let target = json!({"target": {"kind": "team", "name": "platform"}});
        self.notify(fleet, "the team's bell", "repo_push", "quay_notification", target).await?;

        say("\n2. Events, posted as CloudEvents:");
        let build = json!({"build_id": "8f3c2a71-demo", "build_name": "build of main", "docker_tags": ["latest"],
            "trigger_id": null, "trigger_kind": null, "trigger_metadata": {}});
        publish(fleet, "repo_push", json!({"updated_tags": ["1.4.2", "latest"]})).await?;
        publish(fleet, "build_success", build.clone()).await?;
        publish(fleet, "build_failure", build).await?;

        say("\n3. What happens, as it happens:");
        tokio::time::timeout(PATIENCE, self.watch(fleet))
            .await
            .context("the deliveries did not end within 60 s")??;
        say(&self.where_to_look(fleet));
        std::future::pending().await
    }

    async fn notify(
        &self,
        fleet: &Fleet,
        title: &str,
        event: &str,
        method: &str,
        config: Value,
    ) -> anyhow::Result<()> {
        let path = format!("/api/v1/repository/{REPOSITORY}/notification/");
        let body =
            json!({"title": title, "event": event, "method": method, "config": config, "eventConfig": {}});
        ask(fleet, Method::POST, &path, Some((body, "application/json"))).await?;
        say(&format!("   {event:14} by {method:18} {title}"));
        Ok(())
    }

    // Reads the history until every delivery has ended, and tells each attempt once.
    async fn watch(&self, fleet: &Fleet) -> anyhow::Result<()> {
        let mut told = BTreeMap::<String, usize>::new();
        loop {
            let page = ask(fleet, Method::GET, "/v1/deliveries?limit=50", None).await?;
            let deliveries = page["deliveries"].as_array().cloned().unwrap_or_default();
            for delivery in &deliveries {
                self.tell(fleet, delivery, &mut told).await?;
            }
            let ended = |delivery: &Value| {
                matches!(delivery["state"].as_str(), Some("delivered" | "dead" | "cancelled"))
            };
            // Three webhooks and the bell.
            if deliveries.len() == 4 && deliveries.iter().all(ended) {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn tell(
        &self,
        fleet: &Fleet,
        delivery: &Value,
        told: &mut BTreeMap<String, usize>,
    ) -> anyhow::Result<()> {
        let id = delivery["id"].as_str().unwrap_or_default();
        let detail = ask(fleet, Method::GET, &format!("/v1/deliveries/{id}"), None).await?;
        let attempts = detail["attempts"].as_array().cloned().unwrap_or_default();
        let told = told.entry(id.to_owned()).or_default();
        for attempt in attempts.iter().skip(*told) {
            let (kind, method) = (text(delivery, "kind"), text(delivery, "method"));
            let why = attempt["cause"]["detail"].as_str().map(|why| format!(": {why}")).unwrap_or_default();
            say(&format!(
                "   {kind:14} by {method:18} attempt {} {}{why}",
                attempt["number"],
                text(attempt, "outcome")
            ));
        }
        if attempts.len() > *told && text(&detail, "state") == "dead" {
            say(&format!(
                "   {:14} by {:18} given up: a dead letter, kept with its reason",
                text(delivery, "kind"),
                text(delivery, "method")
            ));
        }
        *told = attempts.len();
        Ok(())
    }

    fn where_to_look(&self, fleet: &Fleet) -> String {
        let (url, token) = (&fleet.url, &fleet.token);
        let curl = format!("curl -s -H 'Authorization: Bearer {token}'");
        format!(
            "\n4. The deploy hook got (signed, with `webhook-id` as its idempotency key):\n   {}\n\n\
             5. Where to look (the demo stays up; Ctrl-C ends it):\n\
             \x20  in a browser      {url}   with the token   {token}\n\
             \x20  every delivery    {curl} {url}/v1/deliveries\n\
             \x20  the dead letter   {curl} {url}/v1/dead-letters\n\
             \x20  notifications     {curl} {url}/api/v1/repository/{REPOSITORY}/notification/\n\
             \x20  the metrics       {curl} {url}/metrics\n\
             \x20  one more event    BELLBUOY_TOKEN={token} bellbuoy publish repo_push {REPOSITORY} --url {url} --data '{{\"updated_tags\": [\"v2\"]}}'",
            self.receiver.body_of("/deploy").unwrap_or_default(),
        )
    }
}

async fn publish(fleet: &Fleet, kind: &str, data: Value) -> anyhow::Result<()> {
    let event = json!({"specversion": "1.0", "id": format!("demo-{kind}"), "source": "demo",
        "type": kind, "subject": REPOSITORY, "data": data});
    ask(fleet, Method::POST, "/v1/events", Some((event, "application/cloudevents+json"))).await?;
    say(&format!("   {kind:14} accepted: it is on disk"));
    Ok(())
}

/// Asks our own API, in this process, as a client with the admin token.
async fn ask(
    fleet: &Fleet,
    method: Method,
    path: &str,
    body: Option<(Value, &str)>,
) -> anyhow::Result<Value> {
    let mut request = Request::builder().method(method).uri(path);
    request = request.header(header::AUTHORIZATION, format!("Bearer {}", fleet.token));
    let body = match body {
        Some((value, content_type)) => {
            request = request.header(header::CONTENT_TYPE, content_type);
            Body::from(value.to_string())
        }
        None => Body::empty(),
    };
    let answer = fleet.router.clone().oneshot(request.body(body)?).await?;
    let status = answer.status();
    let bytes = answer.into_body().collect().await?.to_bytes();
    if !status.is_success() {
        bail!("{path} answered {status}: {}", String::from_utf8_lossy(&bytes));
    }
    Ok(serde_json::from_slice(&bytes).unwrap_or_default())
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap_or_default()
}

async fn is_taken(address: &str) -> bool {
    tokio::net::TcpListener::bind(address).await.is_err()
}
