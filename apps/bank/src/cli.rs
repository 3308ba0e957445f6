//! What can be said on the command line.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use url::Url;

/// Serves a bank of 1,000 accounts over HTTP, to clients of its own that disconnect, time out, are refused and make
/// it panic; stops in the middle of that, and proves that nothing is lost.
#[derive(Clone, Debug, Parser)]
#[command(name = "bank", version)]
#[command(after_help = "The exit code is 0 if the money is conserved, every enter has had its exit, \
    and nothing is left open; 1 if not, or if the bank could not do its work; 2 if an argument is wrong; \
    130 after Ctrl-C, 143 after SIGTERM, each only if all has exited well, else 70.")]
pub(crate) struct Settings {
    /// How many clients transfer money at the same time
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) clients: u32,

    /// How many transfers they attempt together
    #[arg(long, default_value_t = 20_000, value_name = "N", value_parser = clap::value_parser!(u64).range(..=1_000_000_000))]
    pub(crate) transfers: u64,

    /// The SQLite file to keep the books in, made if there is none [default: one in a temporary folder]
    #[arg(long, value_name = "PATH")]
    database: Option<PathBuf>,

    /// The database to keep the books in: postgres://… or mysql://…
    #[arg(long, value_name = "URL", conflicts_with = "database", value_parser = server)]
    database_url: Option<Server>,

    /// Only serve, whoever comes, at this address, until a signal comes: 127.0.0.1:8080, say
    #[arg(long, value_name = "ADDR", conflicts_with_all = ["clients", "transfers", "seed"])]
    pub(crate) serve: Option<SocketAddr>,

    /// For how many seconds to go on after a signal, not ready for more, before stopping
    #[arg(long, default_value_t = 0, value_name = "SECONDS", requires = "serve", value_parser = clap::value_parser!(u64).range(..=3_600))]
    pub(crate) lame_duck: u64,

    /// What decides the transfers and their fates [default: random]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
}

/// Where the books are to be kept.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place<'a> {
    /// In an SQLite file, or in one that goes away with the bank.
    File(Option<&'a Path>),
    /// On a server.
    Server(&'a Server),
}

/// A database on a server.
#[derive(Clone, Debug)]
pub(crate) enum Server {
    Postgres(Url),
    MySql(Url),
}

/// Reads the address of a database on a server.
fn server(text: &str) -> Result<Server, String> {
    let url: Url = text.parse().map_err(|error| format!("it is no URL: {error}"))?;
    if url.path().len() < 2 {
        return Err("it names no database, as in postgres://user@host/database".to_owned());
    }
    match url.scheme() {
        "postgres" | "postgresql" => Ok(Server::Postgres(url)),
        "mysql" | "mariadb" => Ok(Server::MySql(url)),
        _ => Err("it begins neither with postgres:// nor with mysql://".to_owned()),
    }
}

impl Settings {
    /// Where the books are to be kept.
    pub(crate) fn place(&self) -> Place<'_> {
        self.database_url.as_ref().map_or(Place::File(self.database.as_deref()), Place::Server)
    }

    /// The seed: as given, or else drawn once.
    pub(crate) fn seed(&self) -> u64 {
        self.seed.unwrap_or_default()
    }
}

/// The settings, from the arguments of the process.
pub(crate) fn settings() -> Result<Settings, Usage> {
    let mut settings = Settings::try_parse().map_err(Usage)?;
    // Small enough to be typed again.
    settings.seed.get_or_insert_with(|| fastrand::u64(..1_000_000));
    Ok(settings)
}

/// Why there are no settings: something is wrong with the arguments, or they asked for help.
#[derive(Debug)]
pub(crate) struct Usage(clap::Error);

impl Usage {
    /// The exit code for wrong arguments, by convention.
    const WRONG_ARGUMENTS: u8 = 2;

    /// Prints the help, or says in one sentence what is wrong.
    pub(crate) fn tell(&self) -> ExitCode {
        if matches!(self.0.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
            // Nobody can be told that standard output is closed.
            let _ = self.0.print();
            return ExitCode::SUCCESS;
        }
        let text = self.0.to_string();
        let sentence = text.lines().next().unwrap_or_default();
        eprintln!("bank: {}; try --help", sentence.trim_start_matches("error: "));
        ExitCode::from(Self::WRONG_ARGUMENTS)
    }
}
