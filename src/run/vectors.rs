//! Starts from vectors of one's own: an export of a run, or what another program has made.
//!
//! Rows are matched to the graph's entities and relations by name, as those of another run are.

use std::collections::BTreeMap;
use std::path::Path;

use super::vector_files::{self, Files, Named, Table};
use super::warm::{Matched, Overlap, WarmStart, matched};
use super::{RunError, VectorsError};
use crate::config::Config;
use crate::dataset::Dataset;
use crate::kernel::Column;
use crate::server::TableName;
use crate::train::{rule, shape};

pub(super) use super::vector_files::find;

/// Reads vectors to start a run with this configuration on this graph.
///
/// An export says of what it is: its model, dim and reciprocal must be those of the configuration.
/// With reciprocal relations, the second half of an export's relations are those. Vectors that say
/// nothing of themselves need as many values in a row as the model takes; reciprocal relations start
/// from a row named `NAME (reciprocal)`, where there is one.
///
/// # Errors
/// If they cannot be read, do not fit, hold a value that is not finite, or have no name of the graph.
pub(super) fn start(
    from: &Path,
    files: Files,
    config: &Config,
    dataset: &Dataset,
) -> Result<WarmStart, RunError> {
    let mut vectors = vector_files::read(&files)?;
    let expected = [
        ("model", config.model.to_string()),
        ("dim", config.dim.to_string()),
        ("reciprocal", config.reciprocal.to_string()),
    ];
    let differences: Vec<String> = (expected.into_iter())
        .filter_map(|(key, expected)| {
            let found = vectors
                .metadata
                .get(key)
                .filter(|found| **found != expected)?;
            Some(format!("`{key}`: found {found} there, expected {expected}"))
        })
        .collect();
    if !differences.is_empty() {
        return Err(RunError::Unlike {
            path: from.to_owned(),
            differences: differences.join("; "),
        });
    }
    let shape = shape(config, dataset);
    let entities_width = shape.width(TableName::Entities);
    let width = shape.width(TableName::Relations);
    let fits = |table: &Table, width: usize, why: &str| match table.width == width {
        true => finite(table),
        false => Err(VectorsError::unfit(
            &table.path,
            format!("{} × {} values", table.rows, table.width),
            format!("rows of {width} ({why})"),
        )),
    };
    let dim = format!("`dim` = {}", config.dim);
    if let Some(entities) = &vectors.entities {
        fits(&entities.table, entities_width, &dim)?;
    }
    let of_relations = format!("what {} takes for a relation", config.model);
    for table in (vectors.relations.iter().map(|named| &named.table)).chain(&vectors.core) {
        fits(table, width, &of_relations)?;
    }
    if let Some(core) = &vectors.core
        && core.rows != shape.core_rows()
    {
        return Err(VectorsError::unfit(
            &core.path,
            format!("a core of {} rows", core.rows),
            format!(
                "{}, as {} of this size has",
                shape.core_rows(),
                config.model
            ),
        )
        .into());
    }

    let new_of = |new: usize| Overlap {
        new,
        ..Overlap::default()
    };
    let (entity_pairs, entities) = match &vectors.entities {
        Some(named) => matched(&dataset.entities, &named.names),
        None => (Vec::new(), new_of(dataset.entities.len())),
    };
    let (mut relation_pairs, relations) = match &vectors.relations {
        Some(named) => relation_rows(named, &vectors.metadata, config, dataset)?,
        None => (Vec::new(), new_of(dataset.relations.len())),
    };
    if entities.kept + relations.kept == 0 {
        let named = [&vectors.entities, &vectors.relations];
        let list = named.into_iter().flatten().map(|named| &named.list).next();
        let some = named
            .into_iter()
            .flatten()
            .filter_map(|named| named.names.iter().next());
        return Err(VectorsError::unfit(
            list.map_or(from, |list| list),
            format!(
                "no name that the graph has ({:?} is there)",
                some.collect::<Vec<_>>()
            ),
            format!("names such as {:?}", dataset.entities.name(0)),
        )
        .into());
    }
    // The core's rows come after those of relations, there as here.
    let mut values = Vec::new();
    let mut old = 0;
    if let Some(named) = vectors.relations.take() {
        old = named.table.rows as u32;
        values = named.table.values;
    }
    if let Some(core) = vectors.core.take() {
        let new = rule(config, dataset).relation_rows() as u32;
        relation_pairs.extend((0..core.rows as u32).map(|row| (new + row, old + row)));
        values.extend(core.values);
    }
    let entity_values = vectors.entities.take().map(|named| named.table.values);
    let rows = |table, pairs, width, values| Matched {
        table,
        column: Column::Values,
        pairs,
        width,
        values,
    };
    Ok(WarmStart {
        from: from.to_owned(),
        epoch: None,
        entities,
        relations,
        optimizer: false,
        updates: 0,
        rows: vec![
            rows(
                TableName::Entities,
                entity_pairs,
                entities_width,
                entity_values.unwrap_or_default(),
            ),
            rows(TableName::Relations, relation_pairs, width, values),
        ],
    })
}

fn finite(table: &Table) -> Result<(), VectorsError> {
    match table.values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(at) => Err(VectorsError::unfit(
            &table.path,
            format!(
                "{} in row {}, counted from 0",
                table.values[at],
                at / table.width
            ),
            "finite values",
        )),
    }
}

/// New and old rows of relations, reciprocal ones too, ascending by new row.
fn relation_rows(
    named: &Named,
    metadata: &BTreeMap<String, String>,
    config: &Config,
    dataset: &Dataset,
) -> Result<(Vec<(u32, u32)>, Overlap), VectorsError> {
    let new = dataset.relations.len() as u32;
    let exported = metadata
        .get("reciprocal")
        .is_some_and(|reciprocal| reciprocal == "true");
    if !exported {
        let (mut pairs, overlap) = matched(&dataset.relations, &named.names);
        if config.reciprocal {
            let rows = (0..).zip(dataset.relations.iter());
            let reciprocal: Vec<(u32, u32)> = rows
                .filter_map(|(row, name)| {
                    let old = named.names.id(&format!("{name} (reciprocal)"))?;
                    Some((new + row, old))
                })
                .collect();
            pairs.extend(reciprocal);
        }
        return Ok((pairs, overlap));
    }
    if !named.table.rows.is_multiple_of(2) {
        return Err(VectorsError::unfit(
            &named.table.path,
            format!("{} rows", named.table.rows),
            "as many reciprocal rows as others",
        ));
    }
    let old = named.table.rows as u32 / 2;
    let own = (0..).zip(dataset.relations.iter());
    let own: Vec<(u32, u32)> = own
        .filter_map(|(row, name)| Some((row, named.names.id(name).filter(|&id| id < old)?)))
        .collect();
    let overlap = Overlap {
        kept: own.len(),
        new: new as usize - own.len(),
        unused: old as usize - own.len(),
    };
    let reciprocal = own.iter().map(|&(n, o)| (n + new, o + old));
    Ok((own.iter().copied().chain(reciprocal).collect(), overlap))
}
