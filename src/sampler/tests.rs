use super::*;
use proptest::prelude::*;

fn graph(seed: u64, entities: u32, relations: u32, facts: usize) -> Vec<Triple> {
    let mut rng = stream(seed, Purpose::Split, [0, 0]);
    (0..facts)
        .map(|_| Triple {
            head: rng.random_range(0..entities),
            relation: rng.random_range(0..relations),
            tail: rng.random_range(0..entities),
        })
        .collect()
}

fn sampler(objective: Objective, reciprocal: bool, batch: usize) -> Sampler {
    let rule = QueryRule {
        relations: 5,
        reciprocal,
    };
    let mut sampler = Sampler::new(graph(3, 40, 5, 230), 40, rule, objective, batch);
    sampler.negatives = Negatives {
        count: 7,
        chunk: 1,
        filtered: false,
    };
    sampler
}

/// The plan's queries in the numbers of the graph: known entity, relation row, direction, target.
fn spelled(plan: &Plan) -> Vec<(u32, u32, u32, u32)> {
    let row = |q: &Query| {
        (
            plan.entities.ids[q.entity as usize],
            plan.relations.ids[q.relation as usize],
            q.inverse,
            plan.entities.ids[q.target as usize],
        )
    };
    plan.queries.iter().map(row).collect()
}

#[test]
fn an_epoch_visits_every_fact_once() {
    for objective in [Objective::Negatives, Objective::OneVsAll] {
        for reciprocal in [false, true] {
            let sampler = sampler(objective, reciprocal, 32);
            let order = sampler.order(4);
            let mut scratch = sampler.scratch();
            let mut seen = Vec::new();
            for step in 0..sampler.steps() {
                seen.extend(spelled(&sampler.plan(&order, step, &mut scratch)));
            }
            let mut want = Vec::new();
            for f in sampler.facts.iter() {
                let DirectedRelation { row, inverse } = sampler.rule.head(f.relation);
                want.push((f.head, f.relation, 0, f.tail));
                want.push((f.tail, row, u32::from(inverse), f.head));
            }
            seen.sort_unstable();
            want.sort_unstable();
            assert_eq!(seen, want);
        }
    }
}

#[test]
fn plans_depend_on_seed_epoch_and_step_alone() {
    let sampler = sampler(Objective::Negatives, false, 50);
    let order = sampler.order(2);
    let mut used = sampler.scratch();
    for step in 0..sampler.steps() {
        sampler.plan(&order, step, &mut used);
    }
    let fresh = sampler.plan(&sampler.order(2), 3, &mut sampler.scratch());
    assert_eq!(fresh, sampler.plan(&order, 3, &mut used));
    assert_ne!(
        fresh.candidates,
        sampler.plan(&sampler.order(3), 3, &mut used).candidates
    );
}

#[test]
fn k_vs_all_lists_every_training_answer() {
    let sampler = sampler(Objective::KVsAll, true, 16);
    let order = sampler.order(1);
    let mut scratch = sampler.scratch();
    let (mut facts, mut counted) = (0, 0);
    for step in 0..sampler.steps() {
        let plan = sampler.plan(&order, step, &mut scratch);
        counted += plan.facts;
        let Candidates::All { offsets, positives } = &plan.candidates else {
            panic!("K-vs-all scores all entities");
        };
        for (q, (known, row, _, _)) in spelled(&plan).into_iter().enumerate() {
            let answers = &positives[offsets[q] as usize..offsets[q + 1] as usize];
            let want = if row < 5 {
                sampler.filter.tails(known, row)
            } else {
                sampler.filter.heads(row - 5, known)
            };
            assert_eq!(answers, want);
            facts += answers.len();
        }
    }
    let mut distinct = sampler.facts.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(facts, distinct.len() * 2);
    assert_eq!(counted, distinct.len());
}

#[test]
fn heads_may_have_other_negatives_than_tails() {
    for (chunk, heads, filtered) in [(1, 3, false), (1, 12, true), (4, 3, true), (3, 40, false)] {
        let mut sampler = sampler(Objective::Negatives, false, 50);
        sampler.head_negatives = Some(heads);
        (sampler.negatives.chunk, sampler.negatives.filtered) = (chunk, filtered);
        let plan = sampler.plan(&sampler.order(1), 0, &mut sampler.scratch());
        let Candidates::Sampled {
            negatives,
            slots,
            masks,
            ..
        } = &plan.candidates
        else {
            panic!("negatives are sampled");
        };
        assert_eq!(*negatives, heads.max(7));
        let words = negatives.div_ceil(32);
        let masked = |q: usize, j: usize| masks[q * words + j / 32] >> (j % 32) & 1 == 1;
        let spelled = spelled(&plan);
        for (q, &(known, relation, inverse, _)) in spelled.iter().enumerate() {
            let (own, answers) = match inverse {
                1 => (heads, sampler.filter.heads(relation, known)),
                _ => (7, sampler.filter.tails(known, relation)),
            };
            for j in 0..*negatives {
                let row = plan.entities.ids[slots[q / chunk * negatives + j] as usize];
                let excluded = filtered && answers.contains(&row);
                assert_eq!(
                    masked(q, j),
                    j >= own || excluded,
                    "query {q}, negative {j}"
                );
            }
        }
        // Only slots that some query does not mask are places.
        let chunks = 0..plan.queries.len().div_ceil(chunk);
        let live: usize = chunks
            .map(|c| {
                let sharing = &spelled[c * chunk..plan.queries.len().min((c + 1) * chunk)];
                let own = sharing.iter().map(|q| if q.2 == 1 { heads } else { 7 });
                own.max().unwrap()
            })
            .sum();
        let places = plan.entities.places.iter();
        let slots = places.filter(|&&word| matches!(Place::unpack(word), Place::Slot(_)));
        assert_eq!(slots.count(), live);
    }
    // A step with queries for heads only has slots for their negatives only.
    let mut sampler = sampler(Objective::Negatives, false, 1000);
    (sampler.sides, sampler.head_negatives) = (Sides::Alternate, Some(3));
    let widths = [1, 2].map(|epoch| {
        let plan = sampler.plan(&sampler.order(epoch), 0, &mut sampler.scratch());
        plan.sampled_width()
    });
    assert!(widths.contains(&4) && widths.contains(&8), "{widths:?}");
}

