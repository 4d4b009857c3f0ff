//! Drawing negatives.

use rand::RngExt;

use crate::dataset::FilterIndex;
use crate::rng::Stream;

/// How negatives are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negatives {
    /// Negatives of a query.
    pub count: usize,
    /// Queries that share one draw.
    pub chunk: usize,
    /// Whether negatives that are training facts are drawn again or masked.
    pub filtered: bool,
}

/// Tries before an unlucky draw is masked instead.
const REDRAWS: usize = 8;

/// A query in the graph's own numbers, as the filter knows it.
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

impl Negatives {
    /// Draws entities for every chunk of queries, uniformly, and the bits that mask known facts.
    pub(super) fn draw(
        &self,
        rng: &mut Stream,
        entities: u32,
        queries: &[Asked],
        filter: &FilterIndex,
    ) -> (Vec<u32>, Vec<u32>) {
        let chunks = queries.len().div_ceil(self.chunk);
        let mut slots: Vec<u32> = Vec::with_capacity(chunks * self.count);
        if !self.filtered {
            slots.extend((0..chunks * self.count).map(|_| rng.random_range(0..entities)));
            return (slots, Vec::new());
        }
        let words = self.count.div_ceil(32);
        let mut masks = vec![0u32; queries.len() * words];
        for (c, sharing) in queries.chunks(self.chunk).enumerate() {
            let alone = (sharing.len() == 1).then(|| sharing[0].answers(filter));
            for _ in 0..self.count {
                let mut drawn = rng.random_range(0..entities);
                if let Some(known) = alone {
                    for _ in 0..REDRAWS {
                        if known.binary_search(&drawn).is_err() {
                            break;
                        }
                        drawn = rng.random_range(0..entities);
                    }
                }
                slots.push(drawn);
            }
            for (i, query) in sharing.iter().enumerate() {
                let known = query.answers(filter);
                let mask = &mut masks[(c * self.chunk + i) * words..][..words];
                for (j, drawn) in slots[c * self.count..].iter().enumerate() {
                    if known.binary_search(drawn).is_ok() {
                        mask[j / 32] |= 1 << (j % 32);
                    }
                }
            }
        }
        if masks.iter().all(|&word| word == 0) {
            masks.clear();
        }
        (slots, masks)
    }
}
