//! Public hosts. Each belongs to one account, from the first app that was published under it until an
//! administrator of the organisation moves it or gives it up: also while no app lies there, because cookies,
//! bookmarks and tokens for what was there outlive it.
//!
//! A host is what browsers keep cookies by (RFC 6265 section 8.5: neither port nor scheme isolate them), so
//! `http://wiki.example:8080` and `https://wiki.example` are one. Loopback addresses are the exception: whoever
//! can open a port there is on that machine anyway, and has nothing but ports to tell apps apart.
//!
//! The row of a host is locked by whoever publishes under it until they commit. So of two who come at once one
//! waits, and what is taken away from an account cannot be used by it at the same moment.

use crate::sql::{Paging, Row, Run, Sql, opt};
use crate::{Change, Error, Result, Tx};
use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;
use url::Url;
use wire::{AccountId, App, AppId, AppSpec, Host, HostApp, HostId, HostSpec, OrgId};

/// Hosts without an app that one account can keep: whoever tries names must not take them all.
const EMPTY: i64 = 200;

/// The host of an authority as the directory writes it: a name or address, and a port unless it is the
/// scheme's default.
#[must_use]
pub fn of_authority(authority: &str) -> String {
    let (name, port) = match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => (name, Some(port)),
        _ => (authority, None),
    };
    // One dot at the end is the root of the name space: the same name.
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    match port {
        Some(port) if is_loopback(&name) => format!("{name}:{port}"),
        _ => name,
    }
}

/// Whether a host is a name or address of the machine itself. Names under `.localhost` are not meant: there are
/// enough of them that nobody has to share one.
fn is_loopback(name: &str) -> bool {
    name == "localhost" || name == "[::1]" || name.parse().is_ok_and(|ip: Ipv4Addr| ip.is_loopback())
}

/// Reads a host as an administrator enters it.
///
/// # Errors
/// `Invalid` at `/name` for what is none, or is spelt in another way than the canonical one.
pub fn parse(text: &str) -> Result<String> {
    let bad = || Error::invalid("/name", "a host name or address, without scheme and path");
    let url = Url::parse(&format!("https://{text}")).map_err(|_| bad())?;
    let plain = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let host = url
        .host_str()
        .filter(|_| plain && !text.contains(['@', '/', '\\']))
        .ok_or_else(bad)?;
    let authority = url
        .port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let name = of_authority(&authority);
    if name == text {
        Ok(name)
    } else {
        Err(Error::invalid("/name", format!("write it as {name}")))
    }
}

/// Takes the host of an authority for an account, unless it has it already. Says how it is called.
///
/// # Errors
/// `Conflict` when it is another account's and not shared with this one.
pub(crate) async fn claim(tx: &mut Tx, org: &OrgId, account: &AccountId, authority: &str) -> Result<String> {
    let name = of_authority(authority);
    let id = HostId::fresh();
    let values = [
        ("id", (&id).into()),
        ("org", org.into()),
        ("name", name.as_str().into()),
        ("account", account.into()),
        ("created_at", tx.now().into()),
        ("version", 1.into()),
    ];
    // Writes nothing new where there is one, but waits for whoever is writing it, and locks it.
    let sql = Sql::insert("hosts", values)
        .then(" ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING id, account");
    let row = opt(&mut *tx, sql).await?;
    let row = row.ok_or_else(|| Error::internal("a host that is neither new nor there"))?;
    let (found, owner): (HostId, AccountId) = (row.id("id")?, row.id("account")?);
    if found == id {
        keeps_few(tx, account).await?;
    } else if owner != *account && !is_shared(&mut *tx, &found, account).await? {
        return Err(Error::Conflict(FOREIGN.into()));
    }
    Ok(name)
}

/// How it is said that a host is somebody else's. Whose it is, is not told.
const FOREIGN: &str = "the host belongs to a different account; an administrator of the organisation can share or move \
                       it (`/hosts`)";

