//! The table at the end, and the verdict that decides the exit code.

use std::fmt;
use std::time::Duration;

use tenure::{Counters, OpenTenures};
use tenure_http::ServerStats;
use tenure_pool::Counters as PoolCounters;

use crate::books::ledger::{Books, Cents};
use crate::tally::{Ended, Served, Tally, enters};

/// All that is known after a run.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    /// What has decided the transfers of the bank's own clients, if there were any.
    pub(crate) seed: Option<u64>,
    pub(crate) tally: &'a Tally,
    /// What the pool has counted, after it was closed.
    pub(crate) pool: PoolCounters,
    /// What the HTTP server has counted, after it was left.
    pub(crate) http: ServerStats,
    /// What the runtime has counted, after all that was handed over has ended.
    pub(crate) counters: Counters,
    /// What is open then.
    pub(crate) open: OpenTenures,
}

/// How far the eye has to go from a label to its value.
const LABEL_WIDTH: usize = 26;
const VALUE_WIDTH: usize = 16;

impl Report<'_> {
    /// The guarantees that do not hold, a sentence each. None, if all is well.
    pub(crate) fn violations(&self) -> Vec<String> {
        let mut violations = self.books_violations();
        let Self { tally, pool, counters, open, .. } = self;
        let mut check = |holds: bool, sentence: String| {
            if !holds {
                violations.push(sentence);
            }
        };
        check(
            enters(counters) == counters.exited && counters.lost == 0,
            format!(
                "{} enters had {} exits, and {} were lost",
                enters(counters),
                counters.exited,
                counters.lost
            ),
        );
        check(open.is_empty(), format!("something is still held:\n{open}"));
        check(
            pool.opened == pool.closed,
            format!("{} connections were opened and {} closed", pool.opened, pool.closed),
        );
        let disorderly = pool.close_failures + pool.dropped;
        check(disorderly == 0, format!("{disorderly} connections were not closed in order"));
        let in_flight = tally.in_flight();
        check(in_flight == 0, format!("{in_flight} requests were never over"));
        let http = self.http.open();
        check(http == 0, format!("{http} connections of clients are still open"));
        check(tally.left_open() == 0, format!("{} transactions were left open", tally.left_open()));
        if let Some((count, first)) = tally.incidents() {
            violations.push(format!(
                "something went wrong {count} times with nobody there to be told, first: {first}"
            ));
        }
        violations
    }

    fn books_violations(&self) -> Vec<String> {
        // Stopped before the clients came in: there is nothing to compare.
        let Some(before) = self.tally.books_before() else { return Vec::new() };
        let Some(after) = self.tally.books_after() else {
            return vec!["the money was not counted again".to_owned()];
        };
        let mut violations = Vec::new();
        if before.sum != after.sum {
            let (before, after) = (Money(before.sum), Money(after.sum));
            violations.push(format!("there was {before} before and {after} after"));
        }
        if after.unexplained != 0 {
            violations.push(format!("the ledger does not explain {} balances", after.unexplained));
        }
        // A transfer that was being committed when its client went away is in the ledger, and nobody has heard of it.
        let made = self.tally.made();
        let possible = made + self.tally.served(Served::Cancelled) + self.tally.served(Served::Failed);
        let written = written(before, after);
        if !(made..=possible).contains(&written) {
            violations.push(format!("the ledger has {written} new entries for {made} transfers"));
        }
        let committed = self.tally.ended(Ended::Committed);
        if committed > made {
            violations.push(format!("the clients heard of {committed} transfers, and {made} were made"));
        }
        violations
    }
}

/// How many transfers came into the ledger.
fn written(before: Books, after: Books) -> u64 {
    u64::try_from(after.entries - before.entries).unwrap_or_default()
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.seed.is_some() {
            self.clients(f)?;
        } else {
            row(f, "transfers made", &Count(self.tally.made()))?;
            row(f, "transfers refused", &Count(self.tally.refused()))?;
        }
        self.service(f)?;
        self.database(f)?;
        match &self.seed {
            Some(seed) => row(f, "seed", seed),
            None => Ok(()),
        }
    }
}

