//! Whether a statement reads as a whole a table that grows. In tests only: each statement is explained by its engine when it
//! is first seen, and one that has no index to go by stops the test, unless [`WHOLE`] says why it may.

use crate::sql::Sql;
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Executor as _, Row as _};
use std::collections::HashSet;
use std::sync::{Mutex, OnceLock, PoisonError};

/// Beginnings of statements that may read a table as a whole, and why.
const WHOLE: &[(&str, &str)] = &[
    (select!(organisations), "few, and what the directory is made of"),
    (
        select!(accounts, "WHERE 1 = 1"),
        "the directory, when a server starts or reloads",
    ),
    (select!(apps, "WHERE 1 = 1"), "the directory"),
    (select!(policies, "WHERE 1 = 1"), "the directory"),
    (select!(user_groups, "WHERE 1 = 1"), "the directory"),
    (select!(bindings, "WHERE 1 = 1"), "the directory"),
    (
        "SELECT id, org, spec FROM connections WHERE account IS NULL",
        "the directory",
    ),
    (
        "SELECT id, account, spec FROM connections WHERE account IS NOT NULL",
        "the directory",
    ),
    ("SELECT host, account FROM host_shares", "the directory"),
    (select!(agent_documents, "WHERE 1 = 1"), "the directory"),
    (
        select!(signing_keys, "WHERE (not_after"),
        "the keyring: a few keys of each organisation",
    ),
    ("SELECT id FROM organisations LIMIT", "two rows"),
    (
        select!(audit_heads),
        "one row of each organisation, when a server starts or the log is verified",
    ),
    (
        concat!("SELECT ", webhooks!("w"), ", h.seq AS head FROM webhooks"),
        "webhooks are few, and all of them are looked after",
    ),
    (select!(webhooks, "w WHERE w.enabled"), "webhooks are few"),
    (
        concat!("SELECT ", apps!("a"), " FROM apps a JOIN hosts h"),
        "`doctor`, when somebody asks",
    ),
    (
        "DELETE FROM clients WHERE (id) IN (SELECT id FROM (SELECT id, created_at, ROW_NUMBER()",
        "now and then, of clients that nobody used yet, of which each app keeps a few",
    ),
    (
        "DELETE FROM clients WHERE id = ANY (ARRAY (SELECT id FROM (SELECT id, created_at, ROW_NUMBER()",
        "the same",
    ),
    (
        "DELETE FROM refresh_tokens WHERE hash = ANY (ARRAY (SELECT hash FROM grants g",
        "of a table that gets no new rows",
    ),
    (
        "SELECT org, seq, hash, answers FROM audit_heads",
        "one row of each organisation, every few seconds",
    ),
    (
        "SELECT MAX(e.time) AS at FROM audit_heads",
        "one row of each organisation, after a restore",
    ),
];

/// Beginnings of statements that are meant for whole tables: a restore ends everything (`backup/aftermath.rs`).
const ALL: &[&str] = &[
    "UPDATE grants SET revoked_at = $1, revoked_reason = $2 WHERE revoked_at IS NULL RETURNING",
    "DELETE FROM sessions WHERE 1 = 1 RETURNING",
    "DELETE FROM api_tokens WHERE 1 = 1 RETURNING",
    "UPDATE invitations SET revoked_at = $1 WHERE accepted_at IS NULL AND revoked_at IS NULL RETURNING",
    "SELECT id FROM service_tokens ORDER BY id",
    "SELECT id, org, not_after AS before FROM signing_keys",
    "UPDATE clients SET registration_hash = NULL",
    "UPDATE connection_trials SET expires_at = $1 WHERE expires_at > $1",
    "UPDATE second_factors SET counter = $1 WHERE kind",
    "SELECT COUNT(DISTINCT user_id) AS n FROM recovery_codes",
    "SELECT COUNT(*) AS n FROM grants WHERE revoked_at IS NULL",
    "SELECT COUNT(*) AS n FROM sessions WHERE user_id IS NOT NULL",
    "SELECT COUNT(*) AS n FROM api_tokens",
    "DELETE FROM changes WHERE 1 = 1",
    "DELETE FROM codes WHERE 1 = 1",
    "DELETE FROM deep_links WHERE 1 = 1",
    "DELETE FROM email_codes WHERE 1 = 1",
    "DELETE FROM handoffs WHERE 1 = 1",
    "DELETE FROM idempotency_keys WHERE 1 = 1",
    "DELETE FROM leases WHERE 1 = 1",
    "DELETE FROM pending_logins WHERE 1 = 1",
    "DELETE FROM recovery_codes WHERE 1 = 1",
    "DELETE FROM refresh_tokens WHERE 1 = 1",
    "DELETE FROM upstream_sessions WHERE 1 = 1",
    "DELETE FROM upstream_tokens WHERE 1 = 1",
];

static SEEN: OnceLock<Mutex<HashSet<String>>> = OnceLock::new();

/// Has all statements of this process explained from here on, before any store is opened. For tests.
pub fn explain_statements() {
    SEEN.get_or_init(Mutex::default);
}

