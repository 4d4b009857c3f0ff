//! Seeds of a channel: lists that the graph has, or that were given.

use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64;

use super::{SeedSpec, Select, Slice, Source, StoreError};
use crate::dataset::Triple;
use crate::graph::Side;
use crate::neighborhood::{SampleError, Seeds};

/// Nodes of a selection: a range of all, or of a relation's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Selected {
    All(Range<u32>),
    OfRelation {
        side: Side,
        relation: u32,
        rows: Range<u32>,
    },
}

impl Selected {
    /// Finds the nodes of a slice of a selection.
    ///
    /// # Errors
    /// If the graph does not have the relation, or the slice is not one.
    pub fn find(graph: &impl Source, of: Select, slice: Slice) -> Result<Selected, StoreError> {
        let (side, relation) = match of {
            Select::All => {
                let own = graph.own_nodes();
                let rows = slice.rows(own.len() as u32)?;
                return Ok(Selected::All(own.start + rows.start..own.start + rows.end));
            }
            Select::Heads(relation) => (Side::Out, relation),
            Select::Tails(relation) => (Side::In, relation),
        };
        let relations = graph.counts().relations;
        if relation >= relations {
            let id = relation;
            return Err(StoreError::Relation { id, relations });
        }
        let rows = slice.rows(graph.nodes_of(side, relation)?)?;
        Ok(Selected::OfRelation {
            side,
            relation,
            rows,
        })
    }

    fn rows(&self) -> &Range<u32> {
        match self {
            Selected::All(rows) | Selected::OfRelation { rows, .. } => rows,
        }
    }

    /// Nodes at rows of the selection.
    fn gather(
        &self,
        graph: &impl Source,
        rows: impl Iterator<Item = u32>,
    ) -> Result<Vec<u32>, StoreError> {
        Ok(match self {
            Selected::All(nodes) => rows.map(|row| nodes.start + row).collect(),
            &Selected::OfRelation {
                side,
                relation,
                rows: ref of,
            } => {
                let places: Vec<u32> = rows.map(|row| of.start + row).collect();
                graph.nodes_at(side, relation, &places)?
            }
        })
    }

    /// All of the nodes.
    ///
    /// # Errors
    /// If the graph's file is damaged.
    pub fn nodes(&self, graph: &impl Source) -> Result<Vec<u32>, StoreError> {
        self.gather(graph, 0..self.rows().len() as u32)
    }
}

/// Seeds of a channel, in their own order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SeedList {
    Selected(Selected),
    Listed(Vec<u32>),
    Timed(Vec<u32>, Vec<i64>),
    Facts(Range<u32>),
    ListedFacts(Vec<Triple>),
}

/// Seeds of one batch.
#[derive(Debug)]
pub(super) enum Gathered {
    Nodes(Vec<u32>),
    Timed(Vec<u32>, Vec<i64>),
    Facts(Vec<Triple>),
}

impl Gathered {
    /// Seeds as samplers take them.
    pub fn seeds(&self) -> Seeds<'_> {
        match self {
            Gathered::Nodes(nodes) => Seeds::Nodes(nodes),
            Gathered::Timed(nodes, times) => Seeds::Timed(nodes, times),
            Gathered::Facts(facts) => Seeds::Facts(facts),
        }
    }
}

impl SeedList {
    /// Finds the seeds of a specification.
    ///
    /// # Errors
    /// If the graph does not have a node, a relation or a fact, or the specification makes no sense.
    pub fn find(graph: &impl Source, spec: &SeedSpec) -> Result<SeedList, StoreError> {
        let list = match spec {
            &SeedSpec::Nodes { of, slice } => SeedList::Selected(Selected::find(graph, of, slice)?),
            SeedSpec::Listed(nodes) => SeedList::Listed(nodes.clone()),
            SeedSpec::Timed { nodes, times } => {
                if nodes.len() != times.len() {
                    let (times, seeds) = (times.len(), nodes.len());
                    return Err(SampleError::Times { times, seeds }.into());
                }
                SeedList::Timed(nodes.clone(), times.clone())
            }
            SeedSpec::Facts { slice } => SeedList::Facts(slice.rows(graph.counts().facts)?),
            SeedSpec::ListedFacts(facts) => SeedList::ListedFacts(facts.clone()),
        };
        list.check(graph)?;
        Ok(list)
    }