async fn is_shared(db: impl Run, host: &HostId, account: &AccountId) -> Result<bool> {
    let sql = Sql::new("SELECT host FROM host_shares WHERE host = $1 AND account = $2");
    Ok(opt(db, sql.bind(host).bind(account)).await?.is_some())
}

/// Refuses an account that keeps very many hosts for nothing. To be asked before its app is written, so the
/// host that was just taken counts.
async fn keeps_few(tx: &mut Tx, account: &AccountId) -> Result<()> {
    let sql = Sql::new(
        "SELECT COUNT(*) AS empty FROM hosts h WHERE h.account = $1 \
         AND NOT EXISTS (SELECT 1 FROM apps a WHERE a.host = h.name)",
    );
    let row = opt(&mut *tx, sql.bind(account)).await?;
    let empty = row
        .ok_or_else(|| Error::internal("COUNT without a row"))?
        .int("empty")?;
    if empty <= EMPTY {
        return Ok(());
    }
    let detail = "the account keeps 200 hosts without an app; an administrator of the organisation can give some \
                  up (`/hosts`)";
    Err(Error::Conflict(detail.into()))
}

/// Whether an account may not publish at a place because its host is another one's.
///
/// # Errors
/// When the database does not answer.
pub async fn is_foreign(mut db: impl Run, account: &AccountId, authority: &str) -> Result<bool> {
    let name = of_authority(authority);
    let sql = Sql::new("SELECT id, account FROM hosts WHERE name = $1").bind(name.as_str());
    let Some(row) = db.rows(sql).await?.into_iter().next() else {
        return Ok(false);
    };
    let owner: AccountId = row.id("account")?;
    Ok(owner != *account && !is_shared(db, &row.id("id")?, account).await?)
}

fn read(row: &Row) -> Result<Host> {
    Ok(Host {
        id: row.id("id")?,
        name: row.text("name")?,
        account: Some(row.id("account")?),
        shared_with: Vec::new(),
        apps: Vec::new(),
        created_at: row.time("created_at")?,
        version: row.int("version")?,
    })
}

/// Adds with whom hosts are shared, and the apps that lie there.
async fn complete(mut db: impl Run, org: &OrgId, hosts: &mut [Host]) -> Result<()> {
    let ids: Vec<HostId> = hosts.iter().map(|host| host.id.clone()).collect();
    let at: HashMap<HostId, usize> = ids.iter().cloned().zip(0..).collect();
    let sql = Sql::new("SELECT host, account FROM host_shares WHERE 1 = 1").and_in("host", Some(&ids));
    for row in db.rows(sql.then(" ORDER BY account")).await? {
        if let Some(host) = at.get(&row.id("host")?).and_then(|i| hosts.get_mut(*i)) {
            host.shared_with.push(row.id("account")?);
        }
    }
    let sql = Sql::new(
        "SELECT h.id AS host, a.id, a.account, a.spec FROM apps a JOIN hosts h ON h.name = a.host WHERE a.org = $1",
    );
    for row in db
        .rows(sql.bind(org).and_in("h.id", Some(&ids)).then(" ORDER BY a.id"))
        .await?
    {
        let Some(host) = at.get(&row.id("host")?).and_then(|i| hosts.get_mut(*i)) else {
            continue;
        };
        let (account, spec): (AccountId, AppSpec) = (row.id("account")?, row.json("spec")?);
        host.apps.push(HostApp {
            id: row.id("id")?,
            conflict: host.account.as_ref() != Some(&account) && !host.shared_with.contains(&account),
            account,
            name: spec.name,
            public_url: spec.public_url,
        });
    }
    Ok(())
}

