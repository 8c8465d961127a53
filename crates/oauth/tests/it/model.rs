//! Random lives of agents at two instances, through the real router, against a model that fits on one page: what is
//! allowed, which token is the next one, what ended. A life that goes wrong is made as short as possible.
//!
//! `PROPTEST_CASES` says how many lives there are.

use crate::token::{all, text};
use crate::world::{Answer, Browser, World, on_each};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::cell::Cell;
use std::collections::HashSet;
use wire::{GrantId, GrantState, Timestamp};

const CASES: u32 = 840;
/// So many databases of each engine at once.
const SIDE_BY_SIDE: u32 = 3;
/// How long each works, in seconds: settings of the small company.
const GRANT: i64 = 30 * 86_400;
const VOUCHED: i64 = 7 * 86_400;
const SESSION: i64 = 12 * 3600;

/// What happens. Numbers pick one of those that there are.
#[derive(Debug, Clone)]
enum Step {
    Register,
    /// Somebody lets an agent in.
    Consent {
        person: usize,
        client: usize,
    },
    /// A client brings a code.
    Redeem {
        grant: usize,
        as_other: bool,
    },
    /// A client brings a refresh token, so many before the last one, perhaps several times at once; perhaps the
    /// answer is lost.
    Refresh {
        grant: usize,
        back: usize,
        as_other: bool,
        at_once: usize,
        lost: bool,
    },
    /// A client gives a refresh token back.
    Revoke {
        grant: usize,
        back: usize,
        as_other: bool,
    },
    Disable {
        person: usize,
    },
    Enable {
        person: usize,
    },
    Wait(i64),
    /// What is over leaves.
    Sweep,
}

fn step() -> impl Strategy<Value = Step> {
    let waits = prop::sample::select(vec![
        1,
        29,
        30,
        31,
        59,
        60,
        61,
        3600,
        86_400,
        8 * 86_400,
        31 * 86_400,
        95 * 86_400,
    ]);
    let back = prop::sample::select(vec![0, 0, 0, 0, 1, 1, 2, 3]);
    let rarely = || prop::bool::weighted(0.1);
    prop_oneof![
        1 => Just(Step::Register),
        4 => (0..2_usize, 0..3_usize).prop_map(|(person, client)| Step::Consent { person, client }),
        6 => (0..6_usize, rarely()).prop_map(|(grant, as_other)| Step::Redeem { grant, as_other }),
        14 => (0..6_usize, back, rarely(), prop::sample::select(vec![1, 1, 1, 2, 3]), rarely()).prop_map(
            |(grant, back, as_other, at_once, lost)| Step::Refresh { grant, back, as_other, at_once, lost }
        ),
        1 => (0..6_usize, 0..3_usize, rarely())
            .prop_map(|(grant, back, as_other)| Step::Revoke { grant, back, as_other }),
        1 => (0..2_usize).prop_map(|person| Step::Disable { person }),
        1 => (0..2_usize).prop_map(|person| Step::Enable { person }),
        6 => waits.prop_map(Step::Wait),
        1 => Just(Step::Sweep),
    ]
}

/// Somebody of the model.
#[derive(Default)]
struct Person {
    name: String,
    browser: Option<Browser>,
    disabled: bool,
    /// Until when their browser is signed in.
    session: Timestamp,
    vouched: Timestamp,
}

/// A grant of the model.
struct Held {
    person: usize,
    client: usize,
    code: String,
    /// Until when the code is good.
    code_until: Timestamp,
    until: Timestamp,
    id: Option<GrantId>,
    ended: bool,
    /// Whether the row of the code has left.
    forgotten: bool,
    /// All generations; those whose answer was lost are not known.
    tokens: Vec<Option<String>>,
    rotated: Timestamp,
}

struct Life<'a> {
    /// The instances, which take turns.
    at: [&'a World; 2],
    turn: usize,
    /// None are those that left.
    clients: Vec<Option<String>>,
    people: Vec<Person>,
    grants: Vec<Held>,
}

macro_rules! ensure {
    ($what:expr, $($words:tt)+) => {
        if !$what {
            return Err(format!($($words)+));
        }
    };
}

