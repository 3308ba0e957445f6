//! The run: the bank's parts, each a context inside the one it needs.

use std::convert::Infallible;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use tenure::{task_group, with};
use tokio::runtime::Builder;
use tokio::sync::mpsc;

use crate::audit::audit;
use crate::cli::Settings;
use crate::client::{Work, client};
use crate::connections::{Connections, connections};
use crate::database::Database;
use crate::problem::Problem;
use crate::progress::Progress;
use crate::table::Report;
use crate::tally::Tally;

/// Runs the bank and tells how it went, also after Ctrl-C.
pub(crate) fn to_the_end(settings: &Settings) -> ExitCode {
    match Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(run_and_tell(settings)),
        Err(error) => {
            Problem::Runtime(error).tell();
            ExitCode::FAILURE
        }
    }
}

async fn run_and_tell(settings: &Settings) -> ExitCode {
    let tally = Arc::new(Tally::new());
    let incidents = Arc::clone(&tally);
    tenure::set_report_sink(move |incident| incidents.take_incident(incident));

    // A handle to read the counters by, at the end. It does not keep the pool open.
    let pool = OnceLock::new();
    // It stays `None` if a signal comes first.
    let mut ended = None;
    let code = tenure::run(async {
        // Boxed, since it has room for all the bodies in it.
        let result = Box::pin(bank(settings, &tally, &pool)).await;
        if ended.insert(result).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    })
    .await;

    // All exits have run by now, after Ctrl-C as well.
    let report = Report {
        seed: settings.seed(),
        tally: &tally,
        pool: pool.get().map(Connections::counters).unwrap_or_default(),
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
            problem.tell();
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

/// Opens the bank, lets the clients in, and closes it when they are gone.
///
/// What is entered last is exited first: the clients end, then the money is counted, the progress bar is cleared,
/// the connections are closed, and the temporary folder is removed.
async fn bank(settings: &Settings, tally: &Arc<Tally>, pool: &OnceLock<Connections>) -> Result<(), Problem> {
    with(Database::claim(settings.database.as_deref()), async |database| {
        database.prepare().await?;
        let pool = pool.get_or_init(|| connections(database.options(), tally)).clone();
        with(pool, async |connections| {
            with(Progress::show(settings.transfers), async |progress| {
                with(audit(connections, tally), async |_audit| {
                    let work = Arc::new(Work {
                        seed: settings.seed(),
                        transfers: settings.transfers,
                        connections: connections.clone(),
                        tally: Arc::clone(tally),
                        progress: progress.bar(),
                        next: AtomicU64::new(0),
                    });
                    serve(settings.clients, &work).await
                })
                .await
            })
            .await
        })
        .await
    })
    .await
}

/// Runs the clients until the last one is done. The first that fails ends the others.
async fn serve(clients: u32, work: &Arc<Work>) -> Result<(), Problem> {
    with(task_group(), async |group| {
        // Waiting here rather than at the group's exit lets Ctrl-C end the clients: a body is cancelled, an exit is not.
        let (here, mut all_gone) = mpsc::channel::<Infallible>(1);
        for _ in 0..clients {
            let (work, here) = (Arc::clone(work), here.clone());
            let client = async move {
                let _here = here;
                client(work).await
            };
            group.spawn(client).expect("the group is open during its body");
        }
        drop(here);
        all_gone.recv().await;
        Ok(())
    })
    .await
}
