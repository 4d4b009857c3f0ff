//! Addresses of a server: TCP and Unix sockets, at both ends.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use tower_service::Service;

use super::super::NetError;
use super::super::transport::Security;

/// Address of a graph store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Host and port, such as `127.0.0.1:7400`.
    Tcp(String),
    /// Path of a Unix socket.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = NetError;

    fn from_str(text: &str) -> Result<Address, NetError> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return match path.is_empty() {
                false if cfg!(unix) => Ok(Address::Unix(PathBuf::from(path))),
                false => Err(NetError::Options(format!(
                    "{text}: this system has no Unix sockets"
                ))),
                true => Err(NetError::Options(format!(
                    "{text} names no file: write unix:PATH"
                ))),
            };
        }
        let text = text.strip_prefix("http://").unwrap_or(text);
        let port = text
            .rsplit_once(':')
            .map(|(host, port)| (host, port.parse::<u16>()));
        match port {
            Some((host, Ok(_))) if !host.is_empty() => Ok(Address::Tcp(text.to_owned())),
            _ => Err(NetError::Options(format!(
                "{text} is no address: write host and port, such as 127.0.0.1:7400, or unix:PATH"
            ))),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => f.write_str(address),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Address {
    /// Addresses of the host; none of a Unix socket. Refuses other machines without a token and TLS.
    ///
    /// # Errors
    /// [`NetError::Options`] if the host is unknown, the protection is missing, or the path cannot be that of a socket.
    pub(super) fn resolve(&self, security: &Security) -> Result<Vec<SocketAddr>, NetError> {
        let address = match self {
            Address::Tcp(address) => address,
            Address::Unix(path) => {
                check_path(path)?;
                return Ok(Vec::new());
            }
        };
        let resolved = address
            .to_socket_addrs()
            .map_err(|e| NetError::Options(format!("{address} is no address of a machine: {e}")))?;
        let resolved: Vec<SocketAddr> = resolved.collect();
        security.check(address, &resolved)?;
        Ok(resolved)
    }
}

/// Checks that a socket can have the path: systems have a limit for its length.
#[cfg(unix)]
fn check_path(path: &Path) -> Result<(), NetError> {
    match std::os::unix::net::SocketAddr::from_pathname(path) {
        Ok(_) => Ok(()),
        Err(error) => {
            use std::os::unix::ffi::OsStrExt;
            let bytes = path.as_os_str().as_bytes().len();
            Err(NetError::Options(format!(
                "unix:{}: a path of {bytes} bytes: {error}",
                path.display()
            )))
        }
    }
}

#[cfg(not(unix))]
fn check_path(_: &Path) -> Result<(), NetError> {
    Ok(())
}

/// A socket that listens.
#[derive(Debug)]
pub(super) enum Listening {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixListener, SocketFile),
}

/// File of a Unix socket. Dropping it removes the file, unless another process has put its own there.
#[cfg(unix)]
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device, number, and time of the file: systems give numbers of files again.
    file: Option<(u64, u64, std::time::SystemTime)>,
}

#[cfg(not(unix))]
pub(super) type SocketFile = std::convert::Infallible;

#[cfg(unix)]
impl SocketFile {
    fn new(path: &Path) -> SocketFile {
        SocketFile {
            path: path.to_owned(),
            file: SocketFile::at(path),
        }
    }

    fn at(path: &Path) -> Option<(u64, u64, std::time::SystemTime)> {
        use std::os::unix::fs::MetadataExt;
        let file = std::fs::symlink_metadata(path).ok()?;
        Some((file.dev(), file.ino(), file.modified().ok()?))
    }
}

