//! PostgreSQL.

use std::process::Command;

use super::Kind;
use super::place::{HOST, Place, ROLE};
use crate::error::Error;
use crate::install::found;
use crate::setup::Tool;

pub(crate) struct Postgres;

impl Kind for Postgres {
    const NAME: &'static str = "PostgreSQL";
    const VARIABLE: &'static str = "TENURE_POSTGRES_URL";
    const TOOL: Tool = Tool {
        name: Self::NAME,
        programs: &["initdb", "postgres"],
        debian_packages: &["postgresql"],
        cure: "install it (Debian: `postgresql`, Fedora: `postgresql-server`, Homebrew: `postgresql`)",
        variables: &[Self::VARIABLE],
    };
    /// A fast shutdown: clients are cut off, the data is left whole.
    const STOP: &'static str = "INT";

    fn initialise(place: &Place) -> Result<Vec<Command>, Error> {
        let password_file = place.write("password", place.password())?;
        let mut command = place.command(found("initdb")?);
        // The password goes over the loopback as it is: a client built without optimisation takes a
        // tenth of a second for SCRAM, and tests connect by the thousand.
        command.args(["--no-sync", "--encoding=UTF8", "--locale=C", "--auth=password"]);
        command.args(["--username", ROLE, "--pwfile", &password_file]);
        command.args(["--pgdata", &place.path("data")]);
        Ok(vec![command])
    }

    fn serve(place: &Place) -> Result<Command, Error> {
        let mut command = Command::new(found("postgres")?);
        command.args(["-D", &place.path("data"), "-p", &place.port().to_string()]);
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "max_connections=300",
            // The data need not outlive the machine.
            "fsync=off",
        ] {
            command.args(["-c", setting]);
        }
        Ok(command)
    }

    /// The server writes into this file when it is ready; a port that is open says less.
    fn answers(place: &Place) -> bool {
        std::fs::read_to_string(place.path("data/postmaster.pid"))
            .is_ok_and(|status| status.lines().any(|line| line.trim() == "ready"))
    }

    fn url(place: &Place) -> String {
        let (password, port) = (place.password(), place.port());
        format!("postgres://{ROLE}:{password}@{HOST}:{port}/postgres")
    }
}
