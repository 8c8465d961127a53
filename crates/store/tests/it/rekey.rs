//! Changing the master key: nothing stays sealed under the old one, nothing is lost, whenever it is stopped.

use crate::world::{World, connection_spec, on_each};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;
use store::audit::{self, DigestFile, Digests, PublicKey};
use store::backup::{self, Mark};
use store::rekey::{Derived, PURPOSES, Rekeyed, SEALED};
use store::{Error, MasterKey, Opening, Store, Vault, connection, factor, idempotency, key, pending_login};
use store::{upstream_session, upstream_token, webhook};
use wire::*;

const NOW: Duration = Duration::ZERO;

async fn open(w: &World, next: &MasterKey) -> store::Result<Store> {
    let opening = Opening {
        next_key: Some(next),
        ..Opening::default()
    };
    Store::open_with(w.database.options(&w.key, &w.clock), opening).await
}

/// Everything that is sealed, once each, and many of one kind.
async fn seal_everything(w: &World) {
    let hook = WebhookSpec {
        name: "All".into(),
        url: "https://receiver.example.com/hook".into(),
        events: vec!["*".into()],
        allow_internal: false,
        enabled: true,
    };
    let session = w.session("session", w.record(&w.user)).await;
    w.write(async |tx| {
        let mut spec = connection_spec("Entra");
        spec.client_secret = Some("client secret".into());
        connection::create(tx, &w.org, None, spec).await?;
        let upstream = upstream_session::Upstream {
            sid: None,
            id_token: Some("id token"),
        };
        upstream_session::begin(tx, &session, &w.connection.id, upstream).await?;
        let client = (&w.connection.id, "client");
        upstream_token::keep(tx, &w.user.id, client, Some("refresh")).await?;
        pending_login::keep(tx, ("state", "holder"), &"data", 600).await?;
        let new = factor::New {
            kind: FactorKind::Totp,
            name: "phone",
            secret: b"totp key",
            credential: None,
            counter: 0,
        };
        factor::add(tx, &w.org, &w.user.id, new).await?;
        factor::set_recovery_codes(tx, &w.user.id, &["one".into(), "two".into()]).await?;
        let made = webhook::create(tx, (&w.org, None), hook, "whsec_AAAA").await?;
        webhook::rotate(tx, &made, "whsec_BBBB", 3600).await?;
        for n in 0..450 {
            let key = key::StoredKey {
                key: SigningKey {
                    id: KeyId::fresh(),
                    algorithm: "ES256".into(),
                    state: KeyState::Next,
                    created_at: w.clock.now(),
                    not_after: None,
                },
                org: w.org.clone(),
                public_jwk: serde_json::json!({ "n": n }),
                private: b"private".to_vec().into(),
            };
            key::create(tx, &key).await?;
        }
        Ok(())
    })
    .await
    .unwrap();
    idempotency::claim(&w.store, "key", "request").await.unwrap();
    idempotency::finish(&w.store, "key", "answer").await.unwrap();
}

/// The columns of which values open under a key, with how many: found by trying everything that there is.
async fn sealed_under(w: &World, by: &MasterKey, key: &MasterKey) -> BTreeMap<(String, String), usize> {
    let file = std::env::temp_dir().join(EventId::fresh().to_string());
    backup::take(&w.database.options(by, &w.clock), &file, "0")
        .await
        .unwrap();
    let found = opened(&file, &Vault::new(key).unwrap());
    std::fs::remove_file(file).unwrap();
    found
}

fn opened(file: &Path, vault: &Vault) -> BTreeMap<(String, String), usize> {
    let text = std::fs::read_to_string(file).unwrap();
    let header: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let mut found = BTreeMap::new();
    let (mut table, mut columns) = (String::new(), Vec::new());
    for line in text.lines().skip(1) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        if let Some(name) = line["table"].as_str() {
            table = name.to_owned();
            let all = header["tables"].as_array().unwrap();
            let this = all.iter().find(|t| t["name"] == name).unwrap();
            let names = this["columns"].as_array().unwrap().iter();
            columns = names.map(|c| c[0].as_str().unwrap().to_owned()).collect();
        }
        let row: Vec<_> = line.as_array().into_iter().flatten().collect();
        for (value, column) in row.iter().zip(&columns) {
            let Some(value) = value.as_str().filter(|value| value.len() >= 38) else {
                continue;
            };
            // Its context may be any other value of the row.
            let mut contexts = row.iter().filter_map(|context| context.as_str());
            if contexts.any(|context| vault.open(context, value).is_ok()) {
                *found.entry((table.clone(), column.clone())).or_default() += 1;
            }
        }
    }
    found
}

fn names(found: &BTreeMap<(String, String), usize>) -> BTreeSet<String> {
    found
        .keys()
        .map(|(table, column)| format!("{table}.{column}"))
        .collect()
}

/// What is sealed: what has to be sealed anew, and in `meta` the check of the key itself and what is carried on.
fn all_columns() -> BTreeSet<String> {
    let sealed = SEALED
        .iter()
        .map(|(table, _, column)| format!("{table}.{column}"));
    sealed.chain(["meta.value".to_owned()]).collect()
}

