//! Held-out facts belong to the run: figures stay what they are, whatever becomes of files.

use std::fs;

use serde_json::Value;

use crate::home::{Home, texts, words};

const TRAIN: &str = "train --device cpu --dim 8 --split 0.8,0.1,0.1";

/// A hundred facts of a ring with chords, in a file.
fn facts() -> String {
    let fact = |i: usize| {
        let name = |steps: usize| format!("e{}", (i + steps) % 50);
        format!(
            "{0}\tnext\t{1}\n{0}\tchord\t{2}\n",
            name(0),
            name(1),
            name(7)
        )
    };
    (0..50).map(fact).collect()
}

/// A home with such a file and a run on it.
fn home() -> Home {
    let home = Home::new();
    home.write("facts.tsv", &facts());
    home.ok(&words(&format!(
        "{TRAIN} --dataset facts.tsv --epochs 3 --output run"
    )));
    home
}

fn eval(home: &Home, more: &str) -> Value {
    let line = format!("eval run --device cpu --json {more}");
    serde_json::from_str(&home.ok(&words(&line))).unwrap()
}

fn mrr(home: &Home, more: &str) -> f64 {
    eval(home, more)["metrics"]["mrr"].as_f64().unwrap()
}

#[test]
fn a_graph_that_changed_changes_no_figure_and_is_not_gone_on_with() {
    let home = home();
    let (test, valid) = (mrr(&home, ""), mrr(&home, "--split valid"));
    let grown = facts() + "e1\tchord\te2\ne2\tchord\te3\nx\tchord\te3\n";
    let fewer: String = facts().lines().skip(1).map(|l| format!("{l}\n")).collect();
    for (text, changes) in [
        (
            grown,
            "train has 3 facts that were not there and lacks 0 that were",
        ),
        (
            fewer,
            " has 0 facts that were not there and lacks 1 that were",
        ),
    ] {
        home.write("facts.tsv", &text);
        assert_eq!((mrr(&home, ""), mrr(&home, "--split valid")), (test, valid));
        let error = home.fails(&words("train --resume run --epochs 4"));
        assert!(
            error.contains("it has changed") && error.contains(changes),
            "{error}"
        );
        assert!(error.contains("digest"), "{error}");
        assert_eq!(home.metrics("run").len(), 3);
    }
    // In another order, and with a blank line, it is the same graph.
    let mut lines: Vec<String> = facts().lines().map(str::to_owned).collect();
    lines.reverse();
    home.write("facts.tsv", &(lines.join("\n") + "\n\n"));
    home.ok(&words("train --resume run --epochs 4"));
}

#[test]
fn what_is_held_out_can_be_read() {
    let home = home();
    let all = facts();
    for split in ["valid", "test"] {
        let text = home.read(format!("run/{split}.tsv"));
        assert_eq!(text.lines().count(), 10, "{text}");
        assert!(
            text.lines()
                .all(|line| all.lines().any(|fact| fact == line))
        );
    }
    let graph = home.json("run/graph.json");
    assert_eq!(graph["digest"]["train"]["facts"], 80);
    assert_eq!(
        graph["digest"]["test"]["digest"].as_str().unwrap().len(),
        32
    );
    // Edited, it is refused by name.
    home.write("run/test.tsv", "e1\tnext\te2\n");
    let error = home.fails(&words("eval run --device cpu"));
    assert!(error.contains("run/test.tsv: found 1 facts"), "{error}");
}

#[test]
fn held_out_files_are_read_back_by_every_command() {
    let home = Home::new();
    // Literals with quotes, commands of TeX, and columns in another order.
    let fact = |i: usize| {
        let name = |i: usize| match i % 3 {
            0 => format!("\"{}\"", i % 50),
            1 => format!("\\\\e{}\\t", i % 50),
            _ => format!("\"\\u{:04x}\"", i % 50 + 64),
        };
        format!(
            "{0}\t{1}\tnext\n{0}\t{2}\tchord\n",
            name(i),
            name(i + 1),
            name(i + 7)
        )
    };
    let all: String = (0..60).map(fact).collect();
    home.write("facts.tsv", &all);
    home.ok(&words(&format!(
        "{TRAIN} --dataset facts.tsv --columns 1,3,2 --epochs 2 --output run"
    )));
    let own = mrr(&home, "");
    for line in home.read("run/test.tsv").lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let found = format!("{}\t{}\t{}", fields[0], fields[2], fields[1]);
        assert!(all.lines().any(|line| line == found), "{line}");
    }
    assert!((mrr(&home, "--dataset run/test.tsv") - own).abs() < 1e-12);
    home.write("copy.tsv", &home.read("run/test.tsv"));
    assert!((mrr(&home, "--dataset copy.tsv --columns 1,2,3") - own).abs() < 1e-12);
    let scored = home.ok(&words("predict run --device cpu --triples run/test.tsv"));
    let count = home.read("run/test.tsv").lines().count();
    assert_eq!(scored.lines().count(), count + 1);
    assert!(scored.lines().skip(1).all(|line| line.ends_with("\ttrue")));
    home.write("scored.tsv", &scored);
    let again = home.ok(&words("predict run --device cpu --triples scored.tsv"));
    assert_eq!(again, scored);
}

