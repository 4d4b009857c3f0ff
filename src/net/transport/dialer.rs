//! Streams to other processes.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::body::Body;
use tonic::transport::Endpoint;
use tonic::{Code, Status};
use tower_service::Service;

use super::incoming::Frames;
use super::outgoing::Outgoing;
use super::refusals::{Counters, count};
use super::sockets::Connector;
use super::{Refusals, Security, Settings, VERSION_KEY, cause, path};
use crate::net::dial::{Dial, Opening};
use crate::net::frame::PROTOCOL;
use crate::net::stream::WAITING;
use crate::net::{Channel, FrameError, FrameStream, NetError};

/// Opens streams to other processes, each on a connection of its own. Clones share their counts.
#[derive(Clone, Debug)]
pub struct Dialer {
    security: Arc<Security>,
    settings: Settings,
    counters: Arc<Counters>,
    runtime: Handle,
}

impl Dialer {
    /// Makes a dialer whose connections run on `runtime`.
    pub fn new(security: Security, settings: Settings, runtime: Handle) -> Dialer {
        Dialer {
            security: Arc::new(security),
            settings,
            counters: Arc::default(),
            runtime,
        }
    }

    /// Numbers of refusals so far.
    pub fn refusals(&self) -> Refusals {
        self.counters.read()
    }

    /// Opens a stream to the listener at `address`, a host and a port, within `limit`.
    ///
    /// # Errors
    /// [`NetError::Options`] if the address has no meaning, or is not a loopback address and there is no token or
    /// no TLS; [`NetError::Unreachable`] if no listener of this program answers there;
    /// [`NetError::Refused`] for another token; [`NetError::Frame`] for another version of the protocol;
    /// [`NetError::Deadline`] after `limit`.
    pub async fn open(
        &self,
        address: &str,
        channel: Channel,
        limit: Duration,
    ) -> Result<FrameStream, NetError> {
        let dialer = self.clone();
        let to = address.to_owned();
        // Connections live on the runtime on which they are made. A call that is dropped ends its task.
        let mut tasks = JoinSet::new();
        tasks.spawn_on(
            async move { dialer.connect(&to, channel).await },
            &self.runtime,
        );
        match timeout(limit, tasks.join_next()).await {
            Ok(Some(Ok(stream))) => stream,
            Ok(_) => Err(NetError::Lost {
                peer: address.to_owned(),
                reason: "the network of this process has stopped".to_owned(),
            }),
            Err(_) => Err(NetError::Deadline {
                peer: address.to_owned(),
                after: limit,
            }),
        }
    }

    async fn connect(&self, address: &str, channel: Channel) -> Result<FrameStream, NetError> {
        let resolved: Vec<_> = tokio::net::lookup_host(address)
            .await
            .map_err(|e| {
                NetError::Options(format!(
                    "{address} is no address to connect to ({e}): write host and port, such as 127.0.0.1:7000"
                ))
            })?
            .collect();
        self.security.check(address, &resolved)?;
        let endpoint = self.endpoint(address, &resolved)?;
        let mut connection = endpoint
            .connect_with_connector(Connector)
            .await
            .map_err(|e| self.unreachable(address, &e))?;

        let (sender, frames) = mpsc::channel(WAITING);
        let (told, fault) = mpsc::channel(1);
        let mut request = Request::new(Body::new(Outgoing::new(frames, fault)));
        *request.method_mut() = http::Method::POST;
        *request.version_mut() = http::Version::HTTP_2;
        *request.uri_mut() = Uri::from_static(path(channel));
        let headers = request.headers_mut();
        headers.insert(http::header::TE, HeaderValue::from_static("trailers"));
        headers.insert(
            http::header::CONTENT_TYPE,
            HeaderValue::from_static("application/grpc"),
        );
        headers.insert(VERSION_KEY, PROTOCOL.into());
        if let Some(token) = &self.security.token {
            let value = HeaderValue::from_maybe_shared(format!("Bearer {token}"));
            let mut value = value.map_err(|e| NetError::Options(e.to_string()))?;
            value.set_sensitive(true);
            headers.insert(http::header::AUTHORIZATION, value);
        }
        let ready = std::future::poll_fn(|context| connection.poll_ready(context)).await;
        ready.map_err(|e| self.unreachable(address, &e))?;
        let response = connection.call(request).await;
        let response = response.map_err(|e| self.unreachable(address, &e))?;
        self.check(address, &response)?;
        let body = response.into_body();
        let incoming = Frames::of_response(
            address.to_owned(),
            body,
            told,
            self.counters.clone(),
            self.runtime.clone(),
        );
        Ok(FrameStream::new(
            address.to_owned(),
            sender,
            Box::new(incoming),
        ))
    }

