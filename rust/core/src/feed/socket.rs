//! The only WebSocket code: connect, read frames, ping, close.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes, Error as WsError, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async_tls_with_config};

use super::driver::Driver;

/// Largest message taken. Snapshots of deep books run to megabytes; the bound only keeps a broken peer from taking
/// all memory.
const MAX_MESSAGE_BYTES: usize = 256 << 20;

/// Room for one read. The library clears it before every read, whatever comes: the default of 128 KiB would cost more
/// than the message and empty the first-level cache.
const READ_BYTES: usize = 16 << 10;

/// How long TCP connect, TLS and upgrade may take together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a control frame may take to leave; a peer that no longer reads must not hold us.
const CONTROL_TIMEOUT: Duration = Duration::from_millis(250);

/// Close code that stands for "the peer closed without giving a code" (RFC 6455, section 7.4.1).
const NO_CODE: u16 = 1005;

/// What came from the peer.
#[derive(Debug)]
pub enum Frame {
    /// A text or binary message, whole.
    Message(Bytes),
    /// A ping or pong: the connection lives, nothing to process. Pings are answered by the next read.
    Alive,
    /// The peer closed in an orderly way.
    Closed {
        /// Close code of RFC 6455.
        code: u16,
        /// The peer's words, possibly none.
        reason: String,
    },
    /// A frame that is no valid WebSocket message (bad UTF-8, broken framing, too large); its content is lost.
    Garbled(String),
    /// The connection broke.
    Lost(String),
}

/// Why no connection was made.
#[derive(Debug)]
pub enum ConnectError {
    /// No peer: refused, unreachable, timed out, TLS failed.
    Unreachable(String),
    /// A peer that answered the upgrade with something else than a WebSocket.
    Refused(String),
}

/// One open connection.
#[derive(Debug)]
pub struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Whether the library has no whole frame left of what came, and nothing to say.
    drained: bool,
    driver: Arc<Driver>,
}

impl Socket {
    /// Connects to a `ws://` or `wss://` URL, without Nagle's delay and without a small frame limit.
    ///
    /// # Errors
    /// [`ConnectError`] says whether there was no peer, or one that refused.
    pub async fn connect(url: &str, driver: Arc<Driver>) -> Result<Self, ConnectError> {
        match timeout(CONNECT_TIMEOUT, connect(url)).await {
            Ok(connected) => Ok(Self::watched(connected?, driver)),
            Err(_) => Err(ConnectError::Unreachable(format!("no connection within {} s", CONNECT_TIMEOUT.as_secs()))),
        }
    }

    fn watched(stream: WebSocketStream<MaybeTlsStream<TcpStream>>, driver: Arc<Driver>) -> Self {
        let socket = Self { stream, drained: false, driver };
        if socket.tcp().is_none_or(|tcp| socket.driver.sockets().add(tcp).is_err()) {
            // A reader would not hear of it.
            socket.driver.keep();
        }
        socket
    }

    fn tcp(&self) -> Option<&TcpStream> {
        match self.stream.get_ref() {
            MaybeTlsStream::Plain(tcp) => Some(tcp),
            MaybeTlsStream::Rustls(tls) => Some(tls.get_ref().0),
            _ => None,
        }
    }

