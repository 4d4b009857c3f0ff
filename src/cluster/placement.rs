//! Holders of shards: a pure function of the nodes and of the holders before.

use std::collections::BTreeMap;

use crate::ids::WorkerId;

/// Chooses `replicas` holders for every shard, on different nodes; fewer where there are fewer nodes. The first
/// holder of a shard answers pulls.
///
/// Holders that are still there stay, unless a node has more shards than its share; then shards move to the nodes
/// that have the fewest. Nodes hold equal numbers of bytes to within one shard of each replica. The same arguments
/// give the same holders.
///
/// `bytes` has the size of every shard, `nodes` ascend, and `before` has the holders until now; nodes that are gone
/// are ignored.
pub fn place(
    bytes: &[u64],
    nodes: &[WorkerId],
    replicas: usize,
    before: &[Vec<WorkerId>],
) -> Vec<Vec<WorkerId>> {
    let replicas = replicas.clamp(1, nodes.len().max(1));
    let mut holders = vec![Vec::new(); bytes.len()];
    let none = Vec::new();
    let total: u128 = bytes.iter().map(|&b| u128::from(b)).sum();
    let share = total.div_ceil(nodes.len().max(1) as u128);
    for replica in 0..replicas {
        let mut load: BTreeMap<WorkerId, u128> = nodes.iter().map(|&node| (node, 0)).collect();
        let mut homeless = Vec::new();
        // Large shards first: small ones fill the gaps.
        let mut order: Vec<usize> = (0..bytes.len()).collect();
        order.sort_by_key(|&shard| (std::cmp::Reverse(bytes[shard]), shard));
        for &shard in &order {
            let size = u128::from(bytes[shard]);
            let taken: &Vec<WorkerId> = &holders[shard];
            let earlier = before.get(shard).unwrap_or(&none);
            // Any earlier holder will do: a former backup has the same rows as the first holder.
            let stay = (earlier.iter()).find(|&holder| {
                let room = load.get(holder).is_some_and(|&load| load < share);
                room && !taken.contains(holder)
            });
            match stay {
                Some(&holder) => {
                    *load.entry(holder).or_default() += size;
                    holders[shard].push(holder);
                }
                None => homeless.push(shard),
            }
        }
        for shard in homeless {
            let taken = &holders[shard];
            let free = load.iter().filter(|(node, _)| !taken.contains(node));
            // Ties go to the lowest number.
            if let Some((&holder, _)) = free.min_by_key(|&(&node, &load)| (load, node)) {
                *load.entry(holder).or_default() += u128::from(bytes[shard]);
                holders[shard].push(holder);
            }
        }
        debug_assert!(
            holders
                .iter()
                .all(|h| nodes.is_empty() || h.len() == replica + 1)
        );
    }
    holders
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nodes(numbers: &[u32]) -> Vec<WorkerId> {
        numbers.iter().copied().map(WorkerId).collect()
    }

    fn load(bytes: &[u64], holders: &[Vec<WorkerId>], node: WorkerId) -> u64 {
        let held = bytes.iter().zip(holders).filter(|(_, h)| h.contains(&node));
        held.map(|(b, _)| b).sum()
    }

    proptest! {
        #[test]
        fn loads_are_even_and_holders_differ(
            bytes in prop::collection::vec(1u64..100, 0..40), count in 1u32..8, replicas in 1usize..4,
        ) {
            let nodes: Vec<WorkerId> = (0..count).map(WorkerId).collect();
            let holders = place(&bytes, &nodes, replicas, &[]);
            let most = bytes.iter().max().copied().unwrap_or(0);
            for of in &holders {
                prop_assert_eq!(of.len(), replicas.min(nodes.len()));
                let mut sorted = of.clone();
                sorted.sort_unstable();
                sorted.dedup();
                prop_assert_eq!(sorted.len(), of.len());
            }
            let loads: Vec<u64> = nodes.iter().map(|&n| load(&bytes, &holders, n)).collect();
            let (least, largest) = (loads.iter().min().unwrap(), loads.iter().max().unwrap());
            prop_assert!(largest - least <= most * 2 * replicas as u64, "{:?}", loads);
            prop_assert_eq!(&holders, &place(&bytes, &nodes, replicas, &[]));
        }

        #[test]
        fn shards_of_those_who_stay_do_not_move_when_one_leaves(
            shards in 1usize..40, count in 2u32..8, gone in any::<prop::sample::Index>(),
        ) {
            let bytes = vec![10; shards];
            let nodes: Vec<WorkerId> = (0..count).map(WorkerId).collect();
            let before = place(&bytes, &nodes, 1, &[]);
            let gone = nodes[gone.index(nodes.len())];
            let left: Vec<WorkerId> = nodes.iter().copied().filter(|&n| n != gone).collect();
            let after = place(&bytes, &left, 1, &before);
            for (before, after) in before.iter().zip(&after) {
                prop_assert!(before == after || before[0] == gone);
            }
        }
    }

    #[test]
    fn a_joiner_gets_its_share() {
        let bytes = [10; 8];
        let before = place(&bytes, &nodes(&[0, 1]), 1, &[]);
        let after = place(&bytes, &nodes(&[0, 1, 2, 3]), 1, &before);
        for node in nodes(&[0, 1, 2, 3]) {
            assert_eq!(load(&bytes, &after, node), 20);
        }
        let moved = before.iter().zip(&after).filter(|(b, a)| b != a).count();
        assert_eq!(moved, 4);
    }
}
