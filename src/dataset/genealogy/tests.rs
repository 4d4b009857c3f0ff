use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;

fn built_in() -> Dataset {
    Genealogy::default().generate().unwrap()
}

/// Facts of training by name, and the documented rules over them.
struct Known {
    facts: HashSet<(u32, &'static str, u32)>,
    parents: HashMap<u32, HashSet<u32>>,
    siblings: HashMap<u32, HashSet<u32>>,
    spouse: HashMap<u32, u32>,
}

impl Known {
    fn new(dataset: &Dataset) -> Self {
        let mut known = Self {
            facts: HashSet::new(),
            parents: HashMap::new(),
            siblings: HashMap::new(),
            spouse: HashMap::new(),
        };
        for &Triple {
            head,
            relation,
            tail,
        } in dataset.train.iter()
        {
            let relation = RELATIONS[relation as usize];
            known.facts.insert((head, relation, tail));
            match relation {
                "father_of" | "mother_of" => {
                    _ = known.parents.entry(tail).or_default().insert(head)
                }
                "child_of" => _ = known.parents.entry(head).or_default().insert(tail),
                "sibling_of" => {
                    known.siblings.entry(head).or_default().insert(tail);
                    known.siblings.entry(tail).or_default().insert(head);
                }
                "spouse_of" => {
                    known.spouse.insert(head, tail);
                    known.spouse.insert(tail, head);
                }
                _ => {}
            }
        }
        known
    }

    fn parents(&self, person: u32) -> impl Iterator<Item = u32> {
        self.parents.get(&person).into_iter().flatten().copied()
    }

    fn is_parent(&self, parent: u32, child: u32) -> bool {
        self.parents(child).any(|known| known == parent)
    }

    fn are_siblings(&self, a: u32, b: u32) -> bool {
        self.siblings
            .get(&a)
            .is_some_and(|siblings| siblings.contains(&b))
    }

    fn by_reversing(&self, head: u32, relation: &str, tail: u32) -> bool {
        let reverses: &[&'static str] = match relation {
            "child_of" => &["father_of", "mother_of"],
            "spouse_of" => &["spouse_of"],
            "sibling_of" => &["sibling_of"],
            "grandparent_of" => &["grandchild_of"],
            "grandchild_of" => &["grandparent_of"],
            "aunt_or_uncle_of" => &["niece_or_nephew_of"],
            "niece_or_nephew_of" => &["aunt_or_uncle_of"],
            "cousin_of" => &["cousin_of"],
            "parent_in_law_of" => &["child_in_law_of"],
            "child_in_law_of" => &["parent_in_law_of"],
            "sibling_in_law_of" => &["sibling_in_law_of"],
            _ => &[],
        };
        reverses
            .iter()
            .any(|reverse| self.facts.contains(&(tail, reverse, head)))
    }

