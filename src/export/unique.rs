//! Unique names that an export generates for the rows of a table.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use crate::names::breaks;

/// Generated name that another row has, and its replacement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renamed {
    /// Name of the row.
    pub name: String,
    /// Generated name, which another row has.
    pub taken: String,
    /// Replacement.
    pub instead: String,
}

/// Returns the names of reciprocal rows, in the order of the relations: `NAME (reciprocal)`, or, if
/// a relation of the graph has that name, `NAME (reciprocal 2)`, `NAME (reciprocal 3)` and so on.
pub fn reciprocal_names(relations: &[&str]) -> (Vec<String>, Vec<Renamed>) {
    let mut taken: HashSet<Cow<str>> = relations.iter().map(|&name| name.into()).collect();
    let mut renamed = Vec::new();
    let names = relations.iter().map(|&name| {
        let first = format!("{name} (reciprocal)");
        let numbered = |number| format!("{name} (reciprocal {number})");
        let found = free(&mut taken, &first, 2, numbered).0;
        if found != first {
            renamed.push(Renamed {
                name: name.to_owned(),
                taken: first,
                instead: found.clone(),
            });
        }
        found
    });
    (names.collect(), renamed)
}

/// Returns words for names, in their order, and the words that were taken already. A word has no
/// white space and no control character: `_` replaces each. Names that are words stay as they are;
/// if the word of another name is taken, a number is added, as in `New_York_2`.
pub(super) fn words<'a>(names: &[&'a str]) -> (Vec<Cow<'a, str>>, Vec<Renamed>) {
    let odd = |c: char| c.is_whitespace() || breaks(c);
    let plain = |name: &str| !name.is_empty() && !name.contains(odd);
    let mut taken: HashSet<Cow<str>> = (names.iter().copied())
        .filter(|name| plain(name))
        .map(Cow::Borrowed)
        .collect();
    let mut next: HashMap<String, u32> = HashMap::new();
    let mut renamed = Vec::new();
    let words = names.iter().map(|&name| {
        if plain(name) {
            return Cow::Borrowed(name);
        }
        let mut word = name.replace(odd, "_");
        if word.is_empty() {
            word.push('_');
        }
        let number = next.get(&word).copied().unwrap_or(2);
        let numbered = |number| format!("{word}_{number}");
        let (found, number) = free(&mut taken, &word, number, numbered);
        if found != word {
            renamed.push(Renamed {
                name: name.to_owned(),
                taken: word.clone(),
                instead: found.clone(),
            });
        }
        next.insert(word, number);
        Cow::Owned(found)
    });
    (words.collect(), renamed)
}

/// Takes the first free name and returns it with the next number to try.
fn free(
    taken: &mut HashSet<Cow<str>>,
    first: &str,
    mut number: u32,
    numbered: impl Fn(u32) -> String,
) -> (String, u32) {
    let mut name = first.to_owned();
    while !taken.insert(Cow::Owned(name.clone())) {
        name = numbered(number);
        number += 1;
    }
    (name, number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reciprocal_rows_give_way_to_relations() {
        let relations = ["likes", "likes (reciprocal)", "likes (reciprocal 2)"];
        let (names, renamed) = reciprocal_names(&relations);
        assert_eq!(
            names,
            [
                "likes (reciprocal 3)",
                "likes (reciprocal) (reciprocal)",
                "likes (reciprocal 2) (reciprocal)"
            ]
        );
        assert_eq!(renamed.len(), 1);
        assert_eq!(renamed[0].taken, "likes (reciprocal)");
        assert_eq!(reciprocal_names(&["a"]).1, []);
    }

    #[test]
    fn words_give_way_to_names_that_are_words() {
        let names = [
            "New York",
            "New_York",
            "New\u{a0}York",
            "",
            "_",
            "New_York_2",
            "a\rb",
        ];
        let (words, renamed) = words(&names);
        let expected = [
            "New_York_3",
            "New_York",
            "New_York_4",
            "__2",
            "_",
            "New_York_2",
            "a_b",
        ];
        assert_eq!(words, expected);
        assert_eq!(renamed.len(), 3);
    }

    proptest! {
        #[test]
        fn words_are_words_and_all_different(
            names in proptest::collection::hash_set("[ab_2 \t\u{a0}]{0,4}", 0..40),
        ) {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let (words, _) = words(&names);
            let different: HashSet<&str> = words.iter().map(|word| &**word).collect();
            prop_assert_eq!(different.len(), names.len());
            prop_assert!(words.iter().all(|word| word.split_whitespace().eq([&**word])));
        }
    }
}
