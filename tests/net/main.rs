//! Streams between processes: settings, faults, protection.
#![cfg(feature = "net")]

mod faults;
#[cfg(unix)]
mod helper;
mod proto;
mod raw;
mod security;
#[cfg(unix)]
mod silence;
#[cfg(unix)]
mod speed;
mod streams;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use shardloom::net::Accept;
use shardloom::net::transport::{self, Dialer, Listener, Security, Settings};
use shardloom::net::{Channel, Frame, FrameStream, Header, Kind, NetError};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::mpsc;

/// Limit of calls that must succeed.
const LIMIT: Duration = Duration::from_secs(10);

/// Streams that a listener accepted, in order.
struct Accepted(mpsc::UnboundedReceiver<(Channel, FrameStream)>);

struct Inbox(mpsc::UnboundedSender<(Channel, FrameStream)>);

impl Accept for Inbox {
    fn accept(&self, channel: Channel, stream: FrameStream) {
        // A test that has its streams may be over.
        let _ = self.0.send((channel, stream));
    }
}

impl Accepted {
    async fn next(&mut self) -> (Channel, FrameStream) {
        let next = tokio::time::timeout(LIMIT, self.0.recv()).await;
        next.expect("a stream is accepted").unwrap()
    }
}

fn network() -> Runtime {
    transport::runtime().unwrap()
}

fn listen(security: &Security, runtime: &Handle) -> Result<(Listener, Accepted), NetError> {
    listen_at("127.0.0.1:0", security, runtime)
}

fn listen_at(
    address: &str,
    security: &Security,
    runtime: &Handle,
) -> Result<(Listener, Accepted), NetError> {
    let (inbox, accepted) = mpsc::unbounded_channel();
    let settings = Settings::default();
    let listener = Listener::bind(
        address,
        security,
        &settings,
        Arc::new(Inbox(inbox)),
        runtime,
    )?;
    Ok((listener, Accepted(accepted)))
}

fn dialer(security: &Security, runtime: &Handle) -> Dialer {
    Dialer::new(security.clone(), Settings::default(), runtime.clone())
}

/// The two ends of a stream of rows without protection: of the dialer, and of the listener.
async fn connected(runtime: &Handle) -> (FrameStream, FrameStream) {
    connected_between(runtime, runtime).await
}

/// The two ends of a stream between two networks of this process.
async fn connected_between(dialing: &Handle, listening: &Handle) -> (FrameStream, FrameStream) {
    let open = Security::default();
    let (listener, mut accepted) = listen(&open, listening).unwrap();
    let address = listener.local_address().to_string();
    let opened = dialer(&open, dialing)
        .open(&address, Channel::Rows, LIMIT)
        .await;
    let (_, stream) = accepted.next().await;
    (opened.unwrap(), stream)
}

fn frame(request: u32, payload: Bytes) -> Frame {
    let header = Header {
        request,
        ..Header::new(Kind::Rows)
    };
    Frame { header, payload }
}
