//! `shardloom graph`: files that are built, checked, sampled from and measured.

use std::fs;

use serde_json::Value;

use crate::home::{Home, texts, words};

/// A home with the graph file of the ring.
fn built() -> Home {
    let home = Home::with_ring();
    let said = home.ok(&words("graph build ring --output ring.graph"));
    assert!(
        said.starts_with("ring.graph: 60 nodes, 3 relations, 168 facts"),
        "{said}"
    );
    home
}

fn json(home: &Home, line: &str) -> Value {
    serde_json::from_str(&home.ok(&words(line))).unwrap()
}

/// Sentence of a command that is refused.
fn refused(home: &Home, line: &str) -> String {
    let output = home.run(&words(line));
    let (_, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    stderr
}

#[test]
fn a_graph_file_has_what_the_dataset_has() {
    let home = built();
    let info = json(&home, "graph info ring.graph --json");
    let dataset = json(&home, "dataset info ring --json");
    assert_eq!(info["nodes"], 60);
    assert_eq!(info["facts"], 168);
    assert_eq!(
        dataset["splits"]["train"]["triples"], info["facts"],
        "{dataset}"
    );
    assert_eq!(info["profile"]["out"]["most"], 3);
    assert_eq!(info["profile"]["isolated"], 0);
    let all = json(
        &home,
        "graph build ring --facts all --output all.graph --json",
    );
    assert_eq!(all["facts"], 180);
    assert!(
        home.ok(&words("graph info ring.graph"))
            .contains("0 repeated facts, 0 loops")
    );
    let checked = home.ok(&words("graph check ring.graph"));
    assert!(
        checked.contains("sections are as they were written"),
        "{checked}"
    );
}

#[test]
fn a_single_file_is_taken_whole() {
    let home = Home::new();
    home.write("facts.tsv", "a\tr\tb\nb\tr\tc\n");
    let info = json(&home, "graph build facts.tsv --output facts.graph --json");
    assert_eq!((&info["nodes"], &info["facts"]), (&3.into(), &2.into()));
}

#[test]
fn neighbourhoods_are_the_same_again() {
    let home = built();
    let line = "graph sample ring.graph --seed e7 --fanouts 2,-1 --direction out --key 3 --json";
    let batch = json(&home, line);
    assert_eq!(batch, json(&home, line));
    assert_eq!(batch["nodes"][0], "e7");
    assert_eq!(batch["seeds"], serde_json::json!([0]));
    let facts = batch["facts"].as_array().unwrap();
    let of = |hop: u64| facts.iter().filter(move |fact| fact["hop"] == hop);
    assert_eq!(of(1).count(), 2);
    assert!(of(1).all(|fact| fact["head"] == "e7"), "{batch}");
    assert!(of(2).count() >= 4);
    let text = home.ok(&words(
        "graph sample ring.graph --seed e7 --fanouts -1 --direction in",
    ));
    assert!(text.contains("1\te6\tnext\te7\n"), "{text}");
}

#[test]
fn rates_are_measured() {
    let home = built();
    let line =
        "graph bench ring.graph --fanouts 3,2 --batch 8 --batches 5 --threads 1,2 --facts --json";
    let figures = json(&home, line);
    assert_eq!(figures[0]["threads"], 1);
    assert_eq!(figures[1]["batches"], 10);
    assert!(figures[0]["facts_a_core_second"].as_f64().unwrap() > 0.0);
    assert!(figures[0]["facts_a_batch"].as_f64().unwrap() > 8.0);
}

#[test]
fn faults_are_named() {
    let home = built();
    let sample = "graph sample ring.graph --seed e7";
    assert!(refused(&home, "graph sample ring.graph --seed nobody").contains("no node \"nobody\""));
    assert!(refused(&home, &format!("{sample} --fanouts=-2")).contains("-1 for all"));
    assert!(refused(&home, &format!("{sample} --weighted")).contains("has no weights"));
    assert!(
        refused(
            &home,
            &format!("{sample} --expand tree --fanouts 999999,999999")
        )
        .contains("a batch may have")
    );
    assert!(refused(&home, "graph info quick.toml").contains("not a graph file"));
    assert!(refused(&home, "graph info none.graph").contains("none.graph"));
    let path = home.path("ring.graph");
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let error = refused(&home, "graph check ring.graph");
    assert!(
        error.contains("section relation-names is damaged"),
        "{error}"
    );
    fs::write(&path, &bytes[..last]).unwrap();
    assert!(refused(&home, "graph check ring.graph").contains("cut off"));
}
