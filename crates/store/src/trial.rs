//! Trials of connections: what was done, step by step, and whose claims came out.

use crate::sql::{Paging, Row, Run, Sql, json, opt, word};
use crate::{Error, Result, Store, Tx};
use serde_json::{Map, Value};
use wire::{ConnectionId, OrgId, Timestamp, Trial, TrialId, TrialState, TrialStep};

/// How long the URL of a trial works, in seconds.
const LIFE: i64 = 3600;

fn read(row: &Row, now: Timestamp) -> Result<Trial> {
    let expires_at = row.time("expires_at")?;
    let state = match row.word("state")? {
        TrialState::Waiting | TrialState::Running if expires_at <= now => TrialState::Expired,
        state => state,
    };
    let parsed = |name: &str| row.opt_text(name).map(Option::unwrap_or_default);
    Ok(Trial {
        id: row.id("id")?,
        connection: row.id("connection")?,
        state,
        trace: row.json("trace")?,
        identity: from_json(&parsed("identity")?)?,
        claims: from_json(&parsed("claims")?)?,
        url: None,
        created_at: row.time("created_at")?,
        expires_at,
        finished_at: row.opt_time("finished_at")?,
    })
}

fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> Result<Option<T>> {
    if text.is_empty() {
        return Ok(None);
    }
    serde_json::from_str(text).map(Some).map_err(Error::internal)
}

/// Makes a trial whose URL holds the token with this hash.
///
/// # Errors
/// When the database does not answer.
pub async fn create(
    tx: &mut Tx,
    (org, connection): (&OrgId, &ConnectionId),
    token_hash: &str,
    (state, trace): (TrialState, Vec<TrialStep>),
) -> Result<Trial> {
    let now = tx.now();
    let trial = Trial {
        id: TrialId::fresh(),
        connection: connection.clone(),
        state,
        trace,
        identity: None,
        claims: None,
        url: None,
        created_at: now,
        expires_at: now.plus_seconds(LIFE),
        finished_at: (state == TrialState::Failed).then_some(now),
    };
    let values = [
        ("id", (&trial.id).into()),
        ("org", org.into()),
        ("connection", connection.into()),
        ("token_hash", token_hash.into()),
        ("state", word(state)?.into()),
        ("trace", json(&trial.trace)?),
        ("created_at", now.into()),
        ("expires_at", trial.expires_at.into()),
        ("finished_at", trial.finished_at.into()),
    ];
    tx.run(Sql::insert("connection_trials", values)).await?;
    Ok(trial)
}

/// Trials of a connection.
///
/// # Errors
/// When the database does not answer.
pub async fn list(
    mut store: &Store,
    (org, connection): (&OrgId, &ConnectionId),
    page: &Paging<TrialId>,
) -> Result<Vec<Trial>> {
    let sql = Sql::new(select!(connection_trials, "WHERE org = $1 AND connection = $2"))
        .bind(org)
        .bind(connection);
    let now = store.clock().now();
    let rows = store.rows(sql.page(page)).await?;
    rows.iter().map(|row| read(row, now)).collect()
}

/// One trial of a connection.
///
/// # Errors
/// `NotFound`.
pub async fn get(store: &Store, (org, connection): (&OrgId, &ConnectionId), id: &TrialId) -> Result<Trial> {
    let sql = Sql::new(select!(
        connection_trials,
        "WHERE id = $1 AND org = $2 AND connection = $3"
    ))
    .bind(id)
    .bind(org)
    .bind(connection);
    let row = opt(store, sql).await?;
    read(&row.ok_or(Error::NotFound("trial"))?, store.clock().now())
}

/// The connection that could be tried with a token, also when its URL has ended: to say in whose log a link was tried.
///
/// # Errors
/// When the database does not answer.
pub async fn ever_by_token(store: &Store, token_hash: &str) -> Result<Option<(OrgId, ConnectionId)>> {
    let sql = Sql::new("SELECT org, connection FROM connection_trials WHERE token_hash = $1");
    let row = opt(store, sql.bind(token_hash)).await?;
    row.map(|row| Ok((row.id("org")?, row.id("connection")?)))
        .transpose()
}