#[test]
fn bernoulli_asks_for_the_head_of_many_to_one_relations_less_often() {
    // Relation 0 is N-1: every head has one tail, tails have many heads.
    let facts: Vec<Triple> = (0..90)
        .map(|i| Triple {
            head: i,
            relation: 0,
            tail: 90 + i % 9,
        })
        .collect();
    let rule = QueryRule {
        relations: 1,
        reciprocal: false,
    };
    let mut sampler = Sampler::new(facts, 99, rule, Objective::Negatives, 90);
    sampler.sides = Sides::Bernoulli;
    assert!((head_probabilities(&sampler.filter)[0] - 9.0 / 99.0).abs() < 1e-12);
    let plan = sampler.plan(&sampler.order(1), 0, &mut sampler.scratch());
    assert_eq!(plan.queries.len(), 90);
    let heads = plan.queries.iter().filter(|q| q.inverse == 1).count();
    assert!((1..30).contains(&heads), "{heads}");
}

#[test]
fn alternating_sides_alternate_in_epochs_of_one_step() {
    let mut sampler = sampler(Objective::Negatives, false, 1000);
    sampler.sides = Sides::Alternate;
    let heads = [1, 2].map(|epoch| {
        let plan = sampler.plan(&sampler.order(epoch), 0, &mut sampler.scratch());
        plan.queries.iter().filter(|q| q.inverse == 1).count()
    });
    assert_eq!(heads.iter().sum::<usize>(), 230);
    assert!(heads.contains(&0));
}

#[test]
fn k_vs_all_penalties_count_facts() {
    let sampler = sampler(Objective::KVsAll, true, 16);
    let plan = sampler.plan(&sampler.order(1), 0, &mut sampler.scratch());
    let Candidates::All { positives, .. } = &plan.candidates else {
        panic!("K-vs-all scores all entities");
    };
    let facts = positives.len() as f32 / plan.queries.len() as f32;
    let relations: f32 = plan.relations.penalty.iter().sum();
    let entities: f32 = plan.entities.penalty.iter().sum();
    assert!((relations - facts).abs() < 1e-4 && (entities - 2.0 * facts).abs() < 1e-4);
}

#[test]
fn penalties_count_occurrences() {
    let sampler = sampler(Objective::OneVsAll, true, 64);
    let plan = sampler.plan(&sampler.order(1), 0, &mut sampler.scratch());
    let entities: f32 = plan.entities.penalty.iter().sum();
    let relations: f32 = plan.relations.penalty.iter().sum();
    assert!((entities - 2.0).abs() < 1e-5 && (relations - 1.0).abs() < 1e-5);
    assert!((plan.weights.iter().sum::<f32>() - 1.0).abs() < 1e-5);
}

proptest! {
    #[test]
    fn filtered_negatives_are_never_known_facts(chunk in 1usize..9, count in 1usize..70, seed in 0u64..1000) {
        let mut sampler = sampler(Objective::Negatives, false, 20);
        sampler.seed = seed;
        sampler.negatives = Negatives { count, chunk, filtered: true };
        let order = sampler.order(1);
        let mut scratch = sampler.scratch();
        let plan = sampler.plan(&order, sampler.steps() - 1, &mut scratch);
        let Candidates::Sampled { slots, masks, .. } = &plan.candidates else { panic!() };
        prop_assert_eq!(slots.len(), plan.queries.len().div_ceil(chunk) * count);
        for (q, (known, relation, inverse, _)) in spelled(&plan).into_iter().enumerate() {
            let answers = if inverse == 1 { sampler.filter.heads(relation, known) } else { sampler.filter.tails(known, relation) };
            for j in 0..count {
                let drawn = plan.entities.ids[slots[q / chunk * count + j] as usize];
                let masked = !masks.is_empty() && masks[q * count.div_ceil(32) + j / 32] >> (j % 32) & 1 == 1;
                prop_assert_eq!(masked, answers.contains(&drawn));
            }
        }
    }
}
