//! N3, whose variables and formulas cannot be part of a fact.

use std::fmt::Write;
use std::sync::atomic::Ordering;

use oxrdf::GraphName;
use oxrdfio::RdfFormat;
use oxttl::N3Parser;
use oxttl::TurtleParseError;
use oxttl::n3::N3Term;

use super::nesting::{self, Shallow};
use super::rdf::{BlankNames, malformed};
use super::sink::Sink;
use super::{Fault, Job};
use crate::dataset::ParseError;
use crate::dataset::unpack::Content;

/// Reads N3.
///
/// # Errors
/// Text that the grammar refuses, and the reader's errors.
pub(super) fn read(job: &Job, content: Content<'_>, sink: &mut Sink) -> Result<(), Fault> {
    let mut parser = N3Parser::new();
    if let Some(base) = &job.options.base {
        parser = parser
            .with_base_iri(base)
            .map_err(|error| ParseError::Base {
                found: base.clone(),
                reason: error.to_string(),
            })?;
    }
    let mut blank = BlankNames::new(job.split, job.options.blank_nodes);
    let mut names: [String; 3] = Default::default();
    let content = Shallow::new(content);
    let too_deep = content.ended();
    for quad in parser.for_reader(content) {
        let quad = match quad {
            Ok(quad) => quad,
            Err(TurtleParseError::Io(error)) => return Err(Fault::Read(error)),
            Err(_) if too_deep.load(Ordering::Relaxed) > 0 => break,
            Err(TurtleParseError::Syntax(error)) => {
                let line = error.location().start.line + 1;
                return Err(malformed(job, line, RdfFormat::N3, &error.to_string()).into());
            }
        };
        let terms = [&quad.subject, &quad.predicate, &quad.object];
        // A rule or a query is about facts and is not one; the same holds for a fact in a literal.
        let odd = |term: &&N3Term| matches!(term, N3Term::Variable(_) | N3Term::Triple(_));
        let relation = matches!(quad.predicate, N3Term::NamedNode(_));
        let subject = !matches!(quad.subject, N3Term::Literal(_));
        if quad.graph_name != GraphName::DefaultGraph
            || terms.iter().any(odd)
            || !relation
            || !subject
        {
            sink.report.nested += 1;
            continue;
        }
        if !job.options.literals && matches!(quad.object, N3Term::Literal(_)) {
            sink.report.literals += 1;
            continue;
        }
        for (name, term) in names.iter_mut().zip(terms) {
            name.clear();
            match term {
                N3Term::NamedNode(node) => name.push_str(node.as_str()),
                N3Term::BlankNode(node) => blank.of(node, name),
                // Writing to a string does not fail.
                other => drop(write!(name, "{other}")),
            }
        }
        sink.push([&names[0], &names[1], &names[2]], None);
    }
    match too_deep.load(Ordering::Relaxed) {
        0 => Ok(()),
        line => Err(nesting::too_deep(job, line).into()),
    }
}
