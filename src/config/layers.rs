//! Laying config files, recipes and flags over one another.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::{Config, renamed};

/// A configuration that cannot be read or makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file that cannot be read.
    #[error("cannot read {path}: {source}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Text that is not TOML.
    #[error("{origin}: {message}")]
    Syntax {
        /// File, recipe or flag.
        origin: String,
        /// The parser's message, with line and column.
        message: String,
    },
    /// A key that does not exist.
    #[error("{origin}: unknown key `{key}`{}", .nearest.map(|n| format!(" (did you mean `{n}`?)")).unwrap_or_default())]
    UnknownKey {
        /// File, recipe or flag.
        origin: String,
        /// The unknown key.
        key: String,
        /// The key that looks most like it.
        nearest: Option<&'static str>,
    },
    /// A value of the wrong type or name.
    #[error("{origin}: `{key}`: {message}")]
    Value {
        /// File, recipe or flag.
        origin: String,
        /// The key.
        key: String,
        /// The expected values.
        message: String,
    },
    /// A value that makes no sense, alone or with others.
    #[error("`{key}`: {reason}")]
    Invalid {
        /// The key.
        key: &'static str,
        /// The rule that the value breaks.
        reason: String,
    },
    /// A recipe that does not exist.
    #[error("there is no recipe `{name}`{}; `shardloom recipes` lists them", .nearest.map(|n| format!(" (did you mean `{n}`?)")).unwrap_or_default())]
    UnknownRecipe {
        /// The unknown name.
        name: String,
        /// The recipe that looks most like it.
        nearest: Option<&'static str>,
    },
}

impl ConfigError {
    pub(crate) fn invalid(key: &'static str, reason: String) -> ConfigError {
        ConfigError::Invalid { key, reason }
    }
}

/// Layers of keys that become a [`Config`]; later layers win.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    table: Table,
}

impl Layers {
    /// No layers: a configuration of defaults.
    pub fn new() -> Layers {
        Layers::default()
    }

    /// Lays a TOML file over what is there.
    ///
    /// # Errors
    /// If it cannot be read, is not TOML, or has an unknown key or a value of the wrong type.
    pub fn file(&mut self, path: &Path) -> Result<&mut Layers, ConfigError> {
        self.text(&path.display().to_string(), &read(path)?)
    }

    /// Lays the configuration that a run wrote over what is there. A run of an earlier version may
    /// have keys under former names.
    ///
    /// # Errors
    /// As [`Layers::file`].
    pub fn saved(&mut self, path: &Path) -> Result<&mut Layers, ConfigError> {
        let origin = path.display().to_string();
        let table = parse(&origin, &read(path)?)?;
        self.table(&origin, renamed::convert(table))
    }

    /// Lays TOML text over what is there; `origin` names it in errors.
    ///
    /// # Errors
    /// If it is not TOML, or has an unknown key or a value of the wrong type.
    pub fn text(&mut self, origin: &str, text: &str) -> Result<&mut Layers, ConfigError> {
        let table = parse(origin, text)?;
        self.table(origin, table)
    }

    fn table(&mut self, origin: &str, table: Table) -> Result<&mut Layers, ConfigError> {
        for (key, value) in table {
            self.put(origin, &key, value)?;
        }
        Ok(self)
    }

    /// Lays one `key=value` over what is there. A value that is no TOML is taken as a string, so
    /// that `model=rotate` needs no quotes.
    ///
    /// # Errors
    /// If there is no `=`, the key is unknown or the value is of the wrong type.
    pub fn assignment(&mut self, text: &str) -> Result<&mut Layers, ConfigError> {
        let Some((key, value)) = text.split_once('=') else {
            return Err(ConfigError::Syntax {
                origin: "--set".to_owned(),
                message: format!("expected key=value, found `{text}`"),
            });
        };
        let (key, value) = (key.trim(), value.trim());
        let parsed = format!("v = {value}").parse::<Table>().ok();
        let value = parsed
            .and_then(|mut t| t.remove("v"))
            .unwrap_or_else(|| Value::String(value.to_owned()));
        self.set("--set", key, value)
    }

    /// Lays one value over what is there.
    ///
    /// # Errors
    /// If the key is unknown or the value is of the wrong type.
    pub fn set(
        &mut self,
        origin: &str,
        key: &str,
        value: impl Into<Value>,
    ) -> Result<&mut Layers, ConfigError> {
        self.put(origin, key, value.into())?;
        Ok(self)
    }