    fn endpoint(
        &self,
        address: &str,
        resolved: &[std::net::SocketAddr],
    ) -> Result<Endpoint, NetError> {
        let beyond = resolved.iter().map(|a| a.ip()).find(|ip| !ip.is_loopback());
        let keep_alive = match beyond {
            Some(ip) => self.settings.keep_alive(ip),
            None => self.settings.loopback,
        };
        let scheme = match self.security.tls {
            Some(_) => "https",
            None => "http",
        };
        let options = |e: tonic::transport::Error| {
            NetError::Options(format!("cannot connect to {address}: {}", cause(&e)))
        };
        let endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))
            .map_err(options)?
            .connect_timeout(self.settings.connect_timeout)
            .http2_keep_alive_interval(keep_alive.interval)
            .keep_alive_timeout(keep_alive.timeout)
            .keep_alive_while_idle(true)
            .max_frame_size(self.settings.frame_size)
            .initial_stream_window_size(self.settings.stream_window)
            .initial_connection_window_size(self.settings.connection_window);
        match &self.security.tls {
            None => Ok(endpoint),
            Some(tls) => {
                let tls = tls.client().timeout(self.settings.connect_timeout);
                endpoint.tls_config(tls).map_err(options)
            }
        }
    }

    /// Checks the head of a response.
    fn check(&self, address: &str, response: &Response<Body>) -> Result<(), NetError> {
        let headers: &HeaderMap = response.headers();
        let version = headers
            .get(VERSION_KEY)
            .and_then(|value| value.to_str().ok());
        let Some(found) = version.and_then(|text| text.parse().ok()) else {
            return Err(NetError::Unreachable {
                peer: address.to_owned(),
                reason: "another program answers there: is the address right?".to_owned(),
            });
        };
        if found != PROTOCOL {
            count(&self.counters.versions);
            return Err(NetError::Frame {
                peer: address.to_owned(),
                source: FrameError::Version {
                    found,
                    expected: PROTOCOL,
                },
            });
        }
        match Status::from_header_map(headers) {
            None => Ok(()),
            Some(status) => {
                let advice = match status.code() {
                    Code::Unauthenticated => {
                        ": take the token from the run's directory, or set SHARDLOOM_TOKEN"
                    }
                    _ => "",
                };
                Err(NetError::Refused {
                    peer: address.to_owned(),
                    reason: format!("{}{advice}", status.message()),
                })
            }
        }
    }

    /// The sentence about a connection that could not be made.
    fn unreachable(&self, address: &str, error: &(dyn Error + 'static)) -> NetError {
        let text = cause(error);
        let reason = match io_kind(error) {
            Some(io::ErrorKind::ConnectionRefused) => {
                "nothing listens there: is the run still going, and is the address right?"
                    .to_owned()
            }
            Some(io::ErrorKind::TimedOut) => {
                format!(
                    "no answer within {:?}: is the address right, and is there a firewall between?",
                    self.settings.connect_timeout
                )
            }
            _ if text.contains("InvalidContentType") => {
                "it does not use TLS, and this process does: use --tls on both sides or on none"
                    .to_owned()
            }
            _ if self.security.tls.is_some() => {
                format!(
                    "the connection failed ({text}): both sides need certificates of one authority, with the name shardloom"
                )
            }
            _ => format!(
                "the connection failed ({text}): does it use TLS, or is another program there?"
            ),
        };
        NetError::Unreachable {
            peer: address.to_owned(),
            reason,
        }
    }
}

/// Kind of the first error of the operating system among an error's causes.
fn io_kind(error: &(dyn Error + 'static)) -> Option<io::ErrorKind> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<io::Error>() {
            return Some(found.kind());
        }
        next = error.source();
    }
    None
}

impl Dial for Dialer {
    fn open<'a>(&'a self, address: &'a str, channel: Channel, limit: Duration) -> Opening<'a> {
        Box::pin(Dialer::open(self, address, channel, limit))
    }
}
