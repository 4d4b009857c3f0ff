//! `proto/shardloom.proto` says what the code does.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use shardloom::ids::TableName;
use shardloom::net::frame::{HEADER, MOST_PAYLOAD, PROTOCOL};
use shardloom::net::transport::{VERSION_KEY, path};
use shardloom::net::{Channel, Frame, Header, Kind, WireType};

fn published() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto/shardloom.proto");
    std::fs::read_to_string(file).unwrap()
}

/// Values of an enum of the file, by their names without the prefix and underscores, in lower case.
fn values(text: &str, name: &str) -> BTreeMap<String, u8> {
    let body = text.split(&format!("enum {name} {{\n")).nth(1).unwrap();
    let body = body.split("}\n").next().unwrap();
    let snake: String = name
        .char_indices()
        .flat_map(|(i, c)| {
            (i > 0 && c.is_uppercase())
                .then_some('_')
                .into_iter()
                .chain([c])
        })
        .collect();
    let prefix = format!("{}_", snake.to_uppercase());
    let lines = body
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with("//"));
    lines
        .map(|line| {
            let (name, value) = line.strip_suffix(';').unwrap().split_once(" = ").unwrap();
            let name = name.strip_prefix(&prefix).unwrap().replace('_', "");
            (name.to_lowercase(), value.parse().unwrap())
        })
        .filter(|(name, _)| name != "unspecified")
        .collect()
}

/// Places of the header's fields in the file.
fn fields(text: &str) -> BTreeMap<String, Range<usize>> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("//   "));
    lines
        .filter_map(|line| {
            let (place, field) = line.split_once(' ')?;
            let (from, to) = place.split_once("..")?;
            let name = field.trim_start().split([':', ';', ',', ' ']).next()?;
            Some((name.to_owned(), from.parse().ok()?..to.parse().ok()?))
        })
        .collect()
}

#[test]
fn methods_are_those_of_the_channels() {
    let text = published();
    let package = text
        .split("package ")
        .nth(1)
        .unwrap()
        .split(';')
        .next()
        .unwrap();
    let service = text
        .split("service ")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    let mut methods: Vec<String> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("rpc "))
        .map(|line| {
            let (name, rest) = line.split_once('(').unwrap();
            assert_eq!(rest, "stream Frame) returns (stream Frame);");
            format!("/{package}.{service}/{name}")
        })
        .collect();
    methods.sort();
    let channels = [Channel::Collective, Channel::Rows, Channel::Session];
    assert_eq!(methods, channels.map(path));
}

#[test]
fn kinds_and_types_are_those_of_the_code() {
    let text = published();
    let kinds = Kind::ALL.map(|kind| (format!("{kind:?}").to_lowercase(), kind as u8));
    assert_eq!(values(&text, "Kind"), BTreeMap::from(kinds));
    let types = WireType::ALL.map(|of| (format!("{of:?}").to_lowercase(), of as u8));
    assert_eq!(values(&text, "WireType"), BTreeMap::from(types));
    let byte_of = |table| {
        let header = Header {
            table,
            ..Header::new(Kind::Ack)
        };
        Frame::empty(header).header_bytes()[fields(&text)["table"].start]
    };
    let tables = TableName::ALL.map(|table| (format!("{table:?}").to_lowercase(), byte_of(table)));
    assert_eq!(values(&text, "Table"), BTreeMap::from(tables));
}

#[test]
fn fields_are_where_the_file_says() {
    let text = published();
    let fields = fields(&text);
    // The fields fill the header.
    let mut places: Vec<_> = fields.values().cloned().collect();
    places.sort_by_key(|place| place.start);
    let mut end = 0;
    for place in places {
        assert_eq!(place.start, end);
        end = place.end;
    }
    assert_eq!(end, HEADER);
    // Every field has a value of its own.
    let payload = Bytes::from_static(b"a payload");
    let header = Header {
        kind: Kind::Push,
        wire_type: WireType::Bf16,
        table: TableName::Relations,
        last: true,
        shard: 0x1234_5601,
        request: 0x1234_5602,
        epoch: 0x1234_5603,
        generation: 0x1234_5678_9abc_de04,
        step: 0x1234_5678_9abc_de05,
        worker: 0x1234_5606,
        rows: 0x1234_5607,
        width: 0x1234_5608,
    };
    let digest = xxhash_rust::xxh3::xxh3_64(&payload);
    let bytes = Frame {
        header,
        payload: payload.clone(),
    }
    .header_bytes();
    let expected: [(&str, u64); 16] = [
        ("magic", u64::from(u32::from_le_bytes(*b"SLF1"))),
        ("protocol", u64::from(PROTOCOL)),
        ("kind", header.kind as u64),
        ("wire_type", header.wire_type as u64),
        ("table", 1),
        ("last", 1),
        ("reserved", 0),
        ("shard", u64::from(header.shard)),
        ("request", u64::from(header.request)),
        ("epoch", u64::from(header.epoch)),
        ("generation", header.generation),
        ("step", header.step),
        ("worker", u64::from(header.worker)),
        ("rows", u64::from(header.rows)),
        ("width", u64::from(header.width)),
        ("length", payload.len() as u64),
    ];
    assert_eq!(fields.len(), expected.len() + 1);
    for (name, value) in expected.into_iter().chain([("digest", digest)]) {
        let place = fields
            .get(name)
            .unwrap_or_else(|| panic!("{name} is not in the file"));
        let found = &bytes[place.clone()];
        assert_eq!(found, &value.to_le_bytes()[..found.len()], "{name}");
        assert!(
            value.to_le_bytes()[found.len()..]
                .iter()
                .all(|&byte| byte == 0),
            "{name}"
        );
    }
}

#[test]
fn numbers_in_sentences_are_those_of_the_code() {
    let text = published();
    for sentence in [
        format!("a header of {HEADER} bytes"),
        format!("most {MOST_PAYLOAD} bytes"),
        format!("{VERSION_KEY}   {PROTOCOL}, the version of the protocol"),
        format!("protocol: {PROTOCOL}\n"),
    ] {
        assert!(
            text.contains(&sentence),
            "the file does not say: {sentence}"
        );
    }
}
