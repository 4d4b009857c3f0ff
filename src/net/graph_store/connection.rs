//! A client's connection to a server. A connection that is lost is made anew by the next call.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use prost::Message;
use tokio::runtime::Runtime;
use tokio_stream::{Stream, StreamExt};
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codec::{Codec as _, EncodeBody};
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;
use tower_service::Service;

use super::super::NetError;
use super::super::transport::{Connector, Security, Settings, VERSION_KEY, runtime};
use super::address::Address;
use super::chunks::Incoming;
use super::message::CloseReply;
use super::route::path;
use super::{MOST_REQUEST, PROTOCOL, cause};
use crate::store::StoreError;

/// Call that failed.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// The server is away, or ends: another one may take its place.
    Lost(StoreError),
    /// The server does not know the sampler or channel: it may have started anew.
    Unknown(StoreError),
    /// The server has refused the request.
    Refused(StoreError),
}

impl Failure {
    /// The error for the caller.
    pub fn error(self) -> StoreError {
        match self {
            Failure::Lost(error) | Failure::Unknown(error) | Failure::Refused(error) => error,
        }
    }
}

/// Connection to one server. Calls may come from any thread.
#[derive(Debug)]
pub(super) struct Connection {
    address: Address,
    token: Option<AsciiMetadataValue>,
    channel: Channel,
    /// Longest time of a call.
    limit: Duration,
    /// `None` once dropped.
    runtime: Option<Runtime>,
}

impl Connection {
    /// Prepares a connection, which the first call makes.
    ///
    /// # Errors
    /// [`NetError::Options`] if the address or certificates cannot be used, or the system starts no thread.
    pub fn new(
        address: &Address,
        security: &Security,
        limit: Duration,
    ) -> Result<Connection, NetError> {
        let settings = Settings::default();
        let resolved = address.resolve(security)?;
        let beyond = resolved.iter().map(|a| a.ip()).find(|ip| !ip.is_loopback());
        let keep_alive = beyond.map_or(settings.loopback, |ip| settings.keep_alive(ip));
        let fault = |e: tonic::transport::Error| {
            NetError::Options(format!("cannot connect to {address}: {}", cause(&e)))
        };
        let uri = match (address, &security.tls) {
            (Address::Tcp(address), None) => format!("http://{address}"),
            (Address::Tcp(address), Some(_)) => format!("https://{address}"),
            (Address::Unix(_), _) => "http://localhost".to_owned(),
        };
        let mut endpoint = Endpoint::from_shared(uri)
            .map_err(fault)?
            .connect_timeout(settings.connect_timeout)
            .http2_keep_alive_interval(keep_alive.interval)
            .keep_alive_timeout(keep_alive.timeout)
            .keep_alive_while_idle(true)
            .max_frame_size(settings.frame_size)
            .initial_stream_window_size(settings.stream_window)
            .initial_connection_window_size(settings.connection_window);
        if let (Address::Tcp(_), Some(tls)) = (address, &security.tls) {
            let tls = tls.client().timeout(settings.connect_timeout);
            endpoint = endpoint.tls_config(tls).map_err(fault)?;
        }
        let token = security.token.as_ref().map(|token| {
            let value = AsciiMetadataValue::try_from(format!("Bearer {token}"));
            value.map_err(|e| NetError::Options(e.to_string()))
        });
        let runtime = runtime().map_err(|e| NetError::Options(e.to_string()))?;
        let _inside = runtime.enter();
        let channel = match address {
            Address::Tcp(_) => endpoint.connect_with_connector_lazy(Connector),
            #[cfg(unix)]
            Address::Unix(path) => {
                let connector = super::address::UnixConnector(path.clone());
                endpoint.connect_with_connector_lazy(connector)
            }
            #[cfg(not(unix))]
            Address::Unix(_) => {
                let sentence = format!("{address}: this system has no Unix sockets");
                return Err(NetError::Options(sentence));
            }
        };
        drop(_inside);
        Ok(Connection {
            address: address.clone(),
            token: token.transpose()?,
            channel,
            limit,
            runtime: Some(runtime),
        })
    }

    /// Failure of a status.
    pub fn failure(&self, status: &Status) -> Failure {
        let sentence = status.message().to_owned();
        let lost = |what| {
            Failure::Lost(StoreError::Unreachable {
                address: self.address.to_string(),
                what,
            })
        };
        match status.code() {
            Code::NotFound => Failure::Unknown(StoreError::Refused(sentence)),
            Code::InvalidArgument
            | Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::ResourceExhausted
            | Code::DataLoss
            | Code::Unauthenticated
            | Code::Unimplemented
            | Code::OutOfRange => Failure::Refused(StoreError::Refused(sentence)),
            _ => lost(match std::error::Error::source(status) {
                Some(source) => cause(source),
                None => sentence,
            }),
        }
    }

