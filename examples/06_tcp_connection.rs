//! A TCP connection as a context, with an orderly shutdown: say that no more will come, then wait until the
//! other side has said so too. A connection that is merely dropped may lose what was sent last.
//!
//! ```python
//! class Connection:
//!     async def __aexit__(self, exc_type, exc, tb):
//!         self.writer.close()
//!         await self.writer.wait_closed()
//! ```

use std::time::Duration;

use anyhow::Result;
use tenure::{AsyncExit, Options, Outcome};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy, sink};
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};

struct Connection(TcpStream);

async fn connect(address: impl ToSocketAddrs) -> Result<Connection> {
    let stream = TcpStream::connect(address).await?;
    println!("client: connected");
    Ok(Connection(stream))
}

impl Connection {
    async fn ask(&mut self, question: &str) -> Result<String> {
        self.0.write_all(question.as_bytes()).await?;
        let mut answer = vec![0; question.len()];
        self.0.read_exact(&mut answer).await?;
        Ok(String::from_utf8(answer)?)
    }
}

impl AsyncExit for Connection {
    type Error = anyhow::Error;

    async fn exit(mut self, outcome: Outcome<'_>) -> Result<()> {
        self.0.shutdown().await?;
        let unread = copy(&mut self.0, &mut sink()).await?;
        println!("client: {outcome:?}, {unread} bytes left unread");
        Ok(())
    }
}

/// Sends everything back, in capitals, until the client says that no more will come.
async fn serve(listener: TcpListener) -> Result<()> {
    let (mut stream, _) = listener.accept().await?;
    let mut buffer = [0; 64];
    let mut total = 0;
    loop {
        let received = stream.read(&mut buffer).await?;
        if received == 0 {
            println!("server: goodbye after {total} bytes");
            return Ok(());
        }
        total += received;
        stream.write_all(&buffer[..received].to_ascii_uppercase()).await?;
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    example().await
}

pub(crate) async fn example() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(serve(listener));

    // The other side may never say goodbye, so the exit has a limit.
    let answer = Options::new()
        .exit_limit(Duration::from_secs(5))
        .with(connect(address), async |connection| connection.ask("ping").await)
        .await?;
    assert_eq!(answer, "PING");
    server.await?
}
