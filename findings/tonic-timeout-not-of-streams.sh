#!/usr/bin/env bash
# No timeout of tonic 0.14.9 ends a response stream: neither Endpoint::timeout, nor Server::timeout, nor
# Request::set_timeout, which sends the header grpc-timeout. All three end with the response's head. A call
# that waits for its next message from a server that says nothing more waits for ever.
#
# One would guess that they are gRPC's deadline, which covers a call until its status has arrived, and
# which grpc-core and grpc-go apply to every message of a stream.
#
# Seen: with one second in all three places, a stream is still open and silent after four.
# Cure: a deadline of one's own around every call of Streaming::message, and keep-alive on both ends.
# Needs cargo. Exit status 0: as described; 1: it changed.
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
tonic-health = "=0.14.9" # a service with a response stream
tokio = { version = "1.54", features = ["macros", "rt-multi-thread", "time"] }
TOML
cat >src/main.rs <<'RUST'
use std::time::Duration;

use tokio::time::timeout;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Endpoint, Server};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::main]
async fn main() {
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let address = incoming.local_addr().expect("an address");
    let (_reporter, service) = tonic_health::server::health_reporter();
    let server = Server::builder().timeout(SECOND).add_service(service);
    tokio::spawn(server.serve_with_incoming(incoming));
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address").timeout(SECOND);
    let mut client = HealthClient::new(endpoint.connect().await.expect("a server"));
    let mut request = tonic::Request::new(HealthCheckRequest::default());
    request.set_timeout(SECOND);
    let mut stream = client.watch(request).await.expect("a stream").into_inner();
    let first = stream.message().await.expect("a stream").is_some();
    // The state that is watched does not change any more.
    let second = timeout(4 * SECOND, stream.message()).await;
    let second = match second {
        Err(_) => "open".to_owned(),
        Ok(Ok(message)) => format!("message-{}", message.is_some()),
        Ok(Err(status)) => format!("{:?}", status.code()),
    };
    println!("{first} {second}");
}
RUST
cargo run --quiet >out 2>err || { cat err >&2; exit 1; }
read -r first second <out
echo "tonic 0.14.9: first message $first; after four seconds of at most one the stream is: $second"
[ "$first" = true ] && [ "$second" = open ]
