//! What can be said on the command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

/// Moves money between 1,000 accounts in an SQLite database while transfers are cancelled, refused and panic, and
/// proves that nothing is lost.
#[derive(Clone, Debug, Parser)]
#[command(name = "bank", version)]
#[command(after_help = "The exit code is 0 if the money is conserved, every enter has had its exit, \
    and nothing is left open; 1 if not, or if the bank could not do its work; 2 if an argument is wrong; \
    130 after Ctrl-C.")]
pub(crate) struct Settings {
    /// How many clients transfer money at the same time
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) clients: u32,

    /// How many transfers they attempt together
    #[arg(long, default_value_t = 20_000, value_name = "N", value_parser = clap::value_parser!(u64).range(..=1_000_000_000))]
    pub(crate) transfers: u64,

    /// The database file, which is made if there is none, and kept [default: one in a temporary folder]
    #[arg(long, value_name = "PATH")]
    pub(crate) database: Option<PathBuf>,

    /// What decides the transfers and their fates [default: random]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
}

impl Settings {
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
