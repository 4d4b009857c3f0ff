use std::fs;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

fn vocabularies() -> (Vocabulary, Vocabulary) {
    let entities = ["a", "b c", "d,e", "f\tg", " h", "-5", "\"", "i\n"];
    let mut vocabulary = Vocabulary::new();
    for entity in entities {
        vocabulary.intern(entity);
    }
    (vocabulary, Vocabulary::from_names(["r", "s"]).unwrap())
}

/// Writes a file and reads it.
fn read<T>(
    name: &str,
    content: impl AsRef<[u8]>,
    read: impl Fn(&Path, Known) -> Result<T, TableError>,
) -> Result<T, String> {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, content).unwrap();
    let (entities, relations) = vocabularies();
    let known = Known {
        entities: &entities,
        relations: &relations,
    };
    let place = format!("{}/", dir.path().display());
    read(&path, known).map_err(|error| error.to_string().replace(&place, ""))
}

fn triples(facts: Vec<Triple>) -> Vec<[u32; 3]> {
    facts
        .iter()
        .map(|fact| [fact.head, fact.relation, fact.tail])
        .collect()
}

#[test]
fn queries_of_all_three_kinds_in_every_format() {
    let expected = [
        Question::Tail {
            head: 0,
            relation: 1,
        },
        Question::Head {
            relation: 0,
            tail: 1,
        },
        Question::Relation { head: 2, tail: 3 },
    ];
    for (name, text) in [
        ("q.tsv", "a\ts\t\n\n\tr\tb c\r\nd,e\t\t\"f\\tg\"\n"),
        (
            "q.tsv",
            "\u{feff}tail\tnote\thead\tRelation\n\tx\ta\ts\nb c\t\t\tr\n\"f\\tg\"\t\td,e\t\n",
        ),
        ("q.csv", "a,s,\n,r,b c\n\"d,e\",,f\tg\n"),
        ("q.csv", "relation,head,tail\ns,a,\nr,,b c\n,\"d,e\",f\tg\n"),
        (
            "q.jsonl",
            "{\"head\":\"a\",\"relation\":\"s\"}\n{\"relation\":\"r\",\"tail\":\"b c\",\"head\":null,\"x\":1}\n\
             {\"head\":\"d,e\",\"tail\":\"f\\tg\"}\n",
        ),
    ] {
        assert_eq!(
            read(name, text, read_questions).unwrap(),
            expected,
            "{name}: {text}"
        );
    }
    let two = read("q.txt", "head\trelation\na\tr\n", read_questions).unwrap();
    assert_eq!(
        two,
        [Question::Tail {
            head: 0,
            relation: 0
        }]
    );
}

#[test]
fn facts_with_odd_names() {
    for (name, text) in [
        ("f.tsv", "-5\tr\t\" h\"\n\"\"\"\ts\t\"i\\n\"\n"),
        ("f.csv", "-5,r, h\n\"\"\"\",s,\"i\n\"\n"),
        (
            "f.jsonl",
            "{\"head\":\"-5\",\"relation\":\"r\",\"tail\":\" h\"}\n{\"head\":\"\\\"\",\"relation\":\"s\",\"tail\":\"i\\n\"}",
        ),
    ] {
        let text = text.replace("\"\"\"\ts", "\"\ts");
        let facts = read(name, text, read_facts).unwrap();
        assert_eq!(triples(facts), [[5, 0, 4], [6, 1, 7]], "{name}");
    }
    let ranks = "head\trelation\ttail\tside\trank\na\tr\ta\thead\t3\n";
    assert_eq!(
        triples(read("f.tsv", ranks, read_facts).unwrap()),
        [[0, 0, 0]]
    );
    // Without a heading, the words head and tail are names.
    let plain = read("f.tsv", "head\ts\ttail\n", read_facts).unwrap_err();
    assert!(plain.contains("the entity \"head\""), "{plain}");
}

#[test]
fn headings_and_keys_are_those_of_graphs_too() {
    for (name, text) in [
        ("f.csv", "subject,predicate,object\na,r,b c\n"),
        ("f.csv", "id,h,r,t,weight\n7,a,r,b c,0.5\n"),
        ("f.tsv", "head\trel\ttail\na\tr\tb c\n"),
        ("f.tsv", "target\tsource\tlabel\nb c\ta\tr\n"),
        (
            "f.jsonl",
            "{\"s\":\"a\",\"p\":\"r\",\"o\":\"b c\",\"x\":[1]}",
        ),
    ] {
        let facts = read(name, text, read_facts).unwrap();
        assert_eq!(triples(facts), [[0, 0, 1]], "{text}");
    }
    // Next to one of the standard keys, other keys are ignored.
    let query = "{\"relation\":\"r\",\"tail\":\"a\",\"source\":\"b c\"}";
    assert_eq!(
        read("q.jsonl", query, read_questions).unwrap(),
        [Question::Head {
            relation: 0,
            tail: 0
        }]
    );
    // A line of known names is a fact, even if the names are words of a heading.
    let (entities, relations) = (
        Vocabulary::from_names(["s", "o", "5"]).unwrap(),
        Vocabulary::from_names(["p"]).unwrap(),
    );
    let known = Known {
        entities: &entities,
        relations: &relations,
    };
    let dir = TempDir::new().unwrap();
    for (name, text, expected) in [
        ("f.tsv", "s\tp\to\n", [0, 0, 1]),
        (
            "f.jsonl",
            "{\"head\":5,\"relation\":\"p\",\"tail\":\"s\"}",
            [2, 0, 0],
        ),
    ] {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        assert_eq!(triples(read_facts(&path, known).unwrap()), [expected]);
    }
}

