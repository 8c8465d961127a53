//! Whether a log is what was written.

use super::append::{COLUMNS, chain_answer, columns};
use super::chain;
use super::digest::Digest;
use super::jump::{Jump, jumps};
use super::seal::Head;
use crate::sql::{Arg, Row, Run, Sql, opt, without_nul};
use crate::{Error, Result, Store};
use std::collections::BTreeMap;
use std::fmt;
use wire::{AuditEvent, OrgId, Timestamp};

/// Events that are read at a time.
const BATCH: u32 = 1000;
/// So many answers wait for one that should have come before them, at the most.
const OUT_OF_ORDER: usize = 100_000;

/// What [`verify`] and [`super::verify_copy`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Events that are what was written, as far as can be told: from the first on, without a gap.
    pub checked: u64,
    /// The same of answers.
    pub answers: u64,
    /// Answers that stand in a copy and cannot be proven there.
    pub unproven: u64,
    /// The last event that was looked at.
    pub reaches: i64,
    /// How many digests say so, too.
    pub digests: usize,
    /// The newest event that a digest vouches for, and when it did.
    pub vouched: Option<(i64, Timestamp)>,
    /// Where the database went back in time and said so, and how many of the digests saw what was lost by it.
    pub jumps: Vec<(Jump, usize)>,
    /// The first thing that is wrong.
    pub broken: Option<Break>,
}

/// What is wrong with a log. Its text says so in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Break {
    /// The event of this position is not there.
    Missing(i64),
    /// The event of this position, or its hash, is another one than was written.
    Changed(i64),
    /// What searches read of the event is not what it says.
    Column(i64, &'static str),
    /// The log ends before its head.
    Cut {
        /// Its last event.
        ends_at: i64,
        /// Where the head says that it ends.
        head: i64,
    },
    /// Events that the head does not know of.
    Stray(i64),
    /// The head has no MAC of this server.
    Head(i64),
    /// A digest knows of more than there is.
    Behind {
        /// Of when.
        digest: Timestamp,
        /// How many events, or answers, it knows of.
        knows: i64,
        /// How many there are.
        has: i64,
    },
    /// The log up to a position is another one than a digest saw.
    Rewritten {
        /// Of when.
        digest: Timestamp,
        /// The first event that may have been altered: the one after those that an older digest vouches for.
        from: i64,
        /// The event that the digest names.
        to: i64,
    },
    /// The answer to an event was altered, or is none that this server wrote.
    Answer(i64),
    /// Answers are missing, from the one of this number on.
    AnswersMissing(i64),
    /// The answers up to one are others than a digest saw.
    AnswersRewritten(Timestamp),
    /// A copy does not begin where it is known what came before.
    NoBeginning(i64),
    /// A line of a copy cannot be read.
    Unreadable(u64),
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(seq) => write!(f, "event {seq} is missing"),
            Self::Changed(seq) => write!(f, "event {seq} is not what was written"),
            Self::Column(seq, name) => write!(
                f,
                "event {seq}: its column {name}, which searches read, does not say what the event says"
            ),
            Self::Cut { ends_at, head } => {
                write!(
                    f,
                    "the log ends at event {ends_at}, its head at {head}: the rest was cut off"
                )
            }
            Self::Stray(seq) => write!(
                f,
                "event {seq} stands outside the log: this server did not write it"
            ),
            Self::Head(seq) => write!(
                f,
                "the head, at event {seq}, was not written by this server: events or answers were altered, and the \
                 chain computed anew"
            ),
            Self::Behind { digest, knows, has } => write!(
                f,
                "the digest of {digest} knows {knows} of what the log has {has} of: the tail was cut off together \
                 with the head, or an older backup restored"
            ),
            Self::Rewritten { digest, from, to } => write!(
                f,
                "between event {from} and event {to} the log is not what the digest of {digest} saw: it was altered, \
                 and the chain computed anew"
            ),
            Self::Answer(seq) => write!(f, "the answer to event {seq} is not what was written"),
            Self::AnswersMissing(n) => write!(f, "answer {n} is missing"),
            Self::AnswersRewritten(digest) => write!(
                f,
                "answers are not what the digest of {digest} saw: they were altered, and their chain computed anew"
            ),
            Self::NoBeginning(seq) => write!(
                f,
                "the copy begins at event {seq}, and no digest says what came before: take a whole export"
            ),
            Self::Unreadable(line) => write!(f, "line {line} is no event"),
        }
    }
}