impl Life<'_> {
    fn world(&self) -> &World {
        self.at[self.turn % 2]
    }

    fn now(&self) -> Timestamp {
        self.world().clock.now()
    }

    /// A grant, and the client that acts: its own or another one.
    fn pick(&self, grant: usize, as_other: bool) -> Option<(usize, &str)> {
        let at = grant.checked_rem(self.grants.len())?;
        let own = self.grants[at].client;
        let client = if as_other {
            (0..self.clients.len()).find(|other| *other != own)?
        } else {
            own
        };
        Some((at, self.clients[client].as_deref()?))
    }

    async fn step(&mut self, step: &Step) -> Result<(), String> {
        self.turn += 1;
        match *step {
            Step::Register => self.clients.push(Some(self.world().register().await)),
            Step::Consent { person, client } => self.consent(person, client).await?,
            Step::Redeem { grant, as_other } => self.redeem(grant, as_other).await?,
            Step::Refresh {
                grant,
                back,
                as_other,
                at_once,
                lost,
            } => self.refresh((grant, back), as_other, at_once, lost).await?,
            Step::Revoke {
                grant,
                back,
                as_other,
            } => self.revoke((grant, back), as_other).await?,
            Step::Disable { person } => self.switch(person, true).await,
            Step::Enable { person } => self.switch(person, false).await,
            Step::Wait(seconds) => {
                self.world().advance(seconds).await;
                for world in self.at {
                    world.advance(0).await;
                }
            }
            Step::Sweep => self.sweep().await?,
        }
        Ok(())
    }

    async fn consent(&mut self, person: usize, client: usize) -> Result<(), String> {
        let now = self.now();
        let Some(client) = client.checked_rem(self.clients.len()) else {
            return Ok(());
        };
        let Some(client_id) = self.clients[client].clone() else {
            return Ok(());
        };
        if self.people[person].disabled {
            return Ok(());
        }
        if self.people[person].browser.is_none() || self.people[person].session <= now {
            let browser = self.world().sign_in(&self.people[person].name, &["staff"]).await;
            let who = &mut self.people[person];
            who.browser = Some(browser);
            (who.session, who.vouched) = (now.plus_seconds(SESSION), now);
        }
        let browser = self.people[person].browser.as_ref().unwrap();
        let code = self.world().code(browser, &client_id).await;
        self.grants.push(Held {
            person,
            client,
            code,
            code_until: now.plus_seconds(60),
            until: now.plus_seconds(GRANT),
            id: None,
            ended: false,
            forgotten: false,
            tokens: Vec::new(),
            rotated: now,
        });
        Ok(())
    }

    async fn redeem(&mut self, grant: usize, as_other: bool) -> Result<(), String> {
        let Some((at, client)) = self.pick(grant, as_other) else {
            return Ok(());
        };
        let now = self.now();
        let answer = self.world().redeem(client, &self.grants[at].code, &[]).await;
        let held = &mut self.grants[at];
        let good =
            !as_other && !held.forgotten && held.tokens.is_empty() && !held.ended && now < held.code_until;
        if !as_other && !held.forgotten && !held.tokens.is_empty() {
            held.ended = true;
        }
        ensure!(
            answer.status.as_u16() == if good { 200 } else { 400 },
            "redeemed: should be good: {good}, but {answer:?}"
        );
        if good {
            let answer = answer.json();
            let token = text(&answer, "refresh_token");
            let claims = self.world().claims(&text(&answer, "access_token"));
            let held = &mut self.grants[at];
            held.id = Some(claims.grant);
            held.tokens.push(Some(token));
            held.rotated = now;
        }
        Ok(())
    }

    async fn refresh(
        &mut self,
        (grant, back): (usize, usize),
        as_other: bool,
        at_once: usize,
        lost: bool,
    ) -> Result<(), String> {
        let Some((at, client)) = self.pick(grant, as_other) else {
            return Ok(());
        };
        let held = &self.grants[at];
        let Some(shown) = held.tokens.len().checked_sub(1 + back) else {
            return Ok(());
        };
        let Some(token) = held.tokens[shown].clone() else {
            return Ok(());
        };
        let now = self.now();
        let ask = |n: usize| self.at[(self.turn + n) % 2].refresh(client, &token, &[]);
        let answers = all((0..at_once).map(ask)).await;
        let is_vouched = now < self.people[held.person].vouched.plus_seconds(VOUCHED);
        let held = &mut self.grants[at];
        let mut good = !as_other && !held.ended && now < held.until;
        let repeats = back == 1 && now < held.rotated.plus_seconds(60);
        if good && back > 0 && !repeats {
            held.ended = true;
            good = false;
        }
        good = good && is_vouched;
        for answer in &answers {
            ensure!(
                answer.status.as_u16() == if good { 200 } else { 400 },
                "refreshed: should be good: {good}, but {answer:?}"
            );
        }
        if !good {
            let is_told = |answer: &Answer| answer.json()["error"] == "invalid_grant";
            ensure!(answers.iter().all(is_told), "{answers:?}");
            return Ok(());
        }
        let next = text(&answers[0].json(), "refresh_token");
        let is_one = answers
            .iter()
            .all(|one| text(&one.json(), "refresh_token") == next);
        ensure!(is_one, "two successors at once");
        if back == 0 {
            let is_new = held.tokens.iter().flatten().all(|earlier| *earlier != next);
            ensure!(is_new, "a token came back");
            held.rotated = now;
            held.tokens.push(None);
        }
        let last = held.tokens.last_mut().unwrap();
        ensure!(
            last.as_ref().is_none_or(|last| *last == next),
            "two successors of one token"
        );
        if !lost {
            *last = Some(next);
        }
        Ok(())
    }

    async fn revoke(&mut self, (grant, back): (usize, usize), as_other: bool) -> Result<(), String> {
        let Some((at, client)) = self.pick(grant, as_other) else {
            return Ok(());
        };
        let held = &self.grants[at];
        let shown = held.tokens.len().checked_sub(1 + back);
        let Some(token) = shown.and_then(|shown| held.tokens[shown].as_deref()) else {
            return Ok(());
        };
        let world = self.world();
        let fields = [("token", token), ("client_id", client)];
        let answer = world.form(&world.path("revoke"), &fields).await;
        ensure!(answer.status == 200, "{answer:?}");
        self.grants[at].ended |= !as_other;
        Ok(())
    }

    async fn switch(&mut self, person: usize, disabled: bool) {
        let who = &mut self.people[person];
        let Some(browser) = who.browser.as_ref().filter(|_| who.disabled != disabled) else {
            return;
        };
        let id = browser.user.clone();
        who.disabled = disabled;
        if disabled {
            who.session = Timestamp::default();
            for held in self.grants.iter_mut().filter(|held| held.person == person) {
                held.ended = true;
            }
        }
        let world = self.world();
        let user = store::user::get(&world.store, &world.org, &id)
            .await
            .unwrap()
            .user;
        let mut tx = world.store.begin().await.unwrap();
        store::user::set_disabled(&mut tx, &world.org, &user, disabled)
            .await
            .unwrap();
        tx.commit_housekeeping().await.unwrap();
        for world in self.at {
            world.store.catch_up().await;
        }
    }

    async fn sweep(&mut self) -> Result<(), String> {
        let now = self.now();
        store::retention::sweep(&self.world().store).await.unwrap();
        for held in &mut self.grants {
            held.forgotten |= held.code_until.plus_seconds(86_400) <= now;
        }
        for at in 0..self.clients.len() {
            let Some(id) = &self.clients[at] else { continue };
            if self.world().client(id).await.is_some() {
                continue;
            }
            let alive = |held: &&Held| {
                let code = held.tokens.is_empty() && now < held.code_until;
                held.client == at && !held.ended && now < held.until && (code || !held.tokens.is_empty())
            };
            ensure!(
                !self.grants.iter().any(|held| alive(&held)),
                "an agent left that is let in"
            );
            self.clients[at] = None;
        }
        Ok(())
    }

    /// What the database says in the end.
    async fn compare(&self) -> Result<(), String> {
        let (now, world) = (self.now(), self.world());
        for held in &self.grants {
            let Some(id) = &held.id else { continue };
            let grant = store::grant::of_app(&world.store, &world.app, id, now)
                .await
                .unwrap();
            let alive = grant.is_some_and(|grant| grant.state == GrantState::Active);
            ensure!(
                alive == (!held.ended && now < held.until),
                "{id} is alive: {alive}"
            );
        }
        let known: Vec<_> = self
            .grants
            .iter()
            .flat_map(|held| held.tokens.iter().flatten())
            .collect();
        let distinct: HashSet<_> = known.iter().collect();
        ensure!(known.len() == distinct.len(), "two grants have one token");
        Ok(())
    }
}

