//! Which steps belong to one attempt.
//!
//! Everything is told apart by app first, so that nothing of two organisations meets. Then, from the surest to the least:
//! the grant, the authorization request, the client, and for an agent that has no name yet the network and user agent
//! that it comes from. An attempt has one client, one authorization request and one person: a step that names another
//! one begins another attempt. Where several attempts could be meant, the step begins one of its own, and both say
//! that they may not be whole.

use super::Step;
use crate::sql::{Row, Run, Sql, opt, word};
use crate::{Error, Result, Store, Tx, lease};
use wire::{AgentAttemptId, AgentStepId, AgentStepKind, AgentStepOutcome, Timestamp};

/// An agent whose next step does not come for so many seconds has stopped,
const PATIENCE: i64 = 600;
/// and after consent, where only programs have to do something, for so many.
const PATIENCE_FOR_PROGRAMS: i64 = 120;
/// An agent that is challenged again after so many seconds begins anew.
const ANEW: i64 = 120;
/// How long an attempt takes steps that are not surely its own, in seconds.
const OPEN: i64 = 1800;
/// Steps of one attempt, and those of one that somebody known has to do with.
const STEPS: i64 = 40;
const STEPS_OF_KNOWN: i64 = 120;
/// Attempts of strangers that begin within a minute at one app, and from one network there.
const ATTEMPTS: i64 = 64;
const ATTEMPTS_OF_NETWORK: i64 = 16;
/// Attempts of one app that are kept: of strangers, and the others.
const KEPT_OF_STRANGERS: u32 = 500;
const KEPT_OF_KNOWN: u32 = 5000;
/// Steps that are joined in one transaction: SQLite has one writer, for whom requests wait, too.
const BATCH: u32 = 20;
/// Attempts that are looked at for one step.
const CANDIDATES: u32 = 8;
const LEASE: &str = "flight_recorder";
const LEASE_LIFE: i64 = 30;

/// What of an attempt decides whether a step is its own.
struct Attempt {
    id: AgentAttemptId,
    state: String,
    step: AgentStepKind,
    known: bool,
    place: String,
    network: String,
    client_id: Option<String>,
    asked: Option<String>,
    user: Option<String>,
    grant: Option<String>,
    steps: i64,
    started_at: Timestamp,
    last_at: Timestamp,
}

impl Attempt {
    fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            id: row.id("id")?,
            state: row.text("state")?,
            step: row.word("step")?,
            known: row.flag("known")?,
            place: row.text("place")?,
            network: row.text("network")?,
            client_id: row.opt_text("client_id")?,
            asked: row.opt_text("asked")?,
            user: row.opt_text("user_id")?,
            grant: row.opt_text("grant_id")?,
            steps: row.int("steps")?,
            started_at: row.time("started_at")?,
            last_at: row.time("last_at")?,
        })
    }

    fn is_in(&self) -> bool {
        self.state == "in"
    }

    fn is_going_on(&self) -> bool {
        self.state == "going_on"
    }

    /// Whether nothing that the step names contradicts it.
    fn fits(&self, step: &Step) -> bool {
        let agrees = |mine: &Option<String>, its: Option<&str>| match (mine, its) {
            (Some(mine), Some(its)) => mine == its,
            _ => true,
        };
        let place = step.place();
        !self.is_in()
            && agrees(&self.client_id, step.client_id.as_deref())
            && agrees(&self.asked, step.asked.as_deref())
            && agrees(&self.user, step.user.as_ref().map(AsRef::as_ref))
            && agrees(&self.grant, step.grant.as_ref().map(AsRef::as_ref))
            && (place.is_empty() || self.place.is_empty() || self.place == place)
    }
}

/// Where a step belongs.
enum Belongs {
    To(Attempt),
    /// It begins an attempt.
    Nowhere,
    /// It may belong to one of these.
    Perhaps(Vec<AgentAttemptId>),
    /// It is no part of getting in.
    No,
}

