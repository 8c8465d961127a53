//! Databases of earlier versions are brought up to date without losing anything; versions run side by side while a newer
//! one is rolled out; and whoever must not change a schema does not.

use crate::world::{CONTROL, Database, START, databases};
use serde_json::{Map, Value, json};
use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _, SqliteConnection};
use store::{Clock, Error, MasterKey, Opening, Options, Paging, Store, Upgrade, Vault};
use wire::{ConnectionId, Group, OrgId, Policy, UserId, WebhookId};

static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations");

/// What a migration itself puts into a new database.
const OWN: &[&str] = &["meta", "change_counter", "schema_readers", "_sqlx_migrations"];
/// What migrations change of what was there, on purpose.
const CHANGED: &[(&str, &str)] = &[
    // A redirect URI per connection: the spec says which kind it has.
    ("connections", "spec"),
    // A proof names its connection.
    ("grants", "authentication"),
    ("sessions", "authentication"),
    // Heads are sealed when a server opens the database.
    ("audit_heads", "mac"),
];

const ORG: &str = "org_01a22dfd5f01772480af4e8cc08b37f5";
const ACCOUNT: &str = "acc_01a22dfd5f187030995d27213086cf00";
const CONNECTION: &str = "con_01a22dfd5f0275a69dd321f9db5a3416";
const SECOND: &str = "con_01a22dfd5f0275a69dd321f9db5a3417";
const USER: &str = "usr_01a22dfd5f0275a69dd321fa6c7370e0";
const OTHER: &str = "usr_01a22dfd5f0275a69dd321fa6c7370e1";
const APP: &str = "app_01a22dfd5f1d74abbe562f58648abacf";
const CLIENT: &str = "cli_01a22dfd5f1d74abbe562f58648abac1";
const GRANT: &str = "gnt_01a22dfd5f1d74abbe562f58648abac2";
const SESSION: &str = "ses_01a22dfd5f1d74abbe562f58648abac3";
const HOST: &str = "hst_01a22dfd5f1d74abbe562f58648abacf";
const KEY: &str = "key_01a22dfd5f0c72e2b0ab3c7ad9170431";
const FACTOR: &str = "fac_01a22dfd5f0c72e2b0ab3c7ad9170432";
const WEBHOOK: &str = "whk_01a22dfd5f0c72e2b0ab3c7ad9170433";
const MIGRATION: &str = "mig_01a22dfd5f0c72e2b0ab3c7ad9170434";
const TRIAL: &str = "trl_01a22dfd5f0c72e2b0ab3c7ad9170435";

