//! The numbers of a dispatch. All stages share one struct, so that a dispatch is made by changing a
//! few fields of its step's; each stage reads those it needs.

use bytemuck::{Pod, Zeroable};

macro_rules! params {
    ($($(#[doc = $doc:literal])* $field:ident: $type:ident,)+) => {
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
        pub(super) struct Params {
            $($(#[doc = $doc])* pub $field: $type,)+
        }

        /// The struct in WGSL.
        pub(super) const WGSL: &str = concat!(
            "struct Params {\n",
            $("    ", stringify!($field), ": ", stringify!($type), ",\n",)+
            "}\n",
        );
    };
}

params! {
    /// Values in an entity's row (of the table's, in `update`).
    width: u32,
    /// Values in a relation's row.
    relation_width: u32,
    /// What a row of the dispatch's buffers is counted in: values, quads or complex numbers.
    cells: u32,
    /// Queries of the step.
    queries: u32,
    /// The tile of queries that the dispatch works on.
    first: u32,
    count: u32,
    /// Scores of a query.
    candidates: u32,
    /// Sampled negatives of a chunk of queries.
    negatives: u32,
    chunk: u32,
    /// The shard: the table row that it starts with, and its rows.
    base: u32,
    rows: u32,
    /// The row of the buffer that it starts with, where others lie before it.
    at_rows: u32,
    /// Where in the plan lie its parts. `NONE` where there is none.
    at_queries: u32,
    at_weights: u32,
    at_slots: u32,
    at_masks: u32,
    /// Lists by query: right answers in training, candidates to skip in rankings.
    at_offsets: u32,
    at_positives: u32,
    /// The unique rows of one table: their ids, the offsets of their lists of places, the places,
    /// and the weights of their penalties.
    at_ids: u32,
    at_lists: u32,
    at_places: u32,
    at_penalty: u32,
    /// The stretch of items (rows, mostly) that the dispatch works on.
    item_first: u32,
    items: u32,
    /// Names the dropout masks, together with a query's number in the whole step.
    dropout_seed: u32,
    first_query: u32,
    /// Values whose hash is below are dropped.
    entity_threshold: u32,
    relation_threshold: u32,
    /// What is kept is multiplied by this.
    entity_scale: f32,
    relation_scale: f32,
    /// The same for rows as candidates.
    candidate_threshold: u32,
    candidate_scale: f32,
    /// See [`crate::loss::Loss`].
    margin: f32,
    temperature: f32,
    smoothing: f32,
    /// λ of the regularizer.
    strength: f32,
    /// Step size of the optimizer.
    rate: f32,
    /// Names the random bits of stochastic rounding, together with a row's name.
    salt: u32,
    /// Where the counts of a ranking begin.
    at_counts: u32,
    /// What else the stage wants to know.
    extra: u32,
}

/// Stands for what a plan does not have.
pub(super) const NONE: u32 = u32::MAX;