#[cfg(unix)]
impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.file.is_some() && SocketFile::at(&self.path) == self.file {
            // Another process may have removed it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Listens at an address. A socket file that no process listens at is replaced.
///
/// # Errors
/// [`NetError::Options`] if the address is in use, not of this machine, or without the protection that it needs.
pub(super) fn listen(
    address: &Address,
    security: &Security,
) -> Result<(Address, Listening), NetError> {
    let fault = |error: &io::Error| {
        let advice = match error.kind() {
            io::ErrorKind::AddrInUse => "another process listens there",
            io::ErrorKind::AddrNotAvailable => "this machine does not have the address",
            io::ErrorKind::PermissionDenied => "this user may not listen there",
            _ => return NetError::Options(format!("cannot listen at {address}: {error}")),
        };
        NetError::Options(format!("cannot listen at {address}: {advice}"))
    };
    match address {
        Address::Tcp(_) => {
            let resolved = address.resolve(security)?;
            let socket = TcpListener::bind(&resolved[..]).map_err(|e| fault(&e))?;
            socket.set_nonblocking(true).map_err(|e| fault(&e))?;
            let local = socket.local_addr().map_err(|e| fault(&e))?;
            super::super::transport::spare_congestion_control(&socket, local.ip());
            Ok((Address::Tcp(local.to_string()), Listening::Tcp(socket)))
        }
        Address::Unix(path) => {
            check_path(path)?;
            let socket = listen_unix(path).map_err(|e| fault(&e))?;
            Ok((address.clone(), socket))
        }
    }
}

#[cfg(unix)]
fn listen_unix(path: &Path) -> io::Result<Listening> {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    use std::os::unix::net::{UnixListener, UnixStream};

    let abandoned = |error: &io::Error| {
        error.kind() == io::ErrorKind::AddrInUse
            && std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
            && UnixStream::connect(path)
                .is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused)
    };
    let socket = match UnixListener::bind(path) {
        Err(error) if abandoned(&error) => {
            std::fs::remove_file(path)?;
            UnixListener::bind(path)?
        }
        other => other?,
    };
    let file = SocketFile::new(path);
    // For processes of this user.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    socket.set_nonblocking(true)?;
    Ok(Listening::Unix(socket, file))
}

#[cfg(not(unix))]
fn listen_unix(_: &Path) -> io::Result<Listening> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Makes connections to a Unix socket.
#[cfg(unix)]
#[derive(Clone, Debug)]
pub(super) struct UnixConnector(pub PathBuf);

#[cfg(unix)]
impl Service<Uri> for UnixConnector {
    type Response = TokioIo<tokio::net::UnixStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let path = self.0.clone();
        Box::pin(async move { Ok(TokioIo::new(tokio::net::UnixStream::connect(path).await?)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_back_and_others_are_refused() {
        for text in [
            "127.0.0.1:7400",
            "unix:/run/store.sock",
            "[::1]:0",
            "localhost:1",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in ["", "unix:", "127.0.0.1", ":7400", "host:port", "host:70000"] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains("write"), "{error}");
        }
    }

    #[test]
    fn other_machines_need_a_token_and_tls() {
        let beyond: Address = "192.0.2.1:7400".parse().unwrap();
        let error = beyond
            .resolve(&Security::default())
            .unwrap_err()
            .to_string();
        assert!(error.contains("a token and TLS"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn paths_that_no_socket_can_have_are_refused_at_both_ends() {
        let long: Address = format!("unix:/tmp/{}", "a".repeat(200)).parse().unwrap();
        for error in [
            listen(&long, &Security::default()).unwrap_err(),
            long.resolve(&Security::default()).unwrap_err(),
        ] {
            let error = error.to_string();
            assert!(error.contains("a path of 205 bytes: "), "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn an_abandoned_socket_is_replaced_and_one_in_use_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let address = Address::Unix(directory.path().join("socket"));
        let (_, first) = listen(&address, &Security::default()).unwrap();
        let error = listen(&address, &Security::default())
            .unwrap_err()
            .to_string();
        assert!(error.contains("another process listens there"), "{error}");
        // A process that was killed leaves its file.
        let Listening::Unix(socket, file) = first else {
            panic!("{first:?}")
        };
        drop(socket);
        // Longer than a step of the clock by which files are made.
        std::thread::sleep(std::time::Duration::from_millis(30));
        let (_, second) = listen(&address, &Security::default()).unwrap();
        let exists = || directory.path().join("socket").exists();
        drop(file);
        assert!(exists(), "the file of the second is left alone");
        drop(second);
        assert!(!exists());
        let file = Address::Unix(directory.path().join("file"));
        std::fs::write(directory.path().join("file"), "a file").unwrap();
        listen(&file, &Security::default()).unwrap_err();
        let kept = std::fs::read_to_string(directory.path().join("file")).unwrap();
        assert_eq!(kept, "a file");
    }
}
