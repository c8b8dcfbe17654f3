//! The fleet: every role a process of its own, RabbitMQ between them, PostgreSQL below them.

mod support;

use std::{collections::HashSet, path::Path};

use bellbuoy_testkit::postgres::Postgres;
use bellbuoy_testkit::process::{Launch, Process, free_port};
use bellbuoy_testkit::rabbitmq::Node;
use bellbuoy_testkit::receiver::{Answer, Receiver};
use support::{BINARY, Client, ENDED, SOON, TOKEN, push};

/// Events published before each kill.
const WAVE: usize = 100;

/// What every process of the fleet is told.
struct Fleet {
    folder: tempfile::TempDir,
    settings: Vec<(String, String)>,
}

impl Fleet {
    fn new(broker: &str, store: &str) -> Self {
        let settings = [
            ("BELLBUOY_BROKER__URL", broker),
            ("BELLBUOY_STORE__URL", store),
            ("BELLBUOY_AUTH__ADMIN_TOKEN", TOKEN),
            ("BELLBUOY_OUTBOUND__ALLOW", "127.0.0.0/8"),
            ("BELLBUOY_RETRY__STEPS", "500ms,500ms,500ms,500ms"),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        Self { folder: tempfile::tempdir().expect("a temporary folder"), settings }
    }

    fn launch(&self, name: &str, args: &[&str], listen: &str) -> Process {
        let launch = Launch::new(name, BINARY, self.folder.path()).args(args).env("BELLBUOY_LISTEN", listen);
        self.settings.iter().fold(launch, |launch, (name, value)| launch.env(name, value)).start()
    }

    async fn command(&self, args: &[&str]) -> (Option<i32>, String) {
        let process = self.launch("command", args, "127.0.0.1:0");
        let code = process.wait_exit(SOON).await.code();
        (code, process.lines().join("\n"))
    }

    /// Starts a role and waits until it is ready.
    async fn role(&self, role: &str) -> Process {
        let address = format!("127.0.0.1:{}", free_port());
        let process = self.launch(role, &["serve", "--roles", role], &address);
        process.wait_for_ok(&format!("http://{address}/readyz"), SOON).await;
        process
    }
}

fn tags(receiver: &Receiver) -> HashSet<String> {
    let requests = receiver.requests();
    let bodies =
        requests.iter().filter_map(|request| serde_json::from_slice::<serde_json::Value>(&request.body).ok());
    bodies.filter_map(|body| body["updated_tags"][0].as_str().map(str::to_owned)).collect()
}

#[tokio::test]
async fn roles_in_processes_of_their_own_deliver_everything_although_each_is_killed() {
    let (node, postgres) = tokio::join!(Node::start(), Postgres::start());
    node.add_vhosts(&["fleet"]).await;
    let fleet = Fleet::new(&node.url("fleet"), &postgres.database().await);
    let receiver = Receiver::start().await.expect("a receiver");
    receiver.script("/hook", vec![Answer::FailSome { status: 503, one_in: 3, seed: 11 }]);

    let (code, said) = fleet.command(&["topology", "check"]).await;
    assert!(code == Some(1) && said.contains("bellbuoy.events"), "{code:?} {said}");
    let (code, said) = fleet.command(&["topology", "apply"]).await;
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = fleet.command(&["topology", "check"]).await;
    assert_eq!(code, Some(0), "{said}");

    let address = format!("127.0.0.1:{}", free_port());
    let serve_api = ["serve", "--roles", "api"];
    let api_process = fleet.launch("api", &serve_api, &address);
    api_process.wait_for_ok(&format!("http://{address}/readyz"), SOON).await;
    let api = Client::new(&format!("http://{address}"), TOKEN);
    let (fanout, deliver, record) =
        tokio::join!(fleet.role("fanout"), fleet.role("deliver"), fleet.role("record"));
    api.webhook("acme/api", "repo_push", &receiver.url("/hook")).await;

    let mut running = vec![("fanout", fanout), ("deliver", deliver), ("record", record)];
    for (role, process) in &mut running {
        for number in 0..WAVE {
            let id = format!("{role}-{number}");
            api.publish(&push(&id, "acme/api", &id)).await;
        }
        process.kill_9();
        *process = fleet.role(role).await;
    }

    let deliveries = api.until("source=journeys", WAVE * running.len(), ENDED).await;
    let arrived = tags(&receiver);
    for delivery in &deliveries {
        let event = delivery["event"].as_str().expect("an id");
        match delivery["state"].as_str() {
            Some("delivered") => assert!(arrived.contains(event), "{event} never arrived"),
            state => assert_eq!(state, Some("dead"), "{delivery}"),
        }
    }
    let dead = deliveries.iter().filter(|delivery| delivery["state"] == "dead").count();
    assert!(dead < WAVE / 2, "{dead} of {} deliveries were given up", deliveries.len());
    for (_, process) in running {
        process.terminate();
        assert_eq!(process.wait_exit(SOON).await.code(), Some(0));
    }
    assert!(!Path::new(fleet.folder.path()).join("bellbuoy-data").exists(), "a fleet leaves nothing on disk");
}
