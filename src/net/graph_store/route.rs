//! Requests: protection, and the call that each path names.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode, header};
use prost::Message;
use tonic::body::Body;
use tonic::server::Grpc;
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;
use tower_service::Service;

use super::super::transport::{Token, VERSION_KEY};
use super::calls::{Calls, Chunks};
use super::health::{self, HealthCheckRequest, HealthCheckResponse};
use super::message::{Chunk, Credit};
use super::shell::Shell;
use super::{MOST_REQUEST, PROTOCOL};

/// Path of the methods.
const SERVICE: &str = "/shardloom.graph.v1.GraphStore/";
/// Names of the methods.
pub const METHODS: [&str; 15] = [
    "Describe",
    "Ids",
    "Labels",
    "Sample",
    "Candidates",
    "OpenSampler",
    "OpenChannel",
    "StartEpoch",
    "Fetch",
    "CloseChannel",
    "Renew",
    "Status",
    "Drain",
    "Rows",
    "Facts",
];

/// Path of a method.
pub(super) fn path(method: &str) -> http::uri::PathAndQuery {
    let path = format!("{SERVICE}{method}");
    path.parse()
        .unwrap_or_else(|_| http::uri::PathAndQuery::from_static("/"))
}

/// The service at a socket.
#[derive(Clone)]
pub(super) struct Route {
    pub shell: Arc<Shell>,
    /// Time for epochs that run when the server is asked to end.
    pub drain: Duration,
    pub token: Option<Token>,
}

/// Function that answers a call.
#[derive(Clone)]
struct Handler<F>(F);

impl<M, R, F, A> Service<tonic::Request<M>> for Handler<F>
where
    F: FnMut(tonic::Request<M>) -> A,
    A: Future<Output = Result<R, Status>> + Send + 'static,
{
    type Response = tonic::Response<R>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<tonic::Response<R>, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: tonic::Request<M>) -> Self::Future {
        let answer = (self.0)(request);
        Box::pin(async move { answer.await.map(tonic::Response::new) })
    }
}

fn grpc<R, M>() -> Grpc<ProstCodec<R, M>>
where
    R: Message + 'static,
    M: Message + Default + 'static,
{
    Grpc::new(ProstCodec::default()).max_decoding_message_size(MOST_REQUEST)
}

/// Answers a call of one request and one answer.
async fn one<M, R, A>(request: Request<Body>, mut call: impl FnMut(M) -> A) -> Response<Body>
where
    M: Message + Default + 'static,
    R: Message + 'static,
    A: Future<Output = Result<R, Status>> + Send + 'static,
{
    let handler = Handler(move |request: tonic::Request<M>| call(request.into_inner()));
    grpc::<R, M>().unary(handler, request).await
}

/// Answers a call of one request and chunks.
async fn many<M, A>(request: Request<Body>, mut call: impl FnMut(M) -> A) -> Response<Body>
where
    M: Message + Default + 'static,
    A: Future<Output = Result<Chunks, Status>> + Send + 'static,
{
    let handler = Handler(move |request: tonic::Request<M>| call(request.into_inner()));
    grpc::<Chunk, M>().server_streaming(handler, request).await
}

impl Route {
    /// Refuses other versions, and callers without the token.
    fn check(&self, request: &Request<Body>) -> Result<(), Status> {
        let header = |name: &str| {
            let value = request.headers().get(name);
            value.and_then(|value| value.to_str().ok())
        };
        match header(VERSION_KEY) {
            Some(version) if version != PROTOCOL.to_string() => {
                return Err(Status::failed_precondition(format!(
                    "the protocol of the caller is {version}, the one here {PROTOCOL}: use the same release everywhere"
                )));
            }
            _ => {}
        }
        let Some(token) = &self.token else {
            return Ok(());
        };
        let found = header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        match found {
            None => Err(Status::unauthenticated("the caller brings no token")),
            Some(text) if text.parse().ok().as_ref() != Some(token) => {
                Err(Status::unauthenticated("the caller brings another token"))
            }
            Some(_) => Ok(()),
        }
    }

    async fn answer(self, request: Request<Body>) -> Response<Body> {
        if request.method() == Method::GET && request.uri().path() == "/metrics" {
            return self.metrics(&request);
        }
        if let Err(refusal) = self.check(&request) {
            super::metrics::add(&self.shell.metrics.refused, 1);
            return refusal.into_http();
        }
        let calls = Calls(Arc::clone(&self.shell), self.drain);
        let path = request.uri().path().to_owned();
        if path == health::CHECK {
            let draining = self.shell.status().draining;
            let check =
                |_: HealthCheckRequest| async move { Ok(HealthCheckResponse::of(draining)) };
            return one(request, check).await;
        }
        match path.strip_prefix(SERVICE).unwrap_or_default() {
            "Describe" => one(request, |asked| calls.clone().describe(asked)).await,
            "Ids" => many(request, |asked| calls.clone().ids(asked)).await,
            "Labels" => many(request, |asked| calls.clone().labels(asked)).await,
            "Sample" => many(request, |asked| calls.clone().sample(asked)).await,
            "Candidates" => many(request, |asked| calls.clone().candidates(asked)).await,
            "OpenSampler" => one(request, |asked| calls.clone().open_sampler(asked)).await,
            "OpenChannel" => one(request, |asked| calls.clone().open_channel(asked)).await,
            "StartEpoch" => one(request, |asked| calls.clone().start_epoch(asked)).await,
            "Fetch" => {
                let fetch = Handler(move |request: tonic::Request<Streaming<Credit>>| {
                    calls.clone().fetch(request)
                });
                grpc::<Chunk, Credit>().streaming(fetch, request).await
            }
            "CloseChannel" => one(request, |asked| calls.clone().close_channel(asked)).await,
            "Renew" => one(request, |asked| calls.clone().renew(asked)).await,
            "Status" => one(request, |asked| calls.clone().status(asked)).await,
            "Drain" => one(request, |asked| calls.clone().drain(asked)).await,
            "Rows" => many(request, |asked| calls.clone().rows(asked)).await,
            "Facts" => many(request, |asked| calls.clone().facts(asked)).await,
            _ => Status::unimplemented(format!("there is no method {path}")).into_http(),
        }
    }

    /// Counts for a monitor, over HTTP/1 or HTTP/2.
    fn metrics(&self, request: &Request<Body>) -> Response<Body> {
        let mut response = Response::new(Body::default());
        if self.check(request).is_err() {
            *response.status_mut() = StatusCode::UNAUTHORIZED;
            return response;
        }
        *response.body_mut() = Body::new(self.shell.metrics());
        let kind = header::HeaderValue::from_static("text/plain; version=0.0.4");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}

impl Service<Request<Body>> for Route {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let route = self.clone();
        Box::pin(async move {
            let mut response = route.answer(request).await;
            response.headers_mut().insert(VERSION_KEY, PROTOCOL.into());
            Ok(response)
        })
    }
}
