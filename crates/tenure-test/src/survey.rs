//! [`Survey`]: all leaks of a future, grouped by what leaked and where.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::ControlFlow;

use serde_json::{Value, json};

use crate::enumeration::OnLeak;
use crate::{CancelBy, FaultKind, Flavour, Leak, Report, Violation};

/// A list of everything that leaked: what [`Proof::survey`](crate::Proof::survey) returns.
///
/// Printed it is a table; [`to_json`](Self::to_json) is the same for other programs.
///
/// ```
/// use tenure::{AsyncExit, Outcome};
/// use tenure_test::Proof;
///
/// let survey = Proof::new().survey(|recorder| async move {
///     let db = recorder.resource("db").await?;
///     recorder.step("query").await?;
///     db.exit(Outcome::Completed).await
/// });
/// assert!(!survey.is_clean());
/// // Dropped in the query, its exit never begins; dropped in the exit, it does not end.
/// assert_eq!(survey.findings().len(), 2, "{survey}");
/// ```
#[derive(Debug)]
#[must_use = "a survey does not panic: assert that it is clean"]
pub struct Survey {
    report: Report,
    findings: Vec<Finding>,
}

/// One thing that leaks at one place, in one run or in many.
#[derive(Debug)]
pub struct Finding {
    /// What tells it from others.
    key: (String, Option<String>),
    hits: u64,
    cancelled_by: Vec<CancelBy>,
    faults: Vec<FaultKind>,
    flavours: Vec<Flavour>,
    suspensions: BTreeSet<u64>,
    example: Box<Leak>,
}

impl Survey {
    /// Runs a proof that goes on past each leak.
    pub(crate) fn take(prove: impl FnOnce(OnLeak<'_>) -> Result<Report, Box<Leak>>) -> Self {
        let mut findings = Vec::new();
        let mut on_leak = |leak: Box<Leak>| {
            note(&mut findings, leak);
            ControlFlow::Continue(())
        };
        match prove(&mut on_leak) {
            Ok(report) => Self { report, findings },
            // The set-up did not end: no run was begun.
            Err(leak) => {
                note(&mut findings, leak);
                Self { report: Report::default(), findings }
            }
        }
    }

    /// Returns `true` if nothing leaked, and enough was tried.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    /// Returns what was found, in the order in which it was found first.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Returns what was tried.
    pub fn report(&self) -> Report {
        self.report
    }

    /// Returns the survey as one JSON object: `report` has the fields of [`Report`], `findings` is a list with an
    /// object for each [`Finding`].
    #[must_use]
    pub fn to_json(&self) -> String {
        let findings: Vec<_> = self.findings.iter().map(Finding::json).collect();
        json!({ "report": report_json(&self.report), "findings": findings }).to_string()
    }
}

impl fmt::Display for Survey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} in {}", counted(self.findings.len()), self.report)?;
        if self.findings.is_empty() {
            return Ok(());
        }
        let rows: Vec<_> = self.findings.iter().map(Finding::row).collect();
        let head = ["hits", "cut by", "at suspension", "on", "where and what"].map(str::to_owned);
        let mut widths = [0; COLUMNS];
        for row in std::iter::once(&head).chain(&rows) {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for (row, finding) in
            std::iter::once((&head, None)).chain(rows.iter().zip(self.findings.iter().map(Some)))
        {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(widths) {
                line += &format!("{cell:width$}  ");
            }
            writeln!(f, "{}", line.trim_end())?;
            let Some(finding) = finding else { continue };
            let indent = widths[..COLUMNS - 1].iter().map(|width| width + 2).sum::<usize>();
            for violation in finding.example.violations() {
                writeln!(f, "{:indent$}- {violation}", "")?;
            }
            for hint in &finding.example.hints {
                writeln!(f, "{:indent$}  hint: {hint}", "")?;
            }
        }
        Ok(())
    }
}

const COLUMNS: usize = 5;

fn counted(findings: usize) -> String {
    match findings {
        0 => "no leak".to_owned(),
        1 => "1 leak".to_owned(),
        many => format!("{many} leaks"),
    }
}

impl Finding {
    fn new(key: (String, Option<String>), example: Box<Leak>) -> Self {
        Self {
            key,
            hits: 1,
            cancelled_by: example.cancelled_by().into_iter().collect(),
            faults: example.faults().iter().map(|(_, kind)| *kind).collect(),
            flavours: vec![example.flavour()],
            suspensions: example.suspension().into_iter().collect(),
            example,
        }
    }

