//! The memory of a server's idle connections: each has had a request answered, and waits for the next one.

use std::error::Error;

use crate::clients::Clients;
use crate::process::Server;
use crate::ways::Way;

const CONNECTIONS: [usize; 2] = [1000, 5000];

pub(crate) fn measure(ways: &[Way]) -> Result<(), Box<dyn Error>> {
    println!("Memory of an idle connection: what a server takes more, by the connection\n");
    println!(
        "| served by | {} connections | {} connections |\n|---|---:|---:|",
        CONNECTIONS[0], CONNECTIONS[1]
    );
    for way in ways {
        let mut cells = String::new();
        for connections in CONNECTIONS {
            let server = Server::start(*way)?;
            // What the first ones take is there for all.
            drop(Clients::connect(server.address, 1)?);
            let before = server.memory();
            let clients = Clients::connect(server.address, connections)?;
            let taken = server.memory().zip(before).map(|(after, before)| after.saturating_sub(before));
            cells += &match taken {
                Some(taken) => format!(" {:.1} KiB |", taken as f64 / 1024.0 / connections as f64),
                None => " |".to_owned(),
            };
            drop(clients);
        }
        println!("| {} |{cells}", way.name());
    }
    println!();
    Ok(())
}
