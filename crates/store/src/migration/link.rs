//! Who is who: pairs of people, one of the old connection and one of the new, that are one person. Nobody is
//! linked without an administrator's word, about the pair or (`link_on_sign_in`) about the rule.

use super::{Migration, read};
use crate::sql::{Row, Run, Sql, opt, word};
use crate::user::{Identity, Person};
use crate::{Change, Error, Result, Tx, audit, ended, user};
use serde_json::json;
use std::collections::{HashMap, HashSet};
use wire::{
    ActorKind, Address, AuditActor, AuditChange, ConnectionId, ConnectionMigrationId, GroupSpec,
    LinkDecision, LinkState, MigrationState, OrgId, Role, Timestamp, UserId,
};

/// Rows of one statement at the most.
const BATCH: usize = 500;

/// Two that are one person.
#[derive(Debug, Clone)]
pub struct Link {
    /// Of the old connection.
    pub from_user: UserId,
    /// Of the new one.
    pub to_user: UserId,
    /// Where it is.
    pub state: LinkState,
    /// Whether an administrator chose the pair, rather than the rule.
    pub manual: bool,
}

fn read_link(row: &Row) -> Result<Link> {
    Ok(Link {
        from_user: row.id("from_user")?,
        to_user: row.id("to_user")?,
        state: row.word("state")?,
        manual: row.flag("manual")?,
    })
}

/// What was decided, and what the rule proposes beside it, by the person of the old connection.
///
/// # Errors
/// When the database does not answer.
pub async fn links(mut db: impl Run, migration: &Migration) -> Result<Vec<Link>> {
    let mut found = decided(&mut db, &migration.shown.id).await?;
    if matches!(
        migration.shown.state,
        MigrationState::SideBySide | MigrationState::CutOver
    ) {
        let taken = Taken::of(&found);
        let judged: HashSet<_> = found
            .iter()
            .map(|l| (l.from_user.clone(), l.to_user.clone()))
            .collect();
        for (from_user, to_user) in candidates(&mut db, migration, &taken).await? {
            if taken.has(&from_user) || taken.has(&to_user) {
                continue;
            }
            let pair = (from_user, to_user);
            if !judged.contains(&pair) {
                found.push(Link {
                    from_user: pair.0,
                    to_user: pair.1,
                    state: LinkState::Proposed,
                    manual: false,
                });
            }
        }
    }
    found.sort_by(|a, b| (&a.from_user, &a.to_user).cmp(&(&b.from_user, &b.to_user)));
    Ok(found)
}

async fn decided(db: &mut impl Run, migration: &ConnectionMigrationId) -> Result<Vec<Link>> {
    let sql = Sql::new(select!(connection_links, "WHERE migration = $1")).bind(migration);
    db.rows(sql).await?.iter().map(read_link).collect()
}

/// People who are in a link that holds.
struct Taken {
    all: HashSet<UserId>,
    /// Those whose identities were exchanged: they are of the other connection now.
    linked: HashSet<UserId>,
}

impl Taken {
    fn of(links: &[Link]) -> Self {
        let of = |states: &[LinkState]| {
            let some = links.iter().filter(|link| states.contains(&link.state));
            some.flat_map(|l| [l.from_user.clone(), l.to_user.clone()])
                .collect()
        };
        Self {
            all: of(&[LinkState::Approved, LinkState::Linked]),
            linked: of(&[LinkState::Linked]),
        }
    }

    fn has(&self, user: &UserId) -> bool {
        self.all.contains(user)
    }
}

/// Whether an address lies in one of the domains.
fn is_owned(email: &str, domains: &[String]) -> bool {
    Address::parse(email).is_ok_and(|address| domains.iter().any(|domain| address.is_in(domain)))
}

/// The rule: proven addresses in the owned domains, equal but for ASCII case, each of one person only.
async fn candidates(
    db: &mut impl Run,
    migration: &Migration,
    taken: &Taken,
) -> Result<Vec<(UserId, UserId)>> {
    let spec = &migration.shown.spec;
    let old = addresses(db, migration, &spec.from, taken).await?;
    let new = addresses(db, migration, &spec.to, taken).await?;
    let pair = |(email, users): (&String, &Vec<UserId>)| match (users.as_slice(), new.get(email)?.as_slice())
    {
        ([one], [other]) => Some((one.clone(), other.clone())),
        _ => None,
    };
    Ok(old.iter().filter_map(pair).collect())
}

