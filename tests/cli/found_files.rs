//! Files as they are found in the wild: odd headings, quotes left open, what was cut off, and what is
//! no graph.

use serde_json::Value;

use crate::home::{Home, words};

fn info(home: &Home, line: &str) -> Value {
    let text = home.ok(&words(&format!("dataset info {line} --json")));
    serde_json::from_str(&text).unwrap()
}

/// Entities, relations and training facts of a file that is not shared out.
fn counts(home: &Home, file: &str, text: &str, flags: &str) -> [u64; 3] {
    home.write(file, text);
    let told = info(home, &format!("{file} --split 1,0,0 {flags}"));
    let count = |value: &Value| value.as_u64().unwrap();
    [
        count(&told["entities"]),
        count(&told["relations"]),
        count(&told["splits"]["train"]["triples"]),
    ]
}

fn refused(home: &Home, file: &str, text: &str) -> String {
    home.write(file, text);
    home.fails(&words(&format!("dataset info {file} --split 1,0,0")))
}

#[test]
fn headings_of_other_programs_are_left_out() {
    let home = Home::new();
    for (file, text) in [
        ("sif.sif", "source\tmetaedge\ttarget\na\tr\tb\nb\tr\tc\n"),
        (
            "neo.csv",
            ":START_ID(Person),:TYPE,:END_ID(Person),since:int\na,r,b,1\nb,r,c,2\n",
        ),
        (
            "name.csv",
            "head_name,relation_name,tail_name\na,r,b\nb,r,c\n",
        ),
        (
            "camel.csv",
            "Head Entity,relationType,Tail Entity\na,r,b\nb,r,c\n",
        ),
        ("big.tsv", "lhs\trel\trhs\na\tr\tb\nb\tr\tc\n"),
        // The source of a fact is not its head.
        (
            "nell.csv",
            "Entity\tRelation\tValue\tIteration\tSource\na\tr\tb\t1\tx\nb\tr\tc\t2\ty\n",
        ),
    ] {
        assert_eq!(counts(&home, file, text, ""), [3, 1, 2], "{file}");
    }
    // Files that were put together have it again.
    let twice = "head,relation,tail,weight\na,r,b,1\nhead,relation,tail,weight\nb,r,c,2\n";
    assert_eq!(counts(&home, "twice.csv", twice, ""), [3, 1, 2]);
    let quoted = "head,relation,tail\na,r,\"b\"\n\"head\",relation,tail\nb,r,c\n";
    assert_eq!(counts(&home, "quoted.csv", quoted, ""), [3, 1, 2]);
    // What looks like one and is a fact.
    let fact = "e1\tr\te2\ne2\tr\te3\n";
    assert_eq!(counts(&home, "fact.tsv", fact, ""), [3, 1, 2]);
    let told = home.ok(&words("dataset info fact.tsv --split 1,0,0"));
    assert!(told.contains("--heading yes"), "{told}");
    // What nobody can know is told.
    home.write("other.csv", "Kopf,Beziehung,Ziel\na,r,b\nb,r,c\n");
    let told = home.ok(&words("dataset info other.csv --split 1,0,0"));
    assert!(told.contains("--heading yes leaves it out"), "{told}");
    assert_eq!(
        info(&home, "other.csv --split 1,0,0 --heading yes")["entities"],
        3
    );
}

#[test]
fn a_heading_of_the_train_file_orders_the_columns_of_the_others() {
    let home = Home::new();
    home.write("kg/train.csv", "head,tail,relation\na,b,r\nb,c,r\nc,a,r\n");
    home.write("kg/val.csv", "a,c,r\n");
    home.write("kg/test.csv", "b,a,r\n");
    let told = info(&home, "kg");
    assert_eq!(
        (&told["entities"], &told["relations"]),
        (&3.into(), &1.into())
    );
    let notes = told["reading"]["files"][1]["notes"].to_string();
    assert!(notes.contains("train file's heading"), "{notes}");
}

#[test]
fn what_stands_behind_the_facts_is_no_weight_in_silence() {
    let home = Home::new();
    assert_eq!(
        counts(&home, "end.tsv", "a\tr\tb\t\nb\tr\tc\t\n", ""),
        [3, 1, 2]
    );
    let error = refused(&home, "end.csv", "a,r,b,\nb,r,c,x\n");
    assert!(error.contains("end.csv:2: found \"x\""), "{error}");
    home.write("day.tsv", "a\tr\tb\t24\nb\tr\tc\t48\n");
    let told = home.ok(&words("dataset info day.tsv --split 1,0,0"));
    assert!(
        told.contains("taken for weights; --columns 1,2,3"),
        "{told}"
    );
    let some = refused(&home, "some.tsv", "a\tr\tb\nb\tr\tc\t\n");
    assert!(some.contains("\"b\\tr\\tc\\t\""), "{some}");
}

#[test]
fn an_open_quote_is_told_and_what_it_takes_in_is_counted() {
    let home = Home::new();
    let open = "head,relation,tail,note\na,r,b,x\nb,r,c,\"open\nc,r,d,y\nd,r,e,z\n";
    let error = refused(&home, "open.csv", open);
    assert!(
        error.contains("open.csv:3: found a quote that nothing closes"),
        "{error}"
    );
    assert!(error.contains("--quotes no"), "{error}");
    assert_eq!(counts(&home, "open.csv", open, "--quotes no"), [5, 1, 4]);
    let told = info(&home, "open.csv --split 1,0,0 --skip-bad-lines");
    assert_eq!(told["reading"]["files"][0]["bad_lines"], 3);
    let over = "a,r,b\nb,r,\"c\nc,r,d\nd\",r,e\n";
    home.write("over.csv", over);
    let told = info(&home, "over.csv --split 1,0,0 --skip-bad-lines");
    assert_eq!(told["reading"]["files"][0]["bad_lines"], 3);
    // A tab within a file that calls itself comma-separated.
    assert_eq!(counts(&home, "tab.csv", "a,r,b\tx\nb,r,c\n", ""), [4, 1, 2]);
}

