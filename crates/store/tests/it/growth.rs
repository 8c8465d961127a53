//! What something costs depends on what it concerns, not on how much else there is: statements and rows are counted, on
//! SQLite the engine's steps, too, beside few others and beside a hundred times as many.

use crate::world::{World, account_spec, connection_spec, identity, on_each};
use std::fmt::Write as _;
use store::{Load, Paging, Purpose, Shown, Store, user, webhook};
use wire::*;

/// What something asked the database.
async fn cost<T>(store: &Store, what: impl AsyncFnOnce() -> T) -> (T, Load) {
    let before = store.load(Purpose::Control);
    let done = what().await;
    let after = store.load(Purpose::Control);
    let load = Load {
        statements: after.statements - before.statements,
        rows: after.rows - before.rows,
        steps: after.steps - before.steps,
    };
    (done, load)
}

/// The same statements and rows, and not twice the steps; a few are a matter of chance.
#[track_caller]
fn assert_alike(what: &str, few: Load, many: Load) {
    println!("  {what}: {few:?}, beside a hundred times as many {many:?}");
    assert_eq!((few.statements, few.rows), (many.statements, many.rows), "{what}");
    assert!(many.steps <= 2 * few.steps + 20, "{what}: {few:?} {many:?}");
}

/// More people of a connection, each with an address of their own.
async fn crowd(w: &World, connection: &ConnectionId, people: std::ops::Range<usize>) {
    let ids: Vec<usize> = people.collect();
    for some in ids.chunks(500) {
        let mut sql =
            "INSERT INTO users (id, org, connection, issuer, subject, email, email_verified, name, claims, \
                       idp_groups, disabled, created_at, last_login_at, version) VALUES "
                .to_owned();
        for (i, n) in some.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            let _ = write!(
                sql,
                "{comma}('usr_{n:032x}', '{}', '{connection}', 'https://idp.example.com', 's{n}', \
                 'p{n}@example.com', TRUE, 'Person {n}', '{{}}', '[]', FALSE, 0, 0, 1)",
                w.org
            );
        }
        w.database.execute(&sql).await;
    }
}

/// A second connection to which the organisation has changed over, linking people at their first sign-in.
async fn changed_over(w: &World) -> Connection {
    let to = w
        .write(async |tx| store::connection::create(tx, &w.org, None, connection_spec("Entra")).await)
        .await
        .unwrap();
    let (id, from) = (ConnectionMigrationId::fresh(), &w.connection.id);
    let sql = format!(
        "INSERT INTO connection_migrations (id, org, from_connection, to_connection, domains, link_on_sign_in, \
         state, undo, created_at, version) VALUES ('{id}', '{}', '{from}', '{}', '[\"example.com\"]', TRUE, \
         'cut_over', '{{\"made\":[],\"first\":[],\"cut_over\":[],\"primary\":null}}', 0, 1)",
        w.org, to.id
    );
    w.database.execute(&sql).await;
    to
}

#[tokio::test]
async fn the_other_half_of_a_first_sign_in_is_found_by_its_address() {
    on_each(async |w| {
        let to = changed_over(w).await;
        crowd(w, &w.connection.id, 0..30).await;
        let arrives = async |n: usize| {
            let identity = user::Identity {
                // Case is no difference.
                email: Some(format!("P{n}@Example.com")),
                email_verified: true,
                ..identity(&to.id, &format!("new {n}"))
            };
            let mut tx = w.store.begin().await.unwrap();
            let person = user::sign_in(&mut tx, &w.org, identity).await.unwrap();
            tx.commit_housekeeping().await.unwrap();
            person.user.id
        };
        let old = |n: usize| format!("usr_{n:032x}");
        // What is asked for the first time is prepared.
        arrives(1).await;
        let (linked, few) = cost(&w.store, async || arrives(2).await).await;
        assert_eq!(linked.to_string(), old(2), "they are who they were");
        crowd(w, &w.connection.id, 30..3_000).await;
        crowd(w, &to.id, 3_000..6_000).await;
        let links = "INSERT INTO connection_links (migration, from_user, to_user, state, manual) \
                     SELECT m.id, a.id, b.id, 'rejected', FALSE FROM connection_migrations m, users a, users b \
                     WHERE a.connection = m.from_connection AND b.connection = m.to_connection \
                     AND b.subject = 's' || (3000 + CAST(substr(a.subject, 2) AS BIGINT)) AND a.subject LIKE 's%' AND length(a.subject) > 3";
        assert!(w.database.execute(links).await > 2_800);
        let (linked, many) = cost(&w.store, async || arrives(3).await).await;
        assert_eq!(linked.to_string(), old(3));
        assert_alike("a first sign-in that links", few, many);
        // Two with one address are two; so is one whom the new connection knows already.
        w.database
            .execute(&format!(
                "UPDATE users SET email = 'p5@example.com' WHERE id = '{}'",
                old(6)
            ))
            .await;
        assert_ne!(arrives(5).await.to_string(), old(5));
        assert_ne!(arrives(3_000).await.to_string(), old(3_000));
    })
    .await;
}

