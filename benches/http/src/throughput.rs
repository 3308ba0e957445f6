//! A server's throughput beside `axum::serve`'s: each server is a process with one worker, the clients are
//! one thread.
//!
//! The servers are measured in short rounds, one after the other, and a ratio is the median of the ratios of neighbouring
//! rounds, so that what disturbs the machine disturbs both. The processor time of the server is measured beside the
//! throughput: it says the same on a quiet machine, and is the steadier one on another.

use std::error::Error;
use std::time::Duration;

use crate::clients::{Clients, Round};
use crate::median;
use crate::process::Server;
use crate::ways::Way;

/// Numbers of connections at a time.
const CONNECTIONS: [usize; 3] = [1, 64, 1000];
/// Short, and many: what disturbs the machine then disturbs neighbours alike.
const ROUNDS: usize = 120;
const ROUND: Duration = Duration::from_millis(80);

/// Figures of one server.
#[derive(Default)]
struct Figures {
    each_second: Vec<f64>,
    /// Nanoseconds of processor time a request.
    processor: Vec<f64>,
    latencies: Vec<u32>,
}

impl Figures {
    fn note(&mut self, round: Round, processor: Option<Duration>) {
        self.each_second.push(round.requests as f64 / round.took.as_secs_f64());
        self.processor.extend(processor.map(|time| time.as_nanos() as f64 / round.requests as f64));
        self.latencies.extend(round.latencies);
    }

    /// In microseconds.
    fn latency(&mut self, share: f64) -> f64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
        let index = (self.latencies.len() as f64 * share) as usize;
        let (_, latency, _) = self.latencies.select_nth_unstable(index);
        f64::from(*latency) / 1e3
    }
}

pub(crate) fn measure(share: usize, ways: &[Way]) -> Result<(), Box<dyn Error>> {
    for connections in CONNECTIONS {
        let rounds = ROUNDS / share;
        let mut figures = rounds_of(connections, rounds, ways)?;
        let plural = if connections == 1 { "" } else { "s" };
        println!("{connections} connection{plural}, kept alive ({rounds} rounds of {ROUND:?}, medians)\n");
        println!(
            "| served by | requests/s | to `axum::serve`'s | half of the rounds | p50, µs | p99, µs | processor time, µs | to `axum::serve`'s |"
        );
        println!("|---|---:|---:|---:|---:|---:|---:|---:|");
        let base = (figures[0].each_second.clone(), figures[0].processor.clone());
        for (way, own) in ways.iter().zip(&mut figures) {
            let [low, ratio, high] = quartiles(&own.each_second, &base.0);
            let each_second = median(own.each_second.clone());
            let (p50, p99) = (own.latency(0.5), own.latency(0.99));
            let processor = if own.processor.is_empty() {
                " | ".to_owned()
            } else {
                let [_, ratio, _] = quartiles(&own.processor, &base.1);
                format!("{:.2} | {ratio:.3}", median(own.processor.clone()) / 1e3)
            };
            let name = way.name();
            println!(
                "| {name} | {each_second:.0} | {ratio:.3} | {low:.2} to {high:.2} | {p50:.0} | {p99:.0} | {processor} |"
            );
        }
        println!();
    }
    Ok(())
}

fn rounds_of(connections: usize, rounds: usize, ways: &[Way]) -> Result<Vec<Figures>, Box<dyn Error>> {
    let mut servers = Vec::new();
    for way in ways {
        let server = Server::start(*way)?;
        let clients = Clients::connect(server.address, connections)?;
        servers.push((server, clients));
    }
    let mut figures: Vec<_> = ways.iter().map(|_| Figures::default()).collect();
    for round in 0..=rounds {
        for place in 0..ways.len() {
            // Each comes first in its turn.
            let which = (round + place) % ways.len();
            let (server, clients) = &mut servers[which];
            let before = server.processor_time();
            let done = clients.round(ROUND)?;
            let processor =
                server.processor_time().zip(before).map(|(after, before)| after.saturating_sub(before));
            // The first one warms up.
            if round > 0 {
                figures[which].note(done, processor);
            }
        }
    }
    Ok(figures)
}

/// Of the ratios of neighbouring rounds.
fn quartiles(own: &[f64], base: &[f64]) -> [f64; 3] {
    let mut ratios: Vec<_> = own.iter().zip(base).map(|(own, base)| own / base).collect();
    ratios.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| ratios[ratios.len() * quarter / 4])
}
