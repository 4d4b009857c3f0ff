//! Requests: protection, and the call that each path names.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode, header};
use prost::Message;
use tonic::body::Body;
use tonic::codec::Codec as _;
use tonic::server::Grpc;
use tonic::{Code, Status, Streaming};
use tonic_prost::ProstCodec;
use tower_service::Service;

use super::super::transport::{Token, VERSION_KEY};
use super::calls::Calls;
use super::chunks::{Chunks, Outgoing};
use super::health::{self, HealthCheckRequest, HealthCheckResponse};
use super::shell::Shell;
use super::{MOST_REQUEST, PROTOCOL};

/// Longest time of a call: to receive the request, and until the answer begins.
const LONGEST_CALL: Duration = Duration::from_secs(60);
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

/// Messages of a request.
///
/// # Errors
/// If they are compressed.
fn messages<M: Message + Default + 'static>(
    request: Request<Body>,
) -> Result<Streaming<M>, Status> {
    let encoding = request.headers().get("grpc-encoding");
    if let Some(encoding) = encoding.filter(|encoding| *encoding != "identity") {
        return Err(Status::unimplemented(format!(
            "messages in {encoding:?}: send them without compression"
        )));
    }
    let decoder = ProstCodec::<(), M>::default().decoder();
    let (body, most) = (request.into_body(), Some(MOST_REQUEST));
    Ok(Streaming::new_request(decoder, body, None, most))
}

/// Answers a call of one request and chunks.
async fn many<M, A>(request: Request<Body>, call: impl FnOnce(M) -> A) -> Response<Body>
where
    M: Message + Default + 'static,
    A: Future<Output = Result<Chunks, Status>>,
{
    let answer = async {
        let message = messages(request)?.message().await?;
        call(message.ok_or_else(|| Status::invalid_argument("a request without a message"))?).await
    };
    chunks(answer.await)
}

/// Answer with chunks.
fn chunks(answer: Result<Chunks, Status>) -> Response<Body> {
    let chunks = match answer {
        Ok(chunks) => chunks,
        Err(refusal) => return refusal.into_http(),
    };
    let mut response = Response::new(Body::new(Outgoing::new(chunks)));
    let kind = header::HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
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
            return refusal.into_http();
        }
        let calls = Calls(Arc::clone(&self.shell), self.drain);
        let path = request.uri().path().to_owned();
        if path == health::CHECK {
            let draining = self.shell.is_draining();
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
                let fetch = async { calls.fetch(messages(request)?).await };
                chunks(fetch.await)
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
            let shell = Arc::clone(&route.shell);
            let answer = tokio::time::timeout(LONGEST_CALL, route.answer(request)).await;
            let mut response = answer.unwrap_or_else(|_| {
                let sentence = format!("the call has taken longer than {LONGEST_CALL:?}");
                Status::deadline_exceeded(sentence).into_http()
            });
            let status = Status::from_header_map(response.headers());
            if status.is_some_and(|status| status.code() != Code::Ok) {
                super::metrics::add(&shell.metrics.refused, 1);
            }
            response.headers_mut().insert(VERSION_KEY, PROTOCOL.into());
            Ok(response)
        })
    }
}