/// A row of every table that there is or was, with every column that it has or had: a schema takes those that it
/// knows. They are in the order of their references.
fn rows(vault: &Vault) -> Vec<(&'static str, Value)> {
    let (now, later) = (START.0, START.plus_seconds(86_400).0);
    let seal = |id: &str| vault.seal(id, b"a secret").unwrap();
    let proof = r#"{"amr":["pwd"]}"#;
    let connection = |id: &str, name: &str| {
        json!({"id": id, "org": ORG, "name": name, "kind": "oidc", "created_at": now, "version": 1,
            "spec": format!("{{\"name\":\"{name}\",\"kind\":\"oidc\",\"issuer\":\"https://idp.example.com\",\"client_id\":\"c\"}}")})
    };
    let user = |id: &str, connection: &str, subject: &str| {
        json!({"id": id, "org": ORG, "connection": connection, "issuer": "https://idp.example.com",
            "subject": subject, "email": format!("{subject}@example.com"), "email_verified": true,
            "name": subject, "claims": "{}", "idp_groups": "[\"staff\"]", "disabled": false,
            "created_at": now, "last_login_at": now, "version": 1})
    };
    vec![
        (
            "organisations",
            json!({"id": ORG, "slug": "acme", "spec": "{\"name\":\"Acme\",\"primary_connection\":null,\"floor\":[]}",
                "created_at": now, "version": 1}),
        ),
        (
            "accounts",
            json!({"id": ACCOUNT, "org": ORG, "name": "Production", "enabled": true, "created_at": now, "version": 1}),
        ),
        ("connections", connection(CONNECTION, "Okta")),
        ("connections", connection(SECOND, "Entra")),
        (
            "bindings",
            json!({"id": "bnd_01a22dfd5f1976cf8b51d16c41666441", "org": ORG, "connection": CONNECTION,
                "account": ACCOUNT, "mode": "allowed", "state": "active", "created_at": now, "version": 1}),
        ),
        ("users", user(USER, CONNECTION, "ada")),
        ("users", user(OTHER, SECOND, "ada")),
        (
            "passwords",
            json!({"user_id": USER, "phc": "$argon2id$", "changed_at": now, "failures": 0, "locked_until": 0}),
        ),
        (
            "members",
            json!({"id": "mem_01a22dfd5f0275a69dd321fb904803c3", "org": ORG, "user_id": USER, "account": "",
                "role": "org_owner", "created_at": now}),
        ),
        (
            "user_groups",
            json!({"id": "grp_01a22dfd5f1976cf8b51d16e3819625a", "org": ORG, "account": ACCOUNT, "name": "Staff",
                "spec": "{\"name\":\"Staff\",\"members\":[],\"include\":[{\"type\":\"everyone\"}]}",
                "created_at": now, "version": 1}),
        ),
        (
            "policies",
            json!({"id": "pol_01a22dfd5f1a702983b0593c7304d7e1", "org": ORG, "account": ACCOUNT, "name": "All",
                "spec": "{\"name\":\"All\",\"decision\":\"allow\",\"include\":[{\"type\":\"everyone\"}],\"require\":[],\"exclude\":[]}",
                "created_at": now, "version": 1}),
        ),
        (
            "apps",
            json!({"id": APP, "org": ORG, "account": ACCOUNT, "name": "Wiki", "authority": "wiki.example.com",
                "path": "", "spec": "{\"name\":\"Wiki\",\"kind\":\"web\",\"public_url\":\"https://wiki.example.com\",\
                \"origin_url\":\"http://10.0.0.1\",\"policies\":[\"pol_01a22dfd5f1a702983b0593c7304d7e1\"]}",
                "created_at": now, "version": 1}),
        ),
        (
            "clients",
            json!({"id": CLIENT, "org": ORG, "account": ACCOUNT, "app": APP, "client_id": "agent", "name": "Agent",
                "source": "dynamic", "tier": "unverified", "state": "active",
                "redirect_uris": "[\"https://agent.example.com/callback\"]", "auth_method": "none",
                "metadata": "{}", "created_at": now, "last_used_at": now, "version": 1}),
        ),
        (
            "grants",
            json!({"id": GRANT, "org": ORG, "account": ACCOUNT, "app": APP, "user_id": USER, "client": CLIENT,
                "scopes": "[\"access\"]", "created_at": now, "expires_at": later, "last_used_at": now,
                "authentication": proof}),
        ),
        (
            "codes",
            json!({"hash": "code", "grant_id": GRANT, "client": CLIENT,
                "redirect_uri": "https://agent.example.com/callback", "challenge": "x",
                "resource": "https://wiki.example.com", "expires_at": later}),
        ),
        (
            "refresh_tokens",
            json!({"hash": "refresh", "grant_id": GRANT, "client": CLIENT, "scopes": "[\"access\"]",
                "created_at": now, "expires_at": later}),
        ),
        ("revoked_tokens", json!({"jti": "jti", "expires_at": later})),
        (
            "sessions",
            json!({"id": SESSION, "hash": "session", "org": ORG, "user_id": USER, "data": "{}", "created_at": now,
                "expires_at": later, "authentication": proof}),
        ),
        (
            "handoffs",
            json!({"hash": "handoff", "app": APP, "user_id": USER, "session": SESSION, "state_hash": "x",
                "expires_at": later, "authentication": proof}),
        ),
        (
            "api_tokens",
            json!({"id": "tok_01a22dfd5f0c72e2b0ab3c7ad9170436", "org": ORG, "owner": USER, "name": "Terraform",
                "scopes": "[\"read\"]", "allowed_ips": "[]", "prefix": "cht_abc", "hash": "token",
                "created_at": now, "version": 1}),
        ),
        (
            "signing_keys",
            json!({"id": KEY, "org": ORG, "algorithm": "ES256", "state": "active", "public_jwk": "{}",
                "private_key": seal(KEY), "created_at": now}),
        ),
        ("audit_heads", json!({"org": ORG, "seq": 0, "hash": ""})),
        (
            "audit_events",
            json!({"org": "org_of_nobody", "seq": 1, "id": "evt_01a22dfd5f0c72e2b0ab3c7ad9170441", "time": now, "action": "app.create",
                "outcome": "allowed", "body": "{}", "hash": "x"}),
        ),
        (
            "audit_responses",
            json!({"event": "evt_01a22dfd5f0c72e2b0ab3c7ad9170441", "status": 200, "micros": 5}),
        ),
        ("jobs", json!({"kind": "reap", "run_at": now, "attempts": 0})),
        (
            "changes",
            json!({"seq": -1, "topic": "all", "subject": "", "at": now}),
        ),
        (
            "idempotency_keys",
            json!({"hash": "key", "fingerprint": "x", "created_at": now}),
        ),
        (
            "invitations",
            json!({"id": "inv_01a22dfd5f0c72e2b0ab3c7ad9170437", "org": ORG, "email": "bob@example.com",
                "account": "", "role": "org_owner", "local": false, "hash": "invitation", "created_by": USER,
                "created_at": now, "sent_at": now, "expires_at": later}),
        ),
        (
            "role_mappings",
            json!({"id": "rmp_01a22dfd5f0c72e2b0ab3c7ad9170438", "org": ORG, "connection": CONNECTION,
                "idp_group": "admins", "account": ACCOUNT, "role": "account_admin", "created_at": now,
                "version": 1}),
        ),
        (
            "second_factors",
            json!({"id": FACTOR, "org": ORG, "user_id": USER, "kind": "totp", "name": "Phone",
                "secret": seal(FACTOR), "counter": 1, "created_at": now}),
        ),
        (
            "recovery_codes",
            json!({"hash": "recovery", "user_id": USER, "created_at": now}),
        ),
        (
            "connection_health",
            json!({"connection": CONNECTION, "bucket": now, "outcome": "success", "sign_ins": 1, "millis": 5}),
        ),
        (
            "agent_attempts",
            json!({"id": "aat_01a22dfd5f0c72e2b0ab3c7ad9170440", "org": ORG, "account": ACCOUNT, "app": APP,
                "state": "going_on", "step": "challenge", "known": false, "ambiguous": false, "place": "", "network": "",
                "steps": 1, "started_at": now, "last_at": now, "stops_at": later}),
        ),
        (
            "agent_steps",
            json!({"id": "ast_01a22dfd5f0c72e2b0ab3c7ad9170441", "attempt": "aat_01a22dfd5f0c72e2b0ab3c7ad9170440",
                "org": ORG, "account": ACCOUNT, "app": APP, "at": now, "kind": "challenge", "outcome": "passed",
                "known": false, "request": "r", "network": "", "count": 1}),
        ),
        (
            "connection_trials",
            json!({"id": TRIAL, "org": ORG, "connection": CONNECTION, "token_hash": "trial", "state": "waiting",
                "trace": "[]", "created_at": now, "expires_at": later}),
        ),
        (
            "email_codes",
            json!({"hash": "mail", "connection": CONNECTION, "address": "x", "code": "x", "tries": 0,
                "created_at": now, "expires_at": later}),
        ),
        (
            "upstream_sessions",
            json!({"session": SESSION, "connection": CONNECTION, "sid": "sid", "created_at": now}),
        ),
        ("logout_tokens", json!({"hash": "logout", "expires_at": later})),
        (
            "service_tokens",
            json!({"id": "svc_01a22dfd5f0c72e2b0ab3c7ad9170439", "org": ORG, "account": ACCOUNT, "name": "CI",
                "enabled": true, "hash": "service", "prefix": "chs_abc", "rotated_at": now, "created_at": now,
                "version": 1}),
        ),
        (
            "expiry_warnings",
            json!({"subject": "x", "expires_at": later, "days": 7, "sent_at": now}),
        ),
        (
            "webhooks",
            json!({"id": WEBHOOK, "org": ORG, "name": "SIEM", "enabled": true,
                "spec": "{\"name\":\"SIEM\",\"url\":\"https://siem.example.com\",\"events\":[\"*\"]}",
                "secret": seal(WEBHOOK), "position": 0, "created_at": now, "version": 1}),
        ),
        (
            "webhook_deliveries",
            json!({"id": "whd_01a22dfd5f0c72e2b0ab3c7ad9170440", "webhook": WEBHOOK, "event": "evt_01a22dfd5f0c72e2b0ab3c7ad9170441",
                "action": "app.create", "body": "{}", "state": "pending", "attempts": 0, "next_at": later,
                "leased_until": 0, "created_at": now}),
        ),
        (
            "connection_migrations",
            json!({"id": MIGRATION, "org": ORG, "from_connection": CONNECTION, "to_connection": SECOND,
                "domains": "[]", "link_on_sign_in": true, "state": "side_by_side", "undo": "{\"made\":[],\"first\":[],\"cut_over\":[],\"primary\":null}",
                "created_at": now, "version": 1}),
        ),
        (
            "connection_links",
            json!({"migration": MIGRATION, "from_user": USER, "to_user": OTHER, "state": "proposed", "manual": false}),
        ),
        (
            "deep_links",
            json!({"hash": "link", "network": "x", "target": "/", "expires_at": later}),
        ),
        (
            "attempts",
            json!({"subject": "x", "act": "password", "place": "", "failures": 1, "open_at": now, "touched_at": now}),
        ),
        (
            "known_places",
            json!({"subject": "x", "place": "x", "seen_at": now}),
        ),
        ("notices", json!({"name": "proxy", "detail": "x", "at": now})),
        (
            "hosts",
            json!({"id": HOST, "org": ORG, "name": "wiki.example.com", "account": ACCOUNT, "created_at": now,
                "version": 1}),
        ),
        ("host_shares", json!({"host": HOST, "account": ACCOUNT})),
        ("spent_forms", json!({"hash": "form", "expires_at": later})),
        (
            "upstream_tokens",
            json!({"user_id": USER, "connection": CONNECTION, "client": "c", "token": "sealed", "asked_at": now,
                "used_at": now}),
        ),
        (
            "pending_logins",
            json!({"hash": "pending", "holder": "x", "data": "x", "expires_at": later}),
        ),
        ("leases", json!({"name": "x", "holder": "x", "until": 0})),
        (
            "agent_documents",
            json!({"id": "doc_01a22dfd5f1976cf8b51d16e3819625b", "org": ORG,
                "client_id": "https://agent.example.com/client.json", "decision": "pin",
                "document": "{\"client_id\":\"https://agent.example.com/client.json\"}", "fetched_at": now,
                "created_at": now, "version": 1}),
        ),
        (
            "fetched_documents",
            json!({"client_id": "https://agent.example.com/client.json", "document": "{}", "fetched_at": now,
                "tried_at": now, "used_at": now}),
        ),
    ]
}

