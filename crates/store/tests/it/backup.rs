//! Backups, and what follows from going back to one.

use crate::world::{World, on_each};
use sqlx::Connection as _;
use std::path::{Path, PathBuf};
use store::audit::{DigestFile, Digests, Filter, Order, PublicKey};
use store::backup::{self, Cause, Ended, Loaded, Mark};
use store::{
    Clock, Error, MasterKey, Opening, Store, Vault, api_token, audit, client, email_code, grant, invitation,
    key, refresh, service_token, session, webhook,
};
use testkit::{Database, databases};
use wire::*;

const VERSION: &str = "1.2.3";
pub(crate) const RESTORED: Opening<'_> = Opening {
    next_key: None,
    restored: true,
    schema: store::Upgrade::Never,
};

/// A folder for one test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let folder = std::env::temp_dir().join(EventId::fresh().to_string());
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) async fn take(w: &World, to: &Path) -> backup::Taken {
    let options = w.database.options(&w.key, &w.clock);
    backup::take(&options, to, VERSION).await.unwrap()
}

/// Restores a backup into an empty database.
async fn restore(w: &World, place: &Database, from: &Path) -> (Store, Ended) {
    let loaded = backup::load(&place.options(&w.key, &w.clock), from).await;
    assert!(matches!(loaded.unwrap(), Loaded::Now));
    let store = Store::open_with(place.options(&w.key, &w.clock), RESTORED)
        .await
        .unwrap();
    let ended = store.forget_what_lived(Cause::Backup, None).await.unwrap();
    store.close().await;
    (place.open(&w.key, &w.clock).await.unwrap(), ended)
}

pub(crate) fn words<T>(result: store::Result<T>) -> String {
    match result {
        Ok(_) => panic!("it was accepted"),
        Err(Error::Invalid { detail, .. }) => detail.into_owned(),
        Err(other) => panic!("{other:?}"),
    }
}

async fn events(store: &Store, org: &OrgId) -> Vec<AuditEvent> {
    let all = (Order::Oldest, None);
    audit::list(store, org, &Filter::default(), all, 10_000)
        .await
        .unwrap()
}

async fn verified(store: &Store, org: &OrgId, digests: &[audit::Digest]) -> audit::Verified {
    audit::verify(store, org, digests).await.unwrap()
}

/// Everything that gives access, and what proves it.
struct Alive {
    grant: GrantId,
    refresh: String,
    service: ServiceTokenId,
    secret: String,
    key: KeyId,
}

async fn give_everything(w: &World) -> Alive {
    let grant = w.grant(&w.user, &w.client, "code").await;
    let parent = w.session("session", w.record(&w.user)).await;
    let mut at_app = w.record(&w.user);
    (at_app.app, at_app.parent) = (Some(w.app.id.clone()), Some(parent.clone()));
    w.session("at app", at_app).await;
    let handoff = session::Handoff {
        app: w.app.id.clone(),
        user: w.user.id.clone(),
        session: parent,
        state_hash: "state".into(),
        authentication: w.authentication(),
        expires_at: w.clock.now().plus_seconds(60),
    };
    let secret = service_token::SECRET.mint().unwrap();
    let spec = ServiceTokenSpec {
        name: "Robot".into(),
        expires_at: None,
        enabled: true,
    };
    let invited = invitation::New {
        email: "eve@example.com".into(),
        account: None,
        role: Role::OrgAuditor,
        local: false,
        created_by: Some(w.user.id.clone()),
        expires_at: w.clock.now().plus_seconds(86_400 * 14),
    };
    let key = KeyId::fresh();
    let signing = key::StoredKey {
        key: SigningKey {
            id: key.clone(),
            algorithm: "ES256".into(),
            state: KeyState::Active,
            created_at: w.clock.now(),
            not_after: None,
        },
        org: w.org.clone(),
        public_jwk: serde_json::json!({}),
        private: b"private".to_vec().into(),
    };
    let service = w.write(async |tx| {
        let refresh = refresh::begin(tx, &grant).await?.unwrap();
        client::note_use(tx, &w.client, &w.user.id).await?;
        session::offer_handoff(tx, "handoff", &handoff).await?;
        let new = NewApiToken::of("ci", &[TokenScope::Read]);
        api_token::create(tx, &w.org, Some(&w.user.id), new, ("cht_1", "api")).await?;
        invitation::create(tx, &w.org, invited, "invited").await?;
        key::create(tx, &signing).await?;
        store::factor::set_recovery_codes(tx, &w.user.id, &["abcd-efgh".to_owned()]).await?;
        let code = email_code::NewCode {
            attempt: "attempt",
            connection: &w.connection.id,
            address: "ada@example.com",
            code: Some("123456"),
        };
        email_code::offer(tx, code).await?;
        let service = service_token::create(tx, (&w.org, &w.account.id), spec, &secret).await?;
        Ok((service.id, refresh))
    });
    let (service, refresh) = service.await.unwrap();
    Alive {
        grant,
        refresh,
        service,
        secret: secret.hash,
        key,
    }
}

