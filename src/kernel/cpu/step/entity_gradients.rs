//! The last sums of entity rows: gradients of unique rows come from a *source*, row by row, and go to a
//! *sink*, which keeps them or applies the optimizer at once. The bits are the same either way.

use pulp::{Simd, WithSimd};

use super::sampled_by_query::CandidateGradients;
use crate::kernel::cpu::simd::similarity::{
    SimilarityTask, SimilarityType, dispatch_single_values,
};
use crate::kernel::cpu::stages::gradients::grad_rows::NonCandidateTerms;
use crate::kernel::cpu::stages::updates::update::update_row;
use crate::kernel::cpu::table::AlignedVec;
use crate::kernel::cpu::table::distinct_rows::TableBlock;
use crate::model::Similarity;
use crate::optim::OptimizerStep;

/// Maker of the gradients of unique entity rows.
pub struct GradientSource<'a> {
    pub similarity: Similarity,
    /// The row as a candidate.
    pub candidate: CandidatePart<'a>,
    /// The row as anything else.
    pub terms: NonCandidateTerms<'a>,
}

/// Gradient of a row as a candidate.
pub enum CandidatePart<'a> {
    /// None: it is added later, to a whole shard's gradient.
    None,
    /// The sink's memory holds it already.
    Given,
    /// Summed row by row.
    Sampled(CandidateGradients<'a>),
}

/// Taker of the gradients of some unique rows.
pub trait GradientSink {
    /// Calls `sum` for every row: with its position in the plan, its values and the memory of its
    /// gradient.
    fn each<S: Simd>(self, simd: S, sum: impl FnMut(usize, &[f32], &mut [f32]));
}

impl GradientSource<'_> {
    /// Sums the gradients of the sink's rows.
    pub fn sum_into(&self, sink: impl GradientSink) {
        match &self.candidate {
            CandidatePart::Sampled(candidate) => {
                let task = SampledRows {
                    candidate,
                    terms: &self.terms,
                    sink,
                };
                dispatch_single_values(self.similarity, task);
            }
            part => pulp::Arch::new().dispatch(OtherRows {
                zero: matches!(part, CandidatePart::None),
                terms: &self.terms,
                sink,
            }),
        }
    }
}

/// Rows whose gradients as candidates are summed here.
struct SampledRows<'a, K> {
    candidate: &'a CandidateGradients<'a>,
    terms: &'a NonCandidateTerms<'a>,
    sink: K,
}

impl<K: GradientSink> SimilarityTask for SampledRows<'_, K> {
    #[inline(always)]
    fn run<S: Simd, C: SimilarityType>(self, simd: S) {
        let mut listed = Vec::new();
        self.sink.each(
            simd,
            #[inline(always)]
            |i, row, gradient| {
                self.candidate
                    .sum::<S, C>(simd, i, row, &mut listed, gradient);
                self.terms.add(i, row, gradient);
            },
        );
    }
}

/// Rows whose gradients as candidates are there, or come later.
struct OtherRows<'a, K> {
    /// Whether the sink's memory holds nothing yet.
    zero: bool,
    terms: &'a NonCandidateTerms<'a>,
    sink: K,
}

impl<K: GradientSink> WithSimd for OtherRows<'_, K> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.sink.each(
            simd,
            #[inline(always)]
            |i, row, gradient| {
                if self.zero {
                    gradient.fill(0.0);
                }
                self.terms.add(i, row, gradient);
            },
        );
    }
}

/// Keeps gradients of pulled rows.
pub struct BufferSink<'a> {
    /// Values of a row.
    pub width: usize,
    /// Position of the first row in the plan.
    pub first: usize,
    /// All pulled rows of the plan.
    pub rows: &'a [f32],
    /// Gradients of the sink's rows.
    pub gradients: &'a mut [f32],
}

impl GradientSink for BufferSink<'_> {
    #[inline(always)]
    fn each<S: Simd>(self, _: S, mut sum: impl FnMut(usize, &[f32], &mut [f32])) {
        let gradients = self.gradients.chunks_exact_mut(self.width);
        for (i, gradient) in (self.first..).zip(gradients) {
            sum(i, &self.rows[i * self.width..][..self.width], gradient);
        }
    }
}

/// Updates rows of a table as soon as their gradients are summed.
pub struct OptimizerSink<'a> {
    /// Values of a row.
    pub width: usize,
    pub step: OptimizerStep,
    pub block: TableBlock<'a>,
    /// Gradients of the sink's rows as candidates; none where the source sums them.
    pub gradients: Option<&'a mut [f32]>,
}

impl GradientSink for OptimizerSink<'_> {
    #[inline(always)]
    fn each<S: Simd>(self, simd: S, mut sum: impl FnMut(usize, &[f32], &mut [f32])) {
        let OptimizerSink {
            width, step, block, ..
        } = self;
        match self.gradients {
            Some(gradients) => {
                let mut gradients = gradients.chunks_exact_mut(width);
                block.each(
                    width,
                    |_| (),
                    #[inline(always)]
                    |i, row| {
                        let gradient = gradients.next().unwrap_or_default();
                        sum(i, row[0], gradient);
                        update_row(simd, step, row, gradient);
                    },
                );
            }
            None => {
                let mut gradient = AlignedVec::zeros(width);
                block.each(
                    width,
                    |_| (),
                    #[inline(always)]
                    |i, row| {
                        sum(i, row[0], &mut gradient);
                        update_row(simd, step, row, &gradient);
                    },
                );
            }
        }
    }
}