#[test]
fn quotes_belong_to_a_name_that_has_them() {
    let (entities, relations) = (
        Vocabulary::from_names(["Ada", "\"Ada\"", "\"Bob\"", "Eve"]).unwrap(),
        Vocabulary::from_names(["r"]).unwrap(),
    );
    let known = Known {
        entities: &entities,
        relations: &relations,
    };
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("f.tsv");
    // The last line shows how `eval --ranks` writes such a name.
    let text = "\"Ada\"\tr\t\"Bob\"\nAda\t\"r\"\t\"Eve\"\n\"\\\"Ada\\\"\"\tr\tEve\n";
    fs::write(&path, text).unwrap();
    assert_eq!(
        triples(read_facts(&path, known).unwrap()),
        [[1, 0, 2], [0, 0, 3], [1, 0, 3]]
    );
}

#[test]
fn bad_lines_are_named() {
    for (name, text, expected) in [
        (
            "q.tsv",
            "a\tr\t\na\tr\n",
            "q.tsv:2: found 2 fields, expected 3, for head, relation and tail",
        ),
        (
            "q.tsv",
            "a\tr\ta\n",
            "q.tsv:1: found names for head, relation and tail, expected names for two of",
        ),
        (
            "q.tsv",
            "a\t\t\n",
            "q.tsv:1: found names for head alone, expected names for two of",
        ),
        (
            "q.csv",
            "a,r,\n\nx,r,\n",
            "q.csv:3: found the entity \"x\", expected a name of the entities",
        ),
        (
            "q.csv",
            "a,r,\r\n\"d,e\",r,\r\nb,t,\r\n",
            "q.csv:3: found the entity \"b\"",
        ),
        (
            "q.tsv",
            "head\ttail\trelation\tx\na\ta\t\n",
            "q.tsv:2: found 3 fields, expected 4, as in",
        ),
        (
            "q.jsonl",
            "{\"head\":[1]}\n",
            "q.jsonl:1: found \"{\\\"head\\\":[1]}\" (",
        ),
        (
            "q.jsonl",
            "{}\n",
            "q.jsonl:1: found no name, expected names for two of",
        ),
        (
            "q.jsonl",
            "{\"head\":\"a\",\"relation\":\"R\"}\n",
            "the relation \"R\", expected a name of the relations that the run knows (did you mean \"r\"?)",
        ),
        (
            "q.tsv",
            "",
            "q.tsv: found no line, expected lines with two of",
        ),
        (
            "q.xlsx",
            "a\tr\t\n",
            "q.xlsx: found a name without a known ending",
        ),
    ] {
        let error = read(name, text, read_questions).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    let error = read("f.tsv", "a\tr\t\n", read_facts).unwrap_err();
    assert!(
        error.contains("f.tsv:1: found names for head and relation alone, expected names for head"),
        "{error}"
    );
    for name in ["f.tsv", "f.csv", "f.jsonl"] {
        let error = read(name, b"a\xff,r,a\n", read_facts).unwrap_err();
        assert!(
            error.contains(&format!("{name}:1: found a byte sequence")),
            "{error}"
        );
    }
}

#[test]
fn lists_of_names() {
    let list = |text: &str| {
        read("c.anything", text, |path, known| {
            read_names(path, known.entities)
        })
    };
    assert_eq!(list("a\n\"f\\tg\"\r\n\n-5\nf\tg").unwrap(), [0, 3, 5, 3]);
    assert!(
        list("a\nz\n")
            .unwrap_err()
            .contains("c.anything:2: found the entity \"z\"")
    );
    assert!(
        list("\n")
            .unwrap_err()
            .contains("found no line, expected names of entities")
    );
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..60),
        text in "[ar\t,\"\n\r{}:head ]{0,60}",
    ) {
        for name in ["f.tsv", "f.csv", "f.jsonl"] {
            for content in [&bytes[..], text.as_bytes()] {
                let _ = read(name, content, read_facts);
                let _ = read(name, content, read_questions);
            }
        }
    }
}