#[test]
fn the_split_has_a_seed_of_its_own() {
    let home = home();
    let train = |output: &str, more: &str| {
        let line = format!("{TRAIN} --dataset facts.tsv --epochs 1 --output {output} {more}");
        home.ok(&words(&line));
        home.read(format!("{output}/test.tsv"))
    };
    let test = home.read("run/test.tsv");
    assert_eq!(train("seed", "--seed 5"), test);
    let other = train("split", "--split-seed 5");
    assert_ne!(other, test);
    assert_eq!(train("key", "--set split_seed=5"), other);
    let keys = home.ok(&words("recipes --keys"));
    assert!(
        keys.contains("split_seed") && keys.contains("split_cover"),
        "{keys}"
    );
}

#[test]
fn copies_of_a_fact_stay_on_one_side() {
    let home = Home::new();
    home.write("twice.tsv", &(facts() + &facts()));
    let info = home.ok(&words("dataset info twice.tsv --split 0.8,0.1,0.1 --json"));
    let info: Value = serde_json::from_str(&info).unwrap();
    for split in ["valid", "test"] {
        assert_eq!(info["splits"][split]["triples"], 20);
        assert_eq!(info["splits"][split]["in_train"], 0);
        assert_eq!(info["splits"][split]["in_valid"], 0);
    }
}

#[test]
fn what_is_held_out_is_shown_in_training_unless_told_otherwise() {
    let home = Home::new();
    // Every leaf has one fact; the ring has enough others to hold out.
    let leaf = |i: usize| format!("leaf{i}\tof\te{i}\n");
    home.write(
        "facts.tsv",
        &(facts() + &(0..50).map(leaf).collect::<String>()),
    );
    let info = |more: &str| {
        home.ok(&words(&format!(
            "dataset info facts.tsv --split 0.8,0.1,0.1 {more}"
        )))
    };
    let covered = info("");
    assert!(!covered.contains("unseen in train"), "{covered}");
    assert!(covered.contains("facts moved to train"), "{covered}");
    let plain = info("--split-cover false");
    assert!(plain.contains("unseen in train"), "{plain}");
    let counts = |text: &str| -> Vec<String> {
        let rows = text
            .lines()
            .filter(|l| l.starts_with("valid ") || l.starts_with("test "));
        rows.map(|row| row.split_whitespace().nth(1).unwrap().to_owned())
            .collect()
    };
    assert_eq!(counts(&covered), ["15", "15"]);
    assert_eq!(counts(&plain), ["15", "15"]);
}

#[test]
fn a_run_whose_graph_moved_goes_on() {
    let home = home();
    fs::create_dir(home.path("elsewhere")).unwrap();
    fs::rename(home.path("facts.tsv"), home.path("elsewhere/moved.tsv")).unwrap();
    home.ok(&words(
        "predict run --device cpu --head e1 --relation next --filter-known",
    ));
    mrr(&home, "");
    let output = home.run(&words("train --resume run --epochs 4"));
    let (_, said) = texts(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("is not there any more"), "{said}");
    home.ok(&words(
        "train --resume run --dataset elsewhere/moved.tsv --epochs 5",
    ));
    let config = home.config("run");
    assert!(
        config["dataset"]
            .as_str()
            .unwrap()
            .ends_with("elsewhere/moved.tsv")
    );
    home.ok(&words("train --resume run --epochs 6"));
    // In parts and with the graph elsewhere, it is what it would have been.
    home.write("facts.tsv", &facts());
    home.ok(&words(&format!(
        "{TRAIN} --dataset facts.tsv --output whole --epochs 6"
    )));
    assert!(home.tables("run", 6) == home.tables("whole", 6));
    home.write("other.tsv", "a\tr\tb\nb\tr\tc\n");
    let error = home.fails(&words("train --resume run --dataset other.tsv --epochs 7"));
    assert!(error.contains("other.tsv is not the graph"), "{error}");
    assert!(
        error.contains("3 unknown entities and 1 unknown relations"),
        "{error}"
    );
}

