//! Orders of nodes. Nodes that are read together should lie together.

use rayon::prelude::*;

use crate::dataset::Triple;

/// Nodes by falling number of facts, on both sides together; equal ones by rising number.
///
/// # Panics
/// If a fact names a node from `nodes` on.
pub fn by_degree(nodes: u32, facts: &[Triple]) -> Vec<u32> {
    let mut degrees = vec![0u32; nodes as usize];
    for fact in facts {
        degrees[fact.head as usize] += 1;
        degrees[fact.tail as usize] += 1;
    }
    let mut order: Vec<u32> = (0..nodes).collect();
    order.par_sort_unstable_by_key(|&node| (std::cmp::Reverse(degrees[node as usize]), node));
    order
}

/// Numbers the nodes of facts anew. `order` has the earlier number of each node, by its new one.
///
/// # Panics
/// If a fact names a node that the order does not have.
pub fn renumber(facts: &mut [Triple], order: &[u32]) {
    let mut numbers = vec![0; order.len()];
    for (number, &node) in (0..).zip(order) {
        numbers[node as usize] = number;
    }
    facts.par_iter_mut().for_each(|fact| {
        fact.head = numbers[fact.head as usize];
        fact.tail = numbers[fact.tail as usize];
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hubs_come_first_and_facts_stay_the_same() {
        let fact = |head, tail| Triple {
            head,
            relation: 0,
            tail,
        };
        let before = [fact(3, 0), fact(3, 1), fact(1, 3)];
        let order = by_degree(5, &before);
        assert_eq!(order, [3, 1, 0, 2, 4]);
        let mut after = before;
        renumber(&mut after, &order);
        assert_eq!(after, [fact(0, 2), fact(0, 1), fact(1, 0)]);
        let back = after.map(|new| fact(order[new.head as usize], order[new.tail as usize]));
        assert_eq!(back, before);
    }
}
