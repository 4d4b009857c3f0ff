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
    let more = ["--epochs", "8", "--batch-size", "250"];
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

/// Loss of a run's last epoch.
fn last_loss(place: &Place, name: &str) -> f64 {
    let metrics = fs::read_to_string(place.path(name).join("metrics.jsonl")).unwrap();
    let last: serde_json::Value = serde_json::from_str(metrics.lines().last().unwrap()).unwrap();
    last["loss"].as_f64().unwrap()
}

#[test]
fn values_of_half_the_size_train_nearly_as_well() {
    let place = Place::new();
    let more = ["--epochs", "4", "--batch-size", "250"];
    let expected = place.alone(&more);
    let wanted = last_loss(&place, "alone");
    // The gradients of this run are small, and f16 has few digits for small numbers.
    for (wire_type, most) in [("f16", 0.1), ("bf16", 0.01)] {
        let key = format!("wire_type={wire_type}");
        let more = [&more[..], &["--set", &key, "--workers", "2"]].concat();
        let mut leader = place.lead(wire_type, &more);
        let mut worker = place.work(wire_type);
        leader.succeed();
        worker.succeed();
        assert!(place.tables(wire_type) != expected, "nothing was rounded");
        let difference = (last_loss(&place, wire_type) / wanted - 1.0).abs();
        println!("{wire_type}: {difference}");
        assert!(difference < most, "{wire_type}: {difference}");
    }
}
