mod large;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::{Builder, Graph, GraphError, Memory, Names, SectionName, Side};
use crate::dataset::Triple;

fn facts(nodes: u32, relations: u32) -> impl Strategy<Value = Vec<Triple>> {
    let fact = (0..nodes, 0..relations, 0..nodes).prop_map(|(head, relation, tail)| Triple {
        head,
        relation,
        tail,
    });
    prop::collection::vec(fact, 0..300)
}

/// Facts of a side by node: relation, the other node, and the number of the fact in the given order.
fn sorted(facts: &[Triple], side: Side) -> Vec<(u32, u32, u32, usize)> {
    let entry = |(number, fact): (usize, &Triple)| match side {
        Side::Out => (fact.head, fact.relation, fact.tail, number),
        Side::In => (fact.tail, fact.relation, fact.head, number),
    };
    let mut sorted: Vec<_> = facts.iter().enumerate().map(entry).collect();
    sorted.sort_unstable();
    sorted
}

proptest! {
    #[test]
    fn rows_are_the_sorted_facts(
        (relations, facts) in prop_oneof![Just(1u32), Just(3), Just(300), Just(70_000)]
            .prop_flat_map(|relations| (Just(relations), facts(20, relations))),
    ) {
        let weights: Vec<f32> = (0..facts.len()).map(|fact| fact as f32).collect();
        let times: Vec<i64> = (0..facts.len()).map(|fact| -(fact as i64)).collect();
        let graph = Builder::new(20, relations).weights(&weights).times(&times).build(&facts).unwrap();
        let by_head = sorted(&facts, Side::Out);
        for side in Side::ALL {
            let sorted = sorted(&facts, side);
            let rows = graph.rows(side);
            let mut found = Vec::new();
            for node in 0..20 {
                let row = graph.row(side, node).unwrap();
                prop_assert_eq!(row.neighbors.len(), graph.degree(side, node).unwrap());
                for place in rows.places(node).unwrap() {
                    let number = weights.iter().position(|&weight| weight == rows.weights.unwrap()[place]);
                    let number = number.unwrap();
                    prop_assert_eq!(rows.times.unwrap()[place], times[number]);
                    prop_assert_eq!(by_head[rows.fact(place) as usize].3, number);
                    found.push((node, rows.relations.get(place), rows.neighbors[place], number));
                }
            }
            prop_assert_eq!(&found, &sorted);
            for relation in 0..relations.min(400) {
                let mut nodes: Vec<u32> = sorted.iter().filter(|fact| fact.1 == relation).map(|fact| fact.0).collect();
                nodes.dedup();
                prop_assert_eq!(graph.nodes_of(side, relation).unwrap(), nodes);
            }
        }
        for fact in &facts {
            prop_assert!(graph.has(fact.head, fact.relation, fact.tail).unwrap());
            let places = graph.rows(Side::Out).find(fact.head, fact.relation, fact.tail).unwrap();
            prop_assert_eq!(places.len(), facts.iter().filter(|other| *other == fact).count());
        }
        prop_assert!(!graph.has(0, relations, 0).unwrap());
    }
}

/// Writes a file with every section.
fn family(path: &Path) -> super::Description {
    let nodes = ["Ada", "Ben", "Cleo"];
    let node = |id: u32| nodes[id as usize];
    let relations = ["child of", "knows"];
    let relation = |id: u32| relations[id as usize];
    let fact = |head, relation, tail| Triple {
        head,
        relation,
        tail,
    };
    let builder = Builder::new(3, 2)
        .name("family")
        .weights(&[1.0, 0.5, 2.0])
        .times(&[1980, 1982, 1990])
        .names(
            Names {
                count: 3,
                name: &node,
            },
            Names {
                count: 2,
                name: &relation,
            },
        );
    let facts = [fact(1, 0, 0), fact(2, 0, 0), fact(1, 1, 2)];
    builder.write(&facts, path).unwrap()
}

#[test]
fn files_are_read_as_they_were_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("family.graph");
    let written = family(&path);
    let graph = Graph::open(&path).unwrap();
    graph.check(&path).unwrap();
    assert_eq!(*graph.description(), written);
    assert_eq!((graph.nodes(), graph.relations(), graph.facts()), (3, 2, 3));
    assert_eq!(graph.row(Side::In, 0).unwrap().neighbors, [1, 2]);
    assert_eq!(graph.node_name(2), Some("Cleo"));
    assert_eq!(graph.node_name(3), None);
    assert_eq!(graph.relation_name(1), Some("knows"));
    assert_eq!(graph.find_node("Ben"), Some(1));
    assert_eq!(graph.find_node("Eve"), None);
    let copy = Graph::open_in(&path, Memory::Huge).unwrap();
    copy.check(&path).unwrap();
    assert_eq!(copy.description(), graph.description());
    assert_eq!(copy.row(Side::In, 0).unwrap().neighbors, [1, 2]);
    // The same facts make the same file.
    let again = folder.path().join("again.graph");
    assert_eq!(family(&again).digest(), written.digest());
    assert_eq!(fs::read(&again).unwrap(), fs::read(&path).unwrap());
}

