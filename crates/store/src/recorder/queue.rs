//! What was noted and is not written yet: bounded, in all, for each app, and for each network at an app. What somebody
//! known did has room of its own, so that strangers cannot take it.

use super::Step;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use wire::AppId;

/// Steps that are kept until they are written, within a second: in all,
const MOST: usize = 1024;
/// of one app,
const MOST_OF_APP: usize = 128;
/// and of one network at one app.
const MOST_OF_NETWORK: usize = 32;

/// Takes steps until somebody writes them.
#[derive(Default)]
pub struct Recorder {
    strangers: Mutex<Lane>,
    known: Mutex<Lane>,
    /// How many came so far.
    count: AtomicU64,
    /// Who writes does so alone, so that what was taken is written when the next one begins.
    pub(super) writing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Lane {
    /// Each with its place among all.
    steps: Vec<(u64, Step)>,
    of_app: HashMap<AppId, usize>,
    of_network: HashMap<(AppId, String), usize>,
}

impl Lane {
    fn push(&mut self, place: u64, step: Step) {
        let mut latest = self.steps.iter_mut().rev().take(MOST_OF_NETWORK);
        if let Some((_, same)) = latest.find(|(_, earlier)| is_same(earlier, &step)) {
            same.count += step.count;
            return;
        }
        let network = (step.app.clone(), step.network.clone());
        let full = self.steps.len() >= MOST
            || self.of_app.get(&step.app).is_some_and(|n| *n >= MOST_OF_APP)
            || self
                .of_network
                .get(&network)
                .is_some_and(|n| *n >= MOST_OF_NETWORK);
        if full {
            metrics::counter!("chatelaine_agent_steps_lost_total").increment(1);
            return;
        }
        *self.of_app.entry(step.app.clone()).or_default() += 1;
        *self.of_network.entry(network).or_default() += 1;
        self.steps.push((place, step));
    }
}

/// Whether two steps differ in nothing but their time and request.
fn is_same(one: &Step, other: &Step) -> bool {
    one.kind == other.kind
        && one.app == other.app
        && one.outcome == other.outcome
        && one.reason == other.reason
        && one.network == other.network
        && one.user_agent == other.user_agent
        && one.client_id == other.client_id
        && one.asked == other.asked
        && one.user == other.user
        && one.grant == other.grant
        && one.received == other.received
        && one.repeats_itself()
}

fn open(lane: &Mutex<Lane>) -> MutexGuard<'_, Lane> {
    // Steps are good at any moment, so a panic elsewhere spoils nothing.
    lane.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Recorder {
    pub(super) fn push(&self, step: Step) {
        let lane = if step.known { &self.known } else { &self.strangers };
        let place = self.count.fetch_add(1, Ordering::Relaxed);
        open(lane).push(place, step);
    }

    /// Takes all, in the order in which they happened.
    pub(super) fn take(&self) -> Vec<Step> {
        let mut steps = std::mem::take(&mut *open(&self.strangers)).steps;
        steps.append(&mut std::mem::take(&mut *open(&self.known)).steps);
        steps.sort_by_key(|(place, _)| *place);
        steps.into_iter().map(|(_, step)| step).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::{AccountId, AgentStepKind, AgentStepOutcome, OrgId, Timestamp, UserId};

    fn step(app: &AppId, n: usize, known: bool) -> Step {
        Step {
            org: OrgId::fresh(),
            account: AccountId::fresh(),
            app: app.clone(),
            at: Timestamp(0),
            kind: AgentStepKind::Challenge,
            outcome: AgentStepOutcome::Passed,
            reason: None,
            expected: None,
            received: None,
            subject: None,
            known,
            request: String::new(),
            network: format!("192.0.2.{}", n % 200),
            ip: None,
            user_agent: Some(format!("agent {n}")),
            client_id: None,
            client: None,
            client_name: None,
            asked: None,
            user: known.then(UserId::fresh),
            grant: None,
            count: 1,
        }
    }

    #[test]
    fn strangers_have_bounded_room_and_take_none_of_those_who_are_known() {
        let recorder = Recorder::default();
        for _ in 0..20 {
            let app = AppId::fresh();
            for n in 0..1000 {
                recorder.push(step(&app, n, false));
            }
        }
        assert_eq!(open(&recorder.strangers).steps.len(), MOST);
        recorder.push(step(&AppId::fresh(), 0, true));
        let taken = recorder.take();
        assert_eq!(taken.len(), MOST + 1);
        assert_eq!(taken.iter().filter(|step| step.known).count(), 1);
        assert!(recorder.take().is_empty());
        let app = AppId::fresh();
        for n in 0..1000 {
            recorder.push(step(&app, 200 * n, false));
        }
        assert_eq!(recorder.take().len(), MOST_OF_NETWORK, "one network");
        for n in 0..1000 {
            recorder.push(step(&app, n, false));
        }
        assert_eq!(recorder.take().len(), MOST_OF_APP, "one app");
    }

    #[test]
    fn what_repeats_itself_is_counted() {
        let (recorder, app) = (Recorder::default(), AppId::fresh());
        for _ in 0..100 {
            recorder.push(step(&app, 1, false));
        }
        let taken = recorder.take();
        assert_eq!((taken.len(), taken[0].count), (1, 100));
    }
}
