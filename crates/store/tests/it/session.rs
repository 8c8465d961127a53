//! Browser sessions and the handoff from the control plane to an app.

use crate::world::{World, app_spec, assert_not_found, connection_spec, new_client, on_each};
use futures_util::future::join_all;
use store::{Change, Paging, connection, session};
use wire::{Authentication, NewConnectionMigration, OrgId, SessionId};

async fn saved(w: &World, hash: &str) -> Option<session::Record> {
    session::by_hash(&w.store, hash, w.clock.now()).await.unwrap()
}

#[tokio::test]
async fn a_session_is_saved_found_written_over_and_forgotten() {
    on_each(async |w| {
        let mut record = session::Record {
            user: None,
            org: None,
            ip: None,
            user_agent: None,
            ..w.record(&w.user)
        };
        w.session("cookie", record.clone()).await;
        assert_eq!(saved(w, "cookie").await.as_ref(), Some(&record));
        // Nobody is signed in yet: not on the page of sessions.
        let list = async || {
            session::list(&w.store, &w.org, None, w.clock.now(), &Paging::default())
                .await
                .unwrap()
        };
        assert!(list().await.is_empty());
        assert_not_found(session::get(&w.store, &w.org, &record.id).await);
        record.user = Some(w.user.id.clone());
        record.org = Some(w.org.clone());
        record.data = r#"{"a":1}"#.into();
        record.ip = Some("192.0.2.7".into());
        w.session("cookie", record.clone()).await;
        assert_eq!(saved(w, "cookie").await.as_ref(), Some(&record));
        assert_eq!(list().await.len(), 1);
        let shown = session::get(&w.store, &w.org, &record.id).await.unwrap();
        assert_eq!(
            (&shown.user, shown.ip.as_deref()),
            (&w.user.id, Some("192.0.2.7"))
        );
        assert_not_found(session::get(&w.store, &OrgId::fresh(), &record.id).await);
        let bob = w.person("bob").await;
        let page = Paging::default();
        let of_bob = session::list(&w.store, &w.org, Some(&bob.id), w.clock.now(), &page);
        assert!(of_bob.await.unwrap().is_empty());
        w.clock.advance(3600);
        assert_eq!(saved(w, "cookie").await, None);
        assert!(list().await.is_empty());
        let again = session::Record {
            expires_at: w.clock.now().plus_seconds(60),
            ..record
        };
        w.session("cookie", again).await;
        assert_eq!(list().await.len(), 1);
        w.write(async |tx| session::delete_by_hash(tx, "cookie").await)
            .await
            .unwrap();
        assert_eq!(saved(w, "cookie").await, None);
        w.write(async |tx| session::delete_by_hash(tx, "cookie").await)
            .await
            .unwrap();
    })
    .await;
}

#[tokio::test]
async fn the_end_of_a_session_ends_its_app_sessions_and_is_announced() {
    on_each(async |w| {
        let parent = w.session("control", w.record(&w.user)).await;
        let of_app = session::Record {
            app: Some(w.app.id.clone()),
            parent: Some(parent.clone()),
            ..w.record(&w.user)
        };
        let child = w.session("app", of_app).await;
        let unrelated = w.session("other", w.record(&w.user)).await;
        let mut changes = w.store.changes();
        w.write(async |tx| session::end(tx, &parent).await).await.unwrap();
        assert_eq!(saved(w, "control").await, None);
        assert_eq!(saved(w, "app").await, None);
        assert_eq!(saved(w, "other").await.unwrap().id, unrelated);
        let mut wanted = vec![Change::Session(parent), Change::Session(child)];
        while !wanted.is_empty() {
            let change = changes.recv().await.unwrap();
            wanted.retain(|w| *w != change);
        }
        w.write(async |tx| session::end_all_of(tx, &w.user.id, "test").await)
            .await
            .unwrap();
        assert_eq!(saved(w, "other").await, None);
    })
    .await;
}

#[tokio::test]
async fn a_session_that_has_ended_is_not_brought_back_by_a_late_write() {
    on_each(async |w| {
        let record = w.record(&w.user);
        let id = w.session("cookie", record.clone()).await;
        let late = session::Record {
            data: "late".into(),
            ..record
        };
        let update = async || {
            w.write(async |tx| session::update(tx, "cookie", &late).await)
                .await
                .unwrap()
        };
        assert!(update().await);
        assert_eq!(saved(w, "cookie").await.as_ref(), Some(&late));
        w.write(async |tx| session::end(tx, &id).await).await.unwrap();
        assert!(!update().await);
        assert_eq!(saved(w, "cookie").await, None);
    })
    .await;
}

async fn offer(w: &World, hash: &str, session: &SessionId) -> session::Handoff {
    let handoff = session::Handoff {
        app: w.app.id.clone(),
        user: w.user.id.clone(),
        session: session.clone(),
        state_hash: "state".into(),
        authentication: w.authentication(),
        expires_at: w.clock.now().plus_seconds(60),
    };
    w.write(async |tx| session::offer_handoff(tx, hash, &handoff).await)
        .await
        .unwrap();
    handoff
}

