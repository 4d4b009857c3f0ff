use std::collections::BTreeSet;

use proptest::prelude::*;
use rand::RngExt;

use super::*;
use crate::dataset::Triple;
use crate::rng::{Purpose, stream};
use crate::sampler::{Negatives, Objective, PlanSource, QueryRule, Sampler, Sides};

/// A plan, and ends of slices that workers could have.
fn plans() -> impl Strategy<Value = (Plan, Vec<usize>)> {
    samplers().prop_map(|(_, plan, ends)| (plan, ends))
}

/// A sampler, the plan of its first step, and ends of slices that workers could have.
fn samplers() -> impl Strategy<Value = (Sampler, Plan, Vec<usize>)> {
    use Objective::{KVsAll, Negatives as Drawn, OneVsAll};
    let objective = prop::sample::select(vec![Drawn, Drawn, OneVsAll, KVsAll]);
    let sides = prop::sample::select(vec![Sides::Both, Sides::Tail, Sides::Bernoulli]);
    let chunk = prop::sample::select(vec![1usize, 2, 3, 8]);
    let flags = any::<[bool; 6]>();
    let cuts = prop::collection::vec(0.0..1.0, 0..6);
    (objective, sides, chunk, flags, 0u64..1000, cuts).prop_map(
        |(
            objective,
            sides,
            chunk,
            [reciprocal, filtered, weighted, frequency, predict, core],
            seed,
            cuts,
        )| {
            let rng = &mut stream(seed, Purpose::Split, [0, 0]);
            let facts = (0..rng.random_range(1..60)).map(|_| Triple {
                head: rng.random_range(0..20),
                relation: rng.random_range(0..4),
                tail: rng.random_range(0..20),
            });
            let (facts, relations) = (facts.collect::<Vec<_>>(), 4);
            let rule = QueryRule {
                relations,
                reciprocal,
            };
            let batch = rng.random_range(1..=facts.len());
            let mut sampler = Sampler::new(facts, 20, rule, objective, batch);
            sampler.negatives = Negatives {
                count: 35,
                chunk,
                filtered,
            };
            sampler.sides = sides;
            sampler.weighted_penalty = weighted;
            sampler.frequency_weights = frequency;
            sampler.predict_relations = predict;
            sampler.core_rows = if core { 3 } else { 0 };
            let plan = sampler.plan(&sampler.order(1), 0, &mut sampler.scratch());
            let n = plan.queries.len();
            let units = n.div_ceil(plan.unit());
            let ends = cuts
                .iter()
                .map(|&cut: &f64| (cut * (units + 1) as f64) as usize);
            let mut ends: Vec<usize> = ends.map(|unit| n.min(unit * plan.unit())).collect();
            ends.extend([0, n]);
            ends.sort_unstable();
            (sampler, plan, ends)
        },
    )
}

fn slices(plan: &Plan, ends: &[usize]) -> Vec<Plan> {
    ends.windows(2)
        .map(|ends| plan.slice(ends[0]..ends[1]))
        .collect()
}

/// A query in the numbers of the graph: known entity, relation, direction, target, right answers, and the
/// unmasked negatives.
type Spelled = (u32, u32, u32, u32, Vec<u32>, Vec<u32>);

fn spelled(plan: &Plan) -> Vec<Spelled> {
    let entity = |position: u32| plan.entities.ids[position as usize];
    let spell = |(q, query): (usize, &Query)| {
        let (right, wrong) = match &plan.candidates {
            Candidates::Sampled {
                chunk,
                negatives,
                slots,
                masks,
            } => {
                let words = negatives.div_ceil(32);
                let kept =
                    |j: &usize| masks.is_empty() || masks[q * words + j / 32] >> (j % 32) & 1 == 0;
                let slots = &slots[q / chunk * negatives..][..*negatives];
                let kept = (0..*negatives).filter(kept).map(|j| entity(slots[j]));
                (vec![], kept.collect())
            }
            Candidates::All { offsets, positives } => (
                positives[offsets[q] as usize..offsets[q + 1] as usize].to_vec(),
                vec![],
            ),
        };
        let relation = plan.relations.ids[query.relation as usize];
        let (known, target) = (entity(query.entity), entity(query.target));
        (known, relation, query.inverse, target, right, wrong)
    };
    plan.queries.iter().enumerate().map(spell).collect()
}