/// A connection of either engine.
enum Raw {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Raw {
    async fn to(database: &Database) -> Self {
        if database.is_postgres() {
            return Self::Postgres(PgConnection::connect(&database.url).await.unwrap());
        }
        let url = format!("{}?mode=rwc", database.url);
        Self::Sqlite(SqliteConnection::connect(&url).await.unwrap())
    }

    async fn migrate(&mut self, to: i64) {
        match self {
            Self::Sqlite(connection) => MIGRATIONS.run_direct(Some(to), connection, false).await.unwrap(),
            Self::Postgres(connection) => MIGRATIONS.run_direct(Some(to), connection, false).await.unwrap(),
        }
    }

    /// The first two columns as text.
    async fn ask(&mut self, sql: &str) -> Vec<(Option<String>, Option<String>)> {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(connection) => {
                let rows = sqlx::query(sql).fetch_all(connection).await.unwrap();
                rows.iter().map(|row| (row.get(0), row.get(1))).collect()
            }
            Self::Postgres(connection) => {
                let rows = sqlx::query(sql).fetch_all(connection).await.unwrap();
                rows.iter().map(|row| (row.get(0), row.get(1))).collect()
            }
        }
    }

    /// Tables with their columns.
    async fn columns(&mut self) -> Vec<(String, String)> {
        let sql = match self {
            Self::Sqlite(_) => {
                "SELECT t.name, c.name FROM sqlite_master t JOIN pragma_table_info(t.name) c WHERE t.type = 'table'"
            }
            Self::Postgres(_) => {
                "SELECT table_name::text, column_name::text FROM information_schema.columns \
                 WHERE table_schema = current_schema()"
            }
        };
        let rows = self.ask(sql).await;
        rows.into_iter()
            .map(|(table, column)| (table.unwrap(), column.unwrap()))
            .collect()
    }

