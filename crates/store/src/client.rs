//! OAuth clients: agent software that registered at an app.

use crate::sql::{Paging, Row, Run, Sql, json, opt, word};
use crate::{Change, Error, Result, Tx};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use wire::{
    AccountId, AppId, Client, ClientApproval, ClientId, ClientSource, ClientSpec, ClientState, ClientTier,
    OrgId, Timestamp, UserId,
};

/// A client with what only the authorization server needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Registered {
    /// What the API shows.
    pub client: Client,
    /// Whose.
    pub org: OrgId,
    /// SHA-256 of its secret, for confidential clients.
    pub secret_hash: Option<String>,
    /// SHA-256 of its registration access token (RFC 7592).
    pub registration_hash: Option<String>,
    /// Its metadata as stored: what registration echoes.
    pub metadata: serde_json::Value,
}

/// What registration has established about a new client.
#[derive(Debug, Clone)]
pub struct NewClient {
    /// Its identifier.
    pub id: ClientId,
    /// What it will send as `client_id`.
    pub client_id: String,
    /// Cleaned name.
    pub name: String,
    /// The host that its metadata document proves.
    pub verified_host: Option<String>,
    /// How it came to be known.
    pub source: ClientSource,
    /// How far it is trusted.
    pub tier: ClientTier,
    /// Whether it may be used at once.
    pub state: ClientState,
    /// Where codes may be sent.
    pub redirect_uris: Vec<String>,
    /// How it authenticates at the token endpoint.
    pub auth_method: String,
    /// SHA-256 of its secret.
    pub secret_hash: Option<String>,
    /// SHA-256 of its registration access token.
    pub registration_hash: Option<String>,
    /// What registration echoes.
    pub metadata: serde_json::Value,
}

const SELECT: &str = concat!(
    "SELECT ",
    clients!("c"),
    ", (SELECT COUNT(*) FROM grants g WHERE g.client = c.id AND g.revoked_at IS NULL \
     AND g.last_used_at IS NOT NULL AND g.expires_at > $1) AS live_grants FROM clients c WHERE 1 = 1"
);

/// The same without counting, which is not for where somebody waits for a token.
pub(crate) const UNCOUNTED: &str = concat!(
    "SELECT ",
    clients!("c"),
    ", CAST(0 AS BIGINT) AS live_grants FROM clients c WHERE 1 = 1"
);

pub(crate) fn read(row: &Row) -> Result<Registered> {
    let mut registered = Registered {
        client: Client {
            id: row.id("id")?,
            client_id: row.text("client_id")?,
            app: row.id("app")?,
            account: row.id("account")?,
            name: row.text("name")?,
            verified_host: row.opt_text("verified_host")?,
            receiver_proven: false,
            jwks_uri: None,
            source: row.word("source")?,
            tier: row.word("tier")?,
            state: row.word("state")?,
            redirect_uris: row.json("redirect_uris")?,
            token_endpoint_auth_method: row.text("auth_method")?,
            approval: match row.opt_text("approval")? {
                Some(text) => Some(serde_json::from_str(&text).map_err(Error::internal)?),
                None => None,
            },
            first_user: row.opt_id("first_user")?,
            created_at: row.time("created_at")?,
            last_used_at: row.opt_time("last_used_at")?,
            live_grants: row.int("live_grants")?,
            version: row.int("version")?,
        },
        org: row.id("org")?,
        secret_hash: row.opt_text("secret_hash")?,
        registration_hash: row.opt_text("registration_hash")?,
        metadata: row.json("metadata")?,
    };
    let client = &mut registered.client;
    client.jwks_uri = keys_of(&registered.metadata);
    client.receiver_proven = client.redirect_uris.iter().all(|uri| client.proves_receiver(uri));
    // What was approved before approvals were written down did not change since.
    if client.approval.is_none() && client.tier == ClientTier::Approved {
        client.approval = Some(client.to_approve());
    }
    Ok(registered)
}

fn keys_of(metadata: &serde_json::Value) -> Option<String> {
    Some(metadata.get("jwks_uri")?.as_str()?.to_owned())
}