/// Writes what was noted here; says whether that was anything.
pub(super) async fn write(store: &Store) -> Result<bool> {
    let _alone = store.recorder().writing.lock().await;
    let steps = store.recorder().take();
    if steps.is_empty() {
        return Ok(false);
    }
    let mut tx = store.begin().await?;
    for step in &steps {
        let id = AgentStepId::fresh();
        let values = [
            ("id", (&id).into()),
            ("attempt", "".into()),
            ("org", (&step.org).into()),
            ("account", (&step.account).into()),
            ("app", (&step.app).into()),
            ("at", step.at.into()),
            ("kind", step.kind.as_str().into()),
            ("outcome", word(step.outcome)?.into()),
            ("reason", step.reason.as_deref().into()),
            ("expected", step.expected.as_deref().into()),
            ("received", step.received.as_deref().into()),
            ("subject", step.subject.as_deref().into()),
            ("known", step.known.into()),
            ("request", step.request.as_str().into()),
            ("network", step.network.as_str().into()),
            ("ip", step.ip.as_deref().into()),
            ("user_agent", step.user_agent.as_deref().into()),
            ("client_id", step.client_id.as_deref().into()),
            ("client", step.client.as_ref().into()),
            ("client_name", step.client_name.as_deref().into()),
            ("asked", step.asked.as_deref().into()),
            ("user_id", step.user.as_ref().into()),
            ("grant_id", step.grant.as_ref().into()),
            ("count", step.count.into()),
        ];
        tx.run(Sql::insert("agent_steps", values)).await?;
    }
    tx.commit_housekeeping().await?;
    Ok(true)
}

/// Whether steps wait to be joined.
pub(super) async fn is_waiting(store: &Store) -> Result<bool> {
    let sql = Sql::new("SELECT id FROM agent_steps WHERE attempt = '' LIMIT 1");
    Ok(opt(store, sql).await?.is_some())
}

/// Joins the next few steps that were made until then, and says how many; none while another instance is at it.
pub(super) async fn join(store: &Store, until: Timestamp) -> Result<usize> {
    let holder = crate::random_secret("")?;
    let mut tx = store.begin().await?;
    if !lease::hold(&mut tx, (LEASE, LEASE_LIFE), &holder).await? {
        return Ok(0);
    }
    let sql = Sql::new(select!(
        agent_steps,
        "WHERE attempt = '' AND at <= $1 ORDER BY at, id"
    ));
    let rows = (&mut tx).rows(sql.bind(until).limit(BATCH)).await?;
    for row in &rows {
        let id = row.text("id")?;
        let step = read(row)?;
        match belongs(&mut tx, &step).await? {
            Belongs::To(attempt) => go_on(&mut tx, attempt, (&id, &step)).await?,
            Belongs::Nowhere => begin(&mut tx, &[], (&id, &step)).await?,
            Belongs::Perhaps(which) => begin(&mut tx, &which, (&id, &step)).await?,
            Belongs::No => forget(&mut tx, &id).await?,
        }
    }
    lease::give_back(&mut tx, LEASE, &holder).await?;
    tx.commit_housekeeping().await?;
    Ok(rows.len())
}

fn read(row: &Row) -> Result<Step> {
    Ok(Step {
        org: row.id("org")?,
        account: row.id("account")?,
        app: row.id("app")?,
        at: row.time("at")?,
        kind: row.word("kind")?,
        outcome: row.word("outcome")?,
        reason: row.opt_text("reason")?,
        expected: row.opt_text("expected")?,
        received: row.opt_text("received")?,
        subject: row.opt_text("subject")?,
        known: row.flag("known")?,
        request: row.text("request")?,
        network: row.text("network")?,
        ip: row.opt_text("ip")?,
        user_agent: row.opt_text("user_agent")?,
        client_id: row.opt_text("client_id")?,
        client: row.opt_id("client")?,
        client_name: row.opt_text("client_name")?,
        asked: row.opt_text("asked")?,
        user: row.opt_id("user_id")?,
        grant: row.opt_id("grant_id")?,
        count: row.int("count")?,
    })
}

