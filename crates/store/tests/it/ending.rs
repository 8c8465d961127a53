//! What is switched off and on again lets nobody in who was let in before.

use crate::world::{World, on_each};
use store::{app, binding, connection, grant, org, session};
use wire::*;

/// What Ada holds: a session at the app from one at the control plane, a grant, and a code that begins one.
struct Held {
    login: String,
    at_app: String,
    grant: GrantId,
    handoff: String,
}

async fn hold(w: &World, n: u8) -> Held {
    let held = Held {
        login: format!("login {n}"),
        at_app: format!("app {n}"),
        grant: w.used_grant(&w.user, &w.client, &format!("code {n}")).await,
        handoff: format!("handoff {n}"),
    };
    let login = w.session(&held.login, w.record(&w.user)).await;
    let record = session::Record {
        app: Some(w.app.id.clone()),
        parent: Some(login.clone()),
        ..w.record(&w.user)
    };
    w.session(&held.at_app, record).await;
    let handoff = session::Handoff {
        app: w.app.id.clone(),
        user: w.user.id.clone(),
        session: login,
        state_hash: "state".into(),
        authentication: w.record(&w.user).authentication,
        expires_at: w.clock.now().plus_seconds(60),
    };
    w.write(async |tx| session::offer_handoff(tx, &held.handoff, &handoff).await)
        .await
        .unwrap();
    held
}

impl Held {
    /// Whether there still are: the session at the control plane, that at the app, the handoff, the grant.
    async fn left(&self, w: &World) -> [bool; 4] {
        let session = async |hash: &str| {
            session::by_hash(&w.store, hash, w.clock.now())
                .await
                .unwrap()
                .is_some()
        };
        let handoff = w
            .write(async |tx| session::redeem_handoff(tx, &self.handoff, &w.app.id, "state").await)
            .await
            .unwrap();
        [
            session(&self.login).await,
            session(&self.at_app).await,
            handoff.is_some(),
            w.grant_now(&self.grant).await.state == GrantState::Active,
        ]
    }

    async fn reason(&self, w: &World) -> Option<String> {
        w.grant_now(&self.grant).await.revoked_reason
    }
}

/// How many lose something by what a transaction does.
async fn losing(w: &World, change: impl AsyncFnOnce(&mut store::Tx)) -> (i64, i64) {
    let mut tx = w.store.begin().await.unwrap();
    change(&mut tx).await;
    let impact = crate::impact::impact_of(&mut tx).await.unwrap();
    (impact.lose.people, impact.lose.agents)
}

async fn everybody(w: &World) {
    let policy = w
        .write(async |tx| {
            let spec = crate::world::policy_spec("Everybody");
            store::rule::create::<Policy>(tx, &w.org, &w.account.id, spec).await
        })
        .await
        .unwrap();
    let app = app::get(&w.store, &w.org, &w.app.id).await.unwrap();
    let spec = AppSpec {
        policies: vec![policy.id],
        ..app.spec.clone()
    };
    w.write(async |tx| app::update(tx, &app, spec).await)
        .await
        .unwrap();
}

async fn switch_app(w: &World, change: impl FnOnce(&mut AppSpec)) {
    let app = app::get(&w.store, &w.org, &w.app.id).await.unwrap();
    let mut spec = app.spec.clone();
    change(&mut spec);
    w.write(async |tx| app::update(tx, &app, spec).await)
        .await
        .unwrap();
}

#[tokio::test]
async fn an_app_switched_off_and_on_ends_its_sessions_and_grants() {
    on_each(async |w| {
        everybody(w).await;
        let held = hold(w, 1).await;
        let app = app::get(&w.store, &w.org, &w.app.id).await.unwrap();
        let off = AppSpec {
            enabled: false,
            ..app.spec.clone()
        };
        let lost = losing(w, async |tx| {
            app::update(tx, &app, off).await.unwrap();
        });
        assert_eq!(lost.await, (1, 1));
        switch_app(w, |spec| spec.enabled = false).await;
        switch_app(w, |spec| spec.enabled = true).await;
        assert_eq!(held.left(w).await, [true, false, false, false]);
        assert_eq!(held.reason(w).await.as_deref(), Some("app_disabled"));
    })
    .await;
}