    fn put(&mut self, origin: &str, key: &str, value: Value) -> Result<(), ConfigError> {
        let known = Config::KEYS.iter().any(|(k, _)| *k == key);
        if !known {
            return Err(ConfigError::UnknownKey {
                origin: origin.to_owned(),
                nearest: renamed::present_key(key)
                    .or_else(|| nearest(key, Config::KEYS.iter().map(|(k, _)| *k))),
                key: key.to_owned(),
            });
        }
        // Whole numbers are welcome where fractions are expected.
        let value = match value {
            Value::Integer(i) if is_float(key) => Value::Float(i as f64),
            other => other,
        };
        let mut alone = Table::new();
        alone.insert(key.to_owned(), value.clone());
        alone.try_into::<Config>().map_err(|e| ConfigError::Value {
            origin: origin.to_owned(),
            key: key.to_owned(),
            message: e.message().to_owned(),
        })?;
        self.table.insert(key.to_owned(), value);
        Ok(())
    }

    /// Lays other layers over what is there.
    pub fn layers(&mut self, upper: Layers) -> &mut Layers {
        self.table.extend(upper.table);
        self
    }

    /// The value of a key, if a layer gives one.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.table.get(key)
    }

    /// The configuration, checked.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] if a value or a combination makes no sense.
    pub fn build(&self) -> Result<Config, ConfigError> {
        let config = self.unchecked()?;
        config.validate()?;
        Ok(config)
    }

    /// The configuration, unchecked: of layers that are incomplete, or whose values may contradict each
    /// other.
    ///
    /// # Errors
    /// [`ConfigError::Value`], which single keys have had before.
    pub fn unchecked(&self) -> Result<Config, ConfigError> {
        self.table
            .clone()
            .try_into()
            .map_err(|e: toml::de::Error| ConfigError::Value {
                origin: "configuration".to_owned(),
                key: String::new(),
                message: e.message().to_owned(),
            })
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })
}

fn parse(origin: &str, text: &str) -> Result<Table, ConfigError> {
    text.parse()
        .map_err(|error: toml::de::Error| ConfigError::Syntax {
            origin: origin.to_owned(),
            message: error.to_string(),
        })
}

fn is_float(key: &str) -> bool {
    let default = Table::try_from(Config {
        lambda_relation: Some(0.0),
        init_low: Some(0.0),
        ..Config::default()
    });
    default.is_ok_and(|t| matches!(t.get(key), Some(Value::Float(_))))
}