    fn add(&mut self, leak: &Leak) {
        self.hits += 1;
        self.suspensions.extend(leak.suspension());
        add(&mut self.cancelled_by, leak.cancelled_by());
        for (_, kind) in leak.faults() {
            add(&mut self.faults, Some(*kind));
        }
        add(&mut self.flavours, Some(leak.flavour()));
    }

    /// Returns how many runs leaked so.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.hits
    }

    /// Returns the ways of dropping the future that leaked. Empty if runs leak that were not dropped.
    #[must_use]
    pub fn cancelled_by(&self) -> &[CancelBy] {
        &self.cancelled_by
    }

    /// Returns the kinds of fault that leaked.
    #[must_use]
    pub fn faults(&self) -> &[FaultKind] {
        &self.faults
    }

    /// Returns the flavours on which it leaked.
    #[must_use]
    pub fn flavours(&self) -> &[Flavour] {
        &self.flavours
    }

    /// Returns the suspensions at which it leaked, ascending.
    pub fn suspensions(&self) -> impl Iterator<Item = u64> {
        self.suspensions.iter().copied()
    }

    /// Returns the await, or else the labelled step, at which the future was dropped.
    #[must_use]
    pub fn place(&self) -> Option<&str> {
        self.key.1.as_deref()
    }

    /// Returns the first run that leaked so.
    #[must_use]
    pub fn example(&self) -> &Leak {
        &self.example
    }

    fn row(&self) -> [String; COLUMNS] {
        let mut ways = self.cancelled_by.iter().map(ToString::to_string).collect::<Vec<_>>();
        ways.extend(self.faults.iter().map(ToString::to_string));
        if ways.is_empty() {
            ways.push("not cut".to_owned());
        }
        let suspensions: Vec<_> = self.suspensions.iter().map(ToString::to_string).collect();
        let flavours: Vec<_> = self.flavours.iter().map(ToString::to_string).collect();
        [
            self.hits.to_string(),
            ways.join(", "),
            suspensions.join(", "),
            flavours.join(", "),
            self.place().unwrap_or("-").to_owned(),
        ]
    }

    fn json(&self) -> Value {
        let texts = |items: Vec<String>| Value::from(items);
        let leak = &self.example;
        json!({
            "hits": self.hits,
            "place": self.place(),
            "violations": texts(leak.violations().iter().map(ToString::to_string).collect()),
            "hints": leak.hints,
            "cancelled_by": texts(self.cancelled_by.iter().map(ToString::to_string).collect()),
            "faults": texts(self.faults.iter().map(ToString::to_string).collect()),
            "flavours": texts(self.flavours.iter().map(ToString::to_string).collect()),
            "suspensions": self.suspensions,
            "awaits": leak.awaits(),
            "library_frames": leak.library_frames(),
            "example": leak.to_string(),
        })
    }
}

fn report_json(report: &Report) -> Value {
    json!({
        "runs": report.runs,
        "cut": report.cut,
        "failed": report.failed,
        "suspensions": report.suspensions,
        "fewest_suspensions": report.fewest_suspensions,
        "skipped": report.skipped,
        "points": report.points,
        "faults": report.faults,
        "entered": report.entered,
        "tenures": report.tenures,
        "clock_ahead_seconds": report.clock_ahead.as_secs_f64(),
    })
}

/// Adds the leak to the finding that it is one of.
fn note(findings: &mut Vec<Finding>, leak: Box<Leak>) {
    let key = key(&leak);
    match findings.iter_mut().find(|finding| finding.key == key) {
        Some(finding) => finding.add(&leak),
        None => findings.push(Finding::new(key, leak)),
    }
}

fn add<T: PartialEq>(list: &mut Vec<T>, item: Option<T>) {
    let new = item.filter(|item| !list.contains(item));
    list.extend(new);
}

/// What leaked, and where. Numbers in the texts of checks, counts and ages for example, make no difference.
fn key(leak: &Leak) -> (String, Option<String>) {
    let mut what = String::new();
    for violation in leak.violations() {
        let text = violation.to_string();
        match violation {
            Violation::Check(_) | Violation::Failed(_) | Violation::Registry(_) | Violation::Hung { .. } => {
                what.extend(text.chars().filter(|char| !char.is_ascii_digit()));
            }
            _ => what += &text,
        }
        what.push('\n');
    }
    (what, leak.place.last())
}
