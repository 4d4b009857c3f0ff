//! `eval` beyond means: the rank of every fact, rankings among some entities, two classes.

use serde_json::Value;

use crate::home::{Home, words};

fn eval(home: &Home, more: &str) -> Value {
    let line = format!("eval run --device cpu --json {more}");
    serde_json::from_str(&home.ok(&words(&line))).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

#[test]
fn the_ranks_of_all_facts_are_those_of_the_metrics() {
    let home = Home::with_ring();
    home.train("run", "--epochs 5");
    let metrics = &eval(&home, "--ranks ranks.tsv")["metrics"];
    let text = home.read("ranks.tsv");
    assert!(
        text.starts_with("head\trelation\ttail\tside\trank\tcandidates\n"),
        "{text}"
    );
    let rows: Vec<Vec<&str>> = (text.lines().skip(1))
        .map(|line| line.split('\t').collect())
        .collect();
    assert_eq!(rows.len(), 12);
    // Every fact of the split, in its order, for the tail and for the head.
    let facts: Vec<String> = (rows.chunks(2))
        .map(|sides| {
            assert_eq!((sides[0][3], sides[1][3]), ("tail", "head"));
            assert_eq!(sides[0][..3], sides[1][..3]);
            sides[0][..3].join("\t")
        })
        .collect();
    let mut expected: Vec<String> = home
        .read("ring/test.tsv")
        .lines()
        .map(str::to_owned)
        .collect();
    expected.sort();
    let mut sorted = facts.clone();
    sorted.sort();
    assert_eq!(sorted, expected);
    let ranks: Vec<f64> = rows.iter().map(|row| row[4].parse().unwrap()).collect();
    let mrr = ranks.iter().map(|rank| 1.0 / rank).sum::<f64>() / 12.0;
    let mean = ranks.iter().sum::<f64>() / 12.0;
    assert!((number(&metrics["mrr"]) - mrr).abs() < 1e-12);
    assert!((number(&metrics["mean_rank"]) - mean).abs() < 1e-12);
    // (2·rank − 1 − candidates) over (candidates − 1), up to its sign.
    let candidates: Vec<f64> = rows.iter().map(|row| row[5].parse().unwrap()).collect();
    let expected: f64 = candidates.iter().map(|count| (count - 1.0) / 2.0).sum();
    let amri = 1.0 - (ranks.iter().sum::<f64>() - 12.0) / expected;
    assert!((number(&metrics["amri"]) - amri).abs() < 1e-12);

    eval(&home, "--ranks ranks.jsonl");
    for (line, row) in home.read("ranks.jsonl").lines().zip(&rows) {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            (line["head"].as_str(), line["side"].as_str()),
            (Some(row[0]), Some(row[3]))
        );
        assert_eq!(number(&line["rank"]), row[4].parse::<f64>().unwrap());
    }
    // A file that cannot be is told before ranking; one that is there gives way.
    for (file, expected) in [
        ("ranks.parquet", ".tsv nor in .jsonl"),
        ("no/such/ranks.tsv", "no/such/ranks.tsv"),
    ] {
        let error = home.fails(&words(&format!("eval run --device cpu --ranks {file}")));
        assert!(error.contains(expected), "{error}");
    }
    eval(&home, "--ranks ranks.tsv --split valid");
    assert_eq!(home.read("ranks.tsv").lines().count(), 13);
    assert!(home.names(".").iter().all(|name| !name.contains("partial")));
}

