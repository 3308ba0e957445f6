//! The run: the bank's parts, each a context inside the one it needs.

use std::convert::Infallible;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sqlx::{MySql, Postgres, Sqlite};
use tenure::{TaskGroup, task_group, with};
use tenure_http::{Server, ServerStats, serve};
use tenure_pool::Counters as PoolCounters;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::mpsc;

use crate::books::audit::audit;
use crate::books::connections::{ConnectOptions, Connections, connections};
use crate::books::file::DatabaseFile;
use crate::books::ledger::Ledger;
use crate::books::server;
use crate::cli::{self, Place, Settings};
use crate::clients::client::{Work, client};
use crate::problem::Problem;
use crate::progress::Progress;
use crate::service::{Audience, Bank};
use crate::table::Report;
use crate::tally::Tally;

/// Runs the bank and tells how it went, also after a signal.
pub(crate) fn to_the_end(settings: &Settings) -> ExitCode {
    match Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(run_and_tell(settings)),
        Err(error) => {
            Problem::Runtime(error).tell();
            ExitCode::FAILURE
        }
    }
}

/// What can be read from outside while the bank runs, and when it has ended.
struct Gauges {
    tally: Arc<Tally>,
    /// Reads the pool's counters. It does not keep the pool open.
    pool: OnceLock<Box<dyn Fn() -> PoolCounters + Send + Sync>>,
    http: OnceLock<ServerStats>,
}

async fn run_and_tell(settings: &Settings) -> ExitCode {
    let gauges = Gauges { tally: Arc::new(Tally::new()), pool: OnceLock::new(), http: OnceLock::new() };
    let incidents = Arc::clone(&gauges.tally);
    tenure::set_report_sink(move |incident| incidents.take_incident(incident));

    // It stays `None` if a signal comes first.
    let mut ended = None;
    let code = tenure::run(async {
        // Boxed, since it has room for all the bodies in it.
        let result = Box::pin(claim_and_open(settings, &gauges)).await;
        if ended.insert(result).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    })
    .await;

    // All exits have run by now, after a signal as well.
    let tally = &gauges.tally;
    let report = Report {
        seed: settings.serve.is_none().then(|| settings.seed()),
        tally,
        pool: gauges.pool.get().map(|counters| counters()).unwrap_or_default(),
        http: gauges.http.get().cloned().unwrap_or_default(),
        counters: tenure::counters(),
        open: tenure::open(),
    };
    if tally.books_before().is_some() {
        // Nobody can be told that standard output is closed.
        let _ = write!(io::stdout(), "{report}");
    }
    match ended {
        Some(Ok(())) => {}
        Some(Err(problem)) => {
            // What a client got to see of a problem is less than the service knows.
            tally.problem().unwrap_or(problem).tell();
            return code;
        }
        None => eprintln!("bank: stopped by a signal"),
    }
    let violations = report.violations();
    for violation in &violations {
        eprintln!("bank: {violation}");
    }
    if violations.is_empty() { code } else { ExitCode::FAILURE }
}

/// Claims the database, and opens the bank on it.
async fn claim_and_open(settings: &Settings, gauges: &Gauges) -> Result<(), Problem> {
    allow_files(settings)?;
    match settings.place() {
        Place::File(path) => {
            with(DatabaseFile::claim(path), async |database| {
                database.prepare().await?;
                open::<Sqlite>(settings, gauges, database.options()).await
            })
            .await
        }
        Place::Server(cli::Server::Postgres(url)) => {
            with(server::Server::<Postgres>::claim(url), async |database| {
                database.prepare().await?;
                open::<Postgres>(settings, gauges, database.options()).await
            })
            .await
        }
        Place::Server(cli::Server::MySql(url)) => {
            with(server::Server::<MySql>::claim(url), async |database| {
                database.prepare().await?;
                open::<MySql>(settings, gauges, database.options()).await
            })
            .await
        }
    }
}