    /// Puts in what this schema takes of the rows, and says what that is.
    async fn fill(&mut self, database: &Database, vault: &Vault) -> Vec<(&'static str, Map<String, Value>)> {
        let there = self.columns().await;
        let mut taken = Vec::new();
        for (table, row) in rows(vault) {
            let Value::Object(mut row) = row else {
                panic!("{table}")
            };
            row.retain(|column, _| there.iter().any(|(t, c)| t == table && c == column));
            if row.is_empty() {
                continue;
            }
            let literal = |value: &Value| match value {
                Value::String(text) => format!("'{}'", text.replace('\'', "''")),
                other => other.to_string(),
            };
            let columns: Vec<&str> = row.keys().map(String::as_str).collect();
            let values: Vec<String> = row.values().map(literal).collect();
            // The migration that made hosts made one of each app that there was.
            let sql = format!(
                "INSERT INTO {table} ({}) VALUES ({}) ON CONFLICT DO NOTHING",
                columns.join(", "),
                values.join(", ")
            );
            database.execute(&sql).await;
            taken.push((table, row));
        }
        for (table, _) in &there {
            let known = OWN.contains(&table.as_str()) || table.starts_with("sqlite_");
            assert!(
                known || taken.iter().any(|(t, _)| t == table),
                "{table} has no row in this test"
            );
        }
        taken
    }