#[tokio::test]
async fn people_of_an_account_are_listed_without_a_look_at_everybody_else() {
    on_each(async |w| {
        let own = w
            .write(async |tx| {
                store::connection::create(tx, &w.org, Some(&w.account.id), connection_spec("Own")).await
            })
            .await
            .unwrap();
        crowd(w, &w.connection.id, 0..30).await;
        crowd(w, &own.id, 900_000..900_020).await;
        let connections = [(own.id.clone(), Shown::ALL)];
        let page = Paging {
            limit: 10,
            after: None,
        };
        let list = async || {
            let found = user::list_shown(&w.store, &w.org, (None, None), &connections, &page);
            found.await.unwrap().len()
        };
        let people = async || {
            let ids = [own.id.clone()];
            user::people(&w.store, &w.org, &ids, &page).await.unwrap().len()
        };
        let search = async || {
            let found = user::list_shown(&w.store, &w.org, (Some("PERSON 9000"), None), &connections, &page);
            found.await.unwrap().len()
        };
        assert_eq!((list().await, people().await, search().await), (11, 11, 11));
        let (_, few) = cost(&w.store, &list).await;
        let (_, few_people) = cost(&w.store, &people).await;
        let (_, few_found) = cost(&w.store, &search).await;
        crowd(w, &w.connection.id, 30..3_000).await;
        let (_, many) = cost(&w.store, &list).await;
        let (_, many_people) = cost(&w.store, &people).await;
        let (_, many_found) = cost(&w.store, &search).await;
        assert_alike("people of an account", few, many);
        assert_alike("the same with their claims", few_people, many_people);
        assert_alike("the same, searched", few_found, many_found);
        // Of two connections, in one order.
        let both = [
            (own.id.clone(), Shown::ALL),
            (w.connection.id.clone(), Shown::ALL),
        ];
        let page = Paging::default();
        let found = user::list_shown(&w.store, &w.org, (None, None), &both, &page);
        let found = found.await.unwrap();
        assert_eq!(found.len(), 201, "a page, and one that says that there is more");
        assert!(found.is_sorted_by(|a, b| a.id < b.id));
    })
    .await;
}

#[tokio::test]
async fn a_change_of_one_account_reads_one_organisation() {
    on_each(async |w| {
        let rename = async |name: &str| {
            let account = store::org::account(&w.store, &w.org, &w.account.id)
                .await
                .unwrap();
            w.write(async |tx| store::org::update_account(tx, &account, account_spec(name)).await)
                .await
                .unwrap();
        };
        rename("First").await;
        let (_, few) = cost(&w.store, async || rename("Second").await).await;
        for n in 0..100 {
            w.write(async |tx| {
                let spec = OrganisationSpec {
                    name: format!("Company {n}"),
                    ..OrganisationSpec::default()
                };
                let org = store::org::create(tx, &format!("company-{n}"), spec).await?;
                store::connection::create(tx, &org.id, None, connection_spec("Okta")).await
            })
            .await
            .unwrap();
            if n < 10 {
                w.account(&format!("Department {n}")).await;
            }
        }
        let compiled = w.store.compiled_accounts();
        let (_, many) = cost(&w.store, async || rename("Third").await).await;
        assert_eq!(w.store.compiled_accounts() - compiled, 1);
        assert_alike("a change of one account", few, many);
    })
    .await;
}

#[tokio::test]
async fn the_log_is_read_once_for_all_webhooks_by_one_instance() {
    on_each(async |w| {
        let hook = async |n: usize| {
            let spec: WebhookSpec = testkit::from_json(serde_json::json!({
                "name": format!("Hook {n}"), "url": "https://hooks.example.com/x",
                "events": ["app.", format!("nothing.of_{n}")],
            }));
            let secret = "whsec_MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAw";
            w.write(async |tx| webhook::create(tx, (&w.org, None), spec, secret).await)
                .await
                .unwrap();
        };
        let happens = async || w.store.record(w.event("policy.update")).await.unwrap();
        hook(0).await;
        happens().await;
        webhook::collect(&w.store).await.unwrap();
        happens().await;
        let (made, few) = cost(&w.store, async || webhook::collect(&w.store).await.unwrap()).await;
        assert_eq!(made, 0);
        for n in 1..100 {
            hook(n).await;
        }
        webhook::collect(&w.store).await.unwrap();
        happens().await;
        let (_, many) = cost(&w.store, async || webhook::collect(&w.store).await.unwrap()).await;
        println!("  one webhook: {few:?}, a hundred: {many:?}");
        assert_eq!(many.statements, few.statements, "{many:?}");
        let (_, idle) = cost(&w.store, async || webhook::collect(&w.store).await.unwrap()).await;
        assert_eq!((idle.statements, idle.rows), (1, 0), "nothing happened");
        // Another instance asks whose turn it is, now and then, and that is all.
        let other = w.other_instance().await;
        happens().await;
        webhook::collect(&other).await.unwrap();
        let (made, elsewhere) = cost(&other, async || webhook::collect(&other).await.unwrap()).await;
        assert_eq!((made, elsewhere.statements), (0, 0));
        // What somebody asks for comes, and comes to all who do.
        w.store.record(w.event("app.update")).await.unwrap();
        assert_eq!(webhook::collect(&w.store).await.unwrap(), 100);
        // When the one that looks has gone, or died, another one does.
        w.store.record(w.event("app.update")).await.unwrap();
        w.clock.advance(30);
        assert_eq!(webhook::collect(&other).await.unwrap(), 100);
        assert_eq!(webhook::collect(&w.store).await.unwrap(), 0);
        other.close().await;
        w.store.record(w.event("app.update")).await.unwrap();
        w.clock.advance(5);
        assert_eq!(webhook::collect(&w.store).await.unwrap(), 100, "given back");
    })
    .await;
}
