//! Numbers of nodes within a batch.

/// Mark of a node that the batch does not have.
const ABSENT: u32 = u32::MAX;
/// Graphs with more nodes use a hash table: beyond the processor's cache, a smaller table is faster.
const DIRECT: u32 = 1 << 23;

/// Map from nodes of the graph to nodes of a batch.
#[derive(Debug)]
pub(super) enum Relabel {
    /// A number for each node of the graph.
    Direct(Vec<u32>),
    /// A hash table with linear probing: node in the upper half, number in the lower.
    Table(Table),
}

/// Hash table of nodes.
#[derive(Debug)]
pub(super) struct Table {
    slots: Vec<u64>,
    shift: u32,
    used: usize,
}

const FREE: u64 = u64::MAX;
/// Slots for each node from which on nodes are taken out of a table one by one.
const FEW: usize = 16;

impl Relabel {
    /// Makes an empty map for a graph with `nodes` nodes.
    pub fn new(nodes: u32) -> Relabel {
        match nodes <= DIRECT {
            true => Relabel::Direct(vec![ABSENT; nodes as usize]),
            false => Relabel::Table(Table::new(1 << 12)),
        }
    }

    /// Returns whether the map is for a graph with `nodes` nodes.
    pub fn fits(&self, nodes: u32) -> bool {
        match self {
            Relabel::Direct(map) => map.len() == nodes as usize,
            Relabel::Table(_) => nodes > DIRECT,
        }
    }

    /// Forgets all nodes; `nodes` are those that it has.
    pub fn clear(&mut self, nodes: &[u32]) {
        match self {
            Relabel::Direct(map) => nodes.iter().for_each(|&node| map[node as usize] = ABSENT),
            Relabel::Table(table) => table.clear(nodes),
        }
    }

    /// Asks the processor to fetch the place of a node.
    #[inline]
    pub fn prefetch(&self, node: u32) {
        match self {
            Relabel::Direct(map) => prefetch(map, node as usize),
            Relabel::Table(table) => prefetch(&table.slots, table.slot(node)),
        }
    }

    /// Numbers of nodes, in turn. New nodes are appended to `nodes`, of which the map has all.
    ///
    /// # Panics
    /// If a node is not in the graph.
    #[inline]
    pub fn number(&mut self, targets: &[u32], nodes: &mut Vec<u32>, numbers: &mut Vec<u32>) {
        match self {
            Relabel::Direct(map) => {
                // Without branches: whether a node is new cannot be foreseen.
                let before = nodes.len();
                nodes.resize(before + targets.len(), 0);
                let mut count = before;
                for &target in targets {
                    let place = &mut map[target as usize];
                    let new = *place == ABSENT;
                    let number = if new { count as u32 } else { *place };
                    *place = number;
                    nodes[count] = target;
                    count += usize::from(new);
                    numbers.push(number);
                }
                nodes.truncate(count);
            }
            Relabel::Table(table) => {
                table.reserve(targets.len());
                for &target in targets {
                    numbers.push(table.number(target, nodes));
                }
            }
        }
    }
}

impl Table {
    fn new(slots: usize) -> Table {
        Table {
            slots: vec![FREE; slots],
            shift: 64 - slots.trailing_zeros(),
            used: 0,
        }
    }

    #[inline]
    fn slot(&self, node: u32) -> usize {
        (u64::from(node).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize
    }

    /// Forgets all nodes. The time is that of their number, not that of the largest batch so far.
    fn clear(&mut self, nodes: &[u32]) {
        if nodes.len() > self.slots.len() / FEW {
            self.slots.fill(FREE);
        } else {
            let mask = self.slots.len() - 1;
            for &node in nodes {
                // No free slot lies between a node's own and the one where the node is, unless all behind it are free, too.
                let mut slot = self.slot(node);
                while self.slots[slot] != FREE {
                    self.slots[slot] = FREE;
                    slot = (slot + 1) & mask;
                }
            }
        }
        self.used = 0;
    }

    fn reserve(&mut self, more: usize) {
        let needed = 2 * (self.used + more);
        if needed <= self.slots.len() {
            return;
        }
        let old = std::mem::replace(self, Table::new(needed.next_power_of_two()));
        for entry in old.slots.into_iter().filter(|&entry| entry != FREE) {
            let mut slot = self.slot((entry >> 32) as u32);
            while self.slots[slot] != FREE {
                slot = (slot + 1) & (self.slots.len() - 1);
            }
            self.slots[slot] = entry;
        }
        self.used = old.used;
    }

    #[inline]
    fn number(&mut self, node: u32, nodes: &mut Vec<u32>) -> u32 {
        let mask = self.slots.len() - 1;
        let mut slot = self.slot(node);
        loop {
            let entry = self.slots[slot];
            if (entry >> 32) as u32 == node && entry != FREE {
                return entry as u32;
            }
            if entry == FREE {
                let number = nodes.len() as u32;
                self.slots[slot] = u64::from(node) << 32 | u64::from(number);
                self.used += 1;
                nodes.push(node);
                return number;
            }
            slot = (slot + 1) & mask;
        }
    }
}

/// Asks the processor to fetch an element, if there is one.
#[inline(always)]
pub(super) fn prefetch<T>(of: &[T], at: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing, whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch(of.as_ptr().wrapping_add(at).cast(), _MM_HINT_T0);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (of, at);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NODES: u32 = 3000;

    /// Batches of nodes, few and many, with repeated ones.
    fn batches() -> impl Strategy<Value = Vec<Vec<Vec<u32>>>> {
        let node = prop_oneof![0..NODES, 0..20u32];
        let block = prop_oneof![
            prop::collection::vec(node.clone(), 0..8),
            prop::collection::vec(node, 0..900)
        ];
        prop::collection::vec(prop::collection::vec(block, 0..5), 1..8)
    }

    proptest! {
        /// A table, which graphs of many nodes have, numbers as a list does, also after it was cleared.
        #[test]
        fn tables_number_as_lists_do(batches in batches()) {
            let mut list = Relabel::new(NODES);
            let mut table = Relabel::Table(Table::new(16));
            for batch in batches {
                let (mut expected, mut found) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
                for targets in &batch {
                    list.number(targets, &mut expected.0, &mut expected.1);
                    table.number(targets, &mut found.0, &mut found.1);
                }
                prop_assert_eq!(&found, &expected);
                list.clear(&expected.0);
                table.clear(&found.0);
                if let Relabel::Table(table) = &table {
                    prop_assert!(table.used == 0 && table.slots.iter().all(|&slot| slot == FREE));
                }
            }
        }
    }

    #[test]
    fn graphs_of_many_nodes_have_a_table() {
        assert!(matches!(Relabel::new(DIRECT), Relabel::Direct(_)));
        let table = Relabel::new(DIRECT + 1);
        assert!(matches!(table, Relabel::Table(_)));
        assert!(table.fits(u32::MAX - 1) && !table.fits(DIRECT));
    }
}