/// Registers a client at an app.
///
/// # Errors
/// `Conflict` when the app knows its `client_id` already.
pub async fn create(
    tx: &mut Tx,
    org: &OrgId,
    (account, app): (&AccountId, &AppId),
    new: NewClient,
) -> Result<Registered> {
    let mut client = Client {
        id: new.id,
        client_id: new.client_id,
        app: app.clone(),
        account: account.clone(),
        name: new.name,
        verified_host: new.verified_host,
        receiver_proven: false,
        jwks_uri: keys_of(&new.metadata),
        source: new.source,
        tier: new.tier,
        state: new.state,
        redirect_uris: new.redirect_uris,
        token_endpoint_auth_method: new.auth_method,
        approval: None,
        first_user: None,
        created_at: tx.now(),
        last_used_at: None,
        live_grants: 0,
        version: 1,
    };
    client.receiver_proven = client.redirect_uris.iter().all(|uri| client.proves_receiver(uri));
    if client.tier == ClientTier::Approved {
        client.approval = Some(client.to_approve());
    }
    let values = [
        ("id", (&client.id).into()),
        ("org", org.into()),
        ("account", account.into()),
        ("app", app.into()),
        ("client_id", client.client_id.as_str().into()),
        ("name", client.name.as_str().into()),
        ("verified_host", client.verified_host.clone().into()),
        ("source", word(client.source)?.into()),
        ("tier", word(client.tier)?.into()),
        ("state", word(client.state)?.into()),
        ("redirect_uris", json(&client.redirect_uris)?),
        ("auth_method", client.token_endpoint_auth_method.as_str().into()),
        ("approval", client.approval.as_ref().map(text).transpose()?.into()),
        ("secret_hash", new.secret_hash.clone().into()),
        ("registration_hash", new.registration_hash.clone().into()),
        ("metadata", json(&new.metadata)?),
        ("created_at", client.created_at.into()),
        ("version", client.version.into()),
    ];
    tx.run(Sql::insert("clients", values)).await?;
    Ok(Registered {
        client,
        org: org.clone(),
        secret_hash: new.secret_hash,
        registration_hash: new.registration_hash,
        metadata: new.metadata,
    })
}

/// Which clients are wanted.
#[derive(Debug, Clone, Default)]
pub struct Filter<'a> {
    /// Of these accounts.
    pub accounts: Option<&'a [AccountId]>,
    /// Of this app.
    pub app: Option<&'a AppId>,
    /// In this state.
    pub state: Option<ClientState>,
}

/// Clients of an organisation.
///
/// # Errors
/// When the database does not answer.
pub async fn list(
    mut db: impl Run,
    org: &OrgId,
    filter: Filter<'_>,
    now: Timestamp,
    page: &Paging<ClientId>,
) -> Result<Vec<Client>> {
    let sql = Sql::new(SELECT)
        .bind(now)
        .and("c.org =", Some(org))
        .and_in("c.account", filter.accounts)
        .and("c.app =", filter.app)
        .and("c.state =", filter.state.map(word).transpose()?);
    db.rows(sql.page(page))
        .await?
        .iter()
        .map(|row| read(row).map(|r| r.client))
        .collect()
}

/// One client of an organisation.
///
/// # Errors
/// `NotFound`.
pub async fn get(db: impl Run, org: &OrgId, id: &ClientId, now: Timestamp) -> Result<Registered> {
    let sql = Sql::new(SELECT)
        .bind(now)
        .and("c.id =", Some(id))
        .and("c.org =", Some(org));
    read(&opt(db, sql).await?.ok_or(Error::NotFound("client"))?)
}

/// The client that sends this `client_id` at this app. Its grants are not counted.
///
/// # Errors
/// When the database does not answer.
pub async fn by_client_id(db: impl Run, app: &AppId, client_id: &str) -> Result<Option<Registered>> {
    let sql = Sql::new(UNCOUNTED)
        .and("c.app =", Some(app))
        .and("c.client_id =", Some(client_id));
    opt(db, sql).await?.as_ref().map(read).transpose()
}

/// A client of an app. Its grants are not counted.
///
/// # Errors
/// When the database does not answer.
pub async fn of_app(db: impl Run, app: &AppId, id: &ClientId) -> Result<Option<Registered>> {
    let sql = Sql::new(UNCOUNTED)
        .and("c.id =", Some(id))
        .and("c.app =", Some(app));
    opt(db, sql).await?.as_ref().map(read).transpose()
}

fn text(approval: &ClientApproval) -> Result<String> {
    serde_json::to_string(approval).map_err(Error::internal)
}

/// What an administrator says of a client. Whoever lets it be used approves what it says of itself now; blocking
/// it, or making it wait, revokes its grants.
///
/// # Errors
/// `Stale` when `client.version` is not the stored one.
pub async fn update(tx: &mut Tx, client: &Client, spec: &ClientSpec) -> Result<Client> {
    let approval = match spec.state {
        ClientState::Active => Some(client.to_approve()),
        ClientState::Pending | ClientState::Blocked => client.approval.clone(),
    };
    let sql = Sql::new(
        "UPDATE clients SET tier = $1, state = $2, approval = $3, version = version + 1 \
         WHERE id = $4 AND version = $5",
    );
    let sql = sql
        .bind(word(spec.tier)?)
        .bind(word(spec.state)?)
        .bind(approval.as_ref().map(text).transpose()?)
        .bind(&client.id)
        .bind(client.version);
    tx.run_fresh(sql).await?;
    let reason = match spec.state {
        ClientState::Active => None,
        ClientState::Pending => Some("client_pending"),
        ClientState::Blocked => Some("client_blocked"),
    };
    if let Some(reason) = reason {
        crate::grant::revoke_where(tx, crate::grant::Which::Client(&client.id), reason).await?;
    }
    tx.changed(Change::Client(client.id.clone()));
    Ok(Client {
        tier: spec.tier,
        state: spec.state,
        approval,
        version: client.version + 1,
        ..client.clone()
    })
}

