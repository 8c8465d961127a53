//! The compiled configuration: who signs in where, which app lies at which place.

use crate::world::{
    World, app_spec, assert_conflict, assert_not_found, assert_stale, binding_spec, connection_spec,
    identity, on_each, policy_spec,
};
use std::sync::Arc;
use store::{AppView, Change, Error, app, binding, connection, org, rule};
use wire::{
    AccountSpec, App, AppSpec, Binding, BindingMode, BindingSpec, BindingState, Connection, ConnectionSpec,
    OrganisationSpec, Policy, PolicySpec, Reason, Selector,
};

fn view(w: &World) -> Arc<AppView> {
    Arc::clone(w.store.directory().app(&w.app.id).unwrap())
}

/// Another connection, bound in `mode`.
async fn bound(w: &World, name: &str, mode: BindingMode) -> (Connection, Binding) {
    let connection = w
        .write(async |tx| connection::create(tx, &w.org, None, connection_spec(name)).await)
        .await
        .unwrap();
    let spec = BindingSpec {
        mode,
        ..binding_spec()
    };
    let ends = (&connection.id, &w.account.id);
    let binding = w
        .write(async |tx| binding::create(tx, &w.org, ends, spec).await)
        .await
        .unwrap();
    (connection, binding)
}

async fn rebind(w: &World, binding: &Binding, spec: BindingSpec) -> Binding {
    w.write(async |tx| binding::update(tx, binding, spec).await)
        .await
        .unwrap()
}

async fn new_app(w: &World, spec: AppSpec) -> store::Result<App> {
    w.write(async |tx| app::create(tx, &w.org, &w.account.id, spec).await)
        .await
}

#[tokio::test]
async fn an_exclusive_binding_is_the_only_one_that_signs_in() {
    on_each(async |w| {
        let (other, other_binding) = bound(w, "Entra", BindingMode::Allowed).await;
        let own = w
            .write(async |tx| {
                connection::create(tx, &w.org, Some(&w.account.id), connection_spec("Own")).await
            })
            .await
            .unwrap();
        let sign_in = |w: &World| [&w.connection.id, &other.id, &own.id].map(|id| view(w).signs_in(id));
        assert_eq!(sign_in(w), [true, true, true]);
        let exclusive = BindingSpec {
            mode: BindingMode::Exclusive,
            ..binding_spec()
        };
        rebind(w, &other_binding, exclusive).await;
        assert_eq!(sign_in(w), [false, true, false]);
        let account = w.store.directory();
        let account = account.account(&w.account.id).unwrap();
        assert_eq!(account.connections.len(), 1);
        assert_eq!(account.connections[0].name, "Entra");
    })
    .await;
}

#[tokio::test]
async fn a_draining_binding_carries_what_runs_until_its_date() {
    on_each(async |w| {
        let until = w.clock.now().plus_seconds(600);
        let spec = BindingSpec {
            state: BindingState::Draining,
            drain_until: Some(until),
            ..binding_spec()
        };
        let draining = rebind(w, &w.binding, spec).await;
        let app = view(w);
        let id = &w.connection.id;
        assert!(!app.signs_in(id));
        assert!(app.carries(id, w.clock.now()));
        assert_eq!(app.refuses(id, false, w.clock.now()), None);
        // Beside an exclusive one just as well: nobody new comes in through it.
        bound(w, "Entra", BindingMode::Exclusive).await;
        let app = view(w);
        assert!(!app.signs_in(id));
        assert!(app.carries(id, w.clock.now()));
        assert!(!app.carries(id, until));
        assert_eq!(app.refuses(id, false, until), Some(Reason::ConnectionNotBound));
        let detached = BindingSpec {
            state: BindingState::Detached,
            ..binding_spec()
        };
        rebind(w, &draining, detached).await;
        assert!(!view(w).carries(id, w.clock.now()));
    })
    .await;
}

#[tokio::test]
async fn a_connection_of_another_account_or_a_disabled_one_does_not_count() {
    on_each(async |w| {
        let sales = w.account("Sales").await;
        let foreign = w
            .write(async |tx| {
                connection::create(tx, &w.org, Some(&sales.id), connection_spec("Sales IdP")).await
            })
            .await
            .unwrap();
        let ada = identity(&foreign.id, "ada");
        w.write(async |tx| store::user::sign_in(tx, &w.org, ada).await)
            .await
            .unwrap();
        let (now, app) = (w.clock.now(), view(w));
        assert!(!app.signs_in(&foreign.id));
        assert_eq!(
            app.refuses(&foreign.id, false, now),
            Some(Reason::ConnectionNotBound)
        );
        assert_eq!(app.refuses(&w.connection.id, false, now), None);
        assert_eq!(
            app.refuses(&w.connection.id, true, now),
            Some(Reason::UserDisabled)
        );
        let disabled = ConnectionSpec {
            enabled: false,
            ..w.connection.spec.clone()
        };
        w.write(async |tx| connection::update(tx, &w.connection, disabled).await)
            .await
            .unwrap();
        assert!(!view(w).carries(&w.connection.id, now));
    })
    .await;
}

#[tokio::test]
async fn the_primary_connection_comes_first() {
    on_each(async |w| {
        let (second, _) = bound(w, "Entra", BindingMode::Allowed).await;
        let organisation = org::get(&w.store, &w.org).await.unwrap();
        let spec = OrganisationSpec {
            primary_connection: Some(second.id),
            ..organisation.spec.clone()
        };
        w.write(async |tx| org::update(tx, &organisation, spec).await)
            .await
            .unwrap();
        let app = view(w);
        let shown: Vec<_> = app
            .connections
            .iter()
            .map(|c| (c.name.as_str(), c.primary))
            .collect();
        assert_eq!(shown, [("Entra", true), ("Okta", false)]);
    })
    .await;
}

