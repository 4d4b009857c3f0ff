//! Errors of the arithmetic.

/// An error of a kernel or of the device it runs on.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The device failed.
    #[error(transparent)]
    Device(#[from] crate::device::DeviceError),
    /// Data of the wrong size for a table.
    #[error("{what}: expected {expected} values, found {found}")]
    Shape {
        /// The table.
        what: &'static str,
        /// Rows × width.
        expected: usize,
        /// Number of values that came.
        found: usize,
    },
    /// A row that the table does not have.
    #[error("row {row} of {table} does not exist: it has {rows}")]
    Row {
        /// The table.
        table: &'static str,
        /// The row in the call.
        row: u32,
        /// Rows of the table.
        rows: usize,
    },
    /// A row named twice where each may be named once.
    #[error("row {row} of {table} is out of order or named twice")]
    Repeated {
        /// The table.
        table: &'static str,
        /// The row.
        row: u32,
    },
    /// A step that cannot predict relations, or a plan that is not made for what the step predicts.
    #[error("relations cannot be predicted: {why}")]
    RelationPrediction {
        /// The missing part.
        why: &'static str,
    },
    /// A call that the engine does not have.
    #[error("the {engine} engine does not have {what}")]
    Unsupported {
        /// The engine: `"CPU"` or `"GPU"`.
        engine: &'static str,
        /// The call.
        what: &'static str,
    },
    /// Gradient rows of one device given to the engine of another.
    #[error("gradient rows of another device were given to the {engine} engine")]
    ForeignRows {
        /// The engine: `"CPU"` or `"GPU"`.
        engine: &'static str,
    },
    /// A table of one device given to the engine of another.
    #[error("a table of another device was given to the {engine} engine")]
    ForeignTable {
        /// The engine: `"CPU"` or `"GPU"`.
        engine: &'static str,
    },
    /// A table whose rows are in other processes.
    #[error("the rows of {table} are not in this process")]
    NoRows {
        /// Name of the table.
        table: &'static str,
    },
}

impl KernelError {
    pub(crate) fn check_shape(
        what: &'static str,
        expected: usize,
        found: usize,
    ) -> Result<(), KernelError> {
        if expected == found {
            return Ok(());
        }
        Err(KernelError::Shape {
            what,
            expected,
            found,
        })
    }
}