    /// Whether a row is there as it was, but for what migrations change on purpose.
    async fn holds(&mut self, table: &str, row: &Map<String, Value>) -> bool {
        let there = self.columns().await;
        let mut conditions = Vec::new();
        for (column, value) in row {
            if CHANGED.contains(&(table, column)) || !there.iter().any(|(t, c)| t == table && c == column) {
                continue;
            }
            conditions.push(match value {
                Value::String(text) => format!("{column} = '{}'", text.replace('\'', "''")),
                other => format!("{column} = {other}"),
            });
        }
        let sql = format!("SELECT 'x', 'y' FROM {table} WHERE {}", conditions.join(" AND "));
        self.ask(&sql).await.len() == 1
    }
}

// Plans are for tables of ordinary size: none of this is explained.
fn options<'a>(database: &'a Database, key: &'a MasterKey) -> Options<'a> {
    Options {
        database_url: &database.url,
        master_key: key,
        clock: Clock::manual(START),
        control_url: CONTROL,
        pools: store::Pools::default(),
    }
}

async fn open(database: &Database, key: &MasterKey, schema: Upgrade) -> Result<Store, Error> {
    let opening = Opening {
        schema,
        ..Opening::default()
    };
    Store::open_with(options(database, key), opening).await
}

/// Reads one of everything.
async fn tour(store: &Store) {
    let id = |text: &str| -> OrgId { text.parse().unwrap() };
    let (org, now) = (&id(ORG), START.plus_seconds(1));
    let user: UserId = USER.parse().unwrap();
    let connection: ConnectionId = CONNECTION.parse().unwrap();
    let one = |what: &str, n: usize| assert_eq!(n, 1, "{what}");
    one("organisations", store::org::all(store).await.unwrap().len());
    one(
        "accounts",
        store::org::accounts(store, org, None, &Paging::default())
            .await
            .unwrap()
            .len(),
    );
    let members = store::org::members(store, org, &Default::default(), &Paging::default()).await;
    one("members", members.unwrap().len());
    let connections = store::connection::list(store, org, None, &Paging::default()).await;
    assert_eq!(connections.unwrap().len(), 2);
    let bindings = store::binding::list(store, org, (None, None), None, &Paging::default()).await;
    one("bindings", bindings.unwrap().len());
    let people = store::user::list(store, org, (None, None), &Paging::default()).await;
    assert_eq!(people.unwrap().len(), 2);
    store::user::get(store, org, &user).await.unwrap();
    let apps = store::app::list(store, org, None, &Paging::default()).await;
    one("apps", apps.unwrap().len());
    let policies = store::rule::list::<Policy>(store, org, None, &Paging::default()).await;
    one("policies", policies.unwrap().len());
    let groups = store::rule::list::<Group>(store, org, None, &Paging::default()).await;
    one("groups", groups.unwrap().len());
    let clients = store::client::list(store, org, Default::default(), now, &Paging::default()).await;
    one("clients", clients.unwrap().len());
    let grants = store::grant::list(store, org, Default::default(), now, &Paging::default()).await;
    one("grants", grants.unwrap().len());
    let sessions = store::session::list(store, org, None, now, &Paging::default()).await;
    one("sessions", sessions.unwrap().len());
    let tokens = store::api_token::list(store, org, &Default::default(), &Paging::default()).await;
    one("API tokens", tokens.unwrap().len());
    one(
        "signing keys",
        store::key::list(store, org, now).await.unwrap().len(),
    );
    store::key::all(store).await.unwrap();
    store::factor::list(store, &user, &Paging::default())
        .await
        .unwrap();
    let trials = store::trial::list(store, (org, &connection), &Paging::default()).await;
    trials.unwrap();
    let migrations = store::migration::list(store, org, &Paging::default()).await;
    migrations.unwrap();
    store::host::list(store, org, None, &Paging::default())
        .await
        .unwrap();
    let invitations = store::invitation::list(store, org, &Default::default(), now, &Paging::default()).await;
    invitations.unwrap();
    let mappings = store::role_mapping::list(store, org, (None, None), &Paging::default()).await;
    mappings.unwrap();
    let services = store::service_token::list(store, org, None, &Paging::default()).await;
    services.unwrap();
    let webhooks = store::webhook::list(store, org, None, &Paging::default()).await;
    webhooks.unwrap();
    let webhook: WebhookId = WEBHOOK.parse().unwrap();
    let deliveries = store::webhook::deliveries(store, &webhook, None, &Paging::default()).await;
    deliveries.unwrap();
    store.reload().await.unwrap();
    assert_eq!(store.directory().unreadable(), []);
}