    /// The next frame. May be dropped and called again without losing anything.
    pub async fn next(&mut self) -> Frame {
        poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Frame> {
        // Asking the library costs a cleared buffer, asking the socket next to nothing.
        if self.drained && self.tcp().is_some_and(|tcp| tcp.poll_read_ready(context).is_pending()) {
            return Poll::Pending;
        }
        let next = self.stream.poll_next_unpin(context);
        // An answer to a ping that did not fit has to go out by the library as soon as there is room.
        let has_room = |tcp: &TcpStream| tcp.poll_write_ready(context).is_ready();
        self.drained = next.is_pending() && self.tcp().is_some_and(has_room);
        next.map(frame)
    }

    /// The next frame if it is already here.
    pub fn next_ready(&mut self) -> Option<Frame> {
        self.next().now_or_never()
    }

    /// Sends a ping; the answer shows up as [`Frame::Alive`]. `false` if it could not be sent.
    pub async fn ping(&mut self) -> bool {
        matches!(timeout(CONTROL_TIMEOUT, self.stream.send(Message::Ping(Bytes::new()))).await, Ok(Ok(())))
    }

    /// Sends a text message. `false` if it could not be sent.
    pub async fn send(&mut self, text: String) -> bool {
        matches!(timeout(CONTROL_TIMEOUT, self.stream.send(Message::Text(text.into()))).await, Ok(Ok(())))
    }

    /// Says goodbye, without waiting for the answer.
    pub async fn close(mut self) {
        // The peer may be gone already; there is nobody to tell.
        let _ = timeout(CONTROL_TIMEOUT, self.stream.close(None)).await;
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(tcp) = self.tcp() {
            self.driver.sockets().remove(tcp);
        }
    }
}

fn frame(next: Option<Result<Message, WsError>>) -> Frame {
    match next {
        Some(Ok(Message::Text(text))) => Frame::Message(text.into()),
        Some(Ok(Message::Binary(bytes))) => Frame::Message(bytes),
        Some(Ok(Message::Close(Some(frame)))) => {
            Frame::Closed { code: frame.code.into(), reason: frame.reason.to_string() }
        }
        Some(Ok(Message::Close(None))) => Frame::Closed { code: NO_CODE, reason: String::new() },
        Some(Ok(_)) => Frame::Alive,
        Some(Err(error @ (WsError::Utf8(_) | WsError::Capacity(_)))) => Frame::Garbled(error.to_string()),
        Some(Err(error)) => Frame::Lost(error.to_string()),
        None => Frame::Lost("connection closed without a closing handshake (1006)".to_owned()),
    }
}

async fn connect(url: &str) -> Result<WebSocketStream<MaybeTlsStream<TcpStream>>, ConnectError> {
    // Named here so that no other crate's feature flags decide which TLS implementation runs. An error means that the
    // process has one installed already, which then stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let request = url.into_client_request().map_err(|error| ConnectError::Refused(error.to_string()))?;
    let uri = request.uri();
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("wss") { 443 } else { 80 });
    let unreachable = |error: std::io::Error| ConnectError::Unreachable(error.to_string());
    let tcp = TcpStream::connect((host.as_str(), port)).await.map_err(unreachable)?;
    tcp.set_nodelay(true).map_err(unreachable)?;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES));
    match client_async_tls_with_config(request, tcp, Some(config), None).await {
        Ok((stream, _response)) => Ok(stream),
        Err(WsError::Http(response)) => {
            Err(ConnectError::Refused(format!("HTTP {} instead of a WebSocket: wrong port?", response.status())))
        }
        Err(error) => Err(ConnectError::Unreachable(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use tokio::sync::oneshot;
    use tokio_tungstenite::tungstenite::accept;

    use super::*;

    /// Answers of more bytes than a socket's buffers take.
    const PINGS: usize = 80_000;
    const PING_BYTES: usize = 125;

    #[test]
    fn answers_that_did_not_fit_go_out_as_soon_as_there_is_room() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let (read_now, may_read) = oneshot::channel();
        let (told, answers) = oneshot::channel();
        let peer = thread::spawn(move || {
            let mut peer = accept(listener.accept().unwrap().0).unwrap();
            for _ in 0..PINGS {
                peer.write(Message::Ping(Bytes::from_static(&[b'x'; PING_BYTES]))).unwrap();
            }
            peer.flush().unwrap();
            let () = may_read.blocking_recv().unwrap();
            peer.get_ref().set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let came = (0..PINGS).take_while(|_| matches!(peer.read(), Ok(Message::Pong(_)))).count();
            told.send(came).unwrap();
            // Open until the other end has looked.
            peer
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut socket = Socket::connect(&url, Arc::new(Driver::new().unwrap())).await.unwrap();
            for _ in 0..PINGS {
                assert!(matches!(socket.next().await, Frame::Alive));
            }
            assert!(socket.next_ready().is_none());
            read_now.send(()).unwrap();
            tokio::select! {
                frame = socket.next() => panic!("nobody sent {frame:?}"),
                came = answers => assert_eq!(came.unwrap(), PINGS),
            }
        });
        drop(peer.join().unwrap());
    }
}