/// Who of a connection has which proven address.
async fn addresses(
    db: &mut impl Run,
    migration: &Migration,
    connection: &ConnectionId,
    taken: &Taken,
) -> Result<HashMap<String, Vec<UserId>>> {
    let sql = Sql::new(
        "SELECT id, email FROM users WHERE org = $1 AND connection = $2 AND email_verified = $3 \
         AND disabled = $4 AND email IS NOT NULL AND last_login_at IS NOT NULL",
    );
    let sql = sql.bind(&migration.org).bind(connection).bind(true).bind(false);
    let mut found: HashMap<String, Vec<UserId>> = HashMap::new();
    for row in db.rows(sql).await? {
        let (id, email) = (row.id("id")?, row.text("email")?);
        if is_owned(&email, &migration.shown.spec.domains) && !taken.linked.contains(&id) {
            found.entry(email.to_ascii_lowercase()).or_default().push(id);
        }
    }
    Ok(found)
}

/// The same people with one address: found by it, however many others there are.
async fn with_address(
    db: &mut impl Run,
    migration: &Migration,
    connection: &ConnectionId,
    email: &str,
) -> Result<Vec<UserId>> {
    let spec = &migration.shown.spec;
    if !is_owned(email, &spec.domains) {
        return Ok(Vec::new());
    }
    let sql = Sql::new(
        "SELECT id, email, connection FROM users WHERE org = $1 AND lower(email) = lower($2) \
         AND email_verified = $3 AND disabled = $4 AND last_login_at IS NOT NULL",
    );
    let sql = sql.bind(&migration.org).bind(email).bind(true).bind(false);
    let mut found = Vec::new();
    for row in db.rows(sql).await? {
        // The database may fold letters that are not ASCII, into letters of somebody else's address. There are a few of
        // one address in all connections, and more of one connection.
        if row.text("email")?.eq_ignore_ascii_case(email)
            && row.id::<ConnectionId>("connection")? == *connection
        {
            found.push(row.id("id")?);
        }
    }
    let linked = Taken::of(&decided_about(db, &migration.shown.id, &found).await?).linked;
    found.retain(|id| !linked.contains(id));
    Ok(found)
}

/// What was decided about some people.
async fn decided_about(
    db: &mut impl Run,
    migration: &ConnectionMigrationId,
    users: &[UserId],
) -> Result<Vec<Link>> {
    let mut found: Vec<Link> = Vec::new();
    if users.is_empty() {
        return Ok(found);
    }
    for column in ["from_user", "to_user"] {
        let sql = Sql::new(select!(connection_links, "WHERE migration = $1")).bind(migration);
        for row in db.rows(sql.and_in(column, Some(users))).await? {
            let link = read_link(&row)?;
            let known = |l: &Link| (&l.from_user, &l.to_user) == (&link.from_user, &link.to_user);
            if !found.iter().any(known) {
                found.push(link);
            }
        }
    }
    Ok(found)
}

/// Whether the rule finds a pair, of whom nothing was decided.
async fn is_found(db: &mut impl Run, migration: &Migration, (old, new): (&Person, &Person)) -> Result<bool> {
    let (Some(email), spec) = (&old.user.email, &migration.shown.spec) else {
        return Ok(false);
    };
    let before = with_address(db, migration, &spec.from, email).await?;
    let after = with_address(db, migration, &spec.to, email).await?;
    Ok((before.as_slice(), after.as_slice())
        == (
            std::slice::from_ref(&old.user.id),
            std::slice::from_ref(&new.user.id),
        ))
}

