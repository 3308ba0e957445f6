//! A browser that is driven, in a folder of its own. It ends with the value that stands for it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::json;
use tempfile::TempDir;

/// The driver, which ends its browsers when it is told to end.
pub(crate) struct Driver {
    process: Child,
    port: u16,
    folder: TempDir,
}

impl Driver {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut process = Command::new(path("TENURE_CHROMEDRIVER"))
            .arg("--port=0")
            .env("TMPDIR", folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = lines.map_while(Result::ok).find_map(|line| {
            let port = line.split_once("started successfully on port ")?.1;
            port.trim_end_matches('.').parse().ok()
        });
        let Some(port) = port else { panic!("the driver ended: {:?}", process.wait()) };
        Self { process, port, folder }
    }

    /// Opens a window of this size, in CSS pixels; with `mobile`, as a phone does.
    pub(crate) async fn window(&self, width: u32, height: u32, mobile: bool) -> Client {
        let profile = self.folder.path().join(format!("profile-{width}"));
        let mut options = json!({
            "binary": path("TENURE_CHROMIUM"),
            "args": [
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--disable-dev-shm-usage",
                format!("--user-data-dir={}", profile.display()),
                format!("--window-size={width},{height}"),
            ],
        });
        if mobile {
            options["mobileEmulation"] =
                json!({ "deviceMetrics": { "width": width, "height": height, "pixelRatio": 2.0 } });
        }
        let mut capabilities = serde_json::Map::new();
        capabilities.insert("goog:chromeOptions".to_owned(), options);
        capabilities.insert("goog:loggingPrefs".to_owned(), json!({ "browser": "ALL" }));
        let driver = format!("http://127.0.0.1:{}", self.port);
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(capabilities).connect(&driver).await.unwrap()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // At SIGTERM it ends its browsers, too.
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }
}

fn path(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!(
            "{variable} is not set; `cargo xtask test --only browser` finds or installs a browser and sets it"
        )
    })
}