#[tokio::test]
async fn a_database_of_each_earlier_version_is_brought_up_to_date_with_all_that_is_in_it() {
    for migration in MIGRATIONS.iter() {
        for (engine, database) in databases().await {
            println!("from {} on {engine}", migration.version);
            let key = MasterKey::generate().unwrap();
            let vault = Vault::new(&key).unwrap();
            let mut raw = Raw::to(&database).await;
            raw.migrate(migration.version).await;
            let rows = raw.fill(&database, &vault).await;
            let store = open(&database, &key, Upgrade::Always).await.unwrap();
            tour(&store).await;
            for (table, row) in &rows {
                assert!(raw.holds(table, row).await, "{table} {row:?}");
            }
            // It can be used: an ordinary change, and one more of it.
            let account = wire::AccountSpec {
                name: "New".into(),
                ..testkit::from_json(json!({"name": "New"}))
            };
            let mut tx = store.begin().await.unwrap();
            let org: OrgId = ORG.parse().unwrap();
            store::org::create_account(&mut tx, &org, account).await.unwrap();
            tx.commit_housekeeping().await.unwrap();
            store.close().await;
            database.remove().await;
        }
    }
}

/// What the next version's migration does to a database, as far as this version can be told from it: columns in every
/// table, a table, and its own mark.
async fn next_version(database: &Database, raw: &mut Raw) -> i64 {
    let next = MIGRATIONS.iter().map(|m| m.version).max().unwrap() + 1;
    let mut tables: Vec<String> = raw.columns().await.into_iter().map(|(table, _)| table).collect();
    tables.dedup();
    tables.sort();
    tables.dedup();
    for table in tables
        .iter()
        .filter(|t| !t.starts_with("sqlite_") && !t.starts_with("_sqlx"))
    {
        let sql = format!("ALTER TABLE {table} ADD COLUMN of_the_next_version TEXT");
        database.execute(&sql).await;
    }
    database
        .execute("CREATE TABLE things_of_the_next_version (id TEXT NOT NULL PRIMARY KEY)")
        .await;
    let checksum = if database.is_postgres() {
        "'\\x00'"
    } else {
        "x'00'"
    };
    let sql = format!(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES ({next}, 'next', TRUE, {checksum}, 0)"
    );
    database.execute(&sql).await;
    next
}

