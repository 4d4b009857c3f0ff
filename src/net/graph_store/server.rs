//! A server: its sockets, threads and end.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tonic::transport::server::TcpIncoming;

use super::super::NetError;
use super::super::transport::{Security, Settings, runtime};
use super::address::{Address, Listening, SocketFile, listen};
use super::cause;
use super::route::Route;
use super::shell::Shell;
use crate::graph::Graph;
use crate::neighborhood::Sampler;
use crate::store::session::{CutOff, SessionConfig};
use crate::store::{Description, Pool};

/// Time between two looks at leases.
const TICK: Duration = Duration::from_millis(100);
/// Time for connections to end after the last batch.
const CLOSING: Duration = Duration::from_millis(500);
/// Streams of a client's connection that are open at once.
const MOST_STREAMS: u32 = 1024;

/// Settings of a server.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Addresses to listen at.
    pub listen: Vec<Address>,
    /// Protection, for addresses beyond this machine.
    pub security: Security,
    /// Sampling threads.
    pub threads: NonZeroU32,
    /// Most bytes that lists of seeds, and batches that wait to be sent, may take together.
    pub memory_limit: u64,
    /// Most facts of a batch.
    pub most_facts: u64,
    /// Most channels, and most samplers.
    pub channels: usize,
    /// Time after which the channels of a silent client are closed.
    pub lease: Duration,
    /// Time for epochs that run when the server is asked to end.
    pub drain: Duration,
}

impl Default for ServerOptions {
    fn default() -> ServerOptions {
        ServerOptions {
            listen: vec![Address::Tcp("127.0.0.1:0".to_owned())],
            security: Security::default(),
            threads: NonZeroU32::MIN,
            memory_limit: 1 << 30,
            most_facts: Sampler::MOST_FACTS,
            channels: 1 << 12,
            lease: Duration::from_secs(10),
            drain: Duration::from_secs(30),
        }
    }
}

/// A server with one graph. Dropping it ends all connections.
#[derive(Debug)]
pub struct Server {
    shell: Arc<Shell>,
    addresses: Vec<Address>,
    /// Files of Unix sockets.
    files: Vec<SocketFile>,
    drain: Duration,
    /// Tasks of the sockets, and the signal that ends them.
    sockets: JoinSet<()>,
    close: tokio::sync::watch::Sender<bool>,
    runtime: Runtime,
}

impl Server {
    /// Starts a server.
    ///
    /// # Errors
    /// [`NetError::Options`] if an address or certificates cannot be used, or the system starts no threads.
    pub fn start(graph: Arc<Graph>, options: &ServerOptions) -> Result<Server, NetError> {
        let options_error = |error: &dyn std::fmt::Display| NetError::Options(error.to_string());
        let pool = Pool::new(options.threads, options.most_facts).map_err(|e| options_error(&e))?;
        let mut first = [0; 4];
        getrandom::fill(&mut first)
            .map_err(|e| NetError::Options(format!("no random numbers can be had: {e}")))?;
        let config = SessionConfig {
            lease: options.lease,
            // A thread that has ended a batch finds another one.
            jobs: options.threads.get() as usize + 2,
            memory: options.memory_limit,
            most_channels: options.channels,
            most_samplers: options.channels,
            ..SessionConfig::default()
        };
        // Below 2⁵³, which all languages count to.
        let offset = u64::from(u32::from_le_bytes(first)) << 20;
        let mut server = Server {
            shell: Arc::new(Shell::new(graph, pool, config, offset)),
            addresses: Vec::new(),
            files: Vec::new(),
            drain: options.drain,
            sockets: JoinSet::new(),
            close: tokio::sync::watch::Sender::new(false),
            runtime: runtime().map_err(|e| options_error(&e))?,
        };
        for address in &options.listen {
            server.listen(address, &options.security)?;
        }
        let shell = Arc::clone(&server.shell);
        server.runtime.spawn(async move {
            let mut ticks = tokio::time::interval(TICK);
            loop {
                ticks.tick().await;
                shell.call(|session, now| session.tick(now));
            }
        });
        Ok(server)
    }

