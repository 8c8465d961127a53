//! How many audit events a second become durable on an embedded SQLite, with 64 requests in flight.
//!
//! ```text
//! cargo run --release -p store --example append_rate [SECONDS] [DATABASE_URL]
//! ```
//!
//! Prints one line of JSON: events, seconds, events per second, and the 50th and 99th percentile of the
//! time that a request waits for its event, in microseconds. Without a database a fresh file in the
//! temporary folder is used and deleted afterwards. `cargo xtask bench` runs it.

use std::time::{Duration, Instant};
use store::{Clock, MasterKey, Options, Store, audit};
use wire::{
    AccountId, ActorKind, AppId, AuditActor, AuditMcp, AuditRequest, AuditTarget, ClientId, GrantId, OrgId,
    OrganisationSpec, Outcome, RuleRef, UserId,
};

/// Requests that wait for their events at the same time.
const RECORDERS: usize = 64;

type Failure = Box<dyn std::error::Error>;

/// An event like those of a gateway that lets an agent call an MCP tool.
fn template(org: &OrgId) -> wire::AuditEvent {
    let actor = AuditActor {
        user: Some(UserId::fresh()),
        email: Some("ada@example.com".into()),
        client: Some(ClientId::fresh()),
        client_name: Some("Claude Code".into()),
        grant: Some(GrantId::fresh()),
        ..AuditActor::of(ActorKind::Agent)
    };
    let app = AppId::fresh();
    let mut event = audit::event(org, "gateway", audit::GATEWAY_REQUEST, actor);
    event.account = Some(AccountId::fresh());
    event.outcome = Outcome::Allowed;
    event.reason = Some("policy_allowed".into());
    event.rule = Some(RuleRef {
        id: "pol_0192f00000007000800000000000000a".into(),
        name: "Everybody in Engineering".into(),
    });
    event.target = Some(AuditTarget {
        app: Some(app.clone()),
        ..audit::target("app", &app, Some("Wiki"))
    });
    event.request = Some(AuditRequest {
        id: "0192f00000007000800000000000000b".into(),
        method: "POST".into(),
        path: "/mcp".into(),
        ip: Some("192.0.2.1".into()),
        user_agent: Some("claude-code/2.0".into()),
    });
    event.mcp = Some(AuditMcp {
        method: "tools/call".into(),
        tool: Some("search".into()),
        arguments_sha256: Some("47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU".into()),
    });
    event
}

/// Records until the time is over; how long each event took, in microseconds.
async fn recorder(store: Store, event: wire::AuditEvent, until: Instant) -> store::Result<Vec<u64>> {
    let mut waited = Vec::new();
    while Instant::now() < until {
        let mut event = event.clone();
        event.id = wire::EventId::fresh();
        let began = Instant::now();
        store.record(event).await?;
        waited.push(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    Ok(waited)
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let seconds: u64 = args.next().map_or(Ok(5), |text| text.parse())?;
    let folder = std::env::temp_dir().join(OrgId::fresh().to_string());
    let url = match args.next() {
        Some(url) => url,
        None => {
            std::fs::create_dir(&folder)?;
            format!("sqlite:{}", folder.join("store.db").display())
        }
    };
    let options = Options {
        database_url: &url,
        master_key: &MasterKey::generate()?,
        clock: Clock::system(),
        control_url: "http://127.0.0.1",
        pools: store::Pools::default(),
    };
    let store = Store::open(options).await?;
    let spec = OrganisationSpec {
        name: "Bench".into(),
        primary_connection: None,
        floor: vec![],
        ..OrganisationSpec::default()
    };
    let mut tx = store.begin().await?;
    let org = store::org::create(&mut tx, "bench", spec).await?.id;
    tx.commit_housekeeping().await?;

    let began = Instant::now();
    let until = began + Duration::from_secs(seconds);
    let event = template(&org);
    let recorders: Vec<_> = (0..RECORDERS)
        .map(|_| tokio::spawn(recorder(store.clone(), event.clone(), until)))
        .collect();
    let mut waited = Vec::new();
    for recorder in recorders {
        waited.append(&mut recorder.await??);
    }
    let took = began.elapsed().as_secs_f64();
    waited.sort_unstable();
    let percentile = |n: usize| waited.get(waited.len() * n / 100).copied().unwrap_or(0);
    let events = u64::try_from(waited.len())?;
    let result = serde_json::json!({
        "events": events,
        "seconds": took,
        "events_per_second": (waited.len() as f64 / took).round(),
        "p50_us": percentile(50),
        "p99_us": percentile(99),
        "recorders": RECORDERS,
    });
    println!("{result}");
    let verified = audit::verify(&store, &org, &[]).await?;
    if verified.checked != events || verified.broken.is_some() {
        return Err("what was recorded is not what the log holds".into());
    }
    store.close().await;
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    Ok(())
}