    fn by_composing(&self, head: u32, relation: &str, tail: u32) -> bool {
        match relation {
            "grandparent_of" => self
                .parents(tail)
                .any(|parent| self.is_parent(head, parent)),
            "grandchild_of" => self.by_composing(tail, "grandparent_of", head),
            "aunt_or_uncle_of" => self
                .parents(tail)
                .any(|parent| self.are_siblings(head, parent)),
            "niece_or_nephew_of" => self.by_composing(tail, "aunt_or_uncle_of", head),
            "cousin_of" => self
                .parents(head)
                .any(|x| self.parents(tail).any(|y| self.are_siblings(x, y))),
            "parent_in_law_of" => self
                .spouse
                .get(&tail)
                .is_some_and(|&spouse| self.is_parent(head, spouse)),
            "child_in_law_of" => self.by_composing(tail, "parent_in_law_of", head),
            "sibling_in_law_of" => [(head, tail), (tail, head)].into_iter().any(|(a, b)| {
                self.spouse
                    .get(&a)
                    .is_some_and(|&spouse| self.are_siblings(spouse, b))
            }),
            _ => false,
        }
    }
}

fn assert_held_out_facts_follow(dataset: &Dataset) {
    let known = Known::new(dataset);
    for held in [&dataset.valid, &dataset.test] {
        let mut composed = 0;
        for &Triple {
            head,
            relation,
            tail,
        } in held
        {
            let relation = RELATIONS[relation as usize];
            assert!(
                !known.facts.contains(&(head, relation, tail)),
                "held out, yet in training"
            );
            if !known.by_reversing(head, relation, tail) {
                composed += 1;
                assert!(
                    known.by_composing(head, relation, tail),
                    "{head} {relation} {tail}"
                );
            }
        }
        let share = composed as f64 / held.len() as f64;
        assert!((0.05..0.15).contains(&share), "{share}");
    }
}

#[test]
fn has_the_promised_size() {
    let dataset = built_in();
    assert_eq!(dataset.entities.len(), 2400);
    assert_eq!(dataset.relations.iter().collect::<Vec<_>>(), RELATIONS);
    let facts = dataset.train.len() + dataset.valid.len() + dataset.test.len();
    assert!((25_000..45_000).contains(&facts), "{facts}");
    for held in [&dataset.valid, &dataset.test] {
        let share = held.len() as f64 / facts as f64;
        assert!((0.048..0.052).contains(&share), "{share}");
    }
    let report = dataset.report();
    assert_eq!(report.warnings(), Vec::<String>::new());
    let mut relations: Vec<u32> = dataset.test.iter().map(|t| t.relation).collect();
    relations.sort_unstable();
    relations.dedup();
    assert_eq!(
        relations.len(),
        RELATIONS.len() - 2,
        "all but father_of and mother_of are held out"
    );
}

#[test]
fn never_changes() {
    // A failure means that the graph differs from the one that earlier runs were trained on.
    let directory = tempfile::tempdir().unwrap();
    let dataset = built_in();
    dataset.write_tsv(directory.path()).unwrap();
    let digests = super::super::Split::ALL.map(|split| {
        use sha2::Digest;
        let text = std::fs::read(directory.path().join(format!("{split}.tsv"))).unwrap();
        let digest = sha2::Sha256::digest(text);
        digest
            .iter()
            .take(4)
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    });
    assert_eq!(digests, ["de3cc437", "5b9ba9eb", "9d5d3fd7"]);
}

#[test]
fn the_seed_decides() {
    let with = |seed| Genealogy { people: 300, seed }.generate().unwrap();
    assert_eq!(with(1), with(1));
    assert_ne!(with(1), with(2));
}

#[test]
fn held_out_facts_follow_from_training() {
    assert_held_out_facts_follow(&built_in());
}

#[test]
fn relations_mean_what_they_say() {
    let dataset = built_in();
    let mut facts = HashSet::new();
    for triple in dataset
        .train
        .iter()
        .chain(&dataset.valid)
        .chain(&dataset.test)
    {
        let relation = RELATIONS[triple.relation as usize];
        assert!(
            facts.insert((triple.head, relation, triple.tail)),
            "a fact twice"
        );
        assert_ne!(triple.head, triple.tail, "nobody is their own {relation}");
    }
    let has = |head, relation, tail| facts.contains(&(head, relation, tail));
    let (mut fathers, mut mothers) = (HashSet::new(), HashSet::new());
    for &(head, relation, tail) in &facts {
        match relation {
            "father_of" => assert!(has(tail, "child_of", head) && fathers.insert(tail)),
            "mother_of" => assert!(has(tail, "child_of", head) && mothers.insert(tail)),
            "spouse_of" => assert!(!has(head, "sibling_of", tail) && !has(head, "cousin_of", tail)),
            "cousin_of" => assert!(!has(head, "sibling_of", tail)),
            _ => {}
        }
    }
    assert_eq!(fathers, mothers);
    let names: Vec<&str> = dataset.entities.iter().collect();
    assert!(
        names
            .iter()
            .all(|name| !name.contains([',', '\t']) && name.ends_with(')'))
    );
}

#[test]
fn refuses_too_few_people() {
    for people in [0, 99, MOST + 1] {
        let error = Genealogy { people, seed: 0 }.generate().unwrap_err();
        assert!(matches!(error, DatasetError::People { .. }));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn any_size_and_seed_make_a_sound_graph(people in FEWEST..600, seed: u64) {
        let dataset = Genealogy { people, seed }.generate().unwrap();
        prop_assert_eq!(dataset.entities.len(), people);
        prop_assert_eq!(dataset.report().warnings(), Vec::<String>::new());
        let mut shown = HashSet::new();
        for triple in dataset.train.iter() {
            shown.extend([triple.head, triple.tail]);
        }
        prop_assert_eq!(shown.len(), people, "everybody appears in training");
        assert_held_out_facts_follow(&dataset);
    }
}