/// The name most similar to a written one, if one is similar.
pub(super) fn nearest(
    written: &str,
    names: impl Iterator<Item = &'static str>,
) -> Option<&'static str> {
    names
        .map(|name| (strsim::jaro_winkler(written, name), name))
        .filter(|(similarity, _)| *similarity > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::MatmulPrecision;
    use crate::model::Model;
    use crate::sampler::{Objective, Sides};

    #[test]
    fn later_layers_win() {
        let mut layers = Layers::new();
        layers
            .text("file", "dim = 10\nlr = 1\nmodel = \"distmult\"")
            .unwrap();
        layers
            .text("recipe", "dim = 20\nobjective = \"kvsall\"")
            .unwrap();
        layers
            .assignment("dim=30")
            .unwrap()
            .assignment("model = rotate")
            .unwrap();
        let config = layers.build().unwrap();
        assert_eq!(
            (config.dim, config.lr, config.model),
            (30, 1.0, Model::RotatE)
        );
        assert_eq!(config.objective, Objective::KVsAll);
    }

    #[test]
    fn a_resolved_config_reads_back() {
        let config = Config {
            dim: 12,
            lambda_relation: Some(0.5),
            split: Some([0.8, 0.1, 0.1]),
            ..Config::default()
        };
        let text = toml::to_string(&config).unwrap();
        assert_eq!(
            Layers::new()
                .text("config.toml", &text)
                .unwrap()
                .build()
                .unwrap(),
            config
        );
    }

    #[test]
    fn a_run_of_an_earlier_version_is_read_with_its_former_keys() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("config.toml");
        let former = "balance = true\nchunk = 3\nlanes = 2\nproducts = \"fast\"\nsides = \"tail\"\n\
                      weigh_answers = true\nweighted = false\nmodel = \"transe\"\n";
        std::fs::write(&path, former).unwrap();
        let mut layers = Layers::new();
        let config = layers.saved(&path).unwrap().unchecked().unwrap();
        let expected = Config {
            balance_by_speed: true,
            negatives_chunk: 3,
            gradient_partitions: 2,
            matmul_precision: MatmulPrecision::Bf16x3,
            query_sides: Sides::Tail,
            kvsall_weight_by_answers: true,
            regularizer_weighted: false,
            model: Model::TransEL1,
            ..Config::default()
        };
        assert_eq!(config, expected);
        std::fs::write(&path, "lens = 2").unwrap();
        assert!(Layers::new().saved(&path).is_err());
    }

    #[test]
    fn errors_name_origin_key_and_remedy() {
        let error = |text: &str| {
            Layers::new()
                .text("my.toml", text)
                .and_then(|l| l.build())
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            error("bach_size = 3"),
            "my.toml: unknown key `bach_size` (did you mean `batch_size`?)"
        );
        assert!(error("zzz = 3").ends_with("unknown key `zzz`"));
        assert_eq!(
            error("lanes = 3"),
            "my.toml: unknown key `lanes` (did you mean `gradient_partitions`?)"
        );
        assert!(error("matmul_precision = \"fast\"").contains("bf16x3"));
        assert!(error("dim = \"wide\"").starts_with("my.toml: `dim`:"));
        assert!(error("dim = [").starts_with("my.toml: TOML parse error"));
        assert!(error("dim = 0").contains("at least 1"));
        assert!(error("dim = 7").contains("multiple of 2"));
        assert!(error("model = \"quate\"\ndim = 6").contains("multiple of 4"));
        assert!(error("model = \"rescal\"\ndim = 5000").contains("5000 × 5000"));
        assert!(error("model = \"tucker\"\ndim = 1000").contains("1000 × 1000 × 1000"));
        assert!(error("relation_dim = 0\nmodel = \"tucker\"").contains("at least 1"));
        assert!(error("relation_dim = 9\nmodel = \"rescal\"").contains("4096 values for dim 64"));
        assert!(error("init_low = -1").contains("init = \"uniform\""));
        assert!(error("init = \"uniform\"\ninit_low = 1").contains("at most 0.001"));
        assert!(error("head_negatives = 3").contains("objective = \"negatives\""));
        assert!(error("near_negatives = \"ppr\"").contains("objective = \"negatives\""));
        assert!(error("near_negatives = \"hops\"").contains("expected khop:1"));
        let near = "objective = \"negatives\"\nnear_negatives = \"khop:2\"\n";
        assert!(error(&format!("{near}near_share = 1.5")).contains("near_share"));
        assert!(error(&format!("{near}near_share = 0.001")).contains("none"));
        assert!(error("graph_store = \"127.0.0.1:7400\"").contains("set near_negatives"));
        assert!(error(&format!("{near}graph_store_tls = \"tls\"")).contains("set graph_store"));
        let many = format!("{near}batch_size = 1000000\nnegatives = 100");
        assert!(error(&many).contains("near negatives a step are too many"));
        let drawn = "objective = \"negatives\"\nhead_negatives = 3\n";
        assert!(error(&format!("{drawn}loss = \"margin\"")).contains("mean over negatives"));
        assert!(
            error(&format!(
                "{drawn}reciprocal = false\nquery_sides = \"tail\""
            ))
            .contains("no heads")
        );
        assert!(error("lr = -0.5").contains("above 0"));
        assert!(error("lr = nan").contains("out of range"));
        assert_eq!(
            error("model = \"rotat\""),
            "my.toml: `model`: unknown model \"rotat\" (did you mean `rotate`?); there are complex, cp, \
             distmult, quate, rotate, simple, transe-l1, transe-l2, rescal, tucker"
        );
        assert!(error("model = \"transformer\"").contains("there are complex"));
        assert!(error("device = \"gpu:x\"").contains("`device`"));
        assert!(error("objective = \"kvsall\"\nloss = \"margin\"").contains("kvsall"));
        assert!(error("objective = \"1vsal\"").contains("1vsall"));
        assert!(error("query_sides = \"tail\"").contains("reciprocal = false"));
        assert!(error("objective = \"kvsall\"\nquery_sides = \"head\"").contains("both ends"));
        assert!(error("loss = \"margin\"\nlabel_smoothing = 0.1").contains("no labels"));
        assert!(error("stochastic_rounding = true").contains("f16"));
        assert!(error("relation_weight = -1").contains("out of range"));
        assert!(error("relation_weight = nan").contains("out of range"));
        assert!(error("relation_weight = 1e-60").contains("too small"));
        assert!(error("relation_weight = 1\nmodel = \"rotate\"").contains("complex, distmult"));
        assert!(error("relation_weight = 1\nobjective = \"negatives\"").contains("1vsall"));
        assert!(error("relation_weight = 1\nloss = \"bce\"").contains("softmax"));
        assert!(error("dtype = \"f64\"").contains("f16"));
        let many = "objective = \"negatives\"\nbatch_size = 1000000\nnegatives_chunk = 1000000\nnegatives = 10000";
        assert!(error(many).contains("scores a step"));
    }

    #[test]
    fn assignments_need_an_equals_sign() {
        assert!(
            Layers::new()
                .assignment("dim")
                .unwrap_err()
                .to_string()
                .contains("key=value")
        );
        assert!(
            Layers::new()
                .assignment("dimm=3")
                .unwrap_err()
                .to_string()
                .contains("`dim`")
        );
    }
}