#[tokio::test]
async fn nothing_stays_under_the_old_key_and_nothing_is_lost() {
    on_each(async |w| {
        seal_everything(w).await;
        w.store.record(w.event("test.before")).await.unwrap();
        let folder = std::env::temp_dir().join(EventId::fresh().to_string());
        std::fs::create_dir(&folder).unwrap();
        let digests = folder.join("digests");
        DigestFile::open(digests.clone(), &w.store)
            .unwrap()
            .write(&w.store)
            .await
            .unwrap();
        let mark = folder.join("mark");
        Mark::of(&w.store)
            .await
            .unwrap()
            .write(&mark, w.store.vault())
            .unwrap();

        // Every column that is sealed is known: whoever seals another one has to put it into the table.
        let before = sealed_under(w, &w.key, &w.key).await;
        assert_eq!(names(&before), all_columns());

        let next = MasterKey::generate().unwrap();
        let store = open(w, &next).await.unwrap();
        let done = store.rekey(NOW).await.unwrap();
        assert_eq!(done.sealed, before.values().sum::<usize>() as u64 - 1, "{done:?}");
        assert_eq!(done.unreadable, [""; 0]);
        assert!(!done.resumed && !done.done_before);
        assert_eq!(sealed_under(w, &next, &w.key).await, BTreeMap::new());
        let after = sealed_under(w, &next, &next).await;
        assert_eq!(names(&after), all_columns());
        let again = store.rekey(NOW).await.unwrap();
        assert_eq!(
            again,
            Rekeyed {
                done_before: true,
                ..Rekeyed::default()
            }
        );
        store.close().await;

        // The old key is worth nothing, and the new one is enough.
        let Err(Error::Invalid { pointer, .. }) = w.database.open(&w.key, &w.clock).await else {
            panic!("it was opened under the old key");
        };
        assert_eq!(pointer, "/master_key");
        let store = w.database.open(&next, &w.clock).await.unwrap();
        assert_eq!(key::all(&store).await.unwrap().len(), 450);
        let mut tx = store.begin().await.unwrap();
        let known = factor::known(&mut tx, &w.user.id).await.unwrap();
        assert_eq!(known[0].secret.as_slice(), b"totp key");
        // What was proven before and cannot be proven anew goes on to count.
        assert!(
            factor::spend_recovery_code(&mut tx, &w.user.id, "one")
                .await
                .unwrap()
        );
        assert!(
            !factor::spend_recovery_code(&mut tx, &w.user.id, "three")
                .await
                .unwrap()
        );
        drop(tx);
        assert!(Mark::read(&mark, store.vault()).unwrap().is_some());
        let public = PublicKey::of(store.vault()).unwrap();
        let read = Digests::read(&digests, &public).unwrap();
        assert_eq!((read.good.len(), read.bad.len()), (1, 0));
        let found = audit::verify(&store, &w.org, &read.good).await.unwrap();
        assert_eq!((found.broken, found.digests), (None, 1));
        let told: Vec<_> = events(&store, &w.org).await;
        let told: Vec<_> = told.iter().filter_map(|event| event.reason.as_deref()).collect();
        assert_eq!(told, ["begun", "completed"]);

        // And once more: what was carried once is carried on.
        let third = MasterKey::generate().unwrap();
        let opening = Opening {
            next_key: Some(&third),
            ..Opening::default()
        };
        let again = Store::open_with(w.database.options(&next, &w.clock), opening)
            .await
            .unwrap();
        again.rekey(NOW).await.unwrap();
        let mut tx = again.begin().await.unwrap();
        assert!(
            factor::spend_recovery_code(&mut tx, &w.user.id, "two")
                .await
                .unwrap()
        );
        drop(tx);
        let public = PublicKey::of(again.vault()).unwrap();
        assert_eq!(Digests::read(&digests, &public).unwrap().good.len(), 1);
        again.close().await;
        store.close().await;
        std::fs::remove_dir_all(folder).unwrap();
    })
    .await;
}

async fn events(store: &Store, org: &OrgId) -> Vec<AuditEvent> {
    let filter = audit::Filter {
        action: Some("master_key.rotate".into()),
        ..audit::Filter::default()
    };
    let all = (audit::Order::Oldest, None);
    audit::list(store, org, &filter, all, 100).await.unwrap()
}

