//! Times of facts, from a column of their file.

use std::error::Error;
use std::path::Path;

use shardloom::dataset::{Column, Columns, Dataset, ReadOptions};

/// Reads the time of each fact of `dataset`, which is the whole file.
///
/// The file is read again with the column of times in the place of the tails, so that every format with columns has times.
///
/// # Errors
/// If there is no such column, or a time is not a whole number.
pub fn read(
    path: &Path,
    dataset: &Dataset,
    options: &ReadOptions,
    column: &str,
) -> Result<Vec<i64>, Box<dyn Error>> {
    let mut options = options.clone();
    // The command line takes --time with --columns alone.
    if let Some(columns) = &mut options.columns {
        let [head, relation, _] = columns.names.clone();
        let time = match column.parse() {
            Ok(number @ 1..) => Column::Number(number),
            _ => Column::Name(column.to_owned()),
        };
        *columns = Columns {
            names: [head, relation, time],
            weight: None,
        };
    }
    let timed = Dataset::read_whole(path, &options)?;
    let (facts, found) = (dataset.train.len(), timed.train.len());
    let path = path.display();
    if facts != found {
        return Err(format!(
            "{path}: {found} times in column {column}, and {facts} facts; --heading says whether the first row is one"
        )
        .into());
    }
    let time = |(at, fact): (usize, &shardloom::dataset::Triple)| {
        let written = timed.entities.name(fact.tail);
        written.parse().map_err(|_| {
            let fact = dataset.train[at];
            let (head, tail) = (dataset.entities.name(fact.head), dataset.entities.name(fact.tail));
            let relation = dataset.relations.name(fact.relation);
            let number = at + 1;
            format!(
                "{path}: fact {number} ({head}, {relation}, {tail}): found {written:?} in column {column}, expected a time: a \\
                 whole number"
            )
            .into()
        })
    };
    timed.train.iter().enumerate().map(time).collect()
}
