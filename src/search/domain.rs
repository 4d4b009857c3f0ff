//! Values that a parameter may take, and drawing one.

use rand::RngExt;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use toml::de::DeValue;
use toml::{Spanned, Value};

use crate::rng::Stream;

/// The values that a parameter may take. In a space file, a table with one key: `{ log = [0.001, 1.0] }`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Domain {
    /// One of these, each as likely.
    Choice(Vec<Value>),
    /// A number between two, uniformly.
    Uniform([f64; 2]),
    /// A number between two above 0, uniformly in its logarithm.
    Log([f64; 2]),
    /// A whole number from the first to the last, uniformly.
    Int([i64; 2]),
    /// A whole number from the first (1 or more) to the last, uniformly in its logarithm.
    LogInt([i64; 2]),
}

impl Domain {
    /// Reads and checks a domain.
    ///
    /// # Errors
    /// Description of what was found and what was expected.
    pub(super) fn read(value: Spanned<DeValue>) -> Result<Domain, String> {
        let found = Value::deserialize(value.clone().into_deserializer());
        let found = found.map_or_else(|error| error.message().to_owned(), |v| v.to_string());
        let domain = Domain::deserialize(value.into_deserializer()).map_err(|error| {
            format!(
                "found {found}: {}; expected a table with one of choice, uniform, log, int, \
                 log-int, such as {{ log = [0.001, 1.0] }}",
                error.message()
            )
        })?;
        match domain.expected() {
            None => Ok(domain),
            Some(expected) => Err(format!("found {found}, expected {expected}")),
        }
    }

    /// Requirement that the values do not meet, if any.
    fn expected(&self) -> Option<&'static str> {
        let is_infinite = |value: &Value| value.as_float().is_some_and(|v| !v.is_finite());
        let numbers_above_0 = "bounds above 0: other numbers have no logarithm";
        let range = "two bounds, the lower one first: this is an empty range";
        match *self {
            Domain::Choice(ref values) if values.is_empty() => Some("a list of one or more values"),
            Domain::Choice(ref values) if values.iter().any(is_infinite) => Some("finite numbers"),
            Domain::Uniform([low, high]) | Domain::Log([low, high])
                if !(low.is_finite() && high.is_finite()) =>
            {
                Some("finite bounds")
            }
            Domain::Uniform([low, high]) | Domain::Log([low, high]) if low >= high => Some(range),
            Domain::Int([low, high]) | Domain::LogInt([low, high]) if low >= high => Some(range),
            Domain::Log([low, _]) if low <= 0.0 => Some(numbers_above_0),
            Domain::LogInt([low, _]) if low <= 0 => Some(numbers_above_0),
            _ => None,
        }
    }

    /// Draws a value. Fractions have four significant digits, for people to read.
    pub fn draw(&self, rng: &mut Stream) -> Value {
        let mut between = |low: f64, high: f64| low + rng.random::<f64>() * (high - low);
        match *self {
            Domain::Choice(ref values) => values[rng.random_range(0..values.len())].clone(),
            Domain::Uniform([low, high]) => readable(between(low, high), low, high).into(),
            Domain::Log([low, high]) => {
                readable(between(low.ln(), high.ln()).exp(), low, high).into()
            }
            Domain::Int([low, high]) => rng.random_range(low..=high).into(),
            Domain::LogInt([low, high]) => {
                let drawn = between((low as f64).ln(), (high as f64 + 1.0).ln()).exp();
                (drawn as i64).clamp(low, high).into()
            }
        }
    }

    /// Values to check before anything is drawn: all choices, or both bounds.
    pub fn samples(&self) -> Vec<Value> {
        match *self {
            Domain::Choice(ref values) => values.clone(),
            Domain::Uniform([low, high]) | Domain::Log([low, high]) => {
                vec![low.into(), high.into()]
            }
            Domain::Int([low, high]) | Domain::LogInt([low, high]) => vec![low.into(), high.into()],
        }
    }
}

/// The number with four significant digits, not beyond the bounds.
fn readable(value: f64, low: f64, high: f64) -> f64 {
    let text = format!("{value:.3e}");
    text.parse().unwrap_or(value).clamp(low, high)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rng::{Purpose, stream};

    fn parse(text: &str) -> Result<Domain, String> {
        Domain::read(DeValue::parse(text).unwrap())
    }

    #[test]
    fn domains_are_read() {
        assert_eq!(parse("{ log = [1e-3, 1] }"), Ok(Domain::Log([1e-3, 1.0])));
        assert_eq!(
            parse("{ uniform = [-1, 0.5] }"),
            Ok(Domain::Uniform([-1.0, 0.5]))
        );
        assert_eq!(parse("{ int = [8, 128] }"), Ok(Domain::Int([8, 128])));
        assert_eq!(parse("{ log-int = [1, 9] }"), Ok(Domain::LogInt([1, 9])));
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
            ("{}", vec!["found {}", "0 elements", "expected a table"]),
            (
                "{ log = [1, 2], int = [1, 2] }",
                vec!["more than 1 element"],
            ),
            (
                "{ unifrom = [1, 2] }",
                vec!["unknown variant `unifrom`", "`uniform`"],
            ),
            ("{ choice = [] }", vec!["choice = []", "one or more"]),
            ("{ choice = 3 }", vec!["choice = 3", "expected a sequence"]),
            ("{ choice = [1.0, nan] }", vec!["finite"]),
            (
                "{ uniform = [1] }",
                vec!["length 1", "an array of length 2"],
            ),
            ("{ uniform = [1, 'x'] }", vec!["string \"x\", expected f64"]),
            ("{ uniform = [0.0, inf] }", vec!["finite bounds"]),
            ("{ uniform = [nan, 1.0] }", vec!["finite bounds"]),
            ("{ uniform = [2, 1] }", vec!["empty range"]),
            ("{ uniform = [1, 1.0] }", vec!["empty range"]),
            ("{ int = [1, 2.5] }", vec!["`2.5`, expected i64"]),
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
            let drawn = Domain::Uniform([low, high]).draw(&mut rng).as_float().unwrap();
            prop_assert!((low..=high).contains(&drawn));
            let (low, high) = (low.abs() + 1e-9, low.abs() + 1e-9 + size);
            let drawn = Domain::Log([low, high]).draw(&mut rng).as_float().unwrap();
            prop_assert!((low..=high).contains(&drawn));
            let (low, high) = (low.ceil() as i64, high.ceil() as i64 + 1);
            for domain in [Domain::Int([low, high]), Domain::LogInt([low, high])] {
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
            (Domain::Log([1e-4, 1.0]), 1e-2, 0.5),
            (Domain::LogInt([1, 99]), 10.0, 0.5),
            (Domain::Int([1, 100]), 26.0, 0.25),
            (Domain::Uniform([-1.0, 3.0]), 0.0, 0.25),
        ] {
            let found = share(domain.clone(), below);
            assert!((found - expected).abs() < 0.04, "{domain:?}: {found}");
        }
    }
}