#[test]
fn given_facts_are_ranked_beside_all_that_the_run_knows() {
    let home = home();
    let own = mrr(&home, "");
    let test = home.read("run/test.tsv");
    // As a list, in splits of their own, and in the run's graph.
    home.write("list.tsv", &test);
    for (split, text) in [
        ("train", "e1\tnext\te2\n"),
        ("valid", "e1\tnext\te2\n"),
        ("test", &test),
    ] {
        home.write(format!("new/{split}.tsv"), text);
    }
    assert!((mrr(&home, "--dataset new") - own).abs() < 1e-12);
    let list = eval(&home, "--dataset list.tsv");
    assert_eq!(list["metrics"]["queries"], 20);
    assert!((list["metrics"]["mrr"].as_f64().unwrap() - own).abs() < 1e-12);
    assert!(list["split"].is_null() && list["skipped"].is_null());
    let error = home.fails(&words(
        "eval run --device cpu --dataset list.tsv --split valid",
    ));
    assert!(
        error.contains("list of facts") && error.contains("--split"),
        "{error}"
    );
    // New facts leave each other out, too.
    home.write("fan.tsv", "e1\tnext\te30\ne1\tnext\te31\ne1\tnext\te32\n");
    assert_eq!(eval(&home, "--dataset fan.tsv")["metrics"]["queries"], 6);
}

#[test]
fn facts_with_unknown_names_are_an_error_that_counts_them_or_are_left_out() {
    let home = home();
    let test = home.read("run/test.tsv");
    home.write("list.tsv", &(test + "stranger\tnext\te1\ne1\tlikes\te2\n"));
    let error = home.fails(&words("eval run --device cpu --dataset list.tsv"));
    for part in [
        "2 of its 12 facts",
        "1 unknown entities and 1 unknown relations",
        "\"stranger\"",
        "--skip-unknown",
    ] {
        assert!(error.contains(part), "{error}");
    }
    let some = eval(&home, "--dataset list.tsv --skip-unknown");
    assert_eq!(some["metrics"]["queries"], 20);
    assert_eq!(some["skipped"]["facts"], 2);
    assert!((some["metrics"]["mrr"].as_f64().unwrap() - mrr(&home, "")).abs() < 1e-12);
    home.write("strange.tsv", "stranger\tnext\te1\n");
    let error = home.fails(&words(
        "eval run --device cpu --dataset strange.tsv --skip-unknown",
    ));
    assert!(
        error.contains("1 of its 1 facts have 1 unknown entities")
            && error.ends_with("expected at least one that the run can rank\n"),
        "{error}"
    );
    home.write("nothing.tsv", "\n");
    let error = home.fails(&words("eval run --device cpu --dataset nothing.tsv"));
    assert!(error.contains("nothing.tsv: found no facts"), "{error}");
}

#[test]
fn unknown_names_count_in_the_split_that_is_ranked_alone() {
    let home = home();
    let test = home.read("run/test.tsv");
    for (split, text) in [
        ("train", "stranger\tnext\te1\nguest\tlikes\te1\n"),
        ("valid", "stranger\tnext\te2\n"),
        ("test", &test),
    ] {
        home.write(format!("grown/{split}.tsv"), text);
    }
    // Training facts of strangers are no answers to what is asked of others.
    let all = eval(&home, "--dataset grown");
    assert!(all["skipped"].is_null());
    assert!((all["metrics"]["mrr"].as_f64().unwrap() - mrr(&home, "")).abs() < 1e-12);
    home.write("grown/test.tsv", &(test + "visitor\tnext\te1\n"));
    let error = home.fails(&words("eval run --device cpu --dataset grown"));
    assert!(
        error.contains("1 of its 11 facts have 1 unknown entities and 0 unknown relations")
            && error.contains("\"visitor\""),
        "{error}"
    );
    let some = eval(&home, "--dataset grown --skip-unknown");
    assert_eq!(some["skipped"]["facts"], 1);
    assert_eq!(some["skipped"]["entities"], 1);
    // A split that is not there is named.
    home.write("only/train.tsv", &facts());
    let error = home.fails(&words("eval run --device cpu --dataset only"));
    assert!(
        error.contains("no test facts to rank") && error.contains("--split"),
        "{error}"
    );
}