    /// Checks that the graph has the nodes that were given.
    fn check(&self, graph: &impl Source) -> Result<(), StoreError> {
        let (nodes, relations) = (graph.counts().nodes, graph.counts().relations);
        let found = match self {
            SeedList::Listed(of) | SeedList::Timed(of, _) => {
                let at = of.iter().position(|&node| node >= nodes);
                at.map(|at| (at, of[at]))
            }
            SeedList::ListedFacts(facts) => {
                let of_fact = |fact: &Triple| {
                    let ends = [fact.head, fact.tail];
                    ends.into_iter().find(|&node| node >= nodes)
                };
                let wrong = facts.iter().position(|fact| fact.relation >= relations);
                if let Some(at) = wrong {
                    let id = facts[at].relation;
                    return Err(SampleError::Relation { at, id, relations }.into());
                }
                facts
                    .iter()
                    .enumerate()
                    .find_map(|(at, fact)| of_fact(fact).map(|node| (at, node)))
            }
            SeedList::Selected(_) | SeedList::Facts(_) => None,
        };
        if self.long() {
            let what = format!("{} seeds; at most {}", self.given(), u32::MAX - 1);
            return Err(StoreError::setting("seeds", what));
        }
        match found {
            Some((at, id)) => Err(SampleError::Seed { at, id, nodes }.into()),
            None => Ok(()),
        }
    }

    fn given(&self) -> usize {
        match self {
            SeedList::Selected(selected) => selected.rows().len(),
            SeedList::Listed(nodes) | SeedList::Timed(nodes, _) => nodes.len(),
            SeedList::Facts(facts) => facts.len(),
            SeedList::ListedFacts(facts) => facts.len(),
        }
    }

    fn long(&self) -> bool {
        self.given() >= u32::MAX as usize
    }

    /// Number of seeds.
    pub fn len(&self) -> u32 {
        self.given() as u32
    }

    /// Returns whether seeds are facts.
    pub fn are_facts(&self) -> bool {
        matches!(self, SeedList::Facts(_) | SeedList::ListedFacts(_))
    }

    /// Bytes that the list takes.
    pub fn bytes(&self) -> u64 {
        let each = match self {
            SeedList::Selected(_) | SeedList::Facts(_) => 0,
            SeedList::Listed(_) => 4,
            SeedList::Timed(..) | SeedList::ListedFacts(_) => 12,
        };
        each * self.given() as u64
    }

    /// Digest of the seeds.
    pub fn digest(&self) -> u64 {
        match self {
            SeedList::Selected(_) | SeedList::Facts(_) => xxh3_64(format!("{self:?}").as_bytes()),
            SeedList::Listed(nodes) => xxh3_64(bytemuck::cast_slice(nodes)),
            SeedList::Timed(nodes, times) => {
                xxh3_64(bytemuck::cast_slice(nodes)) ^ xxh3_64(bytemuck::cast_slice(times))
            }
            SeedList::ListedFacts(facts) => xxh3_64(bytemuck::cast_slice(facts)),
        }
    }

    /// Seeds at places of the list.
    ///
    /// # Errors
    /// If the graph's file is damaged.
    ///
    /// # Panics
    /// If there are not that many.
    pub fn gather(
        &self,
        graph: &impl Source,
        places: impl Iterator<Item = u32>,
    ) -> Result<Gathered, StoreError> {
        Ok(match self {
            SeedList::Selected(selected) => Gathered::Nodes(selected.gather(graph, places)?),
            SeedList::Listed(nodes) => {
                Gathered::Nodes(places.map(|at| nodes[at as usize]).collect())
            }
            SeedList::Timed(nodes, times) => {
                let pairs = places.map(|at| (nodes[at as usize], times[at as usize]));
                let (nodes, times) = pairs.unzip();
                Gathered::Timed(nodes, times)
            }
            SeedList::Facts(facts) => {
                let numbers: Vec<u32> = places.map(|at| facts.start + at).collect();
                Gathered::Facts(graph.facts_at(&numbers)?)
            }
            SeedList::ListedFacts(facts) => {
                Gathered::Facts(places.map(|at| facts[at as usize]).collect())
            }
        })
    }
}
