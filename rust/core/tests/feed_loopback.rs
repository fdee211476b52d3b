//! The feed over a real socket, without Python: connect, follow, lose, come back, end.

#![allow(clippy::unwrap_used, reason = "a panic in a test is the report")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::SinkExt;
use mm_core::book::BookState;
use mm_core::feed::{Feed, FeedConfig, Source};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async};

const SNAPSHOT: &str = r#"{"type":"book_change","symbol":"BTCUSDT","exchange":"bybit","isSnapshot":true,
"bids":[{"price":100.5,"amount":1}],"asks":[{"price":101,"amount":2}],
"timestamp":"2026-01-02T00:00:00.000Z","localTimestamp":"2026-01-02T00:00:00.001Z"}"#;

fn config(address: SocketAddr) -> FeedConfig {
    FeedConfig {
        source: Source::Tardis,
        book_depth: 200,
        url: format!("ws://{address}"),
        exchange: "bybit".into(),
        symbols: vec!["BTCUSDT".into()],
        data_types: vec!["book_change".into()],
        stale_after: Duration::from_secs(3),
        resync_after: Duration::from_secs(10),
        reconnect_min: Duration::from_millis(10),
        reconnect_max: Duration::from_millis(100),
        queue_events: 10,
        replay: None,
        end_on_finish: false,
    }
}

async fn accept(listener: &TcpListener) -> WebSocketStream<TcpStream> {
    accept_async(listener.accept().await.unwrap().0).await.unwrap()
}

async fn until(feed: &Feed, what: &str, condition: impl Fn(&Feed) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition(feed) {
        assert!(Instant::now() < deadline, "not within 10 s: {what}; {:?}", feed.board().stats());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn state(feed: &Feed) -> BookState {
    feed.board().snapshot("BTCUSDT", 1).unwrap().state
}

#[tokio::test]
async fn a_book_follows_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let feed = Feed::new(config(listener.local_addr().unwrap()), None).unwrap();
    assert_eq!(state(&feed), BookState::Unsynced);
    feed.start().unwrap();

    let mut server = accept(&listener).await;
    server.send(Message::text(SNAPSHOT)).await.unwrap();
    until(&feed, "live", |feed| state(feed) == BookState::Live).await;
    assert_eq!(feed.board().snapshot("BTCUSDT", 1).unwrap().bids, [[100.5, 1.0]]);

    drop(server);
    until(&feed, "unsynced", |feed| state(feed) == BookState::Unsynced).await;
    let mut server = accept(&listener).await;
    server.send(Message::text(SNAPSHOT)).await.unwrap();
    until(&feed, "live again", |feed| state(feed) == BookState::Live).await;
    assert_eq!(feed.board().stats().reconnects, 1);
    assert_eq!(feed.board().drain(0).len(), 3, "snapshot, disconnect, snapshot");

    feed.close();
    feed.close();
    assert!(!feed.board().stats().running);
    assert!(feed.start().is_err());
}
