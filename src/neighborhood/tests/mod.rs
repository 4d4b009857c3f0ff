//! Samplers against plain ones with the same keys, against known values, and on damaged files.

pub(crate) mod batches;
mod contracts;
mod damage;
mod near;
mod ppr;
mod walks;

use proptest::prelude::*;

use crate::dataset::Triple;
use crate::graph::{Builder, Graph};

fn fact(head: u32, relation: u32, tail: u32) -> Triple {
    Triple {
        head,
        relation,
        tail,
    }
}

/// Graphs of `nodes` nodes and their facts, in the order of numbers that the builder was given. Weights and times are there
/// if `columns` says so.
fn graph(nodes: u32, relations: u32, columns: bool) -> impl Strategy<Value = (Graph, Vec<Triple>)> {
    // Few nodes at the start of the range make hubs, loops and repeated facts.
    let node = prop_oneof![0..nodes, 0..nodes.min(4)];
    let row = (node.clone(), 0..relations, node, 0..4u8, 0..20i64);
    prop::collection::vec(row, 0..200).prop_map(move |rows| {
        let facts: Vec<Triple> = rows
            .iter()
            .map(|&(head, relation, tail, ..)| fact(head, relation, tail))
            .collect();
        let weights: Vec<f32> = rows.iter().map(|row| f32::from(row.3) * 0.7).collect();
        let times: Vec<i64> = rows.iter().map(|row| row.4).collect();
        let mut builder = Builder::new(nodes, relations);
        if columns {
            builder = builder.weights(&weights).times(&times);
        }
        (builder.build(&facts).unwrap(), facts)
    })
}

/// Standard deviations between counts and a uniform distribution: those of Pearson's statistic, by Wilson and Hilferty. Each
/// round of `most` draws without replacement varies less, which is taken into account.
fn deviations(counts: &[u64], most: u32) -> f64 {
    let places = counts.len() as f64;
    let expected = counts.iter().sum::<u64>() as f64 / places;
    let found: f64 = counts
        .iter()
        .map(|&count| (count as f64 - expected).powi(2) / expected)
        .sum();
    let freedom = places - 1.0;
    let scaled = found * freedom / (places - f64::from(most));
    let variance = 2.0 / (9.0 * freedom);
    ((scaled / freedom).cbrt() - (1.0 - variance)) / variance.sqrt()
}
