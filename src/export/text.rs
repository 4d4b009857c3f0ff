//! The text formats. Values have the fewest digits that read back as the same f32.

use std::borrow::Cow;
use std::io::{self, Write};

use super::ExportTable;
use crate::names;

/// Writes a name a line.
pub(super) fn names(file: &mut impl Write, names: &[&str]) -> io::Result<()> {
    let mut lines = names.iter().map(|name| names::line(name));
    lines.try_for_each(|line| writeln!(file, "{line}"))
}

/// Writes a label a line, for projectors. A space replaces a tab, which would begin another column,
/// and a line break, which would begin another row.
pub(super) fn labels(file: &mut impl Write, names: &[&str]) -> io::Result<()> {
    let mut labels = names.iter().map(|name| name.replace(names::breaks, " "));
    labels.try_for_each(|label| writeln!(file, "{label}"))
}

/// Writes a vector a line, values separated by tabs.
pub(super) fn vectors(file: &mut impl Write, table: &ExportTable) -> io::Result<()> {
    for row in rows(table) {
        separated(file, row, b'\t')?;
    }
    Ok(())
}

/// Writes word2vec's text format: "rows width", then each word with its vector, separated by
/// spaces.
pub(super) fn word2vec(
    file: &mut impl Write,
    table: &ExportTable,
    words: &[Cow<str>],
) -> io::Result<()> {
    writeln!(file, "{} {}", table.rows, table.width)?;
    for (word, row) in words.iter().zip(rows(table)) {
        write!(file, "{word} ")?;
        separated(file, row, b' ')?;
    }
    Ok(())
}

/// Returns the rows. `chunks` would return none for a table of width 0.
fn rows<'a>(table: &ExportTable<'a>) -> impl Iterator<Item = &'a [f32]> {
    let (data, width) = (table.data, table.width);
    (0..table.rows).map(move |row| &data[row * width..][..width])
}

fn separated(file: &mut impl Write, row: &[f32], separator: u8) -> io::Result<()> {
    for (k, value) in row.iter().enumerate() {
        if k > 0 {
            file.write_all(&[separator])?;
        }
        // `Debug`, unlike `Display`, uses exponents where the digits would be many zeros.
        write!(file, "{value:?}")?;
    }
    file.write_all(b"\n")
}