#[test]
fn what_was_cut_off_or_is_no_graph_is_refused() {
    let home = Home::new();
    let rdf = "xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\" xmlns:e=\"http://e/\"";
    let fact = "<rdf:Description rdf:about=\"http://e/a\"><e:r rdf:resource=\"http://e/b\"/></rdf:Description>\n";
    let whole = format!("<?xml version=\"1.0\"?>\n<rdf:RDF {rdf}>\n{fact}</rdf:RDF>\n");
    assert_eq!(counts(&home, "a.rdf", &whole, ""), [2, 1, 1]);
    let cut = whole.replace("</rdf:RDF>\n", "");
    let error = refused(&home, "cut.rdf", &cut);
    assert!(
        error.contains("cut.rdf:4: ") && error.contains("</rdf:RDF>"),
        "{error}"
    );
    for (file, text, what) in [
        ("a.tsv", "<!DOCTYPE html>\n<html></html>\n", "web page"),
        ("a.nt", "<html>\n<p>Not found</p></html>\n", "web page"),
        (
            "b.tsv",
            "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
            "Git LFS",
        ),
        (
            "a.graphml",
            "<?xml version=\"1.0\"?><graphml xmlns=\"http://graphml.graphdrawing.org/xmlns\"/>",
            "GraphML",
        ),
        (
            "a.owl",
            "<?xml version=\"1.0\"?>\n<Ontology xmlns=\"http://www.w3.org/2002/07/owl#\"/>",
            "OWL/XML",
        ),
        (
            "b.owl",
            "Prefix(:=<http://e/>)\nOntology(<http://e/>)\n",
            "functional",
        ),
        ("a.xlsx", "PK", "spreadsheet"),
        ("c.json", "{\n \"links\": []\n}\n", "JSON that is neither"),
    ] {
        let error = refused(&home, file, text);
        assert!(
            error.contains(what) && error.contains(".jsonl"),
            "{file}: {error}"
        );
    }
    for file in ["empty.tsv", "empty.ttl"] {
        let error = refused(&home, file, "");
        assert!(
            error.contains(&format!("{file}: found no facts")),
            "{error}"
        );
    }
    let late = format!("{}a\tr\tx\0y\n", "a\tr\tb\n".repeat(100));
    let error = refused(&home, "zero.tsv", &late);
    assert!(error.contains("zero.tsv:101: found a zero byte"), "{error}");
    let remote =
        "{\"@context\": \"https://schema.org/\", \"@id\": \"http://e/a\", \"name\": \"A\"}";
    let error = refused(&home, "remote.jsonld", remote);
    assert!(error.contains("not fetched"), "{error}");
}

#[test]
fn arrays_of_json_and_rules_of_n3_are_read() {
    let home = Home::new();
    let array = "[\n {\"head\": \"a\", \"relation\": \"r\",\n  \"tail\": \"b\"},\n {\"head\": \"b\", \"relation\": \"r\", \"tail\": 3}\n]\n";
    assert_eq!(counts(&home, "a.json", array, ""), [3, 1, 2]);
    assert_eq!(counts(&home, "a.jsonl", array, ""), [3, 1, 2]);
    // Whatever their extension says.
    let lines = "{\"head\":\"a\",\"relation\":\"r\",\"tail\":\"b\"}\n{\"head\":\"b\",\"relation\":\"r\",\"tail\":\"c\"}\n";
    assert_eq!(counts(&home, "lines.txt", lines, ""), [3, 1, 2]);
    let triples =
        "<http://e/a>\t<http://e/r>\t<http://e/b> .\n<http://e/b>\t<http://e/r>\t\"c\" .\n";
    assert_eq!(
        counts(&home, "triples.tsv", triples, "--no-literals"),
        [2, 1, 1]
    );
    let bad = array.replace("\"tail\": 3", "\"tail\": null");
    let error = refused(&home, "bad.json", &bad);
    assert!(
        error.contains("bad.json:4: found null as \"tail\""),
        "{error}"
    );
    let cut = array.trim_end().trim_end_matches(']');
    let error = refused(&home, "cut.json", cut);
    assert!(error.contains("cut.json:5: "), "{error}");
    let rules = "@prefix : <http://e/> .\n:a :r :b .\n{ ?x :r ?y } => { ?y :s ?x } .\n";
    home.write("rules.n3", rules);
    let told = info(&home, "rules.n3 --split 1,0,0");
    assert_eq!(told["reading"]["files"][0]["nested"], 2);
}

#[test]
fn a_folder_without_splits_tells_what_it_has() {
    let home = Home::new();
    home.write("kg/wiki_train.txt", "a\tr\tb\n");
    let error = home.fails(&words("dataset info kg"));
    assert!(
        error.contains("no train file but wiki_train.txt"),
        "{error}"
    );
    // Without an extension, the user may say what a file is.
    home.write("edges", "a r b\nb r c\n");
    let error = home.fails(&words("dataset info edges --split 1,0,0"));
    assert!(error.contains("--separator"), "{error}");
    assert_eq!(
        info(&home, "edges --split 1,0,0 --separator blank")["entities"],
        3
    );
}
