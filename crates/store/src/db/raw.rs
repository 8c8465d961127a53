//! A connection beside the pools, and what the database says of its own schema.

use crate::sql::{Arg, Row, Sql};
use crate::{Error, Result};
use futures_util::TryStreamExt as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection, SqliteConnection};
use std::collections::{BTreeMap, BTreeSet};

/// A connection of either engine, without limits of time.
pub(crate) enum Raw<'a> {
    Sqlite(&'a mut SqliteConnection),
    Postgres(&'a mut PgConnection),
}

/// What a column holds: one of the three types that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Text,
    Int,
    Flag,
}

impl Kind {
    fn read(name: &str) -> Result<Self> {
        match name.to_ascii_lowercase().as_str() {
            "text" => Ok(Self::Text),
            "bigint" => Ok(Self::Int),
            "boolean" => Ok(Self::Flag),
            other => Err(Error::internal(format!("a column of type {other}"))),
        }
    }

    pub(crate) fn value(self, row: &Row, name: &str) -> Result<Value> {
        Ok(match self {
            Self::Text => row.opt_text(name)?.into(),
            Self::Int => row.opt_time(name)?.map(|n| n.0).into(),
            Self::Flag => row.flag(name)?.into(),
        })
    }

    pub(crate) fn arg(self, value: Value) -> Option<Arg> {
        match (self, value) {
            (Self::Text, Value::Null) => Some(Arg::Text(None)),
            (Self::Text, Value::String(text)) => Some(Arg::Text(Some(text))),
            (Self::Int, Value::Null) => Some(Arg::Int(None)),
            (Self::Int, Value::Number(n)) => n.as_i64().map(|n| Arg::Int(Some(n))),
            (Self::Flag, Value::Bool(flag)) => Some(Arg::Flag(flag)),
            _ => None,
        }
    }
}

/// A table with its columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) columns: Vec<(String, Kind)>,
}

impl Table {
    /// Its columns, for a statement.
    pub(crate) fn list(&self) -> String {
        let names: Vec<String> = self
            .columns
            .iter()
            .map(|(name, _)| format!("\"{name}\""))
            .collect();
        names.join(", ")
    }
}

