//! Private database servers, for as long as something here needs them.
//!
//! Each has a folder of its own under the system's temporary one, a free port on the loopback, a password
//! made for the occasion, and an unprivileged user when this is started by root.
//!
//! # Invariants
//! 1. A server ends with the value that stands for it, and with this process even if that is killed: its
//!    keeper (see [`keeper`]) holds the other end of a pipe, stops the server when the pipe closes, and
//!    removes the folder.
//! 2. A server that a client stops in order is started again, with its data and at its old address.
//! 3. Whoever has set a server's variable brings a server of their own; none is started in its place.

mod keeper;
mod mariadb;
pub(crate) mod place;
mod postgres;

use std::thread;
use std::time::Duration;

use crate::error::Error;
use crate::install::Installing;
use crate::interrupt::Interrupt;
use crate::process::{self, Ended, LastWords, Observer};
use crate::setup::{self, Tool};
use crate::steps::Needs;
use keeper::Keeper;
use place::Place;

/// How long a server may take to be initialised, and again to answer.
const START_LIMIT: Duration = Duration::from_secs(90);

/// How often a server that is starting is asked whether it answers.
const POLL: Duration = Duration::from_millis(50);

/// How often to start a server whose port was taken by another between the choice and the start.
const TRIES: usize = 3;

/// A kind of server: how to find, make and reach it.
trait Kind {
    const NAME: &'static str;
    /// The variable that tells tests its address.
    const VARIABLE: &'static str;
    /// The programs that it is made of.
    const TOOL: Tool;
    /// The signal that ends it without waiting for clients.
    const STOP: &'static str;

    /// The commands that fill the folder.
    fn initialise(place: &Place) -> Result<Vec<std::process::Command>, Error>;
    /// The command that serves.
    fn serve(place: &Place) -> Result<std::process::Command, Error>;
    /// Whether it answers.
    fn answers(place: &Place) -> bool;
    /// Its address, user and password included.
    fn url(place: &Place) -> String;
}

/// What [`Servers::start`] needs.
pub(crate) const TOOLS: &[Tool] = &[postgres::Postgres::TOOL, mariadb::MariaDb::TOOL];

/// The servers that tests use, stopped when this is dropped.
#[derive(Debug)]
pub(crate) struct Servers {
    keepers: Vec<(&'static str, Keeper)>,
    addresses: Vec<(&'static str, String)>,
}

impl Servers {
    /// Starts them all.
    pub(crate) fn start(interrupt: &Interrupt, say: &mut dyn FnMut(&str)) -> Result<Self, Error> {
        let mut servers = Self { keepers: Vec::new(), addresses: Vec::new() };
        servers.add::<postgres::Postgres>(interrupt, say)?;
        servers.add::<mariadb::MariaDb>(interrupt, say)?;
        Ok(servers)
    }

    /// Whether no server was brought by the user: those started here may be stopped by a test, and start again.
    pub(crate) fn are_all_ours() -> bool {
        let variables = [postgres::Postgres::VARIABLE, mariadb::MariaDb::VARIABLE];
        variables.iter().all(|variable| std::env::var_os(variable).is_none())
    }

    /// The variables that tell the tests where the servers are.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.addresses.iter().map(|(variable, url)| (*variable, url.as_str()))
    }

    fn add<K: Kind>(&mut self, interrupt: &Interrupt, say: &mut dyn FnMut(&str)) -> Result<(), Error> {
        if let Ok(url) = std::env::var(K::VARIABLE) {
            say(&format!("{}: using {} as it is set", K::NAME, K::VARIABLE));
            self.addresses.push((K::VARIABLE, url));
            return Ok(());
        }
        let mut tries = 1;
        let (keeper, url) = loop {
            match start::<K>(interrupt) {
                Ok(started) => break started,
                Err(error @ Error::Server { .. }) if tries < TRIES => {
                    say(&format!("{error}; trying again"));
                    tries += 1;
                }
                Err(error) => return Err(error),
            }
        };
        say(&format!("{} is up", K::NAME));
        self.keepers.push((K::NAME, keeper));
        self.addresses.push((K::VARIABLE, url));
        Ok(())
    }

    /// Fails if a server has ended by itself.
    fn check(&mut self) -> Result<(), Error> {
        for (name, keeper) in &mut self.keepers {
            if let Some(words) = keeper.ended() {
                let why = format!("ended by itself; the last it said was\n{words}");
                return Err(Error::Server { name, why });
            }
        }
        Ok(())
    }
}

/// Starts the servers, says where they are, and holds them until a signal comes.
pub(crate) fn hold(interrupt: &Interrupt, installing: Installing) -> Result<(), Error> {
    setup::ensure([Needs::Servers], installing, interrupt, &mut |line| eprintln!("{line}"))?;
    let mut servers = Servers::start(interrupt, &mut |line| eprintln!("{line}"))?;
    for (variable, url) in servers.addresses() {
        println!("export {variable}='{url}'");
    }
    eprintln!("Ctrl-C stops them");
    while interrupt.take().is_none() {
        servers.check()?;
        thread::sleep(POLL);
    }
    eprintln!("stopping");
    Ok(())
}

/// Starts the servers and runs a command that finds them in its environment, to its end.
///
/// # Errors
/// Also if the command fails.
pub(crate) fn hold_for(command: &[String], interrupt: &Interrupt, installing: Installing) -> Result<(), Error> {
    let [program, arguments @ ..] = command else {
        return Err(Error::Usage("there is no command".to_owned()));
    };
    setup::ensure([Needs::Servers], installing, interrupt, &mut |line| eprintln!("{line}"))?;
    let servers = Servers::start(interrupt, &mut |line| eprintln!("{line}"))?;
    let mut command = std::process::Command::new(program);
    command.args(arguments).envs(servers.addresses());
    match process::run(&mut command, Duration::MAX, interrupt, &mut Echo)? {
        Ended::Exited(status) if status.success() => Ok(()),
        Ended::Exited(status) => Err(Error::Command { program: program.clone(), status }),
        Ended::OutOfTime(_) => unreachable!("there is no limit"),
    }
}

fn start<K: Kind>(interrupt: &Interrupt) -> Result<(Keeper, String), Error> {
    let failed = |why: String| Error::Server { name: K::NAME, why };
    let place = Place::make(K::NAME)?;
    for mut command in K::initialise(&place)? {
        let mut words = LastWords::default();
        match process::run(&mut command, START_LIMIT, interrupt, &mut words)? {
            Ended::Exited(status) if status.success() => {}
            Ended::Exited(status) => {
                let program = command.get_program().to_string_lossy().into_owned();
                return Err(failed(format!("{program} ended with {status}\n{}", words.0.join("\n"))));
            }
            Ended::OutOfTime(_) => return Err(failed("was not initialised in time".to_owned())),
        }
    }
    let url = K::url(&place);
    let command = K::serve(&place)?;
    let mut keeper = Keeper::start(&command, K::STOP, place).map_err(Error::io("start a server"))?;
    let mut waited = Duration::ZERO;
    while !K::answers(keeper.place()) {
        if let Some(signal) = interrupt.take() {
            return Err(Error::Interrupted { signal });
        }
        if let Some(words) = keeper.ended() {
            return Err(failed(format!("ended while starting\n{words}")));
        }
        if waited > START_LIMIT {
            return Err(failed("does not answer".to_owned()));
        }
        thread::sleep(POLL);
        waited += POLL;
    }
    Ok((keeper, url))
}

/// Shows what a program prints.
struct Echo;

impl Observer for Echo {
    fn line(&mut self, line: &str) {
        println!("{line}");
    }
}
