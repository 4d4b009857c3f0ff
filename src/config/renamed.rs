//! Keys and values under the names that they had in runs of earlier versions.

use toml::{Table, Value};

/// Former key, present key.
const KEYS: [(&str, &str); 7] = [
    ("balance", "balance_by_speed"),
    ("chunk", "negatives_chunk"),
    ("lanes", "gradient_partitions"),
    ("products", "matmul_precision"),
    ("sides", "query_sides"),
    ("weigh_answers", "kvsall_weight_by_answers"),
    ("weighted", "regularizer_weighted"),
];

/// The present name of a key that was renamed.
pub(super) fn present_key(former: &str) -> Option<&'static str> {
    let renamed = KEYS.iter().find(|(key, _)| *key == former);
    renamed.map(|(_, present)| *present)
}

/// Gives the keys and values of a configuration their present names.
pub(super) fn convert(table: Table) -> Table {
    let convert = |(key, value): (String, Value)| match present_key(&key) {
        Some("matmul_precision") if value.as_str() == Some("fast") => {
            ("matmul_precision".to_owned(), Value::from("bf16x3"))
        }
        Some(present) => (present.to_owned(), value),
        None => (key, value),
    };
    table.into_iter().map(convert).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn present_names_are_keys_and_former_ones_are_not() {
        let is_key = |name: &str| Config::KEYS.iter().any(|(key, _)| *key == name);
        for (former, present) in KEYS {
            assert!(!is_key(former) && is_key(present), "{former}, {present}");
        }
    }
}
