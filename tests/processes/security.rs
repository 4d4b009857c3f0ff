//! Processes at two addresses, with a token and TLS, and values of half the size between them.

use std::fs;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::{Place, Process, until};

/// A token, as users set it.
pub const TOKEN: &str = "00112233445566778899aabbccddeeff";

/// Writes certificates by an authority of their own.
pub fn write_certificates(directory: &Path) {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["shardloom".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    fs::create_dir_all(directory).unwrap();
    fs::write(directory.join("ca.pem"), authority.pem()).unwrap();
    fs::write(directory.join("cert.pem"), certificate.pem()).unwrap();
    fs::write(directory.join("key.pem"), key.serialize_pem()).unwrap();
}

#[test]
fn processes_at_two_addresses_train_with_tls() {
    let place = Place::new();
    let more = ["--epochs", "40", "--batch-size", "250"];
    let expected = place.alone(&more);
    let (ours, others) = (place.path("tls"), place.path("other"));
    write_certificates(&ours);
    write_certificates(&others);
    let (ours, others) = (ours.display().to_string(), others.display().to_string());
    let arguments = [
        "--listen",
        "127.0.0.1:0",
        "--threads",
        "1",
        "--workers",
        "2",
        "--tls",
        &ours,
    ];
    let arguments = place.arguments("run", &[&more[..], &arguments].concat());
    let mut leader = Process::start(&arguments, &[("SHARDLOOM_TOKEN", TOKEN)]);
    let (address, token) = place.leader_of("run");
    assert_eq!(token, TOKEN);
    let work = |tls: &[&str]| {
        let join = [
            "worker",
            "--join",
            &address,
            "--listen",
            "127.0.0.2:0",
            "--threads",
            "1",
        ];
        Process::start(&[&join[..], tls].concat(), &[("SHARDLOOM_TOKEN", TOKEN)])
    };
    for (tls, word) in [
        (vec![], "TLS"),
        (vec!["--tls", &others], "certificates of one authority"),
    ] {
        let mut refused = work(&tls);
        assert_eq!(refused.end().code(), Some(2), "{}", refused.said());
        let said = refused.said();
        assert!(said.contains("error: ") && said.contains(word), "{said}");
    }
    let mut worker = work(&["--tls", &ours]);
    until("it joins", || worker.said().contains("joins the run"));
    leader.succeed();
    worker.succeed();
    assert!(place.tables("run") == expected);
}

#[test]
fn values_of_half_the_size_train_nearly_the_same_tables() {
    let place = Place::new();
    let more = ["--epochs", "6", "--batch-size", "250"];
    let expected = place.alone(&more);
    for wire_type in ["f16", "bf16"] {
        let key = format!("wire_type={wire_type}");
        let more = [&more[..], &["--set", &key, "--workers", "2"]].concat();
        let mut leader = place.lead(wire_type, &more);
        let mut worker = place.work(wire_type);
        leader.succeed();
        worker.succeed();
        let tables = place.tables(wire_type);
        assert!(tables != expected, "nothing was rounded");
        // Of the entities' values; their states follow.
        let values =
            |table: &[u32]| -> Vec<f32> { table.iter().copied().map(f32::from_bits).collect() };
        let (found, wanted) = (values(&tables[0]), values(&expected[0]));
        let squares = |values: &[f32]| values.iter().map(|v| v * v).sum::<f32>();
        let difference: Vec<f32> = found.iter().zip(&wanted).map(|(a, b)| a - b).collect();
        let relative = (squares(&difference) / squares(&wanted)).sqrt();
        println!("{wire_type}: {relative}");
        assert!(relative < 0.05, "{wire_type}: {relative}");
    }
}
