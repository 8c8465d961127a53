//! What changes cost those whom they do not concern: statements are counted, no time is measured. `CROWD` says how many
//! tokens are alive, 300 if it is not set:
//!
//! ```text
//! CROWD=10000 cargo nextest run -p gateway storm --no-capture
//! ```

use crate::world::{World, on_each};
use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};
use std::time::Duration;
use store::{Change, Purpose, grant, service_token, session};
use tokens::AccessClaims;
use wire::*;

/// One bearer token: its grant, the person, the client, and whether it was revoked by itself.
const OF_A_TOKEN: u64 = 4;

fn size() -> usize {
    std::env::var("CROWD").map_or(300, |size| size.parse().unwrap())
}

/// What the gateway asked the database for so far.
fn statements(world: &World) -> u64 {
    world.store.load(Purpose::Hot).statements
}

/// The access tokens of as many grants, all of one agent of Ada's.
async fn crowd(world: &World, size: usize) -> Vec<String> {
    let agent = world.agent(&world.ada, &world.wiki, &["access"]).await;
    let mut tokens = Vec::with_capacity(size);
    let mut tx = world.store.begin().await.unwrap();
    for _ in 0..size {
        let consent = grant::Consent {
            org: &world.org,
            account: &world.wiki.account,
            app: &world.wiki.id,
            user: &world.ada.id,
            client: &agent.client.id,
            scopes: &["access".to_owned()],
            authentication: &crate::world::said_of(&world.ada, crate::world::by("pwd")),
            expires_at: world.clock.now().plus_seconds(86_400),
        };
        let code = store::random_secret("").unwrap();
        let bound = ("http://127.0.0.1/cb", "challenge", "http://wiki.example");
        let grant = grant::issue(&mut tx, &consent, &code, bound).await.unwrap();
        let claims = AccessClaims {
            jti: store::random_secret("").unwrap(),
            grant,
            ..agent.claims.clone()
        };
        tokens.push(world.keyring.mint_access(&world.org, &claims).unwrap());
    }
    tx.commit_housekeeping().await.unwrap();
    tokens
}

/// Uses every token, many at once; says how many got which answer, and how many statements that took.
async fn use_all(world: &World, tokens: &[String]) -> (Vec<(u16, usize)>, u64) {
    let before = statements(world);
    let asked = stream::iter(tokens).map(async |token| {
        let request = world.request("GET", &world.wiki, "/quick");
        let answer = request.bearer_auth(token).send().await.unwrap();
        answer.status().as_u16()
    });
    let mut answers: Vec<u16> = asked.buffer_unordered(64).collect().await;
    answers.sort_unstable();
    let mut counted: Vec<(u16, usize)> = Vec::new();
    for status in answers {
        match counted.last_mut() {
            Some((last, count)) if *last == status => *count += 1,
            _ => counted.push((status, 1)),
        }
    }
    (counted, statements(world) - before)
}

/// Streams of events that the tokens let begin, once they are watched over.
async fn streams(world: &World, tokens: &[String]) -> Vec<reqwest::Response> {
    let opened = stream::iter(tokens).map(async |token| {
        let request = world.request("GET", &world.wiki, "/events");
        let answer = request.bearer_auth(token).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer
    });
    let streams = opened.buffer_unordered(64).collect().await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    streams
}

/// How many of the streams go on.
async fn that_go_on(world: &World, streams: &mut [reqwest::Response]) -> usize {
    let _ = world.origin.events.send("x".into());
    let going = stream::iter(streams).map(async |stream| {
        let next = tokio::time::timeout(Duration::from_secs(5), stream.chunk()).await;
        matches!(next, Ok(Ok(Some(_))))
    });
    let going: Vec<bool> = going.buffer_unordered(64).collect().await;
    going.into_iter().filter(|goes_on| *goes_on).count()
}

/// Long enough for everything that lasts to have looked again.
async fn all_looked() {
    tokio::time::sleep(Duration::from_millis(700)).await;
}

async fn rotate(world: &World, compromised: bool) {
    let tx = world.store.begin().await.unwrap();
    let actor = AuditActor::of(ActorKind::System);
    let event = store::audit::event(&world.org, "test", "signing_key.rotate", actor);
    let rotated = world.keyring.rotate(tx, &world.org, event, compromised);
    rotated.await.unwrap();
}

