use std::fs;
use std::ops::Range;
use std::sync::LazyLock;

use proptest::prelude::*;

use super::super::{
    Anchor, Around, Direction, Draw, Exclude, Expand, Fanout, NearPlan, NearSampler, Pick, Pool,
    PprPlan, PprRanker, Question, SampleError, SamplePlan, Sampler, Seeds, WalkPlan, labels, walks,
};
use super::fact;
use crate::dataset::Triple;
use crate::graph::{Builder, Graph, Names, Side};

const NODES: u32 = 40;
const RELATIONS: u32 = 3;
const HEADER: usize = 16_384;
const PAGE: usize = 4096;

/// Bytes of a file with all sections, and the place of each section.
static FILE: LazyLock<(Vec<u8>, Vec<Range<usize>>)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("g.graph");
    let facts: Vec<Triple> = (0..300)
        .map(|at| fact(at * at % NODES, at % RELATIONS, at * 7 % NODES))
        .collect();
    let weights: Vec<f32> = (0..300).map(|at| at as f32 * 0.5).collect();
    let times: Vec<i64> = (0..300).collect();
    let name = |id: u32| ["a", "bc", "", "def"][id as usize % 4];
    let names = |count| Names { count, name: &name };
    let description = Builder::new(NODES, RELATIONS)
        .weights(&weights)
        .times(&times)
        .names(names(NODES as usize), names(RELATIONS as usize))
        .write(&facts, &path)
        .unwrap();
    let mut end = HEADER;
    let places = description.sections().map(|(_, bytes)| {
        let start = end.next_multiple_of(PAGE);
        end = start + bytes as usize;
        start..end
    });
    let places = places.collect();
    (fs::read(path).unwrap(), places)
});

