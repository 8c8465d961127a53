//! Whose public hosts are.

use crate::world::{World, account_spec, app_spec, assert_conflict, assert_not_found, assert_stale, on_each};
use futures_util::future::join_all;
use store::{Paging, Store, app, host, org};
use wire::*;

async fn publish(w: &World, account: &Account, name: &str, url: &str) -> store::Result<App> {
    let spec = app_spec(name, url);
    w.write(async |tx| app::create(tx, &w.org, &account.id, spec).await)
        .await
}

async fn named(store: &Store, org: &OrgId, name: &str) -> Option<Host> {
    let all = host::list(store, org, None, &Paging::default()).await.unwrap();
    all.into_iter().find(|host| host.name == name)
}

fn spec(account: &Account, shared_with: &[&Account]) -> HostSpec {
    HostSpec {
        account: account.id.clone(),
        shared_with: shared_with.iter().map(|a| a.id.clone()).collect(),
    }
}

#[tokio::test]
async fn foreign_place_belongs_to_whoever_had_it_first() {
    on_each(async |w| {
        let labs = w.account("Labs").await;
        for (n, url) in [
            "https://wiki.example.com/hook/x",
            "https://wiki.example.com/",
            // Cookies know neither port nor scheme.
            "http://wiki.example.com/x",
            "https://wiki.example.com:8443/x",
            "http://wiki.example.com:443/x",
            // A dot at the end is the same name.
            "https://wiki.example.com./x",
        ]
        .into_iter()
        .enumerate()
        {
            assert_conflict(publish(w, &labs, &format!("X{n}"), url).await);
        }
        // Its own account may, and others have other names.
        publish(w, &w.account, "Hook", "https://wiki.example.com/hook")
            .await
            .unwrap();
        publish(w, &w.account, "Admin", "https://wiki.example.com:8443")
            .await
            .unwrap();
        for (n, url) in [
            "https://labs.wiki.example.com",
            "https://example.com",
            "http://127.0.0.1:7411",
        ]
        .into_iter()
        .enumerate()
        {
            publish(w, &labs, &format!("Y{n}"), url).await.unwrap();
        }
        // On loopback there is nothing but ports.
        publish(w, &w.account, "Local", "http://127.0.0.1:7412")
            .await
            .unwrap();
        assert_conflict(publish(w, &w.account, "Local 2", "http://127.0.0.1:7411/x").await);
        let host = named(&w.store, &w.org, "wiki.example.com").await.unwrap();
        assert_eq!(host.account, Some(w.account.id.clone()));
        assert_eq!(host.apps.len(), 3);
        assert!(!host.has_conflict());
    })
    .await;
}

