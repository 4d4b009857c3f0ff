//! Runs that an earlier binary made: `tests/fixtures/run-c75487b` says how.

use std::fs;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use crate::home::{Home, words};

const METRICS: [&str; 6] = [
    "mrr",
    "mean_rank",
    "hits_at_1",
    "hits_at_3",
    "hits_at_10",
    "amri",
];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/run-c75487b")
        .join(name)
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let name = entry.unwrap().file_name();
            copy(&from.join(&name), &to.join(&name));
        }
    } else {
        fs::copy(from, to).unwrap();
    }
}

/// A home with a copy of a run and of its graph, which stands elsewhere than at the time.
fn home(run: &str) -> Home {
    let home = Home::new();
    for name in [run, "family"] {
        copy(&fixture(name), &home.path(name));
    }
    let config = home.read(format!("{run}/config.toml"));
    let moved = home.path("family").display().to_string();
    home.write(
        format!("{run}/config.toml"),
        &config.replace("\"/graphs/family\"", &format!("'{moved}'")),
    );
    home
}

fn expected(run: &str) -> Value {
    let text = fs::read_to_string(fixture("expected.json")).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()[run].take()
}

/// Asserts that `eval` gives the figures of the earlier binary.
fn assert_figures(home: &Home, run: &str, wanted: &Value) {
    let shown = home.ok(&words(&format!("eval {run} --device cpu --json")));
    let found: Value = serde_json::from_str(&shown).unwrap();
    let found = &found["metrics"];
    for side in ["", "/head", "/tail"] {
        for metric in METRICS {
            let number = |value: &Value| {
                let number = value.pointer(&format!("{side}/{metric}"));
                number.and_then(Value::as_f64).unwrap()
            };
            let (found, wanted) = (number(found), number(wanted));
            assert!(
                (found - wanted).abs() < 1e-12,
                "{run} {side} {metric}: {found} instead of {wanted}"
            );
        }
    }
}

/// Asserts that `predict` gives the answers of the earlier binary, with their scores.
fn assert_answers(home: &Home, run: &str, wanted: &Value) {
    let line = format!("predict {run} --head Ada --relation likes --device cpu");
    let shown = home.ok(&words(&line));
    let found: Vec<(&str, f64)> = shown
        .lines()
        .map(|line| {
            let (score, name) = line.trim().split_once(' ').unwrap();
            (name.trim(), score.parse().unwrap())
        })
        .collect();
    let wanted = wanted.as_array().unwrap();
    assert_eq!(found.len(), wanted.len(), "{shown}");
    for ((name, score), wanted) in found.into_iter().zip(wanted) {
        assert_eq!(name, wanted[0], "{shown}");
        let wanted = wanted[1].as_f64().unwrap();
        // Four digits are shown.
        assert!((score - wanted).abs() < 1.5e-4, "{shown}");
    }
}

/// Asserts that all columns of two checkpoints are the same but for roundings.
fn assert_same_tables(found: &[u8], wanted: &[u8]) {
    let [found, wanted] = [found, wanted].map(|bytes| SafeTensors::deserialize(bytes).unwrap());
    let names = |tensors: &SafeTensors| -> Vec<String> {
        let mut names: Vec<_> = tensors.names().into_iter().map(str::to_owned).collect();
        names.sort();
        names
    };
    assert_eq!(names(&found), names(&wanted));
    for name in names(&wanted) {
        let [found, wanted] = [&found, &wanted].map(|tensors| tensors.tensor(&name).unwrap());
        assert_eq!(found.dtype(), wanted.dtype(), "{name}");
        assert_eq!(found.shape(), wanted.shape(), "{name}");
        let values = |bytes: &[u8]| -> Vec<f32> {
            match wanted.dtype() {
                Dtype::F16 => {
                    let values: Vec<half::f16> = bytemuck::pod_collect_to_vec(bytes);
                    values.into_iter().map(half::f16::to_f32).collect()
                }
                _ => bytemuck::pod_collect_to_vec(bytes),
            }
        };
        // A few units in the last place: sums may run in another order on another processor.
        let unit = match wanted.dtype() {
            Dtype::F16 => 2e-3,
            _ => 1e-5,
        };
        for (found, wanted) in values(found.data()).into_iter().zip(values(wanted.data())) {
            let off = (found - wanted).abs();
            assert!(
                off <= unit * wanted.abs().max(1e-2),
                "{name}: {found} instead of {wanted}"
            );
        }
    }
}

/// Runs on a directory of three files: in `f32` with Adagrad, and in binary16 with Adam, shards and a
/// schedule.
#[test]
fn earlier_runs_give_the_same_figures_and_go_on() {
    for run in ["complex", "rotate"] {
        let (home, expected) = (home(run), expected(run));
        assert_figures(&home, run, &expected["eval"]);
        assert_answers(&home, run, &expected["predict"]);
        home.ok(&words(&format!("train --resume {run} --epochs 4")));
        assert_figures(&home, run, &expected["resumed"]);
        let epochs: Vec<_> = home
            .metrics(run)
            .iter()
            .map(|line| line["epoch"].clone())
            .collect();
        assert_eq!(epochs, [1, 2, 3, 4]);
        let wanted = fs::read(fixture(&format!("{run}-epoch-000004.safetensors"))).unwrap();
        assert_same_tables(&home.tables(run, 4), &wanted);
    }
}

/// Which facts of a single file such a run holds out was not kept: it answers, but no figure is made up.
#[test]
fn earlier_runs_on_a_single_file_answer_and_say_why_they_cannot_be_ranked() {
    let (home, expected) = (home("split"), expected("split"));
    assert_answers(&home, "split", &expected["predict"]);
    for line in ["eval split --device cpu", "train --resume split --epochs 4"] {
        let error = home.fails(&words(line));
        assert!(
            error.contains("split was made before runs kept their facts")
                && error.contains("train it anew"),
            "{error}"
        );
    }
}