/// Writes down what an administrator says about a pair.
///
/// # Errors
/// `Invalid` at `/from_user` or `/to_user` when somebody cannot be linked, `Conflict` when the migration is
/// over or they are linked.
pub async fn decide(
    tx: &mut Tx,
    migration: &Migration,
    (old, new): (&Person, &Person),
    decision: LinkDecision,
) -> Result<Link> {
    if !matches!(
        migration.shown.state,
        MigrationState::SideBySide | MigrationState::CutOver
    ) {
        return Err(Error::Conflict("the migration is over".into()));
    }
    crate::org::lock(tx, &migration.org).await?;
    let spec = &migration.shown.spec;
    let (from_user, to_user) = (&old.user.id, &new.user.id);
    let both = [from_user.clone(), to_user.clone()];
    let links = decided_about(&mut &mut *tx, &migration.shown.id, &both).await?;
    let there = links
        .iter()
        .find(|l| l.from_user == *from_user && l.to_user == *to_user);
    if there.is_some_and(|link| link.state == LinkState::Linked) {
        return Err(Error::Conflict(
            "they are linked; roll the migration back to part them".into(),
        ));
    }
    for (pointer, person, connection) in [("/from_user", old, &spec.from), ("/to_user", new, &spec.to)] {
        if person.user.connection != *connection {
            return Err(Error::invalid(pointer, format!("not a person of {connection}")));
        }
    }
    let state = match decision {
        LinkDecision::Approved => LinkState::Approved,
        LinkDecision::Rejected => LinkState::Rejected,
        LinkDecision::Proposed => LinkState::Proposed,
    };
    // Whether the rule found them, whatever was decided since.
    let manual = match there {
        Some(link) => link.manual,
        None => !is_found(&mut &mut *tx, migration, (old, new)).await?,
    };
    if decision == LinkDecision::Approved {
        for (pointer, person) in [("/from_user", old), ("/to_user", new)] {
            let id = &person.user.id;
            let other = links.iter().find(|l| {
                let holds = matches!(l.state, LinkState::Approved | LinkState::Linked);
                let same = l.from_user == *from_user && l.to_user == *to_user;
                holds && !same && (l.from_user == *id || l.to_user == *id)
            });
            if other.is_some() {
                return Err(Error::invalid(pointer, "in another link already"));
            }
            if person.user.disabled || person.user.last_login_at.is_none() {
                return Err(Error::invalid(pointer, "disabled, or never signed in"));
            }
        }
        if let Some(what) = holding(tx, &migration.org, std::slice::from_ref(to_user))
            .await?
            .get(to_user)
        {
            let detail =
                format!("holds {what} of their own, which would be lost from sight; take that away first");
            return Err(Error::invalid("/to_user", detail));
        }
    }
    let delete =
        Sql::new("DELETE FROM connection_links WHERE migration = $1 AND from_user = $2 AND to_user = $3");
    tx.run(delete.bind(&migration.shown.id).bind(from_user).bind(to_user))
        .await?;
    let link = Link {
        from_user: from_user.clone(),
        to_user: to_user.clone(),
        state,
        manual,
    };
    if state != LinkState::Proposed {
        insert(
            tx,
            &migration.shown.id,
            std::slice::from_ref(&link),
            &word(state)?,
        )
        .await?;
    }
    Ok(link)
}

/// Approves all that the rule proposes now, but for those whose first person has a role, or whose second person
/// holds something: whoever runs the new provider could take it.
///
/// # Errors
/// `Conflict` when the migration is over.
pub async fn approve_all(tx: &mut Tx, migration: &Migration) -> Result<Vec<Link>> {
    if !matches!(
        migration.shown.state,
        MigrationState::SideBySide | MigrationState::CutOver
    ) {
        return Err(Error::Conflict("the migration is over".into()));
    }
    crate::org::lock(tx, &migration.org).await?;
    let mut proposed = links(&mut *tx, migration).await?;
    proposed.retain(|link| link.state == LinkState::Proposed);
    let new: Vec<UserId> = proposed.iter().map(|link| link.to_user.clone()).collect();
    let busy: HashSet<UserId> = holding(tx, &migration.org, &new).await?.into_keys().collect();
    let old: Vec<UserId> = proposed.iter().map(|link| link.from_user.clone()).collect();
    let in_office = with_role(tx, &migration.shown.spec.from, &old).await?;
    proposed.retain(|link| !busy.contains(&link.to_user) && !in_office.contains(&link.from_user));
    for link in &mut proposed {
        link.state = LinkState::Approved;
    }
    insert(tx, &migration.shown.id, &proposed, &word(LinkState::Approved)?).await?;
    Ok(proposed)
}

