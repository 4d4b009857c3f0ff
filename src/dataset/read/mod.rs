//! From bytes to facts: a reader for each format, all of which pass names to a [`Sink`].

mod blocks;
#[cfg(feature = "parquet")]
mod columnar;
mod delimited;
mod heading;
mod job;
mod json_array;
mod json_lines;
mod n3;
mod nesting;
mod ntriples;
mod obo;
mod openke;
mod rdf;
mod row;
mod sink;
#[cfg(test)]
mod tests;
mod xml;

use std::io;

use oxrdfio::RdfFormat;

pub(crate) use heading::well_known;
use job::excerpt;
pub(super) use job::{Fault, Job};
pub(super) use openke::{Names as OpenKeNames, read_facts as read_numbered};
pub(super) use row::Order;
pub(super) use sink::Sink;

use super::format::Format;
use super::unpack::{self, Content};
use super::{Heading, Separator, SourceError};

/// Bytes examined to tell the format of a file.
const START: usize = 1 << 16;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Passes the facts of a file to `sink`. `content` is unpacked.
///
/// # Errors
/// Content of an unknown format, or that does not follow its format, and the reader's errors.
pub(super) fn read(job: &Job, content: Content<'_>, sink: &mut Sink) -> Result<(), Fault> {
    let (start, content) = unpack::peek(content, START)?;
    let options = job.options;
    let rows = options.columns.is_some()
        || options.separator != Separator::Auto
        || options.heading != Heading::Auto;
    let format = Format::of(job.label, job.name, &start, rows)?;
    sink.report.format = format.name().to_owned();
    let marked = start.starts_with(BYTE_ORDER_MARK);
    let content = without(content, if marked { BYTE_ORDER_MARK.len() } else { 0 })?;
    match format {
        Format::Delimited => delimited::read(job, content, sink),
        Format::Rdf(format) if ntriples::is_line_format(format) => {
            ntriples::read(job, format, content, sink)
        }
        Format::Rdf(RdfFormat::RdfXml) => xml::read(job, &start, content, sink),
        Format::Rdf(RdfFormat::N3) => n3::read(job, content, sink),
        Format::Rdf(format) => rdf::read(job, format, content, sink),
        Format::JsonLines => json_lines::read(job, content, sink),
        Format::JsonArray => json_array::read(job, content, sink),
        Format::Obo => obo::read(job, content, sink),
        #[cfg(feature = "parquet")]
        Format::Parquet | Format::Arrow => columnar::read(job, format, content, sink),
        #[cfg(not(feature = "parquet"))]
        Format::Parquet | Format::Arrow => Err(SourceError::NotBuilt {
            file: job.label.to_owned(),
            format: format.name(),
        }
        .into()),
    }
}

/// Skips the first bytes of the content.
fn without(mut content: Content<'_>, bytes: usize) -> io::Result<Content<'_>> {
    let mut aside = [0; BYTE_ORDER_MARK.len()];
    content.read_exact(&mut aside[..bytes])?;
    Ok(content)
}
