//! Parquet and Arrow IPC: a row for each fact. The whole file is in memory while it is read, since
//! its index is at its end.

use std::io::{Cursor, Read};

use arrow::array::{Array, Float32Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Schema};
use arrow::error::ArrowError;
use arrow::ipc::reader::{FileReader, StreamReader};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::heading::{self, FactColumns};
use super::row::{Mismatch, malformed};
use super::sink::Sink;
use super::{Fault, Job};
use crate::dataset::format::Format;
use crate::dataset::unpack::Content;
use crate::dataset::{Column, SourceError};

/// Batches of rows from any reader.
type Batches = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>>>;

/// Reads Parquet or Arrow IPC.
///
/// # Errors
/// Rows that are not facts, damage, and the reader's errors.
pub(super) fn read(
    job: &Job,
    format: Format,
    mut content: Content<'_>,
    sink: &mut Sink,
) -> Result<(), Fault> {
    let mut bytes = Vec::new();
    content.read_to_end(&mut bytes)?;
    let damaged = |reason: &dyn std::fmt::Display| SourceError::Damaged {
        file: job.label.to_owned(),
        reason: reason.to_string(),
    };
    let arrow = |error: ArrowError| Fault::from(damaged(&error));
    let batches: Batches = if format == Format::Parquet {
        let builder = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes));
        let builder = builder.map_err(|error| Fault::from(damaged(&error)))?;
        let reader = builder.build();
        Box::new(reader.map_err(|error| Fault::from(damaged(&error)))?)
    } else if bytes.starts_with(b"ARROW1") {
        Box::new(FileReader::try_new(Cursor::new(bytes), None).map_err(arrow)?)
    } else {
        Box::new(StreamReader::try_new(Cursor::new(bytes), None).map_err(arrow)?)
    };
    let mut row = 0;
    for batch in batches {
        let batch = batch.map_err(arrow)?;
        take(job, &batch, &mut row, sink)?;
    }
    Ok(())
}

/// Returns the columns of head, relation, tail and weight.
fn fact_columns(job: &Job, schema: &Schema) -> Result<FactColumns, Mismatch> {
    let names: Vec<&String> = schema.fields().iter().map(|field| field.name()).collect();
    let shown = || {
        let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
        format!("the columns {}", names.join(", "))
    };
    if let Some(columns) = &job.options.columns {
        return heading::chosen(columns, &names).map_err(|missing| {
            let expected = match missing {
                Column::Name(name) => format!("one called {name:?}, as --columns asks for"),
                Column::Number(n) => format!("at least {n} of them, as --columns asks for"),
            };
            Mismatch::new(shown(), expected)
        });
    }
    let usual = FactColumns {
        names: [0, 1, 2],
        weight: (names.len() == 4).then_some(3),
    };
    let few = (3..=4).contains(&names.len()).then_some(usual);
    heading::fact_columns(&names).or(few).ok_or_else(|| {
        let expected = "head, relation and tail, or others that --columns names";
        Mismatch::new(shown(), expected)
    })
}

