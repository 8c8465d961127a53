//! Whose public hosts are, and where nothing may be sent.

use crate::world::{Answer, World, account_token, on_each};
use http::Method;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use wire::{AppId, Outcome, Role};

fn app(world: &World, name: &str, url: &str) -> Value {
    json!({"account": world.acme.labs.id, "name": name, "kind": "web", "public_url": url,
        "origin_url": "http://10.0.0.2"})
}

async fn post(world: &World, token: &str, path: &str, body: Value) -> Answer {
    world.call(token, Method::POST, path, Some(body)).await
}

/// The host of Acme's Wiki, as its owner sees it.
async fn wiki(world: &World) -> Value {
    let hosts = world.get("/hosts").await;
    let mut items = hosts["items"].as_array().unwrap().iter();
    items
        .find(|host| host["name"] == "wiki.acme.example.com")
        .unwrap()
        .clone()
}

#[tokio::test]
async fn foreign_place_is_refused_and_on_record() {
    on_each(async |world| {
        let editor = world.hire(Role::AccountEditor, Some(&world.acme.labs)).await;
        for (n, url) in [
            "https://wiki.acme.example.com/hook/x",
            "https://wiki.acme.example.com",
            "http://wiki.acme.example.com/hook/x",
            "https://wiki.acme.example.com:8443/hook/x",
            // Of another organisation.
            "https://wiki.other.example.com/hook/x",
        ]
        .into_iter()
        .enumerate()
        {
            let answer = post(world, &editor.token, "/apps", app(world, &format!("X{n}"), url)).await;
            answer.refused(409, "conflict");
            let problem = answer.json();
            let detail = problem["detail"].as_str().unwrap();
            assert!(
                detail.contains("belongs to a different account") && detail.contains("/hosts"),
                "{detail}"
            );
            // Whose it is, is not told to somebody who may not see that account.
            assert!(
                !answer.text.contains("Production") && !answer.text.contains("acc_"),
                "{}",
                answer.text
            );
            let event = world.newest().await;
            assert_eq!(event.action, "host.refused", "{url}");
            assert_eq!(
                (event.outcome, event.reason.as_deref()),
                (Outcome::Denied, Some("foreign_host"))
            );
            assert_eq!(event.account.as_ref(), Some(&world.acme.labs.id));
            assert_eq!(event.actor.user.as_ref(), Some(&editor.user.id));
            assert_eq!(event.target.unwrap().id, url.split(['/', ':']).nth(3).unwrap());
        }
        // Not by a detour either.
        let answer = post(
            world,
            &editor.token,
            "/apps",
            app(world, "Notes", "https://notes.acme.example.com"),
        )
        .await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        let path = format!("/apps/{}", answer.json()["id"].as_str().unwrap());
        let moved = json!({"public_url": "https://wiki.acme.example.com/hook/x"});
        for query in ["", "?dry_run=true"] {
            let answer = world
                .call(
                    &editor.token,
                    Method::PATCH,
                    &format!("{path}{query}"),
                    Some(moved.clone()),
                )
                .await;
            answer.refused(409, "conflict");
        }
        assert_eq!(world.newest().await.action, "host.refused");
        // Nor by somebody with an account's token, nor by the owner of all, unless they say so.
        let token = account_token(world, Role::AccountAdmin, &world.acme.labs).await;
        for token in [&token, &world.acme.owner.token] {
            let answer = post(
                world,
                token,
                "/apps",
                app(world, "X", "https://wiki.acme.example.com/x"),
            )
            .await;
            answer.refused(409, "conflict");
        }
        assert_eq!(wiki(world).await["apps"].as_array().unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn spellings_of_a_host_are_one_host() {
    on_each(async |world| {
        let labs = world
            .hire(Role::AccountEditor, Some(&world.acme.labs))
            .await
            .token;
        for url in [
            "https://WIKI.acme.example.com/x",
            "https://wiki.acme.example.com./x",
            "https://wiki.acme.example.com:443/x",
            "https://u@wiki.acme.example.com/x",
            "https://wiki%2eacme.example.com/x",
            "https://wiki。acme.example.com/x",
        ] {
            let answer = post(world, &labs, "/apps", app(world, "X", url)).await;
            assert_eq!(answer.refused(400, "invalid"), ["/public_url"], "{url}");
        }
        for url in [
            "https://xn--bcher-kva.example/a",
            "https://[2001:db8::1]/a",
            "https://192.0.2.7/a",
        ] {
            let answer = post(world, &labs, "/apps", app(world, url, url)).await;
            assert_eq!(answer.status, 201, "{}", answer.text);
        }
        for (name, status) in [
            ("bücher.example", 400),
            ("xn--bcher-kva.example", 409),
            ("[2001:DB8::1]", 400),
            ("[2001:db8::1]", 409),
            ("[2001:db8::1]:8443", 400),
            ("3221225991", 400),
            ("192.0.2.7", 409),
            ("https://x.example.com", 400),
            ("control.example.com", 400),
            ("new.example.com", 201),
        ] {
            let body = json!({"name": name, "account": world.acme.account.id});
            let answer = post(world, &world.acme.owner.token, "/hosts", body).await;
            assert_eq!(answer.status, status, "{name}: {}", answer.text);
        }
    })
    .await;
}

#[tokio::test]
async fn the_control_planes_host_is_nobodys() {
    on_each(async |world| {
        for url in [
            "https://control.example.com/x",
            "http://control.example.com",
            "https://control.example.com:8443/x",
        ] {
            let answer = post(world, &world.acme.owner.token, "/apps", app(world, "X", url)).await;
            assert_eq!(answer.refused(400, "invalid"), ["/public_url"], "{url}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_administrator_shares_and_moves_a_host_after_a_look_at_it() {
    on_each(async |world| {
        let (acme, owner) = (&world.acme, &world.acme.owner.token);
        let host = wiki(world).await;
        let path = format!("/hosts/{}", host["id"].as_str().unwrap());
        assert_eq!(host["account"], json!(acme.account.id));
        let share = json!({"shared_with": [acme.labs.id]});
        // An account's own administrator cannot.
        let admin = world.hire(Role::AccountAdmin, Some(&acme.account)).await.token;
        let answer = world
            .call(&admin, Method::PATCH, &path, Some(share.clone()))
            .await;
        answer.refused(403, "forbidden");
        let dry = world
            .owner(
                Method::PATCH,
                &format!("{path}?dry_run=true"),
                Some(share.clone()),
            )
            .await;
        let preview = dry.json();
        assert_eq!(
            preview["resource"]["shared_with"],
            json!([acme.labs.id]),
            "{}",
            dry.text
        );
        assert_eq!(preview["changes"][0]["action"], "host.update");
        assert_eq!(preview["impact"]["lose"]["people"], 0);
        assert_eq!(preview["impact"]["accounts"], 2);
        assert_eq!(world.newest().await.action, "host.update.dry_run");
        assert_eq!(wiki(world).await["shared_with"], json!([]));
        let shared = world.owner(Method::PATCH, &path, Some(share)).await;
        assert_eq!(shared.status, 200, "{}", shared.text);
        assert_eq!(shared.header("etag"), "\"v2\"");
        let event = world.newest().await;
        assert_eq!(
            (event.action.as_str(), event.account.as_ref()),
            ("host.update", Some(&acme.account.id))
        );
        assert_eq!(event.change.unwrap().after["shared_with"], json!([acme.labs.id]));
        let labs = world.hire(Role::AccountEditor, Some(&acme.labs)).await.token;
        let hook = post(
            world,
            &labs,
            "/apps",
            app(world, "Hook", "https://wiki.acme.example.com/hook"),
        )
        .await;
        assert_eq!(hook.status, 201, "{}", hook.text);
        // Each sees what is theirs of it.
        let seen = world.call(&labs, Method::GET, &path, None).await.json();
        assert_eq!(
            (&seen["account"], &seen["shared_with"]),
            (&Value::Null, &json!([acme.labs.id]))
        );
        assert_eq!(seen["apps"].as_array().unwrap().len(), 1);
        let production = world.call(&admin, Method::GET, &path, None).await.json();
        assert_eq!(
            (&production["account"], &production["shared_with"]),
            (&json!(acme.account.id), &json!([]))
        );
        // Nobody loses the ground under their feet.
        for body in [
            json!({"shared_with": []}),
            json!({"account": acme.labs.id, "shared_with": []}),
        ] {
            let answer = world.owner(Method::PATCH, &path, Some(body)).await;
            answer.refused(409, "conflict");
        }
        world
            .owner(Method::DELETE, &path, None)
            .await
            .refused(409, "conflict");
        let moved = json!({"account": acme.labs.id, "shared_with": [acme.account.id]});
        let moved = world.owner(Method::PATCH, &path, Some(moved)).await;
        assert_eq!(moved.status, 200, "{}", moved.text);
        assert_eq!(world.newest().await.account.as_ref(), Some(&acme.labs.id));
        // What makes no sense.
        for (body, pointer) in [
            (json!({"account": world.other.account.id}), "/account"),
            (json!({"shared_with": [world.other.account.id]}), "/shared_with/0"),
            (json!({"shared_with": [acme.labs.id]}), "/shared_with/0"),
            (
                json!({"shared_with": [acme.account.id, acme.account.id]}),
                "/shared_with/1",
            ),
            (json!({"name": "x.example.com"}), "/name"),
        ] {
            let answer = world.owner(Method::PATCH, &path, Some(body)).await;
            assert_eq!(answer.refused(400, "invalid"), [pointer], "{}", answer.text);
        }
        let stale = world.call(owner, Method::GET, &path, None).await;
        assert_eq!(stale.header("etag"), "\"v3\"");
    })
    .await;
}

#[tokio::test]
async fn a_host_is_seen_by_those_it_concerns() {
    on_each(async |world| {
        let acme = &world.acme;
        let labs = world.hire(Role::AccountAdmin, Some(&acme.labs)).await.token;
        let answer = world.call(&labs, Method::GET, "/hosts", None).await;
        assert_eq!(answer.json()["items"], json!([]));
        let host = wiki(world).await;
        let path = format!("/hosts/{}", host["id"].as_str().unwrap());
        world
            .call(&labs, Method::GET, &path, None)
            .await
            .refused(404, "not-found");
        // A conflict of before is shown, and the app still works.
        let made = post(
            world,
            &labs,
            "/apps",
            app(world, "Old", "https://old.acme.example.com"),
        )
        .await;
        let id: AppId = made.json()["id"].as_str().unwrap().parse().unwrap();
        let sql = format!("UPDATE apps SET host = 'wiki.acme.example.com' WHERE id = '{id}'");
        world.execute(&sql).await;
        let host = wiki(world).await;
        let apps = host["apps"].as_array().unwrap();
        let conflicts: Vec<_> = apps.iter().filter(|app| app["conflict"] == true).collect();
        assert_eq!((conflicts.len(), &conflicts[0]["id"]), (1, &json!(id)));
        let seen = world.call(&labs, Method::GET, &path, None).await.json();
        assert_eq!(
            (&seen["account"], seen["apps"].as_array().unwrap().len()),
            (&Value::Null, 1)
        );
        let patch = json!({"session_seconds": 600});
        let answer = world
            .call(&labs, Method::PATCH, &format!("/apps/{id}"), Some(patch))
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    })
    .await;
}

/// A server that listens at `127.0.0.1:7400` and whose names lead where `names` says; nothing is asked outside.
fn elsewhere(names: &[(&'static str, &'static str)]) -> outbound::Outbound {
    let names: HashMap<&str, IpAddr> = names.iter().map(|(n, ip)| (*n, ip.parse().unwrap())).collect();
    let resolver: outbound::Resolver = Arc::new(move |name| {
        let found = names.get(name.as_str()).copied();
        Box::pin(async move {
            found
                .map(|ip| vec![ip])
                .ok_or_else(|| std::io::Error::other("no such name"))
        })
    });
    let policy = outbound::Policy {
        listeners: outbound::Listeners::new(["127.0.0.1:7400".parse().unwrap()]),
        ..outbound::Policy::default()
    };
    outbound::Outbound::with_resolver(policy, resolver)
}

#[tokio::test]
async fn own_listener_is_no_origin_and_no_receiver() {
    on_each(async |world| {
        let world = world.reaching(elsewhere(&[("localhost", "127.0.0.1"), ("us.example", "127.0.0.1")]));
        for origin in [
            "http://127.0.0.1:7400",
            "http://localhost:7400",
            "http://localhost.:7400",
            "http://LOCALHOST:7400",
            "http://foo.localhost:7400",
            "http://foo.bar.localhost.:7400",
            "https://us.example:7400",
            "http://[::ffff:127.0.0.1]:7400",
            "http://2130706433:7400",
            // Public places.
            "https://control.example.com",
            "http://control.example.com",
            "https://wiki.acme.example.com",
            "http://wiki.acme.example.com.",
            "http://wiki.acme.example.com.:80",
            "https://control.example.com.:443",
            "https://wiki.other.example.com",
            // Its own.
            "http://x.example.com",
        ] {
            let body = json!({"account": world.acme.account.id, "name": "X", "kind": "web",
                "public_url": "https://x.example.com", "origin_url": origin});
            let answer = world.owner(Method::POST, "/apps", Some(body)).await;
            assert_eq!(answer.refused(400, "invalid"), ["/origin_url"], "{origin}");
            assert!(answer.text.contains("itself"), "{}", answer.text);
            let path = format!("/apps/{}", world.acme.app.id);
            let answer = world.owner(Method::PATCH, &path, Some(json!({"origin_url": origin}))).await;
            if origin != "http://x.example.com" {
                assert_eq!(answer.refused(400, "invalid"), ["/origin_url"], "{origin}");
            }
            let body = json!({"name": "W", "url": format!("{origin}/hook"), "events": ["*"], "allow_internal": true});
            let answer = world.owner(Method::POST, "/webhooks", Some(body)).await;
            if origin != "http://x.example.com" {
                assert_eq!(answer.refused(400, "invalid"), ["/url"], "{origin}");
            }
        }
        for origin in ["http://127.0.0.1:7401", "http://localhost:7401", "http://unknown.example:7400", "http://10.0.0.7"] {
            let path = format!("/apps/{}", world.acme.app.id);
            let answer = world.owner(Method::PATCH, &path, Some(json!({"origin_url": origin}))).await;
            assert_eq!(answer.status, 200, "{origin}: {}", answer.text);
        }
    })
    .await;
}

/// Refusals in Acme's log, counts included, by reason.
async fn refusals(world: &World) -> std::collections::BTreeMap<String, u64> {
    world.store.write_all_folds().await.unwrap();
    let order = (store::audit::Order::Oldest, None);
    let filter = store::audit::Filter {
        action: Some("api.refuse".into()),
        ..store::audit::Filter::default()
    };
    let events = store::audit::list(&world.store, &world.acme.org, &filter, order, 1000).await;
    let mut found = std::collections::BTreeMap::new();
    for event in events.unwrap() {
        assert_eq!(event.outcome, wire::Outcome::Denied);
        assert!(event.actor.user.is_some(), "{event:#?}");
        let times = event.repeated.map_or(1, |repeated| repeated.count);
        *found.entry(event.reason.unwrap()).or_default() += times;
    }
    found
}

#[tokio::test]
async fn whoever_aims_an_app_or_a_webhook_at_the_server_is_on_record() {
    on_each(async |world| {
        let world = world.reaching(elsewhere(&[("metadata.example", "169.254.169.254")]));
        for n in 0..10 {
            for (place, origin) in [
                ("https://x.example.com", "http://127.0.0.1:7400"),
                ("https://x.example.com", "https://control.example.com"),
                ("https://x.example.com", "http://x.example.com"),
                ("https://x.example.com", "http://metadata.example"),
                ("https://control.example.com/x", "http://10.0.0.2"),
            ] {
                let body = json!({"account": world.acme.account.id, "name": format!("X{n}"), "kind": "web",
                    "public_url": place, "origin_url": origin});
                let answer = world.owner(Method::POST, "/apps", Some(body)).await;
                answer.refused(400, "invalid");
                let path = format!("/apps/{}", world.acme.app.id);
                let body = json!({"public_url": place, "origin_url": origin});
                let answer = world.owner(Method::PATCH, &path, Some(body)).await;
                answer.refused(400, "invalid");
            }
            let body = json!({"name": "W", "url": "http://127.0.0.1:7400/x", "events": ["*"], "allow_internal": true});
            world.owner(Method::POST, "/webhooks", Some(body)).await.refused(400, "invalid");
            let body = json!({"account": world.acme.account.id, "name": "control.example.com"});
            world.owner(Method::POST, "/hosts", Some(body)).await.refused(400, "invalid");
        }
        let found: Vec<_> = refusals(&world).await.into_iter().collect();
        let expected = [("foreign_host", 30), ("loop_detected", 70), ("special_address", 20)];
        assert_eq!(found, expected.map(|(reason, times)| (reason.to_owned(), times)));
    })
    .await;
}

#[tokio::test]
async fn a_receiver_on_the_machine_itself_is_refused_when_it_is_entered() {
    on_each(async |world| {
        let world = world.reaching(elsewhere(&[]));
        let create = async |url: &str, internal: bool| {
            let body = json!({"name": "W", "url": url, "events": ["*"], "allow_internal": internal});
            world.owner(Method::POST, "/webhooks", Some(body)).await
        };
        for url in [
            "https://localhost/x",
            "https://localhost./x",
            "https://foo.localhost/x",
            "https://foo.localhost.:8443/x",
            "https://127.0.0.1/x",
            "https://2130706433/x",
            "https://[::1]/x",
            "https://10.0.0.7/x",
        ] {
            let answer = create(url, false).await;
            assert_eq!(answer.refused(400, "invalid"), ["/url"], "{url}");
            assert!(answer.text.contains("allow_internal"), "{}", answer.text);
        }
        let answer = create("https://foo.localhost:8443/x", true).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
    })
    .await;
}

#[tokio::test]
async fn metadata_addresses_are_opened_by_the_organisation_only() {
    on_each(async |world| {
        let world = world.reaching(elsewhere(&[
            ("metadata.example", "169.254.169.254"),
            ("azure.example", "168.63.129.16"),
        ]));
        let path = format!("/apps/{}", world.acme.app.id);
        let try_it = async |origin: &str| {
            world
                .owner(Method::PATCH, &path, Some(json!({"origin_url": origin})))
                .await
        };
        for origin in [
            "http://169.254.169.254",
            "http://metadata.example",
            "https://azure.example",
            "http://[fd00:ec2::254]",
            "http://168.63.129.16",
            "http://100.100.100.200",
            "http://192.0.0.192",
            "http://[::ffff:169.254.169.254]",
            "http://[64:ff9b::169.254.169.254]",
            "http://[2002:a9fe:a9fe::]",
            "http://[fe80::1]",
            "http://0.0.0.0:8080",
        ] {
            let answer = try_it(origin).await;
            assert_eq!(answer.refused(400, "invalid"), ["/origin_url"], "{origin}");
            assert!(answer.text.contains("allowed_origin_ranges"), "{}", answer.text);
        }
        let organisation = async |ranges: Value| {
            let body = json!({"allowed_origin_ranges": ranges});
            world.owner(Method::PATCH, "/organisation", Some(body)).await
        };
        for bad in [
            "10.0.0.0/8",
            "0.0.0.0/0",
            "169.254.0.1/16",
            "metadata",
            "::/0",
            "127.0.0.0/8",
            "224.0.0.0/8",
        ] {
            let answer = organisation(json!([bad])).await;
            assert_eq!(
                answer.refused(400, "invalid"),
                ["/allowed_origin_ranges/0"],
                "{bad}"
            );
        }
        let admin = world
            .hire(Role::AccountAdmin, Some(&world.acme.account))
            .await
            .token;
        let body = json!({"allowed_origin_ranges": ["169.254.169.254/32"]});
        world
            .call(&admin, Method::PATCH, "/organisation", Some(body))
            .await
            .refused(403, "forbidden");
        let answer = organisation(json!(["169.254.169.254/32"])).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(world.newest().await.action, "organisation.update");
        for (origin, status) in [
            ("http://metadata.example", 200),
            ("http://169.254.169.253", 400),
            ("http://0.0.0.0", 400),
        ] {
            assert_eq!(try_it(origin).await.status, status, "{origin}");
        }
        // It is for origins: nothing else is sent there.
        let hook =
            json!({"name": "W", "url": "http://metadata.example/", "events": ["*"], "allow_internal": true});
        let answer = world.owner(Method::POST, "/webhooks", Some(hook)).await;
        assert_eq!(answer.refused(400, "invalid"), ["/url"]);
    })
    .await;
}