/// Walks a chain of events along the digests that are known of it.
pub(super) struct Walk<'a> {
    /// By the last event that they know.
    digests: BTreeMap<i64, Vec<&'a Digest>>,
    pub(super) at: i64,
    pub(super) hash: String,
    pub(super) found: Verified,
}

impl<'a> Walk<'a> {
    pub(super) fn new(digests: impl IntoIterator<Item = &'a Digest>) -> Self {
        let mut by_seq: BTreeMap<i64, Vec<_>> = BTreeMap::new();
        for digest in digests {
            by_seq.entry(digest.seq).or_default().push(digest);
        }
        Self {
            digests: by_seq,
            at: 0,
            hash: String::new(),
            found: Verified {
                checked: 0,
                answers: 0,
                unproven: 0,
                reaches: 0,
                digests: 0,
                vouched: None,
                jumps: Vec::new(),
                broken: None,
            },
        }
    }

    /// Takes the event of the next position.
    pub(super) fn step(&mut self, seq: i64, body: &str) -> Result<(), Break> {
        if seq != self.at + 1 {
            let jump = Jump::read(body).filter(|jump| (jump.from, jump.to) == (self.at + 1, seq - 1));
            let jump = jump.ok_or(Break::Missing(self.at + 1))?;
            let lost = self.digests.values().flatten();
            let lost = lost.filter(|digest| jump.lost((digest.seq, digest.answers)));
            self.found.jumps.push((jump, lost.count()));
        }
        self.hash = chain(&self.hash, body);
        self.at = seq;
        self.found.reaches = seq;
        Ok(())
    }

    /// Compares what was walked so far with the digests that end here.
    pub(super) fn compare(&mut self) -> Result<(), Break> {
        for digest in self.digests.get(&self.at).into_iter().flatten() {
            if digest.hash != self.hash {
                return Err(Break::Rewritten {
                    digest: digest.time,
                    from: self.found.vouched.map_or(1, |(seq, _)| seq + 1),
                    to: self.at,
                });
            }
            self.found.digests += 1;
            self.found.vouched = Some((self.at, digest.time));
        }
        Ok(())
    }

    /// The hash behind which a copy may begin, if a digest knows it.
    pub(super) fn begin_behind(&mut self, seq: i64) -> Result<(), Break> {
        if seq > 0 {
            let known = self.digests.get(&seq).and_then(|known| known.first());
            self.hash
                .clone_from(&known.ok_or(Break::NoBeginning(seq + 1))?.hash);
        }
        self.at = seq;
        Ok(())
    }

    /// A digest that knows of more events than were walked.
    fn ahead(&self) -> Result<(), Break> {
        match self.digests.range(self.at + 1..).next_back() {
            Some((knows, known)) => Err(Break::Behind {
                digest: known[0].time,
                knows: *knows,
                has: self.at,
            }),
            None => Ok(()),
        }
    }
}

