//! Tokens and certificates.

use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;

use subtle::ConstantTimeEq;
use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};

use crate::net::NetError;

/// Environment variable with the token of a run.
pub const TOKEN_VARIABLE: &str = "SHARDLOOM_TOKEN";
/// Name that certificates of nodes bear, whatever their address.
const NAME: &str = "shardloom";
/// Fewest bytes of a token.
const TOKEN_BYTES: usize = 16;

/// Secret of a run, at least 128 bits. Displayed in hexadecimal; hidden in debugging output.
#[derive(Clone)]
pub struct Token(Vec<u8>);

impl Token {
    /// Makes a random token of 128 bits.
    ///
    /// # Errors
    /// [`NetError::Options`] if the system gives no random bytes.
    pub fn random() -> Result<Token, NetError> {
        let mut bytes = vec![0; TOKEN_BYTES];
        getrandom::fill(&mut bytes)
            .map_err(|e| NetError::Options(format!("no random token can be made: {e}")))?;
        Ok(Token(bytes))
    }

    /// Reads the token of the environment variable `SHARDLOOM_TOKEN`; `None` if the variable is not set.
    ///
    /// # Errors
    /// [`NetError::Options`] if the variable has no token.
    pub fn from_environment() -> Result<Option<Token>, NetError> {
        let Some(text) = std::env::var_os(TOKEN_VARIABLE) else {
            return Ok(None);
        };
        let token = text.to_string_lossy().parse();
        token
            .map(Some)
            .map_err(|e: NetError| NetError::Options(format!("{TOKEN_VARIABLE}: {e}")))
    }
}

impl PartialEq for Token {
    /// Compares in constant time.
    fn eq(&self, other: &Token) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Token {}

impl FromStr for Token {
    type Err = NetError;

    fn from_str(text: &str) -> Result<Token, NetError> {
        let text = text.trim();
        let digits = text.len();
        let byte = |at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
        let bytes: Option<Vec<u8>> = (0..digits).step_by(2).map(byte).collect();
        match bytes {
            Some(bytes) if bytes.len() >= TOKEN_BYTES && !text.contains('+') => Ok(Token(bytes)),
            _ => Err(NetError::Options(format!(
                "a token has an even number of hexadecimal digits, at least {}, and this text of {digits} \
                 characters is none: copy it from the run",
                2 * TOKEN_BYTES
            ))),
        }
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Certificates of a node, by which both ends of a connection prove that they belong to the run.
///
/// The certificate must bear the DNS name `shardloom`, whatever the node's address: a directory serves all nodes.
/// OpenSSL 3 makes one so:
///
/// ```console
/// $ new="openssl req -x509 -days 365 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1"
/// $ $new -subj /CN=authority -keyout ca.key -out ca.pem
/// $ $new -subj /CN=node -CA ca.pem -CAkey ca.key -keyout key.pem -out cert.pem \
///     -addext subjectAltName=DNS:shardloom -addext basicConstraints=critical,CA:FALSE
/// ```
///
/// The nodes need `ca.pem`, and not `ca.key`.
#[derive(Clone)]
pub struct Tls {
    identity: Identity,
    authority: Certificate,
}

impl Tls {
    /// Reads `cert.pem`, its key `key.pem`, and the certificate `ca.pem` of the authority that signed it.
    ///
    /// # Errors
    /// [`NetError::Options`] if a file is not there, or is not what its name says.
    pub fn read(directory: &Path) -> Result<Tls, NetError> {
        let read = |name: &str, mark: &str| {
            let path = directory.join(name);
            let text = fs::read(&path).map_err(|e| {
                NetError::Options(format!(
                    "{} cannot be read ({e}): a directory for TLS has cert.pem, key.pem and ca.pem",
                    path.display()
                ))
            })?;
            match String::from_utf8_lossy(&text).contains(mark) {
                true => Ok(text),
                false => Err(NetError::Options(format!(
                    "{} has no `{mark}`: it must be in PEM",
                    path.display()
                ))),
            }
        };
        let certificate = read("cert.pem", "-----BEGIN CERTIFICATE-----")?;
        let key = read("key.pem", "PRIVATE KEY-----")?;
        let authority = read("ca.pem", "-----BEGIN CERTIFICATE-----")?;
        Ok(Tls {
            identity: Identity::from_pem(certificate, key),
            authority: Certificate::from_pem(authority),
        })
    }

    pub(in crate::net) fn server(&self) -> ServerTlsConfig {
        ServerTlsConfig::new()
            .identity(self.identity.clone())
            .client_ca_root(self.authority.clone())
    }

    pub(in crate::net) fn client(&self) -> ClientTlsConfig {
        ClientTlsConfig::new()
            .identity(self.identity.clone())
            .ca_certificate(self.authority.clone())
            .domain_name(NAME)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(…)")
    }
}

/// Protection of connections against other programs.
#[derive(Clone, Debug, Default)]
pub struct Security {
    /// Token that every stream must bring.
    pub token: Option<Token>,
    /// Encryption, and certificates of both ends.
    pub tls: Option<Tls>,
}

impl Security {
    /// Reads the token of a file, or else of the environment variable `SHARDLOOM_TOKEN`, and the certificates of a
    /// directory.
    ///
    /// # Errors
    /// [`NetError::Options`] if a file cannot be read, or has no token or certificate.
    pub fn read(token_file: Option<&Path>, tls: Option<&Path>) -> Result<Security, NetError> {
        let token = match token_file {
            None => Token::from_environment()?,
            Some(file) => {
                let fault =
                    |e: &dyn fmt::Display| NetError::Options(format!("{}: {e}", file.display()));
                let text = fs::read_to_string(file).map_err(|e| fault(&e))?;
                Some(text.parse().map_err(|e: NetError| fault(&e))?)
            }
        };
        let tls = tls.map(Tls::read).transpose()?;
        Ok(Security { token, tls })
    }

    /// Refuses addresses of other machines without a token and TLS.
    pub(in crate::net) fn check(
        &self,
        address: &str,
        resolved: &[SocketAddr],
    ) -> Result<(), NetError> {
        let beyond = resolved.iter().any(|a| !a.ip().is_loopback());
        let missing = match (&self.token, &self.tls) {
            (Some(_), Some(_)) => return Ok(()),
            (None, Some(_)) => "a token",
            (Some(_), None) => "TLS",
            (None, None) => "a token and TLS",
        };
        match beyond {
            false => Ok(()),
            true => Err(NetError::Options(format!(
                "{address} is not a loopback address and there is no protection by {missing}: set \
                 {TOKEN_VARIABLE} and pass --tls with a directory of cert.pem, key.pem and ca.pem, or use \
                 127.0.0.1"
            ))),
        }
    }
}
