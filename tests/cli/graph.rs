//! `shardloom graph`: files that are built, checked, sampled from and measured.

use std::fs;

use serde_json::Value;
use shardloom::device::testing::skip;

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

/// Counts of a graph file are those of its dataset.
#[test]
fn a_graph_file_has_the_counts_of_published_datasets() {
    if std::env::var_os("SHARDLOOM_DATA").is_none() {
        let why = "SHARDLOOM_DATA does not say where the published datasets are";
        return skip(why, "SHARDLOOM_REQUIRE_DATA");
    }
    let home = Home::new();
    for name in ["umls", "fb15k-237", "wn18rr"] {
        home.ok(&words(&format!("graph build {name} --output it.graph")));
        let info = json(&home, "graph info it.graph --json");
        let dataset = json(&home, &format!("dataset info {name} --json"));
        let train = &dataset["splits"]["train"];
        assert_eq!(info["nodes"], dataset["entities"], "{name}");
        assert_eq!(info["relations"], dataset["relations"], "{name}");
        assert_eq!(info["facts"], train["triples"], "{name}");
        assert_eq!(info["profile"]["repeated"], train["duplicates"], "{name}");
        home.ok(&words("graph check it.graph"));
    }
}

#[test]
fn a_graph_file_is_trained_on_like_its_source() {
    let home = Home::with_ring();
    let facts = home.read("ring/train.tsv");
    home.write("facts.tsv", &facts);
    home.ok(&words("graph build facts.tsv --output facts.graph"));
    let split = "--split 0.8,0.1,0.1 --split-seed 5";
    let info = |file: &str| json(&home, &format!("dataset info {file} {split} --json"));
    let (source, graph) = (info("facts.tsv"), info("facts.graph"));
    assert_eq!(graph["splits"], source["splits"]);
    assert_eq!(graph["reading"]["files"][0]["format"], "graph file");
    let train = format!(
        "train --dataset facts.graph {split} --epochs 2 --dim 8 --device cpu --output run --quiet"
    );
    home.ok(&words(&train));
    home.ok(&words("train --resume run --epochs 3 --device cpu --quiet"));
    assert!(home.ok(&words("eval run")).contains("both sides"));
    home.ok(&words("eval run --dataset facts.graph"));
    let told = refused(&home, "train --dataset facts.graph");
    assert!(told.contains("--split"), "{told}");
    home.ok(&words("graph build ring --facts all --output all.graph"));
    let told = refused(&home, "train --dataset all.graph --split 1,0,0");
    assert!(
        told.contains("12 of its 180 facts are those that its dataset holds out"),
        "{told}"
    );
    let shown = home.ok(&words("graph info all.graph"));
    assert!(
        shown.contains("12 of the facts are held out by the dataset"),
        "{shown}"
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
fn nodes_with_most_facts_come_first_if_asked_for() {
    let home = Home::new();
    home.write("facts.tsv", "a\tr\tb\nc\tr\td\ne\tr\td\nd\tq\tb\n");
    let sample = |order: &str| {
        home.ok(&words(&format!(
            "graph build facts.tsv --order {order} --output {order}.graph"
        )));
        let line = format!("graph sample {order}.graph --seed d --seed b --fanouts -1");
        let said = home.ok(&words(&line));
        let mut lines: Vec<String> = said.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sample("degree"), sample("dataset"));
    let digest =
        |order: &str| json(&home, &format!("graph info {order}.graph --json"))["digest"].clone();
    assert_ne!(digest("degree"), digest("dataset"));
}

#[test]
fn weights_and_times_are_read_and_drawn_by() {
    let home = Home::new();
    let rows = "a\tr\tb\t1\t10\na\tr\tc\t0\t-20\na\tr\td\t2.5\t30\na\tr\te\t1\t20\n";
    home.write("facts.tsv", rows);
    home.write(
        "named.csv",
        &format!(
            "head,relation,tail,confidence,year\n{}",
            rows.replace('\t', ",")
        ),
    );
    let built = "--columns 1,2,3,4 --time 5 --output facts.graph";
    home.ok(&words(&format!("graph build facts.tsv {built}")));
    let line = "graph build named.csv --columns head,relation,tail,confidence --time year --output named.graph";
    home.ok(&words(line));
    let info = |file: &str| json(&home, &format!("graph info {file} --json"))["sections"].clone();
    assert_eq!(info("facts.graph"), info("named.graph"));
    assert_eq!(info("facts.graph")["out-times"], 32);
    let tails = |file: &str, flags: &str| {
        let line = format!("graph sample {file} --seed a --direction out {flags} --json");
        let batch = json(&home, &line);
        let facts = batch["facts"].as_array().unwrap().clone();
        let tails: Vec<String> = facts
            .iter()
            .map(|fact| fact["tail"].as_str().unwrap().to_owned())
            .collect();
        tails.concat()
    };
    for file in ["facts.graph", "named.graph"] {
        assert_eq!(tails(file, "--fanouts -1 --before 20"), "bc");
        assert_eq!(tails(file, "--fanouts -1 --before 20 --inclusive"), "bce");
        assert_eq!(tails(file, "--fanouts -1 --before 31 --window 11"), "de");
        assert_eq!(tails(file, "--fanouts 1 --before 25 --latest"), "e");
        assert_eq!(tails(file, "--fanouts 1 --before -20 --inclusive"), "c");
        assert_eq!(tails(file, "--fanouts 4 --weighted"), "bde");
    }
    let plain = "graph build facts.tsv --columns 1,2,3 --output plain.graph";
    home.ok(&words(plain));
    let error = refused(&home, "graph sample plain.graph --seed a --before 3");
    assert!(error.contains("has no times"), "{error}");

    for weight in ["nan", "-1", "inf", "1e60"] {
        home.write("bad.tsv", &format!("a\tr\tb\t1\t1\na\tr\tc\t{weight}\t1\n"));
        let error = refused(&home, &format!("graph build bad.tsv {built}"));
        assert!(
            error.contains("bad.tsv:2:") && error.contains("a finite number, 0 or more"),
            "{error}"
        );
    }
    home.write("bad.tsv", "a\tr\tb\t1\t1\na\tr\tc\t2\t1.5\n");
    let error = refused(&home, &format!("graph build bad.tsv {built}"));
    assert!(
        error.contains("fact 2 (a, r, c): found \"1.5\" in column 5"),
        "{error}"
    );
    let error = refused(
        &home,
        &format!(
            "graph build facts.tsv {}",
            built.replace("--time 5", "--time 9")
        ),
    );
    assert!(error.contains("9"), "{error}");
    let error = refused(&home, "graph build facts.tsv --time 5 --output it.graph");
    assert!(error.contains("--columns"), "{error}");
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
    let line = "graph bench ring.graph --fanouts 3,2 --batch 8 --batches 5 --threads 1,2 --facts \
                --work nodes,facts,exclusion,ppr,reads --memory huge --json";
    let figures = json(&home, line);
    let figures = figures.as_array().unwrap();
    let of = |work: &str| {
        let rows: Vec<&Value> = figures.iter().filter(|row| row["work"] == work).collect();
        rows
    };
    for work in ["nodes", "facts", "exclusion"] {
        assert_eq!(of(work)[0]["threads"], 1);
        assert_eq!(of(work)[1]["batches"], 10);
        assert!(of(work)[0]["facts_a_core_second"].as_f64().unwrap() > 0.0);
        assert!(of(work)[0]["facts_a_batch"].as_f64().unwrap() > 8.0);
    }
    assert!(of("ppr")[0]["cpu_microseconds_a_seed"].as_f64().unwrap() > 0.0);
    let [reads] = of("reads")[..] else {
        panic!("{figures:?}")
    };
    let share = reads["share_of_limit"].as_f64().unwrap();
    assert!(share > 0.0, "{reads}");
    let said = home.ok(&words(
        "graph bench ring.graph --batch 8 --batches 2 --work nodes,ppr",
    ));
    assert!(
        said.contains("nodes, 1 threads: ") && said.contains("ppr, 1 threads: "),
        "{said}"
    );
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