#[tokio::test]
async fn what_began_while_an_app_was_off_ends_when_it_is_on() {
    on_each(async |w| {
        switch_app(w, |spec| spec.enabled = false).await;
        let held = hold(w, 1).await;
        switch_app(w, |spec| spec.enabled = true).await;
        assert_eq!(held.left(w).await, [true, false, false, false]);
        // Other changes end nothing.
        let held = hold(w, 2).await;
        switch_app(w, |spec| spec.session_seconds = 600).await;
        assert_eq!(held.left(w).await, [true; 4]);
    })
    .await;
}

#[tokio::test]
async fn managed_oauth_switched_off_and_on_ends_grants() {
    on_each(async |w| {
        everybody(w).await;
        let held = hold(w, 1).await;
        switch_app(w, |spec| spec.managed_oauth = false).await;
        switch_app(w, |spec| spec.managed_oauth = true).await;
        assert_eq!(held.left(w).await, [true, true, true, false]);
        assert_eq!(held.reason(w).await.as_deref(), Some("managed_oauth_off"));
    })
    .await;
}

#[tokio::test]
async fn an_account_switched_off_and_on_ends_what_hangs_on_its_apps() {
    on_each(async |w| {
        everybody(w).await;
        let held = hold(w, 1).await;
        let off = AccountSpec {
            enabled: false,
            ..w.account.spec.clone()
        };
        let lost = losing(w, async |tx| {
            org::update_account(tx, &w.account, off.clone()).await.unwrap();
        });
        assert_eq!(lost.await, (1, 1));
        let account = w
            .write(async |tx| org::update_account(tx, &w.account, off).await)
            .await
            .unwrap();
        let on = w.account.spec.clone();
        w.write(async |tx| org::update_account(tx, &account, on).await)
            .await
            .unwrap();
        assert_eq!(held.left(w).await, [true, false, false, false]);
        assert_eq!(held.reason(w).await.as_deref(), Some("account_disabled"));
    })
    .await;
}

#[tokio::test]
async fn a_connection_switched_off_and_on_ends_everything_of_its_people() {
    on_each(async |w| {
        everybody(w).await;
        let held = hold(w, 1).await;
        // Somebody of another connection keeps what is theirs.
        let other = w
            .write(async |tx| {
                let spec = crate::world::connection_spec("Entra");
                connection::create(tx, &w.org, None, spec).await
            })
            .await
            .unwrap();
        let identity = crate::world::identity(&other.id, "eve");
        let eve = w
            .write(async |tx| store::user::sign_in(tx, &w.org, identity).await)
            .await
            .unwrap()
            .user;
        let kept = w.grant(&eve, &w.client, "kept").await;
        w.session("kept", w.record(&eve)).await;
        let connection = connection::get(&w.store, &w.org, &w.connection.id).await.unwrap();
        let off = ConnectionSpec {
            enabled: false,
            ..connection.spec.clone()
        };
        let lost = losing(w, async |tx| {
            connection::update(tx, &connection, off.clone()).await.unwrap();
        });
        assert_eq!(lost.await, (1, 1));
        let off = w
            .write(async |tx| connection::update(tx, &connection, off).await)
            .await
            .unwrap();
        let on = connection.spec.clone();
        w.write(async |tx| connection::update(tx, &off, on).await)
            .await
            .unwrap();
        assert_eq!(held.left(w).await, [false; 4]);
        assert_eq!(held.reason(w).await.as_deref(), Some("connection_disabled"));
        let now = w.clock.now();
        assert_eq!(
            grant::get(&w.store, &w.org, &kept, now).await.unwrap().state,
            GrantState::Active
        );
        assert!(session::by_hash(&w.store, "kept", now).await.unwrap().is_some());
    })
    .await;
}

#[tokio::test]
async fn a_binding_taken_away_and_given_back_ends_what_was_held_through_it() {
    on_each(async |w| {
        everybody(w).await;
        let held = hold(w, 1).await;
        w.write(async |tx| {
            let detached = BindingSpec {
                state: BindingState::Detached,
                ..w.binding.spec.clone()
            };
            let binding = binding::update(tx, &w.binding, detached).await?;
            binding::end_held(tx, &w.connection.id, std::slice::from_ref(&w.account.id)).await?;
            let active = w.binding.spec.clone();
            binding::update(tx, &binding, active).await
        })
        .await
        .unwrap();
        assert_eq!(held.left(w).await, [true, false, false, false]);
    })
    .await;
}
