//! Failed attempts to prove who one is, so that guessing is slow and yet nobody is locked out by others. They are
//! counted in lanes: one for each place that tries (a browser, a network), and one for all strangers together. A place
//! where the person has proven who they are of late has only its own.

use crate::sql::{Run, Sql, opt};
use crate::{Result, Tx};
use wire::Timestamp;

/// How long a place stays known after somebody proved who they are there, in seconds.
pub(crate) const KNOWN: i64 = 90 * 86_400;
/// Known places of one person.
const PLACES: usize = 20;
/// The place of all strangers together.
const STRANGERS: &str = "";

/// Who tries what, and where.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// The person, or whatever else is guessed at.
    pub subject: &'a str,
    /// What kind of attempt it is.
    pub act: &'a str,
    /// The browser, network or session that tries.
    pub place: &'a str,
    /// Whether it is one of the person's own places.
    pub known: bool,
}

/// How often a lane lets somebody try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// So many failures in a row, then one attempt after 1, 2, 4, 8 minutes, and so on up to `longest` minutes.
    Growing {
        /// Failures in a row before attempts must wait.
        free: i64,
        /// The longest wait, in minutes.
        longest: i64,
    },
    /// So many at once, and one more each time that `every` seconds have passed.
    Steady {
        /// Attempts at once.
        burst: i64,
        /// Seconds.
        every: i64,
    },
}

/// The paces of a kind of attempt.
#[derive(Debug, Clone, Copy)]
pub struct Paces {
    /// Of each place.
    pub place: Pace,
    /// Of all strangers together.
    pub strangers: Pace,
}

impl Pace {
    /// The latest `open_at` of a lane that is open now.
    const fn limit(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Growing { .. } => now,
            Self::Steady { burst, every } => now.plus_seconds((burst - 1) * every),
        }
    }
}

impl Attempt<'_> {
    fn lanes(&self, paces: Paces) -> impl Iterator<Item = (&str, Pace)> {
        let strangers = (!self.known).then_some((STRANGERS, paces.strangers));
        std::iter::once((self.place, paces.place)).chain(strangers)
    }
}

/// Whether an attempt counts now.
///
/// # Errors
/// When the database does not answer.
pub async fn is_open(mut db: impl Run, attempt: &Attempt<'_>, paces: Paces, now: Timestamp) -> Result<bool> {
    let sql = Sql::new("SELECT place, open_at FROM attempts WHERE subject = $1 AND act = $2");
    let sql = sql.bind(attempt.subject).bind(attempt.act);
    let lanes: Vec<_> = attempt.lanes(paces).collect();
    let places: Vec<_> = lanes.iter().map(|(place, _)| *place).collect();
    for row in db.rows(sql.and_among("place", &places)).await? {
        let (place, open_at) = (row.text("place")?, row.time("open_at")?);
        let pace = lanes.iter().find(|lane| lane.0 == place);
        if pace.is_some_and(|(_, pace)| open_at > pace.limit(now)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Counts a failed attempt. Says `false`, and then the transaction must not be committed, when it has to wait. The
/// rows are held until the transaction ends, so that attempts made at once are counted one after the other: whoever
/// was not counted must learn nothing.
///
/// # Errors
/// When the database does not answer.
pub async fn count(tx: &mut Tx, attempt: &Attempt<'_>, paces: Paces) -> Result<bool> {
    for (place, pace) in attempt.lanes(paces) {
        if !count_in(tx, attempt, place, pace).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn count_in(tx: &mut Tx, attempt: &Attempt<'_>, place: &str, pace: Pace) -> Result<bool> {
    let now = tx.now();
    let step = match pace {
        Pace::Growing { .. } => 0,
        Pace::Steady { every, .. } => every * 1_000_000,
    };
    let sql = Sql::new(
        "INSERT INTO attempts (subject, act, place, failures, open_at, touched_at) \
         VALUES ($1, $2, $3, 1, $4 + $5, $4) \
         ON CONFLICT (subject, act, place) DO UPDATE SET failures = attempts.failures + 1, touched_at = $4, \
         open_at = CASE WHEN attempts.open_at > $4 THEN attempts.open_at ELSE $4 END + $5 \
         WHERE attempts.open_at <= $6 RETURNING failures",
    );
    let sql = sql
        .bind(attempt.subject)
        .bind(attempt.act)
        .bind(place)
        .bind(now)
        .bind(step)
        .bind(pace.limit(now));
    let Some(row) = opt(&mut *tx, sql).await? else {
        return Ok(false);
    };
    if let Pace::Growing { free, longest } = pace {
        let beyond = row.int("failures")? - free;
        if beyond >= 0 {
            let minutes = (1_i64 << beyond.clamp(0, 10)).min(longest);
            let sql =
                Sql::new("UPDATE attempts SET open_at = $1 WHERE subject = $2 AND act = $3 AND place = $4");
            let sql = sql
                .bind(now.plus_seconds(minutes * 60))
                .bind(attempt.subject)
                .bind(attempt.act)
                .bind(place);
            tx.run(sql).await?;
        }
    }
    Ok(true)
}

/// Forgets failures at a place: somebody has shown who they are there. What strangers did elsewhere stays.
///
/// # Errors
/// When the database does not answer.
pub async fn forget(tx: &mut Tx, subject: &str, place: &str) -> Result<()> {
    let sql = Sql::new("DELETE FROM attempts WHERE subject = $1 AND place = $2");
    tx.run(sql.bind(subject).bind(place)).await.map(drop)
}

/// Forgets everything about a subject: failures, and places that were known.
///
/// # Errors
/// When the database does not answer.
pub async fn forget_all(tx: &mut Tx, subject: &str) -> Result<()> {
    let sql = Sql::new("DELETE FROM attempts WHERE subject = $1").bind(subject);
    tx.run(sql).await?;
    let sql = Sql::new("DELETE FROM known_places WHERE subject = $1").bind(subject);
    tx.run(sql).await.map(drop)
}

/// The first of some places that is known of a subject.
///
/// # Errors
/// When the database does not answer.
pub async fn known<'p>(
    mut db: impl Run,
    subject: &str,
    places: &[&'p str],
    now: Timestamp,
) -> Result<Option<&'p str>> {
    let sql = Sql::new("SELECT place FROM known_places WHERE subject = $1 AND seen_at > $2");
    let sql = sql.bind(subject).bind(now.plus_seconds(-KNOWN));
    let mut found = Vec::new();
    for row in db.rows(sql.and_among("place", places)).await? {
        found.push(row.text("place")?);
    }
    Ok(places
        .iter()
        .find(|place| found.iter().any(|f| f == *place))
        .copied())
}

/// Remembers that somebody proved who they are at a place.
///
/// # Errors
/// When the database does not answer.
pub async fn note_known(tx: &mut Tx, subject: &str, place: &str) -> Result<()> {
    let now = tx.now();
    let sql = Sql::new(
        "INSERT INTO known_places (subject, place, seen_at) VALUES ($1, $2, $3) \
         ON CONFLICT (subject, place) DO UPDATE SET seen_at = $3",
    );
    tx.run(sql.bind(subject).bind(place).bind(now)).await?;
    let sql = Sql::new("SELECT place FROM known_places WHERE subject = $1 ORDER BY seen_at DESC, place");
    let rows = (&mut *tx).rows(sql.bind(subject)).await?;
    for row in rows.iter().skip(PLACES) {
        let sql = Sql::new("DELETE FROM known_places WHERE subject = $1 AND place = $2");
        tx.run(sql.bind(subject).bind(row.text("place")?)).await?;
    }
    Ok(())
}
