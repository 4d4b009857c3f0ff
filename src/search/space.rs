//! Space files: a base configuration, and the keys that are searched.

use serde::Deserialize;
use serde::de::IntoDeserializer;
use toml::de::{DeString, DeTable, DeValue};
use toml::{Spanned, Table, Value};
use xxhash_rust::xxh3::xxh3_64;

use super::Domain;
use super::error::SpaceError;
use crate::config::{Config, ConfigError, Layers, find_recipe};
use crate::rng::{Purpose, stream};

/// Keys that cannot be searched, and the reasons.
const FIXED: [(&str, &str); 11] = [
    ("output", "every trial has a directory of its own"),
    ("dataset", "trials are compared on one graph"),
    ("init_from", "trials are compared from one start"),
    ("split", "trials are compared on one split"),
    ("split_seed", "trials are compared on one split"),
    ("split_cover", "trials are compared on one split"),
    ("init_optimizer", "trials are compared from one start"),
    (
        "validate_facts",
        "trials are compared on the same validation facts",
    ),
    ("validate_every", "it decides when trials are judged"),
    ("checkpoint_every", "it changes nothing but what is kept"),
    ("device", "it changes nothing but speed"),
];

/// A searched key of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// The key.
    pub key: String,
    /// The values that the key may take.
    pub domain: Domain,
}

/// The set that a search draws configurations from.
#[derive(Clone, Debug)]
pub struct Space {
    base: Layers,
    parameters: Vec<Parameter>,
}

impl Space {
    /// Reads a space: keys of the configuration and perhaps `recipe`, over which the other keys are
    /// laid, then assignments `key=value`; and a table `search` with a [`Domain`] for each key that
    /// is searched. `origin` names the text in errors.
    ///
    /// # Errors
    /// Text that is not TOML, unknown keys with the nearest name, values and domains that make no
    /// sense; each with its line.
    pub fn parse(origin: &str, text: &str, assignments: &[String]) -> Result<Space, SpaceError> {
        let table = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
            origin: origin.to_owned(),
            message: error.to_string(),
        })?;
        let mut table = table.into_inner();
        let line = |key: &Spanned<DeString>| {
            let lines = text[..key.span().start].matches('\n').count();
            format!("{origin}:{}", 1 + lines)
        };
        let searched = table.remove_entry("search");
        let mut base = Layers::new();
        if let Some((key, name)) = table.remove_entry("recipe") {
            let place = line(&key);
            let reason = match plain(&place, "recipe", name)? {
                Value::String(name) => match find_recipe(&name) {
                    Ok(recipe) => {
                        base.text(recipe.name, recipe.text)?;
                        None
                    }
                    Err(error) => Some(error.to_string()),
                },
                other => Some(format!("found {other}, expected the name of a recipe")),
            };
            if let Some(reason) = reason {
                return Err(SpaceError::at(place, "recipe", reason));
            }
        }
        for (key, value) in table {
            let (place, key) = (line(&key), key.into_inner());
            base.set(&place, &key, plain(&place, &key, value)?)?;
        }
        let example =
            "expected a table with a key for each parameter, such as lr = { log = [0.001, 1.0] }";
        let searched = match searched {
            None => {
                return Err(SpaceError::NoSearch {
                    origin: origin.to_owned(),
                    example,
                });
            }
            Some((key, value)) => match value.get_ref() {
                DeValue::Table(searched) if !searched.is_empty() => searched.clone(),
                _ => {
                    let place = line(&key);
                    let found = plain(&place, "search", value)?;
                    let reason = format!("found {found}, {example}");
                    return Err(SpaceError::at(place, "search", reason));
                }
            },
        };
        let mut parameters = Vec::new();
        for (key, value) in searched {
            let (place, key) = (line(&key), key.into_inner());
            let wrong = |reason| SpaceError::at(place.clone(), &key, reason);
            // An unknown key is the first thing to say of it.
            let known = Config::KEYS.iter().any(|(known, _)| *known == key);
            if !known {
                Layers::new().set(&place, &key, Value::Integer(0))?;
            }
            if let Some((_, why)) = FIXED.iter().find(|(fixed, _)| *fixed == key) {
                return Err(wrong(format!("cannot be searched: {why}")));
            }
            let domain = Domain::read(value).map_err(wrong)?;
            for sample in domain.samples() {
                Layers::new().set(&place, &key, sample)?;
            }
            let key = key.into_owned();
            parameters.push(Parameter { key, domain });
        }
        for assignment in assignments {
            base.assignment(assignment)?;
            let key = assignment.split('=').next().unwrap_or_default().trim();
            if parameters.iter().any(|parameter| parameter.key == key) {
                let reason = "is searched: what is set here would have no effect";
                return Err(SpaceError::at("--set".to_owned(), key, reason.to_owned()));
            }
        }
        Ok(Space { base, parameters })
    }

    /// The keys that are searched, in alphabetical order.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Whether a key is searched.
    pub fn searches(&self, key: &str) -> bool {
        self.parameters.iter().any(|parameter| parameter.key == key)
    }

    /// The configuration that trials share, not checked: searched keys may have to complete it.
    ///
    /// # Errors
    /// If values make no sense together.
    pub fn base(&self) -> Result<Config, ConfigError> {
        self.base.unchecked()
    }

    /// The values of a trial: a function of the space, the seed and the trial's number alone. The
    /// values of one key do not depend on which others are searched.
    pub fn draw(&self, seed: u64, trial: usize) -> Table {
        let draw = |parameter: &Parameter| {
            let name = [trial as u64, xxh3_64(parameter.key.as_bytes())];
            let mut rng = stream(seed, Purpose::Search, name);
            (parameter.key.clone(), parameter.domain.draw(&mut rng))
        };
        self.parameters.iter().map(draw).collect()
    }

    /// The configuration with these values in the place of the base's.
    ///
    /// # Errors
    /// If the values make no sense together.
    pub fn config(&self, values: &Table) -> Result<Config, ConfigError> {
        let mut layers = self.base.clone();
        for (key, value) in values {
            layers.set("trial", key, value.clone())?;
        }
        layers.build()
    }
}

