//! Graphs as people have them: files of every kind, and what is told of how they were read.

use serde_json::Value;

use crate::home::{Home, words};

fn info(home: &Home, line: &str) -> Value {
    let text = home.ok(&words(&format!("dataset info {line} --json")));
    serde_json::from_str(&text).unwrap()
}

/// Facts of a ring in Turtle, each with an anonymous node.
fn ontology() -> String {
    let class = |i: usize| {
        format!(
            ":c{i} :above :c{}, [ :on :c{} ] .\n",
            (i + 1) % 20,
            (i + 3) % 20
        )
    };
    let classes: String = (0..20).map(class).collect();
    format!("@prefix : <http://example.org/> .\n{classes}")
}

#[test]
fn anonymous_nodes_are_the_same_at_every_reading() {
    let home = Home::new();
    home.write("onto.ttl", &ontology());
    home.ok(&words(
        "train --dataset onto.ttl --split 0.8,0.1,0.1 --device cpu --dim 8 --epochs 2 --output run",
    ));
    let trained = home.json("run/result.json")["test"]["mrr"]
        .as_f64()
        .unwrap();
    let ranked: Value =
        serde_json::from_str(&home.ok(&words("eval run --device cpu --json"))).unwrap();
    assert_eq!(ranked["metrics"]["mrr"].as_f64(), Some(trained));
    home.ok(&words("train --resume run --device cpu --epochs 3"));
    let entities = home.read("run/entities.txt");
    assert!(
        entities.lines().any(|name| name == "_:anon-0"),
        "{entities}"
    );
}

#[test]
fn a_heading_in_each_file_is_told_and_left_out() {
    let home = Home::new();
    let heading = "head\trelation\ttail\n";
    home.write(
        "kg/train.tsv",
        &format!("{heading}a\tr\tb\nb\tr\tc\nc\tr\ta\n"),
    );
    home.write("kg/valid.tsv", &format!("{heading}a\tr\tc\n"));
    home.write("kg/test.tsv", &format!("{heading}b\tr\ta\n"));
    let counts = info(&home, "kg");
    assert_eq!(
        (&counts["entities"], &counts["relations"]),
        (&3.into(), &1.into())
    );
    assert_eq!(counts["splits"]["train"]["triples"], 3);
    let told = home.ok(&words("dataset info kg"));
    assert_eq!(
        told.matches("its first row is a heading (head, relation, tail)")
            .count(),
        3,
        "{told}"
    );
    // Kept on request, as entities.
    assert_eq!(info(&home, "kg --heading no")["entities"], 5);
}

#[test]
fn the_order_of_columns_belongs_to_the_run() {
    let home = Home::new();
    let fact = |i: usize| format!("e{} e{} r{}\n", i % 9, (i * 5 + 1) % 9, i % 2);
    home.write("facts.txt", &(0..40).map(fact).collect::<String>());
    let wrong = info(&home, "facts.txt --split 0.8,0.1,0.1");
    let notes = wrong["reading"]["notes"].to_string();
    assert!(notes.contains("--columns 1,3,2"), "{notes}");
    let line = "--split 0.8,0.1,0.1 --columns 1,3,2";
    let right = info(&home, &format!("facts.txt {line}"));
    assert_eq!(
        (&right["entities"], &right["relations"]),
        (&9.into(), &2.into())
    );
    home.ok(&words(&format!(
        "train --dataset facts.txt {line} --device cpu --dim 8 --epochs 1 --output run"
    )));
    assert_eq!(home.config("run")["columns"].as_str(), Some("1,3,2"));
    home.ok(&words("eval run --device cpu"));
    let error = home.fails(&words("train --resume run --columns 1,2,3"));
    assert!(error.contains("--columns"), "{error}");
}