/// Takes the facts of a batch. `row` is the number of rows of the file taken so far.
fn take(job: &Job, batch: &RecordBatch, row: &mut u64, sink: &mut Sink) -> Result<(), Fault> {
    let wrong = |row: u64, mismatch| malformed(job.label, row, mismatch);
    let fact_columns = fact_columns(job, &batch.schema()).map_err(|mismatch| wrong(1, mismatch))?;
    let column = |at: usize, kind: &DataType| {
        let column = batch.column(at);
        cast(column, kind).map_err(|error| {
            let name = batch.schema().field(at).name().clone();
            let found = format!("the column {name:?} of {} ({error})", column.data_type());
            wrong(1, Mismatch::new(found, "text or numbers"))
        })
    };
    let [head, relation, tail] = fact_columns.names;
    let columns = [
        column(head, &DataType::Utf8)?,
        column(relation, &DataType::Utf8)?,
        column(tail, &DataType::Utf8)?,
    ];
    let text = |column: &dyn Array| column.as_any().downcast_ref::<StringArray>().cloned();
    let [Some(heads), Some(relations), Some(tails)] = columns.map(|column| text(&*column)) else {
        return Ok(());
    };
    let weights = fact_columns
        .weight
        .map(|at| column(at, &DataType::Float32))
        .transpose()?;
    let weights = weights.and_then(|w| w.as_any().downcast_ref::<Float32Array>().cloned());
    for index in 0..batch.num_rows() {
        *row += 1;
        let name = |column: &StringArray| {
            let name = column
                .is_valid(index)
                .then(|| column.value(index).to_owned());
            name.filter(|name| !name.is_empty() && !name.contains('\n'))
        };
        let (Some(head), Some(relation), Some(tail)) =
            (name(&heads), name(&relations), name(&tails))
        else {
            let found = "a row without a name, or with one of several lines".to_owned();
            let expected = "a head, a relation and a tail";
            sink.fail(wrong(*row, Mismatch::new(found, expected)))?;
            continue;
        };
        let weight = weights.as_ref().map(|weights| weights.value(index));
        let fits = |weight: f32| weight.is_finite() && weight >= 0.0;
        let null = weights
            .as_ref()
            .is_some_and(|weights| weights.is_null(index));
        if null || weight.is_some_and(|weight| !fits(weight)) {
            let found = weight
                .filter(|_| !null)
                .map_or("no weight".to_owned(), |w| w.to_string());
            let expected = "a weight: a finite number, 0 or more";
            sink.fail(wrong(*row, Mismatch::new(found, expected)))?;
            continue;
        }
        sink.push([&head, &relation, &tail], weight.map(|weight| weight + 0.0));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, DictionaryArray, Int64Array};
    use arrow::datatypes::Int32Type;
    use arrow::ipc::writer::{FileWriter, StreamWriter};
    use parquet::arrow::ArrowWriter;

    use super::*;
    use crate::dataset::read::Fault;
    use crate::dataset::read::tests::{facts, job};
    use crate::dataset::{ReadOptions, Vocabulary};

    /// Two facts with weights, with names in columns of different types.
    fn batch() -> RecordBatch {
        let relations: DictionaryArray<Int32Type> = ["r", "s"].into_iter().collect();
        let columns: [(&str, ArrayRef); 4] = [
            ("weight", Arc::new(Float32Array::from(vec![0.5, 2.0]))),
            ("tail", Arc::new(Int64Array::from(vec![7, 8]))),
            ("relation", Arc::new(relations)),
            ("head", Arc::new(StringArray::from(vec!["a", "é"]))),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn parquet(batch: &RecordBatch) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
        writer.write(batch).unwrap();
        writer.close().unwrap();
        bytes
    }

    #[test]
    fn every_container_has_the_same_facts() {
        let batch = batch();
        let (mut file, mut stream) = (Vec::new(), Vec::new());
        let mut writer = FileWriter::try_new(&mut file, &batch.schema()).unwrap();
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
        let mut writer = StreamWriter::try_new(&mut stream, &batch.schema()).unwrap();
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
        for (name, bytes) in [
            ("f.parquet", &parquet(&batch)),
            ("f.feather", &file),
            ("f.arrow", &stream),
            ("f.data", &file),
        ] {
            let (facts, weights, _) = facts(name, bytes, &ReadOptions::default());
            assert_eq!(facts, [["a", "r", "7"], ["é", "s", "8"]], "{name}");
            assert_eq!(weights, [0.5, 2.0], "{name}");
        }
    }

    #[test]
    fn rows_without_a_name_are_refused_by_number_and_damage_is_told() {
        let columns: [(&str, ArrayRef); 3] = [
            ("h", Arc::new(StringArray::from(vec![Some("a"), None]))),
            ("r", Arc::new(StringArray::from(vec!["r", "r"]))),
            ("t", Arc::new(StringArray::from(vec!["b", "c"]))),
        ];
        let bytes = parquet(&RecordBatch::try_from_iter(columns).unwrap());
        let options = ReadOptions::default();
        let fault = |bytes: &[u8]| {
            let (mut entities, mut relations) = (Vocabulary::new(), Vocabulary::new());
            let mut sink = Sink::new("f.parquet", &mut entities, &mut relations, false);
            let job = job("f.parquet", &options);
            match read(&job, Format::Parquet, Box::new(bytes), &mut sink) {
                Err(Fault::Parse(error)) => error.to_string(),
                Err(Fault::Source(error)) => error.to_string(),
                other => panic!("{other:?}"),
            }
        };
        let error = fault(&bytes);
        assert!(
            error.starts_with("f.parquet:2: found a row without a name"),
            "{error}"
        );
        let error = fault(&bytes[..bytes.len() / 2]);
        assert!(
            error.starts_with("f.parquet cannot be unpacked: "),
            "{error}"
        );
    }
}
