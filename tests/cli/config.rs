//! Where a run's configuration comes from.

use crate::home::{Home, words};

#[test]
fn flags_win_over_the_recipe_and_the_recipe_over_the_file() {
    let home = Home::with_ring();
    let recipe: toml::Table = home.ok(&["recipes", "umls"]).parse().unwrap();
    for key in ["dim", "batch_size", "lr"] {
        assert!(recipe.contains_key(key), "{recipe}");
    }
    home.write(
        "my.toml",
        "dim = 10\nbatch_size = 7\nlr = 0.33\nseed = 5\nvalidate_facts = 3\nepochs = 9\n",
    );
    home.ok(&words(
        "train my.toml --recipe umls --dataset ring --device cpu --dim 6 --epochs 1 --output run \
         --set lr=0.25",
    ));
    let config = home.config("run");
    assert_eq!(config["seed"].as_integer(), Some(5), "the file's");
    assert_eq!(config["validate_facts"].as_integer(), Some(3), "the file's");
    assert_eq!(config["batch_size"], recipe["batch_size"], "the recipe's");
    assert_eq!(config["dim"].as_integer(), Some(6), "the flag's");
    assert_eq!(config["lr"].as_float(), Some(0.25), "that of --set");
    assert_eq!(home.metrics("run").len(), 1);
}

#[test]
fn a_recipe_is_taken_unasked_only_for_its_own_graph() {
    let home = Home::with_ring();
    let config = |run: &str, line: &str| {
        home.ok(&words(&format!(
            "train {line} --device cpu --dim 4 --epochs 1 --output {run}"
        )));
        home.config(run)
    };
    let plain = config("plain", "--dataset ring");
    let set = config("set", "--set dataset=ring");
    for key in ["batch_size", "lambda", "regularizer", "dataset"] {
        assert_eq!(plain[key], set[key], "{key}");
    }
    let flag = config("flag", "--model distmult");
    let set = config("both", "--set model=distmult");
    assert_eq!(flag["lambda"], set["lambda"]);
}

#[test]
fn unknown_keys_are_errors_that_suggest_the_nearest() {
    let home = Home::with_ring();
    home.write("my.toml", "dataset = \"ring\"\nbach_size = 7\n");
    let error = home.fails(&words("train my.toml"));
    assert!(
        error.contains("my.toml") && error.contains("`bach_size`"),
        "{error}"
    );
    assert!(error.contains("`batch_size`"), "{error}");
    let error = home.fails(&words("train --set dimm=3"));
    assert!(
        error.contains("`dimm`") && error.contains("`dim`"),
        "{error}"
    );
    let error = home.fails(&words("train --recipe genealogi"));
    assert!(error.contains("`genealogy`"), "{error}");
    home.write("broken.toml", "dim = \n");
    let error = home.fails(&words("train broken.toml"));
    assert!(
        error.contains("broken.toml") && error.contains("line 1"),
        "{error}"
    );
    home.write("typed.toml", "dim = \"wide\"\n");
    let error = home.fails(&words("train typed.toml"));
    assert!(
        error.contains("typed.toml") && error.contains("`dim`"),
        "{error}"
    );
    assert_eq!(
        home.names("."),
        ["broken.toml", "my.toml", "quick.toml", "ring", "typed.toml"]
    );
}

/// docs/configuration.md has what `recipes --keys` prints.
#[test]
fn the_documented_keys_are_those_that_there_are() {
    let keys = Home::new().ok(&words("recipes --keys"));
    let mut expected = Vec::new();
    for line in keys.lines() {
        let (key, about) = line.split_once(' ').unwrap();
        let (meaning, default) = match about.trim().strip_suffix(']') {
            Some(about) => about.rsplit_once(" [default: ").unwrap(),
            None => (about.trim(), ""),
        };
        let default = match default {
            "" => "unset".to_owned(),
            default => format!("`{default}`"),
        };
        expected.push(format!("| `{key}` | {meaning} | {default} |"));
    }
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
    let page = std::fs::read_to_string(page).unwrap();
    let found: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    assert_eq!(found, expected);
}
