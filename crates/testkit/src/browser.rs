//! A real browser: Chromium, told what to do by `WebDriver` (W3C Recommendation) through Debian's `chromedriver`.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    http::Http,
    process::{Launch, Process, free_port},
    wait::{eventually, within},
};

/// How long a browser may take for anything. Far more than it does, for a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// By the name of the specification, in which an element is an object of one member.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// What keeps Chromium to the page that it is told to open. The pipe ends it with its driver.
const ARGUMENTS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
    "--window-size=1280,1000",
];

/// One window of a browser without a past.
#[derive(Debug)]
pub struct Browser {
    session: String,
    http: Http,
    driver: Process,
    folder: TempDir,
}

// What the driver refuses, and what a page has not got in time, fails the test: with the page's words, or the driver's.
#[expect(clippy::missing_panics_doc, reason = "all of them do, as an assertion does")]
impl Browser {
    /// Starts one. Without `scripts`, pages run none.
    ///
    /// # Panics
    ///
    /// When `chromium` and `chromedriver` are not there, or don't start.
    pub async fn start(scripts: bool) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = free_port();
        let driver = Launch::new("chromedriver", "chromedriver", folder.path())
            .args([format!("--port={port}")])
            .env("HOME", folder.path())
            .start();
        let driver_url = format!("http://127.0.0.1:{port}");
        driver.wait_for_ok(&format!("{driver_url}/status"), PATIENCE).await;
        let profile = format!("--user-data-dir={}", folder.path().join("profile").display());
        let arguments: Vec<&str> = ARGUMENTS.iter().copied().chain([profile.as_str()]).collect();
        // 2 of `javascript` blocks scripts, as the browser's own settings do.
        let preferences = if scripts {
            json!({})
        } else {
            json!({"profile.default_content_setting_values": {"javascript": 2}})
        };
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:loggingPrefs": {"browser": "ALL"},
            "goog:chromeOptions": {"args": arguments, "prefs": preferences},
        }}});
        let http = Http::new();
        let made = answer(&http, Method::POST, &format!("{driver_url}/session"), &wanted).await;
        let made = made.unwrap_or_else(|error| panic!("no browser: {error}"));
        let id = made["sessionId"].as_str().expect("a session has an id");
        Self { session: format!("{driver_url}/session/{id}"), http, driver, folder }
    }

    /// Opens a page.
    pub async fn open(&self, url: &str) {
        self.tell("url", &json!({ "url": url })).await;
    }

    /// Where it is.
    pub async fn url(&self) -> String {
        let url = self.ask("url").await;
        url.as_str().expect("a page has a URL").to_owned()
    }

    /// What people see of the whole page.
    pub async fn text(&self) -> String {
        self.text_of("body").await
    }

    /// What people see of the first element that `selector` (CSS) finds.
    pub async fn text_of(&self, selector: &str) -> String {
        let element = self.find(selector).await;
        let text = self.ask(&format!("element/{element}/text")).await;
        text.as_str().expect("text").to_owned()
    }

    /// Waits until the page says this.
    pub async fn until_it_says(&self, text: &str) {
        let said = async || {
            let body = self.try_find("body").await?;
            // Between two pages an element can be gone by now.
            let url = format!("{}/element/{body}/text", self.session);
            let seen = answer(&self.http, Method::GET, &url, &Value::Null).await.ok()?;
            seen.as_str()?.contains(text).then_some(())
        };
        let is_said = within(PATIENCE, said).await.is_some();
        assert!(
            is_said,
            "the page at {} does not say {text:?}, but: {}",
            self.url().await,
            self.text().await
        );
    }

    /// Presses what `selector` finds.
    pub async fn click(&self, selector: &str) {
        let element = self.find(selector).await;
        self.tell(&format!("element/{element}/click"), &json!({})).await;
    }

    /// Presses the button or follows the link that is called so.
    pub async fn press(&self, name: &str) {
        let xpath = format!("//*[self::button or self::a or self::summary][normalize-space()='{name}']");
        let found = async || self.look("xpath", &xpath).await.ok();
        let element = eventually(PATIENCE, found).await;
        self.tell(&format!("element/{element}/click"), &json!({})).await;
    }

    /// Types into the field of this label, instead of what stands there.
    pub async fn fill(&self, label: &str, text: &str) {
        let element = self.field(label).await;
        self.tell(&format!("element/{element}/clear"), &json!({})).await;
        self.tell(&format!("element/{element}/value"), &json!({ "text": text })).await;
    }

    /// Presses the box, or chooses the option, of this label.
    pub async fn tick(&self, label: &str) {
        let element = self.field(label).await;
        self.tell(&format!("element/{element}/click"), &json!({})).await;
    }

    /// What stands in the field of this label.
    pub async fn value(&self, label: &str) -> String {
        let element = self.field(label).await;
        let value = self.ask(&format!("element/{element}/property/value")).await;
        value.as_str().expect("a field has a value").to_owned()
    }

    /// The field that a label is for, or that it holds.
    async fn field(&self, label: &str) -> String {
        let xpath = format!(
            "//*[@id=//label[normalize-space()='{label}']/@for] | //label[normalize-space()='{label}']//input"
        );
        eventually(PATIENCE, async || self.look("xpath", &xpath).await.ok()).await
    }

    /// What a script in the page returns.
    pub async fn run(&self, script: &str) -> Value {
        self.tell("execute/sync", &json!({"script": script, "args": []})).await
    }

    /// What the browser complained of since it was last asked: errors of scripts, and whatever a page's policy refused.
    pub async fn complaints(&self) -> Vec<String> {
        let entries = self.tell("se/log", &json!({"type": "browser"})).await;
        let entries = entries.as_array().cloned().unwrap_or_default();
        let is_one = |entry: &&Value| matches!(entry["level"].as_str(), Some("SEVERE" | "WARNING"));
        entries
            .iter()
            .filter(is_one)
            .filter_map(|entry| entry["message"].as_str().map(ToOwned::to_owned))
            .collect()
    }

    async fn find(&self, selector: &str) -> String {
        eventually(PATIENCE, async || self.try_find(selector).await).await
    }

    async fn try_find(&self, selector: &str) -> Option<String> {
        self.look("css selector", selector).await.ok()
    }

    async fn look(&self, using: &str, value: &str) -> Result<String, String> {
        let wanted = json!({"using": using, "value": value});
        let found = answer(&self.http, Method::POST, &format!("{}/element", self.session), &wanted).await?;
        Ok(found[ELEMENT].as_str().expect("an element has an id").to_owned())
    }

    async fn ask(&self, what: &str) -> Value {
        let url = format!("{}/{what}", self.session);
        answer(&self.http, Method::GET, &url, &Value::Null)
            .await
            .unwrap_or_else(|error| self.fail(what, &error))
    }

    async fn tell(&self, what: &str, body: &Value) -> Value {
        let url = format!("{}/{what}", self.session);
        answer(&self.http, Method::POST, &url, body).await.unwrap_or_else(|error| self.fail(what, &error))
    }

    fn fail(&self, what: &str, error: &str) -> Value {
        let lines = self.driver.lines();
        panic!("{what}: {error}; chromedriver said, in {}: {lines:?}", self.folder.path().display())
    }
}

/// The `value` of an answer, or the error that it tells.
async fn answer(http: &Http, method: Method, url: &str, body: &Value) -> Result<Value, String> {
    let body = if method == Method::GET { String::new() } else { body.to_string() };
    let answer = http.send(method, url, &[("content-type", "application/json")], body).await;
    let answer = answer.map_err(|error| format!("{error:#}"))?;
    let value = answer.json()["value"].clone();
    if answer.status.is_success() { Ok(value) } else { Err(value["message"].to_string()) }
}
