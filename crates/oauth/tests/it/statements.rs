//! What a refresh asks of the database, counted where it cannot be overlooked: on the wire.

use crate::token::text;
use crate::world::on_each;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf};

/// Passes on what a client says to PostgreSQL, and counts what it has carried out (`Execute` and `Query` of the
/// frontend's protocol; what begins and ends transactions is among them).
async fn pass_on(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    count: Arc<AtomicU64>,
) -> std::io::Result<()> {
    let mut begun = false;
    loop {
        let mut kind = [0];
        if begun {
            from.read_exact(&mut kind).await?;
        }
        let length = from.read_u32().await?;
        let mut body = vec![0; usize::try_from(length).unwrap() - 4];
        from.read_exact(&mut body).await?;
        // A message before the first one has no kind; a request for TLS is one, too.
        if begun {
            to.write_all(&kind).await?;
        }
        begun = begun || body.starts_with(&[0, 3, 0, 0]);
        to.write_all(&length.to_be_bytes()).await?;
        to.write_all(&body).await?;
        if matches!(kind[0], b'E' | b'Q') {
            count.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// A way to the server that counts. Says the port.
async fn counting(server: String, count: Arc<AtomicU64>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&server).await.unwrap();
            client.set_nodelay(true).unwrap();
            server.set_nodelay(true).unwrap();
            let (from_client, mut to_client) = client.into_split();
            let (mut from_server, to_server) = server.into_split();
            tokio::spawn(pass_on(from_client, to_server, Arc::clone(&count)));
            tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
        }
    });
    port
}

#[tokio::test]
async fn a_refresh_takes_nine_statements_and_junk_one() {
    on_each(async |w| {
        let Ok(url) = url::Url::parse(&w.url) else { return };
        let Some(host) = url.host_str() else { return };
        let count = Arc::new(AtomicU64::new(0));
        let server = format!("{host}:{}", url.port().unwrap_or(5432));
        let port = counting(server, Arc::clone(&count)).await;
        let mut counted = url.clone();
        counted.set_host(Some("127.0.0.1")).unwrap();
        counted.set_port(Some(port)).unwrap();
        let at = w.beside_at(counted.as_str()).await;
        let browser = w.employee().await;
        let id = w.register().await;
        let mut token = text(&at.tokens(&browser, &id).await, "refresh_token");
        // Connections are open and prepared by then.
        for _ in 0..3 {
            let answer = at.refresh(&id, &token, &[]).await.expect(200).json();
            token = text(&answer, "refresh_token");
        }
        // The least of several, because the change feed and the like go on beside it.
        let mut least = (u64::MAX, u64::MAX, u64::MAX);
        for _ in 0..20 {
            let before = count.load(Ordering::SeqCst);
            let answer = at.refresh(&id, &token, &[]).await.expect(200).json();
            let rotated = count.load(Ordering::SeqCst);
            at.refresh(&id, &token, &[]).await.expect(200);
            let repeated = count.load(Ordering::SeqCst);
            // As long as one of ours.
            let junk: String = token.chars().rev().collect();
            at.refresh(&id, &junk, &[]).await.expect(400);
            let refused = count.load(Ordering::SeqCst);
            least.0 = least.0.min(rotated - before);
            least.1 = least.1.min(repeated - rotated);
            least.2 = least.2.min(refused - repeated);
            token = text(&answer, "refresh_token");
        }
        println!("rotated, repeated, junk: {least:?}");
        assert_eq!(least, (9, 8, 1));
        at.store.close().await;
    })
    .await;
}