#[tokio::test]
async fn it_goes_on_wherever_it_was_killed() {
    on_each(async |w| {
        seal_everything(w).await;
        let next = MasterKey::generate().unwrap();
        let mut killed = 0;
        for millis in (1..).map(|n| n * 9) {
            // Each is a process of its own that is gone from one moment to the next.
            let store = open(w, &next).await.unwrap();
            let done = tokio::time::timeout(Duration::from_millis(millis), store.rekey(NOW)).await;
            store.close().await;
            match done {
                Err(_) => killed += 1,
                Ok(done) => {
                    assert_eq!(done.unwrap().unreadable, [""; 0]);
                    break;
                }
            }
            // Half-way, both keys are needed, and both are enough.
            let both = open(w, &next).await.unwrap();
            assert_eq!(key::all(&both).await.unwrap().len(), 450);
            let found = audit::verify(&both, &w.org, &[]).await.unwrap();
            assert_eq!(found.broken, None);
            if both.is_rekeying().await.unwrap() {
                for one in [&w.key, &next] {
                    let opened = w.database.open(one, &w.clock).await;
                    assert!(
                        matches!(opened, Err(Error::Invalid { .. })),
                        "one key is not enough"
                    );
                }
                let file = std::env::temp_dir().join(EventId::fresh().to_string());
                let taken = backup::take(&w.database.options(&next, &w.clock), &file, "0").await;
                assert!(taken.is_err());
            }
            both.close().await;
        }
        assert!(killed > 1, "it was never killed half-way");
        assert_eq!(sealed_under(w, &next, &w.key).await, BTreeMap::new());
        let store = w.database.open(&next, &w.clock).await.unwrap();
        let found = audit::verify(&store, &w.org, &[]).await.unwrap();
        assert_eq!(found.broken, None);
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn servers_go_on_meanwhile_and_one_without_the_new_key_denies() {
    on_each(async |w| {
        seal_everything(w).await;
        let next = MasterKey::generate().unwrap();
        let serving = open(w, &next).await.unwrap();
        let name = serving.vault().fingerprint();
        let changing = open(w, &next).await.unwrap();
        let stop = tokio_util::sync::CancellationToken::new();
        let writing = {
            let (store, stop, event) = (serving.clone(), stop.clone(), w.event("test.meanwhile"));
            tokio::spawn(async move {
                while !stop.is_cancelled() {
                    let mut tx = store.begin().await.unwrap();
                    let state = EventId::fresh().to_string();
                    let place = (state.as_str(), "holder");
                    pending_login::keep(&mut tx, place, &"data", 600).await.unwrap();
                    let event = AuditEvent {
                        id: EventId::fresh(),
                        ..event.clone()
                    };
                    tx.commit(event).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
        };
        changing.rekey(Duration::from_secs(2)).await.unwrap();
        stop.cancel();
        writing.await.unwrap();
        assert_ne!(serving.vault().fingerprint(), name);
        assert!(serving.is_current());
        assert_eq!(sealed_under(w, &next, &w.key).await, BTreeMap::new());
        let found = audit::verify(&serving, &w.org, &[]).await.unwrap();
        assert_eq!(found.broken, None);
        // It has the old key only, and cannot read what the others write.
        let began = std::time::Instant::now();
        while w.store.is_current() {
            assert!(began.elapsed() < Duration::from_secs(10));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        changing.close().await;
        serving.close().await;
    })
    .await;
}

#[test]
fn every_key_that_follows_from_the_master_key_is_known() {
    let mut found = BTreeSet::new();
    each_source(|_, text| {
        for call in ["mac_key(", "mac_keys(", "mac_fits(", "seed(", "seeds("] {
            for rest in text.split(call).skip(1) {
                if let Some(rest) = rest.trim_start().strip_prefix('"') {
                    found.insert(rest.split('"').next().unwrap().to_owned());
                }
            }
        }
    });
    // The one that is named by a constant.
    found.insert("mark".into());
    let known: BTreeSet<_> = PURPOSES
        .iter()
        .map(|(purpose, _)| (*purpose).to_owned())
        .collect();
    assert_eq!(found, known);
    assert!(PURPOSES.iter().any(|(_, fate)| *fate == Derived::Renewed));
}

/// Where something is sealed, and how often: whoever seals something else has it sealed anew as well, by a line in `SEALED`
/// and one in `seal_everything`, and then counts it here.
#[test]
fn everything_that_is_sealed_is_known() {
    const KNOWN: &[(&str, usize)] = &[
        ("connection.rs", 2),
        ("factor.rs", 2),
        ("idempotency.rs", 1),
        ("key.rs", 1),
        // In a browser's session, for the minutes of setting up a factor.
        ("manage.rs", 1),
        // In a form, for the five minutes of a challenge.
        ("passkey.rs", 1),
        ("pending_login.rs", 1),
        // What is there before, and what is sealed anew.
        ("rekey.rs", 2),
        ("upstream_session.rs", 1),
        ("upstream_token.rs", 2),
        ("webhook.rs", 2),
    ];
    let mut found = BTreeMap::new();
    each_source(|name, text| {
        let compact: String = text.split_whitespace().collect();
        let count = compact.matches("vault().seal(").count() + compact.matches("vault.seal(").count();
        if count > 0 {
            *found.entry(name.to_owned()).or_default() += count;
        }
    });
    let known: BTreeMap<_, _> = KNOWN
        .iter()
        .map(|(name, count)| ((*name).to_owned(), *count))
        .collect();
    assert_eq!(found, known);
}

/// Every source file of every crate but the vault's own, with its name.
fn each_source(mut look: impl FnMut(&str, &str)) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() && !["tests", "target", "examples"].contains(&name.as_str()) {
                folders.push(path);
            } else if name.ends_with(".rs") && name != "vault.rs" {
                look(&name, &std::fs::read_to_string(&path).unwrap());
            }
        }
    }
}
