#!/usr/bin/env bash
# A server by tonic 0.14.9 that is given a listener (serve_with_incoming, the way to serve at port 0) leaves
# Nagle's algorithm on, although Server::builder().tcp_nodelay(true) was called and serve(address) of the same
# builder turns it off. Answers of a bidirectional stream that follow one another then wait for the client's
# delayed acknowledgement, some 40 ms each.
#
# One would guess that a setting of the server holds for the server's connections, however they were accepted,
# or that one which cannot hold is refused. A line in the documentation of serve_with_incoming says so, and
# none in that of tcp_nodelay.
#
# Seen: TCP_NODELAY of the accepted socket is false with TcpIncoming::from(listener), and true with
# TcpIncoming::from(listener).with_nodelay(Some(true)).
# Needs cargo and a Unix. Exit status 0: as described; 1: it changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir src
cat >Cargo.toml <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"
[dependencies]
tonic = "=0.14.9"
tonic-health = "=0.14.9"
tokio = { version = "1.54", features = ["macros", "net", "rt-multi-thread", "time"] }
tokio-stream = "0.1.19"
TOML
cat >src/main.rs <<'RUST'
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};

use tokio::net::TcpListener;
use tokio_stream::StreamExt;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Endpoint, Server};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

/// Serves one call, and returns TCP_NODELAY of the server's end of the connection.
async fn nodelay(of_listener: Option<bool>) -> bool {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    // Options belong to a socket, not to a descriptor: a copy of the descriptor shows them later.
    let copy = Arc::new(Mutex::new(None::<TcpStream>));
    let kept = Arc::clone(&copy);
    let incoming = TcpIncoming::from(listener).with_nodelay(of_listener).map(move |accepted| {
        let socket = accepted?;
        let descriptor = socket.as_fd().try_clone_to_owned()?;
        *kept.lock().expect("no panic") = Some(TcpStream::from(descriptor));
        Ok::<_, std::io::Error>(socket)
    });
    let (_reporter, service) = tonic_health::server::health_reporter();
    let server = Server::builder().tcp_nodelay(true).add_service(service);
    tokio::spawn(server.serve_with_incoming(incoming));
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    let mut client = HealthClient::new(endpoint.connect().await.expect("a server"));
    client.check(HealthCheckRequest::default()).await.expect("an answer");
    let copy = copy.lock().expect("no panic");
    copy.as_ref().expect("a connection").nodelay().expect("an option")
}

#[tokio::main]
async fn main() {
    println!("{} {}", nodelay(None).await, nodelay(Some(true)).await);
}
RUST
cargo run --quiet >out 2>err || { cat err >&2; exit 1; }
read -r server listener <out
echo "tonic 0.14.9: TCP_NODELAY is $server where the server says so, $listener where the listener does"
[ "$server" = false ] && [ "$listener" = true ]