/// Hosts of an organisation; of some accounts if given: those that they own, that are shared with them, or
/// under which an app of theirs lies.
///
/// # Errors
/// When the database does not answer.
pub async fn list(
    mut db: impl Run + Copy,
    org: &OrgId,
    accounts: Option<&[AccountId]>,
    page: &Paging<HostId>,
) -> Result<Vec<Host>> {
    let mut sql = Sql::new(select!(hosts, "WHERE org = $1")).bind(org);
    if accounts.is_some() {
        sql = sql
            .then(" AND id IN (SELECT id FROM hosts WHERE 1 = 1")
            .and_in("account", accounts)
            .then(" UNION SELECT host FROM host_shares WHERE 1 = 1")
            .and_in("account", accounts)
            .then(" UNION SELECT h.id FROM hosts h JOIN apps a ON a.host = h.name WHERE 1 = 1")
            .and_in("a.account", accounts)
            .then(")");
    }
    let rows = db.rows(sql.page(page)).await?;
    let mut hosts = rows.iter().map(read).collect::<Result<Vec<_>>>()?;
    complete(db, org, &mut hosts).await?;
    Ok(hosts)
}

/// One host.
///
/// # Errors
/// `NotFound`.
pub async fn get(mut db: impl Run, org: &OrgId, id: &HostId) -> Result<Host> {
    let sql = Sql::new(select!(hosts, "WHERE id = $1 AND org = $2"));
    let row = db.rows(sql.bind(id).bind(org)).await?.into_iter().next();
    let mut host = [read(&row.ok_or(Error::NotFound("host"))?)?];
    complete(db, org, &mut host).await?;
    let [host] = host;
    Ok(host)
}

/// Every app that lies under a host which is not its account's, with that host; also where host and app are of
/// different organisations.
///
/// # Errors
/// When the database does not answer.
pub async fn conflicts(mut db: impl Run, control_url: &str) -> Result<Vec<(String, App)>> {
    let sql = Sql::new(concat!(
        "SELECT ",
        apps!("a"),
        " FROM apps a JOIN hosts h ON h.name = a.host WHERE a.account <> h.account \
         AND NOT EXISTS (SELECT 1 FROM host_shares s WHERE s.host = h.id AND s.account = a.account) ORDER BY a.id"
    ));
    let rows = db.rows(sql).await?;
    rows.iter()
        .map(|row| Ok((row.text("host")?, crate::app::read(row, control_url)?)))
        .collect()
}

/// Keeps a host for an account.
///
/// # Errors
/// `Conflict` when it belongs to somebody, `Invalid` at `/name` for what is no host.
pub async fn create(tx: &mut Tx, org: &OrgId, name: &str, spec: &HostSpec) -> Result<Host> {
    let name = parse(name)?;
    let id = HostId::fresh();
    let values = [
        ("id", (&id).into()),
        ("org", org.into()),
        ("name", name.as_str().into()),
        ("account", (&spec.account).into()),
        ("created_at", tx.now().into()),
        ("version", 1.into()),
    ];
    match tx.run(Sql::insert("hosts", values)).await {
        Err(Error::Conflict(_)) => return Err(Error::Conflict(FOREIGN.into())),
        done => done?,
    };
    share(tx, &id, &spec.shared_with).await?;
    tx.changed(Change::Account(spec.account.clone()));
    get(&mut *tx, org, &id).await
}

async fn share(tx: &mut Tx, host: &HostId, with: &[AccountId]) -> Result<()> {
    for account in with {
        let values = [("host", host.into()), ("account", account.into())];
        tx.run(Sql::insert("host_shares", values)).await?;
    }
    Ok(())
}

/// Moves a host to another account, or changes with whom it is shared.
///
/// # Errors
/// `Stale` when `host.version` is not the stored one, `Conflict` when an account would lose it that has apps
/// there.
pub async fn update(tx: &mut Tx, org: &OrgId, host: &Host, spec: &HostSpec) -> Result<Host> {
    let sql = Sql::new("UPDATE hosts SET account = $1, version = version + 1 WHERE id = $2 AND version = $3");
    tx.run_fresh(sql.bind(&spec.account).bind(&host.id).bind(host.version))
        .await?;
    tx.run(Sql::new("DELETE FROM host_shares WHERE host = $1").bind(&host.id))
        .await?;
    share(tx, &host.id, &spec.shared_with).await?;
    let after = get(&mut *tx, org, &host.id).await?;
    // What lay there in conflict before may go on so.
    let had =
        |account: &AccountId| host.account.as_ref() == Some(account) || host.shared_with.contains(account);
    let lost = after.apps.iter().find(|app| app.conflict && had(&app.account));
    if let Some(app) = lost {
        return Err(Error::Conflict(
            format!(
                "`{}` ({}) of account {} lies there: share the host with that account, or delete or move the app \
                 first",
                app.name, app.id, app.account
            )
            .into(),
        ));
    }
    let before = host.account.iter().chain(&host.shared_with);
    let concerned: BTreeSet<&AccountId> = before.chain([&spec.account]).chain(&spec.shared_with).collect();
    for account in concerned {
        tx.changed(Change::Account(account.clone()));
    }
    Ok(after)
}