/// Walks the log of an organisation and names the first thing in it that is not what was written: by its hashes, by
/// what its columns repeat, by the MAC of its head, and by the digests that are given. Events that are appended
/// meanwhile are left to the next walk.
///
/// # Errors
/// `NotFound` for no organisation, else when the database does not answer.
pub async fn verify(store: &Store, org: &OrgId, digests: &[Digest]) -> Result<Verified> {
    let mine: Vec<_> = digests.iter().filter(|digest| digest.org == *org).collect();
    let mut walk = Walk::new(mine.iter().copied());
    // What they saw of answers is gone as well. That the gaps are not made up is for the walk to tell.
    let jumps = jumps(store, org).await?;
    let gone = |digest: &&Digest| {
        let seen = (digest.seq, digest.answers);
        jumps.iter().any(|jump| jump.lost(seen))
    };
    let mine: Vec<_> = mine.into_iter().filter(|digest| !gone(digest)).collect();
    let sql = Sql::new(select!(audit_heads, "WHERE org = $1")).bind(org);
    let row = opt(store, sql).await?.ok_or(Error::NotFound("organisation"))?;
    let head = Head::read(&row)?;
    let is_ours = store.seal().fits(&head, &row.text("mac")?);
    let mut answers = Answers::new(&head, &mine);

    if let Err(broken) = along(store, &head, (&mut walk, &mut answers)).await? {
        walk.found.broken = Some(broken);
    } else if let Err(broken) = at_the_end(store, &head, (&walk, &answers), is_ours).await? {
        walk.found.broken = Some(broken);
    }
    walk.found.answers = answers.checked;
    Ok(walk.found)
}

async fn along(
    mut store: &Store,
    head: &Head,
    (walk, answers): (&mut Walk<'_>, &mut Answers<'_>),
) -> Result<Result<(), Break>> {
    while walk.at < head.seq {
        let sql = Sql::new(concat!(
            "SELECT ",
            audit_events!("e"),
            ", r.status, r.micros, r.n, r.hash AS answer FROM audit_events e \
             LEFT JOIN audit_responses r ON r.event = e.id WHERE e.org = $1"
        ));
        let sql = sql.bind(&head.org);
        let sql = sql.and("e.seq >", Some(walk.at)).and("e.seq <=", Some(head.seq));
        let rows = store.rows(sql.then(" ORDER BY e.seq").limit(BATCH)).await?;
        if rows.is_empty() {
            break;
        }
        for row in rows {
            if let Err(broken) = one(&row, walk, answers) {
                return Ok(Err(broken));
            }
        }
    }
    Ok(Ok(()))
}

fn one(row: &Row, walk: &mut Walk<'_>, answers: &mut Answers<'_>) -> Result<(), Break> {
    let next = walk.at + 1;
    let seq = row.int("seq").map_err(|_| Break::Changed(next))?;
    let body = row.text("body").map_err(|_| Break::Changed(next))?;
    walk.step(seq, &body)?;
    if row.text("hash").ok().as_ref() != Some(&walk.hash) {
        return Err(Break::Changed(seq));
    }
    let event: AuditEvent = serde_json::from_str(&body).map_err(|_| Break::Changed(seq))?;
    for (name, says) in COLUMNS.iter().zip(columns(&event, body, walk.hash.clone())) {
        let is_so = match says {
            Arg::Text(says) => row.opt_text(name).is_ok_and(|is| is == says.map(without_nul)),
            Arg::Int(says) => row.int(name).is_ok_and(|is| Some(is) == says),
            Arg::Flag(says) => row.flag(name).is_ok_and(|is| is == says),
        };
        if !is_so {
            return Err(Break::Column(seq, name));
        }
    }
    answers.take(seq, &event, row)?;
    walk.compare()?;
    walk.found.checked += 1;
    Ok(())
}

async fn at_the_end(
    mut store: &Store,
    head: &Head,
    (walk, answers): (&Walk<'_>, &Answers<'_>),
    is_ours: bool,
) -> Result<Result<(), Break>> {
    if walk.at != head.seq || walk.hash != head.hash {
        return Ok(Err(Break::Cut {
            ends_at: walk.at,
            head: head.seq,
        }));
    }
    // Before the head itself: these say more.
    let known = walk.ahead().and_then(|()| answers.is_whole());
    if known.is_err() {
        return Ok(known);
    }
    if !is_ours {
        return Ok(Err(Break::Head(head.seq)));
    }
    // In this order: what is appended between the two is known to the head then.
    let ends = "SELECT COALESCE(MIN(seq), 1) AS first, COALESCE(MAX(seq), 0) AS last FROM audit_events WHERE org = $1";
    let ends = store.rows(Sql::new(ends).bind(&head.org)).await?;
    let now = Sql::new("SELECT seq, answers FROM audit_heads WHERE org = $1").bind(&head.org);
    let now = store.rows(now).await?;
    if let (Some(ends), Some(now)) = (ends.first(), now.first()) {
        let (first, last) = (ends.int("first")?, ends.int("last")?);
        if first < 1 || last > now.int("seq")? {
            return Ok(Err(Break::Stray(if first < 1 { first } else { last })));
        }
        let answered = now.int("answers")?;
        if let Some((_, seq)) = answers.later.filter(|(number, _)| *number > answered) {
            return Ok(Err(Break::Answer(seq)));
        }
    }
    Ok(Ok(()))
}