#[test]
fn the_files_of_open_ke_are_read_by_number() {
    let home = Home::new();
    let files = [
        (
            "entity2id.txt",
            "4\nAda Lovelace\t0\nCharles\t7\nthe Engine\t2\nnobody\t3\n",
        ),
        ("relation2id.txt", "2\nwrote about\t0\nmet 1\n"),
        ("train2id.txt", "3\n0 7 1\n7 2 0\n2 0 1\n"),
        ("valid2id.txt", "1\n0 2 0\n"),
        ("test2id.txt", "1\n7 0 1\n"),
    ];
    for (name, text) in files {
        home.write(format!("ke/{name}"), text);
    }
    let counts = info(&home, "ke");
    assert_eq!(
        (&counts["entities"], &counts["relations"]),
        (&3.into(), &2.into())
    );
    assert_eq!(counts["reading"]["files"][2]["unused_names"], 1);
    let relations = counts["relation_profiles"].to_string();
    assert!(relations.contains("\"wrote about\""), "{relations}");

    home.write("ke/valid2id.txt", "1\n0 9 0\n");
    let error = home.fails(&words("dataset info ke"));
    assert!(error.contains("valid2id.txt:2: found \"0 9 0\""), "{error}");
    assert!(error.contains("entity2id.txt"), "{error}");
    home.write("ke/valid2id.txt", "2\n0 2 0\n");
    let error = home.fails(&words("dataset info ke"));
    assert!(
        error.contains("valid2id.txt:1: found 2, expected 1"),
        "{error}"
    );
    std::fs::remove_file(home.path("ke/valid2id.txt")).unwrap();
    let error = home.fails(&words("dataset info ke"));
    assert!(error.contains("no valid2id.txt"), "{error}");
}

#[test]
fn a_graph_of_ones_own_wins_over_a_known_name() {
    let home = Home::new();
    home.write("genealogy/train.tsv", "a\tr\tb\nb\tr\tc\nc\tr\ta\n");
    home.write("genealogy/valid.tsv", "a\tr\tc\n");
    home.write("genealogy/test.tsv", "b\tr\ta\n");
    let told = home.ok(&words("dataset info genealogy"));
    assert!(told.starts_with("genealogy: 3 entities"), "{told}");
    assert!(told.contains("read from the working directory"), "{told}");
    home.ok(&words(
        "train --dataset genealogy --device cpu --dim 8 --epochs 1 --output run",
    ));
    // From wherever it is looked at.
    let dataset = home.config("run")["dataset"].as_str().unwrap().to_owned();
    assert!(std::path::Path::new(&dataset).is_absolute(), "{dataset}");
    assert!(home.read("run/entities.txt").starts_with("a\n"));
    // A folder of something else is passed over, and that is told.
    let home = Home::new();
    home.write("genealogy/notes.md", "…");
    let told = home.ok(&words("dataset info genealogy"));
    assert!(told.starts_with("genealogy: 2400 entities"), "{told}");
    assert!(told.contains("passed over"), "{told}");
}

#[test]
fn bad_lines_are_skipped_on_request_and_shown() {
    let home = Home::new();
    let fact = |i: usize| {
        format!(
            "<http://e/{}> <http://e/r> <http://e/{}> .\n",
            i % 7,
            (i + 2) % 7
        )
    };
    let facts: String = (0..30).map(fact).collect();
    home.write(
        "dump.nt",
        &format!("<http://e/a b> <http://e/r> <http://e/c> .\n{facts}"),
    );
    let error = home.fails(&words("dataset info dump.nt --split 0.8,0.1,0.1"));
    assert!(error.contains("dump.nt:1: "), "{error}");
    let told = home.ok(&words(
        "dataset info dump.nt --split 0.8,0.1,0.1 --skip-bad-lines",
    ));
    assert!(told.contains("7 entities, 1 relations"), "{told}");
    assert!(told.contains("1 bad lines left out: line 1: "), "{told}");
}

#[test]
fn files_of_no_known_kind_are_refused_with_the_kinds_that_are() {
    let home = Home::new();
    home.write("facts.pdf", "%PDF-1.7\n");
    home.write("facts", "Some facts, as a story.\n");
    for file in ["facts.pdf", "facts"] {
        let error = home.fails(&words(&format!("dataset info {file} --split 0.8,0.1,0.1")));
        assert!(error.contains(file) && error.contains(".jsonl"), "{error}");
    }
}

#[test]
fn names_with_odd_white_space_are_kept() {
    let home = Home::new();
    let fact = |i: usize| format!("\u{a0}e{}\tr\te\rx{}\u{3000}\n", i % 7, (i + i / 7) % 7);
    home.write("odd.tsv", &(0..30).map(fact).collect::<String>());
    home.ok(&words(
        "train --dataset odd.tsv --split 0.8,0.1,0.1 --set split_cover=false --device cpu --dim 8 --epochs 1 --output run",
    ));
    let entities = home.read("run/entities.txt");
    let names: Vec<&str> = entities.split('\n').collect();
    assert!(
        names.contains(&"\u{a0}e1") && names.contains(&"e\rx3\u{3000}"),
        "{names:?}"
    );
    home.ok(&words("eval run --device cpu"));
}