/// Lives at one database of each engine.
async fn lives(cases: u32) {
    on_each(async |w| {
        let (one, two) = (w.beside().await, w.beside().await);
        let (lives, steps) = (Cell::new(0_u32), Cell::new(0_usize));
        let config = Config {
            cases,
            failure_persistence: None,
            max_shrink_iters: 3000,
            ..Config::default()
        };
        let live = |plan: Vec<Step>| {
            let number = lives.replace(lives.get() + 1);
            // The first two are the same for all.
            steps.set(steps.get() + 2 + plan.len());
            let mut life = Life {
                at: [&one, &two],
                turn: 0,
                clients: Vec::new(),
                people: Vec::new(),
                grants: Vec::new(),
            };
            for person in ["ada", "bob"] {
                life.people.push(Person {
                    name: format!("{person}{number}"),
                    ..Person::default()
                });
            }
            let whole = async {
                life.step(&Step::Register).await?;
                life.step(&Step::Consent { person: 0, client: 0 }).await?;
                for step in &plan {
                    life.step(step).await?;
                }
                life.compare().await
            };
            let runtime = tokio::runtime::Handle::current();
            let done = tokio::task::block_in_place(|| runtime.block_on(whole));
            done.map_err(TestCaseError::fail)
        };
        let ran = TestRunner::new(config).run(&prop::collection::vec(step(), 1..20), live);
        println!("{} lives, {} steps", lives.get(), steps.get());
        if let Err(fault) = ran {
            panic!("{fault}");
        }
        one.store.close().await;
        two.store.close().await;
    })
    .await;
}

#[test]
fn lives_of_agents_go_as_the_model_says() {
    let cases = match std::env::var_os("PROPTEST_CASES") {
        Some(_) => Config::default().cases,
        None => CASES,
    };
    // They mostly wait for the disk.
    std::thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(2)
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(lives(cases / SIDE_BY_SIDE));
            });
        }
    });
}