#[test]
fn a_split_without_facts_says_why() {
    let home = home();
    let star = |i: usize| format!("hub\thas\tleaf{i}\n");
    home.write("star.tsv", &(0..40).map(star).collect::<String>());
    home.write("few.tsv", "a\tr\tb\nb\tr\ta\na\tr\ta\n");
    home.write("only/train.tsv", &facts());
    for (line, parts) in [
        (
            "--dataset star.tsv --split 0.8,0.1,0.1",
            ["of 40 distinct facts, too few", "split_cover=false"],
        ),
        (
            "--dataset few.tsv --split 0.8,0.1,0.1",
            ["0.1 of the 3 distinct facts comes to none", "larger share"],
        ),
        (
            "--dataset facts.tsv --split 0.8,0.1,0.1 --dim 8 --init-from all",
            [
                "0 distinct facts that the run which training starts from does not know",
                "--split 1,0,0",
            ],
        ),
        (
            "--dataset only --split 0.8,0.1,0.1",
            [
                "only holds a train file alone",
                "only/train.tsv as --dataset",
            ],
        ),
    ] {
        if line.contains("all") && !home.path("all").exists() {
            home.ok(&words(
                "train --device cpu --dim 8 --dataset facts.tsv --split 1,0,0 --epochs 1 --output all",
            ));
        }
        let error = home.fails(&words(&format!("train --device cpu --output new {line}")));
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        assert!(!home.path("new").exists());
    }
}

#[test]
fn all_facts_can_be_trained_on_without_a_figure() {
    let home = Home::new();
    home.write("facts.tsv", &facts());
    home.write("only/train.tsv", &facts());
    for (run, dataset) in [("a", "facts.tsv --split 1,0,0"), ("b", "only")] {
        let shown = home.ok(&words(&format!(
            "train --device cpu --dim 8 --epochs 2 --dataset {dataset} --output {run}"
        )));
        assert!(
            shown.contains("100 were trained on, and there is no test figure"),
            "{shown}"
        );
        assert!(!shown.contains("MRR"), "{shown}");
        let result = home.json(format!("{run}/result.json"));
        assert!(result["test"].is_null() && result["valid"].is_null());
        assert!(result["eval"].is_null());
        assert!(
            home.read(format!("{run}/report.html"))
                .contains("none held out")
        );
        let error = home.fails(&words(&format!("eval {run} --device cpu")));
        assert!(error.contains("holds out no test facts"), "{error}");
        home.ok(&words(&format!(
            "eval {run} --device cpu --dataset facts.tsv"
        )));
        home.ok(&words(&format!("train --resume {run} --epochs 3")));
    }
    for (key, reason) in [
        ("patience=2", "2 counts validations"),
        ("schedule=plateau", "plateau waits"),
    ] {
        let error = home.fails(&words(&format!(
            "train --device cpu --dataset only --output c --set {key}"
        )));
        assert!(
            error.contains(reason) && error.contains("no valid facts"),
            "{error}"
        );
        assert!(!home.path("c").exists());
    }
    home.write(
        "space.toml",
        "dataset = 'only'\ndevice = 'cpu'\n[search]\ndim = { choice = [4, 8] }\n",
    );
    let error = home.fails(&words("search space.toml --trials 2 --output found"));
    assert!(error.contains("only has no valid facts"), "{error}");
    assert!(!home.path("found").exists());
    // A share of a split that gets no fact is still an error.
    home.write("few.tsv", "a\tr\tb\nb\tr\tc\n");
    let error = home.fails(&words("dataset info few.tsv --split 0.8,0.1,0.1"));
    assert!(error.contains("the valid split has no triples"), "{error}");
    let error = home.fails(&words("dataset info few.tsv --split 0,0.5,0.5"));
    assert!(error.contains("the first above 0"), "{error}");
}

