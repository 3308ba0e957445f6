//! What the test runners said, added up.

use std::fmt;

/// How many tests passed, failed and were left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Results {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Results {
    /// Reads the line with which a Rust test binary closes:
    /// `test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.02s`.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let counts = line.trim().strip_prefix("test result: ")?;
        let (_, counts) = counts.split_once(". ")?;
        let mut results = Self::default();
        for part in counts.split("; ") {
            let Some((number, what)) = part.split_once(' ') else {
                continue;
            };
            let Ok(number) = number.parse::<u64>() else {
                continue;
            };
            match what {
                "passed" => results.passed = number,
                "failed" => results.failed = number,
                "ignored" => results.skipped = number,
                _ => {}
            }
        }
        Some(results)
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    /// Whether no test was there at all.
    pub(crate) fn is_empty(self) -> bool {
        self == Self::default()
    }
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Results;

    #[test]
    fn closing_lines_are_read_and_others_are_not() {
        let line = "test result: FAILED. 12 passed; 2 failed; 1 ignored; 0 measured; 7 filtered out; \
                    finished in 0.02s";
        let results = Results::parse(line).expect("a closing line");
        let (passed, failed, skipped) = (12, 2, 1);
        #[rustfmt::skip]
        assert_eq!(results, Results { passed, failed, skipped });
        assert_eq!(results.to_string(), "12 passed, 2 failed, 1 skipped");
        assert_eq!(Results::parse("test one ... ok"), None);
        assert_eq!(Results::parse("running 12 tests"), None);
    }

    #[test]
    fn sums_leave_out_what_is_nought() {
        let mut sum = Results::default();
        assert!(sum.is_empty());
        for line in ["test result: ok. 3 passed; 0 failed; 0 ignored", "test result: ok. 4 passed"] {
            sum.add(Results::parse(line).expect("a closing line"));
        }
        assert_eq!(sum.to_string(), "7 passed, 0 failed");
    }
}
