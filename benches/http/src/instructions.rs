//! The instructions of a request, client and server on one thread: counted by valgrind, so that nothing disturbs them.
//! The work of the system for a request is not in them.

use std::error::Error;
use std::process::Command;

use tokio::net::{TcpListener, TcpStream};

use crate::clients::ask;
use crate::ways::Way;

const FEW: u32 = 500;
const MANY: u32 = 2_500;

pub(crate) fn measure(ways: &[Way]) {
    let Some(counted) = ways.iter().map(|way| count(*way)).collect::<Option<Vec<_>>>() else {
        println!("Instructions are counted where there is valgrind.\n");
        return;
    };
    println!("Instructions of a request, client and server on one thread (valgrind)\n");
    println!("| served by | instructions | more than `axum::serve` |\n|---|---:|---:|");
    for (way, own) in ways.iter().zip(&counted) {
        println!("| {} | {own:.0} | {:.0} |", way.name(), own - counted[0]);
    }
    println!();
}

/// Returns the cost of a further request.
fn count(way: Way) -> Option<f64> {
    let program = std::env::current_exe().ok()?;
    let collected = |requests: u32| {
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(&program)
            .args(["--serving", way.key(), &requests.to_string()])
            .output()
            .ok()?;
        let said = String::from_utf8(output.stderr).ok()?;
        said.lines().find_map(|line| line.split_once("Collected : "))?.1.trim().parse::<f64>().ok()
    };
    Some((collected(MANY)? - collected(FEW)?) / f64::from(MANY - FEW))
}

/// Sends so many requests, one after the other, over one connection.
pub(crate) fn serving(way: &str, requests: &str) -> Result<(), Box<dyn Error>> {
    let (way, requests): (_, u64) = (Way::of(way)?, requests.parse()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let serving = tokio::spawn(way.run(listener, std::future::pending()));
        let mut stream = TcpStream::connect(address).await?;
        for _ in 0..requests {
            ask(&mut stream).await?;
        }
        serving.abort();
        Ok(())
    })
}
