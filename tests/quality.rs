//! What training reaches, in figures. A run's figures are the same whenever it is made; between processors, they
//! differ by some 0.0001.

use std::path::Path;
use std::process::Command;

use shardloom::device::testing::skip;

/// How far a figure may be off, on any processor.
const NEAR: f64 = 0.002;

/// The filtered test MRR after a `train` command with these arguments.
fn mrr(arguments: &str) -> f64 {
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(assert_cmd::cargo::cargo_bin!("shardloom"))
        .args(["train", "--device", "cpu", "--output", "run", "--quiet"])
        .args(arguments.split_whitespace())
        .current_dir(home.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let result = std::fs::read_to_string(home.path().join("run/result.json")).unwrap();
    let result: serde_json::Value = serde_json::from_str(&result).unwrap();
    let mrr = result["test"]["mrr"].as_f64().unwrap();
    println!("MRR {mrr:.4}: train {arguments}");
    mrr
}

/// The README's first command, and the figure that stands there under it.
#[test]
fn the_first_command_reaches_what_the_readme_says() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let line = readme.lines().find(|line| line.starts_with("both sides"));
    let told: f64 = line
        .unwrap()
        .split_whitespace()
        .nth(2)
        .unwrap()
        .parse()
        .unwrap();
    assert!((told - 0.9509).abs() < NEAR, "the README says {told}");
    let found = mrr("");
    assert!((found - 0.9509).abs() < NEAR, "{found}");
}

/// Adagrad hides the scale of gradients; SGD and Adam with few steps do not.
#[test]
fn umls_reaches_its_figures() {
    if std::env::var_os("SHARDLOOM_DATA").is_none() {
        return skip(
            "SHARDLOOM_DATA does not say where UMLS is",
            "SHARDLOOM_REQUIRE_DATA",
        );
    }
    for (wanted, arguments) in [
        (0.9183, "--recipe umls --dim 100"),
        (
            0.7343,
            "--dataset umls --model distmult --objective kvsall --dim 50 --batch-size 50 --epochs 20 \
             --lr 10 --set optimizer=sgd --set init_scale=0.1 --set validate_every=0",
        ),
        (
            0.7361,
            "--dataset umls --model transe-l1 --objective negatives --negatives 32 --dim 50 \
             --batch-size 100 --epochs 20 --lr 0.01 --set optimizer=adam --set validate_every=0 \
             --set loss=self-adversarial --set margin=6",
        ),
    ] {
        let found = mrr(arguments);
        assert!(
            (found - wanted).abs() < NEAR,
            "{found} instead of {wanted}: train {arguments}"
        );
    }
}