fn row(f: &mut fmt::Formatter<'_>, label: &str, value: &dyn fmt::Display) -> fmt::Result {
    let value = value.to_string();
    writeln!(f, "{label:<LABEL_WIDTH$}{value:>VALUE_WIDTH$}")
}

/// The parts of the table.
impl Report<'_> {
    /// What the bank's own clients have seen.
    fn clients(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tally = self.tally;
        let [committed, rolled_back, cancelled, panicked, unanswered] =
            [Ended::Committed, Ended::RolledBack, Ended::Cancelled, Ended::Panicked, Ended::Unanswered]
                .map(|how| tally.ended(how));
        let transfers = committed + rolled_back + cancelled + panicked + unanswered;
        row(f, "transfers", &Count(transfers))?;
        row(f, "  committed", &Count(committed))?;
        row(f, "  rolled back", &Count(rolled_back))?;
        row(f, "  cancelled", &Count(cancelled))?;
        if let (Some(before), Some(after)) = (tally.books_before(), tally.books_after()) {
            let finished = written(before, after).saturating_sub(committed);
            row(f, "    commit under way", &Count(finished))?;
        }
        row(f, "  panicked", &Count(panicked))?;
        row(f, "  unanswered at the stop", &Count(unanswered))?;
        row(f, "transfers/s", &Count(per_second(transfers, tally.took())))?;
        row(f, "latency p50", &Milliseconds(tally.latency(0.50)))?;
        row(f, "latency p99", &Milliseconds(tally.latency(0.99)))
    }

    /// What the service has seen.
    fn service(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [Served::Completed, Served::Failed, Served::Panicked, Served::Cancelled];
        let requests: u64 = all.into_iter().map(|how| self.tally.served(how)).sum();
        let served = |how| Count(self.tally.served(how));
        row(f, "HTTP connections", &Count(self.http.accepted()))?;
        row(f, "HTTP requests", &Count(requests))?;
        row(f, "  answered", &served(Served::Completed))?;
        row(f, "  failed", &served(Served::Failed))?;
        row(f, "  panicked", &served(Served::Panicked))?;
        row(f, "  client gone", &served(Served::Cancelled))?;
        row(f, "  in flight at the stop", &Count(self.tally.in_flight_at_stop()))?;
        row(f, "    cut off", &Count(self.http.cut()))
    }

    /// What has become of the connections, the exits and the money.
    fn database(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tally, pool, counters, .. } = self;
        row(f, "connections opened", &Count(pool.opened))?;
        row(f, "connections closed", &Count(pool.closed))?;
        row(f, "open transactions left", &Count(tally.left_open()))?;
        row(f, "enters", &Count(enters(counters)))?;
        row(f, "exits run", &Count(counters.exited))?;
        row(f, "  in the background", &Count(counters.handed_over))?;
        row(f, "exits lost", &Count(counters.lost))?;
        if let Some(books) = tally.books_before() {
            row(f, "sum of money before", &Money(books.sum))?;
        }
        if let Some(books) = tally.books_after() {
            row(f, "sum of money after", &Money(books.sum))?;
        }
        Ok(())
    }
}

fn per_second(count: u64, took: Duration) -> u64 {
    let microseconds = took.as_micros().max(1);
    u64::try_from(u128::from(count) * 1_000_000 / microseconds).unwrap_or(u64::MAX)
}

/// A number in groups of three digits.
struct Count(u64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

/// An amount of money, with two decimals.
struct Money(Cents);

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let cents = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:02}", Count(cents / 100), cents % 100)
    }
}

