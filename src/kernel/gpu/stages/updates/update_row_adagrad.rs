//! `update_row_adagrad`: Adagrad with one accumulator a row. `update` dispatches it with the buffers of
//! other optimizers.

use crate::kernel::gpu::source::GROUP;

/// Invocations of a workgroup where rows have `cells` cells: no more than a row keeps busy.
pub(super) fn group(cells: u32) -> u32 {
    cells.next_power_of_two().clamp(32, GROUP)
}