#[test]
fn rankings_among_some_entities_stand_beside_those_among_all() {
    let home = Home::with_ring();
    home.train("run", "--epochs 5");
    let plain = eval(&home, "");
    // All entities are a list of candidates, too.
    home.write("all.txt", &home.read("run/entities.txt"));
    let all = eval(&home, "--candidates all.txt");
    assert_eq!(all["metrics"]["mrr"], plain["metrics"]["mrr"]);
    assert_eq!(all["candidates"]["answers_outside"], 0);
    for key in ["mrr", "amri", "mean_rank", "hits_at_1"] {
        assert_eq!(
            all["candidates"]["metrics"][key], plain["metrics"][key],
            "{key}"
        );
    }
    assert_eq!(
        all["candidates"]["metrics"]["relations"][0]["triples"],
        plain["metrics"]["relations"][0]["triples"]
    );

    // Of these, only what is listed is ranked.
    let test = home.read("ring/test.tsv");
    let fact: Vec<&str> = test.lines().next().unwrap().split('\t').collect();
    let some = [fact[0], fact[2], "e40"];
    home.write("some.txt", &some.join("\n"));
    let listed = |name: &str| some.contains(&name);
    let found = eval(&home, "--candidates some.txt --ranks ranks.tsv");
    assert_eq!(found["metrics"]["mrr"], plain["metrics"]["mrr"]);
    let ranks = home.read("ranks.tsv");
    let heading = "\trestricted_rank\trestricted_candidates";
    assert!(ranks.lines().next().unwrap().ends_with(heading), "{ranks}");
    let mut ranked = 0;
    for line in ranks.lines().skip(1) {
        let row: Vec<&str> = line.split('\t').collect();
        let answer = if row[3] == "head" { row[0] } else { row[2] };
        assert_eq!(row[6].is_empty(), !listed(answer), "{line}");
        if listed(answer) {
            ranked += 1;
            let [rank, of]: [f64; 2] = [row[6], row[7]].map(|field| field.parse().unwrap());
            assert!(
                rank <= of && of <= 3.0 && rank <= row[4].parse().unwrap(),
                "{line}"
            );
        }
    }
    assert!(ranked > 0);
    assert_eq!(found["candidates"]["metrics"]["queries"], ranked);
    assert_eq!(found["candidates"]["answers_outside"], 12 - ranked);

    // Every node of the ring is a head and a tail of `next` in training.
    let typed = eval(&home, "--typed");
    assert_eq!(typed["metrics"]["mrr"], plain["metrics"]["mrr"]);
    assert_eq!(typed["typed"]["metrics"]["queries"], 12);
    assert!(number(&typed["typed"]["metrics"]["mrr"]) >= number(&plain["metrics"]["mrr"]));
    let table = home.ok(&words("eval run --device cpu --typed"));
    assert_eq!(table.matches("MRR").count(), 2, "{table}");
    let error = home.fails(&words("eval run --device cpu --typed --candidates all.txt"));
    assert!(error.contains("cannot be used with"), "{error}");
}

#[test]
fn an_answer_that_training_does_not_show_there_is_a_candidate_all_the_same() {
    let home = Home::new();
    let mut train = String::new();
    for i in 0..20 {
        train += &format!("c{i}\ttreats\td{}\nc{i}\tbinds\tg{}\n", i % 5, i % 7);
    }
    home.write("kg/train.tsv", &train);
    home.write("kg/valid.tsv", "c1\ttreats\td2\n");
    home.write("kg/test.tsv", "c3\ttreats\td4\nc4\ttreats\tg6\n");
    home.ok(&words(
        "train --dataset kg --device cpu --dim 4 --epochs 1 --output run",
    ));
    let typed = eval(&home, "--typed --ranks ranks.jsonl");
    assert_eq!(typed["typed"]["answers_outside"], 1);
    let rows: Vec<Value> = (home.read("ranks.jsonl").lines())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    // Of five diseases, d3 is known of c3, and d4 of c4, which g6 joins.
    let of = |fact: usize| rows[2 * fact]["restricted_candidates"].as_u64();
    let mut found = [of(0), of(1)];
    found.sort();
    assert_eq!(found, [Some(4), Some(5)]);
}

