//! What the program tells about itself, and to readers that do not stay.

use std::process::Stdio;

use serde_json::Value;

use crate::home::{Home, QUICK, texts, words};

#[test]
fn help_says_what_dim_counts() {
    let help = Home::new().ok(&words("train --help"));
    let flat = help.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains("f32 values"), "{help}");
    assert!(flat.contains("ComplEx of rank 100 has dim 200"), "{help}");
    for command in [
        "train",
        "search",
        "eval",
        "predict",
        "neighbors",
        "export",
        "dataset",
        "graph",
        "devices",
        "recipes",
        "bench",
    ] {
        assert!(
            Home::new()
                .ok(&[command, "--help"])
                .contains("Usage: shardloom")
        );
    }
}

#[test]
fn devices_are_listed_as_json() {
    let devices: Value = serde_json::from_str(&Home::new().ok(&words("devices --json"))).unwrap();
    assert!(devices["adapters"].is_array());
    assert!(devices["cpu"].is_object());
    assert!(
        Home::new()
            .ok(&["devices"])
            .lines()
            .any(|line| line.starts_with("cpu"))
    );
}

#[test]
fn graphs_and_recipes_are_listed() {
    let home = Home::new();
    let graphs = home.ok(&words("dataset list"));
    let recipes = home.ok(&["recipes"]);
    for name in [
        "genealogy",
        "umls",
        "kinship",
        "nations",
        "fb15k-237",
        "wn18rr",
    ] {
        assert!(
            graphs.lines().any(|line| line.starts_with(name)),
            "{graphs}"
        );
        assert!(
            recipes.lines().any(|line| line.starts_with(name)),
            "{recipes}"
        );
    }
    // Every recipe prints as a configuration file of keys that there are.
    let keys = home.ok(&words("recipes --keys"));
    let keys: Vec<&str> = keys
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    for line in recipes.lines() {
        let name = line.split_whitespace().next().unwrap();
        let recipe: toml::Table = home.ok(&["recipes", name]).parse().unwrap();
        assert!(
            recipe.contains_key("dataset") && recipe.contains_key("model"),
            "{name}"
        );
        for key in recipe.keys() {
            assert!(keys.contains(&key.as_str()), "{name}: {key}");
        }
    }
    let error = home.fails(&["recipes", "umsl"]);
    assert!(error.contains("`umls`"), "{error}");
}

#[test]
fn a_generated_graph_can_be_looked_at_and_trained_on() {
    let home = Home::new();
    let generate = words("dataset generate genealogy --people 120 --output family");
    home.ok(&generate);
    assert_eq!(home.names("family"), ["test.tsv", "train.tsv", "valid.tsv"]);
    let info: Value = serde_json::from_str(&home.ok(&words("dataset info family --json"))).unwrap();
    assert_eq!(info["entities"], 120);
    home.ok(&words(
        "train --dataset family --device cpu --dim 8 --epochs 1 --output run",
    ));
    let before = home.read("family/train.tsv");
    assert!(home.fails(&generate).contains("exists"));
    assert_eq!(home.read("family/train.tsv"), before);
}

/// Both ends of a pipe whose reader is gone already.
fn broken_pipe() -> (Stdio, Stdio) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    (writer.try_clone().unwrap().into(), writer.into())
}

#[test]
fn readers_may_leave() {
    let home = Home::with_ring();
    home.train("run", "");
    for line in [
        "train --help",
        "devices",
        "devices --json",
        "dataset list",
        "dataset info ring --json",
        "recipes",
        "recipes umls",
        "recipes --keys",
        "eval run --device cpu",
        "eval run --device cpu --json",
        "predict run --device cpu --head e1 --relation next",
        "predict run --device cpu --head e1 --relation next --format tsv",
        "predict run --device cpu --triples ring/train.tsv --format jsonl",
        "eval run --device cpu --positives ring/test.tsv --negatives ring/valid.tsv --json",
        "neighbors run --device cpu --entity e1",
        "export run --device cpu --format npy --output out",
    ] {
        let (stdout, _) = broken_pipe();
        let output = home.command(&words(line)).stdout(stdout).output().unwrap();
        let (_, stderr) = texts(&output);
        assert!(output.status.success(), "{line}: {stderr}");
        assert!(!stderr.contains("panicked"), "{line}: {stderr}");
    }
}

#[test]
fn training_goes_on_when_nobody_reads_its_words() {
    let home = Home::with_ring();
    let (stdout, stderr) = broken_pipe();
    let line = format!("{QUICK} --output run");
    let mut command = home.command(&words(&line));
    let status = command.stdout(stdout).stderr(stderr).status().unwrap();
    assert!(status.success(), "{status}");
    assert!(home.path("run/result.json").exists());
    // Nor does an error need a reader to be one.
    let (stdout, stderr) = broken_pipe();
    let mut command = home.command(&words(&line));
    let status = command.stdout(stdout).stderr(stderr).status().unwrap();
    assert_eq!(status.code(), Some(2));
}

#[test]
fn a_power_law_graph_of_any_size_can_be_written() {
    let home = Home::new();
    let generate = "dataset generate power-law --entities 300 --triples 2000 --relations 4";
    let told = home.ok(&words(&format!("{generate} --output graph")));
    assert!(
        told.contains("300 entities, 4 relations, 2000 train, 100 valid, 100 test"),
        "{told}"
    );
    assert_eq!(home.read("graph/train.tsv").lines().count(), 2000);
    home.ok(&words(&format!("{generate} --output again")));
    assert_eq!(home.read("again/test.tsv"), home.read("graph/test.tsv"));
    home.ok(&words(&format!("{generate} --seed 1 --output other")));
    assert_ne!(home.read("other/test.tsv"), home.read("graph/test.tsv"));
    let info = home.ok(&words("dataset info graph"));
    assert!(info.contains("300 entities, 4 relations"), "{info}");
}