#[tokio::test]
async fn a_handoff_is_good_once_at_its_app_with_its_state() {
    on_each(async |w| {
        let session = w.session("control", w.record(&w.user)).await;
        let offered = offer(w, "handoff", &session).await;
        let spec = app_spec("Other", "https://other.example.com");
        let other = w
            .write(async |tx| store::app::create(tx, &w.org, &w.account.id, spec).await)
            .await
            .unwrap();
        let redeem = |app: &wire::AppId, state: &'static str| {
            let app = app.clone();
            w.write(async move |tx| session::redeem_handoff(tx, "handoff", &app, state).await)
        };
        assert_eq!(redeem(&other.id, "state").await.unwrap(), None);
        assert_eq!(redeem(&w.app.id, "wrong").await.unwrap(), None);
        let attempts = join_all((0..20).map(|_| redeem(&w.app.id, "state"))).await;
        let won: Vec<_> = attempts.into_iter().filter_map(|r| r.unwrap()).collect();
        assert_eq!(won, [offered]);
    })
    .await;
}

#[tokio::test]
async fn a_handoff_dies_with_its_session_and_after_a_minute() {
    on_each(async |w| {
        let first = w.session("control", w.record(&w.user)).await;
        offer(w, "a", &first).await;
        w.write(async |tx| session::end(tx, &first).await).await.unwrap();
        let redeem = async |hash: &str| {
            w.write(async |tx| session::redeem_handoff(tx, hash, &w.app.id, "state").await)
                .await
                .unwrap()
        };
        assert_eq!(redeem("a").await, None);
        let second = w.session("again", w.record(&w.user)).await;
        offer(w, "b", &second).await;
        w.clock.advance(60);
        assert_eq!(redeem("b").await, None);
    })
    .await;
}

/// What the migration of that name does to rows, without what it did to tables.
const UPGRADE: &str = include_str!("../../../../migrations/0018_whose_word.sql");

#[tokio::test]
async fn what_was_proven_before_proofs_named_a_connection_is_the_word_of_the_only_one_it_can_be() {
    on_each(async |w| {
        let by = w.connection.id.clone();
        let said = |amr: &[&str]| Authentication {
            connection: Some(by.clone()),
            amr: amr.iter().map(ToString::to_string).collect(),
            ..Authentication::NONE
        };
        let moved = w.person("moved").await;
        let data = |authentication: &str| {
            format!(
                r#"{{"login":{{"authentication":{authentication},"user_agent":"\"authentication\":{{}}"}}}}"#
            )
        };
        for (user, hash, old) in [
            (&w.user, "strong", r#"{"amr":["pwd","otp"]}"#),
            (&w.user, "none", "{}"),
            (&moved, "moved", r#"{"amr":["pwd","otp"]}"#),
        ] {
            w.session(
                hash,
                session::Record {
                    data: data(old),
                    ..w.record(user)
                },
            )
            .await;
            let sql = format!("UPDATE sessions SET authentication = '{old}' WHERE hash = '{hash}'");
            w.database.execute(&sql).await;
        }
        let client = w.agent(new_client()).await;
        let grant = w.used_grant(&w.user, &client, "code").await;
        w.database
            .execute(r#"UPDATE grants SET authentication = '{"amr":["pwd","otp"]}'"#)
            .await;
        let next = w
            .write(async |tx| connection::create(tx, &w.org, None, connection_spec("Next")).await)
            .await
            .unwrap();
        let migration = NewConnectionMigration {
            from: w.connection.id.clone(),
            to: next.id,
            domains: vec!["example.com".into()],
            link_on_sign_in: false,
        };
        let migration = w
            .write(async |tx| store::migration::create(tx, &w.org, migration.clone()).await)
            .await
            .unwrap();
        let (id, twin) = (&moved.id, w.person("twin").await.id);
        let migration = migration.migration.shown.id;
        let link = format!(
            "INSERT INTO connection_links (migration, from_user, to_user, state, manual) \
             VALUES ('{migration}', '{id}', '{twin}', 'linked', TRUE)"
        );
        w.database.execute(&link).await;
        for statement in UPGRADE
            .split(';')
            .filter(|sql| !sql.contains("ALTER TABLE") && !sql.trim().is_empty())
        {
            w.database.execute(statement).await;
        }
        let read = async |hash: &str| {
            let now = w.clock.now();
            let row = session::by_hash(&w.store, hash, now).await.unwrap().unwrap();
            let data: serde_json::Value = serde_json::from_str(&row.data).unwrap();
            let login: Authentication = testkit::from_json(data["login"]["authentication"].clone());
            assert_eq!(login, row.authentication, "{hash}");
            assert_eq!(
                data["login"]["user_agent"], r#""authentication":{}"#,
                "what a stranger wrote is text"
            );
            row.authentication
        };
        assert_eq!(read("strong").await, said(&["pwd", "otp"]));
        assert_eq!(read("none").await, said(&[]));
        assert_eq!(w.grant_now(&grant).await.authentication, said(&["pwd", "otp"]));
        // Whose identity was exchanged since may have shown it elsewhere.
        assert_eq!(read("moved").await.connection, None);
    })
    .await;
}
