//! The report of a run: `report.html`, one self-contained page without scripts or network.

mod charts;
mod html;
mod number;
mod projection;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::path::Path;

use crate::checkpoint::atomic_file::AtomicFile;

pub use html::render;
pub use projection::project;

/// Content of the page. Any part may be empty, and any number NaN or infinite.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Heading.
    pub title: String,
    /// Line below the heading.
    pub subtitle: String,
    /// Headline figures: name and value.
    pub facts: Vec<(String, String)>,
    /// Sentences about what failed while training went on.
    pub warnings: Vec<String>,
    /// Configuration: key and value.
    pub config: Vec<(String, String)>,
    /// Measurements by epoch.
    pub epochs: Vec<EpochPoint>,
    /// Metrics of the evaluation, by side and kind of rank.
    pub metrics: Vec<MetricRow>,
    /// Metrics by relation, in any order.
    pub relations: Vec<GroupMetrics>,
    /// Metrics by cardinality class, in the order of the page.
    pub classes: Vec<GroupMetrics>,
    /// Positions of entities in the plane; see [`project`].
    pub projection: Vec<ProjectedPoint>,
}

/// Measurements of an epoch of training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EpochPoint {
    /// Number of epochs trained so far.
    pub epoch: u32,
    /// Mean loss.
    pub loss: f64,
    /// Filtered MRR on the validation split, where it was measured.
    pub valid_mrr: Option<f64>,
    /// Training triples per second.
    pub triples_per_second: f64,
    /// Learning rate at the end of the epoch.
    pub lr: f64,
}

/// Metrics for a side and kind of rank.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricRow {
    /// Side and kind, such as "both · realistic".
    pub label: String,
    /// Mean reciprocal rank.
    pub mrr: f64,
    /// Mean rank.
    pub mean_rank: f64,
    /// Fraction of ranks that are 1.
    pub hits_at_1: f64,
    /// Fraction of ranks up to 3.
    pub hits_at_3: f64,
    /// Fraction of ranks up to 10.
    pub hits_at_10: f64,
    /// Adjusted mean rank index: 1 is perfect, 0 is chance.
    pub amri: f64,
}

/// Metrics of the triples of a relation or class.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupMetrics {
    /// Name of the relation or class.
    pub name: String,
    /// Number of ranked triples.
    pub triples: usize,
    /// Mean reciprocal rank.
    pub mrr: f64,
    /// Fraction of ranks that are 1.
    pub hits_at_1: f64,
    /// Fraction of ranks up to 10.
    pub hits_at_10: f64,
}

/// Position of an entity in the plane.
#[derive(Clone, Debug, PartialEq)]
pub struct ProjectedPoint {
    /// Name of the entity.
    pub name: String,
    /// Coordinate along the first principal component.
    pub x: f32,
    /// Coordinate along the second principal component.
    pub y: f32,
    /// Number of triples with the entity.
    pub degree: u32,
}

impl ProjectedPoint {
    fn is_finite(&self) -> bool {
        self.x.is_finite() && self.y.is_finite()
    }
}

/// Writes the page to a file, atomically. Replaces an older file.
///
/// # Errors
/// The error of the operating system.
pub fn write(path: &Path, report: &Report) -> io::Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(render(report).as_bytes())?;
    file.commit()
}