/// A duration in milliseconds.
struct Milliseconds(Duration);

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} ms", self.0.as_secs_f64() * 1_000.0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tenure::{Counters, OpenTenures};

    use super::{Count, Money, PoolCounters, Report, per_second};
    use tenure_http::ServerStats;

    use crate::books::ledger::Books;
    use crate::tally::{Ended, Served, Tally};

    const BEFORE: Books = Books { sum: 100_000, entries: 10, unexplained: 0 };

    fn report(tally: &Tally) -> Report<'_> {
        let (pool, counters, open) = (PoolCounters::default(), Counters::default(), OpenTenures::default());
        Report { seed: Some(1), tally, pool, http: ServerStats::default(), counters, open }
    }

    /// The violations after a run with one commit and one cancelled transfer.
    fn violations(after: Books, tamper: impl FnOnce(&mut Report<'_>)) -> String {
        let tally = Tally::new();
        tally.begin(BEFORE);
        for (ended, served) in [(Ended::Committed, Served::Completed), (Ended::Cancelled, Served::Cancelled)] {
            tally.request_came();
            tally.request_ended(served);
            tally.transfer_ended(ended, Duration::from_millis(1));
        }
        tally.transfer_made();
        tally.end(after);
        let mut report = report(&tally);
        tamper(&mut report);
        report.violations().join("; ")
    }

    #[test]
    fn a_run_in_order_has_no_violations() {
        // A transfer that is cancelled during its commit is in the ledger.
        for entries in [11, 12] {
            assert_eq!(violations(Books { entries, ..BEFORE }, |_| {}), "");
        }
    }

    #[test]
    fn each_broken_guarantee_is_a_violation() {
        let after = Books { entries: 11, ..BEFORE };
        let untouched = |_: &mut Report<'_>| {};
        let sum = after.sum - 1;
        assert_eq!(violations(Books { sum, ..after }, untouched), "there was 1,000.00 before and 999.99 after");
        assert_eq!(
            violations(Books { unexplained: 2, ..after }, untouched),
            "the ledger does not explain 2 balances"
        );
        for entries in [10, 13] {
            let new = entries - BEFORE.entries;
            let sentence = format!("the ledger has {new} new entries for 1 transfers");
            assert_eq!(violations(Books { entries, ..after }, untouched), sentence);
        }
        assert_eq!(
            violations(after, |report| {
                let Counters { entered, exited, lost, disarmed, .. } = &mut report.counters;
                (*entered, *exited, *lost, *disarmed) = (4, 2, 1, 1);
            }),
            "3 enters had 2 exits, and 1 were lost"
        );
        assert_eq!(
            violations(after, |report| report.pool.opened = 1),
            "1 connections were opened and 0 closed"
        );
        for (close_failures, dropped) in [(1, 0), (0, 1)] {
            assert_eq!(
                violations(after, |report| {
                    (report.pool.close_failures, report.pool.dropped) = (close_failures, dropped);
                }),
                "1 connections were not closed in order"
            );
        }
        assert_eq!(
            violations(after, |report| report.tally.transfer_ended(Ended::Committed, Duration::ZERO)),
            "the clients heard of 2 transfers, and 1 were made"
        );
        assert_eq!(violations(after, |report| report.tally.request_came()), "1 requests were never over");
        assert_eq!(
            violations(after, |report| report.tally.transaction_left_open()),
            "1 transactions were left open"
        );
    }

    #[test]
    fn a_run_whose_end_was_not_audited_is_a_violation() {
        let tally = Tally::new();
        tally.begin(BEFORE);
        assert_eq!(report(&tally).violations(), ["the money was not counted again"]);
    }

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1_000, "1,000"), (20_000, "20,000"), (1_234_567, "1,234,567")]
        {
            assert_eq!(Count(number).to_string(), text);
        }
    }

    #[test]
    fn money_has_two_decimals_and_a_sign() {
        for (cents, text) in [(0, "0.00"), (7, "0.07"), (-7, "-0.07"), (100_000_000, "1,000,000.00")] {
            assert_eq!(Money(cents).to_string(), text);
        }
    }

    #[test]
    fn a_rate_is_known_for_no_time_too() {
        assert_eq!(per_second(0, Duration::ZERO), 0);
        assert_eq!(per_second(50, Duration::from_millis(10)), 5_000);
    }
}
