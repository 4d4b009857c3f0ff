//! Sockets of connections, and options that the library below does not set.

use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

/// Makes the TCP connections of a dialer.
#[derive(Clone, Copy, Debug)]
pub(in crate::net) struct Connector;

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<TokioIo<TcpStream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(async move {
            let address = uri.authority().map_or("", |authority| authority.as_str());
            let socket = TcpStream::connect(address).await?;
            socket.set_nodelay(true)?;
            spare_congestion_control(&socket, socket.peer_addr()?.ip());
            Ok(TokioIo::new(socket))
        })
    }
}

/// Algorithms without timers of their own. Every Linux has the last; the first is the one that has been tested most.
#[cfg(target_os = "linux")]
const WITHOUT_TIMERS: [&str; 2] = ["cubic", "reno"];

/// Spares connections within a machine a congestion control that measures and paces, such as BBR, which is the default of
/// some systems: there is no congestion to control, and it takes as much time as the copies of the data. Sockets that a
/// listener accepts are as the listener. A system that refuses keeps its default.
#[cfg(target_os = "linux")]
pub(in crate::net) fn spare_congestion_control(socket: &impl std::os::fd::AsRawFd, other: IpAddr) {
    if !other.is_loopback() {
        return;
    }
    let taken = |name: &&str| {
        // SAFETY: the pointer and the length are those of the name, which the call only reads.
        let code = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_CONGESTION,
                name.as_ptr().cast(),
                name.len() as libc::socklen_t,
            )
        };
        code == 0
    };
    let _ = WITHOUT_TIMERS.iter().find(|name| taken(name));
}

/// Does nothing on this system.
#[cfg(not(target_os = "linux"))]
pub(in crate::net) fn spare_congestion_control<S>(_: &S, _: IpAddr) {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::os::fd::AsRawFd;

    use super::*;

    fn congestion_control(socket: &impl AsRawFd) -> String {
        let (mut name, mut length) = ([0u8; 16], 16);
        // SAFETY: the pointers are valid for the call, which writes at most 16 bytes.
        let code = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_CONGESTION,
                name.as_mut_ptr().cast(),
                &mut length,
            )
        };
        assert_eq!(code, 0);
        let text = name.split(|&byte| byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(text).into_owned()
    }

    #[tokio::test]
    async fn connections_within_a_machine_have_no_timers_of_congestion_control() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let before = congestion_control(&listener);
        spare_congestion_control(&listener, Ipv4Addr::new(192, 0, 2, 1).into());
        assert_eq!(congestion_control(&listener), before);
        spare_congestion_control(&listener, address.ip());
        let uri = format!("http://{address}").parse().unwrap();
        let dialed = Connector.call(uri).await.unwrap().into_inner();
        let (accepted, _) = listener.accept().unwrap();
        assert!(dialed.nodelay().unwrap());
        for found in [congestion_control(&dialed), congestion_control(&accepted)] {
            assert!(WITHOUT_TIMERS.contains(&&*found), "{found}");
        }
    }
}
