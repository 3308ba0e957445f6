//! MariaDB, for MySQL's protocol.

use std::io::Read;
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use super::Kind;
use super::place::{HOST, Place, ROLE};
use crate::error::Error;
use crate::install::found;
use crate::setup::Tool;

/// How long to wait for a greeting.
const GREETING_LIMIT: Duration = Duration::from_millis(500);

/// The first byte of a greeting's body.
const PROTOCOL_VERSION: u8 = 10;

pub(crate) struct MariaDb;

impl Kind for MariaDb {
    const NAME: &'static str = "MariaDB";
    const VARIABLE: &'static str = "TENURE_MYSQL_URL";
    const TOOL: Tool = Tool {
        name: Self::NAME,
        programs: &["mariadb-install-db", "mariadbd"],
        // The package without `core` would start a server of its own.
        debian_packages: &["mariadb-server-core", "mariadb-client-core"],
        cure: "install it (Debian: `mariadb-server-core`, Fedora: `mariadb-server`, Homebrew: `mariadb`)",
        variables: &[Self::VARIABLE],
    };
    const STOP: &'static str = "TERM";

    fn initialise(place: &Place) -> Result<Vec<Command>, Error> {
        let password = place.password();
        // Run at each start, also after a test has stopped the server.
        place.write(
            "init.sql",
            &format!(
                "CREATE DATABASE IF NOT EXISTS tenure;\n\
                 CREATE USER IF NOT EXISTS '{ROLE}'@'{HOST}' IDENTIFIED BY '{password}';\n\
                 GRANT ALL ON *.* TO '{ROLE}'@'{HOST}';\n"
            ),
        )?;
        let mut command = place.command(found("mariadb-install-db")?);
        // Socket authentication: the server's own root has no password that anyone could leave empty.
        command.args(["--no-defaults", "--auth-root-authentication-method=socket"]);
        command.args(["--skip-test-db", "--skip-name-resolve"]);
        command.arg(format!("--datadir={}", place.path("data")));
        Ok(vec![command])
    }

    fn serve(place: &Place) -> Result<Command, Error> {
        let mut command = Command::new(found("mariadbd")?);
        command.args(["--no-defaults", "--bind-address=127.0.0.1", "--skip-name-resolve"]);
        command.args(["--max-connections=300", "--innodb-buffer-pool-size=64M"]);
        // The data need not outlive the machine.
        command.arg("--innodb-flush-log-at-trx-commit=0");
        command.arg(format!("--port={}", place.port()));
        for (option, name) in
            [("datadir", "data"), ("socket", "socket"), ("pid-file", "pid"), ("init-file", "init.sql")]
        {
            command.arg(format!("--{option}={}", place.path(name)));
        }
        Ok(command)
    }

    /// It greets whoever connects, but only once it is ready.
    fn answers(place: &Place) -> bool {
        let greeting = || {
            let mut stream = TcpStream::connect((HOST, place.port()))?;
            stream.set_read_timeout(Some(GREETING_LIMIT))?;
            let mut header_and_version = [0; 5];
            stream.read_exact(&mut header_and_version)?;
            std::io::Result::Ok(header_and_version[4])
        };
        greeting().is_ok_and(|version| version == PROTOCOL_VERSION)
    }

    fn url(place: &Place) -> String {
        let (password, port) = (place.password(), place.port());
        format!("mysql://{ROLE}:{password}@{HOST}:{port}/tenure")
    }
}