/// Changes of the configuration, and of keys, that end nothing of what was proven.
async fn change(world: &World, what: &str) {
    match what {
        "an app is renamed" => {
            world
                .change(&world.wiki, |spec| spec.name = "Handbook".into())
                .await;
        }
        "another app of the account is switched off" => {
            world.change(&world.tickets, |spec| spec.enabled = false).await;
        }
        "an account is renamed" => {
            let account = store::org::account(&world.store, &world.org, &world.wiki.account);
            let account = account.await.unwrap();
            let spec = from(json!({ "name": "Operations" }));
            world
                .write(async |tx| store::org::update_account(tx, &account, spec).await)
                .await;
        }
        "the organisation's rules change" => {
            let org = store::org::get(&world.store, &world.org).await.unwrap();
            let mut spec = org.spec.clone();
            spec.floor = vec![from(json!({ "type": "everyone" }))];
            world
                .write(async |tx| store::org::update(tx, &org, spec).await)
                .await;
        }
        "a connection is renamed" => {
            let connection = store::connection::get(&world.store, &world.org, &world.ada.connection);
            let connection = connection.await.unwrap();
            let mut spec = connection.spec.clone();
            spec.name = "Okta (new)".into();
            world
                .write(async |tx| store::connection::update(tx, &connection, spec).await)
                .await;
        }
        "keys are rotated" => rotate(world, false).await,
        what => panic!("{what}"),
    }
}

fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
    testkit::from_json(value)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_the_configuration_makes_nobody_prove_anything_anew() {
    on_each(async |world| {
        let size = size();
        let tokens = crowd(world, size).await;
        let (answers, cost) = use_all(world, &tokens).await;
        println!("  {size} tokens, shown for the first time: {cost} statements");
        assert_eq!(
            (answers, cost),
            (vec![(200, size)], OF_A_TOKEN * size as u64),
            "each is proven once"
        );
        let mut open = streams(world, &tokens[..(size / 25).min(400)]).await;
        for what in [
            "an app is renamed",
            "another app of the account is switched off",
            "an account is renamed",
            "the organisation's rules change",
            "a connection is renamed",
            "keys are rotated",
        ] {
            let before = statements(world);
            change(world, what).await;
            let (answers, _) = use_all(world, &tokens).await;
            all_looked().await;
            let cost = statements(world) - before;
            let going = that_go_on(world, &mut open).await;
            println!(
                "  {what}: {cost} statements, {} streams go on, {answers:?}",
                going
            );
            assert_eq!((answers, cost), (vec![(200, size)], 0), "{what}");
            assert_eq!(going, open.len(), "{what}");
        }
        // When nobody knows what was missed, everything is proven anew, and still nobody is refused.
        world
            .write(async |tx| {
                tx.changed(Change::All);
                Ok(())
            })
            .await;
        let before = statements(world);
        let (answers, _) = use_all(world, &tokens).await;
        all_looked().await;
        let cost = statements(world) - before;
        println!("  everything may have changed: {cost} statements, {answers:?}");
        assert_eq!(answers, vec![(200, size)]);
        // A stream may have looked again already when the instance hears of its own change.
        let all = size as u64..=(size + open.len()) as u64;
        assert!(all.contains(&(cost / OF_A_TOKEN)), "{cost}");
        assert_eq!(that_go_on(world, &mut open).await, open.len());
    })
    .await;
}