#[tokio::test]
async fn apps_are_found_by_authority_and_longest_path() {
    on_each(async |w| {
        let docs = new_app(w, app_spec("Docs", "https://wiki.example.com/docs"))
            .await
            .unwrap();
        let mcp = new_app(w, app_spec("MCP", "http://127.0.0.1:7000/mcp"))
            .await
            .unwrap();
        let directory = w.store.directory();
        let at = |authority: &str, path: &str| directory.at(authority, path).map(|v| &v.app.id);
        assert_eq!(at("wiki.example.com", "/"), Some(&w.app.id));
        assert_eq!(at("wiki.example.com", "/docs"), Some(&docs.id));
        assert_eq!(at("wiki.example.com", "/docs/a/b"), Some(&docs.id));
        assert_eq!(at("wiki.example.com", "/docsify"), Some(&w.app.id));
        assert_eq!(at("127.0.0.1:7000", "/mcp"), Some(&mcp.id));
        assert_eq!(at("127.0.0.1:7000", "/"), None);
        assert_eq!(at("127.0.0.1", "/mcp"), None);
        assert_eq!(directory.at_authority("wiki.example.com").len(), 2);
        assert!(directory.at_authority("nowhere").is_empty());
        assert_eq!(directory.apps().count(), 3);
        let app = directory.app(&mcp.id).unwrap();
        assert_eq!(app.public_origin, "http://127.0.0.1:7000");
        assert_eq!(app.resource(), "http://127.0.0.1:7000/mcp");
    })
    .await;
}

#[tokio::test]
async fn two_apps_claim_neither_one_place_nor_one_name() {
    on_each(async |w| {
        assert_conflict(new_app(w, app_spec("Other", "https://wiki.example.com/")).await);
        assert_conflict(new_app(w, app_spec("Wiki", "https://other.example.com")).await);
        let refused = new_app(w, app_spec("Other", "https://other.example.com/?q")).await;
        assert!(matches!(refused, Err(Error::Invalid { .. })));
        let other = new_app(w, app_spec("Other", "https://other.example.com"))
            .await
            .unwrap();
        let moved = app_spec("Other", "https://wiki.example.com");
        assert_conflict(w.write(async |tx| app::update(tx, &other, moved).await).await);
    })
    .await;
}

#[tokio::test]
async fn apps_are_changed_and_deleted_with_everything_of_them() {
    on_each(async |w| {
        let id = w.used_grant(&w.user, &w.client, "code").await;
        let at_app = store::session::Record {
            app: Some(w.app.id.clone()),
            ..w.record(&w.user)
        };
        w.session("cookie", at_app).await;
        let disabled = AppSpec {
            enabled: false,
            ..w.app.spec.clone()
        };
        let changed = w
            .write(async |tx| app::update(tx, &w.app, disabled.clone()).await)
            .await
            .unwrap();
        assert_eq!(app::get(&w.store, &w.org, &w.app.id).await.unwrap(), changed);
        assert!(!view(w).is_live());
        assert_eq!(
            view(w).refuses(&w.connection.id, false, w.clock.now()),
            Some(Reason::Disabled)
        );
        assert_stale(w.write(async |tx| app::update(tx, &w.app, disabled).await).await);
        assert_stale(w.write(async |tx| app::delete(tx, &w.app).await).await);
        let mut changes = w.store.changes();
        w.write(async |tx| app::delete(tx, &changed).await).await.unwrap();
        let of_account = Change::Account(w.account.id.clone());
        while changes.recv().await.unwrap() != of_account {}
        assert!(w.store.directory().app(&w.app.id).is_none());
        let now = w.clock.now();
        assert_not_found(app::get(&w.store, &w.org, &w.app.id).await);
        assert_not_found(store::grant::get(&w.store, &w.org, &id, now).await);
        assert!(
            store::session::by_hash(&w.store, "cookie", now)
                .await
                .unwrap()
                .is_none()
        );
    })
    .await;
}

#[tokio::test]
async fn a_reload_reads_what_was_changed_behind_the_stores_back() {
    on_each(async |w| {
        w.database.execute("UPDATE accounts SET enabled = (1 = 0)").await;
        assert!(view(w).is_live());
        w.store.reload().await.unwrap();
        assert!(!view(w).is_live());
    })
    .await;
}

#[tokio::test]
async fn a_disabled_account_lets_nobody_in() {
    on_each(async |w| {
        let spec = AccountSpec {
            enabled: false,
            ..w.account.spec.clone()
        };
        w.write(async |tx| org::update_account(tx, &w.account, spec).await)
            .await
            .unwrap();
        assert!(!view(w).is_live());
    })
    .await;
}

#[tokio::test]
async fn an_app_that_does_not_compile_is_left_out() {
    on_each(async |w| {
        let policy = w
            .write(async |tx| {
                rule::create::<Policy>(tx, &w.org, &w.account.id, policy_spec("Everybody")).await
            })
            .await
            .unwrap();
        let spec = AppSpec {
            policies: vec![policy.id.clone()],
            ..app_spec("Other", "https://other.example.com")
        };
        let other = new_app(w, spec).await.unwrap();
        assert!(w.store.directory().app(&other.id).is_some());
        let broken = PolicySpec {
            include: vec![Selector::Ip {
                ranges: vec!["not a network".into()],
            }],
            ..policy_spec("Everybody")
        };
        w.write(async |tx| rule::update(tx, &policy, broken).await)
            .await
            .unwrap();
        let directory = w.store.directory();
        assert!(directory.app(&other.id).is_none());
        assert!(directory.at("other.example.com", "/").is_none());
        assert!(directory.app(&w.app.id).is_some(), "the others stay");
    })
    .await;
}
