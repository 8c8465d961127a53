//! One SQL text on two engines. Statements are text with `$n` placeholders and arguments of the three
//! column types that both engines share; rows are read by column name. What else differs between the engines is in
//! [`crate::db`].

use crate::{Error, Result};
use serde::{Serialize, de::DeserializeOwned};
use sqlx::{
    Arguments as _, Row as _,
    postgres::{PgArguments, PgRow},
    sqlite::{SqliteArguments, SqliteRow},
};
use std::fmt::Write as _;
use std::future::Future;
use wire::{Id, Timestamp};

/// An argument: one of the three column types, or NULL of it.
#[derive(Debug, Clone)]
pub(crate) enum Arg {
    Text(Option<String>),
    Int(Option<i64>),
    Flag(bool),
}

impl From<&str> for Arg {
    fn from(v: &str) -> Self {
        Self::Text(Some(v.to_owned()))
    }
}
impl From<String> for Arg {
    fn from(v: String) -> Self {
        Self::Text(Some(v))
    }
}
impl From<Option<&str>> for Arg {
    fn from(v: Option<&str>) -> Self {
        Self::Text(v.map(ToOwned::to_owned))
    }
}
impl From<Option<String>> for Arg {
    fn from(v: Option<String>) -> Self {
        Self::Text(v)
    }
}
impl From<i64> for Arg {
    fn from(v: i64) -> Self {
        Self::Int(Some(v))
    }
}
impl From<bool> for Arg {
    fn from(v: bool) -> Self {
        Self::Flag(v)
    }
}
impl From<Timestamp> for Arg {
    fn from(v: Timestamp) -> Self {
        Self::Int(Some(v.0))
    }
}
impl From<Option<Timestamp>> for Arg {
    fn from(v: Option<Timestamp>) -> Self {
        Self::Int(v.map(|t| t.0))
    }
}
impl<T: Id> From<&T> for Arg {
    fn from(v: &T) -> Self {
        Self::Text(Some(v.as_str().to_owned()))
    }
}
impl<T: Id> From<Option<&T>> for Arg {
    fn from(v: Option<&T>) -> Self {
        Self::Text(v.map(|id| id.as_str().to_owned()))
    }
}

/// A value as JSON text, for a column that holds JSON.
pub(crate) fn json<T: Serialize>(value: &T) -> Result<Arg> {
    Ok(Arg::Text(Some(
        serde_json::to_string(value).map_err(Error::internal)?,
    )))
}

/// A fieldless enum by its wire name.
pub(crate) fn word<T: Serialize>(value: T) -> Result<String> {
    match serde_json::to_value(value).map_err(Error::internal)? {
        serde_json::Value::String(text) => Ok(text),
        other => Err(Error::internal(format!("not a word: {other}"))),
    }
}

/// A statement with its arguments. The text is assembled from literals of this crate only; everything
/// that comes from outside is an argument.
#[derive(Debug, Clone)]
pub struct Sql {
    pub(crate) text: String,
    pub(crate) args: Vec<Arg>,
}

impl Sql {
    pub(crate) fn new(text: &'static str) -> Self {
        Self {
            text: text.to_owned(),
            args: Vec::new(),
        }
    }

    /// Text put together from literals of this crate.
    pub(crate) fn assembled(text: String) -> Self {
        Self {
            text,
            args: Vec::new(),
        }
    }

    /// Binds the next placeholder.
    pub(crate) fn bind(mut self, arg: impl Into<Arg>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Appends text without arguments.
    pub(crate) fn then(mut self, text: &'static str) -> Self {
        self.text.push_str(text);
        self
    }

    /// Appends ` AND {condition} $n` when there is a value.
    pub(crate) fn and<A: Into<Arg>>(mut self, condition: &'static str, value: Option<A>) -> Self {
        if let Some(value) = value {
            self.args.push(value.into());
            let n = self.args.len();
            // Writing to a String cannot fail.
            let _ = write!(self.text, " AND {condition} ${n}");
        }
        self
    }

    /// Appends ` AND (a = $n OR b = $n)` when there is a value.
    pub(crate) fn and_either<A: Into<Arg>>(
        mut self,
        (a, b): (&'static str, &'static str),
        value: Option<A>,
    ) -> Self {
        if let Some(value) = value {
            self.args.push(value.into());
            let n = self.args.len();
            let _ = write!(self.text, " AND ({a} = ${n} OR {b} = ${n})");
        }
        self
    }

    /// Appends a condition that `column` contains a text, ignoring ASCII case, when there is one. What is
    /// case beyond ASCII depends on the engine, so that both sides go through its `lower`.
    pub(crate) fn and_contains(self, column: &'static str, text: Option<&str>) -> Self {
        let Some(text) = text else { return self };
        let mut sql = self.bind(format!("%{}%", escape_like(text)));
        let n = sql.args.len();
        let _ = write!(sql.text, " AND lower({column}) LIKE lower(${n}) ESCAPE '\\'");
        sql
    }

    /// Appends a condition that `column` begins with a text, when there is one.
    pub(crate) fn and_begins(self, column: &'static str, text: Option<&str>) -> Self {
        let Some(text) = text else { return self };
        let mut sql = self.bind(format!("{}%", escape_like(text)));
        let n = sql.args.len();
        let _ = write!(sql.text, " AND {column} LIKE ${n} ESCAPE '\\'");
        sql
    }

    /// Appends ` AND {column} IN (…)` when there is a list; an empty list matches nothing.
    pub(crate) fn and_in<T: Id>(mut self, column: &'static str, values: Option<&[T]>) -> Self {
        let Some(values) = values else { return self };
        if values.is_empty() {
            self.text.push_str(" AND 1 = 0");
            return self;
        }
        let _ = write!(self.text, " AND {column} IN (");
        for (i, value) in values.iter().enumerate() {
            self.args.push(value.into());
            let n = self.args.len();
            let _ = write!(self.text, "{}${n}", if i == 0 { "" } else { ", " });
        }
        self.text.push(')');
        self
    }

    /// Appends ` AND {column} IN (…)` for texts; none match nothing.
    pub(crate) fn and_among(mut self, column: &'static str, texts: &[&str]) -> Self {
        if texts.is_empty() {
            return self.then(" AND 1 = 0");
        }
        let _ = write!(self.text, " AND {column} IN (");
        for (i, text) in texts.iter().enumerate() {
            self.args.push((*text).into());
            let n = self.args.len();
            let _ = write!(self.text, "{}${n}", if i == 0 { "" } else { ", " });
        }
        self.then(")")
    }

    /// `ORDER BY id LIMIT` for one page after a cursor. One row more than the page is asked for, so that
    /// the caller knows whether there is a next one.
    pub(crate) fn page<T: Id>(self, page: &Paging<T>) -> Self {
        let mut sql = self.and("id >", page.after.as_ref());
        let _ = write!(sql.text, " ORDER BY id LIMIT {}", i64::from(page.limit) + 1);
        sql
    }

    /// `LIMIT n`.
    pub(crate) fn limit(mut self, n: u32) -> Self {
        let _ = write!(self.text, " LIMIT {n}");
        self
    }

    /// `INSERT INTO table (…) VALUES (…)`.
    pub(crate) fn insert(table: &'static str, values: impl IntoIterator<Item = (&'static str, Arg)>) -> Self {
        let (columns, args): (Vec<_>, Vec<_>) = values.into_iter().unzip();
        let mut text = format!("INSERT INTO {table} ({}) VALUES (", columns.join(", "));
        for n in 1..=columns.len() {
            let _ = write!(text, "{}${n}", if n == 1 { "" } else { ", " });
        }
        text.push(')');
        Self { text, args }
    }

