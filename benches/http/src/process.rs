//! A server in a process of its own: so that its memory and its processor time are its own, too.

use std::error::Error;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::net::TcpSocket;
use tokio::sync::oneshot;

use crate::ways::Way;

/// Number of connections that may wait to be accepted.
const BACKLOG: u32 = 8192;

/// A server, with one worker.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    pub(crate) fn start(way: Way) -> Result<Self, Box<dyn Error>> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--serve", way.key()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let said = child.stdout.take().ok_or("it has an output")?;
        BufReader::new(said).read_line(&mut line)?;
        let address = line.trim().parse()?;
        Ok(Self { child, address })
    }

    /// The processor time it has taken, where the system says so.
    pub(crate) fn processor_time(&self) -> Option<Duration> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).ok()?;
        let of_task = |task: std::fs::DirEntry| {
            let stat = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            stat.split(' ').next()?.parse::<u64>().ok()
        };
        let nanos = tasks.filter_map(|task| of_task(task.ok()?)).sum();
        Some(Duration::from_nanos(nanos))
    }

    /// The bytes of its memory that are in use, where the system says so.
    pub(crate) fn memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It holds nothing that is to be kept. Its own end comes with that of its input, should this process be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The server's side: says where it listens, and serves until its input ends.
pub(crate) fn serve(way: &str) -> Result<(), Box<dyn Error>> {
    let way = Way::of(way)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let listener = runtime.block_on(async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(([127, 0, 0, 1], 0).into())?;
        socket.listen(BACKLOG)
    })?;
    println!("{}", listener.local_addr()?);
    let (stop, stopped) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = stop.send(());
    });
    let stopped = async move { stopped.await.unwrap_or_default() };
    runtime.block_on(runtime.spawn(way.run(listener, stopped)))??;
    Ok(())
}
