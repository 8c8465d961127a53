//! A PostgreSQL server that answers slowly, or not at all, while everything else is as ever.

use crate::world::{World, on_each};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use store::{Options, Purpose, Store};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// The way to the server: everything that goes there is late by so many milliseconds, or nothing goes there.
#[derive(Clone)]
struct Way {
    late: Arc<AtomicU64>,
    open: watch::Sender<bool>,
    url: String,
}

impl Way {
    async fn to(database_url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut url = url::Url::parse(database_url).unwrap();
        let server = (url.host_str().unwrap().to_owned(), url.port().unwrap_or(5432));
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(listener.local_addr().unwrap().port())).unwrap();
        let way = Self {
            late: Arc::default(),
            open: watch::Sender::new(true),
            url: url.to_string(),
        };
        let goes = way.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (goes, server) = (goes.clone(), server.clone());
                tokio::spawn(async move {
                    let mut open = goes.open.subscribe();
                    if !*open.borrow_and_update() {
                        return;
                    }
                    let Ok(server) = TcpStream::connect(server).await else {
                        return;
                    };
                    tokio::select! {
                        () = goes.carry(client, server) => {}
                        _ = open.changed() => {}
                    }
                });
            }
        });
        way
    }

    async fn carry(&self, client: TcpStream, server: TcpStream) {
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let there = async {
            let mut bytes = vec![0; 16 * 1024];
            while let Ok(n @ 1..) = from_client.read(&mut bytes).await {
                tokio::time::sleep(Duration::from_millis(self.late.load(Ordering::Relaxed))).await;
                if to_server.write_all(&bytes[..n]).await.is_err() {
                    return;
                }
            }
        };
        let back = async {
            let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
        };
        tokio::join!(there, back);
    }
}

/// How an instance is, as long as it takes until that is so.
async fn until(what: &str, most: u64, store: &Store, is_so: impl AsyncFn(&Store) -> bool) {
    let began = Instant::now();
    while !is_so(store).await {
        assert!(
            began.elapsed() < Duration::from_secs(most),
            "{what}: not within {most} s"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("{what} after {:?}", began.elapsed());
}

async fn is_well(store: &Store) -> bool {
    store.is_current() && store.readiness().await.faults.is_empty()
}

async fn records(store: &Store, w: &World) -> bool {
    store.record(w.event("test.record")).await.is_ok()
}

#[tokio::test]
async fn a_server_that_answers_slowly_or_not_at_all_denies_and_is_used_again_when_it_answers() {
    on_each(async |w| {
        if !w.database.is_postgres() {
            return;
        }
        let way = Way::to(&w.database.url).await;
        let options = Options {
            database_url: &way.url,
            ..w.database.options(&w.key, &w.clock)
        };
        let store = Store::open(options).await.unwrap();
        until("well at first", 5, &store, is_well).await;
        let mut recorded = u64::from(records(&store, w).await);

        for what in ["5 s a statement", "gone"] {
            println!("{what}");
            if what == "gone" {
                way.open.send_replace(false);
            } else {
                way.late.store(5000, Ordering::Relaxed);
            }
            // The gate asks this for each request.
            until("denies", 6, &store, async |store| !store.is_current()).await;
            let began = Instant::now();
            let hot = store.on(Purpose::Hot);
            let (proof, record, readiness) = tokio::join!(
                store::user::by_id(&hot, &w.user.id),
                records(&store, w),
                store.readiness()
            );
            assert!(proof.is_err(), "what nobody read proves nothing");
            assert!(!readiness.faults.is_empty(), "{readiness:?}");
            recorded += u64::from(record);
            println!("all have their answer after {:?}", began.elapsed());
            assert!(began.elapsed() < Duration::from_secs(20));

            way.late.store(0, Ordering::Relaxed);
            way.open.send_replace(true);
            until("well again", 10, &store, is_well).await;
            assert!(store::user::by_id(&hot, &w.user.id).await.unwrap().is_some());
            assert!(records(&store, w).await);
            recorded += 1;
        }
        // What was said to be on record is; what was not may be.
        let filter = store::audit::Filter {
            action: Some("test.record".to_owned()),
            ..store::audit::Filter::default()
        };
        let oldest = (store::audit::Order::Oldest, None);
        let events = store::audit::list(&store, &w.org, &filter, oldest, 200)
            .await
            .unwrap();
        assert!(events.len() as u64 >= recorded, "{} of {recorded}", events.len());
        store.close().await;
    })
    .await;
}
