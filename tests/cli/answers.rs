//! `predict` with files of queries, files of facts, and candidates.

use serde_json::Value;

use crate::home::{Home, words};

fn trained() -> Home {
    let home = Home::with_ring();
    home.train("run", "--epochs 40");
    home
}

fn predict(home: &Home, more: &str) -> String {
    home.ok(&words(&format!("predict run --device cpu {more}")))
}

/// The fields of a table's lines, without the heading.
fn fields(table: &str) -> Vec<Vec<&str>> {
    table
        .lines()
        .skip(1)
        .map(|line| line.split('\t').collect())
        .collect()
}

fn objects(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

const QUERIES: &str = "head\trelation\ttail\ne5\tnext\t\n\tnext\te6\ne5\t\te6\ne13\tskip\t\n";

#[test]
fn a_file_of_queries_is_answered_like_one_query_after_another() {
    let home = trained();
    home.write("q.tsv", QUERIES);
    let table = predict(&home, "--queries q.tsv --top 3");
    assert!(
        table.starts_with("query\tanswer\thead\trelation\ttail\trank\tscore\tknown\n"),
        "{table}"
    );
    let rows = fields(&table);
    assert_eq!(rows.len(), 12);
    for (number, flags, column) in [
        ("1", "--head e5 --relation next", 4),
        ("2", "--relation next --tail e6", 2),
        ("3", "--head e5 --tail e6", 3),
        ("4", "--head e13 --relation skip", 4),
    ] {
        let alone = predict(&home, &format!("{flags} --top 3"));
        let alone: Vec<(f32, &str)> = (alone.lines())
            .map(|line| line.trim().split_once("  ").unwrap())
            .map(|(score, name)| (score.parse().unwrap(), name))
            .collect();
        let batch: Vec<_> = rows.iter().filter(|row| row[0] == number).collect();
        assert_eq!(batch.len(), 3, "{table}");
        for (place, (row, (score, name))) in batch.iter().zip(alone).enumerate() {
            assert_eq!((row[column], row[5]), (name, &*(place + 1).to_string()));
            let more: f32 = row[6].parse().unwrap();
            assert!((more - score).abs() < 1e-4, "{row:?}");
        }
    }
    let known = |row: &[&str]| row[7].to_owned();
    assert_eq!((rows[0][4], known(&rows[0])), ("e6", "true".into()));
    assert!(rows.iter().any(|row| known(row) == "false"));
    // The same in JSON, and without what is known, held-out facts too.
    let lines = objects(&predict(&home, "--queries q.tsv --top 3 --format jsonl"));
    assert_eq!(lines.len(), 12);
    assert_eq!(lines[0]["answer"], "tail");
    assert_eq!(
        (&lines[0]["tail"], &lines[0]["known"]),
        (&"e6".into(), &true.into())
    );
    for (line, row) in lines.iter().zip(&rows) {
        assert_eq!(
            line["score"].as_f64().unwrap() as f32,
            row[6].parse::<f32>().unwrap()
        );
    }
    let new = predict(&home, "--queries q.tsv --filter-known");
    assert!(fields(&new).iter().all(|row| row[7] == "false"), "{new}");
    assert!(
        !fields(&new)
            .iter()
            .any(|row| row[0] == "4" && row[4] == "e15")
    );
}

#[test]
fn answers_keep_the_order_of_queries_however_many_they_are() {
    let home = trained();
    let four: Vec<&str> = QUERIES.lines().skip(1).collect();
    let many: Vec<&str> = (0..9000).map(|q| four[q % 4]).collect();
    home.write(
        "q.tsv",
        &format!("head\trelation\ttail\n{}\n", many.join("\n")),
    );
    let table = predict(&home, "--queries q.tsv --top 2");
    let rows = fields(&table);
    assert_eq!(rows.len(), 18_000);
    for (place, row) in rows.iter().enumerate() {
        let query = place / 2;
        let first = &rows[query % 4 * 2 + place % 2];
        assert_eq!(row[0], (query + 1).to_string());
        assert_eq!(row[1..6], first[1..6], "query {query}");
    }
}

#[test]
fn one_query_has_a_table_on_request() {
    let home = trained();
    let table = predict(&home, "--head e5 --relation next --top 1 --format tsv");
    assert_eq!(fields(&table)[0][..5], ["1", "tail", "e5", "next", "e6"]);
    let line = predict(&home, "--head e5 --relation next --top 1 --format jsonl");
    assert_eq!(objects(&line)[0]["rank"], 1);
}

#[test]
fn given_triples_are_scored() {
    let home = trained();
    home.write("facts.csv", "e5,next,e6\ne5,next,e40\ne13,skip,e15\n");
    let table = predict(&home, "--triples facts.csv");
    assert!(
        table.starts_with("head\trelation\ttail\tscore\tknown\n"),
        "{table}"
    );
    let rows = fields(&table);
    assert_eq!(rows.len(), 3);
    let scores: Vec<f32> = rows.iter().map(|row| row[3].parse().unwrap()).collect();
    assert!(scores[0] > scores[1], "{table}");
    assert_eq!(
        rows.iter().map(|row| row[4]).collect::<Vec<_>>(),
        ["true", "false", "true"]
    );
    // It is the score that the tail has as an answer.
    let answers = predict(&home, "--head e5 --relation next --top 99 --format jsonl");
    for (fact, score) in rows[..2].iter().zip(&scores) {
        let answer = objects(&answers);
        let answer = answer
            .iter()
            .find(|answer| answer["tail"] == fact[2])
            .unwrap();
        assert!((answer["score"].as_f64().unwrap() as f32 - score).abs() < 1e-4);
    }
}

#[test]
fn a_graph_that_is_gone_changes_no_answer() {
    let home = trained();
    home.write("q.tsv", QUERIES);
    let line = |more: &str| format!("predict run --device cpu --queries q.tsv {more}");
    let answers = |more: &str| home.ok(&words(&line(more)));
    let before = ["", "--filter-known", "--typed"].map(answers);
    std::fs::rename(home.path("ring"), home.path("moved")).unwrap();
    let after = ["", "--filter-known", "--typed"].map(answers);
    assert_eq!(before, after);
    assert!(fields(&before[0]).iter().any(|row| row[7] == "true"));
}

/// A graph of chemicals, which treat or cause diseases, and of genes, which nothing treats.
fn chemistry() -> Home {
    let home = Home::new();
    let mut text = String::new();
    for i in 0..30 {
        text += &format!("c{}\ttreats\td{}\n", i % 10, (i * 7) % 9);
        text += &format!("c{}\tbinds\tg{}\n", i % 10, i % 12);
    }
    home.write("kg/train.tsv", &text);
    home.write("kg/valid.tsv", "c1\ttreats\td3\nc2\tbinds\tg3\n");
    home.write(
        "kg/test.tsv",
        "c4\ttreats\td5\nc5\ttreats\tg1\nc6\tbinds\tg8\n",
    );
    home.ok(&words(
        "train --dataset kg --device cpu --dim 8 --epochs 3 --output run",
    ));
    home
}

#[test]
fn candidates_are_those_listed_or_those_of_the_relation_s_side() {
    let home = chemistry();
    let tails = |more: &str| -> Vec<String> {
        let top = if more.contains("--top") {
            ""
        } else {
            "--top 99"
        };
        let line = format!("--head c1 --relation treats --format jsonl {top} {more}");
        let answers = objects(&predict(&home, &line));
        let names = answers
            .iter()
            .map(|answer| answer["tail"].as_str().unwrap());
        names.map(str::to_owned).collect()
    };
    let all = tails("");
    assert_eq!(all.len(), 31);
    let typed: Vec<_> = all
        .iter()
        .filter(|name| name.starts_with('d'))
        .cloned()
        .collect();
    assert_eq!((tails("--typed"), typed.len()), (typed.clone(), 9));
    home.write("list.txt", "g3\nd4\nc1\nd4\n");
    let listed: Vec<_> = (all.iter())
        .filter(|name| ["g3", "d4", "c1"].contains(&name.as_str()))
        .cloned()
        .collect();
    assert_eq!(tails("--candidates list.txt"), listed);
    assert_eq!(tails("--typed --top 2"), typed[..2]);
    // Between a chemical and a disease, binding is out of the question.
    let relations = predict(&home, "--head c1 --tail d3 --typed --format tsv");
    let relations: Vec<_> = fields(&relations)
        .iter()
        .map(|row| row[3].to_owned())
        .collect();
    assert_eq!(relations, ["treats"]);
    home.write("q.csv", "relation,tail\ntreats,d3\nbinds,g4\n");
    let heads = predict(&home, "--queries q.csv --typed --top 99");
    assert_eq!(fields(&heads).len(), 20);
    assert!(fields(&heads).iter().all(|row| row[2].starts_with('c')));
}

#[test]
fn bad_files_and_flags_are_told_before_anything_is_answered() {
    let home = chemistry();
    home.write("bad.tsv", "c1\ttreats\t\nc1\ttreat\t\n");
    home.write("list.txt", "d1\nd99\n");
    home.write("good.txt", "d1\n");
    home.write("facts.tsv", "c1\ttreats\t\n");
    for (more, expected) in [
        (
            "--queries bad.tsv",
            "bad.tsv:2: found the relation \"treat\"",
        ),
        ("--queries none.tsv", "cannot read none.tsv"),
        (
            "--triples facts.tsv",
            "facts.tsv:1: found names for head and relation alone",
        ),
        (
            "--triples list.xml",
            "list.xml: found a name without a known ending",
        ),
        (
            "--head c1 --relation treats --candidates list.txt",
            "list.txt:2: found the entity \"d99\"",
        ),
        (
            "--head c1 --tail d1 --candidates good.txt",
            "lists entities",
        ),
        ("--queries bad.tsv --format text", "--format text"),
        ("--queries bad.tsv --head c1", "cannot be used with"),
        (
            "--typed --candidates good.txt --head c1 --relation treats",
            "cannot be used with",
        ),
        (
            "--triples facts.tsv --queries bad.tsv",
            "cannot be used with",
        ),
        ("", "exactly two of"),
    ] {
        let error = home.fails(&words(&format!("predict run --device cpu {more}")));
        assert!(error.contains(expected), "{more}: {error}");
    }
}

#[test]
fn names_that_look_like_flags_or_hold_tabs_are_names() {
    let home = Home::new();
    let lines = "-5\tr0\t--x\n--x\tr0\t-)-menthol\n-)-menthol\t-r\t-5\n";
    for split in ["train", "valid", "test"] {
        home.write(format!("kg/{split}.tsv"), lines);
    }
    home.ok(&words(
        "train --dataset kg --device cpu --dim 4 --epochs 1 --output run",
    ));
    let first = predict(&home, "--head -5 --relation r0 --top 3");
    assert_eq!(first.lines().count(), 3);
    assert_eq!(predict(&home, "--head=-5 --relation=r0 --top 3"), first);
    predict(&home, "--tail --x --relation -r");
    predict(&home, "--head -)-menthol --tail -5");
    home.ok(&words("neighbors run --device cpu --entity -5"));
    home.ok(&words("neighbors run --device cpu --entity --x --top 1"));
    let error = home.fails(&words(
        "predict run --device cpu --head -)-menthole --relation r0",
    ));
    assert!(error.contains("did you mean \"-)-menthol\"?"), "{error}");
}

#[test]
fn advice_on_values_with_hyphens_works_when_it_is_followed() {
    let home = Home::with_ring();
    let error = home.fails(&words("train quick.toml --output run --lr -1"));
    assert!(
        error.contains("--flag=-5") && !error.contains("use '--"),
        "{error}"
    );
    let error = home.fails(&words("train quick.toml --output run --lr=-1"));
    assert!(error.contains("`lr`") && error.contains("-1"), "{error}");
    let error = home.fails(&words("train quick.toml --learning-rate 1"));
    assert!(!error.contains("--flag"), "{error}");
}
