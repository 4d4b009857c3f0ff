use std::collections::HashSet;

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_xoshiro::Xoshiro256PlusPlus;

use super::names::{FAMILIES, MEN, WOMEN};

const GENERATIONS: usize = 6;
/// Number of people of a generation for which one man and one woman marry in.
const NEWCOMERS: usize = 10;
/// Number of men of whom one stays single, and a woman with him.
const SINGLES: usize = 12;

pub(super) struct Person {
    pub female: bool,
    /// Father and mother.
    pub parents: Option<[u32; 2]>,
    pub spouse: Option<u32>,
    family: usize,
    born: u32,
}

/// All people by id, older generations first.
pub(super) struct People(pub Vec<Person>);

impl People {
    pub fn generate(count: usize, rng: &mut Xoshiro256PlusPlus) -> Self {
        let mut people = Self(Vec::with_capacity(count));
        let mut couples = Vec::new();
        for generation in 0..GENERATIONS {
            let first = people.0.len();
            let size = (count - first) / (GENERATIONS - generation);
            couples = if generation == 0 {
                people.founders(size / 2, rng)
            } else {
                let newcomers = size / NEWCOMERS + 1;
                people.newcomers(generation, 2 * newcomers, rng);
                people.children(generation, size - 2 * newcomers, &couples, rng);
                people.marry(first, newcomers, rng)
            };
        }
        people
    }

    fn add(
        &mut self,
        generation: usize,
        female: bool,
        family: usize,
        parents: Option<[u32; 2]>,
        rng: &mut Xoshiro256PlusPlus,
    ) {
        let born = 1800 + 26 * generation as u32 + rng.random_range(0..10);
        self.0.push(Person {
            female,
            parents,
            spouse: None,
            family,
            born,
        });
    }

    /// Adds the couples of the first generation, men and women alternating.
    fn founders(&mut self, couples: usize, rng: &mut Xoshiro256PlusPlus) -> Vec<[u32; 2]> {
        self.newcomers(0, 2 * couples, rng);
        let couples = (0..couples as u32).map(|couple| [2 * couple, 2 * couple + 1]);
        couples.inspect(|&couple| self.wed(couple)).collect()
    }

    /// Adds people without known parents, men and women alternating.
    fn newcomers(&mut self, generation: usize, count: usize, rng: &mut Xoshiro256PlusPlus) {
        for index in 0..count {
            let family = rng.random_range(0..FAMILIES.len());
            self.add(generation, index % 2 == 1, family, None, rng);
        }
    }

    /// Adds children: one for each couple while `count` lasts, the others at random. Boys and girls
    /// alternate, so that the generation has about as many men as women.
    fn children(
        &mut self,
        generation: usize,
        count: usize,
        couples: &[[u32; 2]],
        rng: &mut Xoshiro256PlusPlus,
    ) {
        let mut parents: Vec<[u32; 2]> = couples.iter().copied().take(count).collect();
        while parents.len() < count {
            parents.push(couples[rng.random_range(0..couples.len())]);
        }
        parents.shuffle(rng);
        for (index, parents) in parents.into_iter().enumerate() {
            let family = self.0[parents[0] as usize].family;
            self.add(generation, index % 2 == 1, family, Some(parents), rng);
        }
    }

    /// Marries the people from `first` on, of whom the first 2 · `newcomers` are newcomers.
    ///
    /// Newcomers marry into the old families, which is always possible; so every generation has a
    /// couple.
    fn marry(
        &mut self,
        first: usize,
        newcomers: usize,
        rng: &mut Xoshiro256PlusPlus,
    ) -> Vec<[u32; 2]> {
        let ids = |people: &Self, female: bool, from: usize, to: usize| -> Vec<u32> {
            (from..to)
                .filter(|&id| people.0[id].female == female)
                .map(|id| id as u32)
                .collect()
        };
        let born = first + 2 * newcomers;
        let mut men = ids(self, false, born, self.0.len());
        let mut women = ids(self, true, born, self.0.len());
        men.shuffle(rng);
        women.shuffle(rng);
        let mut couples = Vec::new();
        for stranger in ids(self, false, first, born) {
            couples.extend(women.pop().map(|woman| [stranger, woman]));
        }
        for stranger in ids(self, true, first, born) {
            couples.extend(men.pop().map(|man| [man, stranger]));
        }
        for (index, man) in men.into_iter().enumerate() {
            let suits = |&woman: &u32| !self.are_kin(man, woman);
            if index % SINGLES != 0
                && let Some(position) = women.iter().position(suits)
            {
                couples.push([man, women.swap_remove(position)]);
            }
        }
        for &couple in &couples {
            self.wed(couple);
        }
        couples.shuffle(rng);
        couples
    }

    fn wed(&mut self, [man, woman]: [u32; 2]) {
        self.0[man as usize].spouse = Some(woman);
        self.0[woman as usize].spouse = Some(man);
    }

    /// Returns true if two people are siblings or first cousins.
    fn are_kin(&self, a: u32, b: u32) -> bool {
        let parents = |id: u32| self.0[id as usize].parents;
        let (Some(of_a), Some(of_b)) = (parents(a), parents(b)) else {
            return false;
        };
        let related = |x: u32, y: u32| x == y || (parents(x).is_some() && parents(x) == parents(y));
        of_a.iter().any(|&x| of_b.iter().any(|&y| related(x, y)))
    }

    /// Returns a unique name for each person, such as `Ada Winter (1802)`.
    pub fn names(&self, rng: &mut Xoshiro256PlusPlus) -> Vec<String> {
        let mut taken = HashSet::with_capacity(self.0.len());
        let mut name_of = |person: &Person| {
            let firsts = if person.female { &WOMEN } else { &MEN };
            let (family, born) = (FAMILIES[person.family], person.born);
            for attempt in 1.. {
                let first = firsts[rng.random_range(0..firsts.len())];
                let name = match attempt {
                    1..10 => format!("{first} {family} ({born})"),
                    // A large genealogy runs out of first names for a family and year.
                    _ => format!("{first} {family} ({born}/{})", attempt - 8),
                };
                if taken.insert(name.clone()) {
                    return name;
                }
            }
            unreachable!("attempts do not end, and there are fewer people than them")
        };
        self.0.iter().map(&mut name_of).collect()
    }
}
