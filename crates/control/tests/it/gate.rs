//! The gate while a very large change is previewed. Not run by default: it measures, and wants an optimised build.
//!
//! ```text
//! cargo nextest run --release -p control --run-ignored all gate:: --no-capture
//! ```
//!
//! Requests come at a fixed rate, whatever becomes of those before (an open loop), and are timed from when they were due.

use crate::decision::Scene;
use crate::scale::{Size, grow, id};
use crate::world::World;
use axum::body::Body;
use gateway::{Gateway, GatewayConfig};
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use testkit::{CONTROL, from_json};
use wire::*;

const SIZE: Size = Size {
    accounts: 1000,
    people: 100_000,
    grants: 100_000,
};
/// Of each round.
const LASTS: Duration = Duration::from_secs(10);
const ROUNDS: usize = 3;

/// An app behind the gate, and somebody's agent.
struct Gate {
    gateway: Gateway,
    host: String,
    token: String,
}

impl Gate {
    async fn pass(&self) {
        let mut request = Request::builder()
            .uri("/")
            .header(header::HOST, &self.host)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .body(Body::empty())
            .unwrap();
        request.extensions_mut().insert(AuditRequest {
            id: "req-1".into(),
            method: "GET".into(),
            path: "/".into(),
            ip: Some("203.0.113.7".into()),
            user_agent: None,
        });
        let response = self.gateway.handle(&self.host, request).await;
        assert_eq!(response.status(), StatusCode::OK);
        response.into_body().collect().await.unwrap();
    }

    /// How many requests a second go through when there is always one more.
    async fn capacity(self: &Arc<Self>) -> f64 {
        let (began, count) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
        let some = (0..64).map(|_| {
            let (gate, count) = (Arc::clone(self), Arc::clone(&count));
            tokio::spawn(async move {
                while began.elapsed() < LASTS / 2 {
                    gate.pass().await;
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        for one in some.collect::<Vec<_>>() {
            one.await.unwrap();
        }
        count.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64()
    }

    /// What requests took that came at a rate, in microseconds; sorted.
    async fn at_rate(self: &Arc<Self>, per_second: f64) -> Vec<u64> {
        let total = (per_second * LASTS.as_secs_f64()) as usize;
        let (gate, runtime) = (Arc::clone(self), tokio::runtime::Handle::current());
        // A thread of its own keeps the time.
        let sent = tokio::task::spawn_blocking(move || {
            let began = Instant::now();
            let send = |n: usize| {
                let due = began + Duration::from_secs_f64(n as f64 / per_second);
                let early = due.saturating_duration_since(Instant::now());
                if !early.is_zero() {
                    std::thread::sleep(early);
                }
                let gate = Arc::clone(&gate);
                runtime.spawn(async move {
                    gate.pass().await;
                    due.elapsed().as_micros() as u64
                })
            };
            (0..total).map(send).collect::<Vec<_>>()
        });
        let mut took = Vec::with_capacity(total);
        for one in sent.await.unwrap() {
            took.push(one.await.unwrap());
        }
        took.sort_unstable();
        took
    }
}

async fn origin() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = axum::Router::new().fallback(async || "ok");
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

/// In MiB, from the kernel: what the process has, and the most it had since that was forgotten.
fn memory() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let of = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        let text: String = line.chars().filter(char::is_ascii_digit).collect();
        text.parse::<u64>().unwrap() / 1024
    };
    (of("VmRSS:"), of("VmHWM:"))
}

fn forget_most() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}

fn at(sorted: &[u64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share) as usize] as f64 / 1000.0
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it measures, and wants an optimised build"]
async fn the_gate_at_half_its_capacity_while_a_very_large_change_is_previewed() {
    testkit::measure();
    for (engine, database) in testkit::databases().await {
        println!("on {engine}");
        let world = Box::pin(World::new(&database)).await;
        let second = grow(&world, &database, SIZE).await;
        let gate = {
            let scene = Scene::new(&world, &["pwd"]).await;
            scene.patch_app(json!({"origin_url": origin().await})).await;
            let gateway = Gateway::new(GatewayConfig {
                store: world.store.on(store::Purpose::Hot),
                keyring: world.keyring.clone(),
                control_url: CONTROL.into(),
            });
            Arc::new(Gate {
                gateway,
                host: scene.host().to_owned(),
                token: scene.access_token.clone(),
            })
        };
        let world = Arc::new(world);
        let accounts: Vec<_> = (0..SIZE.accounts).map(|i| id("acc", i)).collect();
        let bind = json!({"connection": second.id, "accounts": accounts, "mode": "exclusive"});
        let preview = async |world: &World| -> (Duration, Impact) {
            let began = Instant::now();
            let answer = world
                .owner(Method::POST, "/bindings?dry_run=true", Some(bind.clone()))
                .await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
            (began.elapsed(), from_json(answer.json()["impact"].clone()))
        };
        let (before, _) = memory();
        forget_most();
        let (alone, impact) = preview(&world).await;
        let (after, most) = memory();
        println!(
            "  a preview alone: {} ms; {} people may sign in, {} agents lose access; \
             MiB resident before {before}, at the most {most}, after {after}",
            alone.as_millis(),
            impact.sign_in.gain,
            impact.lose.agents,
        );
        let capacity = gate.capacity().await;
        println!("  the gate's capacity: {capacity:.0} requests/s");
        let mut rounds: [Vec<Vec<u64>>; 2] = [Vec::new(), Vec::new()];
        let mut previews = Vec::new();
        for _ in 0..ROUNDS {
            rounds[0].push(gate.at_rate(capacity / 2.0).await);
            let over = AtomicBool::new(false);
            let loading = async {
                let took = gate.at_rate(capacity / 2.0).await;
                over.store(true, Ordering::Relaxed);
                took
            };
            let looking = async {
                while !over.load(Ordering::Relaxed) {
                    previews.push(preview(&world).await.0.as_secs_f64() * 1000.0);
                }
            };
            let (took, ()) = tokio::join!(loading, looking);
            rounds[1].push(took);
        }
        for (what, rounds) in ["without a preview", "with previews"].iter().zip(&rounds) {
            let of = |share: f64| median(rounds.iter().map(|round| at(round, share)).collect());
            let each: Vec<_> = rounds.iter().map(|r| format!("{:.2}", at(r, 0.99))).collect();
            println!(
                "  {what}: p50 {:.2} p90 {:.2} p99 {:.2} p99.9 {:.2} ms; p99 of each round {}",
                of(0.5),
                of(0.9),
                of(0.99),
                of(0.999),
                each.join(" ")
            );
        }
        let count = previews.len();
        println!(
            "  {count} previews meanwhile, the median took {:.0} ms",
            median(previews)
        );
        world.store.close().await;
        database.remove().await;
    }
}