/// Reads a graph in every way. Damage is an error, or goes unseen.
fn read(graph: &Graph, index: u64) -> Result<(), SampleError> {
    let draw = Draw {
        seed: 1,
        epoch: 0,
        index,
    };
    let nodes: Vec<u32> = (0..graph.nodes().min(NODES)).collect();
    let times: Vec<i64> = nodes.iter().map(|&node| 10 * i64::from(node)).collect();
    let facts = [fact(0, 0, 0), fact(1, 1, 7), fact(4, 2, 14)];
    let _ = graph.profile();
    for &node in &nodes {
        for side in Side::ALL {
            let _ = (graph.row(side, node), graph.degree(side, node));
            let _ = graph.nodes_of(side, node % RELATIONS);
        }
        let _ = (
            graph.has(node, 0, node),
            graph.node_name(node),
            graph.relation_name(node),
        );
    }
    let _ = graph.find_node("def");
    let picks = [
        Pick::Uniform,
        Pick::Replace,
        Pick::Weighted,
        Pick::WeightedReplace,
        Pick::Before {
            inclusive: true,
            window: Some(50),
            latest: index.is_multiple_of(2),
        },
    ];
    let mut found = Ok(());
    let mut sampler = Sampler::new();
    for pick in picks {
        for fanout in [Fanout::Most(4), Fanout::All, Fanout::EachRelation(2)] {
            let (seeds, expand) = match pick {
                Pick::Before { .. } => (Seeds::Timed(&nodes[..8], &times[..8]), Expand::Tree),
                _ if index.is_multiple_of(2) => (Seeds::Facts(&facts), Expand::All),
                _ => (Seeds::Nodes(&nodes), Expand::New),
            };
            let plan = SamplePlan {
                fanouts: vec![fanout, Fanout::Most(3)],
                pick,
                expand,
                direction: [Direction::Out, Direction::In, Direction::Both][index as usize % 3],
                exclude: [Exclude::SeedsAndInverse, Exclude::Pairs][index as usize / 3 % 2],
                facts: true,
                ..SamplePlan::uniform(&[])
            };
            let drawn = sampler.sample(graph, &seeds, &plan, draw);
            if let Ok(batch) = &drawn {
                assert!(batch.nodes.iter().all(|&node| node < graph.nodes()));
            }
            found = found.and(drawn.map(drop));
        }
    }
    let anchors: Vec<Anchor> = nodes
        .iter()
        .map(|&node| Anchor {
            node,
            relation: node % RELATIONS,
            side: Side::ALL[node as usize % 2],
        })
        .collect();
    found = found.and(labels(graph, &anchors, std::num::NonZeroU32::new(2), draw).map(drop));
    let walk = WalkPlan {
        walks: 2,
        ..WalkPlan::default()
    };
    found = found.and(walks(graph, &nodes, &walk, draw).map(drop));
    let ppr = PprPlan {
        direction: Direction::Both,
        ..PprPlan::default()
    };
    for &node in &nodes[..8] {
        found = found.and(PprRanker::default().rank(graph, node, &ppr).map(drop));
    }
    let questions: Vec<Question> = facts
        .iter()
        .zip(Side::ALL.iter().cycle())
        .map(|(&fact, &side)| Question { fact, side })
        .collect();
    for pool in [Pool::Hops(vec![3, 3]), Pool::Ppr(ppr), Pool::Relation] {
        let plan = NearPlan {
            pool,
            around: Around::Both,
            count: 5,
        };
        found = found.and(
            NearSampler::default()
                .draw(graph, &questions, &plan, draw)
                .map(drop),
        );
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Files that nobody checked, with changed bytes: no read of them ends the process.
    #[test]
    fn no_changed_byte_stops_a_reader(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1..=255u8), 1..6),
        in_header in prop::option::weighted(0.2, (24..1600usize, any::<u8>())),
        index in 0..12u64,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("g.graph");
        let (mut bytes, places) = FILE.clone();
        for (section, at, change) in changes {
            let place = &places[section.index(places.len())];
            bytes[place.start + at.index(place.len())] ^= change;
        }
        if let Some((at, byte)) = in_header {
            // A header with a right digest, as somebody may have made it.
            bytes[at] = byte;
            let length = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
            let digest = xxhash_rust::xxh3::xxh3_64(&bytes[24..24 + length]);
            bytes[16..24].copy_from_slice(&digest.to_le_bytes());
        }
        fs::write(&path, bytes).unwrap();
        if let Ok(graph) = Graph::open(&path) {
            let _ = graph.check(&path);
            let _ = read(&graph, index);
        }
    }
}

#[test]
fn damaged_rows_and_numbers_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("g.graph");
    let (bytes, places) = FILE.clone();
    let opened = |section: usize, at: usize, to: &[u8]| {
        let mut bytes = bytes.clone();
        let at = places[section].start + at;
        bytes[at..at + to.len()].copy_from_slice(to);
        fs::write(&path, bytes).unwrap();
        Graph::open(&path).unwrap()
    };
    let sampled = |graph: &Graph| {
        let plan = SamplePlan::uniform(&[100]);
        let nodes: Vec<u32> = (0..NODES).collect();
        let draw = Draw {
            seed: 0,
            epoch: 0,
            index: 0,
        };
        let sampled = Sampler::new().sample(graph, &Seeds::Nodes(&nodes), &plan, draw);
        sampled.unwrap_err().to_string()
    };
    fs::write(&path, &bytes).unwrap();
    assert!(read(&Graph::open(&path).unwrap(), 1).is_ok());
    let error = sampled(&opened(0, 4, &u32::MAX.to_le_bytes()));
    assert!(
        error.contains("the row of node 0 is from 0 to 4294967295, and there are 300"),
        "{error}"
    );
    let error = sampled(&opened(1, 0, &40u32.to_le_bytes()));
    assert!(error.contains("a fact names node 40 of 40"), "{error}");
    let error = sampled(&opened(2, 0, &[9]));
    assert!(error.contains("a fact has relation 9 of 3"), "{error}");
    assert!(
        error.starts_with("the graph is damaged: ") && error.contains("graph check"),
        "{error}"
    );
}
