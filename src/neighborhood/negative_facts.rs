//! Negative facts: facts that the graph does not have, for losses that tell true facts from false ones.

use serde::{Deserialize, Serialize};

use super::draw::{Draw, Draws, Use};
use super::limits;
use super::{SampleError, Seeds};
use crate::dataset::Triple;
use crate::graph::{Graph, Side};

/// Draws of both ends that may be known facts before an end is chosen among those that are right.
const TRIES: usize = 64;
/// Most negative facts of a fact.
const MOST: f64 = 1024.0;

/// Negative facts for the facts of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NegativeFacts {
    /// Ends that are drawn.
    pub mode: NegativeMode,
    /// Number of negative facts of each fact. Their number in a batch is rounded up.
    #[serde(default = "one")]
    pub amount: f64,
}

fn one() -> f64 {
    1.0
}

/// Ends of a negative fact that are drawn. The words are those of PyTorch Geometric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NegativeMode {
    /// Head and tail.
    Binary,
    /// The tail.
    Triplet,
}

impl NegativeFacts {
    /// Checks the amount.
    ///
    /// # Errors
    /// [`SampleError::Setting`] if it is not above 0 and at most 1024, or tails are drawn and it is not whole.
    pub fn check(&self) -> Result<(), SampleError> {
        let fault = |range| {
            Err(SampleError::Setting {
                name: "amount of negative facts",
                value: self.amount,
                range,
            })
        };
        if !(self.amount > 0.0 && self.amount <= MOST) {
            return fault("above 0, and at most 1024");
        }
        if self.mode == NegativeMode::Triplet && self.amount.fract() != 0.0 {
            return fault("a whole number where the mode is triplet");
        }
        Ok(())
    }

    /// Number of negative facts of so many facts.
    pub fn count(&self, facts: usize) -> usize {
        (facts as f64 * self.amount).ceil() as usize
    }

    /// Draws the negative facts of a batch: facts that neither the graph nor the batch has, uniformly. The same draw
    /// gives the same facts.
    ///
    /// [`NegativeMode::Triplet`]: of each fact in turn, as many as the amount, with its head and relation.
    /// [`NegativeMode::Binary`]: the *i*-th has the relation of fact *i* modulo the number of facts.
    ///
    /// # Errors
    /// If the amount or a fact is out of range, no fact is left that could be negative, or the graph is damaged.
    pub fn draw(
        &self,
        graph: &Graph,
        facts: &[Triple],
        draw: Draw,
    ) -> Result<Vec<Triple>, SampleError> {
        self.check()?;
        limits::whole(graph)?;
        limits::seeds(graph.nodes(), &Seeds::Facts(facts))?;
        let relations = graph.relations();
        if let Some(at) = facts.iter().position(|fact| fact.relation >= relations) {
            let id = facts[at].relation;
            return Err(SampleError::Relation { at, id, relations });
        }
        let mut given = facts.to_vec();
        given.sort_unstable();
        let mut known = Known {
            graph,
            given,
            tails: Vec::new(),
        };
        let key = draw.key_of(Use::NegativeFacts);
        let count = self.count(facts.len());
        let mut drawn = Vec::with_capacity(count);
        for place in 0..count {
            let mut draws = key.row(0, place as u32);
            let (at, found) = match self.mode {
                NegativeMode::Binary => {
                    let at = place % facts.len();
                    (at, known.wrong_fact(facts[at].relation, &mut draws)?)
                }
                NegativeMode::Triplet => {
                    let at = place / self.amount as usize;
                    let Triple { head, relation, .. } = facts[at];
                    (at, known.wrong_tail(head, relation, &mut draws)?)
                }
            };
            let relation = facts[at].relation;
            drawn.push(found.ok_or(SampleError::NoNegative { at, relation })?);
        }
        Ok(drawn)
    }
}

/// Facts that are not negative.
struct Known<'a> {
    graph: &'a Graph,
    /// Facts of the batch, ascending: they may be none of the graph's.
    given: Vec<Triple>,
    /// Known tails of one head and relation.
    tails: Vec<u32>,
}

impl Known<'_> {
    fn has(&self, fact: &Triple) -> Result<bool, SampleError> {
        let rows = self.graph.rows(Side::Out);
        let places = rows.find(fact.head, fact.relation, fact.tail)?;
        Ok(!places.is_empty() || self.given.binary_search(fact).is_ok())
    }

    /// Negative fact with a head and a relation; `None` if they have every tail.
    fn wrong_tail(
        &mut self,
        head: u32,
        relation: u32,
        draws: &mut Draws,
    ) -> Result<Option<Triple>, SampleError> {
        let rows = self.graph.rows(Side::Out);
        let tails = &mut self.tails;
        tails.clear();
        tails.extend_from_slice(&rows.neighbors[rows.of_relation(head, relation)?]);
        let first = self
            .given
            .partition_point(|fact| (fact.head, fact.relation) < (head, relation));
        let of_both = |fact: &&Triple| (fact.head, fact.relation) == (head, relation);
        let given = self.given[first..].iter().take_while(of_both);
        tails.extend(given.map(|fact| fact.tail));
        tails.sort_unstable();
        tails.dedup();
        let wrong = self.graph.nodes().saturating_sub(tails.len() as u32);
        if wrong == 0 {
            return Ok(None);
        }
        let tail = unlisted(tails, draws.below(wrong));
        Ok(Some(Triple {
            head,
            relation,
            tail,
        }))
    }

    /// Negative fact with a relation; `None` if it holds between all nodes.
    fn wrong_fact(
        &mut self,
        relation: u32,
        draws: &mut Draws,
    ) -> Result<Option<Triple>, SampleError> {
        let nodes = self.graph.nodes();
        for _ in 0..TRIES {
            let fact = Triple {
                head: draws.below(nodes),
                relation,
                tail: draws.below(nodes),
            };
            if !self.has(&fact)? {
                return Ok(Some(fact));
            }
        }
        // The relation holds nearly everywhere.
        let first = draws.below(nodes);
        for head in (first..nodes).chain(0..first) {
            if let Some(fact) = self.wrong_tail(head, relation, draws)? {
                return Ok(Some(fact));
            }
        }
        Ok(None)
    }
}

