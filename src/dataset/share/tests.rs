use proptest::prelude::*;

use super::super::{Dataset, EarlierRun, LoadOptions, LoadReport};
use super::*;

/// Creates a vocabulary of numbered names.
fn numbered(letter: char, count: u32) -> Vocabulary {
    Vocabulary::from_names((0..count).map(|i| format!("{letter}{i}"))).unwrap()
}

fn triple(head: u32, relation: u32, tail: u32) -> Triple {
    Triple {
        head,
        relation,
        tail,
    }
}

const SHARES: Shares = Shares {
    fractions: [0.8, 0.1, 0.1],
    seed: 0,
    cover: false,
    earlier: None,
};

fn share(facts: &[Triple], names: (&Vocabulary, &Vocabulary), shares: &Shares) -> SharedOut {
    share_out(facts.to_vec(), Vec::new(), names.0, names.1, shares)
}

/// Creates distinct facts in a cycle with chords, so that every name occurs often.
fn dense(count: u32) -> Vec<Triple> {
    (0..count)
        .map(|i| triple(i % 40, i % 3, (i / 40 + i) % 40))
        .collect()
}

fn sides(out: &SharedOut) -> std::collections::BTreeMap<Triple, Split> {
    let parts = [&out.train, &out.valid, &out.test];
    let sides = parts.iter().zip(Split::ALL);
    sides
        .flat_map(|(facts, split)| facts.iter().map(move |&fact| (fact, split)))
        .collect()
}

#[test]
fn few_facts_move_when_others_come_and_none_when_they_change_places() {
    let names = (&numbered('e', 40), &numbered('r', 3));
    let all = dense(4000);
    let mut all: Vec<Triple> = sides(&share(&all, names, &SHARES)).into_keys().collect();
    all.sort_unstable_by_key(|fact| (fact.tail, fact.head));
    let old = &all[..all.len() * 9 / 10];
    for cover in [false, true] {
        let shares = Shares { cover, ..SHARES };
        let before = sides(&share(old, names, &shares));
        let mut reversed = old.to_vec();
        reversed.reverse();
        assert_eq!(sides(&share(&reversed, names, &shares)), before);
        // Copies move no fact.
        let twice = [old, &old[..old.len() / 3]].concat();
        assert_eq!(sides(&share(&twice, names, &shares)), before);
        let after = sides(&share(&all, names, &shares));
        let moved = before.iter().filter(|(fact, side)| after[fact] != **side);
        let moved: Vec<_> = moved.collect();
        assert!(
            moved.len() * 50 < old.len(),
            "{} of {}",
            moved.len(),
            old.len()
        );
        // No fact that was trained on is tested on.
        for (fact, side) in moved {
            let pair = [*side, after[fact]];
            assert!(pair.contains(&Split::Valid), "{fact:?} {pair:?}");
        }
    }
}

#[test]
fn another_seed_shares_out_otherwise() {
    let names = (&numbered('e', 40), &numbered('r', 3));
    let facts = dense(500);
    let one = sides(&share(&facts, names, &SHARES));
    let other = sides(&share(&facts, names, &Shares { seed: 1, ..SHARES }));
    assert_ne!(one, other);
}

#[test]
fn what_alone_shows_a_name_is_trained_on_and_the_shares_are_right_all_the_same() {
    // Each entity has a fact with a hub, and every second one another fact.
    let names = (&numbered('e', 101), &numbered('r', 2));
    let mut facts: Vec<Triple> = (1..101).map(|i| triple(i, 0, 0)).collect();
    facts.extend((1..41).map(|i| triple(2 * i, 1, 0)));
    let covering = Shares {
        cover: true,
        ..SHARES
    };
    for seed in 0..20 {
        let shares = Shares { seed, ..covering };
        let out = share(&facts, names, &shares);
        let dataset = dataset(&out, names);
        let report = LoadReport::new(&dataset);
        assert_eq!(report.valid.unseen_triples + report.test.unseen_triples, 0);
        assert_eq!((out.valid.len(), out.test.len()), (14, 14), "seed {seed}");
        assert_eq!(out.report.missing, 0);
        let plain = Shares {
            cover: false,
            ..shares
        };
        let report = LoadReport::new(&self::dataset(&share(&facts, names, &plain), names));
        assert!(report.valid.unseen_triples + report.test.unseen_triples > 0);
    }
    // If each fact is the only one of its entity, none can be held out.
    let out = share(&facts[..100], names, &covering);
    assert_eq!((out.train.len(), out.report.missing), (100, 20));
    assert_eq!(out.report.covering, 100);
    assert_eq!(out.report.notes().len(), 2);
}

#[test]
fn facts_that_weigh_nothing_show_nothing() {
    let names = (&numbered('e', 12), &numbered('r', 1));
    // Entity 11 has two facts, one of which has weight 0.
    let mut facts: Vec<Triple> = (0..10).map(|i| triple(i, 0, (i + 1) % 10)).collect();
    facts.extend((0..10).map(|i| triple(i, 0, (i + 2) % 10)));
    facts.extend([triple(11, 0, 10), triple(11, 0, 0), triple(10, 0, 1)]);
    let mut weights = vec![1.0; facts.len()];
    weights[21] = 0.0;
    for seed in 0..50 {
        let shares = Shares {
            fractions: [0.4, 0.3, 0.3],
            seed,
            cover: true,
            earlier: None,
        };
        let out = share_out(facts.clone(), weights.clone(), names.0, names.1, &shares);
        assert!(out.train.contains(&triple(11, 0, 10)), "seed {seed}");
        assert_eq!(out.weights.len(), out.train.len());
    }
}