/// What of it is good for anything, in words.
async fn alive(w: &World, store: &Store, given: &Alive) -> Vec<&'static str> {
    let now = w.clock.now();
    let grant = grant::get(store, &w.org, &given.grant, now).await.unwrap();
    let session = async |hash| session::by_hash(store, hash, now).await.unwrap().is_some();
    let keys = key::all(store).await.unwrap();
    let service = service_token::prove(store, &given.service, &given.secret, now).await;
    let spent = async |what: &str| {
        // Not committed: it is only tried.
        let mut tx = store.begin().await.unwrap();
        let done = match what {
            "code" => grant::redeem(&mut tx, "code").await,
            "refresh" => {
                let held = refresh::read(store, &given.refresh).await.unwrap().unwrap();
                refresh::rotate(&mut tx, &held).await
            }
            "handoff" => session::redeem_handoff(&mut tx, "handoff", &w.app.id, "state")
                .await
                .map(|handoff| handoff.is_some()),
            _ => store::factor::spend_recovery_code(&mut tx, &w.user.id, "abcd-efgh").await,
        };
        done.unwrap()
    };
    let api = api_token::by_hash(store, "api", now).await.unwrap();
    let pending = invitation::Filter {
        state: Some(InvitationState::Pending),
        ..invitation::Filter::default()
    };
    let invited = invitation::list(store, &w.org, &pending, now, &store::Paging::default()).await;
    let mut alive = Vec::new();
    for (name, is_alive) in [
        ("grant", grant.state == GrantState::Active),
        ("session", session("session").await),
        ("session at an app", session("at app").await),
        ("signing key", keys.iter().any(|key| key.key.id == given.key)),
        (
            "service token",
            matches!(service.unwrap(), service_token::Attempt::Proven(_)),
        ),
        ("API token", api.is_some()),
        ("invitation", !invited.unwrap().is_empty()),
        ("code", spent("code").await),
        ("refresh token", spent("refresh").await),
        ("handoff", spent("handoff").await),
        ("recovery code", spent("recovery").await),
    ] {
        if is_alive {
            alive.push(name);
        }
    }
    alive
}