#[tokio::test]
async fn a_version_goes_on_while_the_next_one_is_rolled_out_and_may_be_started_anew() {
    for (engine, database) in databases().await {
        println!("on {engine}");
        let key = MasterKey::generate().unwrap();
        let store = open(&database, &key, Upgrade::Always).await.unwrap();
        let mut raw = Raw::to(&database).await;
        raw.fill(&database, &Vault::new(&key).unwrap()).await;
        tour(&store).await;
        let next = next_version(&database, &mut raw).await;
        // On connections that have planned the same statements before.
        for _ in 0..10 {
            tour(&store).await;
        }
        let again = open(&database, &key, Upgrade::Always).await.unwrap();
        tour(&again).await;
        again.close().await;
        let never = open(&database, &key, Upgrade::Never).await.unwrap();
        never.close().await;
        let told = store::upgrade(&database.url).await.unwrap();
        assert_eq!((told.from, told.to), (Some(next), next));
        assert!(told.newest < next);

        // The version after that takes something away.
        database
            .execute(&format!("UPDATE schema_readers SET oldest = {next}"))
            .await;
        for schema in [Upgrade::Always, Upgrade::IfEmpty, Upgrade::Never] {
            let refused = open(&database, &key, schema).await.err().unwrap().to_string();
            assert!(
                refused.contains(&format!("schema {next}, made by a newer version")),
                "{refused}"
            );
        }
        store.close().await;
        database.remove().await;
    }
}

#[tokio::test]
async fn a_statement_that_was_planned_for_another_schema_is_planned_anew() {
    for (engine, database) in databases().await {
        if engine == "SQLite" {
            database.remove().await;
            continue;
        }
        let key = MasterKey::generate().unwrap();
        let store = open(&database, &key, Upgrade::Always).await.unwrap();
        let mut raw = Raw::to(&database).await;
        raw.fill(&database, &Vault::new(&key).unwrap()).await;
        // Often enough that every connection has planned it.
        for _ in 0..10 {
            tour(&store).await;
        }
        database
            .execute("ALTER TABLE users ALTER COLUMN name TYPE VARCHAR(400); ALTER TABLE grants ALTER COLUMN scopes TYPE VARCHAR(400)")
            .await;
        tour(&store).await;
        store.close().await;
        database.remove().await;
    }
}