/// A value of a space file without its position.
fn plain(place: &str, key: &str, value: Spanned<DeValue>) -> Result<Value, SpaceError> {
    Value::deserialize(value.into_deserializer())
        .map_err(|error| SpaceError::at(place.to_owned(), key, error.message().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPACE: &str = "
        recipe = 'umls'
        dim = 16

        [search]
        lr = { log = [1e-3, 1.0] }
        model = { choice = ['complex', 'rotate'] }
        negatives = { log-int = [8, 128] }
    ";

    fn parse(text: &str) -> Result<Space, SpaceError> {
        Space::parse("space.toml", text, &[])
    }

    #[test]
    fn the_file_is_laid_over_its_recipe_and_what_is_set_over_both() {
        let space = Space::parse("space.toml", SPACE, &["epochs=7".to_owned()]).unwrap();
        let base = space.base().unwrap();
        assert_eq!(
            (base.dataset.as_str(), base.dim, base.epochs),
            ("umls", 16, 7)
        );
        let keys: Vec<&str> = space.parameters().iter().map(|p| p.key.as_str()).collect();
        assert_eq!(keys, ["lr", "model", "negatives"]);
        let config = space.config(&space.draw(0, 0)).unwrap();
        assert_eq!((config.dim, config.epochs), (16, 7));
        assert!((1e-3..=1.0).contains(&config.lr) && (8..=128).contains(&config.negatives));
    }

    #[test]
    fn a_draw_depends_on_seed_and_trial_alone() {
        let space = parse(SPACE).unwrap();
        let draws: Vec<Table> = (0..20).map(|trial| space.draw(4, trial)).collect();
        assert!(
            (0..20)
                .rev()
                .all(|trial| draws[trial] == space.draw(4, trial))
        );
        let different = |a: &Table, b: &Table| a["lr"] != b["lr"];
        assert!(draws.windows(2).all(|pair| different(&pair[0], &pair[1])));
        assert!(different(&draws[0], &space.draw(5, 0)));
        // Another key that is searched leaves the others as they are.
        let more = parse(&format!("{SPACE}\nlambda = {{ uniform = [0.0, 0.1] }}")).unwrap();
        assert_eq!(more.draw(4, 3)["lr"], draws[3]["lr"]);
        // Keys are drawn independently.
        let models = draws
            .iter()
            .filter(|draw| draw["model"].as_str() == Some("rotate"));
        assert!((3..=17).contains(&models.count()));
    }

    #[test]
    fn errors_name_the_line_and_the_remedy() {
        let error = |text: &str| parse(text).unwrap_err().to_string();
        for (text, parts) in [
            ("dim = [", vec!["space.toml: TOML parse error"]),
            (
                "dim = 8",
                vec!["space.toml: there is no [search]", "lr = {"],
            ),
            ("search = 3", vec!["space.toml:1: `search`: found 3"]),
            ("[search]\n", vec!["space.toml:1: `search`: found {}"]),
            (
                "dim = 8\nbach_size = 3\n[search]\nlr = { log = [1, 2] }",
                vec!["space.toml:2: unknown key `bach_size`", "`batch_size`"],
            ),
            (
                "\n[search]\nlr = { log = [1, 2] }\nlamda = { log = [1, 2] }",
                vec!["space.toml:4: unknown key `lamda`", "`lambda`"],
            ),
            (
                "[search]\nlr = { log = [0.0, 1.0] }",
                vec!["space.toml:2: `lr`: found { log = [0.0, 1.0] }, expected bounds above 0"],
            ),
            (
                "[search.lr]\nlog = [2.0, 1.0]",
                vec!["space.toml:1: `lr`", "empty range"],
            ),
            (
                "[search]\ndim = { uniform = [8, 16] }",
                vec!["space.toml:2: `dim`:", "usize"],
            ),
            (
                "[search]\nloss = { choice = ['softmax', 'soft'] }",
                vec!["space.toml:2: `loss`:", "`soft`"],
            ),
            (
                "[search]\noutput = { choice = ['a'] }",
                vec!["space.toml:2: `output`: cannot be searched"],
            ),
            (
                "recipe = 'umsl'\n[search]\nlr = { log = [1, 2] }",
                vec![
                    "space.toml:1: `recipe`: there is no recipe `umsl`",
                    "`umls`",
                ],
            ),
            ("recipe = 3", vec!["space.toml:1: `recipe`: found 3"]),
        ] {
            let error = error(text);
            for part in parts {
                assert!(error.contains(part), "{text}: {error}");
            }
        }
        let error = Space::parse("s", SPACE, &["lr=0.1".to_owned()]).unwrap_err();
        assert!(
            error.to_string().starts_with("--set: `lr`: is searched"),
            "{error}"
        );
        let error = Space::parse("s", SPACE, &["dimm=1".to_owned()]).unwrap_err();
        assert!(error.to_string().contains("`dim`"), "{error}");
    }
}
