#!/usr/bin/env bash
# A server by tonic 0.14.9 cannot tell an upload that is complete from one whose client froze. When HTTP/2
# keep-alive of the server gives the client up, the request stream ends with Ok(None), as if the client
# had sent all that it wanted to send. Of a client that is killed, the same stream says an error.
#
# One would guess that a connection given up by keep-alive breaks its streams, as a reset one does: a
# server that stores "all messages until None" stores half an upload as a whole one.
#
# Seen, after three messages: finished upload: None; stopped client (SIGSTOP): None after 2 s; killed
# client (SIGKILL): Unknown.
# Cure: a mark of the end in the last message.
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
tonic-reflection = "=0.14.9" # a service with a request stream
tokio = { version = "1.54", features = ["macros", "rt-multi-thread", "sync", "time"] }
tokio-stream = "0.1.19"
TOML
cat >src/main.rs <<'RUST'
use std::pin::Pin;
use std::process::Command;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_server::{ServerReflection, ServerReflectionServer};
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

/// Counts the messages of an upload, and says how it ended.
struct Counter(mpsc::Sender<String>);

#[tonic::async_trait]
impl ServerReflection for Counter {
    type ServerReflectionInfoStream = Pin<Box<dyn Stream<Item = Result<ServerReflectionResponse, Status>> + Send>>;

    async fn server_reflection_info(
        &self,
        request: Request<Streaming<ServerReflectionRequest>>,
    ) -> Result<Response<Self::ServerReflectionInfoStream>, Status> {
        let (mut upload, told) = (request.into_inner(), self.0.clone());
        tokio::spawn(async move {
            let mut count = 0;
            let end = loop {
                match upload.message().await {
                    Ok(Some(_)) => count += 1,
                    Ok(None) => break "None".to_owned(),
                    Err(status) => break format!("{:?}", status.code()),
                }
            };
            told.send(format!("{count}-{end}")).await.expect("the test runs");
        });
        Ok(Response::new(Box::pin(tokio_stream::pending())))
    }
}

async fn upload(address: &str, then: &str) {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    let mut client = ServerReflectionClient::new(endpoint.connect().await.expect("a server"));
    let (sender, messages) = mpsc::channel(8);
    for _ in 0..3 {
        sender.send(ServerReflectionRequest::default()).await.expect("room");
    }
    let _call = client.server_reflection_info(ReceiverStream::new(messages)).await.expect("a call");
    if then == "finish" {
        drop(sender);
    }
    std::future::pending().await
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, address, then] = &arguments[..] {
        return upload(address, then).await;
    }
    let (tell, mut told) = mpsc::channel(1);
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let address = incoming.local_addr().expect("an address").to_string();
    let server = Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(1)))
        .http2_keepalive_timeout(Some(Duration::from_secs(1)))
        .add_service(ServerReflectionServer::new(Counter(tell)));
    tokio::spawn(server.serve_with_incoming(incoming));
    for then in ["finish", "STOP", "KILL"] {
        let program = std::env::current_exe().expect("a path");
        let mut client = Command::new(program).args([&address, then]).spawn().expect("a process");
        if then != "finish" {
            sleep(Duration::from_secs(1)).await;
            let id = client.id().to_string();
            Command::new("kill").args([&format!("-{then}"), &id]).status().expect("a signal");
        }
        let end = timeout(Duration::from_secs(10), told.recv()).await;
        println!("{}", end.ok().flatten().unwrap_or("nothing".to_owned()));
        let _ = client.kill();
        let _ = client.wait();
    }
}
RUST
cargo run --quiet >out 2>err || { cat err >&2; exit 1; }
read -r finished stopped killed <<<"$(tr '\n' ' ' <out)"
echo "tonic 0.14.9: messages and end of a finished upload $finished, of a stopped client $stopped, of a killed one $killed"
[ "$finished" = 3-None ] && [ "$stopped" = 3-None ] && [ "$killed" = 3-Unknown ]
