//! Similarities as types, and dispatch to the best instruction set: loops are compiled for every
//! pair of both.

use std::marker::PhantomData;

use pulp::{Simd, WithSimd};

use crate::model::Similarity;

/// A similarity as a type, so that loops are compiled for it.
pub trait SimilarityType {
    /// The similarity.
    const SIMILARITY: Similarity;
    /// Values of a lane.
    const PARTS: usize;
}

/// A computation for one similarity and one instruction set; see [`dispatch`].
pub trait SimilarityTask {
    /// Runs the computation.
    fn run<S: Simd, C: SimilarityType>(self, simd: S);
}

struct Dispatch<T, C>(T, PhantomData<C>);

impl<T: SimilarityTask, C: SimilarityType> WithSimd for Dispatch<T, C> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.0.run::<S, C>(simd);
    }
}

/// Runs a computation with a type for the similarity, if it is one of these.
macro_rules! dispatch {
    ($similarity:expr, $task:expr; $($name:ident: $parts:literal),+) => {
        match $similarity {
            $(Similarity::$name => {
                struct Kind;
                impl SimilarityType for Kind {
                    const SIMILARITY: Similarity = Similarity::$name;
                    const PARTS: usize = $parts;
                }
                pulp::Arch::new().dispatch(Dispatch::<_, Kind>($task, PhantomData))
            })+
            #[allow(unreachable_patterns, reason = "some list them all")]
            _ => debug_assert!(false, "no type for {:?}", $similarity),
        }
    };
}

/// Runs a computation for a similarity.
#[inline(always)]
pub fn dispatch(similarity: Similarity, task: impl SimilarityTask) {
    dispatch!(similarity, task; Dot: 1, NegativeL1: 1, NegativeL2: 1, NegativeModulus: 2);
}

/// The same for a similarity whose lanes are single values, as all are on the route by query.
#[inline(always)]
pub fn dispatch_single_values(similarity: Similarity, task: impl SimilarityTask) {
    dispatch!(similarity, task; Dot: 1, NegativeL1: 1, NegativeL2: 1);
}