/// The trial whose URL holds the token with this hash, and whose it is, until the URL ends.
///
/// # Errors
/// When the database does not answer.
pub async fn by_token(store: &Store, token_hash: &str) -> Result<Option<(OrgId, Trial)>> {
    let now = store.clock().now();
    let sql = Sql::new(select!(
        connection_trials,
        "WHERE token_hash = $1 AND expires_at > $2"
    ))
    .bind(token_hash)
    .bind(now);
    let row = opt(store, sql).await?;
    row.map(|row| Ok((row.id("org")?, read(&row, now)?))).transpose()
}

/// Begins a trial, anew if it was begun before: from now on it waits for the answer to one attempt, known by the
/// hash of its state, and to no earlier one.
///
/// # Errors
/// When the database does not answer.
pub async fn begin(tx: &mut Tx, trial: &Trial, attempt: &str) -> Result<()> {
    write(tx, trial, Some(attempt), None).await.map(drop)
}

/// Whether a trial waits for the answer to an attempt.
///
/// # Errors
/// When the database does not answer.
pub async fn waits_for(store: &Store, id: &TrialId, attempt: &str) -> Result<bool> {
    let sql = Sql::new("SELECT id FROM connection_trials WHERE id = $1 AND attempt = $2");
    Ok(opt(store, sql.bind(id).bind(attempt)).await?.is_some())
}

/// Writes how far a trial is that waits for no answer.
///
/// # Errors
/// When the database does not answer.
pub async fn update(tx: &mut Tx, trial: &Trial) -> Result<()> {
    write(tx, trial, None, None).await.map(drop)
}

/// Writes what the answer to an attempt came to. Says `false`, and writes nothing, when the trial does not wait for
/// it any more.
///
/// # Errors
/// When the database does not answer.
pub async fn finish(tx: &mut Tx, trial: &Trial, attempt: &str) -> Result<bool> {
    write(tx, trial, None, Some(attempt)).await
}

async fn write(tx: &mut Tx, trial: &Trial, next: Option<&str>, now: Option<&str>) -> Result<bool> {
    let text = |value: Option<Value>| value.map(|value| value.to_string());
    let identity = trial.identity.as_ref().map(serde_json::to_value).transpose();
    let sql = Sql::new(
        "UPDATE connection_trials SET state = $1, trace = $2, identity = $3, claims = $4, finished_at = $5, \
         attempt = $6 WHERE id = $7",
    );
    let sql = sql
        .bind(word(trial.state)?)
        .bind(json(&trial.trace)?)
        .bind(text(identity.map_err(Error::internal)?))
        .bind(text(trial.claims.clone().map(Value::Object)))
        .bind(trial.finished_at)
        .bind(next)
        .bind(&trial.id)
        .and("attempt =", now);
    Ok(tx.run(sql).await? > 0)
}

/// The claims of the last trial of a connection that got as far.
///
/// # Errors
/// When the database does not answer.
pub async fn last_claims(store: &Store, connection: &ConnectionId) -> Result<Option<Map<String, Value>>> {
    let sql = Sql::new(
        "SELECT claims FROM connection_trials WHERE connection = $1 AND claims IS NOT NULL \
         ORDER BY finished_at DESC, id DESC LIMIT 1",
    );
    let row = opt(store, sql.bind(connection)).await?;
    row.map(|row| row.json("claims")).transpose()
}

/// Ends those that are not finished.
pub(crate) async fn end_all(tx: &mut Tx) -> Result<()> {
    let now = tx.now();
    let sql = Sql::new("UPDATE connection_trials SET expires_at = $1 WHERE expires_at > $1");
    tx.run(sql.bind(now)).await.map(drop)
}
