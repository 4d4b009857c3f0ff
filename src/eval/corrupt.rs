//! False facts made from true ones.

use rand::RngExt;

use crate::dataset::{FilterIndex, RelationSides, Triple};
use crate::rng::{Purpose, Stream, stream};

/// Draws of an entity before another side or set of entities is tried.
const TRIES: usize = 32;

/// Makes a false fact for each true one: replaces its head or its tail, chosen by a fair coin, by an entity
/// that training shows on that side of the relation (Socher et al. 2013), such that the result is not a known
/// fact. If none is found, tries the other side, then all entities; leaves a fact out if all attempts fail. The
/// same seed draws the same entities.
pub fn corrupt(facts: &[Triple], filter: &FilterIndex, entities: usize, seed: u64) -> Vec<Triple> {
    let sides = RelationSides::new(filter);
    let corrupted = facts.iter().enumerate().filter_map(|(index, fact)| {
        // Training uses the epoch as the first index, which is smaller.
        let mut rng = stream(seed, Purpose::Negatives, [u64::MAX, index as u64]);
        let head = rng.random_bool(0.5);
        let mut draw = |head: bool, typed: bool| {
            let side = typed.then(|| match head {
                true => sides.heads(fact.relation),
                false => sides.tails(fact.relation),
            });
            false_fact(fact, head, side, entities, filter, &mut rng)
        };
        draw(head, true)
            .or_else(|| draw(!head, true))
            .or_else(|| draw(head, false))
            .or_else(|| draw(!head, false))
    });
    corrupted.collect()
}

/// Replaces the head or the tail of a fact by an entity of `side`, or of all entities, such that the result is not
/// known; `None` if no attempt succeeds.
fn false_fact(
    fact: &Triple,
    head: bool,
    side: Option<&[u32]>,
    entities: usize,
    filter: &FilterIndex,
    rng: &mut Stream,
) -> Option<Triple> {
    if side.is_some_and(<[u32]>::is_empty) {
        return None;
    }
    let mut tried = (0..TRIES).map(|_| {
        let entity = match side {
            Some(side) => side[rng.random_range(0..side.len())],
            None => rng.random_range(0..entities as u32),
        };
        let mut other = *fact;
        *(if head {
            &mut other.head
        } else {
            &mut other.tail
        }) = entity;
        other
    });
    tried.find(|other| other != fact && !filter.contains(*other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn triple(head: u32, relation: u32, tail: u32) -> Triple {
        Triple {
            head,
            relation,
            tail,
        }
    }

    #[test]
    fn false_facts_are_false_and_of_the_relation_s_kind() {
        let train: Vec<Triple> = (0..20).map(|e| triple(e, 0, 20 + e % 7)).collect();
        let valid: Vec<Triple> = (0..20).map(|e| triple(e, 0, 20 + (e + 1) % 7)).collect();
        let filter = FilterIndex::with_held_out(40, 2, &[&train], &[&valid]);
        let drawn = corrupt(&valid, &filter, 40, 3);
        assert_eq!(drawn.len(), valid.len());
        assert_eq!(drawn, corrupt(&valid, &filter, 40, 3));
        assert_ne!(drawn, corrupt(&valid, &filter, 40, 4));
        let mut sides = [0; 2];
        for (fact, other) in valid.iter().zip(&drawn) {
            assert!(!filter.contains(*other) && other.relation == 0);
            assert!(
                other.head < 20 && (20..27).contains(&other.tail),
                "{other:?}"
            );
            sides[0] += usize::from(other.head != fact.head);
            sides[1] += usize::from(other.tail != fact.tail);
        }
        assert!(sides.iter().all(|&side| side > 2) && sides[0] + sides[1] == 20);
    }

    #[test]
    fn all_entities_are_tried_before_giving_up() {
        // One head and one tail: the only fact that training shows is known.
        let facts = [triple(0, 0, 1)];
        let filter = FilterIndex::new(3, 1, &[&facts]);
        let drawn = corrupt(&facts, &filter, 3, 0);
        assert_eq!(drawn.len(), 1);
        assert!(!filter.contains(drawn[0]));
        let all: Vec<Triple> = (0..2)
            .flat_map(|h| (0..2).map(move |t| triple(h, 0, t)))
            .collect();
        let filter = FilterIndex::new(2, 1, &[&all]);
        assert_eq!(corrupt(&all, &filter, 2, 0), []);
    }
}
