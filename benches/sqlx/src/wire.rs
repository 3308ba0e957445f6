//! What goes over the wire: a proxy between the pool and PostgreSQL counts it and writes it down.

use std::io;
use std::sync::{Arc, Mutex};

use sqlx::Postgres;
use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use crate::peers::{AnyError, Check, Dead, Own, Peer, Tenure};

/// How many transactions are counted, after as many that are not.
const TRANSACTIONS: u32 = 100;

/// Prints how often each way goes to the server and back for one transaction, and with what.
pub(crate) fn report(runtime: &Runtime, options: &PgConnectOptions) -> Result<(), AnyError> {
    println!("### Round trips of one transaction, counted on the wire, a pool of 1 connection\n");
    println!("| check before lending | way | round trips | what is sent |");
    println!("|---|---|---:|---|");
    for check in [Check::Never, Check::Default] {
        runtime.block_on(async {
            count::<Own<Postgres>>(options, check).await?;
            count::<Dead<Postgres>>(options, check).await?;
            count::<Tenure<Postgres>>(options, check).await
        })?;
    }
    println!();
    Ok(())
}

async fn count<P: Peer<Postgres>>(options: &PgConnectOptions, check: Check) -> Result<(), AnyError> {
    let record = Arc::new(Mutex::new(Record::default()));
    let port = listen(options.get_port(), Arc::clone(&record)).await?;
    let pool = P::new(&options.clone().host("127.0.0.1").port(port), 1, check);
    for number in 0..TRANSACTIONS {
        pool.write(i64::from(number)).await?;
    }
    let before = record.lock().expect("no panic").trips;
    for number in 0..TRANSACTIONS {
        pool.write(i64::from(number)).await?;
    }
    let row = {
        let record = record.lock().expect("no panic");
        let check = if check == Check::Never { "none" } else { "its default" };
        let trips = f64::from(record.trips - before) / f64::from(TRANSACTIONS);
        format!("| {check} | {} | {trips:.2} | {} |", P::NAME, record.last_round().join(", "))
    };
    println!("{row}");
    pool.close().await;
    Ok(())
}

/// What was seen on the wire.
#[derive(Default)]
struct Record {
    /// How often the client spoke after the server had.
    trips: u32,
    server_spoke: bool,
    /// What the client said.
    sent: Vec<String>,
}

impl Record {
    /// What was said from one `BEGIN` to the next.
    fn last_round(&self) -> &[String] {
        let mut begins = (0..self.sent.len()).rev().filter(|at| self.sent[*at] == "`BEGIN`");
        match (begins.next(), begins.next()) {
            (Some(end), Some(begin)) => &self.sent[begin..end],
            _ => &[],
        }
    }
}

/// A proxy on a port of its own. Its tasks end with their connections, or with the runtime.
async fn listen(server: u16, record: Arc<Mutex<Record>>) -> io::Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(("127.0.0.1", server)).await.expect("the server is there");
            client.set_nodelay(true).and_then(|()| server.set_nodelay(true)).expect("a TCP stream");
            let ((from_client, to_client), (from_server, to_server)) =
                (client.into_split(), server.into_split());
            tokio::spawn(carry_statements(from_client, to_server, Arc::clone(&record)));
            tokio::spawn(carry_answers(from_server, to_client, Arc::clone(&record)));
        }
    });
    Ok(port)
}

async fn carry_statements(mut client: OwnedReadHalf, mut server: OwnedWriteHalf, record: Arc<Mutex<Record>>) {
    let mut chunk = vec![0; 64 * 1024];
    let mut pending = Vec::new();
    let mut has_started = false;
    while let Ok(length @ 1..) = client.read(&mut chunk).await {
        {
            let mut record = record.lock().expect("no panic");
            if std::mem::take(&mut record.server_spoke) {
                record.trips += 1;
            }
            pending.extend_from_slice(&chunk[..length]);
            while let Some(message) = take_message(&mut pending, &mut has_started) {
                note(&message, &mut record.sent);
            }
        }
        if server.write_all(&chunk[..length]).await.is_err() {
            break;
        }
    }
}

async fn carry_answers(mut server: OwnedReadHalf, mut client: OwnedWriteHalf, record: Arc<Mutex<Record>>) {
    let mut chunk = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = server.read(&mut chunk).await {
        record.lock().expect("no panic").server_spoke = true;
        if client.write_all(&chunk[..length]).await.is_err() {
            break;
        }
    }
}

/// The next message, if it is whole: its kind, then its text. The first one of a connection has no kind.
fn take_message(pending: &mut Vec<u8>, has_started: &mut bool) -> Option<Vec<u8>> {
    let kind = usize::from(*has_started);
    let length = pending.get(kind..kind + 4)?.try_into().map(u32::from_be_bytes).ok()?;
    let end = kind + length as usize;
    if pending.len() < end {
        return None;
    }
    *has_started = true;
    Some(pending.drain(..end).collect())
}

/// Writes down what a message asks for.
fn note(message: &[u8], sent: &mut Vec<String>) {
    match message {
        [b'Q', _, _, _, _, text @ .., 0] => sent.push(format!("`{}`", String::from_utf8_lossy(text))),
        [b'E', ..] => sent.push("the insert".to_owned()),
        // What ends an insert has come with it.
        [b'S', ..] if sent.last().is_none_or(|last| last != "the insert") => sent.push("a ping".to_owned()),
        _ => {}
    }
}