async fn belongs(tx: &mut Tx, step: &Step) -> Result<Belongs> {
    if let Some(grant) = &step.grant {
        let sql = Sql::new(select!(agent_attempts, "WHERE app = $1 AND grant_id = $2"));
        let sql = sql.bind(&step.app).bind(grant).then(" ORDER BY id DESC").limit(1);
        if let Some(attempt) = some(tx, sql).await?.pop() {
            return Ok(match (attempt.is_in(), step.kind, step.outcome) {
                (false, ..) => Belongs::To(attempt),
                // Whoever is in gets in no more: that is an attempt of its own.
                (true, AgentStepKind::Token, AgentStepOutcome::Failed) => Belongs::Nowhere,
                (true, ..) => Belongs::No,
            });
        }
        // An agent that has been in for long.
        if step.kind == AgentStepKind::Call {
            return Ok(Belongs::No);
        }
    }
    if let Some(asked) = &step.asked {
        let sql = Sql::new(select!(agent_attempts, "WHERE app = $1 AND asked = $2"));
        let sql = sql
            .bind(&step.app)
            .bind(asked.as_str())
            .then(" ORDER BY id DESC")
            .limit(1);
        let found = some(tx, sql).await?.pop();
        if let Some(attempt) = found.filter(|attempt| attempt.fits(step)) {
            return Ok(Belongs::To(attempt));
        }
    }
    let belongs = match &step.client_id {
        Some(client_id) => of_client(tx, step, client_id).await?,
        None => Belongs::Nowhere,
    };
    match belongs {
        Belongs::Nowhere if step.is_agents() => of_place(tx, step).await,
        Belongs::Nowhere if step.client_id.is_some() => of_network(tx, step).await,
        found => Ok(found),
    }
}

async fn some(tx: &mut Tx, sql: Sql) -> Result<Vec<Attempt>> {
    (&mut *tx).rows(sql).await?.iter().map(Attempt::read).collect()
}

fn since(step: &Step, seconds: i64) -> Timestamp {
    step.at.plus_seconds(-seconds)
}

/// The attempt of a client that it can be part of. Of one that registered itself there is one instance; others are many
/// people's.
async fn of_client(tx: &mut Tx, step: &Step, client_id: &str) -> Result<Belongs> {
    let sql = Sql::new(select!(
        agent_attempts,
        "WHERE app = $1 AND client_id = $2 AND last_at > $3 ORDER BY last_at DESC, id DESC"
    ));
    let sql = sql.bind(&step.app).bind(client_id).bind(since(step, OPEN));
    let mut found = some(tx, sql.limit(CANDIDATES)).await?;
    found.retain(|attempt| attempt.fits(step));
    let newest = found.first().map(|attempt| attempt.last_at);
    // Those that were given up before the newest began are over.
    found.retain(|attempt| attempt.is_going_on() || Some(attempt.last_at) == newest);
    if found.len() > 1 {
        let near = |attempt: &Attempt| attempt.network == step.network;
        if found.iter().filter(|attempt| near(attempt)).count() == 1 {
            found.retain(near);
        }
    }
    Ok(match found.len() {
        0 => Belongs::Nowhere,
        1 => found.pop().map_or(Belongs::Nowhere, Belongs::To),
        _ => Belongs::Perhaps(found.into_iter().map(|attempt| attempt.id).collect()),
    })
}

/// The attempt of an agent without a name, or with one that is new.
async fn of_place(tx: &mut Tx, step: &Step) -> Result<Belongs> {
    let sql = Sql::new(select!(
        agent_attempts,
        "WHERE app = $1 AND place = $2 AND last_at > $3 ORDER BY last_at DESC, id DESC"
    ));
    let sql = sql.bind(&step.app).bind(step.place()).bind(since(step, OPEN));
    let mut found = some(tx, sql.limit(CANDIDATES)).await?;
    found.retain(|attempt| !attempt.is_in());
    let recent = since(step, ANEW);
    let nameless = |attempt: &Attempt| attempt.client_id.is_none() && attempt.fits(step);
    if step.client_id.is_none() {
        // It begins, goes on reading, or tries to register.
        let begins = step.kind == AgentStepKind::Challenge;
        let own = found.iter().position(|attempt| match begins {
            // Whoever is turned away and asks again has not begun anew.
            true => {
                let asks_again = attempt.is_going_on() || attempt.step == AgentStepKind::Challenge;
                nameless(attempt) && asks_again && attempt.last_at > recent
            }
            false => nameless(attempt) || attempt.is_going_on() && attempt.last_at > recent,
        });
        let own = own.map(|at| found.swap_remove(at));
        return Ok(own.map_or(Belongs::Nowhere, Belongs::To));
    }
    if let Some(at) = found.iter().position(nameless) {
        return Ok(Belongs::To(found.swap_remove(at)));
    }
    // What came before it was taken for another one's.
    let others = found.into_iter().filter(|attempt| attempt.is_going_on());
    let others: Vec<_> = others.map(|attempt| attempt.id).collect();
    Ok(match others.is_empty() {
        true => Belongs::Nowhere,
        false => Belongs::Perhaps(others),
    })
}

