//! `proto/graph_store.proto` says what the code does.

use std::collections::BTreeMap;
use std::path::Path;

use shardloom::net::graph_store::{CHUNK_BYTES, METHODS, PROTOCOL};
use shardloom::net::transport::VERSION_KEY;

fn read(file: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    std::fs::read_to_string(file).unwrap()
}

/// Type and name of each field, by the message and the field's number.
type Fields = BTreeMap<(String, u32), (String, String)>;

/// Fields of the published file.
fn published(text: &str) -> Fields {
    let mut fields = Fields::new();
    let mut message = String::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("message ") {
            message = name.split(' ').next().unwrap().to_owned();
        } else if let Some((field, number)) =
            line.strip_suffix(';').and_then(|l| l.split_once(" = "))
            && let Ok(number) = number.parse()
        {
            let (of, name) = field.rsplit_once(' ').unwrap();
            fields.insert((message.clone(), number), (of.to_owned(), name.to_owned()));
        }
    }
    fields
}

/// Fields of the code.
fn coded(text: &str) -> Fields {
    let mut fields = Fields::new();
    let (mut message, mut attribute) = (String::new(), String::new());
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("pub struct ") {
            message = name.split([' ', '{']).next().unwrap().to_owned();
        } else if let Some(of) = line.strip_prefix("#[prost(") {
            attribute = of.to_owned();
        } else if let Some((name, of)) = line.strip_prefix("pub ").and_then(|l| l.split_once(": "))
        {
            let parts: Vec<&str> = attribute.trim_end_matches(")]").split(", ").collect();
            let kind = match parts[0] {
                "message" => of.trim_start_matches("Option<").trim_end_matches(">,"),
                kind => kind.split(' ').next().unwrap(),
            };
            let tag = parts.iter().find_map(|part| part.strip_prefix("tag = "));
            let number = tag.unwrap().trim_matches('"').parse().unwrap();
            fields.insert(
                (message.clone(), number),
                (kind.to_owned(), name.to_owned()),
            );
        }
    }
    fields
}

#[test]
fn messages_are_those_of_the_code() {
    let published = published(&read("proto/graph_store.proto"));
    let coded = coded(&read("src/net/graph_store/message.rs"));
    assert!(published.len() > 40, "{} fields are found", published.len());
    assert_eq!(published, coded);
}

#[test]
fn methods_are_those_of_the_code() {
    let text = read("proto/graph_store.proto");
    let methods = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("rpc "));
    let methods: Vec<&str> = methods
        .map(|line| line.split('(').next().unwrap())
        .collect();
    assert_eq!(methods, METHODS);
}

#[test]
fn numbers_in_sentences_are_those_of_the_code() {
    let text = read("proto/graph_store.proto");
    for sentence in [
        format!("{VERSION_KEY}   {PROTOCOL}, the version of this protocol"),
        format!("at most {CHUNK_BYTES} bytes"),
        format!("Bytes, at most {CHUNK_BYTES}."),
    ] {
        assert!(
            text.contains(&sentence),
            "the file does not say: {sentence}"
        );
    }
}
