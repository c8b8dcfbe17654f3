//! A real registry that notifies a URL of what happens in it: Debian's `docker-registry` (CNCF Distribution 2.8),
//! with `skopeo` as the client that pushes and pulls.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode, header};
use serde_json::json;

use crate::http::Http;
use crate::image::{Image, MANIFEST_TYPE};
use crate::process::{Launch, Process, free_port};

/// How long the registry may take to start or stop, and skopeo to copy a tiny image. Both take a fraction of a
/// second; the rest is for a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// Where a registry sends its notifications, and how patiently.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Where events are posted to.
    pub url: String,
    /// The value of the `Authorization` header.
    pub authorization: String,
    /// How long an answer may take. Distribution's default is 1 s.
    pub timeout: Duration,
    /// How many failures in a row it answers with another try at once. Distribution's default is 10.
    pub threshold: u32,
    /// The wait between tries after that. Distribution's default is 1 s.
    pub backoff: Duration,
    /// Media types whose events are not sent.
    pub ignored_media_types: Vec<String>,
    /// Actions (`pull`, `push`, `mount`, `delete`) whose events are not sent. Releases before 3.1 obey this only
    /// when a media type is ignored as well.
    pub ignored_actions: Vec<String>,
}

impl Endpoint {
    /// Everything that happens goes to `url`; after one failure, a new try every 500 ms.
    pub fn new(url: impl Into<String>, authorization: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            authorization: authorization.into(),
            timeout: Duration::from_secs(3),
            threshold: 1,
            backoff: Duration::from_millis(500),
            ignored_media_types: Vec::new(),
            ignored_actions: Vec::new(),
        }
    }
}

/// A running registry. Its images live in a folder of the test's, and it lives no longer than this value.
#[derive(Debug)]
pub struct Registry {
    folder: PathBuf,
    port: u16,
    process: Process,
    http: Http,
}

impl Registry {
    /// Starts a registry in `folder` that tells `endpoint` what happens, and waits until it answers.
    ///
    /// # Panics
    ///
    /// When `docker-registry` is not installed or does not come up.
    pub async fn start(folder: &Path, endpoint: &Endpoint) -> Self {
        let folder = folder.join("registry");
        fs::create_dir_all(folder.join("images")).expect("a folder for the registry");
        let port = free_port();
        let config = configuration(&folder, port, endpoint).to_string();
        fs::write(folder.join("config.yml"), config).expect("the registry's configuration");
        let process = launch(&folder, port).await;
        Self { folder, port, process, http: Http::new() }
    }

    /// Where it listens, as images name it: `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The program itself: its lines, signals and memory.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Stops it as a service manager would. What it had not yet sent is lost: it keeps notifications in memory.
    ///
    /// # Panics
    ///
    /// When it does not end within 30 s.
    pub async fn stop(&self) {
        self.process.terminate();
        self.process.wait_exit(LIMIT).await;
    }

