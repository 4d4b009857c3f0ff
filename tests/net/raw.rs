//! Peers that send any bytes.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Uri};
use http_body::{Body as _, Frame as Part};
use shardloom::net::transport::VERSION_KEY;
use shardloom::net::{Channel, transport};
use tokio::runtime::Handle;
use tonic::Status;
use tonic::body::Body;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Endpoint, Server};
use tower_service::Service;

use crate::LIMIT;

/// End of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// None: the body stays open.
    Open,
    /// A status of gRPC.
    Status(tonic::Code),
    /// The end of the body, without trailers.
    Plain,
    /// A reset of the stream.
    Reset,
}

/// Body of given parts.
pub struct Parts {
    parts: VecDeque<Bytes>,
    end: Option<End>,
    /// Time that the head of the message needs to arrive: a reset overtakes it.
    delay: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Parts {
    pub fn new(parts: impl IntoIterator<Item = Bytes>, end: End) -> Parts {
        Parts {
            parts: parts.into_iter().collect(),
            end: Some(end),
            delay: None,
        }
    }
}

impl http_body::Body for Parts {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Part<Bytes>, Status>>> {
        if let Some(part) = self.parts.pop_front() {
            return Poll::Ready(Some(Ok(Part::data(part))));
        }
        match self.end {
            Some(End::Open) => Poll::Pending,
            Some(End::Status(code)) => {
                self.end = None;
                let mut trailers = HeaderMap::new();
                Status::new(code, "said so")
                    .add_header(&mut trailers)
                    .unwrap();
                Poll::Ready(Some(Ok(Part::trailers(trailers))))
            }
            Some(End::Reset) => {
                let head = Duration::from_millis(100);
                let delay = self
                    .delay
                    .get_or_insert_with(|| Box::pin(tokio::time::sleep(head)));
                delay
                    .as_mut()
                    .poll(context)
                    .map(|()| Some(Err(Status::internal("reset"))))
            }
            Some(End::Plain) | None => Poll::Ready(None),
        }
    }
}

/// Calls the listener's method for rows with headers and a body.
pub async fn call(
    address: SocketAddr,
    headers: &[(&'static str, &str)],
    body: Parts,
) -> Response<Body> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let mut connection = endpoint.connect().await.unwrap();
    let mut request = Request::new(Body::new(body));
    *request.method_mut() = http::Method::POST;
    *request.version_mut() = http::Version::HTTP_2;
    *request.uri_mut() = Uri::from_static(transport::path(Channel::Rows));
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    std::future::poll_fn(|context| connection.poll_ready(context))
        .await
        .unwrap();
    tokio::time::timeout(LIMIT, connection.call(request))
        .await
        .unwrap()
        .unwrap()
}

/// Status in a response's head, or in its trailers.
pub async fn status(response: Response<Body>) -> Status {
    if let Some(status) = Status::from_header_map(response.headers()) {
        return status;
    }
    let mut body = response.into_body();
    loop {
        let part = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context));
        let part = tokio::time::timeout(LIMIT, part).await.unwrap();
        if let Ok(trailers) = part.expect("trailers").unwrap().into_trailers() {
            return Status::from_header_map(&trailers).unwrap();
        }
    }
}

/// Server that answers every call with the same version and parts.
#[derive(Clone)]
struct Answer {
    version: Option<&'static str>,
    parts: Vec<Bytes>,
    end: End,
}

impl Service<Request<Body>> for Answer {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        let parts = Parts::new(self.parts.clone(), self.end);
        let mut response = Response::new(Body::new(parts));
        if let Some(version) = self.version {
            let headers = response.headers_mut();
            headers.insert(VERSION_KEY, version.parse().unwrap());
        }
        ready(Ok(response))
    }
}

/// Starts a server, and returns its address.
pub fn serve(
    version: Option<&'static str>,
    parts: Vec<Bytes>,
    end: End,
    runtime: &Handle,
) -> String {
    let _inside = runtime.enter();
    let sockets = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = sockets.local_addr().unwrap();
    let answer = Answer {
        version,
        parts,
        end,
    };
    runtime.spawn(Server::builder().serve_with_incoming(answer, sockets));
    address.to_string()
}