#[tokio::test]
async fn what_ends_takes_nobody_else_along_however_much_it_is() {
    on_each(async |world| {
        let tokens = crowd(world, 20).await;
        assert_eq!(use_all(world, &tokens).await.0, [(200, 20)]);
        // Carl leaves, with more than a thousand sessions.
        let mut tx = world.store.begin().await.unwrap();
        for _ in 0..1200 {
            let record = session::Record {
                id: SessionId::fresh(),
                org: Some(world.org.clone()),
                user: Some(world.carl.id.clone()),
                app: Some(world.wiki.id.clone()),
                parent: None,
                data: "{}".into(),
                expires_at: world.clock.now().plus_seconds(3600),
                ip: None,
                user_agent: None,
                authentication: crate::world::by("pwd"),
            };
            let hash = store::random_secret("").unwrap();
            session::save(&mut tx, &hash, &record).await.unwrap();
        }
        tx.commit_housekeeping().await.unwrap();
        world
            .write(async |tx| store::user::set_disabled(tx, &world.org, &world.carl, true).await)
            .await;
        assert_eq!(use_all(world, &tokens).await, (vec![(200, 20)], 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_show_the_same_at_once_wait_for_one_proof() {
    on_each(async |world| {
        let token = crowd(world, 1).await.remove(0);
        let same = vec![token; 100];
        assert_eq!(use_all(world, &same).await, (vec![(200, 100)], OF_A_TOKEN));
        let (_, cookie) = world.browser(&world.ada, &world.wiki).await;
        let before = statements(world);
        let asked = (0..50).map(|_| {
            let request = world.request("GET", &world.wiki, "/quick");
            request.header("cookie", &cookie).send()
        });
        for answer in futures_util::future::join_all(asked).await {
            assert_eq!(answer.unwrap().status(), 200);
        }
        assert_eq!(statements(world) - before, 2, "a session and its person");
    })
    .await;
}

#[tokio::test]
async fn what_the_origin_is_told_follows_the_configuration_from_memory() {
    on_each(async |world| {
        let token = crowd(world, 1).await.remove(0);
        let told = async || {
            let request = world.request("GET", &world.wiki, "/page").bearer_auth(&token);
            assert_eq!(request.send().await.unwrap().status(), 200);
            world.origin.last().assertion()
        };
        assert_eq!(told().await["email"], "ada@acme.example");
        let before = statements(world);
        let binding = store::binding::get(&world.store, &world.org, &world.binding.id);
        let binding = binding.await.unwrap();
        let mut spec = binding.spec.clone();
        spec.claims = Some(vec!["groups".into()]);
        world
            .write(async |tx| store::binding::update(tx, &binding, spec).await)
            .await;
        let after = told().await;
        assert_eq!(after["email"], Value::Null, "withheld at once");
        assert_eq!(after["groups"], json!(["staff"]));
        // What signs is what may sign now.
        let key_of = async || {
            let request = world.request("GET", &world.wiki, "/page").bearer_auth(&token);
            request.send().await.unwrap();
            let seen = world.origin.last();
            let assertion = seen.header("chatelaine-assertion").unwrap().to_owned();
            assertion.split('.').next().unwrap().to_owned()
        };
        let key = key_of().await;
        rotate(world, false).await;
        assert_ne!(key_of().await, key);
        assert_eq!(statements(world), before);
    })
    .await;
}

#[tokio::test]
async fn what_was_proven_for_one_place_or_by_one_key_is_not_good_for_another() {
    on_each(async |world| {
        let token = crowd(world, 1).await.remove(0);
        let (_, cookie) = world.browser(&world.ada, &world.wiki).await;
        let secret = service_token::SECRET.mint().unwrap();
        let spec = from(json!({ "name": "Robot" }));
        let place = (&world.org, &world.wiki.account);
        let service = world
            .write(async |tx| service_token::create(tx, place, spec, &secret).await)
            .await;
        let id = service.id.to_string();
        let rule = from(json!({
            "name": "Robots", "decision": "service_auth",
            "include": [{ "type": "service_token", "service_token": service.id }],
        }));
        let policy: Policy = world
            .write(async |tx| store::rule::create(tx, &world.org, &world.wiki.account, rule).await)
            .await;
        world
            .change(&world.wiki, |spec| spec.policies.push(policy.id))
            .await;
        let ask = async |app: &App| {
            let get = || world.request("GET", app, "/quick");
            let by_token = get().bearer_auth(&token).send().await.unwrap();
            let by_session = get().header("cookie", &cookie).send().await.unwrap();
            let by_service = get()
                .header(SERVICE_TOKEN_ID_HEADER, &id)
                .header(SERVICE_TOKEN_SECRET_HEADER, &secret.secret)
                .send();
            let by_service = by_service.await.unwrap();
            [by_token, by_session, by_service].map(|answer| answer.status().as_u16())
        };
        assert_eq!(ask(&world.wiki).await, [200, 200, 200]);
        // The token says that it is for the place where the app was.
        let moved = "http://moved.example".to_owned();
        let app = world.change(&world.wiki, |spec| spec.public_url = moved).await;
        assert_eq!(ask(&app).await, [401, 200, 200]);
        let back = world.wiki.spec.public_url.clone();
        let app = world.change(&world.wiki, |spec| spec.public_url = back).await;
        assert_eq!(ask(&app).await, [200, 200, 200]);
        // Of these only the token was signed.
        rotate(world, true).await;
        assert_eq!(ask(&app).await, [401, 200, 200]);
    })
    .await;
}