async fn insert(tx: &mut Tx, migration: &ConnectionMigrationId, links: &[Link], state: &str) -> Result<()> {
    let columns = ["migration", "from_user", "to_user", "state", "manual"];
    let row = |link: &Link| {
        let (from_user, to_user) = (&link.from_user, &link.to_user);
        vec![
            migration.into(),
            from_user.into(),
            to_user.into(),
            state.into(),
            link.manual.into(),
        ]
    };
    let rows = links.iter().map(row).collect();
    tx.db.insert_many(("connection_links", ""), &columns, rows).await
}

/// Who of some people has something, who should have nothing yet, and what.
async fn holding(tx: &mut Tx, org: &OrgId, users: &[UserId]) -> Result<HashMap<UserId, &'static str>> {
    let mut found = HashMap::new();
    for some in users.chunks(BATCH) {
        for (text, column, what) in [
            ("SELECT user_id FROM members WHERE 1 = 1", "user_id", "a role"),
            (
                "SELECT owner AS user_id FROM api_tokens WHERE 1 = 1",
                "owner",
                "an API token",
            ),
            (
                "SELECT user_id FROM grants WHERE revoked_at IS NULL AND last_used_at IS NOT NULL",
                "user_id",
                "a grant",
            ),
        ] {
            for row in (&mut *tx).rows(Sql::new(text).and_in(column, Some(some))).await? {
                found.insert(row.id("user_id")?, what);
            }
        }
    }
    let users: HashSet<&UserId> = users.iter().collect();
    let groups = Sql::new("SELECT spec FROM user_groups WHERE org = $1").bind(org);
    for row in (&mut *tx).rows(groups).await? {
        let group: GroupSpec = row.json("spec")?;
        for member in group.members.iter().filter(|member| users.contains(member)) {
            found.insert(member.clone(), "a membership in a group");
        }
    }
    Ok(found)
}

/// The pairs of which somebody owns the organisation: whoever decides about those decides who is an owner.
///
/// # Errors
/// When the database does not answer.
pub async fn of_owners<'a>(tx: &mut Tx, links: &'a [Link]) -> Result<Vec<&'a Link>> {
    let owners = Sql::new("SELECT user_id AS id FROM members WHERE role = $1").bind(word(Role::OrgOwner)?);
    touched(tx, links, ("user_id", &owners)).await
}

/// The pairs of which somebody is among the people that a statement selects.
async fn touched<'a>(
    tx: &mut Tx,
    links: &'a [Link],
    (column, select): (&'static str, &Sql),
) -> Result<Vec<&'a Link>> {
    let of = |l: &Link| [l.from_user.clone(), l.to_user.clone()];
    let everybody: Vec<UserId> = links.iter().flat_map(of).collect();
    let mut found: HashSet<UserId> = HashSet::new();
    for some in everybody.chunks(BATCH) {
        for row in (&mut *tx).rows(select.clone().and_in(column, Some(some))).await? {
            found.insert(row.id("id")?);
        }
    }
    let is_touched = |l: &&Link| found.contains(&l.from_user) || found.contains(&l.to_user);
    Ok(links.iter().filter(is_touched).collect())
}

/// Exchanges the identities of all approved pairs.
pub(super) async fn exchange_approved(tx: &mut Tx, migration: &Migration) -> Result<Vec<Link>> {
    let mut approved = decided(&mut &mut *tx, &migration.shown.id).await?;
    approved.retain(|link| link.state == LinkState::Approved);
    let new: Vec<UserId> = approved.iter().map(|link| link.to_user.clone()).collect();
    let disabled = Sql::new("SELECT id FROM users WHERE disabled = $1").bind(true);
    let disabled = touched(tx, &approved, ("id", &disabled)).await?;
    if let Some(Link {
        from_user, to_user, ..
    }) = disabled.first()
    {
        let detail = format!(
            "approved pairs of which somebody was disabled since: {}, the first of them {from_user} and {to_user}; \
             reject them, or let those people in again",
            disabled.len()
        );
        return Err(Error::Conflict(detail.into()));
    }
    // They had nothing when their links were approved, but people act.
    if let Some((user, what)) = holding(tx, &migration.org, &new).await?.into_iter().next() {
        let detail =
            format!("{user} holds {what} since their link was approved; take that away, or reject the link");
        return Err(Error::Conflict(detail.into()));
    }
    exchange(tx, &migration.shown.id, ("approved", "linked")).await?;
    for link in &mut approved {
        link.state = LinkState::Linked;
    }
    Ok(approved)
}

