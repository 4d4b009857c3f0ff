//! Every format from a small text, and the errors of malformed texts.

use oxrdfio::RdfFormat;
use proptest::prelude::*;

use super::*;
use crate::dataset::reading::FileReading;
use crate::dataset::{BlankNodes, Heading, Quotes, ReadOptions, Separator, Split, Vocabulary};

/// Facts by name, weights, and the report on reading.
pub(super) type Read = (Vec<[String; 3]>, Vec<f32>, FileReading);

pub(super) fn job<'a>(name: &'a str, options: &'a ReadOptions) -> Job<'a> {
    Job {
        label: name,
        name,
        split: None,
        order: None,
        options,
    }
}

/// Reads a file with the name of the job.
fn read_as(job: &Job, bytes: &[u8]) -> Result<Read, Fault> {
    let (mut entities, mut relations) = (Vocabulary::new(), Vocabulary::new());
    let skip = job.options.skip_bad_lines;
    let mut sink = Sink::new(job.label, &mut entities, &mut relations, skip);
    read(job, Box::new(bytes), &mut sink)?;
    let Sink {
        triples,
        weights,
        report,
        ..
    } = sink;
    let named = triples.iter().map(|t| {
        let (head, tail) = (entities.name(t.head), entities.name(t.tail));
        [head, relations.name(t.relation), tail].map(str::to_owned)
    });
    Ok((named.collect(), weights, report))
}

pub(super) fn facts(name: &str, bytes: &[u8], options: &ReadOptions) -> Read {
    match read_as(&job(name, options), bytes) {
        Ok(read) => read,
        Err(fault) => panic!("{fault:?}"),
    }
}

fn plain(name: &str, text: &str) -> Vec<[String; 3]> {
    facts(name, text.as_bytes(), &ReadOptions::default()).0
}

