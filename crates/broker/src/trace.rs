//! What a sign-in does, step by step: kept by the one engine for every sign-in, shown for trials.
//!
//! Texts here are read by administrators of other companies, too: never a token, code, secret or claim of a person,
//! and everything that a provider said is cleaned and bounded.

use crate::claims::clean;
use crate::provider::Fault;
use serde_json::{Map, Value};
use std::time::Instant;
use wire::{StepState, TrialStep};

/// Longest text of a step, in characters.
const MAX_TEXT: usize = 300;

/// The steps so far.
pub(crate) struct Trace {
    steps: Vec<TrialStep>,
    /// When the step that comes next began.
    since: Instant,
    begun: Instant,
    /// Whether the provider was asked something.
    pub(crate) has_asked: bool,
    /// What the provider said of the person, once that is known to be its word: for whoever repairs the mapping.
    pub(crate) claims: Option<Map<String, Value>>,
}

impl Trace {
    pub(crate) fn new() -> Self {
        Self::after(Vec::new())
    }

    /// Goes on after steps of before.
    pub(crate) fn after(steps: Vec<TrialStep>) -> Self {
        Self {
            steps,
            since: Instant::now(),
            begun: Instant::now(),
            has_asked: false,
            claims: None,
        }
    }

    pub(crate) fn into_steps(self) -> Vec<TrialStep> {
        self.steps
    }

    /// How long all of it took, in milliseconds.
    pub(crate) fn millis(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn push(&mut self, name: &str, state: StepState, detail: &str, found: Option<(&str, &str)>) {
        let millis = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.since = Instant::now();
        let shown = |text: &str| clean(text, MAX_TEXT);
        self.steps.push(TrialStep {
            name: name.to_owned(),
            state,
            detail: shown(detail),
            expected: found.map(|(expected, _)| shown(expected)),
            received: found.map(|(_, received)| shown(received)),
            millis,
        });
    }

    /// Whether a step of this name was taken.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.steps.iter().any(|step| step.name == name)
    }

    /// A step that went well.
    pub(crate) fn ok(&mut self, name: &str, detail: impl AsRef<str>) {
        self.push(name, StepState::Ok, detail.as_ref(), None);
    }

    /// A step that there was no need for.
    pub(crate) fn skipped(&mut self, name: &str, detail: impl AsRef<str>) {
        self.push(name, StepState::Skipped, detail.as_ref(), None);
    }

    /// The step at which it ends.
    pub(crate) fn failed(&mut self, name: &str, fault: Fault) -> Fault {
        self.push(name, StepState::Failed, &fault.to_string(), None);
        fault
    }

    /// As [`Trace::failed`], where it helps to see what was expected, and what was there.
    pub(crate) fn differs(&mut self, name: &str, fault: Fault, expected: &str, received: &str) -> Fault {
        let found = Some((expected, received));
        self.push(name, StepState::Failed, &fault.to_string(), found);
        fault
    }
}