/// Exchanges the identities of all linked pairs back. If two were not one person after all, each had the other's
/// place since the cut-over: what they began in it ends.
pub(super) async fn exchange_back(tx: &mut Tx, migration: &Migration) -> Result<Vec<Link>> {
    let mut linked = decided(&mut &mut *tx, &migration.shown.id).await?;
    linked.retain(|link| link.state == LinkState::Linked);
    if let Some(cut_over_at) = migration.shown.cut_over_at {
        end_begun(tx, &migration.shown.id, cut_over_at).await?;
    }
    exchange(tx, &migration.shown.id, ("linked", "approved")).await?;
    for link in &mut linked {
        link.state = LinkState::Approved;
    }
    Ok(linked)
}

/// Ends sessions, grants and API tokens that linked people began at a moment or after it.
async fn end_begun(tx: &mut Tx, migration: &ConnectionMigrationId, since: Timestamp) -> Result<()> {
    const REASON: &str = "migration_rolled_back";
    let by_linked = |sql: Sql| {
        sql.and("migration =", Some(migration))
            .then(" UNION ALL SELECT to_user FROM connection_links WHERE state = 'linked'")
            .and("migration =", Some(migration))
            .then(")")
            .and("created_at >=", Some(since))
    };
    let of_linked = |sql: Sql| {
        by_linked(sql.then(" AND user_id IN (SELECT from_user FROM connection_links WHERE state = 'linked'"))
    };
    ended::sessions(tx, REASON, of_linked).await?;
    ended::grants(tx, REASON, of_linked).await?;
    ended::api_tokens(tx, REASON, |sql| {
        by_linked(sql.then(" AND owner IN (SELECT from_user FROM connection_links WHERE state = 'linked'"))
    })
    .await
}

/// Exchanges what the providers said about the pairs in one state: identity keys, address, name, claims, groups, and
/// when they vouched last. Everything of ours (roles, grants, groups, sessions) stays where it is; what is proven there
/// was said by the other connection, and says so. On the way to the new connection the person keeps the younger of the
/// two words, because somebody said that both are about them, so that agents do not stop at that moment; a word that was
/// withdrawn stays so until they sign in. On the way back, the new provider's word counts for nothing any more. Doing it twice changes nothing else.
async fn exchange(
    tx: &mut Tx,
    migration: &ConnectionMigrationId,
    (state, after): (&'static str, &'static str),
) -> Result<()> {
    // The key is unique at every moment, so everybody steps aside first.
    let aside = Sql::new(
        "UPDATE users SET subject = id || ' ' || subject WHERE id IN \
         (SELECT from_user FROM connection_links WHERE migration = $1 AND state = $2 \
          UNION ALL SELECT to_user FROM connection_links WHERE migration = $1 AND state = $2)",
    );
    tx.run(aside.bind(migration).bind(state)).await?;
    let swap = Sql::new(
        "UPDATE users SET connection = o.connection, issuer = o.issuer, \
         subject = substr(o.subject, length(o.id) + 2), email = o.email, email_verified = o.email_verified, \
         name = o.name, claims = o.claims, idp_groups = o.idp_groups, version = users.version + 1, \
         vouched_at = CASE WHEN p.forth = 1 \
                      AND (users.vouched_at IS NULL OR users.vouched_at > coalesce(o.vouched_at, 0)) \
                      THEN users.vouched_at ELSE o.vouched_at END \
         FROM (SELECT from_user AS me, to_user AS other, CASE WHEN state = 'linked' THEN 0 ELSE 1 END AS forth \
               FROM connection_links WHERE migration = $1 AND state = $2 \
               UNION ALL SELECT to_user AS me, from_user AS other, 0 AS forth FROM connection_links \
               WHERE migration = $1 AND state = $2) p JOIN users o ON o.id = p.other WHERE users.id = p.me",
    );
    tx.run(swap.bind(migration).bind(state)).await?;
    // Who came as the second of the two comes as the first from now on.
    ended::sessions(tx, "identity_exchanged", |sql| {
        sql.and(
            "user_id IN (SELECT to_user FROM connection_links WHERE migration =",
            Some(migration),
        )
        .and("state =", Some(state))
        .then(")")
    })
    .await?;
    let done = Sql::new(
        "UPDATE connection_links SET state = $1 WHERE migration = $2 AND state = $3 RETURNING from_user, to_user",
    );
    let done = done.bind(after).bind(migration).bind(state);
    for row in (&mut *tx).rows(done).await? {
        tx.changed(Change::User(row.id("from_user")?));
        tx.changed(Change::User(row.id("to_user")?));
    }
    Ok(())
}

