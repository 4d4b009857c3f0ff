//! Tokens, certificates, and addresses of other machines.

use std::fs;
use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use shardloom::net::transport::{Security, Tls, Token};
use shardloom::net::{Channel, NetError};

use crate::{LIMIT, dialer, frame, listen, listen_at, network};

/// Writes the certificates of an authority and of a node with `name`.
fn write_certificates(directory: &Path, name: &str) {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new([name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    fs::write(directory.join("ca.pem"), authority.pem()).unwrap();
    fs::write(directory.join("cert.pem"), certificate.pem()).unwrap();
    fs::write(directory.join("key.pem"), key.serialize_pem()).unwrap();
}

fn certificates(name: &str) -> Tls {
    let directory = tempfile::tempdir().unwrap();
    write_certificates(directory.path(), name);
    Tls::read(directory.path()).unwrap()
}

fn with_token(text: &str) -> Security {
    Security {
        token: Some(text.parse().unwrap()),
        tls: None,
    }
}

/// Opens a stream between two protections: the number of tokens refused, and the error or the echo of a frame.
fn open(server: &Security, client: &Security) -> (u64, Result<Bytes, NetError>) {
    let runtime = network();
    let (listener, mut accepted) = listen(server, runtime.handle()).unwrap();
    let address = listener.local_address().to_string();
    let dialer = dialer(client, runtime.handle());
    let echo = runtime.block_on(async {
        let mut near = dialer.open(&address, Channel::Session, LIMIT).await?;
        let (_, mut far) = accepted.next().await;
        near.sender
            .send(frame(3, Bytes::from_static(b"secret")), LIMIT)
            .await?;
        let received = far.receiver.receive(LIMIT).await?.unwrap();
        far.sender.send(received, LIMIT).await?;
        Ok(near.receiver.receive(LIMIT).await?.unwrap().payload)
    });
    // Addresses differ from run to run.
    let echo = echo.map_err(|error| match error {
        NetError::Refused { reason, .. } => NetError::Refused {
            peer: "node".to_owned(),
            reason,
        },
        NetError::Unreachable { reason, .. } => NetError::Unreachable {
            peer: "node".to_owned(),
            reason,
        },
        other => other,
    });
    (listener.refusals().tokens, echo)
}

#[test]
fn a_stream_needs_the_token() {
    let here = with_token("00112233445566778899aabbccddeeff");
    assert_eq!(open(&here, &here).1.unwrap(), "secret");
    for (client, sentence) in [
        (
            Security::default(),
            "node refused: the caller brings no token",
        ),
        (
            with_token("00112233445566778899aabbccddee00"),
            "node refused: the caller brings another token",
        ),
        (
            with_token("00112233445566778899aabbccddeeff00"),
            "node refused: the caller brings another token",
        ),
    ] {
        let (tokens, opened) = open(&here, &client);
        let error = opened.unwrap_err().to_string();
        assert_eq!(
            error,
            format!("{sentence}: take the token from the run's directory, or set SHARDLOOM_TOKEN")
        );
        assert_eq!(tokens, 1);
    }
    // A token that nobody asks for does no harm.
    assert_eq!(open(&Security::default(), &here).1.unwrap(), "secret");
}

#[test]
fn tokens_are_random_hexadecimal_and_hidden_in_debugging() {
    let (a, b) = (Token::random().unwrap(), Token::random().unwrap());
    assert_ne!(a, b);
    assert_eq!(a.to_string().len(), 32);
    assert_eq!(a.to_string().parse::<Token>().unwrap(), a);
    assert_eq!(
        format!("{:?}", with_token(&a.to_string()).token),
        "Some(Token(…))"
    );
    for text in [
        "",
        "00112233445566778899aabbccddee",
        "xy112233445566778899aabbccddeeff",
        "é0112233445566778899aabbccddeeff",
        "+0112233445566778899aabbccddeeff",
        "00112233445566778899aabbccddeefff",
    ] {
        let error = text.parse::<Token>().unwrap_err().to_string();
        assert!(
            error.starts_with("a token has an even number of hexadecimal digits, at least 32"),
            "{error}"
        );
    }
}

#[test]
fn both_ends_prove_that_they_belong_to_the_run() {
    let tls = |tls| Security { token: None, tls };
    let ours = tls(Some(certificates("shardloom")));
    assert_eq!(open(&ours, &ours).1.unwrap(), "secret");
    let foreign = tls(Some(certificates("shardloom")));
    let misnamed = tls(Some(certificates("node7.example.org")));
    let plain = tls(None);
    for (server, client, word) in [
        (
            &ours,
            &foreign,
            "both sides need certificates of one authority",
        ),
        (&misnamed, &misnamed, "with the name shardloom"),
        (&plain, &ours, "it does not use TLS, and this process does"),
        (&ours, &plain, "does it use TLS"),
    ] {
        let error = open(server, client).1.unwrap_err();
        assert!(matches!(error, NetError::Unreachable { .. }), "{error:?}");
        assert!(error.to_string().contains(word), "{error}");
    }
}

/// The commands in the documentation of [`Tls`].
#[test]
fn openssl_makes_certificates() {
    let directory = tempfile::tempdir().unwrap();
    let new = "openssl req -x509 -days 365 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1";
    let commands = format!(
        "{new} -subj /CN=authority -keyout ca.key -out ca.pem && {new} -subj /CN=node -CA ca.pem -CAkey ca.key \
         -keyout key.pem -out cert.pem -addext subjectAltName=DNS:shardloom \
         -addext basicConstraints=critical,CA:FALSE"
    );
    let mut shell = Command::new("sh");
    let shell = shell
        .current_dir(&directory)
        .args(["-c", &commands])
        .output();
    if !shell.is_ok_and(|output| output.status.success()) {
        println!("SKIPPED: no OpenSSL 3 here");
        return;
    }
    let tls = Some(Tls::read(directory.path()).unwrap());
    let security = Security { token: None, tls };
    assert_eq!(open(&security, &security).1.unwrap(), "secret");
}

/// A client without a certificate, or with one of another authority, is refused by the server, too.
#[test]
fn a_client_needs_a_certificate() {
    let directory = tempfile::tempdir().unwrap();
    write_certificates(directory.path(), "shardloom");
    let server = Tls::read(directory.path()).unwrap();
    // Trusts the server's authority, and has an identity of another one.
    let authority = fs::read(directory.path().join("ca.pem")).unwrap();
    write_certificates(directory.path(), "shardloom");
    fs::write(directory.path().join("ca.pem"), authority).unwrap();
    let client = Tls::read(directory.path()).unwrap();
    let tls = |tls| Security {
        token: None,
        tls: Some(tls),
    };
    let error = open(&tls(server), &tls(client)).1.unwrap_err();
    assert!(matches!(error, NetError::Unreachable { .. }), "{error:?}");
}

#[test]
fn other_machines_need_a_token_and_tls() {
    let runtime = network();
    let token = Some(Token::random().unwrap());
    let tls = Some(certificates("shardloom"));
    for (token, tls, missing) in [
        (None, None, "a token and TLS"),
        (token.clone(), None, "TLS"),
        (None, tls.clone(), "a token"),
    ] {
        let security = Security { token, tls };
        let sentence = |address| {
            format!(
                "{address} is not a loopback address and there is no protection by {missing}: set \
                 SHARDLOOM_TOKEN and pass --tls with a directory of cert.pem, key.pem and ca.pem, or use \
                 127.0.0.1"
            )
        };
        for address in ["0.0.0.0:0", "[::]:0", "192.0.2.7:0"] {
            let error = listen_at(address, &security, runtime.handle())
                .err()
                .unwrap();
            assert_eq!(error.to_string(), sentence(address));
        }
        let dialer = dialer(&security, runtime.handle());
        let opened = dialer.open("192.0.2.7:7000", Channel::Rows, LIMIT);
        let error = runtime.block_on(opened).unwrap_err();
        assert_eq!(error.to_string(), sentence("192.0.2.7:7000"));
    }
    let (listener, _) = listen_at("0.0.0.0:0", &Security { token, tls }, runtime.handle()).unwrap();
    assert_ne!(listener.local_address().port(), 0);
}

#[test]
fn certificates_that_cannot_be_used_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let error = Tls::read(directory.path()).unwrap_err().to_string();
    assert!(
        error.contains("cert.pem cannot be read") && error.contains("key.pem and ca.pem"),
        "{error}"
    );
    write_certificates(directory.path(), "shardloom");
    let key = directory.path().join("key.pem");
    fs::write(&key, "no key").unwrap();
    let error = Tls::read(directory.path()).unwrap_err().to_string();
    assert!(
        error.ends_with("key.pem has no `PRIVATE KEY-----`: it must be in PEM"),
        "{error}"
    );
    // The key of another certificate.
    fs::write(&key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let security = Security {
        token: None,
        tls: Some(Tls::read(directory.path()).unwrap()),
    };
    let runtime = network();
    let error = listen(&security, runtime.handle())
        .err()
        .unwrap()
        .to_string();
    assert!(error.starts_with("the certificates for TLS: "), "{error}");
}