/// Number that has `place` numbers before it, of those that an ascending list does not have.
fn unlisted(listed: &[u32], place: u32) -> u32 {
    let (mut low, mut high) = (0, listed.len());
    while low < high {
        let middle = usize::midpoint(low, high);
        // Before a listed number are as many unlisted ones as it is larger than its place.
        if listed[middle] - middle as u32 <= place {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    place + low as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Builder;

    fn fact(head: u32, relation: u32, tail: u32) -> Triple {
        Triple {
            head,
            relation,
            tail,
        }
    }

    fn of(mode: NegativeMode, amount: f64) -> NegativeFacts {
        NegativeFacts { mode, amount }
    }

    fn draw(index: u64) -> Draw {
        Draw {
            seed: 3,
            epoch: 1,
            index,
        }
    }

    /// Head 0 has every even tail of relation 0, and relation 1 holds between all nodes.
    fn graph() -> Graph {
        let even = (0..10).map(|half| fact(0, 0, 2 * half));
        let all = (0..20).flat_map(|head| (0..20).map(move |tail| fact(head, 1, tail)));
        let facts: Vec<Triple> = even.chain(all).collect();
        Builder::new(20, 2).build(&facts).unwrap()
    }

    #[test]
    fn tails_are_wrong_and_uniform() {
        let graph = graph();
        // Tail 19 is not in the graph, but it is in the batch.
        let facts = [fact(0, 0, 4), fact(0, 0, 19)];
        let negatives = of(NegativeMode::Triplet, 500.0);
        let mut counts = [0u32; 20];
        for index in 0..18 {
            let drawn = negatives.draw(&graph, &facts, draw(index)).unwrap();
            assert_eq!(drawn.len(), 1000);
            for wrong in drawn {
                assert_eq!((wrong.head, wrong.relation), (0, 0));
                counts[wrong.tail as usize] += 1;
            }
        }
        for (tail, &count) in counts.iter().enumerate() {
            match tail % 2 == 1 && tail != 19 {
                // 18,000 draws of 9 tails: 2,000 each, with a standard deviation of 42.
                true => assert!(count.abs_diff(2000) < 210, "{tail}: {count}"),
                false => assert_eq!(count, 0, "{tail}"),
            }
        }
    }

    #[test]
    fn pairs_are_wrong_and_those_of_a_draw() {
        let graph = graph();
        let facts = [fact(0, 0, 4), fact(3, 0, 3), fact(5, 0, 6)];
        let negatives = of(NegativeMode::Binary, 2.5);
        let drawn = negatives.draw(&graph, &facts, draw(0)).unwrap();
        assert_eq!(drawn.len(), 8);
        assert_eq!(drawn, negatives.draw(&graph, &facts, draw(0)).unwrap());
        assert_ne!(drawn, negatives.draw(&graph, &facts, draw(1)).unwrap());
        for index in 0..300 {
            for wrong in negatives.draw(&graph, &facts, draw(index)).unwrap() {
                assert!(!(wrong.head == 0 && wrong.tail % 2 == 0), "{wrong:?}");
                assert!(!facts.contains(&wrong), "{wrong:?}");
                assert!(wrong.relation == 0 && wrong.head.max(wrong.tail) < 20);
            }
        }
        assert!(negatives.draw(&graph, &[], draw(0)).unwrap().is_empty());
    }

    #[test]
    fn the_only_wrong_pair_is_found() {
        let pairs = (0..30).flat_map(|head| (0..30).map(move |tail| (head, tail)));
        let facts: Vec<Triple> = pairs
            .filter(|&pair| pair != (17, 4))
            .map(|(head, tail)| fact(head, 0, tail))
            .collect();
        let graph = Builder::new(30, 1).build(&facts).unwrap();
        let negatives = of(NegativeMode::Binary, 1.0);
        let drawn = negatives.draw(&graph, &facts[..20], draw(0)).unwrap();
        assert_eq!(drawn, vec![fact(17, 0, 4); 20]);
    }

    #[test]
    fn relations_that_hold_everywhere_have_no_negatives() {
        let graph = graph();
        for mode in [NegativeMode::Binary, NegativeMode::Triplet] {
            let facts = [fact(0, 0, 0), fact(7, 1, 2)];
            let error = of(mode, 1.0).draw(&graph, &facts, draw(0)).unwrap_err();
            assert_eq!(error, SampleError::NoNegative { at: 1, relation: 1 });
        }
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let graph = graph();
        let refused = |negatives: NegativeFacts, facts: &[Triple]| {
            let error = negatives.draw(&graph, facts, draw(0)).unwrap_err();
            error.to_string()
        };
        for amount in [0.0, -1.0, f64::NAN, f64::INFINITY, 1025.0] {
            let told = refused(of(NegativeMode::Binary, amount), &[]);
            assert!(told.ends_with("above 0, and at most 1024"), "{told}");
        }
        let told = refused(of(NegativeMode::Triplet, 1.5), &[]);
        assert!(told.contains("1.5; it is a whole number"), "{told}");
        let one = of(NegativeMode::Binary, 1.0);
        assert!(refused(one, &[fact(0, 0, 20)]).contains("node 20"));
        assert!(refused(one, &[fact(0, 2, 0)]).contains("relation 2"));
    }
}