#[tokio::test]
async fn foreign_place_is_not_moved_to_either() {
    on_each(async |w| {
        let labs = w.account("Labs").await;
        let notes = publish(w, &labs, "Notes", "https://notes.example.com")
            .await
            .unwrap();
        let moved = app_spec("Notes", "https://wiki.example.com/notes");
        assert_conflict(w.write(async |tx| app::update(tx, &notes, moved).await).await);
        // Where it was stays its account's, although nothing lies there any more.
        let away = app_spec("Notes", "https://other.example.com");
        let away = w
            .write(async |tx| app::update(tx, &notes, away).await)
            .await
            .unwrap();
        assert_conflict(publish(w, &w.account, "Notes", "https://notes.example.com").await);
        let back = app_spec("Notes", "https://notes.example.com/x");
        w.write(async |tx| app::update(tx, &away, back).await)
            .await
            .unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_host_outlives_its_apps_until_it_is_given_up() {
    on_each(async |w| {
        let labs = w.account("Labs").await;
        let place = named(&w.store, &w.org, "wiki.example.com").await.unwrap();
        assert_conflict(w.write(async |tx| host::delete(tx, &place).await).await);
        w.write(async |tx| app::delete(tx, &w.app).await).await.unwrap();
        assert_conflict(publish(w, &labs, "Wiki", "https://wiki.example.com").await);
        let again = publish(w, &w.account, "Wiki", "https://wiki.example.com")
            .await
            .unwrap();
        w.write(async |tx| app::delete(tx, &again).await).await.unwrap();
        let stale = Host {
            version: 7,
            ..place.clone()
        };
        assert_stale(w.write(async |tx| host::delete(tx, &stale).await).await);
        w.write(async |tx| host::delete(tx, &place).await).await.unwrap();
        assert_not_found(host::get(&w.store, &w.org, &place.id).await);
        publish(w, &labs, "Wiki", "https://wiki.example.com")
            .await
            .unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_host_is_shared_and_moved_on_purpose() {
    on_each(async |w| {
        let (labs, sales) = (w.account("Labs").await, w.account("Sales").await);
        let place = named(&w.store, &w.org, "wiki.example.com").await.unwrap();
        let change = async |host: &Host, to: HostSpec| {
            w.write(async |tx| host::update(tx, &w.org, host, &to).await)
                .await
        };
        let shared = change(&place, spec(&w.account, &[&labs])).await.unwrap();
        assert_eq!(
            (shared.shared_with.clone(), shared.version),
            (vec![labs.id.clone()], 2)
        );
        let hook = publish(w, &labs, "Hook", "https://wiki.example.com/hook")
            .await
            .unwrap();
        assert_conflict(publish(w, &sales, "Hook", "https://wiki.example.com/sales").await);
        // Nobody loses a host under whose feet an app of theirs stands.
        assert_conflict(change(&shared, spec(&w.account, &[])).await);
        assert_conflict(change(&shared, spec(&labs, &[])).await);
        assert_stale(change(&place, spec(&labs, &[&w.account])).await);
        let moved = change(&shared, spec(&labs, &[&w.account])).await.unwrap();
        assert!(!moved.has_conflict() && moved.apps.len() == 2);
        w.write(async |tx| app::delete(tx, &hook).await).await.unwrap();
        let back = change(&moved, spec(&w.account, &[&labs])).await.unwrap();
        change(&back, spec(&w.account, &[])).await.unwrap();
        assert_conflict(publish(w, &labs, "Hook", "https://wiki.example.com/hook").await);
        // One that is kept before anything is there.
        let kept = w.write(async |tx| host::create(tx, &w.org, "crm.example.com", &spec(&sales, &[])).await);
        kept.await.unwrap();
        assert_conflict(publish(w, &labs, "CRM", "https://crm.example.com").await);
        publish(w, &sales, "CRM", "https://crm.example.com")
            .await
            .unwrap();
        let taken =
            async |tx: &mut store::Tx| host::create(tx, &w.org, "wiki.example.com", &spec(&labs, &[])).await;
        assert_conflict(w.write(taken).await);
    })
    .await;
}

#[tokio::test]
async fn of_two_who_publish_at_once_one_is_first() {
    on_each(async |w| {
        let (labs, sales) = (w.account("Labs").await, w.account("Sales").await);
        let other = w.other_instance().await;
        for n in 0..5 {
            let url = format!("https://race{n}.example.com");
            let tries = [
                (&w.store, &labs, "a"),
                (&other, &sales, "b"),
                (&other, &labs, "c"),
                (&w.store, &sales, "d"),
            ];
            let done = join_all(tries.map(|(store, account, path)| {
                let spec = app_spec(&format!("Race {n} {path}"), &format!("{url}/{path}"));
                w.write_at(store, async move |tx| {
                    app::create(tx, &w.org, &account.id, spec).await
                })
            }))
            .await;
            let done: Vec<bool> = done.iter().map(Result::is_ok).collect();
            assert!(
                done == [true, false, true, false] || done == [false, true, false, true],
                "{done:?}"
            );
        }
        // One who publishes while the host is taken away from them.
        for n in 0..5 {
            let name = format!("shared{n}.example.com");
            let kept = w.write(async |tx| host::create(tx, &w.org, &name, &spec(&sales, &[&labs])).await);
            let kept = kept.await.unwrap();
            let app = app_spec(&format!("Shared {n}"), &format!("https://{name}"));
            let alone = spec(&sales, &[]);
            let (published, alone) = tokio::join!(
                w.write_at(&w.store, async |tx| app::create(tx, &w.org, &labs.id, app).await),
                w.write_at(&other, async |tx| host::update(tx, &w.org, &kept, &alone).await),
            );
            assert_ne!(published.is_ok(), alone.is_ok());
            assert!(!named(&w.store, &w.org, &name).await.unwrap().has_conflict());
        }
        other.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_host_is_one_for_all_organisations() {
    on_each(async |w| {
        let (theirs, account) = w
            .write(async |tx| {
                let spec = OrganisationSpec {
                    name: "Other".into(),
                    ..OrganisationSpec::default()
                };
                let theirs = org::create(tx, "other", spec).await?;
                let account = org::create_account(tx, &theirs.id, account_spec("Main")).await?;
                Ok((theirs, account))
            })
            .await
            .unwrap();
        let foreign = app_spec("Hook", "https://wiki.example.com/hook");
        let refused = w
            .write(async |tx| app::create(tx, &theirs.id, &account.id, foreign).await)
            .await
            .unwrap_err();
        // Whose it is, is not told.
        let text = refused.to_string();
        assert!(
            text.contains("a different account") && !text.contains("acc_"),
            "{text}"
        );
        let place = named(&w.store, &w.org, "wiki.example.com").await.unwrap();
        assert!(named(&w.store, &theirs.id, "wiki.example.com").await.is_none());
        assert_not_found(host::get(&w.store, &theirs.id, &place.id).await);
    })
    .await;
}

#[tokio::test]
async fn an_account_that_goes_gives_its_hosts_up() {
    on_each(async |w| {
        let (labs, sales) = (w.account("Labs").await, w.account("Sales").await);
        let notes = publish(w, &labs, "Notes", "https://notes.example.com")
            .await
            .unwrap();
        let place = named(&w.store, &w.org, "notes.example.com").await.unwrap();
        let shared = spec(&labs, &[&sales]);
        w.write(async |tx| host::update(tx, &w.org, &place, &shared).await)
            .await
            .unwrap();
        let theirs = publish(w, &sales, "Hook", "https://notes.example.com/hook")
            .await
            .unwrap();
        w.write(async |tx| app::delete(tx, &notes).await).await.unwrap();
        // Others still publish there: somebody has to say whose it will be.
        assert_conflict(w.write(async |tx| org::delete_account(tx, &labs).await).await);
        w.write(async |tx| app::delete(tx, &theirs).await).await.unwrap();
        w.write(async |tx| org::delete_account(tx, &labs).await)
            .await
            .unwrap();
        assert!(named(&w.store, &w.org, "notes.example.com").await.is_none());
        w.write(async |tx| org::delete_account(tx, &sales).await)
            .await
            .unwrap();
    })
    .await;
}

#[tokio::test]
async fn nobody_takes_all_names() {
    on_each(async |w| {
        let labs = w.account("Labs").await;
        let mut app = publish(w, &labs, "Squatter", "https://n0.example.com")
            .await
            .unwrap();
        let mut taken = 1;
        let refused = loop {
            let next = app_spec("Squatter", &format!("https://n{taken}.example.com"));
            match w.write(async |tx| app::update(tx, &app, next).await).await {
                Ok(after) => app = after,
                Err(refused) => break refused,
            }
            taken += 1;
            assert!(taken < 300, "a single account takes every name");
        };
        assert!(refused.to_string().contains("hosts without an app"), "{refused}");
        publish(w, &w.account, "Mine", "https://mine.example.com")
            .await
            .unwrap();
    })
    .await;
}

#[tokio::test]
async fn hosts_of_before_belong_to_the_oldest_app_and_conflicts_are_named() {
    on_each(async |w| {
        let labs = w.account("Labs").await;
        w.clock.advance(60);
        let notes = publish(w, &labs, "Notes", "https://notes.example.com").await.unwrap();
        let ports = publish(w, &labs, "Ports", "http://127.0.0.1:7411/x").await.unwrap();
        let six = publish(w, &labs, "Six", "https://[2001:db8::1]:8443").await.unwrap();
        // As it was before anybody asked whose a host is.
        let spec = format!(
            "UPDATE apps SET authority = 'wiki.example.com:8443', path = '/hook', \
             spec = replace(spec, 'https://notes.example.com', 'https://wiki.example.com:8443/hook') WHERE id = '{}'",
            notes.id
        );
        for sql in [
            spec.as_str(),
            "UPDATE apps SET host = ''",
            "DELETE FROM host_shares",
            "DELETE FROM hosts",
        ] {
            w.database.execute(sql).await;
        }
        // What the migration does to them.
        let migration = include_str!("../../../../migrations/0014_hosts.sql");
        for statement in migration.split(";\n").map(without_comments) {
            if statement.starts_with("UPDATE") || statement.starts_with("INSERT") {
                w.database.execute(&statement).await;
            }
        }
        let hosts = host::list(&w.store, &w.org, None, &Paging::default()).await.unwrap();
        let mut names: Vec<_> = hosts.iter().map(|host| host.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["127.0.0.1:7411", "[2001:db8::1]", "wiki.example.com"]);
        for app in [&ports, &six] {
            let authority = app.spec.public_url.split('/').nth(2).unwrap();
            let place = named(&w.store, &w.org, &host::of_authority(authority)).await.unwrap();
            assert_eq!((place.account, place.apps[0].conflict), (Some(labs.id.clone()), false));
        }
        let place = named(&w.store, &w.org, "wiki.example.com").await.unwrap();
        assert_eq!(place.account, Some(w.account.id.clone()));
        let marked: Vec<_> = place.apps.iter().map(|app| (app.id.clone(), app.conflict)).collect();
        assert_eq!(marked, [(w.app.id.clone(), false), (notes.id.clone(), true)]);
        let found = host::conflicts(&w.store, crate::world::CONTROL).await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].0.as_str(), &found[0].1.id), ("wiki.example.com", &notes.id));
        // It works as before, and can be changed, but not moved about under the host.
        let notes = app::get(&w.store, &w.org, &notes.id).await.unwrap();
        let renamed = AppSpec { name: "Renamed".into(), ..notes.spec.clone() };
        let renamed = w.write(async |tx| app::update(tx, &notes, renamed).await).await.unwrap();
        let moved = AppSpec { public_url: "https://wiki.example.com/x".into(), ..renamed.spec.clone() };
        assert_conflict(w.write(async |tx| app::update(tx, &renamed, moved).await).await);
        assert!(w.store.directory().at("wiki.example.com:8443", "/hook").is_some());
        // Sharing settles it; and other changes do not stumble over it.
        let settled = spec_of(&w.account.id, &labs.id);
        w.write(async |tx| host::update(tx, &w.org, &place, &settled).await).await.unwrap();
        assert!(host::conflicts(&w.store, crate::world::CONTROL).await.unwrap().is_empty());
    })
    .await;
}

fn spec_of(owner: &AccountId, guest: &AccountId) -> HostSpec {
    HostSpec {
        account: owner.clone(),
        shared_with: vec![guest.clone()],
    }
}

fn without_comments(statement: &str) -> String {
    let lines = statement.lines().filter(|line| !line.starts_with("--"));
    lines.collect::<Vec<_>>().join("\n").trim().to_owned()
}