/// Replaces the metadata of a client (RFC 7592, or a changed metadata document). What was approved of it stays
/// written down; a client that has to wait by it loses its grants.
///
/// # Errors
/// `Stale` when `client.version` is not the stored one.
pub async fn update_metadata(tx: &mut Tx, client: &Client, new: &NewClient) -> Result<()> {
    let sql = Sql::new(
        "UPDATE clients SET name = $1, redirect_uris = $2, metadata = $3, tier = $4, auth_method = $5, \
         verified_host = $6, state = $7, approval = $8, version = version + 1 WHERE id = $9 AND version = $10",
    );
    let sql = sql
        .bind(new.name.as_str())
        .bind(json(&new.redirect_uris)?)
        .bind(json(&new.metadata)?)
        .bind(word(new.tier)?)
        .bind(new.auth_method.as_str())
        .bind(new.verified_host.clone())
        .bind(word(new.state)?)
        .bind(client.approval.as_ref().map(text).transpose()?)
        .bind(&client.id)
        .bind(client.version);
    tx.run_fresh(sql).await?;
    if client.state == ClientState::Active && new.state != ClientState::Active {
        crate::grant::revoke_where(tx, crate::grant::Which::Client(&client.id), "client_changed").await?;
    }
    tx.changed(Change::Client(client.id.clone()));
    Ok(())
}

/// When it was last written down of which client that it is used, at this instance.
#[derive(Default)]
pub(crate) struct Noted(Mutex<HashMap<ClientId, Timestamp>>);

/// Uses of a client within so many seconds are written down once.
const NOTED_EVERY: i64 = 60;
/// So many clients are remembered; of one that is forgotten a use is written down once more.
const NOTED: usize = 10_000;

impl Noted {
    /// Whether it is time to write it down; whoever is told so does.
    fn is_due(&self, id: &ClientId, now: Timestamp) -> bool {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = |at: &Timestamp| now >= at.plus_seconds(NOTED_EVERY) || now < *at;
        if !noted.get(id).is_none_or(is_due) {
            return false;
        }
        if noted.len() >= NOTED {
            noted.retain(|_, at| !is_due(at));
            if noted.len() >= NOTED {
                noted.clear();
            }
        }
        noted.insert(id.clone(), now);
        true
    }
}

/// Notes that a token was issued, and who consented first. Once a minute will do, but the first time counts: whoever
/// never got a token is deleted.
///
/// # Errors
/// When the database does not answer.
pub async fn note_use(tx: &mut Tx, client: &Client, user: &UserId) -> Result<()> {
    if !tx.store.inner.noted.is_due(&client.id, tx.now()) && client.last_used_at.is_some() {
        return Ok(());
    }
    let sql =
        Sql::new("UPDATE clients SET last_used_at = $1, first_user = coalesce(first_user, $2) WHERE id = $3");
    tx.run(sql.bind(tx.now()).bind(user).bind(&client.id))
        .await
        .map(drop)
}

/// Deletes a client with its grants.
///
/// # Errors
/// `Stale` when it is gone already.
pub async fn delete(tx: &mut Tx, id: &ClientId) -> Result<()> {
    crate::grant::revoke_where(tx, crate::grant::Which::Client(id), "client_deleted").await?;
    for sql in [
        "DELETE FROM codes WHERE client = $1",
        "DELETE FROM refresh_tokens WHERE client = $1",
        "DELETE FROM grants WHERE client = $1",
    ] {
        tx.run(Sql::new(sql).bind(id)).await?;
    }
    tx.run_fresh(Sql::new("DELETE FROM clients WHERE id = $1").bind(id))
        .await?;
    tx.changed(Change::Client(id.clone()));
    Ok(())
}

/// Takes away with what agents change their registrations: later tokens may have been given out. They register anew.
pub(crate) async fn end_registrations(tx: &mut Tx) -> Result<()> {
    let sql = Sql::new("UPDATE clients SET registration_hash = NULL WHERE registration_hash IS NOT NULL");
    tx.run(sql).await.map(drop)
}