    pub(crate) fn for_sqlite(self) -> Result<(String, SqliteArguments)> {
        let mut args = SqliteArguments::default();
        for arg in self.args {
            match arg {
                Arg::Text(v) => args.add(v.map(without_nul)),
                Arg::Int(v) => args.add(v),
                Arg::Flag(v) => args.add(v),
            }
            .map_err(Error::Internal)?;
        }
        Ok((self.text, args))
    }

    pub(crate) fn for_postgres(self) -> Result<(String, PgArguments)> {
        let mut args = PgArguments::default();
        for arg in self.args {
            match arg {
                Arg::Text(v) => args.add(v.map(without_nul)),
                Arg::Int(v) => args.add(v),
                Arg::Flag(v) => args.add(v),
            }
            .map_err(Error::Internal)?;
        }
        Ok((self.text, args))
    }
}

/// Text for `LIKE … ESCAPE '\'` that stands for itself only.
pub(crate) fn escape_like(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}

/// PostgreSQL refuses NUL in text, and one stranger's NUL must not fail a batch of others' events.
pub(crate) fn without_nul(text: String) -> String {
    if text.contains('\0') {
        text.replace('\0', "\u{fffd}")
    } else {
        text
    }
}

/// Which part of a list is wanted.
#[derive(Debug, Clone)]
pub struct Paging<T> {
    /// Items on a page, 1 to 200.
    pub limit: u32,
    /// The last item of the page before.
    pub after: Option<T>,
}

impl<T> Default for Paging<T> {
    fn default() -> Self {
        Self {
            limit: 200,
            after: None,
        }
    }
}

/// A row of either engine, read by column name.
pub enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

macro_rules! column {
    ($row:expr, $name:expr) => {
        match $row {
            Row::Sqlite(row) => row.try_get($name),
            Row::Postgres(row) => row.try_get($name),
        }
        .map_err(Error::from)
    };
}

impl Row {
    pub(crate) fn text(&self, name: &str) -> Result<String> {
        column!(self, name)
    }
    pub(crate) fn opt_text(&self, name: &str) -> Result<Option<String>> {
        column!(self, name)
    }
    pub(crate) fn int(&self, name: &str) -> Result<i64> {
        column!(self, name)
    }
    pub(crate) fn flag(&self, name: &str) -> Result<bool> {
        column!(self, name)
    }
    pub(crate) fn time(&self, name: &str) -> Result<Timestamp> {
        self.int(name).map(Timestamp)
    }
    pub(crate) fn opt_time(&self, name: &str) -> Result<Option<Timestamp>> {
        let micros: Option<i64> = column!(self, name)?;
        Ok(micros.map(Timestamp))
    }
    pub(crate) fn id<T: Id>(&self, name: &str) -> Result<T> {
        self.text(name)?.parse().map_err(Error::internal)
    }
    /// An identifier, or nothing for NULL and ''.
    pub(crate) fn opt_id<T: Id>(&self, name: &str) -> Result<Option<T>> {
        self.opt_text(name)?
            .filter(|text| !text.is_empty())
            .map(|text| text.parse().map_err(Error::internal))
            .transpose()
    }
    pub(crate) fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        serde_json::from_str(&self.text(name)?).map_err(Error::internal)
    }
    pub(crate) fn word<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        serde_json::from_value(serde_json::Value::String(self.text(name)?)).map_err(Error::internal)
    }
}

/// Something that runs statements: the store itself (each on its own), or a transaction.
pub trait Run: Send {
    #[doc(hidden)]
    fn rows(&mut self, sql: Sql) -> impl Future<Output = Result<Vec<Row>>> + Send;
}

/// One row or nothing.
pub(crate) async fn opt(mut db: impl Run, sql: Sql) -> Result<Option<Row>> {
    Ok(db.rows(sql).await?.into_iter().next())
}
