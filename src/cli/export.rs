//! `shardloom export`: take the embeddings elsewhere.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use shardloom::export::{ExportTable, Format, Renamed, export, reciprocal_names};
use shardloom::kernel::Column;
use shardloom::server::TableName;
use shardloom::value_type::ValueType;

use super::CommandResult;
use super::common::RunArgs;

/// Write the embeddings and their names for other programs
///
/// safetensors writes one file, and its vocabularies next to it; npy a directory of NumPy arrays;
/// tsv a directory of text files, as word2vec and the embedding projector read them. Names stand in
/// .txt files, one a line; a line that is a JSON string, which odd names are written as, stands for
/// its value (docs/export.md). Rows of
/// complex models hold all real parts, then all imaginary parts; those of cp and simple all values
/// as a head, then all as a tail; those of quate the four parts of quaternions likewise. A relation
/// of rescal is a matrix, row by row. Tucker's core is a table of its own: row i·dim + j has what
/// multiplies value i of a head and j of a tail, for each value of a relation. With reciprocal relations, row r + R of the R relations is the
/// reciprocal of row r, through which heads are asked for.
///
/// Example: `shardloom export runs/umls-complex-0 --format npy --output embeddings`
#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Format to write.
    #[arg(long, value_enum)]
    format: Format,
    /// File (safetensors) or directory (npy, tsv) to write.
    #[arg(long)]
    output: PathBuf,
    /// Precision of the numbers.
    #[arg(long, value_enum, default_value_t = ValueType::F32)]
    precision: ValueType,
    /// Replace what is there.
    #[arg(long)]
    overwrite: bool,
}

/// Runs the command.
pub fn run(args: ExportArgs) -> CommandResult {
    let (run, executor) = args.run.load()?;
    let server = executor.server();
    let shape = *server.shape();
    let mut relations: Vec<&str> = run.relations.iter().collect();
    let (reciprocal, others) = reciprocal_names(&relations);
    if run.config.reciprocal {
        relations.extend(reciprocal.iter().map(String::as_str));
        tell_renamed("relations", "a relation of the graph has the name", &others);
    }
    let entities: Vec<&str> = run.entities.iter().collect();
    let metadata = BTreeMap::from([
        ("model".to_owned(), run.config.model.to_string()),
        ("dataset".to_owned(), run.config.dataset.clone()),
        ("dim".to_owned(), run.config.dim.to_string()),
        ("reciprocal".to_owned(), run.config.reciprocal.to_string()),
    ]);
    let values = TableName::ALL.map(|table| server.read(table, Column::Values));
    let [entity_values, relation_values] = values;
    let (entity_values, relation_values) = (entity_values?, relation_values?);
    fn table<'a>(
        name: &'a str,
        data: &'a [f32],
        width: usize,
        names: Option<&'a [&'a str]>,
    ) -> ExportTable<'a> {
        ExportTable {
            name,
            rows: data.len() / width,
            width,
            data,
            names,
        }
    }
    let [dim, relation_dim] = TableName::ALL.map(|table| shape.width(table));
    let (own, core) = relation_values.split_at(shape.relations * relation_dim);
    let mut tables = vec![
        table("entities", &entity_values, dim, Some(&entities[..])),
        table("relations", own, relation_dim, Some(&relations[..])),
    ];
    if !core.is_empty() {
        tables.push(table("core", core, relation_dim, None));
    }
    let exported = export(
        &args.output,
        args.format,
        args.precision,
        &metadata,
        &tables,
        args.overwrite,
    )?;
    let mut out = std::io::stdout().lock();
    for (table, renamed) in &exported.renamed {
        tell_renamed(
            table,
            "another name has in word2vec's text the word",
            renamed,
        );
    }
    for path in exported.files {
        writeln!(out, "{}", path.display())?;
    }
    Ok(out.flush()?)
}

/// Tells of names that an export had to make up because the one to expect was taken.
fn tell_renamed(table: &str, cause: &str, renamed: &[Renamed]) {
    if let [first, rest @ ..] = renamed {
        let more = match rest.len() {
            0 => String::new(),
            1 => ", and 1 more like it".to_owned(),
            more => format!(", and {more} more like it"),
        };
        super::tell(&format!(
            "note: {table}: {cause} {:?} already, so {:?} stands for {:?}{more}",
            first.taken, first.instead, first.name
        ));
    }
}