    fn listen(&mut self, address: &Address, security: &Security) -> Result<(), NetError> {
        let settings = Settings::default();
        let (local, socket) = listen(address, security)?;
        let keep_alive = match &local {
            Address::Tcp(local) => local.parse().map(|local: std::net::SocketAddr| local.ip()),
            Address::Unix(_) => Ok(std::net::Ipv4Addr::LOCALHOST.into()),
        };
        let keep_alive = keep_alive.map_or(settings.elsewhere, |ip| settings.keep_alive(ip));
        let mut builder = tonic::transport::Server::builder()
            .accept_http1(true)
            .http2_keepalive_interval(Some(keep_alive.interval))
            .http2_keepalive_timeout(Some(keep_alive.timeout))
            .max_frame_size(settings.frame_size)
            .max_concurrent_streams(MOST_STREAMS)
            .initial_stream_window_size(settings.stream_window)
            .initial_connection_window_size(settings.connection_window);
        if let (Address::Tcp(_), Some(tls)) = (&local, &security.tls) {
            let tls = tls.server().timeout(settings.connect_timeout);
            builder = builder.tls_config(tls).map_err(|e| {
                NetError::Options(format!("the certificates for TLS: {}", cause(&e)))
            })?;
        }
        let route = Route {
            shell: Arc::clone(&self.shell),
            drain: self.drain,
            // A Unix socket is only for processes of the same user.
            token: match &local {
                Address::Tcp(_) => security.token.clone(),
                Address::Unix(_) => None,
            },
        };
        let mut closing = self.close.subscribe();
        let closed = async move {
            // The sender lives as long as the server.
            let _ = closing.wait_for(|closing| *closing).await;
        };
        let ended = |ended: Result<(), tonic::transport::Error>| {
            if let Err(error) = ended {
                tracing::error!("a socket has stopped: {}", cause(&error));
            }
        };
        let fault = |e: std::io::Error| NetError::Options(format!("cannot listen at {local}: {e}"));
        let handle = self.runtime.handle().clone();
        let _inside = handle.enter();
        match socket {
            Listening::Tcp(socket) => {
                let socket = tokio::net::TcpListener::from_std(socket).map_err(fault)?;
                let sockets = TcpIncoming::from(socket).with_nodelay(Some(true));
                let serve = async move {
                    ended(
                        builder
                            .serve_with_incoming_shutdown(route, sockets, closed)
                            .await,
                    );
                };
                self.sockets.spawn(serve);
            }
            #[cfg(unix)]
            Listening::Unix(socket, file) => {
                self.files.push(file);
                let socket = tokio::net::UnixListener::from_std(socket).map_err(fault)?;
                let sockets = tokio_stream::wrappers::UnixListenerStream::new(socket);
                let serve = async move {
                    ended(
                        builder
                            .serve_with_incoming_shutdown(route, sockets, closed)
                            .await,
                    );
                };
                self.sockets.spawn(serve);
            }
        }
        self.addresses.push(local);
        Ok(())
    }

    /// Addresses at which clients reach the server, with ports.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Description of the graph.
    pub fn description(&self) -> &Description {
        &self.shell.description
    }

    /// Handle that asks the server to end.
    pub fn ender(&self) -> Ender {
        Ender(Arc::clone(&self.shell), self.drain)
    }

    /// Waits until the server was asked to end and epochs that ran have ended, or their time is over; then ends. Returns
    /// the channels whose epochs were cut off. Files of Unix sockets are removed.
    pub fn wait(mut self) -> Vec<CutOff> {
        let mut stopped = self.shell.stopped();
        let (close, sockets) = (self.close.clone(), &mut self.sockets);
        let files = &mut self.files;
        let cut_off = self.runtime.block_on(async move {
            // The sender lives as long as the server.
            let stopped = stopped.wait_for(Option::is_some).await;
            let cut_off = stopped.ok().and_then(|cut_off| cut_off.clone());
            // Before the sockets end: another server may then take their place.
            files.clear();
            close.send_replace(true);
            let all = async { while sockets.join_next().await.is_some() {} };
            // Connections that do not end by themselves are cut.
            let _ = tokio::time::timeout(CLOSING, all).await;
            cut_off.unwrap_or_default()
        });
        self.runtime.shutdown_background();
        cut_off
    }
}

/// Handle that asks a server to end.
#[derive(Clone, Debug)]
pub struct Ender(Arc<Shell>, Duration);

impl Ender {
    /// Asks the server to end. Returns the number of channels that go on.
    pub fn drain(&self) -> u64 {
        self.0.drain(self.1)
    }
}