/// Places of row `i`, in the numbers of the whole plan.
fn places(plan: &Plan, rows: &Rows, i: usize, slots: usize, pairs: usize) -> Vec<Place> {
    let first = plan.first_query;
    let name = |&word: &u32| match Place::unpack(word) {
        Place::Input(q) => Place::Input(first + q),
        Place::Positive(q) => Place::Positive(first + q),
        Place::Slot(s) => Place::Slot(slots as u32 + s),
        Place::Pair(end) => Place::Pair(2 * pairs as u32 + end),
    };
    rows.places_of(i).iter().map(name).collect()
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-6 * (1.0 + a.abs())
}

proptest! {
    #[test]
    fn a_plan_for_some_queries_has_the_slices_of_the_whole_plan((sampler, plan, ends) in samplers()) {
        let (source, id): (&dyn PlanSource, _) = (&sampler, PlanId { epoch: 1, step: 0 });
        prop_assert_eq!(source.size(id), Ok(plan.size()));
        let mut planner = source.planner();
        for ends in ends.windows(2) {
            let queries = ends[0]..ends[1];
            let some = planner.plan_within(id, queries.clone()).unwrap();
            prop_assert_eq!(some.plan.slice(queries.clone()), plan.slice(queries));
            let mut touched: BTreeSet<u32> = some.plan.entities.ids.into_iter().collect();
            touched.extend(some.others);
            prop_assert!(touched.into_iter().eq(plan.entities.ids.iter().copied()));
        }
    }

    #[test]
    fn slices_partition_a_plan((plan, ends) in plans()) {
        let slices = slices(&plan, &ends);
        let queries: Vec<Spelled> = slices.iter().flat_map(spelled).collect();
        prop_assert_eq!(queries, spelled(&plan));
        prop_assert_eq!(slices.iter().map(|slice| slice.facts).sum::<usize>(), plan.facts);
        for (slice, ends) in slices.iter().zip(ends.windows(2)) {
            prop_assert_eq!(slice.first_query as usize, ends[0]);
            prop_assert_eq!(slice.dropout_seed, plan.dropout_seed);
            prop_assert_eq!(slice.unit(), plan.unit());
        }
        let drawn: usize = slices.iter().map(|slice| match &slice.candidates {
            Candidates::Sampled { slots, .. } => slots.len(),
            Candidates::All { .. } => 0,
        }).sum();
        if let Candidates::Sampled { slots, .. } = &plan.candidates {
            prop_assert_eq!(drawn, slots.len());
        }
    }

    #[test]
    fn slices_have_the_rows_they_touch_and_their_places((plan, ends) in plans()) {
        let slices = slices(&plan, &ends);
        type Table = fn(&Plan) -> &Rows;
        let tables: [Table; 2] = [|plan| &plan.entities, |plan| &plan.relations];
        for table in tables {
            let whole = table(&plan);
            let mut lists = vec![Vec::new(); whole.len()];
            let mut union = BTreeSet::new();
            let (mut slots, mut pairs) = (0, 0);
            for slice in &slices {
                let rows = table(slice);
                prop_assert!(rows.ids.is_sorted_by(|a, b| a < b));
                prop_assert_eq!(rows.offsets.len(), rows.len() + 1);
                prop_assert_eq!((rows.penalty.len(), rows.occurrences.len()), (rows.len(), rows.len()));
                union.extend(rows.ids.iter().copied());
                for (i, id) in rows.ids.iter().enumerate() {
                    let list = places(slice, rows, i, slots, pairs);
                    let needed = !list.is_empty() || rows.occurrences[i] > 0;
                    let core = std::ptr::eq(rows, &slice.relations)
                        && i >= rows.len() - slice.core_rows;
                    prop_assert!(needed || plan.predicts_relations || core);
                    lists[whole.ids.binary_search(id).unwrap()].extend(list);
                }
                if let Candidates::Sampled { slots: own, .. } = &slice.candidates {
                    slots += own.len();
                }
                pairs += slice.pairs.len();
            }
            prop_assert!(union.iter().eq(&whole.ids));
            for (i, mut found) in lists.into_iter().enumerate() {
                // In a whole plan, slots come after the inputs and answers of all slices.
                found.sort_by_key(|place| matches!(place, Place::Slot(_)));
                prop_assert_eq!(found, places(&plan, whole, i, 0, 0));
            }
        }
    }

    /// A mean over workers, weighted by their queries, equals the value of the whole plan.
    #[test]
    fn weights_and_penalties_add_up((plan, ends) in plans()) {
        let n = plan.queries.len() as f64;
        let (mut entities, mut relations) = (vec![0.0; 20], vec![0.0; 8 + 3]);
        let mut at = 0;
        for slice in slices(&plan, &ends) {
            let share = slice.queries.len() as f64 / n;
            for &weight in &slice.weights {
                prop_assert!(near(share * f64::from(weight), f64::from(plan.weights[at])));
                at += 1;
            }
            for (rows, sums) in [(&slice.entities, &mut entities), (&slice.relations, &mut relations)] {
                for (&id, &penalty) in rows.ids.iter().zip(&rows.penalty) {
                    sums[id as usize] += share * f64::from(penalty);
                }
            }
        }
        for (rows, sums) in [(&plan.entities, &entities), (&plan.relations, &relations)] {
            let mut wanted = vec![0.0; sums.len()];
            for (&id, &penalty) in rows.ids.iter().zip(&rows.penalty) {
                wanted[id as usize] = f64::from(penalty);
            }
            prop_assert!(sums.iter().zip(&wanted).all(|(&a, &b)| near(a, b)), "{:?} {:?}", sums, wanted);
        }
    }

    #[test]
    fn slices_of_slices_are_slices((plan, ends) in plans()) {
        prop_assert_eq!(&plan.slice(0..plan.queries.len()), &plan);
        for outer in ends.windows(2) {
            let slice = plan.slice(outer[0]..outer[1]);
            let middle = slice.queries.len() / plan.unit() / 2 * plan.unit();
            let (mut inner, mut wanted) =
                (slice.slice(middle..slice.queries.len()), plan.slice(outer[0] + middle..outer[1]));
            // Scaling twice may round differently than scaling once.
            let scaled = |plan: &mut Plan| {
                let (weights, rows) = (&mut plan.weights, (&mut plan.entities, &mut plan.relations));
                [weights, &mut rows.0.penalty, &mut rows.1.penalty].map(std::mem::take).concat()
            };
            for (a, b) in scaled(&mut inner).iter().zip(scaled(&mut wanted)) {
                prop_assert!((a - b).abs() <= 1e-5 * b.abs(), "{a} {b}");
            }
            prop_assert_eq!(inner, wanted);
        }
    }

    #[test]
    fn an_empty_slice_touches_nothing((plan, _) in plans(), at in 0.0..1.0) {
        let at = (at * (plan.queries.len() + 1) as f64) as usize;
        let none = plan.slice(at..at);
        prop_assert!(none.queries.is_empty() && none.weights.is_empty() && none.facts == 0);
        for rows in [&none.entities, &none.relations] {
            prop_assert!(rows.is_empty() && rows.places.is_empty());
            prop_assert_eq!(&rows.offsets, &[0]);
        }
        prop_assert_eq!(none.slice(0..0), none);
    }

    #[test]
    fn units_keep_facts_and_chunks_together((plan, _) in plans()) {
        prop_assert!(plan.unit().is_multiple_of(plan.queries_per_fact));
        if let Candidates::Sampled { chunk, .. } = plan.candidates {
            prop_assert!(plan.unit().is_multiple_of(chunk) && plan.unit() <= 2 * chunk);
            for unit in plan.fact_counts.chunks(plan.queries_per_fact) {
                prop_assert_eq!(unit.iter().sum::<u32>(), 1);
            }
        }
    }
}

#[test]
#[should_panic(expected = "cut through a chunk of 4")]
fn chunks_are_not_cut() {
    let facts = vec![
        Triple {
            head: 0,
            relation: 0,
            tail: 1
        };
        9
    ];
    let rule = QueryRule {
        relations: 1,
        reciprocal: false,
    };
    let mut sampler = Sampler::new(facts, 2, rule, Objective::Negatives, 9);
    sampler.negatives.chunk = 4;
    let plan = sampler.plan(&sampler.order(1), 0, &mut sampler.scratch());
    plan.slice(0..4);
    plan.slice(16..18);
    plan.slice(4..10);
}
