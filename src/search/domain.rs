//! What values a parameter may take, and drawing one.

use rand::RngExt;
use toml::{Table, Value};

use crate::rng::Stream;

/// The values that a parameter may take.
#[derive(Clone, Debug, PartialEq)]
pub enum Domain {
    /// One of these, each as likely.
    Choice(Vec<Value>),
    /// A number between two, uniformly.
    Uniform(f64, f64),
    /// A number between two above 0, uniformly in its logarithm.
    Log(f64, f64),
    /// A whole number from the first to the last, uniformly.
    Int(i64, i64),
    /// A whole number from the first (1 or more) to the last, uniformly in its logarithm.
    LogInt(i64, i64),
}

/// The names of domains in a space file.
pub(super) const NAMES: [&str; 5] = ["choice", "uniform", "log", "int", "log-int"];

impl Domain {
    /// Reads a domain such as `{ log = [0.001, 1.0] }`.
    ///
    /// # Errors
    /// What was found and what was expected.
    pub fn parse(value: &Value) -> Result<Domain, String> {
        let shape = || {
            format!(
                "expected a table with one of {}, such as {{ log = [0.001, 1.0] }}",
                NAMES.join(", ")
            )
        };
        let table = match value {
            Value::Table(table) => table,
            other => return Err(format!("found {other}, {}", shape())),
        };
        let (name, values) = match table.iter().next() {
            Some(entry) if table.len() == 1 => entry,
            _ => return Err(format!("found {}, {}", found_keys(table), shape())),
        };
        match name.as_str() {
            "choice" => choice(values),
            "uniform" => numbers(name, values).map(|[low, high]| Domain::Uniform(low, high)),
            "log" => {
                let [low, high] = numbers(name, values)?;
                above_zero(name, low, values)?;
                Ok(Domain::Log(low, high))
            }
            "int" => whole(name, values).map(|[low, high]| Domain::Int(low, high)),
            "log-int" => {
                let [low, high] = whole(name, values)?;
                above_zero(name, low as f64, values)?;
                Ok(Domain::LogInt(low, high))
            }
            unknown => {
                let nearest = NAMES
                    .into_iter()
                    .map(|name| (strsim::jaro_winkler(unknown, name), name))
                    .filter(|(similarity, _)| *similarity > 0.75)
                    .max_by(|a, b| a.0.total_cmp(&b.0));
                let hint = nearest.map(|(_, name)| format!(" (did you mean `{name}`?)"));
                Err(format!(
                    "found `{unknown}`, {}{}",
                    shape(),
                    hint.unwrap_or_default()
                ))
            }
        }
    }

    /// Draws a value. Fractions have four significant digits, for people to read.
    pub fn draw(&self, rng: &mut Stream) -> Value {
        let mut between = |low: f64, high: f64| low + rng.random::<f64>() * (high - low);
        match *self {
            Domain::Choice(ref values) => values[rng.random_range(0..values.len())].clone(),
            Domain::Uniform(low, high) => readable(between(low, high), low, high).into(),
            Domain::Log(low, high) => {
                readable(between(low.ln(), high.ln()).exp(), low, high).into()
            }
            Domain::Int(low, high) => rng.random_range(low..=high).into(),
            Domain::LogInt(low, high) => {
                let drawn = between((low as f64).ln(), (high as f64 + 1.0).ln()).exp();
                (drawn as i64).clamp(low, high).into()
            }
        }
    }

    /// Values to check before anything is drawn: all choices, or both ends.
    pub fn samples(&self) -> Vec<Value> {
        match *self {
            Domain::Choice(ref values) => values.clone(),
            Domain::Uniform(low, high) | Domain::Log(low, high) => vec![low.into(), high.into()],
            Domain::Int(low, high) | Domain::LogInt(low, high) => vec![low.into(), high.into()],
        }
    }
}

/// The number with four significant digits, not beyond the bounds.
fn readable(value: f64, low: f64, high: f64) -> f64 {
    let text = format!("{value:.3e}");
    text.parse().unwrap_or(value).clamp(low, high)
}

fn choice(values: &Value) -> Result<Domain, String> {
    let number = |value: &Value| value.as_float().is_none_or(f64::is_finite);
    match values {
        Value::Array(some) if !some.iter().all(number) => {
            Err(format!("found choice = {values}, expected finite numbers"))
        }
        Value::Array(values) if !values.is_empty() => Ok(Domain::Choice(values.clone())),
        other => Err(format!(
            "found choice = {other}, expected a list of one or more values"
        )),
    }
}

/// Two finite numbers, the lower one first.
fn numbers(name: &str, values: &Value) -> Result<[f64; 2], String> {
    let number = |value: &Value| match *value {
        Value::Float(number) => Some(number),
        Value::Integer(number) => Some(number as f64),
        _ => None,
    };
    let pair = match values.as_array().map(Vec::as_slice) {
        Some([low, high]) => number(low).zip(number(high)),
        _ => None,
    };
    match pair {
        Some((low, high)) if low.is_finite() && high.is_finite() => {
            ascending(low < high, name, values).map(|()| [low, high])
        }
        _ => Err(format!(
            "found {name} = {values}, expected two numbers, [lowest, highest]"
        )),
    }
}