/// Every byte of every section, and of the header, is covered by a digest, and the error names the section.
#[test]
fn a_changed_byte_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("family.graph");
    let written = family(&path);
    let bytes = fs::read(&path).unwrap();
    let names = [
        SectionName::InFacts,
        SectionName::NodeNameEnds,
        SectionName::NodeNames,
        SectionName::RelationNameEnds,
        SectionName::RelationNames,
    ];
    let of_sides = [
        SectionName::bounds,
        SectionName::neighbors,
        SectionName::relations,
        SectionName::weights,
        SectionName::times,
        SectionName::node_bounds,
        SectionName::nodes,
    ];
    let of_sides = of_sides.iter().flat_map(|of| Side::ALL.map(of));
    let all: BTreeSet<SectionName> = names.into_iter().chain(of_sides).collect();
    let found: BTreeSet<SectionName> = written.sections().map(|(name, _)| name).collect();
    assert_eq!(found, all);
    for section in &written.sections {
        for at in section.offset..section.offset + section.bytes {
            let mut changed = bytes.clone();
            changed[at as usize] ^= 1;
            fs::write(&path, &changed).unwrap();
            let error = match Graph::open(&path) {
                Ok(graph) => graph.check(&path).unwrap_err(),
                Err(error) => error,
            };
            assert!(
                error.to_string().contains(&section.name.to_string()),
                "{error}"
            );
        }
    }
    let used = bytes
        .iter()
        .take(super::header::HEADER_BYTES)
        .rposition(|&byte| byte != 0)
        .unwrap();
    for at in 0..=used {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        fs::write(&path, &changed).unwrap();
        let error = Graph::open(&path).unwrap_err();
        assert!(
            matches!(
                error,
                GraphError::Foreign { .. } | GraphError::Version { .. } | GraphError::Header { .. }
            ),
            "byte {at}: {error}"
        );
    }
}

#[test]
fn a_file_cut_off_anywhere_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("family.graph");
    let written = family(&path);
    let bytes = fs::read(&path).unwrap();
    let end = written
        .sections
        .iter()
        .map(|section| section.offset + section.bytes)
        .max();
    assert_eq!(end, Some(bytes.len() as u64));
    for length in (0..bytes.len()).step_by(97).chain([bytes.len() - 1]) {
        fs::write(&path, &bytes[..length]).unwrap();
        for memory in [Memory::File, Memory::Huge] {
            let error = Graph::open_in(&path, memory).unwrap_err().to_string();
            assert!(error.contains("family.graph"), "{length}: {error}");
        }
    }
    fs::write(&path, "head\trelation\ttail\n").unwrap();
    let error = Graph::open(&path).unwrap_err().to_string();
    assert!(error.contains("not a graph file"), "{error}");
    let error = Graph::open(&folder.path().join("none")).unwrap_err();
    assert!(matches!(error, GraphError::File { .. }), "{error}");
}

#[test]
fn bad_facts_are_named() {
    let fact = |head, relation, tail| Triple {
        head,
        relation,
        tail,
    };
    let refused =
        |builder: Builder<'_>, facts: &[Triple]| builder.build(facts).unwrap_err().to_string();
    let builder = Builder::new(3, 2);
    let good = fact(0, 1, 2);
    let error = refused(builder, &[good, fact(3, 0, 0)]);
    assert_eq!(
        error,
        "fact 1: head 3, and the graph has 3 of them, numbered from 0"
    );
    assert!(refused(builder, &[fact(0, 2, 0)]).contains("relation 2"));
    assert!(refused(builder, &[fact(0, 0, 9)]).contains("tail 9"));
    assert_eq!(
        refused(builder.weights(&[]), &[good]),
        "0 weights for 1 facts"
    );
    for weight in [f32::NAN, f32::INFINITY, -1.0] {
        let weights = [weight];
        let error = refused(Builder::new(3, 2).weights(&weights), &[good]);
        assert!(error.starts_with("fact 0: weight"), "{error}");
    }
}
