//! Sampling of negatives.

use rand::RngExt;

use super::near::NearDrawn;
use crate::dataset::FilterIndex;
use crate::rng::Stream;

/// Options for the sampling of negatives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negatives {
    /// Number of negatives per query.
    pub count: usize,
    /// Number of queries that share one draw.
    pub chunk: usize,
    /// True if negatives that are training facts are drawn again or masked.
    pub filtered: bool,
}

/// Most further draws before a known fact is masked instead.
const REDRAWS: usize = 8;

/// A query in the numbers of the graph, as used by the filter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub known: u32,
    pub relation: u32,
    pub head: bool,
}

impl Asked {
    /// All right answers among the training facts of the filter, ascending.
    pub fn answers<'a>(&self, filter: &'a FilterIndex) -> &'a [u32] {
        if self.head {
            filter.trained_heads(self.relation, self.known)
        } else {
            filter.trained_tails(self.known, self.relation)
        }
    }
}

/// Negatives of a batch of queries.
#[derive(Debug, Default)]
pub(super) struct Drawn {
    /// Slots per chunk: the largest number of negatives of a query.
    pub negatives: usize,
    /// Entities, `negatives` per chunk; [`NONE`] in slots beyond the number of negatives of all queries of the
    /// chunk.
    pub slots: Vec<u32>,
    /// See [`super::Candidates::Sampled`].
    pub masks: Vec<u32>,
}

/// Marks a slot without an entity.
pub(super) const NONE: u32 = u32::MAX;

impl Negatives {
    /// Draws entities for every chunk of queries, uniformly but for `near` ones, and the bits that mask known facts
    /// and slots beyond a query's number of negatives. `heads` is that number for queries for heads; `None`: the same
    /// as for tails. A near slot is never a known fact.
    pub(super) fn draw(
        &self,
        heads: Option<usize>,
        rng: &mut Stream,
        entities: u32,
        queries: &[Asked],
        filter: &FilterIndex,
        near: Option<&NearDrawn>,
    ) -> Drawn {
        let chunks = queries.len().div_ceil(self.chunk);
        let equal = heads.is_none_or(|heads| heads == self.count);
        if !self.filtered && equal && near.is_none() {
            let slots = (0..chunks * self.count).map(|_| rng.random_range(0..entities));
            return Drawn {
                negatives: self.count,
                slots: slots.collect(),
                masks: Vec::new(),
            };
        }
        let own = |query: &Asked| match heads {
            Some(heads) if query.head => heads,
            _ => self.count,
        };
        let most = |queries: &[Asked]| queries.iter().map(own).max().unwrap_or(self.count);
        let negatives = most(queries);
        let words = negatives.div_ceil(32);
        let mut slots: Vec<u32> = Vec::with_capacity(chunks * negatives);
        let mut masks = vec![0u32; queries.len() * words];
        let mut mask = |query: usize, slot: usize| {
            masks[query * words + slot / 32] |= 1 << (slot % 32);
        };
        let is_near = |slot: usize| near.is_some_and(|near| near.is_near(slot));
        for (c, sharing) in queries.chunks(self.chunk).enumerate() {
            let first = c * self.chunk;
            if let [query] = sharing
                && self.filtered
            {
                // What was drawn last is searched for already.
                let (known, own) = (query.answers(filter), own(query));
                for slot in 0..own {
                    if let Some(drawn) = near.and_then(|near| near.entity(c, slot)) {
                        slots.push(drawn);
                        continue;
                    }
                    let mut drawn = rng.random_range(0..entities);
                    let mut is_known = known.binary_search(&drawn).is_ok();
                    for _ in 0..REDRAWS {
                        if !is_known {
                            break;
                        }
                        drawn = rng.random_range(0..entities);
                        is_known = known.binary_search(&drawn).is_ok();
                    }
                    slots.push(drawn);
                    if is_known {
                        mask(first, slot);
                    }
                }
                slots.resize((c + 1) * negatives, NONE);
                (own..negatives).for_each(|slot| mask(first, slot));
                continue;
            }
            slots.extend((0..most(sharing)).map(|slot| {
                let near = near.and_then(|near| near.entity(c, slot));
                near.unwrap_or_else(|| rng.random_range(0..entities))
            }));
            slots.resize((c + 1) * negatives, NONE);
            for (i, query) in sharing.iter().enumerate() {
                let known = match self.filtered || near.is_some() {
                    true => query.answers(filter),
                    false => &[],
                };
                for (slot, drawn) in slots[c * negatives..].iter().enumerate() {
                    let is_known =
                        (self.filtered || is_near(slot)) && known.binary_search(drawn).is_ok();
                    if slot >= own(query) || is_known {
                        mask(first + i, slot);
                    }
                }
            }
        }
        if masks.iter().all(|&word| word == 0) {
            masks.clear();
        }
        Drawn {
            negatives,
            slots,
            masks,
        }
    }
}