/// Opens the bank, lets the clients in, and closes it.
///
/// What is entered last is exited first: the service stops, the clients end, the money is counted, the progress bar is
/// cleared, and the connections are closed.
async fn open<D: Ledger>(
    settings: &Settings,
    gauges: &Gauges,
    options: ConnectOptions<D>,
) -> Result<(), Problem> {
    let tally = &gauges.tally;
    let pool: Connections<D> = connections(options, tally);
    let counters = pool.clone();
    let _ = gauges.pool.set(Box::new(move || counters.counters()));
    with(pool, async |connections| {
        with(Progress::show(settings), async |progress| {
            with(audit(connections, tally), async |_audit| match settings.serve {
                Some(address) => serve_everybody(address, settings, connections, gauges).await,
                None => serve_own_clients(settings, connections, progress, gauges).await,
            })
            .await
        })
        .await
    })
    .await
}

/// Serves whoever comes, until a signal comes.
async fn serve_everybody<D: Ledger>(
    address: SocketAddr,
    settings: &Settings,
    connections: &Connections<D>,
    gauges: &Gauges,
) -> Result<(), Problem> {
    let router = Bank::new(connections, &gauges.tally, Audience::Everybody).router();
    let service = serve(listen(address).await?, router).lame_duck(Duration::from_secs(settings.lame_duck));
    with(service, async |server| {
        let _ = gauges.http.set(server.stats());
        // Nobody can be told that standard output is closed.
        let _ = writeln!(io::stdout(), "serving on http://{}, Ctrl-C stops it", server.local_addr());
        Ok::<_, Problem>(server.forever().await?)
    })
    .await
}

/// Serves the bank's own clients, and stops when they have sent their last requests, without waiting for the answers.
async fn serve_own_clients<D: Ledger>(
    settings: &Settings,
    connections: &Connections<D>,
    progress: &Progress,
    gauges: &Gauges,
) -> Result<(), Problem> {
    let router = Bank::new(connections, &gauges.tally, Audience::OwnClients).router();
    let listener = listen((Ipv4Addr::LOCALHOST, 0).into()).await?;
    with(task_group(), async |group: &mut TaskGroup<Problem>| {
        let (here, mut all_gone) = mpsc::channel::<Infallible>(1);
        with(serve(listener, router), async |server: &mut Server| {
            let _ = gauges.http.set(server.stats());
            let url = format!("http://{}", server.local_addr());
            progress.show_url(&url);
            let work = Work::new(settings.seed(), settings.transfers, url, &gauges.tally, progress.bar());
            let work = Arc::new(work);
            let _stop = Stop { work: &work };
            for _ in 0..settings.clients {
                let (work, here) = (Arc::clone(&work), here.clone());
                let client = async move {
                    let _here = here;
                    client(work).await
                };
                group.spawn(client);
            }
            drop(here);
            tokio::select! {
                () = work.all_taken() => {}
                _ = all_gone.recv() => {}
            }
            Ok::<_, Problem>(())
        })
        .await?;
        // Waiting here rather than at the group's exit lets Ctrl-C end the clients: a body is cancelled, an exit is not.
        all_gone.recv().await;
        Ok(())
    })
    .await
}

/// Tells that the service is about to stop, also when a signal drops what is around it.
struct Stop<'w> {
    work: &'w Work,
}

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.work.stop();
        self.work.tally.stopping();
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, Problem> {
    TcpListener::bind(address).await.map_err(|error| Problem::Listen(address, error))
}

/// How many files a bank has open besides the two ends of each client's connection: the database's, above all.
const OTHER_FILES: u64 = 100;

/// Makes sure that there can be as many connections as there are clients.
fn allow_files(settings: &Settings) -> Result<(), Problem> {
    let clients = if settings.serve.is_some() { 0 } else { u64::from(settings.clients) };
    // A connection that is closed on one end may still be open on the other, when the next one is there.
    let needed = 4 * clients + OTHER_FILES;
    let allowed = rlimit::increase_nofile_limit(needed).map_err(Problem::Runtime)?;
    if allowed < needed { Err(Problem::TooFewFiles { needed, allowed }) } else { Ok(()) }
}
