//! What goes over the wire: a proxy between the pool and the server counts it and writes it down.

use std::io;
use std::sync::{Arc, Mutex};

use sqlx::mysql::MySqlConnectOptions;
use sqlx::postgres::PgConnectOptions;
use sqlx::{MySql, Postgres};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use crate::kind::{Kind, Options};
use crate::peers::{AnyError, Bare, Dead, Own, Peer, Tenure, Use};

/// How many transactions are counted, after as many that are not.
const TRANSACTIONS: u32 = 100;

/// A database on the other end of a wire.
pub(crate) trait Wired: Kind {
    /// The port of the server.
    fn port(options: &Options<Self>) -> u16;

    /// The same server, by way of this port.
    fn by_way_of(options: &Options<Self>, port: u16) -> Options<Self>;

    /// The next message, if it is whole. The first one of a connection may have another form.
    fn take_message(pending: &mut Vec<u8>, has_started: &mut bool) -> Option<Vec<u8>>;

    /// Writes down what a message asks for.
    fn note(message: &[u8], sent: &mut Vec<String>);
}

/// Prints how often each way goes to the server and back for one transaction, and with what.
pub(crate) fn report<K: Wired>(runtime: &Runtime, options: &Options<K>) -> Result<(), AnyError> {
    println!("### Round trips of one transaction, counted on the wire, a pool of 1 connection\n");
    println!("| way | round trips | what is sent |");
    println!("|---|---:|---|");
    runtime.block_on(async {
        for (checks, way) in [(true, "sqlx's pool, by default"), (false, "sqlx's pool, no check")] {
            let (options, record) = listen::<K>(options).await?;
            count::<K>(way, Own::<K>::new(&options, 1, checks), &record).await?;
        }
        for (checks, way) in [(true, "deadpool, a ping before it lends"), (false, "deadpool, no check")] {
            let (options, record) = listen::<K>(options).await?;
            count::<K>(way, Dead::<K>::new(&options, 1, checks), &record).await?;
        }
        for (first, way) in [(false, "**tenure, by default**"), (true, "tenure, `prove_before_commit`")] {
            let (options, record) = listen::<K>(options).await?;
            let peer =
                Tenure::<K>::new(&options, 1, true, |connections| connections.prove_before_commit(first));
            count::<K>(way, peer, &record).await?;
        }
        let (options, record) = listen::<K>(options).await?;
        count::<K>("floor: sqlx without a pool", Bare::<K>::new(&options, 1).await?, &record).await
    })?;
    println!();
    Ok(())
}

async fn count<K: Wired>(way: &str, peer: impl Peer<K>, record: &Mutex<Record>) -> Result<(), AnyError> {
    for number in 0..TRANSACTIONS {
        peer.act(Use::Transaction, i64::from(number)).await?;
    }
    let before = record.lock().expect("no panic").trips;
    for number in 0..TRANSACTIONS {
        peer.act(Use::Transaction, i64::from(number)).await?;
    }
    let row = {
        let record = record.lock().expect("no panic");
        let trips = f64::from(record.trips - before) / f64::from(TRANSACTIONS);
        format!("| {way} | {trips:.2} | {} |", record.last_round().join(", "))
    };
    println!("{row}");
    peer.close().await;
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
        let is_begin =
            |at: &usize| self.sent[*at].starts_with("`BEGIN") || self.sent[*at].starts_with("`START");
        let mut begins = (0..self.sent.len()).rev().filter(is_begin);
        match (begins.next(), begins.next()) {
            (Some(end), Some(begin)) => &self.sent[begin..end],
            _ => &[],
        }
    }
}

/// A proxy on a port of its own. Its tasks end with their connections, or with the runtime.
async fn listen<K: Wired>(options: &Options<K>) -> io::Result<(Options<K>, Arc<Mutex<Record>>)> {
    let record = Arc::new(Mutex::new(Record::default()));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let port = listener.local_addr()?.port();
    let server = K::port(options);
    let seen = Arc::clone(&record);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(("127.0.0.1", server)).await.expect("the server is there");
            client.set_nodelay(true).and_then(|()| server.set_nodelay(true)).expect("a TCP stream");
            let ((from_client, to_client), (from_server, to_server)) =
                (client.into_split(), server.into_split());
            tokio::spawn(carry_statements::<K>(from_client, to_server, Arc::clone(&seen)));
            tokio::spawn(carry_answers(from_server, to_client, Arc::clone(&seen)));
        }
    });
    Ok((K::by_way_of(options, port), record))
}

async fn carry_statements<K: Wired>(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    record: Arc<Mutex<Record>>,
) {
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
            while let Some(message) = K::take_message(&mut pending, &mut has_started) {
                K::note(&message, &mut record.sent);
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

/// A statement as the table has it: without its random word.
fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    match text.split_once("SELECT 'tenure") {
        Some((before, word)) => {
            let after = word.split_once('\'').map_or("", |(_, after)| after);
            format!("`{before}SELECT '…'{after}`")
        }
        None => format!("`{text}`"),
    }
}

impl Wired for Postgres {
    fn port(options: &PgConnectOptions) -> u16 {
        options.get_port()
    }

    fn by_way_of(options: &PgConnectOptions, port: u16) -> PgConnectOptions {
        options.clone().host("127.0.0.1").port(port)
    }

    /// Its kind, then its text. The first one of a connection has no kind.
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

    fn note(message: &[u8], sent: &mut Vec<String>) {
        match message {
            [b'Q', _, _, _, _, text @ .., 0] => sent.push(shown(text)),
            [b'E', ..] => sent.push("the insert".to_owned()),
            // What ends an insert has come with it.
            [b'S', ..] if sent.last().is_none_or(|last| last != "the insert") => sent.push("a ping".to_owned()),
            _ => {}
        }
    }
}

impl Wired for MySql {
    fn port(options: &MySqlConnectOptions) -> u16 {
        options.get_port()
    }

    fn by_way_of(options: &MySqlConnectOptions, port: u16) -> MySqlConnectOptions {
        options.clone().host("127.0.0.1").port(port)
    }

    fn take_message(pending: &mut Vec<u8>, _has_started: &mut bool) -> Option<Vec<u8>> {
        let &[low, middle, high, _turn] = pending.first_chunk::<4>()?;
        let end = 4 + u32::from_le_bytes([low, middle, high, 0]) as usize;
        (pending.len() >= end).then(|| pending.drain(..end).collect())
    }

    fn note(message: &[u8], sent: &mut Vec<String>) {
        match message {
            [_, _, _, 0, 0x03, text @ ..] => sent.push(shown(text)),
            [_, _, _, 0, 0x17, ..] => sent.push("the insert".to_owned()),
            [_, _, _, 0, 0x0e] => sent.push("a ping".to_owned()),
            _ => {}
        }
    }
}