fn dataset(out: &SharedOut, names: (&Vocabulary, &Vocabulary)) -> Dataset {
    Dataset {
        name: "graph".to_owned(),
        entities: names.0.clone(),
        relations: names.1.clone(),
        train: out.train.clone().into(),
        weights: out.weights.clone(),
        valid: out.valid.clone(),
        test: out.test.clone(),
        sharing: None,
        reading: Default::default(),
    }
}

#[test]
fn the_sides_of_an_earlier_run_are_kept_and_new_facts_shared_out() {
    let names = (&numbered('e', 40), &numbered('r', 3));
    let all: Vec<Triple> = sides(&share(&dense(1500), names, &SHARES))
        .into_keys()
        .collect();
    let (old, new) = all.split_at(all.len() - 200);
    let first = share(old, names, &Shares { seed: 5, ..SHARES });
    let run = EarlierRun {
        dataset: dataset(&first, names),
        learned_before: Vec::new(),
    };
    let earlier = Earlier::new(&run, names.0, names.1);
    let shares = Shares {
        earlier: Some(&earlier),
        cover: true,
        ..SHARES
    };
    let second = share(&all, names, &shares);
    let (before, after) = (sides(&first), sides(&second));
    for (fact, side) in &before {
        assert_eq!(after[fact], *side);
    }
    let fresh = |split: Split| new.iter().filter(|fact| after[fact] == split).count();
    assert_eq!(Split::ALL.map(fresh), [160, 20, 20]);
    let known = second.report.earlier.unwrap();
    assert_eq!(known.new, [160, 20, 20]);
    assert_eq!(known.learned, first.train.len());
    assert_eq!(
        (known.valid, known.test),
        (first.valid.len(), first.test.len())
    );
    assert_eq!(known.given_away, [0, 0]);
    // A graph with its own splits is compared only.
    let other = share(old, names, &Shares { seed: 6, ..SHARES });
    let found = earlier.compare(&dataset(&other, names));
    let learned = |facts: &[Triple]| {
        let learned = facts.iter().filter(|fact| before[fact] == Split::Train);
        learned.count()
    };
    assert_eq!(
        found.given_away,
        [learned(&other.valid), learned(&other.test)]
    );
    assert!(found.given_away[1] > 0 && found.to_string().contains("were learned"));
}

#[test]
fn options_cover_unless_told_otherwise() {
    assert!(LoadOptions::default().split_cover);
    assert_eq!(LoadOptions::default().split_seed, 0);
}

proptest! {
    #[test]
    fn shares_part_all_facts_and_keep_copies_together(
        ends in prop::collection::vec((0..30u32, 0..4u32, 0..30u32), 1..200),
        parts in [1..100u32, 0..100u32, 0..100u32], seed: u64, cover: bool,
    ) {
        let facts: Vec<Triple> = ends.into_iter().map(|(h, r, t)| triple(h, r, t)).collect();
        let names = (&numbered('e', 30), &numbered('r', 4));
        let total = f64::from(parts.iter().sum::<u32>());
        let fractions = parts.map(|part| f64::from(part) / total);
        let shares = Shares { fractions, seed, cover, earlier: None };
        let weights: Vec<f32> = (1..=facts.len()).map(|i| i as f32).collect();
        let out = share_out(facts.clone(), weights.clone(), names.0, names.1, &shares);
        let plain = share(&facts, names, &shares);
        prop_assert_eq!(&out.valid, &plain.valid);
        prop_assert_eq!(&out.test, &plain.test);

        let mut all = [&out.train[..], &out.valid, &out.test].concat();
        all.sort_unstable();
        let mut expected = facts.clone();
        expected.sort_unstable();
        prop_assert_eq!(all, expected);
        for (fact, weight) in out.train.iter().zip(&out.weights) {
            prop_assert_eq!(facts[*weight as usize - 1], *fact);
        }

        let distinct = |facts: &[Triple]| {
            let set: std::collections::BTreeSet<_> = facts.iter().copied().collect();
            set.len()
        };
        let [train, valid, test] = [&out.train, &out.valid, &out.test].map(|f| distinct(f));
        let count = distinct(&facts);
        prop_assert_eq!(train + valid + test, count);
        let missing = out.report.missing as f64;
        for (found, fraction) in [(valid, fractions[1]), (test, fractions[2])] {
            let off = found as f64 - fraction * count as f64;
            prop_assert!(off <= 1.0 && off >= -1.0 - missing, "{found} of {count}");
        }
        if !cover {
            prop_assert_eq!(out.report.missing, 0);
        } else {
            let report = LoadReport::new(&dataset(&out, names));
            prop_assert_eq!(report.valid.unseen_triples + report.test.unseen_triples, 0);
        }
    }
}