#[test]
fn early_stopping_is_told() {
    let home = Home::with_ring();
    let line = "train quick.toml --epochs 60 --lr 0.5 --set optimizer=adam --set validate_every=1 \
                --set patience=2 --output run";
    let shown = home.ok(&words(line));
    let result = home.json("run/result.json");
    let stopped = &result["stopped"];
    let epoch = home.metrics("run").len();
    assert_eq!(
        (stopped["reason"].as_str(), stopped["epoch"].as_u64()),
        (Some("patience"), Some(epoch as u64))
    );
    assert_eq!(
        (&stopped["epochs"], &stopped["validations"]),
        (&60.into(), &2.into())
    );
    assert_eq!(stopped["best_epoch"], result["train"]["best_epoch"]);
    let told =
        format!("stopped early, after epoch {epoch} of 60: 2 validations in a row (patience)");
    assert!(shown.contains(&told), "{shown}");
    assert!(home.read("run/report.html").contains(&told));
    home.train("whole", "");
    assert!(home.json("whole/result.json")["stopped"].is_null());
}

#[test]
fn a_run_without_a_checkpoint_stands_in_nobodys_way() {
    let home = home();
    let diverge = format!(
        "{TRAIN} --dataset facts.tsv --set optimizer=sgd --set init_scale=1 --epochs 3 --lr 1e6 --output bad"
    );
    let error = home.fails(&words(&diverge));
    assert!(
        error.contains("the same --output can be used again"),
        "{error}"
    );
    home.write("bad/.metrics.jsonl.torn.partial", "{");
    home.write("bad/notes.txt", "mine");
    let error = home.fails(&words(&diverge));
    assert!(
        error.contains("bad is not empty") && !error.contains("--resume"),
        "{error}"
    );
    assert_eq!(home.read("bad/notes.txt"), "mine");
    fs::remove_file(home.path("bad/notes.txt")).unwrap();
    let line =
        format!("{TRAIN} --dataset facts.tsv --set optimizer=sgd --epochs 3 --lr 0.1 --output bad");
    home.ok(&words(&line));
    // Now there is something to go on with.
    let error = home.fails(&words(&line));
    assert!(error.contains("--resume bad"), "{error}");
    home.ok(&words("train --resume bad --epochs 4"));
}

#[test]
fn a_search_goes_on_with_its_own_graph_only() {
    let home = Home::with_ring();
    home.write(
        "space.toml",
        "dataset = 'ring'\ndevice = 'cpu'\nepochs = 2\nbatch_size = 50\n[search]\ndim = { choice = [4, 8] }\n",
    );
    home.ok(&words("search space.toml --trials 2 --output found"));
    let text = home.read("ring/train.tsv");
    let mut lines: Vec<&str> = text.lines().collect();
    lines.reverse();
    home.write("ring/train.tsv", &lines.join("\n"));
    home.ok(&words("search space.toml --trials 3 --output found"));
    home.write("ring/train.tsv", &(text.clone() + "e1\tskip\te9\n"));
    for line in [
        "search space.toml --trials 4 --output found",
        "search --resume found",
    ] {
        let error = home.fails(&words(line));
        assert!(error.contains("it has changed"), "{error}");
        assert!(
            error.contains("train 168 facts") && error.contains("train 169 facts"),
            "{error}"
        );
    }
    // Moved, it can be gone on with, by the command that the error shows.
    home.write("ring/train.tsv", &lines.join("\n"));
    std::fs::rename(home.path("ring"), home.path("circle")).unwrap();
    for line in [
        "search space.toml --trials 4 --output found",
        "search --resume found",
    ] {
        let error = home.fails(&words(line));
        assert!(
            error.contains("is not there any more")
                && error.contains(
                    "shardloom search found/space.toml --output found --set dataset=PATH"
                ),
            "{error}"
        );
    }
    home.write("circle/extra/train.tsv", "a\tr\tb\n");
    home.write("circle/extra/valid.tsv", "a\tr\tb\n");
    home.write("circle/extra/test.tsv", "a\tr\tb\n");
    let line = "search found/space.toml --output found --trials 4 --set dataset=";
    let error = home.fails(&words(&format!("{line}circle/extra")));
    assert!(error.contains("it has changed"), "{error}");
    home.ok(&words(&format!("{line}circle")));
    home.ok(&words("search --resume found"));
    assert_eq!(home.names("found/trials").len(), 4);
}