/// Gives a host up: from then on it is whoever's who publishes there first.
///
/// # Errors
/// `Stale` when `host.version` is not the stored one, `Conflict` while apps lie there.
pub async fn delete(tx: &mut Tx, host: &Host) -> Result<()> {
    tx.run(Sql::new("DELETE FROM host_shares WHERE host = $1").bind(&host.id))
        .await?;
    let sql = Sql::new("DELETE FROM hosts WHERE id = $1 AND version = $2");
    tx.run_fresh(sql.bind(&host.id).bind(host.version)).await?;
    let sql = Sql::new("SELECT id FROM apps WHERE host = $1 LIMIT 1").bind(host.name.as_str());
    match opt(&mut *tx, sql).await? {
        None => Ok(()),
        Some(row) => {
            let app: AppId = row.id("id")?;
            Err(Error::Conflict(format!("the app {app} lies there").into()))
        }
    }
}

/// Gives up the hosts of an account that goes, but those under which others publish.
pub(crate) async fn release(tx: &mut Tx, account: &AccountId) -> Result<()> {
    for sql in [
        "DELETE FROM host_shares WHERE account = $1",
        "DELETE FROM host_shares WHERE host IN (SELECT h.id FROM hosts h WHERE h.account = $1 \
         AND NOT EXISTS (SELECT 1 FROM apps a WHERE a.host = h.name))",
        "DELETE FROM hosts WHERE account = $1 AND NOT EXISTS (SELECT 1 FROM apps a WHERE a.host = hosts.name)",
    ] {
        tx.run(Sql::new(sql).bind(account)).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_what_cookies_are_kept_by() {
        for (authority, host) in [
            ("wiki.example.com", "wiki.example.com"),
            ("wiki.example.com:8443", "wiki.example.com"),
            ("WIKI.example.com.", "wiki.example.com"),
            ("wiki.example.com.:8443", "wiki.example.com"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("10.0.0.1:8080", "10.0.0.1"),
            ("[2001:db8::1]", "[2001:db8::1]"),
            ("[2001:db8::1]:8443", "[2001:db8::1]"),
            ("wiki.localhost:7411", "wiki.localhost"),
            // Only here the port is a part of it.
            ("127.0.0.1:7411", "127.0.0.1:7411"),
            ("127.0.0.1", "127.0.0.1"),
            ("localhost:7411", "localhost:7411"),
            ("localhost.:7411", "localhost:7411"),
            ("[::1]:7411", "[::1]:7411"),
            // No address.
            ("127.example.com:80", "127.example.com"),
        ] {
            assert_eq!(of_authority(authority), host, "{authority}");
        }
    }

    #[test]
    fn hosts_are_entered_in_one_spelling() {
        for good in [
            "wiki.example.com",
            "10.0.0.1",
            "[2001:db8::1]",
            "127.0.0.1:7411",
            "xn--bcher-kva.example",
        ] {
            assert_eq!(parse(good).unwrap(), good);
        }
        for bad in [
            "",
            "https://wiki.example.com",
            "wiki.example.com/x",
            "wiki.example.com?x",
            "wiki.example.com#x",
            "u@wiki.example.com",
            "WIKI.example.com",
            "wiki.example.com.",
            "wiki.example.com:8443",
            "wiki.example.com:443",
            "bücher.example",
            "[2001:DB8:0::1]",
            "0x7f.1",
            "2130706433",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