/// Whether connections are to plan as if tables were large already, however few rows a test has.
pub(crate) fn is_on() -> bool {
    SEEN.get().is_some()
}

/// Where plans are judged, PostgreSQL plans by what it knows of empty tables, whenever it would look: so that they do not depend
/// on the moment.
pub(super) async fn keep_plans(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    if !is_on() {
        return Ok(());
    }
    let each = "DO $$ DECLARE t text; BEGIN \
                FOR t IN SELECT table_name FROM information_schema.tables \
                WHERE table_schema = current_schema() AND table_type = 'BASE TABLE' ORDER BY table_name \
                LOOP EXECUTE format('ALTER TABLE %I SET (autovacuum_enabled = false)', t); END LOOP; END $$";
    connection.execute(each).await.map(drop)
}

/// Whether a statement is new, and may read more rows than it names.
fn is_news(engine: &str, text: &str) -> bool {
    let Some(seen) = SEEN.get() else { return false };
    if text.starts_with("INSERT") && !text.contains("SELECT") {
        return false;
    }
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    let is_news = seen.insert(format!("{engine} {text}"));
    // What a newer version adds to a table must not change what this one is answered.
    let stars = text.replace("COUNT(*)", "");
    assert!(
        !is_news || !stars.contains('*'),
        "this does not say which columns it reads:\n{text}"
    );
    is_news
}

/// Stops the test of a statement that reads a table as a whole.
fn judge(text: &str, plan: &[String], scanned: &[&String]) {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let may = |(beginning, _): &(&str, &str)| text.starts_with(beginning);
    assert!(
        scanned.is_empty() || WHOLE.iter().any(may) || ALL.iter().any(|all| text.starts_with(all)),
        "this reads a table as a whole, and `WHOLE` in db/explain.rs does not say why:\n{text}\n{}",
        plan.join("\n")
    );
}

/// Explains a statement to SQLite, whose plans do not depend on how much there is.
pub(super) async fn sqlite(connection: &mut SqliteConnection, sql: &Sql) {
    if !is_news("sqlite", &sql.text) {
        return;
    }
    let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", sql.text));
    // What cannot be explained fails by itself.
    let Ok(rows) = connection.fetch_all(explain).await else {
        return;
    };
    let plan: Vec<String> = rows.iter().filter_map(|row| row.try_get("detail").ok()).collect();
    let scanned: Vec<_> = plan.iter().filter(|line| line.starts_with("SCAN ")).collect();
    judge(&sql.text, &plan, &scanned);
}

/// Explains a statement to PostgreSQL, which is told to avoid reading tables as a whole (see [`is_on`]). Where it does so all
/// the same, by an index without a condition, too, it has no other way.
pub(super) async fn postgres(connection: &mut PgConnection, sql: &Sql) {
    /// To find as many things as this by name, reading all may be the shortest way; with fewer, the same text is judged.
    const MANY: usize = 64;
    if sql.args.len() > MANY || !is_news("postgres", &sql.text) {
        return;
    }
    let Ok((text, args)) = sql.clone().for_postgres() else {
        return;
    };
    let explain = AssertSqlSafe(format!("EXPLAIN {text}"));
    let Ok(rows) = sqlx::query_with(explain, args).fetch_all(connection).await else {
        return;
    };
    let plan: Vec<String> = rows.iter().filter_map(|row| row.try_get(0).ok()).collect();
    let is_whole = |(n, line): &(usize, &String)| {
        let details = plan[n + 1..].iter().take_while(|line| !line.contains("->"));
        let mut details = details.filter(|line| line.contains("Index Cond"));
        line.contains("Seq Scan on") || (line.contains("Scan using") && details.next().is_none())
    };
    let scanned: Vec<_> = plan
        .iter()
        .enumerate()
        .filter(is_whole)
        .map(|(_, line)| line)
        .collect();
    judge(&sql.text, &plan, &scanned);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::{Db, Pools, Purpose, Upgrade};
    use crate::sql::Run as _;
    use futures_util::FutureExt as _;
    use std::panic::AssertUnwindSafe;

    async fn stops(text: &'static str) -> bool {
        explain_statements();
        let folder = std::env::temp_dir().join(format!("plan_{}", wire::EventId::fresh()));
        let url = format!("sqlite:{}", folder.join("t.db").display());
        let db = Db::open(&url, Pools::default(), Upgrade::Always).await.unwrap();
        let mut statements = db.on(Purpose::Control);
        let stopped = AssertUnwindSafe(statements.rows(Sql::new(text)))
            .catch_unwind()
            .await;
        std::fs::remove_dir_all(folder).unwrap();
        stopped.map(|rows| rows.unwrap()).is_err()
    }

    #[tokio::test]
    async fn a_statement_without_index_stops_its_test() {
        assert!(stops("SELECT id FROM grants WHERE redirect_uri = 'x'").await);
        assert!(stops("DELETE FROM grants WHERE redirect_uri = 'x'").await);
        assert!(!stops("SELECT id FROM grants WHERE org = 'x' ORDER BY id LIMIT 3").await);
        assert!(!stops(select!(organisations, "ORDER BY id")).await);
    }
}
