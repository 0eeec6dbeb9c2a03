//! What came of each check.

use std::fmt;

use crate::CHECKS;

/// How a check ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It passed.
    Passed,
    /// It failed: what was seen.
    Failed(String),
    /// There is nothing to check, and why.
    NotApplicable(&'static str),
    /// It failed, and the author says why that is right.
    PassedOver(&'static str),
}

/// What came of a connector's checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Each check with how it ended, in their order.
    pub checks: Vec<(&'static str, Ended)>,
}

impl Report {
    /// The checks that failed.
    pub fn failed(&self) -> Vec<&'static str> {
        let failed = self.checks.iter().filter(|(_, ended)| matches!(ended, Ended::Failed(_)));
        failed.map(|(name, _)| *name).collect()
    }

    /// Ends a test in which anything failed.
    ///
    /// # Panics
    /// With the whole report, when any check failed.
    pub fn expect_all_passed(&self) {
        assert!(self.failed().is_empty(), "\n{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, ended) in &self.checks {
            match ended {
                Ended::Passed => writeln!(f, "passed          {name}")?,
                Ended::Failed(why) => writeln!(f, "FAILED          {name}: {why}")?,
                Ended::NotApplicable(why) => writeln!(f, "not applicable  {name}: {why}")?,
                Ended::PassedOver(why) => writeln!(f, "passed over     {name}: {why}")?,
            }
        }
        Ok(())
    }
}

/// What a check comes to: nothing, or why there was nothing to check; or else what was seen.
pub(crate) type Checked = Result<Option<&'static str>, String>;

/// Takes down how checks end.
pub(crate) struct Recorder {
    bypasses: &'static [(&'static str, &'static str)],
    checks: Vec<(&'static str, Ended)>,
}

impl Recorder {
    pub(crate) fn new(bypasses: &'static [(&'static str, &'static str)]) -> Self {
        Self { bypasses, checks: Vec::new() }
    }

    pub(crate) fn record(&mut self, name: &'static str, checked: Checked) {
        let bypass = self.bypasses.iter().find(|(bypassed, _)| *bypassed == name).map(|(_, why)| *why);
        let ended = match (checked, bypass) {
            (Err(_), Some(why)) if !why.trim().is_empty() => Ended::PassedOver(why),
            (Err(_), Some(_)) => Ended::Failed("the bypass gives no reason".to_owned()),
            (Err(seen), None) => Ended::Failed(seen),
            (Ok(_), Some(_)) => Ended::Failed("it does not fail: the bypass must go".to_owned()),
            (Ok(Some(why)), None) => Ended::NotApplicable(why),
            (Ok(None), None) => Ended::Passed,
        };
        self.checks.push((name, ended));
    }

    /// The report, in which every check must be.
    pub(crate) fn report(self) -> Report {
        let names: Vec<&str> = self.checks.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, CHECKS, "every check is made, and made once");
        let unknown = self.bypasses.iter().find(|(name, _)| !CHECKS.contains(name));
        assert_eq!(unknown, None, "a bypass names a check");
        Report { checks: self.checks }
    }
}

/// Fails a check with what was seen, unless it holds.
pub(crate) fn ensure(holds: bool, seen: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(seen()) }
}
