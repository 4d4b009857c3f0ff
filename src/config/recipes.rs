//! Recipes: named configurations that reach known quality, kept as TOML in `recipes/`.

use super::ConfigError;
use super::layers::nearest;

/// A recipe of the repository.
#[derive(Clone, Copy, Debug)]
pub struct Recipe {
    /// Name on the command line.
    pub name: &'static str,
    /// Configuration in TOML. Comments at the top say which quality the recipe reaches, and the source of
    /// its numbers.
    pub text: &'static str,
}

macro_rules! recipes {
    ($($name:literal),+ $(,)?) => {
        /// All recipes.
        pub const RECIPES: &[Recipe] = &[
            $(Recipe { name: $name, text: include_str!(concat!("../../recipes/", $name, ".toml")) },)+
        ];
    };
}

recipes![
    "genealogy",
    "umls",
    "umls-tucker",
    "kinship",
    "kinship-rescal",
    "nations",
    "fb15k-237-complex-n3",
    "fb15k-237-complex-n3-fast",
    "fb15k-237-complex-n3-published",
    "fb15k-237-complex-n3-rank25",
    "fb15k-237-complex-n3-rank1000",
    "fb15k-237-complex-n3-rp",
    "fb15k-237-complex-n3-rp-published",
    "fb15k-237-distmult",
    "fb15k-237-transe",
    "fb15k-237-rotate",
    "fb15k-237-complex-libkge",
    "fb15k-237-distmult-libkge",
    "fb15k-237-transe-libkge",
    "wn18rr-complex-n3",
    "wn18rr-complex-n3-rank25",
    "wn18rr-complex-n3-rank100",
    "wn18rr-complex-n3-published",
    "wn18rr-complex-n3-rp-published",
    "wn18rr-distmult",
    "wn18rr-transe",
    "wn18rr-rotate",
    "wn18rr-complex-libkge",
    "wn18rr-distmult-libkge",
    "wn18rr-transe-libkge",
];

impl Recipe {
    /// The first comment line: graph, model and source.
    pub fn summary(&self) -> &'static str {
        let first = self.text.lines().next().unwrap_or_default();
        first.trim_start_matches('#').trim()
    }
}

/// The recipe of a name.
///
/// # Errors
/// [`ConfigError::UnknownRecipe`] with the nearest name.
pub fn find(name: &str) -> Result<&'static Recipe, ConfigError> {
    RECIPES
        .iter()
        .find(|r| r.name == name)
        .ok_or_else(|| ConfigError::UnknownRecipe {
            name: name.to_owned(),
            nearest: nearest(name, RECIPES.iter().map(|r| r.name)),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Layers;

    #[test]
    fn every_recipe_is_a_valid_configuration_and_says_what_it_is() {
        for recipe in RECIPES {
            Layers::new()
                .text(recipe.name, recipe.text)
                .unwrap()
                .build()
                .unwrap();
            assert!(recipe.summary().len() > 20, "{}", recipe.name);
        }
        let error = find("fb15k-237-complex").unwrap_err().to_string();
        assert!(error.contains("fb15k-237-complex-n3"), "{error}");
    }
}