#[test]
fn two_classes_are_told_apart() {
    let home = Home::with_ring();
    home.train("run", "--epochs 60");
    home.write("true.tsv", &home.read("ring/test.tsv"));
    let text = home.read("ring/test.tsv");
    let wrong: Vec<String> = (text.lines().enumerate())
        .map(|(i, line)| {
            let fields: Vec<&str> = line.split('\t').collect();
            format!("{},{},e{}", fields[0], fields[1], (7 * i + 31) % 60)
        })
        .collect();
    home.write("false.csv", &wrong.join("\n"));
    let found = eval(&home, "--positives true.tsv --negatives false.csv");
    assert_eq!(found["valid_negatives"], "drawn");
    let found = &found["two_class"];
    assert_eq!(
        (&found["positives"], &found["negatives"]),
        (&6.into(), &6.into())
    );
    assert!(number(&found["auc_roc"]) > 0.5, "{found}");
    assert_eq!(found["valid_samples"], 12);
    assert!(found["relations"][0]["threshold"].is_f64(), "{found}");

    // The same by hand, from the scores that `predict` gives.
    let scores = |file: &str| -> Vec<f64> {
        let line = format!("predict run --device cpu --triples {file} --format jsonl");
        let lines = home.ok(&words(&line));
        let values = lines
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        values.map(|value| number(&value["score"])).collect()
    };
    let (good, bad) = (scores("true.tsv"), scores("false.csv"));
    let pairs = good.iter().flat_map(|a| bad.iter().map(move |b| (a, b)));
    let won: f64 = pairs
        .map(|(a, b)| f64::from(u8::from(a > b)) + f64::from(u8::from(a == b)) / 2.0)
        .sum();
    assert!((number(&found["auc_roc"]) - won / 36.0).abs() < 1e-12);
    let least = number(&found["relations"][0]["threshold"]);
    let right = good.iter().filter(|&&score| score >= least).count()
        + bad.iter().filter(|&&score| score < least).count();
    assert!((number(&found["accuracy"]) - right as f64 / 12.0).abs() < 1e-12);

    let given = eval(
        &home,
        "--positives true.tsv --negatives false.csv --valid-negatives false.csv",
    );
    assert_eq!(given["valid_negatives"], "given");
    let table = home.ok(&words(
        "eval run --device cpu --positives true.tsv --negatives false.csv",
    ));
    assert!(
        table.contains("AUC-ROC") && table.contains("skip"),
        "{table}"
    );
    for (more, expected) in [
        ("--positives true.tsv", "--negatives"),
        ("--negatives false.csv", "--positives"),
        (
            "--positives true.tsv --negatives false.csv --typed",
            "cannot be used with",
        ),
        (
            "--positives true.tsv --negatives none.tsv",
            "cannot read none.tsv",
        ),
    ] {
        let error = home.fails(&words(&format!("eval run --device cpu {more}")));
        assert!(error.contains(expected), "{more}: {error}");
    }
}

#[test]
fn facts_of_some_relations_can_be_ranked_alone() {
    let home = Home::with_ring();
    home.train("run", "--epochs 5");
    let all = eval(&home, "--split train");
    let group = |found: &Value, name: &str| -> Value {
        let groups = found["metrics"]["relations"].as_array().unwrap();
        groups
            .iter()
            .find(|group| group["name"] == name)
            .unwrap()
            .clone()
    };
    let next = eval(&home, "--split train --relation next");
    assert_eq!(group(&next, "next"), group(&all, "next"));
    assert_eq!(next["metrics"]["relations"].as_array().unwrap().len(), 1);
    assert_eq!(next["metrics"]["mrr"], group(&all, "next")["mrr"]);
    let two = eval(&home, "--split train --relation next --relation skip");
    assert_eq!(two["metrics"]["relations"].as_array().unwrap().len(), 2);
    let error = home.fails(&words("eval run --device cpu --relation nxt"));
    assert!(
        error.contains("\"nxt\"") && error.contains("\"next\""),
        "{error}"
    );
    // No test fact has this one.
    let error = home.fails(&words("eval run --device cpu --relation previous"));
    assert!(error.contains("no fact to rank of previous"), "{error}");
}
