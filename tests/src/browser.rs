//! Chromium without a screen, driven by way of the `WebDriver` protocol.

use std::path::Path;
use std::time::Duration;

use fantoccini::actions::{InputSource, KeyAction, KeyActions};
use fantoccini::error::CmdError;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use crate::namespace::Namespace;
use crate::process::Process;
use crate::site::Site;
use crate::wait::eventually;

/// The driver's own; the namespace is the test's.
const PORT: u16 = 9515;

/// What the reader has chosen for the whole system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Dark on light.
    Light,
    /// Light on dark.
    Dark,
}

impl Scheme {
    const fn label(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }
}

/// A browser with a fresh profile, in a namespace.
#[derive(Debug)]
pub struct Browser<'a> {
    namespace: &'a Namespace,
    /// Only driven while something is asked, by a thread inside the namespace.
    runtime: Runtime,
    client: Client,
    driver: Process,
}

impl<'a> Browser<'a> {
    /// Starts it in `namespace`.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(site: &Site, namespace: &'a Namespace) -> Self {
        let directory = site.scratch.directory();
        let mut command = namespace.command("chromedriver");
        command.arg(format!("--port={PORT}")).env("HOME", directory);
        let driver = Process::start("chromedriver", directory, &mut command)
            .stopped_by(Signal::SIGTERM)
            .listening(namespace, PORT);
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let capabilities = capabilities(&site.scratch.path("chromium"));
        let client = namespace.enter(|| {
            let mut builder = ClientBuilder::new(HttpConnector::new());
            builder.capabilities(capabilities.as_object().expect("an object").clone());
            runtime.block_on(builder.connect(&format!("http://127.0.0.1:{PORT}")))
        });
        let client = client.unwrap_or_else(|error| panic!("chromedriver: {error}"));
        Self { namespace, runtime, client, driver }
    }

    /// Opens a page and waits until it is loaded.
    pub fn open(&self, url: &str) {
        self.ask(url, async |client| client.goto(url).await);
    }

    /// Runs a function body in the page and returns what it returns.
    pub fn run(&self, script: &str) -> Value {
        self.ask(script, async |client| client.execute(script, Vec::new()).await)
    }

    /// Runs a function body that calls its last argument with the answer, after `library` has been run.
    pub fn run_async(&self, library: &str, script: &str) -> Value {
        self.ask(script, async |client| {
            client.execute(library, Vec::new()).await?;
            client.execute_async(script, Vec::new()).await
        })
    }

    /// Waits until a JavaScript expression has a value, and returns the value. `null` and `false` are no values here.
    pub fn wait(&self, expression: &str) -> Value {
        eventually(expression, || {
            let value = self.run(&format!("return {expression}"));
            (!matches!(value, Value::Null | Value::Bool(false))).then_some(value)
        })
    }

    /// Presses keys one after another.
    pub fn press(&self, keys: &str) {
        let actions = keys.chars().fold(KeyActions::new("keyboard".into()), |actions, value| {
            actions.then(KeyAction::Down { value }).then(KeyAction::Up { value })
        });
        self.ask(keys, async |client| client.perform_actions(actions).await);
    }

    /// Tells pages that the reader has chosen this.
    pub fn prefer(&self, scheme: Scheme) {
        let feature = json!({"name": "prefers-color-scheme", "value": scheme.label()});
        self.devtools("Emulation.setEmulatedMedia", &json!({"features": [feature]}));
    }

    /// Gives the window this size in CSS pixels; a browser's own windows cannot be as narrow as a telephone.
    pub fn resize(&self, width: u32, height: u32) {
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.devtools("Emulation.setDeviceMetricsOverride", &metrics);
    }

    /// What is visible, as a PNG.
    #[must_use]
    pub fn screenshot(&self) -> Vec<u8> {
        self.ask("a screenshot", async |client| client.screenshot().await)
    }

    /// What the console has had since it was last asked: errors, and violations of the page's policy.
    ///
    /// # Panics
    /// When the driver answers something else than a list.
    #[must_use]
    pub fn console(&self) -> Vec<String> {
        let entries = self.ask("the console", async |client| {
            client.issue_cmd(OfChrome::new("se/log", json!({"type": "browser"}))).await
        });
        let entries = entries.as_array().expect("a list").iter();
        entries.map(|entry| format!("{}: {}", entry["level"], entry["message"])).collect()
    }

    /// A command of the [protocol of Chromium's own tools](https://chromedevtools.github.io/devtools-protocol/).
    fn devtools(&self, name: &str, parameters: &Value) {
        let body = json!({"cmd": name, "params": parameters});
        self.ask(name, async |client| {
            client.issue_cmd(OfChrome::new("goog/cdp/execute", body)).await
        });
    }

    fn ask<T: Send>(
        &self,
        what: &str,
        ask: impl AsyncFnOnce(&Client) -> Result<T, CmdError> + Send,
    ) -> T {
        let answer = self.namespace.enter(|| self.runtime.block_on(ask(&self.client)));
        answer.unwrap_or_else(|error| panic!("{what}: {error}"))
    }
}

impl Drop for Browser<'_> {
    fn drop(&mut self) {
        // The browser has its own process group. Without this it would live as long as the namespace.
        let client = self.client.clone();
        let closed = self.namespace.enter(|| {
            let limit = Duration::from_secs(5);
            self.runtime.block_on(async { tokio::time::timeout(limit, client.close()).await })
        });
        if closed.is_err() && self.driver.is_alive() {
            eprintln!("the browser did not close in time");
        }
    }
}

fn capabilities(profile: &Path) -> Value {
    let arguments = [
        "--headless=new".to_owned(),
        // Tests run as root, for which the sandbox is not made.
        "--no-sandbox".to_owned(),
        // The shared memory of a container may be small.
        "--disable-dev-shm-usage".to_owned(),
        "--disable-gpu".to_owned(),
        "--disable-background-networking".to_owned(),
        "--no-first-run".to_owned(),
        "--hide-scrollbars".to_owned(),
        "--lang=en".to_owned(),
        "--window-size=1280,900".to_owned(),
        format!("--user-data-dir={}", profile.display()),
    ];
    json!({
        "goog:chromeOptions": {"args": arguments},
        "goog:loggingPrefs": {"browser": "ALL"},
    })
}

/// A command that only Chromium's driver has.
#[derive(Debug)]
struct OfChrome {
    path: &'static str,
    body: Value,
}

impl OfChrome {
    const fn new(path: &'static str, body: Value) -> Self {
        Self { path, body }
    }
}

impl WebDriverCompatibleCommand for OfChrome {
    fn endpoint(
        &self,
        base: &url::Url,
        session: Option<&str>,
    ) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.body.to_string()))
    }
}
