//! Measuring: every operation gives a line, and mistakes are told before anything is measured.

use serde_json::Value;

use crate::home::{Home, words};

/// Sizes that measure nothing and are done at once.
const TINY: &str = "bench --device cpu --rows 512 --dim 8 --batch 64 --push-batch 16 --workers 1,2 \
    --reduce-values 100 --copy-mib 1 --seconds 0 --repeat 1";

const OPS: [&str; 10] = [
    "copy",
    "gather",
    "update_sgd",
    "update_adagrad",
    "update_adam",
    "update_row_adagrad",
    "sync_push",
    "async_push",
    "pull",
    "all_reduce",
];

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn every_operation_is_a_line_of_json() {
    let home = Home::new();
    let line = format!("{TINY} --json --output bench.jsonl");
    let text = home.ok(&words(&line));
    let results = lines(&text);
    for op in OPS {
        assert!(results.iter().any(|r| r["op"] == op), "{op}: {text}");
    }
    for result in &results {
        let op = result["op"].as_str().unwrap();
        let rows = op == "gather" || op.starts_with("update");
        assert!(result["dtype"] == "f32" || rows && result["dtype"] == "f16");
        assert!(result["device"].as_str().unwrap().starts_with("cpu"));
        for field in ["rows", "dim", "batch", "workers"] {
            assert!(result[field].as_u64().unwrap() > 0, "{field}: {result}");
        }
        for field in [
            "median_s",
            "rows_per_second",
            "gb_per_second",
            "share_of_copy",
        ] {
            assert!(result[field].as_f64().unwrap() > 0.0, "{field}: {result}");
        }
    }
    let pushes = results.iter().filter(|r| r["op"] == "sync_push");
    let workers: Vec<u64> = pushes.map(|r| r["workers"].as_u64().unwrap()).collect();
    assert_eq!(workers, [1, 2]);
    assert_eq!(home.read("bench.jsonl"), text);
    assert_eq!(home.names("."), ["bench.jsonl"]);
}

#[test]
fn people_get_a_table_without_colours_in_a_pipe() {
    let home = Home::new();
    let table = home.ok(&words(&format!("{TINY} --only copy,update_adam,pull")));
    let ops: Vec<&str> = (table.lines().skip(2))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(ops, ["copy", "update_adam", "update_adam", "pull"]);
    assert!(!table.contains('\x1b'));
}

#[test]
fn one_optimizer_is_the_one_that_workers_push_to() {
    let home = Home::new();
    let text = home.ok(&words(&format!(
        "{TINY} --json --optimizer row-adagrad --dtype f16-stochastic"
    )));
    let results = lines(&text);
    let updates: Vec<&Value> = (results.iter())
        .filter(|r| r["op"].as_str().unwrap().starts_with("update"))
        .collect();
    assert_eq!(updates.len(), 1);
    assert_eq!(updates[0]["op"], "update_row_adagrad");
    assert_eq!(updates[0]["dtype"], "f16-stochastic");
    let push = results.iter().find(|r| r["op"] == "async_push").unwrap();
    assert_eq!(push["optimizer"], "row-adagrad");
}

#[test]
fn mistakes_are_told_before_anything_is_measured() {
    let home = Home::new();
    for (more, told) in [
        ("--rows 0", "--rows"),
        ("--dim 0", "--dim"),
        ("--batch 513", "--batch 513 is too large: at most 512"),
        (
            "--push-batch 65",
            "--push-batch 65 is too large: at most 64",
        ),
        ("--workers 0", "--workers"),
        ("--workers 100000", "--workers"),
        ("--shards 0", "--shards"),
        ("--seconds nan", "--seconds"),
        ("--rows 4000000000 --dim 1000000", "main memory are free"),
        ("--rows 99999999999", "--rows"),
        ("--device tpu", "\"tpu\""),
        ("--output nowhere/bench.jsonl", "nowhere/bench.jsonl"),
        ("--output .", "cannot write ."),
        ("--only copy,paste", "paste"),
    ] {
        let line = format!("{TINY} {more}");
        // Later flags do not override earlier ones: those that are repeated are left out.
        let mut line = words(&line);
        for flag in words(more).into_iter().filter(|w| w.starts_with("--")) {
            let first = line.iter().position(|word| *word == flag).unwrap();
            if line.iter().filter(|word| **word == flag).count() > 1 {
                line.drain(first..first + 2);
            }
        }
        let error = home.fails(&line);
        if !cfg!(target_os = "linux") && told.contains("memory") {
            continue;
        }
        assert!(error.contains(told), "{more}: {error}");
        assert_eq!(home.names("."), [""; 0], "{more}");
    }
}