pub(super) fn message_with(name: &str, bytes: &[u8], options: &ReadOptions) -> String {
    match read_as(&job(name, options), bytes) {
        Err(Fault::Parse(error)) => error.to_string(),
        Err(Fault::Source(error)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

fn message(name: &str, text: impl AsRef<[u8]>) -> String {
    message_with(name, text.as_ref(), &ReadOptions::default())
}

fn owned(triples: &[[&str; 3]]) -> Vec<[String; 3]> {
    triples.iter().map(|t| t.map(str::to_owned)).collect()
}

#[test]
fn tolerates_marks_blank_lines_and_line_endings() {
    let expected = owned(&[["a b", "r", "c,d"], ["e", "r", "f"]]);
    let text = "\u{feff}\r\n\na b\tr\tc,d\r\n   \ne\t r \tf";
    assert_eq!(plain("f.tsv", text), expected);
    assert_eq!(plain("f.tsv", ""), owned(&[]));
}

#[test]
fn every_separator_is_told_by_the_first_line() {
    let expected = owned(&[["a", "r", "b c"], ["d", "r", "e;f"]]);
    assert_eq!(plain("f.csv", "a, r,b c\nd,r,e;f\n"), expected);
    let expected = owned(&[["a", "r", "b, c"], ["d", "r", "e"]]);
    assert_eq!(plain("f.csv", "a;r;b, c\nd;r;e\n"), expected);
    assert_eq!(plain("f.tsv", "a\tr\tb, c\nd\tr\te\n"), expected);
    let blanks = owned(&[["a", "r", "b"], ["d", "r", "e"]]);
    assert_eq!(plain("f.txt", "a r b\nd  r\te \n"), blanks);
    let options = ReadOptions {
        separator: Separator::Comma,
        ..ReadOptions::default()
    };
    let tabs = owned(&[["a\tb", "r", "c"]]);
    assert_eq!(facts("f.tsv", b"a\tb,r,c\n", &options).0, tabs);
}

#[test]
fn white_space_that_is_no_blank_is_part_of_a_name() {
    let text = "\u{a0}a\tr\t\u{3000}b\u{a0}\n c\rd \tr\te\r\r\n";
    let expected = owned(&[["\u{a0}a", "r", "\u{3000}b\u{a0}"], ["c\rd", "r", "e\r"]]);
    assert_eq!(plain("f.tsv", text), expected);
}

#[test]
fn fields_may_be_quoted_where_commas_separate_them() {
    let text = "a,r,b\n\"2,4-D\",is,\"herb \"\"killer\"\"\"\r\n5\" disk,fits,a\n\nc,r,\"d\"\n";
    let expected = [
        ["a", "r", "b"],
        ["2,4-D", "is", "herb \"killer\""],
        ["5\" disk", "fits", "a"],
        ["c", "r", "d"],
    ];
    assert_eq!(plain("f.csv", text), owned(&expected));
    // Literals of N-Triples are kept unchanged in tab-separated files.
    let literal = "a\tr\t\"b\"@en\n";
    assert_eq!(plain("f.tsv", literal), owned(&[["a", "r", "\"b\"@en"]]));
    // Unless all fields are in quotes, as R writes them.
    let all = "\"a\"\t\"r\"\t\"b \"\"c\"\"\"\n";
    assert_eq!(plain("f.tsv", all), owned(&[["a", "r", "b \"c\""]]));
    let options = ReadOptions {
        quotes: Quotes::No,
        ..ReadOptions::default()
    };
    let kept = owned(&[["\"a\"", "r", "b"]]);
    assert_eq!(facts("f.csv", b"\"a\",r,b\n", &options).0, kept);
    let broken = message("f.csv", "a,r,b\n\"c\nd\",r,e\n");
    assert!(
        broken.starts_with("f.csv:2: found a name with a line break"),
        "{broken}"
    );
    let open = message("f.csv", "a,r,b\nc,r,d\n\"c,r,e\nf,r,g\n");
    assert!(
        open.starts_with("f.csv:3: found a quote that nothing closes in \"\\\"c,r,e"),
        "{open}"
    );
    assert!(open.contains("--quotes no"), "{open}");
}

#[test]
fn a_heading_is_left_out_and_orders_the_columns() {
    for text in [
        "head,relation,tail\na,r,b\n",
        "h,t,r\na,b,r\n",
        "\nid,subject,predicate,object,category\n1,a,r,b,x\n",
        "\"subject_id\",\"predicate_id\",\"object_id\"\n\"a\",\"r\",\"b\"\n",
    ] {
        let (facts, _, report) = facts("f.csv", text.as_bytes(), &ReadOptions::default());
        assert_eq!(facts, owned(&[["a", "r", "b"]]), "{text}");
        assert!(report.heading.is_some());
        assert!(report.sentences()[0].contains("its first row is a heading"));
    }
    let (_, weights, _) = facts(
        "f.tsv",
        b"weight\tsource\ttype\ttarget\n2\ta\tr\tb\n",
        &ReadOptions::default(),
    );
    assert_eq!(weights, [2.0]);
    let kept = ReadOptions {
        heading: Heading::No,
        ..ReadOptions::default()
    };
    assert_eq!(facts("f.csv", b"h,r,t\na,r,b\n", &kept).0.len(), 2);
    let gone = ReadOptions {
        heading: Heading::Yes,
        ..ReadOptions::default()
    };
    assert_eq!(
        facts("f.csv", b"gene,how,gene 2\na,r,b\n", &gone).0.len(),
        1
    );
}

#[test]
fn columns_are_chosen_by_name_and_by_number() {
    let with = |columns: &str| ReadOptions {
        columns: Some(columns.parse().unwrap()),
        ..ReadOptions::default()
    };
    let expected = owned(&[["a", "r", "b"]]);
    assert_eq!(facts("f.txt", b"a b r\n", &with("1,3,2")).0, expected);
    let text = b"gene,disease,how,p\na,b,r,0.5\n";
    let (found, weights, _) = facts("f.csv", text, &with("gene,how,disease,p"));
    assert_eq!((found, weights), (expected.clone(), vec![0.5]));
    // A heading is recognised however the columns are chosen.
    let text = b"head\ttail\trelation\na\tb\tr\n";
    assert_eq!(facts("f.tsv", text, &with("1,3,2")).0, expected);
    // The other columns may hold anything.
    let text = b"a\tr\tb\t2014-01-02\tx\n";
    assert_eq!(facts("f.tsv", text, &with("1,2,3")).0, expected);
    let error = message_with("f.csv", b"a,r,b\n", &with("gene,how,disease"));
    assert_eq!(
        error,
        "f.csv:1: found the columns a, r, b, expected one called \"gene\", as --columns asks for"
    );
    let error = message_with("f.csv", b"a,r,b\n", &with("1,2,5"));
    assert!(error.contains("expected at least 5 of them"), "{error}");
    let error = message_with("f.csv", b"a,r,b,c\nd,r,e\n", &with("1,2,3"));
    assert!(error.contains("f.csv:2: found 3 fields"), "{error}");
    assert!(
        error.contains("expected 4 fields, separated by commas"),
        "{error}"
    );
}

#[test]
fn says_where_and_what() {
    assert_eq!(
        message("f.tsv", "a\tr\tb\n\na\tb\n"),
        r#"f.tsv:3: found 2 fields in "a\tb", expected head, relation and tail, separated by tabs"#
    );
    assert_eq!(
        message("f.tsv", "a\n"),
        r#"f.tsv:1: found 1 field in "a", expected head, relation and tail, separated by tabs, commas, semicolons or blanks"#
    );
    let five = message("f.csv", "a,r,b,c,d");
    assert!(five.contains("f.csv:1: found 5 fields"), "{five}");
    assert!(five.contains("--columns 1,2,3"), "{five}");
    let empty = message("f.tsv", "a\tr\tb\na\t\tb\n");
    assert!(empty.contains("f.tsv:2: found an empty field"), "{empty}");
    assert!(message("f.tsv", b"a\tr\tb\n\xff\tr\tb").starts_with("f.tsv:2: "));
    let long = format!("{}\n", "é".repeat(1000));
    assert!(message("f.tsv", long).len() < 300);
}

#[test]
fn comments_are_left_out_on_request() {
    let text = "# made by\na\tr\tb\n#c\tr\td\n";
    let error = message("f.tsv", text);
    assert!(
        error.contains("f.tsv:1:") && error.contains("--comments"),
        "{error}"
    );
    let options = ReadOptions {
        comments: true,
        ..ReadOptions::default()
    };
    let expected = owned(&[["a", "r", "b"]]);
    assert_eq!(facts("f.tsv", text.as_bytes(), &options).0, expected);
    let quoted = "# it's, \"odd\na,r,\"b\"\n#c,r,d\n";
    assert_eq!(facts("f.csv", quoted.as_bytes(), &options).0, expected);
}

/// Several blocks, which threads read in parallel, then a quote.
#[test]
fn long_files_are_read_in_order_and_lines_are_numbered_throughout() {
    let expected: Vec<[String; 3]> = (0..80_000)
        .map(|i| {
            [
                format!("e{i}"),
                format!("r{}", i % 7),
                format!("e{}", i * 7 % 1000),
            ]
        })
        .collect();
    let csv: String = expected.iter().map(|fact| fact.join(",") + "\n").collect();
    assert!(csv.len() > 1 << 20);
    assert_eq!(plain("f.csv", &csv), expected);
    let quoted = format!("{csv}\"a, b\",r,c\n");
    let found = plain("f.csv", &quoted);
    assert_eq!(found[..80_000], expected);
    assert_eq!(found[80_000..], owned(&[["a, b", "r", "c"]]));
    for bad in ["x,y\n", "\"x\",y\n"] {
        let error = message("f.csv", format!("{csv}{bad}"));
        assert!(error.starts_with("f.csv:80001: found 2 fields"), "{error}");
    }
    let iri = |name: &String| format!("<http://e/{name}>");
    let line = |[h, r, t]: &[String; 3]| format!("{} {} {} .\n", iri(h), iri(r), iri(t));
    let lines: String = expected.iter().map(line).collect();
    let bare = |name: String| name.trim_start_matches("http://e/").to_owned();
    let found: Vec<_> = plain("f.nt", &lines)
        .into_iter()
        .map(|fact| fact.map(bare))
        .collect();
    assert_eq!(found, expected);
    let error = message("f.nt", format!("{lines}x\n"));
    assert!(error.starts_with("f.nt:80001: "), "{error}");
}

fn weights(text: &str) -> Vec<f32> {
    facts("f.tsv", text.as_bytes(), &ReadOptions::default()).1
}

#[test]
fn reads_weights() {
    let tabs = "a\tr\tb\t2.5\nb\tr\tc\t 0 \r\n\nc\tr\ta\t1e-3\n";
    assert_eq!(weights(tabs), [2.5, 0.0, 1e-3]);
    let zero = weights("a,r,b,-0")[0];
    assert!(zero == 0.0 && zero.is_sign_positive());
    assert!(weights("a,r,b\nb,r,c").is_empty());
}

#[test]
fn weights_are_finite_not_negative_and_in_all_lines_or_none() {
    for bad in ["NaN", "-1", "inf", "1e39", "soon", "2014-01-02", ""] {
        assert_eq!(
            message("f.tsv", format!("a\tr\tb\t1\na\tr\tb\t{bad}\n")),
            format!(
                "f.tsv:2: found {bad:?} as the fourth field of {:?}, expected a weight: a finite \
                 number, 0 or more; --columns 1,2,3 leaves that column out",
                format!("a\tr\tb\t{bad}")
            )
        );
    }
    assert_eq!(
        message("f.tsv", "a\tr\tb\t1\n\nb\tr\tc\n"),
        "f.tsv:3: found 3 fields in \"b\\tr\\tc\", expected head, relation, tail and weight, \
         separated by tabs, as in the first line"
    );
    assert_eq!(
        message("f.csv", "a,r,b\nb,r,c,2\n"),
        "f.csv:2: found 4 fields in \"b,r,c,2\", expected head, relation and tail alone, as in the \
         first line: weights stand in all lines or none"
    );
}

#[test]
fn bad_lines_are_skipped_and_counted_on_request() {
    let options = ReadOptions {
        skip_bad_lines: true,
        ..ReadOptions::default()
    };
    let text = b"a\tr\tb\nc\n\xff\tr\tx\nd\te\n\nf\tr\t\ng\tr\th\n";
    let (found, _, report) = facts("f.tsv", text, &options);
    assert_eq!(found, owned(&[["a", "r", "b"], ["g", "r", "h"]]));
    assert_eq!((report.bad_lines, report.bad_examples.len()), (4, 3));
    assert!(report.bad_examples[0].starts_with("line 2: found 1 field"));
    assert!(report.bad_examples[1].starts_with("line 3: found a byte sequence"));
    let sentence = &report.sentences()[0];
    assert!(
        sentence.contains("4 bad lines left out: line 2"),
        "{sentence}"
    );
    assert!(sentence.ends_with("; and 1 more"), "{sentence}");

    let text = b"<e:a b> <e:r> <e:c> .\n<e:a> <e:r> <e:b> .\nx\n<e:\xff> <e:r> <e:b> .\n";
    let (found, _, report) = facts("f.nt", text, &options);
    assert_eq!(found, owned(&[["e:a", "e:r", "e:b"]]));
    assert_eq!(report.bad_lines, 3);
    assert!(
        report.bad_examples[2].starts_with("line 4: found a byte"),
        "{report:?}"
    );
    let text = b"@prefix : <e:> .\n:a :r :b .\n:a :r <e: x> .\n:c :r :d .\n";
    let (found, _, report) = facts("f.ttl", text, &options);
    assert_eq!(
        found,
        owned(&[["e:a", "e:r", "e:b"], ["e:c", "e:r", "e:d"]])
    );
    assert!(report.bad_lines > 0);
}

#[test]
fn reads_every_syntax_of_rdf() {
    let expected = owned(&[["http://e/a", "http://e/r", "http://e/b"]]);
    let xml = r#"<?xml version="1.0"?><rdf:RDF xmlns:e="http://e/"
        xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
        <rdf:Description rdf:about="http://e/a"><e:r rdf:resource="http://e/b"/></rdf:Description>
        </rdf:RDF>"#;
    let json = r#"{"@id": "http://e/a", "http://e/r": {"@id": "http://e/b"}}"#;
    for (name, text) in [
        ("f.nt", "<http://e/a> <http://e/r> <http://e/b> .\r\n"),
        ("f.ttl", "@prefix e: <http://e/> .\ne:a e:r e:b ."),
        ("f.n3", "@prefix e: <http://e/> .\ne:a e:r e:b ."),
        ("f.trig", "@prefix e: <http://e/> . e:g { e:a e:r e:b }"),
        (
            "f.nq",
            "<http://e/a> <http://e/r> <http://e/b> <http://e/g> .\n",
        ),
        ("f.rdf", xml),
        ("f.owl", xml),
        ("f.xml", "<http://e/a> <http://e/r> <http://e/b> .\r\n"),
        ("f.jsonld", json),
        ("f.json", json),
    ] {
        let (found, _, report) = facts(name, text.as_bytes(), &ReadOptions::default());
        assert_eq!(found, expected, "{name}");
        let graphs = matches!(name, "f.trig" | "f.nq");
        assert_eq!(report.graph_names, usize::from(graphs), "{name}");
    }
}

#[test]
fn literals_are_entities_or_left_out() {
    let text = "<e:a> <e:r> \"l\\n\"@en .\n<e:a> <e:r> \"l\" .\n<e:a> <e:s> <e:b> .\n<e:a> <e:r> \"é\"^^<e:t> .\n";
    let names: Vec<String> = plain("f.nt", text).into_iter().map(|[_, _, t]| t).collect();
    assert_eq!(names, ["\"l\\n\"@en", "\"l\"", "e:b", "\"é\"^^<e:t>"]);
    let options = ReadOptions {
        literals: false,
        ..ReadOptions::default()
    };
    for name in ["f.nt", "f.ttl"] {
        let (found, _, report) = facts(name, text.as_bytes(), &options);
        assert_eq!((found.len(), report.literals), (1, 3), "{name}");
    }
}

#[test]
fn blank_nodes_have_the_same_names_at_every_reading() {
    let text = "@prefix : <e:> . :a :r [ :s _:x ] , [ ] . _:x :s ( :c ) . _:anon-0 :r :a .";
    let first = plain("f.ttl", text);
    assert_eq!(first, plain("f.ttl", text));
    let names: Vec<&str> = first.iter().flatten().map(String::as_str).collect();
    for name in ["_:x", "_:anon-0", "_:anon-1", "_:anon-2", "_:anon-anon-0"] {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
    // Lines that are not plain name their nodes like those that are.
    let text = "_:x <e:r> _:a-b .\n_:x <http://e/r> _:anon-1 .\n_:ab12 <http://e/r> _:x .";
    let expected = [
        ["_:x", "e:r", "_:a-b"],
        ["_:x", "http://e/r", "_:anon-anon-1"],
        ["_:ab12", "http://e/r", "_:x"],
    ];
    assert_eq!(plain("f.nt", text), owned(&expected));
}

#[test]
fn blank_nodes_are_their_files_own_unless_told_otherwise() {
    let read = |split, blank_nodes, name: &str, text: &str| {
        let options = ReadOptions {
            blank_nodes,
            ..ReadOptions::default()
        };
        let job = Job {
            split: Some(split),
            ..job(name, &options)
        };
        let (facts, ..) = read_as(&job, text.as_bytes()).unwrap();
        [facts[0][0].clone(), facts[0][2].clone()]
    };
    let (nt, ttl) = ("_:x <e:r> _:x .\n", "_:x <e:r> [] .\n");
    let own = BlankNodes::File;
    assert_eq!(
        read(Split::Train, own, "f.nt", nt),
        ["_:train.x", "_:train.x"]
    );
    assert_eq!(
        read(Split::Test, own, "f.ttl", ttl),
        ["_:test.x", "_:test.anon-0"]
    );
    let shared = BlankNodes::Graph;
    assert_eq!(read(Split::Train, shared, "f.nt", nt), ["_:x", "_:x"]);
    assert_eq!(
        read(Split::Valid, shared, "f.ttl", ttl),
        ["_:x", "_:anon-valid-0"]
    );
}

#[test]
fn relative_iris_resolve_against_the_base_or_are_refused() {
    let options = ReadOptions {
        base: Some("http://e/dir/".to_owned()),
        ..ReadOptions::default()
    };
    let xml = r#"<rdf:RDF xmlns:e="http://e/" xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
        <rdf:Description rdf:about="a"><e:r rdf:resource="../b"/></rdf:Description></rdf:RDF>"#;
    let json = r#"{"@id": "a", "http://e/r": {"@id": "../b"}}"#;
    let expected = owned(&[["http://e/dir/a", "http://e/r", "http://e/b"]]);
    for (name, text) in [
        ("f.ttl", "<a> <http://e/r> <../b> .\n"),
        ("f.nt", "<a> <http://e/r> <../b> .\n"),
        ("f.rdf", xml),
        ("f.jsonld", json),
    ] {
        assert_eq!(facts(name, text.as_bytes(), &options).0, expected, "{name}");
        let error = message(name, text);
        assert!(error.contains("--base"), "{name}: {error}");
    }
    let options = ReadOptions {
        base: Some("dir".to_owned()),
        ..ReadOptions::default()
    };
    let error = message_with("f.ttl", b"<a> <b> <c> .", &options);
    assert!(error.contains("found \"dir\" as the base"), "{error}");
}

#[test]
fn what_has_no_place_in_a_fact_is_counted() {
    let text = "PREFIX : <e:>\n:a :r :b {| :since :c |} .\n:a :r \"x\"@ar--rtl .\n:d :says <<( :a :r :b )>> .\n";
    let (found, _, report) = facts("f.ttl", text.as_bytes(), &ReadOptions::default());
    assert_eq!(report.nested, 2, "{found:?}");
    assert!(found.contains(&["e:a", "e:r", "\"x\"@ar--rtl"].map(str::to_owned)));
    assert_eq!(found.len(), 3);
    let lines = "<e:d> <e:says> <<( <e:a> <e:r> <e:b> )>> .\n<e:a> <e:r> <e:b> .\n";
    let (found, _, report) = facts("f.nt", lines.as_bytes(), &ReadOptions::default());
    assert_eq!((found.len(), report.nested), (1, 1));
    let rules = "@prefix : <e:> . :a :r :b . { :c :r :d } :implies { :e :r :f } .";
    let (found, _, report) = facts("f.n3", rules.as_bytes(), &ReadOptions::default());
    assert_eq!((found.len(), report.nested), (2, 2));
}

#[test]
fn says_where_rdf_is_broken() {
    let triples = "<http://e/a> <http://e/r> <http://e/b> .\n<http://e/a> nonsense .\n";
    for (name, format) in [
        ("f.nt", "N-Triples"),
        ("f.ttl", "Turtle"),
        ("f.nq", "N-Quads"),
    ] {
        let message = message(name, triples);
        assert!(message.starts_with(&format!("{name}:2: ")), "{message}");
        let shown = message.contains("found \"<http://e/a> nonsense .\"");
        assert_eq!(shown, format != "Turtle", "{message}");
        assert!(
            message.ends_with(&format!("expected {format}")),
            "{message}"
        );
    }
    let xml = "<?xml version=\"1.0\"?>\n<rdf:RDF xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\">\n<a></b>\n</rdf:RDF>\n";
    let message = message("f.rdf", xml);
    assert!(message.starts_with("f.rdf:3: "), "{message}");
}

#[test]
fn reads_json_lines() {
    let text = "{\"head\": \"a\", \"relation\": \"r\", \"tail\": 5}\n\n{\"tail\": \"b\", \"x\": [], \"relation\": \"r\", \"head\": \"c\"}\n";
    let expected = owned(&[["a", "r", "5"], ["c", "r", "b"]]);
    assert_eq!(plain("f.jsonl", text), expected);
    let text = b"{\"h\": \"a\", \"r\": \"r\", \"t\": \"b\", \"weight\": 2}\n";
    let (_, weights, report) = facts("f.ndjson", text, &ReadOptions::default());
    assert_eq!(
        (weights, report.format),
        (vec![2.0], "JSON lines".to_owned())
    );
    let options = ReadOptions {
        columns: Some("from,how,to".parse().unwrap()),
        ..ReadOptions::default()
    };
    let text = b"{\"from\": \"a\", \"to\": \"b\", \"how\": \"r\"}\n";
    assert_eq!(
        facts("f.jsonl", text, &options).0,
        owned(&[["a", "r", "b"]])
    );
    let good = "{\"h\": \"a\", \"r\": \"r\", \"t\": \"b\"}\n";
    for (bad, why) in [
        ("{\"h\": \"a\"", "expected an object of JSON"),
        ("{\"h\": \"a\", \"r\": \"r\"}", "found no \"t\""),
        ("{\"h\": [], \"r\": \"r\", \"t\": \"b\"}", "expected a name"),
        (
            "{\"h\": \"a\\nb\", \"r\": \"r\", \"t\": \"b\"}",
            "expected a name",
        ),
    ] {
        let error = message("f.jsonl", format!("{good}{bad}\n"));
        assert!(
            error.starts_with("f.jsonl:2: ") && error.contains(why),
            "{error}"
        );
    }
    let error = message("f.jsonl", "{\"a\": 1}\n");
    assert!(error.contains("found the keys a"), "{error}");
}

#[test]
fn reads_obo() {
    let text = "format-version: 1.2\n\n[Term]\nid: X:1 ! one\nname: is_a: no\nis_a: X:2 {source=\"y\"} ! two\nrelationship: part_of X:3 ! three\nis_obsolete: false\n\n[Typedef]\nid: part_of\nis_a: overlaps\n\n[Term]\nid: X:2\nis_a: X\\ 4\n";
    let expected = [
        ["X:1", "is_a", "X:2"],
        ["X:1", "part_of", "X:3"],
        ["X:2", "is_a", "X 4"],
    ];
    assert_eq!(plain("f.obo", text), owned(&expected));
    let error = message("f.obo", "[Term]\nis_a: X:1\n");
    assert!(error.starts_with("f.obo:2: "), "{error}");
    let cut = message("f.obo", "[Term]\nid: X:1\nis_a: X:2\n! is_a\n\nis_a");
    assert!(cut.starts_with("f.obo:6: found \"is_a\""), "{cut}");
}

#[test]
fn what_cannot_be_told_is_refused_with_the_list_of_kinds() {
    for (name, bytes) in [
        ("f", &b"Once upon a time\n"[..]),
        ("f.md", b"# Facts, all of them\n"),
        ("f.tsv", b"a\tr\0\tb\n"),
        ("f.parquet", b"PAR0"),
    ] {
        let error = message(name, bytes);
        assert!(
            error.contains(".jsonl") && error.contains(".parquet"),
            "{error}"
        );
    }
}

/// File names, one for each reader.
const NAMES: [&str; 12] = [
    "f.tsv", "f.csv", "f.nt", "f.nq", "f.ttl", "f.trig", "f.n3", "f.rdf", "f.jsonld", "f.jsonl",
    "f.obo", "f",
];

proptest! {
    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), skip: bool) {
        let options = ReadOptions { skip_bad_lines: skip, ..ReadOptions::default() };
        for name in NAMES {
            let _ = read_as(&job(name, &options), &bytes);
        }
    }

    #[test]
    fn never_panics_on_what_looks_right(
        text in "(a|r|\t|,|;|\"| |\r|\n|<|>|_:|\\.|@|\\{|\\}|\\[|:|\u{feff}|é|<e:a>|#|1|\\\\){0,40}",
        skip: bool,
    ) {
        let options = ReadOptions { skip_bad_lines: skip, ..ReadOptions::default() };
        for name in NAMES {
            let _ = read_as(&job(name, &options), text.as_bytes());
        }
    }

    #[test]
    fn reads_back_what_was_written(
        triples in proptest::collection::vec(
            ("[a-zé(][a-z, é0-9]{0,6}[a-z)]", "[a-z]{1,3}[0-9]", "[a-z\"][a-z']{0,4}"), 0..20),
        end in prop_oneof!["\n", "\r\n"],
    ) {
        let written: String =
            triples.iter().map(|(h, r, t)| format!("{h}\t{r}\t{t}{end}")).collect();
        let read: Vec<_> = plain("f.tsv", &written).into_iter().map(|[h, r, t]| (h, r, t)).collect();
        prop_assert_eq!(read, triples);
    }

    /// Plain lines are read as oxrdfio reads them.
    #[test]
    fn plain_lines_of_n_triples_are_read_as_oxrdfio_reads_them(
        terms in proptest::collection::vec(prop_oneof![
            "<https?://[a-z.:@%0]{0,4}(/[a-zA-Z0-9#?%é~\\[\\]:_.-]{0,6})?>",
            "_:[a-z0-9._-]{1,4}",
            "\"[ a-zé\\\\nt\"\t]{0,4}\"(@[a-zA-Z-]{1,5}|\\^\\^<http://[a-z/]{1,5}>)?",
            "<e:[a-z]>",
        ], 3..=4),
        space in "[ \t]{0,2}",
        end in prop_oneof![" \\.", "\\.", "", " \\. ", " \\. #c"],
    ) {
        let line = format!("{}{end}", terms.join(&space));
        let options = ReadOptions { skip_bad_lines: true, ..ReadOptions::default() };
        for (name, format) in [("f.nt", RdfFormat::NTriples), ("f.nq", RdfFormat::NQuads)] {
            let (fast, _, report) = facts(name, line.as_bytes(), &options);
            let (mut entities, mut relations) = (Vocabulary::new(), Vocabulary::new());
            let mut sink = Sink::new(name, &mut entities, &mut relations, false);
            let slow = rdf::read(&job(name, &options), format, Box::new(line.as_bytes()), &mut sink);
            let slow = slow.is_ok().then(|| std::mem::take(&mut sink.triples));
            let slow: Vec<[String; 3]> = slow.unwrap_or_default().iter().map(|t| {
                let (head, tail) = (entities.name(t.head), entities.name(t.tail));
                [head, relations.name(t.relation), tail].map(str::to_owned)
            }).collect();
            prop_assert_eq!(&fast, &slow, "{} {:?}", line, report);
        }
    }
}
