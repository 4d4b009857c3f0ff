//! Calls without the checks of the library's own client, as any program may make them.

use std::time::Duration;

use prost::Message;
use shardloom::net::graph_store::{Address, PROTOCOL};
use shardloom::net::transport::VERSION_KEY;
use tokio_stream::StreamExt;
use tonic::client::Grpc;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::fixture::LIMIT;

/// A connection, with a version of the protocol in its requests.
pub struct Raw {
    runtime: tokio::runtime::Runtime,
    channel: Channel,
    pub version: String,
    pub encoding: Option<&'static str>,
}

impl Raw {
    /// Prepares a connection to a TCP socket.
    pub fn new(address: &Address) -> Raw {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let inside = runtime.enter();
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let channel = endpoint.timeout(LIMIT).connect_lazy();
        drop(inside);
        Raw {
            runtime,
            channel,
            version: PROTOCOL.to_string(),
            encoding: None,
        }
    }

    fn request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        let text = |text: &str| AsciiMetadataValue::try_from(text).unwrap();
        let metadata = request.metadata_mut();
        metadata.insert(VERSION_KEY, text(&self.version));
        if let Some(encoding) = self.encoding {
            metadata.insert("grpc-encoding", text(encoding));
        }
        request
    }

    /// Makes a call with one answer.
    pub fn one<M, R>(&self, method: &str, message: M) -> Result<R, Status>
    where
        M: Message + 'static,
        R: Message + Default + 'static,
    {
        let mut grpc = Grpc::new(self.channel.clone());
        self.runtime.block_on(async {
            grpc.ready().await.unwrap();
            let codec: ProstCodec<M, R> = ProstCodec::default();
            let answer = grpc.unary(self.request(message), path(method), codec);
            Ok(answer.await?.into_inner())
        })
    }

    /// Makes a call with several answers, of which none is read.
    pub fn begin<M, R>(&self, method: &str, message: M) -> Result<Streaming<R>, Status>
    where
        M: Message + 'static,
        R: Message + Default + 'static,
    {
        let mut grpc = Grpc::new(self.channel.clone());
        self.runtime.block_on(async {
            grpc.ready().await.unwrap();
            let codec: ProstCodec<M, R> = ProstCodec::default();
            let answer = grpc.server_streaming(self.request(message), path(method), codec);
            Ok(answer.await?.into_inner())
        })
    }

    /// Begins a call with many messages and answers.
    pub fn both<M, R>(
        &self,
        method: &str,
        messages: impl tokio_stream::Stream<Item = M> + Send + 'static,
    ) -> Result<Streaming<R>, Status>
    where
        M: Message + 'static,
        R: Message + Default + 'static,
    {
        let mut grpc = Grpc::new(self.channel.clone());
        self.runtime.block_on(async {
            grpc.ready().await.unwrap();
            let codec: ProstCodec<M, R> = ProstCodec::default();
            let answer = grpc.streaming(self.request(messages), path(method), codec);
            Ok(answer.await?.into_inner())
        })
    }

    /// Next answer of a call.
    pub fn next<R>(&self, answers: &mut Streaming<R>) -> Option<Result<R, Status>> {
        self.runtime.block_on(async {
            let next = tokio::time::timeout(LIMIT, answers.next()).await;
            next.expect("an answer in time")
        })
    }

    /// Lets the connection work for a while.
    pub fn wait(&self, time: Duration) {
        self.runtime
            .block_on(async { tokio::time::sleep(time).await });
    }
}

fn path(method: &str) -> http::uri::PathAndQuery {
    format!("/shardloom.graph.v1.GraphStore/{method}")
        .parse()
        .unwrap()
}