/// The attempt of an agent near the browser that came first with the agent's name.
async fn of_network(tx: &mut Tx, step: &Step) -> Result<Belongs> {
    let sql = Sql::new(select!(
        agent_attempts,
        "WHERE app = $1 AND network = $2 AND last_at > $3 ORDER BY last_at DESC, id DESC"
    ));
    let sql = sql
        .bind(&step.app)
        .bind(step.network.as_str())
        .bind(since(step, PATIENCE));
    let found = some(tx, sql.limit(CANDIDATES)).await?;
    let (mut nameless, named): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|attempt| attempt.client_id.is_none());
    nameless.retain(|attempt| attempt.fits(step) && !attempt.place.is_empty());
    Ok(match nameless.len() {
        1 => nameless.pop().map_or(Belongs::Nowhere, Belongs::To),
        0 => {
            // One that registered itself has one instance, which tries again; a document is many people's.
            let shared = step.client_id.as_deref().is_some_and(|id| id.contains("://"));
            let same = named
                .into_iter()
                .filter(|attempt| shared && attempt.is_going_on() && attempt.client_id == step.client_id);
            let same: Vec<_> = same.map(|attempt| attempt.id).collect();
            match same.is_empty() {
                true => Belongs::Nowhere,
                false => Belongs::Perhaps(same),
            }
        }
        _ => Belongs::Perhaps(nameless.into_iter().map(|attempt| attempt.id).collect()),
    })
}

async fn forget(tx: &mut Tx, id: &str) -> Result<()> {
    let sql = Sql::new("DELETE FROM agent_steps WHERE id = $1");
    tx.run(sql.bind(id)).await.map(drop)
}

/// Whether strangers began so many attempts of late that another one is not told apart any more.
async fn is_crowded(tx: &mut Tx, step: &Step) -> Result<bool> {
    let count = async |tx: &mut Tx, sql: Sql| -> Result<i64> {
        let row = opt(&mut *tx, sql).await?;
        row.ok_or_else(|| Error::internal("COUNT without a row"))?
            .int("n")
    };
    let recent = since(step, 60);
    let sql = Sql::new(
        "SELECT COUNT(*) AS n FROM agent_attempts WHERE app = $1 AND known = FALSE AND last_at > $2",
    );
    if count(tx, sql.bind(&step.app).bind(recent)).await? >= ATTEMPTS {
        return Ok(true);
    }
    let sql = Sql::new(
        "SELECT COUNT(*) AS n FROM agent_attempts WHERE app = $1 AND network = $2 AND last_at > $3 AND known = FALSE",
    );
    let sql = sql.bind(&step.app).bind(step.network.as_str()).bind(recent);
    Ok(count(tx, sql).await? >= ATTEMPTS_OF_NETWORK)
}

