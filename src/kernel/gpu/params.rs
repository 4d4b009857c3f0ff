//! The parameters of a dispatch. All stages share one struct, so that a dispatch changes a few fields of
//! its step's parameters; each stage reads the fields that it needs.

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
    /// Cells in a row of the dispatch's buffers: values, quads or complex numbers.
    cells: u32,
    /// Queries of the step.
    queries: u32,
    /// First query of the dispatch's tile of queries.
    first: u32,
    /// Number of queries of the tile.
    count: u32,
    /// Scores of a query.
    candidates: u32,
    /// Sampled negatives of a chunk of queries.
    negatives: u32,
    /// Queries of a chunk.
    chunk: u32,
    /// First table row of the shard.
    base: u32,
    /// Number of rows of the shard.
    rows: u32,
    /// First row of the shard in its buffer, which may have other rows before it.
    at_rows: u32,
    /// Places of the plan's parts, in words; `NONE` for a part that the plan does not have.
    at_queries: u32,
    at_weights: u32,
    at_slots: u32,
    at_masks: u32,
    /// Lists by query: right answers in training, candidates to skip in rankings.
    at_offsets: u32,
    at_positives: u32,
    /// The unique rows of one table: their ids, the offsets of their lists, the places in the lists, and
    /// the weights of their penalties.
    at_ids: u32,
    at_lists: u32,
    at_places: u32,
    at_penalty: u32,
    /// First item of the dispatch; most items are rows.
    item_first: u32,
    /// Number of items.
    items: u32,
    /// Seed of the dropout masks, together with a query's number in the whole step.
    dropout_seed: u32,
    /// Number in the whole step of the dispatch's query 0.
    first_query: u32,
    /// Values of entities whose hash is below are dropped; likewise for relations.
    entity_threshold: u32,
    relation_threshold: u32,
    /// Factor of the values that are kept.
    entity_scale: f32,
    relation_scale: f32,
    /// Threshold and factor for rows as candidates.
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
    /// Seed of stochastic rounding, together with a row's name.
    salt: u32,
    /// First query of the block of a ranking, for its counts.
    at_counts: u32,
    /// Another number, which the stage's shader explains.
    extra: u32,
}

/// Stands for a part that a plan does not have.
pub(super) const NONE: u32 = u32::MAX;
