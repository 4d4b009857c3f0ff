use std::collections::BTreeSet;

use super::super::Triple;
use super::people::People;

/// Names of the relations, by id.
pub(super) const RELATIONS: [&str; 13] = [
    "father_of",
    "mother_of",
    "child_of",
    "spouse_of",
    "sibling_of",
    "grandparent_of",
    "grandchild_of",
    "aunt_or_uncle_of",
    "niece_or_nephew_of",
    "cousin_of",
    "parent_in_law_of",
    "child_in_law_of",
    "sibling_in_law_of",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    Parent,
    Spouse,
    Sibling,
    Grandparent,
    AuntOrUncle,
    Cousin,
    ParentInLaw,
    SiblingInLaw,
}

impl Kind {
    /// Returns true if the bond follows from parent, marriage and sibling bonds.
    pub fn is_composed(self) -> bool {
        !matches!(self, Self::Parent | Self::Spouse | Self::Sibling)
    }
}

/// Relationship of two people, which is one fact in each direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Bond {
    pub kind: Kind,
    /// The elder, if the kind distinguishes one.
    from: u32,
    to: u32,
    /// True if `from` is a woman, which distinguishes mothers from fathers.
    female: bool,
}

impl Bond {
    pub fn facts(&self) -> [Triple; 2] {
        let [forth, back] = match self.kind {
            Kind::Parent => [if self.female { 1 } else { 0 }, 2],
            Kind::Spouse => [3, 3],
            Kind::Sibling => [4, 4],
            Kind::Grandparent => [5, 6],
            Kind::AuntOrUncle => [7, 8],
            Kind::Cousin => [9, 9],
            Kind::ParentInLaw => [10, 11],
            Kind::SiblingInLaw => [12, 12],
        };
        let (head, tail) = (self.from, self.to);
        [
            Triple {
                head,
                relation: forth,
                tail,
            },
            Triple {
                head: tail,
                relation: back,
                tail: head,
            },
        ]
    }
}

/// Returns all bonds between the people, sorted.
pub(super) fn all(people: &People) -> Vec<Bond> {
    let kin = Kin::new(people);
    let mut bonds = BTreeSet::new();
    let mut add = |kind, from: u32, to: u32| {
        let mutual = matches!(
            kind,
            Kind::Spouse | Kind::Sibling | Kind::Cousin | Kind::SiblingInLaw
        );
        let (from, to) = if mutual {
            (from.min(to), from.max(to))
        } else {
            (from, to)
        };
        let female = people.0[from as usize].female;
        bonds.insert(Bond {
            kind,
            from,
            to,
            female,
        });
    };
    for id in 0..people.0.len() as u32 {
        for sibling in kin.siblings(id) {
            add(Kind::Sibling, id, sibling);
        }
        for parent in kin.parents(id) {
            add(Kind::Parent, parent, id);
            for grandparent in kin.parents(parent) {
                add(Kind::Grandparent, grandparent, id);
            }
            for aunt in kin.siblings(parent) {
                add(Kind::AuntOrUncle, aunt, id);
                for &cousin in &kin.children[aunt as usize] {
                    add(Kind::Cousin, id, cousin);
                }
            }
        }
        if let Some(spouse) = people.0[id as usize].spouse {
            add(Kind::Spouse, id, spouse);
            for parent in kin.parents(spouse) {
                add(Kind::ParentInLaw, parent, id);
            }
            for sibling in kin.siblings(spouse) {
                add(Kind::SiblingInLaw, id, sibling);
            }
        }
    }
    bonds.into_iter().collect()
}

struct Kin<'a> {
    people: &'a People,
    children: Vec<Vec<u32>>,
}

impl<'a> Kin<'a> {
    fn new(people: &'a People) -> Self {
        let mut children = vec![Vec::new(); people.0.len()];
        for (id, person) in people.0.iter().enumerate() {
            for parent in person.parents.into_iter().flatten() {
                children[parent as usize].push(id as u32);
            }
        }
        Self { people, children }
    }

    fn parents(&self, id: u32) -> impl Iterator<Item = u32> + use<> {
        self.people.0[id as usize].parents.into_iter().flatten()
    }

    fn siblings(&self, id: u32) -> impl Iterator<Item = u32> + '_ {
        let father = self.people.0[id as usize].parents.map(|[father, _]| father);
        let children = father.map(|father| &self.children[father as usize]);
        children
            .into_iter()
            .flatten()
            .copied()
            .filter(move |&other| other != id)
    }
}