/// Begins an attempt with a step that may belong to one of others.
async fn begin(tx: &mut Tx, others: &[AgentAttemptId], (id, step): (&str, &Step)) -> Result<()> {
    if !step.known && is_crowded(tx, step).await? {
        metrics::counter!("chatelaine_agent_steps_lost_total").increment(1);
        return forget(tx, id).await;
    }
    for other in others {
        let sql = Sql::new("UPDATE agent_attempts SET ambiguous = TRUE WHERE id = $1");
        tx.run(sql.bind(other)).await?;
    }
    let attempt = AgentAttemptId::fresh();
    let failed = step.outcome == AgentStepOutcome::Failed;
    let values = [
        ("id", (&attempt).into()),
        ("org", (&step.org).into()),
        ("account", (&step.account).into()),
        ("app", (&step.app).into()),
        ("state", state_after(step).into()),
        ("step", step.kind.as_str().into()),
        ("reason", step.reason.as_deref().filter(|_| failed).into()),
        ("received", step.received.as_deref().filter(|_| failed).into()),
        ("subject", step.subject.as_deref().filter(|_| failed).into()),
        ("known", step.known.into()),
        ("ambiguous", (!others.is_empty()).into()),
        ("place", step.place().into()),
        ("network", step.network.as_str().into()),
        (
            "user_agent",
            step.user_agent.as_deref().filter(|_| step.is_agents()).into(),
        ),
        ("client_id", step.client_id.as_deref().into()),
        ("client", step.client.as_ref().into()),
        ("client_name", step.client_name.as_deref().into()),
        ("asked", step.asked.as_deref().into()),
        ("user_id", step.user.as_ref().into()),
        ("grant_id", step.grant.as_ref().into()),
        ("steps", 1.into()),
        ("started_at", step.at.into()),
        ("last_at", step.at.into()),
        ("stops_at", stops_at(step).into()),
    ];
    tx.run(Sql::insert("agent_attempts", values)).await?;
    give(tx, id, &attempt).await?;
    trim(tx, step).await
}

fn state_after(step: &Step) -> &'static str {
    match (step.outcome, step.kind) {
        (AgentStepOutcome::Failed, _) => "failed",
        (_, AgentStepKind::Call) => "in",
        _ => "going_on",
    }
}

fn stops_at(step: &Step) -> Timestamp {
    let patience = match (step.kind, step.outcome) {
        (AgentStepKind::Consent, AgentStepOutcome::Passed) => PATIENCE_FOR_PROGRAMS,
        _ => PATIENCE,
    };
    step.at.plus_seconds(patience)
}

async fn give(tx: &mut Tx, id: &str, attempt: &AgentAttemptId) -> Result<()> {
    let sql = Sql::new("UPDATE agent_steps SET attempt = $1 WHERE id = $2");
    tx.run(sql.bind(attempt).bind(id)).await.map(drop)
}

/// Adds a step to an attempt. What failed stays what failed until a step that is as far along goes well.
async fn go_on(tx: &mut Tx, attempt: Attempt, (id, step): (&str, &Step)) -> Result<()> {
    let known = attempt.known || step.known;
    let moves = step.outcome == AgentStepOutcome::Failed || step.kind >= attempt.step;
    if repeats(tx, &attempt, step).await? {
        forget(tx, id).await?;
    } else if attempt.steps >= if step.known { STEPS_OF_KNOWN } else { STEPS } {
        // What it came to is still said.
        forget(tx, id).await?;
    } else {
        give(tx, id, &attempt.id).await?;
        let sql = Sql::new("UPDATE agent_attempts SET steps = steps + 1 WHERE id = $1");
        tx.run(sql.bind(&attempt.id)).await?;
    }
    let sql = Sql::new(
        "UPDATE agent_attempts SET known = $2, last_at = $3, stops_at = $4, \
         client_id = COALESCE(client_id, $5), client = COALESCE(client, $6), \
         client_name = COALESCE($7, client_name), asked = COALESCE(asked, $8), user_id = COALESCE(user_id, $9), \
         grant_id = COALESCE(grant_id, $10) WHERE id = $1",
    );
    let sql = sql
        .bind(&attempt.id)
        .bind(known)
        .bind(step.at.max(attempt.last_at))
        .bind(stops_at(step))
        .bind(step.client_id.as_deref())
        .bind(step.client.as_ref())
        .bind(step.client_name.as_deref())
        .bind(step.asked.as_deref())
        .bind(step.user.as_ref())
        .bind(step.grant.as_ref());
    tx.run(sql).await?;
    if step.is_agents() && attempt.place.is_empty() {
        absorb(tx, &attempt, step).await?;
        let sql =
            Sql::new("UPDATE agent_attempts SET place = $2, network = $3, user_agent = $4 WHERE id = $1");
        let sql = sql
            .bind(&attempt.id)
            .bind(step.place())
            .bind(step.network.as_str());
        tx.run(sql.bind(step.user_agent.as_deref())).await?;
    }
    if known && !attempt.known {
        let sql = Sql::new("UPDATE agent_steps SET known = TRUE WHERE attempt = $1");
        tx.run(sql.bind(&attempt.id)).await?;
    }
    if !moves {
        return Ok(());
    }
    let failed = step.outcome == AgentStepOutcome::Failed;
    let sql = Sql::new(
        "UPDATE agent_attempts SET state = $2, step = $3, reason = $4, received = $5, subject = $6 WHERE id = $1",
    );
    let sql = sql
        .bind(&attempt.id)
        .bind(state_after(step))
        .bind(step.kind.as_str())
        .bind(step.reason.as_deref().filter(|_| failed))
        .bind(step.received.as_deref().filter(|_| failed))
        .bind(step.subject.as_deref().filter(|_| failed));
    tx.run(sql).await.map(drop)
}