/// Walks the chain of answers. They are met in the order of their events and have an order of their own, so some wait
/// for others.
struct Answers<'a> {
    head: &'a Head,
    /// By the last answer that they know.
    digests: BTreeMap<i64, Vec<&'a Digest>>,
    /// Position of the event, what the chain goes on with, and its hash as it stands there; by number.
    waiting: BTreeMap<i64, (i64, String, (i64, i64), String)>,
    at: i64,
    hash: String,
    checked: u64,
    /// The last answer beyond those that the head knew, and the position of its event.
    later: Option<(i64, i64)>,
}

impl<'a> Answers<'a> {
    fn new(head: &'a Head, digests: &[&'a Digest]) -> Self {
        let mut by_number: BTreeMap<i64, Vec<_>> = BTreeMap::new();
        for digest in digests {
            by_number.entry(digest.answers).or_default().push(*digest);
        }
        Self {
            head,
            digests: by_number,
            waiting: BTreeMap::new(),
            at: 0,
            hash: String::new(),
            checked: 0,
            later: None,
        }
    }

    fn take(&mut self, seq: i64, event: &AuditEvent, row: &Row) -> Result<(), Break> {
        let wrong = |_| Break::Answer(seq);
        let Some(status) = row.opt_time("status").map_err(wrong)? else {
            return Ok(());
        };
        let micros = row.int("micros").map_err(wrong)?;
        let number = row.opt_time("n").map_err(wrong)?;
        let Some(number) = number.map(|n| n.0) else {
            return if seq <= self.head.answers_after {
                Ok(())
            } else {
                Err(Break::Answer(seq))
            };
        };
        if number > self.head.answers {
            // It came after this walk began, or somebody made it up: at the end the head knows.
            self.later = self.later.max(Some((number, seq)));
            return Ok(());
        }
        let hash = row.text("answer").map_err(wrong)?;
        let answer = (seq, event.id.to_string(), (status.0, micros), hash);
        if number <= self.at || self.waiting.insert(number, answer).is_some() {
            return Err(Break::Answer(seq));
        }
        while let Some((seq, event, said, hash)) = self.waiting.remove(&(self.at + 1)) {
            self.hash = chain_answer(&self.hash, &event, said);
            if self.hash != hash {
                return Err(Break::Answer(seq));
            }
            self.at += 1;
            self.checked += 1;
            for digest in self.digests.get(&self.at).into_iter().flatten() {
                if digest.answers_hash != self.hash {
                    return Err(Break::AnswersRewritten(digest.time));
                }
            }
        }
        if self.waiting.len() > OUT_OF_ORDER {
            return Err(Break::AnswersMissing(self.at + 1));
        }
        Ok(())
    }

    fn is_whole(&self) -> Result<(), Break> {
        if self.at != self.head.answers {
            return Err(Break::AnswersMissing(self.at + 1));
        }
        if self.hash != self.head.answers_hash {
            return Err(Break::Head(self.head.seq));
        }
        match self.digests.range(self.at + 1..).next_back() {
            Some((knows, known)) => Err(Break::Behind {
                digest: known[0].time,
                knows: *knows,
                has: self.at,
            }),
            None => Ok(()),
        }
    }
}
