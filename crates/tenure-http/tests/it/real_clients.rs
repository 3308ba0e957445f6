//! Clients that others have written: curl, of either version, with TLS and without, as it is used.

use std::process::{Output, Stdio};

use tenure::with_local;
use tenure_http::{Listener, ServeError, serve};
use tokio::process::Command;

use crate::app::{App, listen, until_open};
use crate::support::{HANG, check, log};
use crate::tls_peer::Signed;

/// Runs curl; `None`, having said so, where there is none.
async fn curl(arguments: &[&str]) -> Option<Output> {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--insecure", "--noproxy", "*"]).args(arguments);
    command.stdin(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(HANG, command.output()).await.expect("curl hangs") {
        Ok(output) => Some(output),
        Err(error) => {
            eprintln!("not tested: there is no curl to be run: {error}");
            None
        }
    }
}

#[test]
fn curl_is_answered_and_missed_when_it_goes() {
    check(async || {
        let (log, mut events) = log();
        let app = App::new(&log);
        let signed = Signed::new();
        let tls = Listener::from(listen().await).tls(&signed.tls());
        let served = with_local(serve(listen().await, app.router()).listener(tls), async |server| {
            let [plain, secure] = server.local_addrs() else { panic!("two listeners") };
            let (plain, secure) = (format!("http://{plain}"), format!("https://{secure}"));
            for (origin, version) in [
                (&plain, "--http1.1"),
                (&plain, "--http2-prior-knowledge"),
                (&secure, "--http1.1"),
                (&secure, "--http2"),
            ] {
                let Some(hello) = curl(&[version, &format!("{origin}/hello")]).await else { return Ok(()) };
                let said = String::from_utf8_lossy(&hello.stderr).into_owned();
                if said.contains("does not support") || said.contains("Unsupported protocol") {
                    eprintln!("not tested: {version}: {said}");
                    continue;
                }
                assert_eq!(String::from_utf8_lossy(&hello.stdout), "hello", "{version} {origin}: {said}");
                events.entered_and_exited("completed").await;
                // It gives up amid the handler, amid a response, amid an upload.
                let url = format!("{origin}/for-ever");
                assert!(!curl(&[version, "--max-time", "0.3", &url]).await.unwrap().status.success());
                events.entered_and("waiting").await;
                events.exited("cancelled").await;
                let url = format!("{origin}/flood");
                let flood = ["--max-time", "0.3", "--output", "/dev/null", &url];
                assert!(!curl(&[&[version][..], &flood].concat()).await.unwrap().status.success());
                events.entered_and("flooding").await;
                events.exited("cancelled").await;
                let url = format!("{origin}/upload");
                let upload = ["--max-time", "0.3", "--limit-rate", "1", "--data", "0123456789", &url];
                let _ = curl(&[&[version][..], &upload].concat()).await.unwrap();
                loop {
                    let event = events.next().await;
                    assert_ne!(event, "upload broken", "{version}");
                    if event.starts_with("exit a") {
                        break;
                    }
                }
            }
            until_open(server, 0).await;
            Ok::<_, ServeError>(())
        });
        served.await.unwrap();
    });
}