#[tokio::test]
async fn a_schema_changes_only_when_it_is_meant_to() {
    for (engine, database) in databases().await {
        println!("on {engine}");
        let key = MasterKey::generate().unwrap();
        let told = |opened: Result<Store, Error>| opened.err().unwrap().to_string();
        let nothing = told(open(&database, &key, Upgrade::Never).await);
        assert!(
            nothing.contains("there is nothing in the database yet"),
            "{nothing}"
        );
        if let Some(file) = store::sqlite_file(&database.url) {
            assert!(!file.exists(), "asking made a database");
        }
        let mut raw = Raw::to(&database).await;
        // Somebody else's.
        database.execute("CREATE TABLE posts (id TEXT)").await;
        for schema in [Upgrade::Always, Upgrade::IfEmpty, Upgrade::Never] {
            let foreign = told(open(&database, &key, schema).await);
            assert!(foreign.contains("something else (posts)"), "{foreign}");
        }
        database.execute("DROP TABLE posts").await;
        raw.migrate(22).await;
        for schema in [Upgrade::Never, Upgrade::IfEmpty] {
            let older = told(open(&database, &key, schema).await);
            assert!(older.contains("has schema 22"), "{older}");
            assert!(older.contains("chatelaine migrate"), "{older}");
        }
        let done = store::upgrade(&database.url).await.unwrap();
        assert_eq!((done.from, done.to), (Some(22), done.newest));
        let done = store::upgrade(&database.url).await.unwrap();
        assert_eq!((done.from, done.to), (Some(done.newest), done.newest));
        open(&database, &key, Upgrade::Never).await.unwrap().close().await;

        // Not the migration that this version knows by that number.
        let checksum = if database.is_postgres() {
            "'\\x00'"
        } else {
            "x'00'"
        };
        database
            .execute(&format!(
                "UPDATE _sqlx_migrations SET checksum = {checksum} WHERE version = 3"
            ))
            .await;
        database
            .execute("DELETE FROM _sqlx_migrations WHERE version = 27; DROP TABLE schema_readers")
            .await;
        let other = told(open(&database, &key, Upgrade::Always).await);
        assert!(other.contains("another build made it"), "{other}");
        database.remove().await;
    }
}

#[tokio::test]
async fn what_plans_go_by_is_looked_at_with_each_sweep() {
    for (_, database) in databases().await {
        let key = MasterKey::generate().unwrap();
        let store = open(&database, &key, Upgrade::Always).await.unwrap();
        let mut raw = Raw::to(&database).await;
        raw.fill(&database, &Vault::new(&key).unwrap()).await;
        store::retention::sweep(&store).await.unwrap();
        if !database.is_postgres() {
            assert!(!raw.ask("SELECT tbl, stat FROM sqlite_stat1").await.is_empty());
        }
        store.close().await;
        database.remove().await;
    }
}

/// A migration that takes away what the version before needs has to say so.
#[test]
fn a_migration_that_contracts_says_which_versions_may_still_use_the_schema() {
    for migration in MIGRATIONS.iter().filter(|m| m.version > 27) {
        let text = migration.sql.as_str().to_uppercase();
        let text: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("--"))
            .collect();
        let text = text.join(" ").split_whitespace().collect::<Vec<_>>().join(" ");
        let adds_mandatory = text
            .split("ADD COLUMN")
            .skip(1)
            .filter_map(|rest| rest.split([';', ',']).next())
            .any(|column| column.contains("NOT NULL") && !column.contains("DEFAULT"));
        let contracts = ["DROP TABLE", "DROP COLUMN", "RENAME", "ALTER COLUMN"]
            .iter()
            .any(|word| text.contains(word))
            || adds_mandatory;
        assert!(
            !contracts || text.contains("UPDATE SCHEMA_READERS SET OLDEST"),
            "migration {} takes something away from older versions and does not say so in schema_readers",
            migration.version
        );
    }
}