    /// Starts it once more after [`Registry::stop`] or `process().kill_9()`: same port, same images.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    pub async fn start_again(&mut self) {
        self.process.kill_9();
        self.process = launch(&self.folder, self.port).await;
    }

    /// Pushes `image` as `repository:tag` (`acme/app`, `v1`).
    ///
    /// # Panics
    ///
    /// When skopeo is not installed or the registry refuses.
    pub async fn push(&self, image: &Image, repository: &str, tag: &str) {
        let layout = tempfile::tempdir_in(&self.folder).expect("a folder for the image");
        image.write(layout.path()).expect("an image in its folder");
        let from = format!("dir:{}", layout.path().display());
        // Without the last flag skopeo would compress the layer and so make another image of it.
        let options = ["--dest-tls-verify=false", "--preserve-digests"];
        self.skopeo(&options, &from, &self.name(repository, tag)).await;
    }

    /// Pulls `repository:tag`, as skopeo does it: the manifest by tag, then the blobs.
    ///
    /// # Panics
    ///
    /// When skopeo is not installed or the image is not there.
    pub async fn pull(&self, repository: &str, tag: &str) {
        let layout = tempfile::tempdir_in(&self.folder).expect("a folder for the image");
        let to = format!("dir:{}", layout.path().display());
        self.skopeo(&["--src-tls-verify=false"], &self.name(repository, tag), &to).await;
    }

    /// The digest that `repository:tag` stands for; `None` when there is no such tag.
    ///
    /// # Panics
    ///
    /// When the registry is out of reach or its answer makes no sense.
    pub async fn digest(&self, repository: &str, tag: &str) -> Option<String> {
        let url = self.manifest_url(repository, tag);
        let accept = [(header::ACCEPT.as_str(), MANIFEST_TYPE)];
        let answer =
            self.http.send(Method::HEAD, &url, &accept, Bytes::new()).await.expect("the registry answers");
        (answer.status != StatusCode::NOT_FOUND).then(|| {
            let digest = answer.headers.get("docker-content-digest").and_then(|digest| digest.to_str().ok());
            digest.unwrap_or_else(|| panic!("no digest in {answer:?}")).to_owned()
        })
    }

    /// Deletes the manifest `digest`, and with it every tag of it.
    ///
    /// # Panics
    ///
    /// When the registry does not accept that.
    pub async fn delete(&self, repository: &str, digest: &str) {
        let url = self.manifest_url(repository, digest);
        let answer =
            self.http.send(Method::DELETE, &url, &[], Bytes::new()).await.expect("the registry answers");
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
    }

    fn name(&self, repository: &str, tag: &str) -> String {
        format!("docker://{}/{repository}:{tag}", self.host())
    }

    fn manifest_url(&self, repository: &str, reference: &str) -> String {
        format!("http://{}/v2/{repository}/manifests/{reference}", self.host())
    }

    async fn skopeo(&self, options: &[&str], from: &str, to: &str) {
        let program = installed("skopeo");
        // Its scratch files and its (absent) credentials belong into the test's folder too.
        let launch = Launch::new("skopeo", program, &self.folder)
            .env("HOME", &self.folder)
            .env("TMPDIR", &self.folder);
        let process = launch.args(["--insecure-policy", "copy"]).args(options).args([from, to]).start();
        let status = process.wait_exit(LIMIT).await;
        assert!(status.success(), "skopeo copy {from} {to}: {status}\n{}", process.lines().join("\n"));
    }
}

async fn launch(folder: &Path, port: u16) -> Process {
    let launch = Launch::new("docker-registry", installed("docker-registry"), folder);
    let process = launch.args(["serve", "config.yml"]).start();
    process.wait_for_port(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), LIMIT).await;
    process.wait_for_ok(&format!("http://127.0.0.1:{port}/v2/"), LIMIT).await;
    process
}

/// Distribution's configuration: YAML, of which JSON is a part.
fn configuration(folder: &Path, port: u16, endpoint: &Endpoint) -> serde_json::Value {
    json!({
        "version": 0.1,
        "log": {"level": "info", "accesslog": {"disabled": true}},
        "storage": {
            "filesystem": {"rootdirectory": folder.join("images")},
            "delete": {"enabled": true},
            "maintenance": {"uploadpurging": {"enabled": false}},
        },
        "http": {"addr": format!("127.0.0.1:{port}"), "secret": "for this test only"},
        "notifications": {
            "events": {"includereferences": true},
            "endpoints": [{
                "name": "bellbuoy",
                "url": endpoint.url,
                "headers": {"Authorization": [endpoint.authorization]},
                "timeout": milliseconds(endpoint.timeout),
                "threshold": endpoint.threshold,
                "backoff": milliseconds(endpoint.backoff),
                "ignore": {"mediatypes": endpoint.ignored_media_types, "actions": endpoint.ignored_actions},
            }],
        },
    })
}

fn milliseconds(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

/// The path of a program that the tests need. One that is missing fails the test: a skipped test shows nothing.
fn installed(name: &str) -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "the search path is the shell's, not a setting of ours")]
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| {
        panic!("{name} is not installed: run `cargo xtask test`, or `apt-get install docker-registry skopeo`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "run `cargo xtask test`, or `apt-get install docker-registry skopeo`")]
    fn a_missing_program_fails_the_test_and_names_the_remedy() {
        installed("no-such-program");
    }
}