    fn request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        metadata.insert(VERSION_KEY, AsciiMetadataValue::from(PROTOCOL));
        if let Some(token) = &self.token {
            metadata.insert("authorization", token.clone());
        }
        request
    }

    async fn ready<M, R>(&self) -> Result<(Grpc<Channel>, ProstCodec<M, R>), Status> {
        let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(MOST_REQUEST);
        let ready = grpc.ready().await;
        ready.map_err(|e| Status::unavailable(cause(&e)))?;
        Ok((grpc, ProstCodec::default()))
    }

    /// Makes a call whose answer is chunks, which are not copied.
    ///
    /// # Errors
    /// If the server is away or refuses.
    pub async fn chunks<M: Message + 'static>(
        &self,
        method: &str,
        messages: impl Stream<Item = M> + Send + 'static,
    ) -> Result<Incoming, Status> {
        let lost = |e: &tonic::transport::Error| Status::unavailable(cause(e));
        let mut channel = self.channel.clone();
        let ready = std::future::poll_fn(|context| channel.poll_ready(context)).await;
        ready.map_err(|e| lost(&e))?;
        let encoder = ProstCodec::<M, ()>::default().encoder();
        let body = EncodeBody::new_client(encoder, messages.map(Ok), None, None);
        let (metadata, _, body) = self.request(Body::new(body)).into_parts();
        let mut request = http::Request::new(body);
        *request.method_mut() = http::Method::POST;
        *request.version_mut() = http::Version::HTTP_2;
        *request.uri_mut() = path(method).into();
        let headers = request.headers_mut();
        *headers = metadata.into_headers();
        let text = http::HeaderValue::from_static;
        headers.insert(http::header::TE, text("trailers"));
        headers.insert(http::header::CONTENT_TYPE, text("application/grpc"));
        let response = channel.call(request).await.map_err(|e| lost(&e))?;
        match Status::from_header_map(response.headers()) {
            Some(status) if status.code() != Code::Ok => Err(status),
            _ if response.status() != http::StatusCode::OK => Err(Status::unavailable(format!(
                "another program answers there, with HTTP status {}",
                response.status()
            ))),
            _ => Ok(Incoming::new(response.into_body())),
        }
    }

    /// Runs a task on the connection's threads.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.runtime {
            runtime.spawn(task);
        }
    }

    /// Waits for an answer. The caller's thread may belong to another runtime.
    fn wait<T: Send + 'static>(
        &self,
        answer: impl Future<Output = Result<T, Status>> + Send + 'static,
    ) -> Result<T, Failure> {
        match self.begin(answer).recv_timeout(2 * self.limit) {
            Ok(answer) => answer.map_err(|status| self.failure(&status)),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Err(self.stopped()),
        }
    }

    /// Begins a call, whose answer comes within the limit.
    fn begin<T: Send + 'static>(
        &self,
        answer: impl Future<Output = Result<T, Status>> + Send + 'static,
    ) -> Receiver<Result<T, Status>> {
        let (sender, answers) = sync_channel(1);
        let limit = self.limit;
        self.spawn(async move {
            let answer = tokio::time::timeout(limit, answer).await;
            let late = || Status::deadline_exceeded(format!("no answer within {limit:?}"));
            // A caller that has left wants no answer.
            let _ = sender.send(answer.unwrap_or_else(|_| Err(late())));
        });
        answers
    }

    fn stopped(&self) -> Failure {
        self.failure(&Status::unavailable(
            "the network of this process has stopped",
        ))
    }

    /// Makes a call with one answer.
    ///
    /// # Errors
    /// If the server is away or refuses.
    pub fn one<M, R>(self: &Arc<Self>, method: &str, message: M) -> Result<R, Failure>
    where
        M: Message + 'static,
        R: Message + Default + 'static,
    {
        let (connection, path) = (Arc::clone(self), path(method));
        self.wait(async move {
            let (mut grpc, codec) = connection.ready().await?;
            let answer = grpc.unary(connection.request(message), path, codec).await?;
            Ok(answer.into_inner())
        })
    }

    /// Makes a call whose answer nobody waits for.
    pub async fn tell<M: Message + 'static>(&self, method: &str, message: M) {
        let Ok((mut grpc, codec)) = self.ready::<M, CloseReply>().await else {
            return;
        };
        let told = grpc.unary(self.request(message), path(method), codec);
        let _ = tokio::time::timeout(self.limit, told).await;
    }

    /// Makes a call with chunks for an answer, and joins them.
    ///
    /// # Errors
    /// If the server is away or refuses.
    pub fn many<M: Message + 'static>(
        self: &Arc<Self>,
        method: &str,
        message: M,
    ) -> Result<BytesMut, Failure> {
        self.wait(Arc::clone(self).joined(method.to_owned(), message))
    }

    /// Begins a call with chunks for an answer.
    pub fn begin_many<M: Message + 'static>(self: &Arc<Self>, method: &str, message: M) -> Begun {
        Begun {
            answers: self.begin(Arc::clone(self).joined(method.to_owned(), message)),
            connection: Arc::clone(self),
            deadline: Instant::now() + 2 * self.limit,
        }
    }

    /// Makes a call with chunks for an answer, and joins them.
    async fn joined<M: Message + 'static>(
        self: Arc<Self>,
        method: String,
        message: M,
    ) -> Result<BytesMut, Status> {
        let message = tokio_stream::once(message);
        let mut chunks = self.chunks(&method, message).await?;
        let mut bytes = BytesMut::new();
        while let Some(chunk) = chunks.next().await? {
            bytes.extend_from_slice(&chunk.data);
            if chunk.last {
                return Ok(bytes);
            }
        }
        Err(Status::unavailable("the answer was cut off"))
    }
}

/// Call that has begun.
pub(super) struct Begun {
    connection: Arc<Connection>,
    answers: Receiver<Result<BytesMut, Status>>,
    deadline: Instant,
}

impl Begun {
    /// Waits for the answer, and looks at a mark from time to time that ends the wait.
    ///
    /// # Errors
    /// If the server is away or refuses, or the mark is set.
    pub fn wait(self, look: Duration, ended: &AtomicBool) -> Result<BytesMut, Failure> {
        loop {
            match self.answers.recv_timeout(look) {
                Ok(answer) => {
                    return answer.map_err(|status| self.connection.failure(&status));
                }
                Err(RecvTimeoutError::Timeout)
                    if Instant::now() < self.deadline && !ended.load(Ordering::Relaxed) => {}
                Err(_) => return Err(self.connection.stopped()),
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The last owner may be a task of the runtime, which must not wait for itself.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
