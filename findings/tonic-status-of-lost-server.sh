#!/usr/bin/env bash
# A client by tonic 0.14.9 whose server is lost in the middle of a call is told neither Unavailable nor
# DeadlineExceeded: a response stream says Unknown, both when the server is killed and when keep-alive gives
# up a server that stands still, and a call whose Endpoint::timeout has passed says Cancelled, as if
# the client had withdrawn it.
#
# One would guess the codes of gRPC's specification: UNAVAILABLE for a broken connection and for a ping without
# an answer, DEADLINE_EXCEEDED for time that has passed. Rules that repeat calls after those two, as service
# meshes and client libraries have them, repeat none of these.
#
# Seen: killed: Unknown; stopped, with keep-alive of 1 s and 1 s: Unknown after 2 s; timeout of a call: Cancelled.
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
tokio = { version = "1.54", features = ["macros", "rt-multi-thread", "time"] }
TOML
cat >src/main.rs <<'RUST'
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::time::timeout;
use tonic::Status;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Endpoint, Server};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

const SECOND: Duration = Duration::from_secs(1);

async fn serve() {
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    println!("{}", incoming.local_addr().expect("an address"));
    let (_reporter, service) = tonic_health::server::health_reporter();
    let server = Server::builder().add_service(service);
    server.serve_with_incoming(incoming).await.expect("a server");
}

fn signal(server: &Child, name: &str) {
    let id = server.id().to_string();
    Command::new("kill").args([name, &id]).status().expect("a signal");
}

fn code<T>(result: Result<Result<T, Status>, tokio::time::error::Elapsed>) -> String {
    match result {
        Err(_) => "silent".to_owned(),
        Ok(Ok(_)) => "Ok".to_owned(),
        Ok(Err(status)) => format!("{:?}", status.code()),
    }
}

#[tokio::main]
async fn main() {
    if std::env::args().count() > 1 {
        return serve().await;
    }
    for name in ["-KILL", "-STOP"] {
        let program = std::env::current_exe().expect("a path");
        let mut server = Command::new(program).arg("serve").stdout(Stdio::piped()).spawn().expect("a process");
        let mut lines = BufReader::new(server.stdout.take().expect("a pipe")).lines();
        let address = lines.next().expect("a line").expect("a line");
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        let alive = endpoint.clone().http2_keep_alive_interval(SECOND).keep_alive_timeout(SECOND);
        let mut client = HealthClient::new(alive.connect().await.expect("a server"));
        let mut short = HealthClient::new(endpoint.timeout(SECOND).connect().await.expect("a server"));
        let stream = client.watch(HealthCheckRequest::default()).await;
        let mut stream = stream.expect("a stream").into_inner();
        stream.message().await.expect("a message");
        signal(&server, name);
        println!("{}", code(timeout(5 * SECOND, stream.message()).await));
        if name == "-STOP" {
            let call = short.check(HealthCheckRequest::default());
            println!("{}", code(timeout(5 * SECOND, call).await));
        }
        let _ = server.kill();
        let _ = server.wait();
    }
}
RUST
cargo run --quiet >out 2>err || { cat err >&2; exit 1; }
read -r killed stopped late <<<"$(tr '\n' ' ' <out)"
echo "tonic 0.14.9: killed server $killed, stopped server $stopped, call after its timeout $late"
[ "$killed" = Unknown ] && [ "$stopped" = Unknown ] && [ "$late" = Cancelled ]
