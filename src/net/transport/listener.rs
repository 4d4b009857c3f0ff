//! Streams that other processes open.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::body::Body;
use tonic::transport::Server;
use tonic::transport::server::{TcpConnectInfo, TcpIncoming};
use tonic::{Code, Status};
use tower_service::Service;

use super::incoming::Frames;
use super::outgoing::Outgoing;
use super::refusals::{Counters, count};
use super::sockets::spare_congestion_control;
use super::{Refusals, Security, Settings, Token, VERSION_KEY, cause, channel};
use crate::net::frame::PROTOCOL;
use crate::net::stream::WAITING;
use crate::net::{Accept, FrameStream, NetError};

/// Socket at which other processes open streams. Dropping it stops listening; streams that are open go on.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    counters: Arc<Counters>,
    task: JoinHandle<()>,
}

impl Listener {
    /// Listens at `address`, such as `127.0.0.1:0`, where port 0 stands for any free port. Connections and
    /// `accept` run on `runtime`.
    ///
    /// # Errors
    /// [`NetError::Options`] if the address has no meaning, belongs to another machine, has a port in use, or is
    /// not a loopback address and `security` lacks a token or TLS; if certificates are not usable.
    pub fn bind(
        address: &str,
        security: &Security,
        settings: &Settings,
        accept: Arc<dyn Accept>,
        runtime: &Handle,
    ) -> Result<Listener, NetError> {
        let resolved: Vec<SocketAddr> = address
            .to_socket_addrs()
            .map_err(|e| {
                NetError::Options(format!(
                    "{address} is no address to listen at ({e}): write host and port, such as 127.0.0.1:0"
                ))
            })?
            .collect();
        security.check(address, &resolved)?;
        let socket = TcpListener::bind(&resolved[..])
            .and_then(|socket| socket.set_nonblocking(true).map(|()| socket))
            .map_err(|e| cannot_listen(address, &e))?;
        let local = socket.local_addr();
        let local = local.map_err(|e| cannot_listen(address, &e))?;
        spare_congestion_control(&socket, local.ip());

        let keep_alive = settings.keep_alive(local.ip());
        let mut server = Server::builder()
            .http2_keepalive_interval(Some(keep_alive.interval))
            .http2_keepalive_timeout(Some(keep_alive.timeout))
            .max_frame_size(settings.frame_size)
            .initial_stream_window_size(settings.stream_window)
            .initial_connection_window_size(settings.connection_window);
        if let Some(tls) = &security.tls {
            let tls = tls.server().timeout(settings.connect_timeout);
            server = server.tls_config(tls).map_err(|e| {
                NetError::Options(format!("the certificates for TLS: {}", cause(&e)))
            })?;
        }
        let counters = Arc::<Counters>::default();
        let node = Node {
            accept,
            token: security.token.clone(),
            counters: counters.clone(),
        };
        let _inside = runtime.enter();
        let socket = tokio::net::TcpListener::from_std(socket);
        let socket = socket.map_err(|e| cannot_listen(address, &e))?;
        // `Server::tcp_nodelay` has no effect on sockets that the server does not open itself.
        let sockets = TcpIncoming::from(socket).with_nodelay(Some(true));
        let task = runtime.spawn(async move {
            // The server ends only with its sockets, which do not end.
            if let Err(error) = server.serve_with_incoming(node, sockets).await {
                tracing::error!("the listener has stopped: {}", cause(&error));
            }
        });
        Ok(Listener {
            address: local,
            counters,
            task,
        })
    }

    /// Address at which other processes open streams, with its port.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// Numbers of refusals so far.
    pub fn refusals(&self) -> Refusals {
        self.counters.read()
    }

    /// Stops listening: afterwards the port is free. Streams that are open go on.
    pub async fn shutdown(mut self) {
        self.task.abort();
        // The task ends as cancelled.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn cannot_listen(address: &str, error: &std::io::Error) -> NetError {
    let advice = match error.kind() {
        std::io::ErrorKind::AddrInUse => "the port is in use: choose another one, or 0 for any",
        std::io::ErrorKind::AddrNotAvailable => {
            "this machine does not have the address: use one of its own, or 127.0.0.1"
        }
        std::io::ErrorKind::PermissionDenied => {
            "the port needs rights that this user does not have: choose one above 1023"
        }
        _ => return NetError::Options(format!("cannot listen at {address}: {error}")),
    };
    NetError::Options(format!("cannot listen at {address}: {advice}"))
}

/// The service of a node.
#[derive(Clone)]
struct Node {
    accept: Arc<dyn Accept>,
    token: Option<Token>,
    counters: Arc<Counters>,
}

impl Node {
    /// Checks a request and hands its stream over.
    fn open(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        let Some(channel) = channel(request.uri().path()) else {
            let sentence = format!("there is no method {}", request.uri().path());
            return Err(Status::new(Code::Unimplemented, sentence));
        };
        let header = |name: &str| {
            let value = request.headers().get(name);
            value.and_then(|value| value.to_str().ok())
        };
        let version = header(VERSION_KEY).unwrap_or("missing");
        if version != PROTOCOL.to_string() {
            count(&self.counters.versions);
            let sentence = format!(
                "the protocol of the caller is {version}, the one here {PROTOCOL}: use the same release everywhere"
            );
            return Err(Status::new(Code::FailedPrecondition, sentence));
        }
        if let Some(token) = &self.token {
            let found = header("authorization").and_then(|value| value.strip_prefix("Bearer "));
            if found.and_then(|text| text.parse().ok()).as_ref() != Some(token) {
                count(&self.counters.tokens);
                let sentence = match found {
                    None => "the caller brings no token",
                    Some(_) => "the caller brings another token",
                };
                return Err(Status::new(Code::Unauthenticated, sentence));
            }
        }
        let connection = request.extensions().get::<TcpConnectInfo>();
        let peer = connection.and_then(TcpConnectInfo::remote_addr);
        let peer = peer.map_or("a process".to_owned(), |peer| peer.to_string());
        let (sender, frames) = mpsc::channel(WAITING);
        let (told, fault) = mpsc::channel(1);
        let body = request.into_body();
        let incoming = Frames::of_request(peer.clone(), body, told, self.counters.clone());
        let stream = FrameStream::new(peer, sender, Box::new(incoming));
        self.accept.accept(channel, stream);
        let mut response = Response::new(Body::new(Outgoing::new(frames, fault)));
        response.headers_mut().insert(
            http::header::CONTENT_TYPE,
            http::HeaderValue::from_static("application/grpc"),
        );
        Ok(response)
    }
}

impl Service<Request<Body>> for Node {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut response = self.open(request).unwrap_or_else(Status::into_http);
        response.headers_mut().insert(VERSION_KEY, PROTOCOL.into());
        ready(Ok(response))
    }
}
