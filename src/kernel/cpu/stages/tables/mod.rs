//! Stages that read and write rows of tables, or work on any rows.

pub mod average;
pub mod pull;
pub mod rearrange;
pub mod square_sum;
pub mod update;
pub mod update_row_adagrad;
pub mod widen;
pub mod write_rows;