/// Two whole numbers, the lower one first.
fn whole(name: &str, values: &Value) -> Result<[i64; 2], String> {
    let pair = match values.as_array().map(Vec::as_slice) {
        Some([Value::Integer(low), Value::Integer(high)]) => Some([*low, *high]),
        _ => None,
    };
    let Some([low, high]) = pair else {
        return Err(format!(
            "found {name} = {values}, expected two whole numbers, [lowest, highest]"
        ));
    };
    ascending(low < high, name, values).map(|()| [low, high])
}

fn ascending(is: bool, name: &str, values: &Value) -> Result<(), String> {
    match is {
        true => Ok(()),
        false => Err(format!(
            "found {name} = {values}, an empty range: expected the lower bound first, and another \
             one above it"
        )),
    }
}

fn above_zero(name: &str, low: f64, values: &Value) -> Result<(), String> {
    match low > 0.0 {
        true => Ok(()),
        false => Err(format!(
            "found {name} = {values}, expected bounds above 0: other numbers have no logarithm"
        )),
    }
}

fn found_keys(table: &Table) -> String {
    match table.len() {
        0 => "an empty table".to_owned(),
        _ => table.keys().cloned().collect::<Vec<_>>().join(" and "),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rng::{Purpose, stream};

    fn parse(text: &str) -> Result<Domain, String> {
        let table: Table = format!("v = {text}").parse().unwrap();
        Domain::parse(&table["v"])
    }

    #[test]
    fn domains_are_read() {
        assert_eq!(parse("{ log = [1e-3, 1] }"), Ok(Domain::Log(1e-3, 1.0)));
        assert_eq!(
            parse("{ uniform = [-1, 0.5] }"),
            Ok(Domain::Uniform(-1.0, 0.5))
        );
        assert_eq!(parse("{ int = [8, 128] }"), Ok(Domain::Int(8, 128)));
        assert_eq!(parse("{ log-int = [1, 9] }"), Ok(Domain::LogInt(1, 9)));
        let models = ["rotate", "complex"].map(Value::from).to_vec();
        assert_eq!(
            parse("{ choice = ['rotate', 'complex'] }"),
            Ok(Domain::Choice(models))
        );
    }

    #[test]
    fn errors_say_what_was_found_and_expected() {
        for (text, parts) in [
            ("0.1", vec!["found 0.1", "expected a table", "log-int"]),
            ("{}", vec!["found an empty table"]),
            ("{ log = [1, 2], int = [1, 2] }", vec!["int and log"]),
            (
                "{ unifrom = [1, 2] }",
                vec!["`unifrom`", "did you mean `uniform`"],
            ),
            ("{ choice = [] }", vec!["choice = []", "one or more"]),
            ("{ choice = 3 }", vec!["choice = 3"]),
            ("{ choice = [1.0, nan] }", vec!["finite"]),
            ("{ uniform = [1] }", vec!["two numbers"]),
            ("{ uniform = [1, 'x'] }", vec!["two numbers"]),
            ("{ uniform = [0.0, inf] }", vec!["two numbers"]),
            ("{ uniform = [nan, 1.0] }", vec!["two numbers"]),
            ("{ uniform = [2, 1] }", vec!["empty range"]),
            ("{ uniform = [1, 1.0] }", vec!["empty range"]),
            ("{ int = [1, 2.5] }", vec!["two whole numbers"]),
            ("{ int = [5, 4] }", vec!["empty range"]),
            ("{ log = [0, 1] }", vec!["log = [0, 1]", "above 0"]),
            ("{ log = [-1, 1] }", vec!["above 0"]),
            ("{ log-int = [0, 5] }", vec!["above 0"]),
        ] {
            let error = parse(text).unwrap_err();
            for part in parts {
                assert!(error.contains(part), "{text}: {error}");
            }
        }
    }

    proptest! {
        #[test]
        fn draws_stay_within_bounds(low in -1e6..1e6f64, size in 1e-9..1e6f64, seed: u64) {
            let mut rng = stream(seed, Purpose::Search, [0, 0]);
            let high = low + size;
            prop_assume!(low < high);
            let drawn = Domain::Uniform(low, high).draw(&mut rng).as_float().unwrap();
            prop_assert!((low..=high).contains(&drawn));
            let (low, high) = (low.abs() + 1e-9, low.abs() + 1e-9 + size);
            let drawn = Domain::Log(low, high).draw(&mut rng).as_float().unwrap();
            prop_assert!((low..=high).contains(&drawn));
            let (low, high) = (low.ceil() as i64, high.ceil() as i64 + 1);
            for domain in [Domain::Int(low, high), Domain::LogInt(low, high)] {
                let drawn = domain.draw(&mut rng).as_integer().unwrap();
                prop_assert!((low..=high).contains(&drawn));
            }
        }
    }

    #[test]
    fn logarithms_are_drawn_uniformly() {
        let mut rng = stream(1, Purpose::Search, [0, 0]);
        let mut share = |domain: Domain, below: f64| {
            let number = |value: Value| value.as_float().or(value.as_integer().map(|i| i as f64));
            let drawn = (0..4000).map(|_| number(domain.draw(&mut rng)).unwrap());
            drawn.filter(|&x| x < below).count() as f64 / 4000.0
        };
        for (domain, below, expected) in [
            (Domain::Log(1e-4, 1.0), 1e-2, 0.5),
            (Domain::LogInt(1, 99), 10.0, 0.5),
            (Domain::Int(1, 100), 26.0, 0.25),
            (Domain::Uniform(-1.0, 3.0), 0.0, 0.25),
        ] {
            let found = share(domain.clone(), below);
            assert!((found - expected).abs() < 0.04, "{domain:?}: {found}");
        }
    }
}