/// Links somebody who comes through the new connection for the first time, if an administrator said that the
/// rule is enough. Whoever has a role is never linked so: whoever runs the new provider could take it.
///
/// # Errors
/// When the database does not answer.
pub async fn link_on_sign_in(tx: &mut Tx, org: &OrgId, identity: &Identity) -> Result<Option<Person>> {
    let sql = Sql::new(select!(
        connection_migrations,
        "WHERE org = $1 AND to_connection = $2 AND state = 'cut_over' \
         AND link_on_sign_in = $3"
    ));
    let Some(row) = opt(&mut *tx, sql.bind(org).bind(&identity.connection).bind(true)).await? else {
        return Ok(None);
    };
    let migration = read(&row)?;
    let spec = &migration.shown.spec;
    let Some(email) = identity.email.as_deref().filter(|_| identity.email_verified) else {
        return Ok(None);
    };
    if !is_owned(email, &spec.domains) {
        return Ok(None);
    }
    // One administrator's step and one sign-in at a time.
    crate::org::lock(tx, org).await?;
    let old = with_address(&mut &mut *tx, &migration, &spec.from, email).await?;
    let [old] = old.as_slice() else {
        return Ok(None);
    };
    let new = with_address(&mut &mut *tx, &migration, &spec.to, email).await?;
    let decided = decided_about(&mut &mut *tx, &migration.shown.id, std::slice::from_ref(old)).await?;
    if !new.is_empty() || Taken::of(&decided).has(old) {
        return Ok(None);
    }
    let with_role = with_role(tx, &spec.from, std::slice::from_ref(old)).await?;
    if with_role.contains(old) {
        return Ok(None);
    }
    let Some(made) = user::create(tx, org, identity.clone(), Some(tx.now())).await? else {
        return Ok(None);
    };
    let link = Link {
        from_user: old.clone(),
        to_user: made.user.id.clone(),
        state: LinkState::Linked,
        manual: false,
    };
    insert(tx, &migration.shown.id, std::slice::from_ref(&link), "linking").await?;
    exchange(tx, &migration.shown.id, ("linking", "linked")).await?;
    let sql = Sql::new("UPDATE users SET last_login_at = $1, vouched_at = $1 WHERE id = $2");
    tx.run(sql.bind(tx.now()).bind(old)).await?;
    let actor = AuditActor::of(ActorKind::System);
    let mut event = audit::event(org, "broker", "connection_migration.link", actor);
    event.target = Some(audit::target("user", old, Some(email)));
    event.change = Some(AuditChange {
        before: json!({ "connection": spec.from }),
        after: json!({ "connection": spec.to, "migration": migration.shown.id, "linked_user": made.user.id }),
    });
    tx.note(event);
    user::get(&mut *tx, org, old).await.map(Some)
}

/// Who of some people of a connection has a role, given directly or by a group of theirs.
async fn with_role(tx: &mut Tx, connection: &ConnectionId, users: &[UserId]) -> Result<HashSet<UserId>> {
    let mut mapped: HashSet<String> = HashSet::new();
    let sql = Sql::new("SELECT idp_group FROM role_mappings WHERE connection = $1");
    for row in (&mut *tx).rows(sql.bind(connection)).await? {
        mapped.insert(row.text("idp_group")?);
    }
    let mut found = HashSet::new();
    for some in users.chunks(BATCH) {
        let direct = Sql::new("SELECT user_id FROM members WHERE 1 = 1").and_in("user_id", Some(some));
        for row in (&mut *tx).rows(direct).await? {
            found.insert(row.id("user_id")?);
        }
        let groups = Sql::new("SELECT id, idp_groups FROM users WHERE 1 = 1").and_in("id", Some(some));
        for row in (&mut *tx).rows(groups).await? {
            let groups: Vec<String> = row.json("idp_groups")?;
            if groups.iter().any(|group| mapped.contains(group)) {
                found.insert(row.id("id")?);
            }
        }
    }
    Ok(found)
}