#[tokio::test]
async fn what_was_revoked_since_and_all_else_is_dead_after_a_restore() {
    on_each(async |w| {
        let folder = Folder::new();
        let given = give_everything(w).await;
        let everything = alive(w, &w.store, &given).await;
        assert_eq!(everything.len(), 11, "{everything:?}");
        let file = folder.at("a.backup");
        take(w, &file).await;
        // Revoked, ended and spent since.
        w.clock.advance(30);
        w.write(async |tx| {
            grant::revoke_where(tx, grant::Which::One(&given.grant), "administrator").await?;
            session::delete_by_hash(tx, "session").await?;
            grant::redeem(tx, "code").await
        })
        .await
        .unwrap();
        let mut head = 0;
        for _ in 0..20 {
            w.store.record(w.event("test.lost")).await.unwrap();
        }
        for event in events(&w.store, &w.org).await {
            head = event.seq;
        }
        let digest = folder.at("digests");
        let mut digests = DigestFile::open(digest.clone(), &w.store).unwrap();
        digests.write(&w.store).await.unwrap();
        for (engine, place) in databases().await {
            println!("into {engine}");
            let (store, ended) = restore(w, &place, &file).await;
            assert_eq!(alive(w, &store, &given).await, [""; 0]);
            assert_eq!((ended.grants, ended.sessions, ended.api_tokens), (1, 2, 1));
            assert_eq!((ended.invitations, ended.recovery, ended.signing_keys), (1, 1, 1));
            assert_eq!(ended.service_tokens, ["Robot"]);

            // Positions that were given out since are not given out again, and the log says why.
            let log = events(&store, &w.org).await;
            let restored = log
                .iter()
                .find(|event| event.action == "system.restored")
                .unwrap();
            assert!(restored.seq > head, "{} after {head}", restored.seq);
            assert_eq!(restored.reason.as_deref(), Some("backup"));
            let after: Vec<_> = log.iter().filter(|event| event.seq > restored.seq).collect();
            let said = |action: &str| after.iter().filter(|event| event.action == action).count();
            assert_eq!((said("grant.revoke"), said("session.end")), (1, 2));
            assert_eq!((said("api_token.delete"), said("invitation.revoke")), (1, 1));
            assert_eq!((said("service_token.rotate"), said("signing_key.update")), (1, 1));
            assert!(log.iter().all(|event| event.action != "test.lost"));

            // It is a stated break, also for digests of what was lost, and goes on.
            let key = PublicKey::of(store.vault()).unwrap();
            let known = Digests::read(&digest, &key).unwrap().good;
            let found = verified(&store, &w.org, &known).await;
            assert_eq!(found.broken, None);
            assert_eq!(found.jumps.len(), 1);
            assert_eq!(found.jumps[0].1, 1);
            store.record(w.event("test.after")).await.unwrap();
            let mut file = DigestFile::open(folder.at(engine), &store).unwrap();
            file.write(&store).await.unwrap();
            let newer = Digests::read(&folder.at(engine), &key).unwrap().good;
            let both = [known, newer].concat();
            let found = verified(&store, &w.org, &both).await;
            assert_eq!((found.broken, found.digests), (None, 1));
            let mut copy = String::new();
            for event in events(&store, &w.org).await {
                copy += &(serde_json::to_string(&event).unwrap() + "\n");
            }
            let (_, found) = audit::verify_copy(copy.as_bytes(), &both).unwrap();
            assert_eq!((found.broken, found.jumps.len()), (None, 1));
            // A gap that nobody stated is one.
            let cut = copy.replacen("system.restored", "system.released", 1);
            let (_, found) = audit::verify_copy(cut.as_bytes(), &[]).unwrap();
            assert!(
                matches!(found.broken, Some(audit::Break::Missing(_))),
                "{:?}",
                found.broken
            );
            store.close().await;
            place.remove().await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_change_feed_and_webhooks_go_on_behind_what_was_given_out() {
    on_each(async |w| {
        let folder = Folder::new();
        let spec = WebhookSpec {
            name: "All".into(),
            url: "https://receiver.example.com/hook".into(),
            events: vec!["*".into()],
            allow_internal: false,
            enabled: true,
        };
        let hook = w.write(async |tx| webhook::create(tx, (&w.org, None), spec, "whsec_AAAA").await);
        let hook = hook.await.unwrap();
        take(w, &folder.at("a")).await;
        for n in 0..30 {
            w.account(&format!("Account {n}")).await;
        }
        let then = Mark::of(&w.store).await.unwrap();
        for (_, place) in databases().await {
            let (store, _) = restore(w, &place, &folder.at("a")).await;
            let now = Mark::of(&store).await.unwrap();
            assert!(now.changes > then.changes);
            // The gap is passed at once, whatever lies before it.
            for _ in 0..3 {
                webhook::collect(&store).await.unwrap();
            }
            let page = store::Paging::default();
            let sent = webhook::deliveries(&store, &hook.id, None, &page).await.unwrap();
            assert!(
                sent.iter().any(|sent| sent.action == "system.restored"),
                "{sent:?}"
            );
            store.close().await;
            place.remove().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_backup_is_of_one_moment_while_others_write() {
    on_each(async |w| {
        let folder = Folder::new();
        let stop = tokio_util::sync::CancellationToken::new();
        let writers = (0..4).map(|_| {
            let (store, event, stop) = (w.store.clone(), w.event("test.load"), stop.clone());
            tokio::spawn(async move {
                let mut written = 0;
                while !stop.is_cancelled() {
                    let mut tx = store.begin().await.unwrap();
                    tx.changed(store::Change::Config);
                    tx.commit(AuditEvent {
                        id: EventId::fresh(),
                        ..event.clone()
                    })
                    .await
                    .unwrap();
                    written += 1;
                }
                written
            })
        });
        let writers: Vec<_> = writers.collect();
        let mut taken: Vec<(PathBuf, i64)> = Vec::new();
        for n in 0..5 {
            let last = taken.last().map_or(0, |(_, seq)| *seq);
            while Mark::of(&w.store).await.unwrap().position(&w.org) <= last {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            let file = folder.at(&n.to_string());
            let header = take(w, &file).await.header;
            taken.push((file, header.logs[0].seq));
        }
        stop.cancel();
        let mut written = 0;
        for writer in writers {
            written += writer.await.unwrap();
        }
        assert!(written > 5);
        assert!(taken.windows(2).all(|two| two[0].1 < two[1].1), "{taken:?}");
        let (_, place) = databases().await.pop().unwrap();
        let (file, seq) = taken.last().unwrap();
        let (store, _) = restore(w, &place, file).await;
        let found = verified(&store, &w.org, &[]).await;
        assert_eq!(found.broken, None);
        assert_eq!(found.jumps[0].0.from, seq + 1);
        store.close().await;
        place.remove().await;
    })
    .await;
}

#[tokio::test]
async fn a_backup_is_private_whole_and_never_written_over() {
    use std::os::unix::fs::PermissionsExt as _;
    on_each(async |w| {
        let folder = Folder::new();
        let file = folder.at("a.backup");
        let taken = take(w, &file).await;
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(taken.bytes, std::fs::metadata(&file).unwrap().len());
        let header = backup::look(&w.database.options(&w.key, &w.clock), &file).unwrap();
        assert_eq!(
            (header.version.as_str(), header.taken_at),
            (VERSION, w.clock.now())
        );
        assert_eq!(header.key, w.store.vault().fingerprint());
        // The key is not in it, in no form.
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains(w.key.to_text().as_str()));
        let again = backup::take(&w.database.options(&w.key, &w.clock), &file, VERSION).await;
        assert!(words(again).contains("is there already"));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
        let other = MasterKey::generate().unwrap();
        let foreign = backup::take(&w.database.options(&other, &w.clock), &folder.at("b"), VERSION).await;
        assert!(words(foreign).contains("not the one under which"));
        // What was begun and not finished is gone.
        let left: Vec<_> = std::fs::read_dir(&folder.0).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    })
    .await;
}

#[tokio::test]
async fn a_backup_that_is_no_good_is_noticed_before_anything_is_restored() {
    on_each(async |w| {
        let folder = Folder::new();
        let file = folder.at("a.backup");
        take(w, &file).await;
        let good = std::fs::read(&file).unwrap();
        let text = String::from_utf8(good.clone()).unwrap();
        let middle = text.find("Person ada").unwrap();
        let mut flipped = good.clone();
        flipped[middle] ^= 1;
        let line = text[..text.len() - 1].rfind('\n').unwrap() + 1;
        // One row less, and the numbers made to fit, as somebody without the key can.
        let row = text.find("\n[").unwrap() + 1;
        let end = row + text[row..].find('\n').unwrap() + 1;
        let shorter = format!("{}{}", &text[..row], &text[end..line]);
        let trailer: serde_json::Value = serde_json::from_str(&text[line..]).unwrap();
        let forged = serde_json::json!({
            "rows": trailer["rows"].as_u64().unwrap() - 1,
            "sha256": store::sha256(&shorter),
            "mac": trailer["mac"],
        });
        let forged = format!(
            "{shorter}{{\"rows\":{},\"sha256\":{},\"mac\":{}}}\n",
            forged["rows"], forged["sha256"], forged["mac"]
        );
        for (name, bytes, says) in [
            ("one bit", flipped, "damaged"),
            ("no end", good[..line].to_vec(), "damaged"),
            ("half", good[..good.len() / 2].to_vec(), "damaged"),
            ("more behind", [good.as_slice(), b"x"].concat(), "damaged"),
            ("twice", [good.as_slice(), good.as_slice()].concat(), "damaged"),
            ("forged", forged.into_bytes(), "altered"),
            ("nothing", Vec::new(), "damaged"),
            ("another file", b"{}\n{}\n".to_vec(), "no backup"),
            (
                "newer form",
                text.replacen(":1,", ":2,", 1).into_bytes(),
                "does not know",
            ),
        ] {
            let bad = folder.at(name);
            std::fs::write(&bad, bytes).unwrap();
            for (_, place) in databases().await {
                let loaded = backup::load(&place.options(&w.key, &w.clock), &bad).await;
                let told = words(loaded);
                assert!(told.contains(says), "{name}: {told}");
                // Nothing was begun there.
                let loaded = backup::load(&place.options(&w.key, &w.clock), &file).await;
                assert!(matches!(loaded.unwrap(), Loaded::Now), "{name}");
                place.remove().await;
            }
        }
        let (_, place) = databases().await.pop().unwrap();
        let other = MasterKey::generate().unwrap();
        let told = words(backup::load(&place.options(&other, &w.clock), &file).await);
        assert!(told.contains("taken under the master key"), "{told}");
        place.remove().await;
    })
    .await;
}

#[tokio::test]
async fn a_place_that_is_not_empty_is_left_alone() {
    on_each(async |w| {
        let folder = Folder::new();
        let file = folder.at("a.backup");
        take(w, &file).await;
        let before = events(&w.store, &w.org).await.len();
        let told = words(backup::load(&w.database.options(&w.key, &w.clock), &file).await);
        assert!(told.contains("not empty"), "{told}");
        assert_eq!(events(&w.store, &w.org).await.len(), before);
        // Somebody else's tables are no empty place either.
        for (_, place) in databases().await {
            let make = if place.is_postgres() { "" } else { "?mode=rwc" };
            let url = format!("{}{make}", place.url);
            testkit::execute(&url, "CREATE TABLE theirs (x TEXT)").await;
            let told = words(backup::load(&place.options(&w.key, &w.clock), &file).await);
            assert!(told.contains("not empty"), "{told}");
            place.remove().await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_a_restore_brought_back_is_not_served_before_it_was_finished() {
    on_each(async |w| {
        let folder = Folder::new();
        let given = give_everything(w).await;
        let file = folder.at("a.backup");
        take(w, &file).await;
        for (_, place) in databases().await {
            let options = || place.options(&w.key, &w.clock);
            backup::load(&options(), &file).await.unwrap();
            // Killed here.
            let Err(Error::Invalid { detail, .. }) = place.open(&w.key, &w.clock).await else {
                panic!("it was opened");
            };
            assert!(detail.contains("not finished"), "{detail}");
            let again = backup::take(&options(), &folder.at("b"), VERSION).await;
            assert!(words(again).contains("not finished"));
            let loaded = backup::load(&options(), &file).await;
            assert!(matches!(loaded.unwrap(), Loaded::Before));
            let store = Store::open_with(options(), RESTORED).await.unwrap();
            store.forget_what_lived(Cause::Backup, None).await.unwrap();
            store.close().await;
            let store = place.open(&w.key, &w.clock).await.unwrap();
            assert_eq!(alive(w, &store, &given).await, [""; 0]);
            store.close().await;
            place.remove().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_backup_of_an_older_schema_is_brought_up_to_date_and_one_of_a_newer_is_refused() {
    static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations");
    for (_, old) in databases().await {
        let (key, clock) = (MasterKey::generate().unwrap(), Clock::manual(testkit::START));
        let folder = Folder::new();
        if old.is_postgres() {
            let mut connection = sqlx::PgConnection::connect(&old.url).await.unwrap();
            MIGRATIONS
                .run_direct(Some(17), &mut connection, false)
                .await
                .unwrap();
        } else {
            let url = format!("{}?mode=rwc", old.url);
            let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
            MIGRATIONS
                .run_direct(Some(17), &mut connection, false)
                .await
                .unwrap();
        }
        let org = OrgId::fresh();
        let vault = Vault::new(&key).unwrap();
        let check = vault.seal("master_key_check", b"chatelaine").unwrap();
        for sql in [
            format!("INSERT INTO meta (key, value) VALUES ('master_key_check', '{check}')"),
            format!(
                "INSERT INTO organisations (id, slug, spec, created_at, version) \
                 VALUES ('{org}', 'acme', '{{\"name\":\"Acme\"}}', 1, 1)"
            ),
            format!("INSERT INTO audit_heads (org, seq, hash) VALUES ('{org}', 0, '')"),
        ] {
            old.execute(&sql).await;
        }
        let file = folder.at("old");
        let taken = backup::take(&old.options(&key, &clock), &file, VERSION).await;
        assert_eq!(taken.unwrap().header.schema, 17);
        // Beyond what this binary knows.
        old.execute(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES (9999, 'later', TRUE, '', 0)",
        )
        .await;
        let newer = folder.at("newer");
        backup::take(&old.options(&key, &clock), &newer, VERSION)
            .await
            .unwrap();
        for (_, place) in databases().await {
            let told = words(backup::load(&place.options(&key, &clock), &newer).await);
            assert!(told.contains("9999"), "{told}");
            backup::load(&place.options(&key, &clock), &file).await.unwrap();
            let store = Store::open_with(place.options(&key, &clock), RESTORED)
                .await
                .unwrap();
            store.forget_what_lived(Cause::Backup, None).await.unwrap();
            assert_eq!(store::org::get(&store, &org).await.unwrap().slug, "acme");
            assert_eq!(verified(&store, &org, &[]).await.broken, None);
            store.close().await;
            place.remove().await;
        }
        old.remove().await;
    }
}