/// What an agent did before its person's browser came from elsewhere: its grant says now whose it was, if there is one only
/// that it can be.
async fn absorb(tx: &mut Tx, attempt: &Attempt, step: &Step) -> Result<()> {
    if step.grant.is_none() {
        return Ok(());
    }
    let sql = Sql::new(select!(
        agent_attempts,
        "WHERE app = $1 AND place = $2 AND last_at > $3 ORDER BY last_at DESC, id DESC"
    ));
    let sql = sql.bind(&step.app).bind(step.place()).bind(since(step, OPEN));
    let mut found = some(tx, sql.limit(CANDIDATES)).await?;
    found.retain(|other| other.client_id.is_none() && !other.is_in() && other.id != attempt.id);
    let [before] = found.as_slice() else {
        return Ok(());
    };
    let sql = Sql::new("UPDATE agent_steps SET attempt = $1, known = TRUE WHERE attempt = $2");
    tx.run(sql.bind(&attempt.id).bind(&before.id)).await?;
    let sql = Sql::new("UPDATE agent_attempts SET started_at = $2, steps = steps + $3 WHERE id = $1");
    let began = attempt.started_at.min(before.started_at);
    tx.run(sql.bind(&attempt.id).bind(began).bind(before.steps))
        .await?;
    let sql = Sql::new("DELETE FROM agent_attempts WHERE id = $1");
    tx.run(sql.bind(&before.id)).await.map(drop)
}

/// Counts a step that is the last one again; `false`, and nothing done, when it is not. Of one that was refused on a page
/// each request can be asked about.
async fn repeats(tx: &mut Tx, attempt: &Attempt, step: &Step) -> Result<bool> {
    if !step.repeats_itself() {
        return Ok(false);
    }
    let sql =
        Sql::new("SELECT id, kind, outcome, reason, received, network FROM agent_steps WHERE attempt = $1");
    let sql = sql.bind(&attempt.id).then(" ORDER BY at DESC, id DESC").limit(1);
    let Some(last) = opt(&mut *tx, sql).await? else {
        return Ok(false);
    };
    let same = last.text("kind")? == step.kind.as_str()
        && last.text("outcome")? == word(step.outcome)?
        && last.opt_text("reason")? == step.reason
        && last.opt_text("received")? == step.received
        && last.text("network")? == step.network;
    if same {
        let sql = Sql::new("UPDATE agent_steps SET count = count + $2 WHERE id = $1");
        tx.run(sql.bind(last.text("id")?).bind(step.count)).await?;
    }
    Ok(same)
}

/// Takes away the oldest attempts of an app that has too many.
async fn trim(tx: &mut Tx, step: &Step) -> Result<()> {
    let most = if step.known {
        KEPT_OF_KNOWN
    } else {
        KEPT_OF_STRANGERS
    };
    let sql = Sql::assembled(format!(
        "SELECT id FROM agent_attempts WHERE app = $1 AND known = $2 ORDER BY last_at DESC LIMIT 20 OFFSET {most}"
    ));
    for row in (&mut *tx).rows(sql.bind(&step.app).bind(step.known)).await? {
        let id = row.text("id")?;
        let sql = Sql::new("DELETE FROM agent_steps WHERE attempt = $1");
        tx.run(sql.bind(id.as_str())).await?;
        let sql = Sql::new("DELETE FROM agent_attempts WHERE id = $1");
        tx.run(sql.bind(id)).await?;
    }
    Ok(())
}
