//! Metadata documents of agents: what organisations decided about them, and what was fetched.

use crate::grant::{Which, revoke_where};
use crate::sql::{Paging, Row, Run, Sql, opt, word};
use crate::{Change, Error, Result, Tx};
use serde_json::Value;
use std::collections::BTreeMap;
use wire::{AgentDocument, AgentDocumentSpec, ClientId, DocumentDecision, DocumentId, OrgId, Timestamp};

/// Documents that one organisation can decide about.
const MOST: i64 = 500;

/// What an organisation decided about documents, by their addresses.
#[derive(Debug, Default)]
pub struct Decisions(BTreeMap<String, Decision>);

/// What was decided about one.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// The agent is what this says.
    Pin(Value),
    /// It is not let in.
    Refuse,
}

impl Decisions {
    /// What was decided about the agent that sends this `client_id`, if something was.
    #[must_use]
    pub fn of(&self, client_id: &str) -> Option<&Decision> {
        self.0.get(client_id)
    }

    /// Whether the agent that sends this `client_id` is not let in.
    #[must_use]
    pub fn refuse(&self, client_id: &str) -> bool {
        self.of(client_id) == Some(&Decision::Refuse)
    }

    /// Whether there is a document that nobody has to be asked for: pinned, or in the catalogue and not refused.
    #[must_use]
    pub fn have_some(&self) -> bool {
        let mut known = wire::catalogue().agents.iter().filter_map(wire::Entry::client_id);
        self.0.values().any(|decision| *decision != Decision::Refuse) || known.any(|id| !self.refuse(id))
    }

    /// Notes a row. One that cannot be read keeps its agent out: it may have done so.
    pub(crate) fn insert(&mut self, row: &Row) -> Result<()> {
        let decision = match read(row).map(|document| document.spec) {
            Ok(AgentDocumentSpec {
                decision: DocumentDecision::Pin,
                document: Some(document),
            }) => Decision::Pin(document),
            Ok(_) => Decision::Refuse,
            Err(error) => {
                self.0.insert(row.text("client_id")?, Decision::Refuse);
                return Err(error);
            }
        };
        self.0.insert(row.text("client_id")?, decision);
        Ok(())
    }
}

fn read(row: &Row) -> Result<AgentDocument> {
    let document = match row.opt_text("document")? {
        Some(text) => Some(serde_json::from_str(&text).map_err(Error::internal)?),
        None => None,
    };
    Ok(AgentDocument {
        id: row.id("id")?,
        client_id: row.text("client_id")?,
        spec: AgentDocumentSpec {
            decision: row.word("decision")?,
            document,
        },
        fetched_at: row.opt_time("fetched_at")?,
        created_at: row.time("created_at")?,
        version: row.int("version")?,
    })
}

/// Writes down a decision; refusing an agent ends what it was granted.
///
/// # Errors
/// `Conflict` when something was decided about the same address already, or about very many.
pub async fn create(
    tx: &mut Tx,
    org: &OrgId,
    client_id: &str,
    (spec, fetched_at): (AgentDocumentSpec, Option<Timestamp>),
) -> Result<AgentDocument> {
    let count = Sql::new("SELECT COUNT(*) AS n FROM agent_documents WHERE org = $1").bind(org);
    let row = opt(&mut *tx, count).await?;
    if row.map_or(Ok(0), |row| row.int("n"))? >= MOST {
        let detail = format!("an organisation decides about {MOST} documents at the most");
        return Err(Error::Conflict(detail.into()));
    }
    let document = AgentDocument {
        id: DocumentId::fresh(),
        client_id: client_id.to_owned(),
        spec,
        fetched_at,
        created_at: tx.now(),
        version: 1,
    };
    let values = [
        ("id", (&document.id).into()),
        ("org", org.into()),
        ("client_id", client_id.into()),
        ("decision", word(document.spec.decision)?.into()),
        ("document", text(&document.spec).into()),
        ("fetched_at", document.fetched_at.into()),
        ("created_at", document.created_at.into()),
        ("version", document.version.into()),
    ];
    tx.run(Sql::insert("agent_documents", values)).await?;
    took_effect(tx, org, &document).await?;
    Ok(document)
}

/// Decisions of an organisation.
///
/// # Errors
/// When the database does not answer.
pub async fn list(mut db: impl Run, org: &OrgId, page: &Paging<DocumentId>) -> Result<Vec<AgentDocument>> {
    let sql = Sql::new(select!(agent_documents, "WHERE org = $1")).bind(org);
    db.rows(sql.page(page)).await?.iter().map(read).collect()
}

/// One decision.
///
/// # Errors
/// `NotFound`.
pub async fn get(db: impl Run, org: &OrgId, id: &DocumentId) -> Result<AgentDocument> {
    let sql = Sql::new(select!(agent_documents, "WHERE id = $1 AND org = $2"))
        .bind(id)
        .bind(org);
    read(&opt(db, sql).await?.ok_or(Error::NotFound("agent document"))?)
}

/// All decisions of an organisation, which are few.
///
/// # Errors
/// When the database does not answer.
pub async fn all(mut db: impl Run, org: &OrgId) -> Result<Vec<AgentDocument>> {
    let sql = Sql::new(select!(agent_documents, "WHERE org = $1")).bind(org);
    db.rows(sql).await?.iter().map(read).collect()
}

