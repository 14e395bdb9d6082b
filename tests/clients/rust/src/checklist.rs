//! The steps that were tried, printed as they end.

use std::process::ExitCode;

use anyhow::Result;

/// Counts and prints the outcome of each step.
#[derive(Default)]
pub struct Checklist {
    passed: usize,
    failed: usize,
    running: Option<&'static str>,
}

impl Checklist {
    /// Awaits one step and prints how it ended.
    pub async fn step<T>(
        &mut self,
        name: &'static str,
        step: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        self.running = Some(name);
        let outcome = step.await;
        self.running = None;
        match &outcome {
            Ok(_) => {
                self.passed += 1;
                println!("ok - {name}");
            }
            Err(error) => self.fail(name, &format!("{error:#}")),
        }
        outcome
    }

    /// Notes that the step that is running will not end.
    pub fn abandon(&mut self, reason: &str) {
        let name = self.running.take().unwrap_or("all steps");
        self.fail(name, reason);
    }

    /// Prints the last line.
    pub fn conclude(self) -> ExitCode {
        println!("{} passed, {} failed", self.passed, self.failed);
        if self.failed == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }

    fn fail(&mut self, name: &str, reason: &str) {
        self.failed += 1;
        println!("not ok - {name}: {reason}");
    }
}