impl Raw<'_> {
    pub(crate) async fn rows(&mut self, sql: Sql) -> Result<Vec<Row>> {
        match self {
            Self::Sqlite(connection) => {
                let (text, args) = sql.for_sqlite()?;
                let query = sqlx::query_with(AssertSqlSafe(text), args);
                let rows = query.fetch_all(&mut **connection).await?;
                Ok(rows.into_iter().map(Row::Sqlite).collect())
            }
            Self::Postgres(connection) => {
                let (text, args) = sql.for_postgres()?;
                let query = sqlx::query_with(AssertSqlSafe(text), args);
                let rows = query.fetch_all(&mut **connection).await?;
                Ok(rows.into_iter().map(Row::Postgres).collect())
            }
        }
    }

    pub(crate) async fn run(&mut self, sql: Sql) -> Result<()> {
        match self {
            Self::Sqlite(connection) => {
                let (text, args) = sql.for_sqlite()?;
                let query = sqlx::query_with(AssertSqlSafe(text), args);
                query.execute(&mut **connection).await?;
            }
            Self::Postgres(connection) => {
                let (text, args) = sql.for_postgres()?;
                let query = sqlx::query_with(AssertSqlSafe(text), args);
                query.execute(&mut **connection).await?;
            }
        }
        Ok(())
    }

    /// Gives every row of a statement to `take`, one at a time: there may be more than memory holds.
    pub(crate) async fn each(&mut self, text: String, mut take: impl FnMut(Row) -> Result<()>) -> Result<()> {
        match self {
            Self::Sqlite(connection) => {
                let mut rows = sqlx::query(AssertSqlSafe(text)).fetch(&mut **connection);
                while let Some(row) = rows.try_next().await? {
                    take(Row::Sqlite(row))?;
                }
            }
            Self::Postgres(connection) => {
                let mut rows = sqlx::query(AssertSqlSafe(text)).fetch(&mut **connection);
                while let Some(row) = rows.try_next().await? {
                    take(Row::Postgres(row))?;
                }
            }
        }
        Ok(())
    }

    /// All tables of the product, each after those that it refers to.
    pub(crate) async fn tables(&mut self) -> Result<Vec<Table>> {
        let names = match self {
            Self::Sqlite(_) => {
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
                 AND name <> '_sqlx_migrations' ORDER BY name"
            }
            Self::Postgres(_) => {
                "SELECT table_name::text AS name FROM information_schema.tables WHERE table_schema = current_schema() \
                 AND table_type = 'BASE TABLE' AND table_name <> '_sqlx_migrations' ORDER BY table_name"
            }
        };
        let mut waiting = BTreeMap::new();
        for row in self.rows(Sql::new(names)).await? {
            let name = row.text("name")?;
            let columns = self.columns(&name).await?;
            let parents = self.parents(&name).await?;
            waiting.insert(name.clone(), (Table { name, columns }, parents));
        }
        let mut tables: Vec<Table> = Vec::with_capacity(waiting.len());
        while !waiting.is_empty() {
            let free = waiting
                .iter()
                .find(|(name, (_, parents))| parents.iter().all(|p| p == *name || !waiting.contains_key(p)));
            let name = free.map(|(name, _)| name.clone());
            let name = name.ok_or_else(|| Error::internal("tables refer to each other in a circle"))?;
            tables.extend(waiting.remove(&name).map(|(table, _)| table));
        }
        Ok(tables)
    }

    async fn columns(&mut self, table: &str) -> Result<Vec<(String, Kind)>> {
        let sql = match self {
            Self::Sqlite(_) => "SELECT name, type AS kind FROM pragma_table_info($1) ORDER BY cid",
            Self::Postgres(_) => {
                "SELECT column_name::text AS name, data_type::text AS kind FROM information_schema.columns \
                 WHERE table_schema = current_schema() AND table_name = $1 ORDER BY column_name"
            }
        };
        let rows = self.rows(Sql::new(sql).bind(table)).await?;
        let mut columns = Vec::with_capacity(rows.len());
        for row in rows {
            columns.push((row.text("name")?, Kind::read(&row.text("kind")?)?));
        }
        // In one order on both engines, whatever was added when.
        columns.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(columns)
    }

    async fn parents(&mut self, table: &str) -> Result<BTreeSet<String>> {
        let sql = match self {
            Self::Sqlite(_) => "SELECT \"table\" AS parent FROM pragma_foreign_key_list($1)",
            Self::Postgres(_) => {
                "SELECT p.relname::text AS parent FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid \
                 JOIN pg_class p ON p.oid = c.confrelid \
                 WHERE c.contype = 'f' AND t.relname = $1 AND t.relnamespace = current_schema()::regnamespace"
            }
        };
        let rows = self.rows(Sql::new(sql).bind(table)).await?;
        rows.iter().map(|row| row.text("parent")).collect()
    }

    /// One of the tables that there are, of whatever.
    pub(crate) async fn foreign_table(&mut self) -> Result<Option<String>> {
        let one = match self {
            Self::Sqlite(_) => {
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' \
                 AND name <> '_sqlx_migrations' LIMIT 1"
            }
            Self::Postgres(_) => {
                "SELECT table_name::text AS name FROM information_schema.tables WHERE table_schema = current_schema() \
                 AND table_type = 'BASE TABLE' AND table_name <> '_sqlx_migrations' LIMIT 1"
            }
        };
        let rows = self.rows(Sql::new(one)).await?;
        rows.first().map(|row| row.text("name")).transpose()
    }

    /// Which migrations the schema went through, the last one last; none where there is nothing.
    pub(crate) async fn schema(&mut self) -> Result<Vec<i64>> {
        let known = match self {
            Self::Sqlite(_) => "SELECT name FROM sqlite_master WHERE name = '_sqlx_migrations'",
            Self::Postgres(_) => {
                "SELECT table_name::text AS name FROM information_schema.tables \
                 WHERE table_schema = current_schema() AND table_name = '_sqlx_migrations'"
            }
        };
        if self.rows(Sql::new(known)).await?.is_empty() {
            return Ok(Vec::new());
        }
        let versions = Sql::new("SELECT version FROM _sqlx_migrations ORDER BY version");
        let rows = self.rows(versions).await?;
        rows.iter().map(|row| row.int("version")).collect()
    }
}