/// Writes down another decision; refusing an agent ends what it was granted.
///
/// # Errors
/// `Stale` when `document.version` is not the stored one.
pub async fn update(
    tx: &mut Tx,
    org: &OrgId,
    document: &AgentDocument,
    (spec, fetched_at): (AgentDocumentSpec, Option<Timestamp>),
) -> Result<AgentDocument> {
    let sql = Sql::new(
        "UPDATE agent_documents SET decision = $1, document = $2, fetched_at = $3, version = version + 1 \
         WHERE id = $4 AND version = $5",
    );
    let sql = sql
        .bind(word(spec.decision)?)
        .bind(text(&spec))
        .bind(fetched_at)
        .bind(&document.id)
        .bind(document.version);
    tx.run_fresh(sql).await?;
    let after = AgentDocument {
        spec,
        fetched_at,
        version: document.version + 1,
        ..document.clone()
    };
    took_effect(tx, org, &after).await?;
    Ok(after)
}

/// Takes a decision back: what is published, or the catalogue, counts again.
///
/// # Errors
/// `Stale` when `document.version` is not the stored one.
pub async fn delete(tx: &mut Tx, org: &OrgId, document: &AgentDocument) -> Result<()> {
    let sql = Sql::new("DELETE FROM agent_documents WHERE id = $1 AND version = $2");
    tx.run_fresh(sql.bind(&document.id).bind(document.version))
        .await?;
    tx.changed(Change::Organisation(org.clone()));
    Ok(())
}

async fn took_effect(tx: &mut Tx, org: &OrgId, document: &AgentDocument) -> Result<()> {
    tx.changed(Change::Organisation(org.clone()));
    if document.spec.decision != DocumentDecision::Refuse {
        return Ok(());
    }
    let sql = Sql::new("SELECT id FROM clients WHERE org = $1 AND client_id = $2");
    let rows = (&mut *tx)
        .rows(sql.bind(org).bind(document.client_id.as_str()))
        .await?;
    for row in rows {
        let client: ClientId = row.id("id")?;
        revoke_where(tx, Which::Client(&client), "document_refused").await?;
    }
    Ok(())
}

fn text(spec: &AgentDocumentSpec) -> Option<String> {
    spec.document.as_ref().map(Value::to_string)
}

/// A document as it was fetched.
#[derive(Debug, Clone, PartialEq)]
pub struct Fetched {
    /// What it says.
    pub document: Value,
    /// When it was fetched.
    pub fetched_at: Timestamp,
}

/// A document that was fetched for an agent that somebody allowed something.
///
/// # Errors
/// When the database does not answer.
pub async fn fetched(db: impl Run, client_id: &str) -> Result<Option<Fetched>> {
    let sql = Sql::new(select!(fetched_documents, "WHERE client_id = $1")).bind(client_id);
    let Some(row) = opt(db, sql).await? else {
        return Ok(None);
    };
    Ok(Some(Fetched {
        document: row.json("document")?,
        fetched_at: row.time("fetched_at")?,
    }))
}

/// Keeps a document that was fetched, now that its agent is used; never in place of a later one.
///
/// # Errors
/// When the database does not answer.
pub async fn keep(tx: &mut Tx, client_id: &str, fetched: &Fetched) -> Result<()> {
    let values = [
        ("client_id", client_id.into()),
        ("document", fetched.document.to_string().into()),
        ("fetched_at", fetched.fetched_at.into()),
        ("tried_at", fetched.fetched_at.into()),
        ("used_at", tx.now().into()),
    ];
    let sql = Sql::insert("fetched_documents", values).then(
        " ON CONFLICT (client_id) DO UPDATE SET used_at = excluded.used_at, \
         document = CASE WHEN fetched_documents.fetched_at <= excluded.fetched_at THEN excluded.document \
         ELSE fetched_documents.document END, \
         fetched_at = CASE WHEN fetched_documents.fetched_at <= excluded.fetched_at THEN excluded.fetched_at \
         ELSE fetched_documents.fetched_at END",
    );
    tx.run(sql).await.map(drop)
}

/// The addresses of a few documents that were last tried until `until`, and are this instance's to try now.
///
/// # Errors
/// When the database does not answer.
pub async fn claim_due(tx: &mut Tx, until: Timestamp) -> Result<Vec<String>> {
    let sql = Sql::new(
        "SELECT client_id, tried_at FROM fetched_documents WHERE tried_at <= $1 ORDER BY tried_at LIMIT 20",
    );
    let rows = (&mut *tx).rows(sql.bind(until)).await?;
    let mut mine = Vec::new();
    for row in rows {
        let client_id = row.text("client_id")?;
        let sql =
            Sql::new("UPDATE fetched_documents SET tried_at = $1 WHERE client_id = $2 AND tried_at = $3");
        let sql = sql
            .bind(tx.now())
            .bind(client_id.as_str())
            .bind(row.time("tried_at")?);
        if tx.run(sql).await? == 1 {
            mine.push(client_id);
        }
    }
    Ok(mine)
}

/// What a document says now, of one that is kept.
///
/// # Errors
/// When the database does not answer.
pub async fn renew(tx: &mut Tx, client_id: &str, fetched: &Fetched) -> Result<()> {
    let sql = Sql::new(
        "UPDATE fetched_documents SET document = $1, fetched_at = $2 WHERE client_id = $3 AND fetched_at <= $2",
    );
    let sql = sql
        .bind(fetched.document.to_string())
        .bind(fetched.fetched_at)
        .bind(client_id);
    tx.run(sql).await.map(drop)
}
