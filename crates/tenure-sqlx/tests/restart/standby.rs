//! A replicated pool on a primary and its standby, both private: writes and reads, the standby lost and found again, the
//! primary killed and the standby promoted.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};
use tempfile::TempDir;
use tenure::with;
use tenure_sqlx::pool::{Connections, Pool, PoolExt, ReplicatedPool, Role};
use tokio::time::{sleep, timeout};

const LIMIT: Duration = Duration::from_secs(60);

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// A server in a folder of its own, which goes with it.
struct Private {
    folder: PathBuf,
    port: u16,
    child: Option<Child>,
}

/// A program of PostgreSQL's, in the plainest environment, and as `nobody` where root would be refused.
fn program(name: &str, folder: &Path) -> Command {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut places: Vec<PathBuf> = versions.map(|version| version.path().join("bin").join(name)).collect();
    places.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()).map(|folder| folder.join(name)));
    let found = places.into_iter().find(|place| place.is_file());
    let mut command = Command::new(found.unwrap_or_else(|| panic!("`{name}` is missing")));
    command.current_dir("/").env_clear().env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(fs::File::create(folder.join(format!("{name}.log"))).unwrap());
    if let Some((user, group)) = nobody() {
        command.uid(user).gid(group);
    }
    command
}

/// The unprivileged user, if this is run by root.
fn nobody() -> Option<(u32, u32)> {
    let is_root =
        fs::read_to_string("/proc/self/status").unwrap().lines().any(|line| line == "Uid:\t0\t0\t0\t0");
    is_root.then_some((65534, 65534))
}

fn run(mut command: Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

impl Private {
    /// A folder that belongs to the server's user.
    fn place(parent: &Path, name: &str) -> Self {
        let folder = parent.join(name);
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        if let Some((user, group)) = nobody() {
            chown(&folder, Some(user), Some(group)).unwrap();
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { folder, port, child: None }
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn initialise(&self) {
        let mut command = program("initdb", &self.folder);
        command.args(["--no-sync", "--encoding=UTF8", "--locale=C", "--auth=trust", "--username=tenure"]);
        command.arg("--pgdata").arg(self.data());
        run(command);
    }

    /// A copy of this one, which follows it.
    fn follow(&self, primary: &Self) {
        let mut command = program("pg_basebackup", &self.folder);
        let source = format!("host=127.0.0.1 port={} user=tenure", primary.port);
        command.args(["--dbname", &source, "--checkpoint=fast", "--no-sync", "--write-recovery-conf"]);
        command.arg("--pgdata").arg(self.data());
        run(command);
    }

    async fn start(&mut self) {
        let mut command = program("postgres", &self.folder);
        command.arg("-D").arg(self.data()).args(["-p", &self.port.to_string()]);
        for setting in ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off"] {
            command.args(["-c", setting]);
        }
        self.child = Some(command.spawn().unwrap());
        let up = async {
            loop {
                if let Ok(connection) = self.options().connect().await {
                    return connection.close().await.unwrap();
                }
                // Another process: there is nothing to be woken by.
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(LIMIT, up).await.expect("the server starts");
    }

    /// At once, as if its machine were lost.
    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = Command::new("kill").args(["-QUIT", &child.id().to_string()]).status();
            let _ = child.wait();
        }
    }

    fn options(&self) -> PgConnectOptions {
        let options = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(self.port);
        options.username("tenure").database("postgres").ssl_mode(PgSslMode::Disable)
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn write(pool: &ReplicatedPool<sqlx::Postgres>, text: &str) -> Result<(), sqlx::Error> {
    with(pool.write().transaction(), async |transaction| {
        let insert = sqlx::query("INSERT INTO notes VALUES ($1)").bind(text.to_owned());
        insert.execute(transaction.conn()).await?;
        Ok::<_, sqlx::Error>(())
    })
    .await
}

async fn read(pool: &ReplicatedPool<sqlx::Postgres>) -> Result<(Vec<String>, i32), sqlx::Error> {
    with(pool.read().connection(), async |connection| {
        let notes =
            sqlx::query_scalar("SELECT text FROM notes ORDER BY text").fetch_all(connection.conn()).await?;
        let port =
            sqlx::query_scalar("SELECT current_setting('port')::int").fetch_one(connection.conn()).await?;
        Ok((notes, port))
    })
    .await
}

/// Reads until it is as expected.
async fn until_read(pool: &ReplicatedPool<sqlx::Postgres>, expected: &[&str], port: u16) {
    let reads = async {
        while !matches!(read(pool).await, Ok((notes, from)) if notes == expected && from == i32::from(port)) {}
    };
    timeout(LIMIT, reads).await.unwrap_or_else(|_| panic!("{expected:?} is never read from {port}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_serves_reads_is_lost_and_found_and_takes_the_place_of_its_primary() {
    let folder = TempDir::new().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (mut one, mut two) = (Private::place(folder.path(), "one"), Private::place(folder.path(), "two"));
    one.initialise();
    one.start().await;
    let mut witness = one.options().connect().await.unwrap();
    witness.execute("CREATE TABLE notes (text TEXT)").await.unwrap();
    witness.close().await.unwrap();
    two.follow(&one);
    two.start().await;

    let member = |server: &Private| Pool::builder(Connections::new(server.options())).max_size(3);
    let builder = ReplicatedPool::builder("two", member(&two)).member("one", member(&one));
    let builder = builder.role_interval(Duration::from_millis(200)).failover_timeout(LIMIT);
    let used = with(builder.build().unwrap(), async |pool| {
        assert_eq!(pool.primary(), Some("one"));
        write(pool, "a").await?;
        until_read(pool, &["a"], two.port).await;
        // The standby is lost: reads fail, since the primary does not serve them, and writes go on.
        two.stop();
        write(pool, "b").await?;
        two.start().await;
        until_read(pool, &["a", "b"], two.port).await;

        // The primary is lost in the middle of a write; the standby is promoted.
        let cut_off = with(pool.write().transaction(), async |transaction| {
            sqlx::query("INSERT INTO notes VALUES ('never')").execute(transaction.conn()).await?;
            one.stop();
            sqlx::query("INSERT INTO notes VALUES ('never')").execute(transaction.conn()).await?;
            Ok::<_, sqlx::Error>(())
        });
        cut_off.await.unwrap_err();
        let promoted = async {
            let mut witness = two.options().connect().await?;
            witness.execute("SELECT pg_promote()").await?;
            witness.close().await
        };
        let (written, promoted) = futures_util::future::join(write(pool, "c"), promoted).await;
        promoted?;
        written?;
        assert_eq!((pool.primary(), pool.failovers()), (Some("two"), 1));
        let known = pool.members();
        assert_eq!((known[0].role, known[1].is_evicted), (Some(Role::Primary), true));
        let notes = with(pool.write().connection(), async |connection| {
            let notes = sqlx::query_scalar("SELECT text FROM notes ORDER BY text");
            notes.fetch_all(connection.conn()).await
        });
        let notes: Vec<String> = notes.await?;
        assert_eq!(notes, ["a", "b", "c"]);
        Ok::<_, AnyError>(())
    });
    used.await.unwrap();
}
