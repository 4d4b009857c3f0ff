//! Plans for tables that store their rows in another order.

use super::{Candidates, Plan, Rows};

impl Plan {
    /// Gives entity row `row` the new number `name(row)`; new numbers must be distinct.
    ///
    /// Rows are sorted by their new numbers, together with their data. The places of a row keep their order, so
    /// that sums over them are the same to the bit. The right answers of a query are sorted by their new
    /// numbers too.
    pub fn renamed(mut self, name: impl Fn(u32) -> u32) -> Plan {
        let (rows, positions) = self.entities.renamed(&name);
        self.entities = rows;
        let move_to = |position: &mut u32| *position = positions[*position as usize];
        for query in &mut self.queries {
            move_to(&mut query.entity);
            move_to(&mut query.target);
        }
        for pair in &mut self.pairs {
            move_to(&mut pair.answer);
        }
        match &mut self.candidates {
            Candidates::Sampled { slots, .. } => slots.iter_mut().for_each(move_to),
            Candidates::All { offsets, positives } => {
                positives.iter_mut().for_each(|row| *row = name(*row));
                for ends in offsets.windows(2) {
                    positives[ends[0] as usize..ends[1] as usize].sort_unstable();
                }
            }
        }
        self
    }
}

impl Plan {
    /// Gives the touched entity rows these numbers, for a table with copies of rows. Returns the plan and the former
    /// numbers of the rows.
    ///
    /// # Panics
    /// If the candidates are all entities, or the numbers are not as many as the rows, or do not ascend.
    pub fn renumbered(mut self, numbers: Vec<u32>) -> (Plan, Vec<u32>) {
        assert!(
            matches!(self.candidates, Candidates::Sampled { .. }),
            "a plan whose candidates are all entities touches all rows"
        );
        assert_eq!(numbers.len(), self.entities.len(), "a number for each row");
        assert!(numbers.is_sorted_by(|a, b| a < b), "ascending numbers");
        let former = std::mem::replace(&mut self.entities.ids, numbers);
        (self, former)
    }
}

impl Rows {
    /// Renames the rows. Returns them, and the new position of each row by its old position.
    fn renamed(&self, name: impl Fn(u32) -> u32) -> (Rows, Vec<u32>) {
        // New number in the upper half, old position in the lower: plain integers sort fastest.
        let mut order: Vec<u64> = (0..)
            .zip(&self.ids)
            .map(|(position, &id)| u64::from(name(id)) << 32 | position)
            .collect();
        order.sort_unstable();
        let mut rows = Rows {
            ids: Vec::with_capacity(self.len()),
            offsets: Vec::with_capacity(self.len() + 1),
            places: Vec::with_capacity(self.places.len()),
            penalty: Vec::with_capacity(self.len()),
            occurrences: Vec::with_capacity(self.len()),
        };
        rows.offsets.push(0);
        let mut positions = vec![0; self.len()];
        for (new, word) in (0..).zip(order) {
            let old = word as u32 as usize;
            positions[old] = new;
            rows.ids.push((word >> 32) as u32);
            rows.places.extend_from_slice(self.places_of(old));
            rows.offsets.push(rows.places.len() as u32);
            rows.penalty.push(self.penalty[old]);
            rows.occurrences.push(self.occurrences[old]);
        }
        (rows, positions)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Negatives, Objective, QueryRule, Sampler};
    use super::*;
    use crate::dataset::Triple;
    use proptest::prelude::*;

    fn plan(objective: Objective, predict: bool, seed: u64) -> Plan {
        let facts = (0..60).map(|i| Triple {
            head: i * 7 % 40,
            relation: i % 3,
            tail: i * i % 40,
        });
        let rule = QueryRule {
            relations: 3,
            reciprocal: false,
        };
        let mut sampler = Sampler::new(facts.collect(), 40, rule, objective, 25);
        sampler.negatives = Negatives {
            count: 5,
            chunk: 2,
            filtered: true,
        };
        sampler.predict_relations = predict;
        sampler.seed = seed;
        sampler.plan(&sampler.order(1), 0, &mut sampler.scratch())
    }

    fn objectives() -> impl Strategy<Value = Objective> {
        prop::sample::select(vec![
            Objective::Negatives,
            Objective::OneVsAll,
            Objective::KVsAll,
        ])
    }

    proptest! {
        #[test]
        fn everything_follows_its_row(
            objective in objectives(),
            predict in any::<bool>(),
            seed in 0u64..1000,
            names in Just((0u32..40).collect::<Vec<_>>()).prop_shuffle(),
            unit in 1usize..10,
        ) {
            let plan = plan(objective, predict, seed);
            let name = |row: u32| names[row as usize];
            let renamed = plan.clone().renamed(name);

            prop_assert!(renamed.entities.ids.is_sorted_by(|a, b| a < b));
            for (old, &id) in plan.entities.ids.iter().enumerate() {
                let new = renamed.entities.ids.binary_search(&name(id)).unwrap();
                prop_assert_eq!(renamed.entities.places_of(new), plan.entities.places_of(old));
                prop_assert_eq!(renamed.entities.penalty[new], plan.entities.penalty[old]);
                prop_assert_eq!(renamed.entities.occurrences[new], plan.entities.occurrences[old]);
            }
            let row = |plan: &Plan, position: u32| plan.entities.ids[position as usize];
            for (new, old) in renamed.queries.iter().zip(&plan.queries) {
                prop_assert_eq!(row(&renamed, new.entity), name(row(&plan, old.entity)));
                prop_assert_eq!(row(&renamed, new.target), name(row(&plan, old.target)));
            }
            prop_assert_eq!(renamed.pairs.len(), plan.pairs.len());
            for (new, old) in renamed.pairs.iter().zip(&plan.pairs) {
                prop_assert_eq!(new.query, old.query);
                prop_assert_eq!(row(&renamed, new.answer), name(row(&plan, old.answer)));
            }
            match (&renamed.candidates, &plan.candidates) {
                (Candidates::Sampled { slots: new, .. }, Candidates::Sampled { slots: old, .. }) => {
                    for (&new, &old) in new.iter().zip(old) {
                        prop_assert_eq!(row(&renamed, new), name(row(&plan, old)));
                    }
                }
                (
                    Candidates::All { offsets, positives: new },
                    Candidates::All { positives: old, .. },
                ) => {
                    for ends in offsets.windows(2) {
                        let range = ends[0] as usize..ends[1] as usize;
                        let mut wanted: Vec<u32> =
                            old[range.clone()].iter().map(|&row| name(row)).collect();
                        wanted.sort_unstable();
                        prop_assert_eq!(&new[range], &wanted[..]);
                    }
                }
                _ => prop_assert!(false, "another kind of candidates"),
            }

            let back = |row: u32| names.iter().position(|&name| name == row).unwrap() as u32;
            prop_assert_eq!(&renamed.clone().renamed(back), &plan);
            let end = (unit * plan.unit()).min(plan.queries.len());
            prop_assert_eq!(renamed.slice(0..end), plan.slice(0..end).renamed(name));
        }
    }
}
