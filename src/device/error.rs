//! Failures of devices.

use std::time::Duration;

/// A failure to choose, open or use a device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The text is none of `auto`, `cpu`, `gpu` and `gpu:N`.
    #[error("unknown device {0:?}: expected auto, cpu, gpu or gpu:N (such as gpu:0)")]
    UnknownChoice(String),
    /// The choice is a GPU, in a build without GPU support.
    #[error(
        "this build has no GPU support: build it with the feature `gpu`, or use the device cpu"
    )]
    NoSupport,
    /// The choice is a GPU, and this machine shows none.
    #[error(
        "no GPU adapter found (Vulkan, Metal or DX12 driver missing?); --device cpu needs none"
    )]
    NoAdapter,
    /// `gpu:N` with too large an N.
    #[error("gpu:{index} does not exist: {}", count_adapters(*.count))]
    NoSuchAdapter {
        /// The N of `gpu:N`.
        index: usize,
        /// Number of adapters.
        count: usize,
    },
    /// The adapter exists but its driver refused to open it.
    #[error("cannot open {adapter}: {reason}")]
    Open {
        /// Index and name of the adapter.
        adapter: String,
        /// The driver's words.
        reason: String,
    },
    /// The device is gone, and with it everything in its memory. Nothing but opening it anew helps.
    #[error("the GPU was lost: {reason}")]
    Lost {
        /// The driver's words, where it had any.
        reason: String,
    },
    /// The request is larger than this adapter could serve even when empty: use smaller pieces.
    #[error("{label} needs {} ({bytes} bytes) and can never fit: {what} of this GPU is {}", size(*.bytes), size(*.limit))]
    NeverFits {
        /// The buffer's label.
        label: String,
        /// Bytes of the buffer.
        bytes: u64,
        /// The most bytes that fit.
        limit: u64,
        /// Name of the limit.
        what: &'static str,
    },
    /// The device has no room just now. It lives on; free something and ask again.
    #[error("the GPU's memory is full: no room for {label} ({})", size(*.bytes))]
    Full {
        /// The buffer's label.
        label: String,
        /// Bytes of the buffer.
        bytes: u64,
    },
    /// The device did not finish before the deadline; the work may still be running.
    #[error("the GPU did not finish within {after:?}")]
    Timeout {
        /// The deadline.
        after: Duration,
    },
    /// A read or a write outside of the buffer, or a write that is not in whole four-byte words.
    #[error("cannot access bytes {offset}..+{bytes} of a buffer of {size} bytes: {why}")]
    Range {
        /// First byte.
        offset: u64,
        /// Length in bytes.
        bytes: u64,
        /// The buffer's size in bytes.
        size: u64,
        /// The rule broken.
        why: &'static str,
    },
    /// A shader or its pipeline does not compile here.
    #[error("shader {label} does not compile: {message}")]
    Shader {
        /// The pipeline's label.
        label: String,
        /// The compiler's words, with line numbers of the WGSL source.
        message: String,
    },
    /// A call broke a rule of the API: a bug in this program.
    #[error("invalid use of the GPU: {0}")]
    Validation(String),
    /// A failure inside the driver that fits nowhere else.
    #[error("the GPU's driver failed: {0}")]
    Internal(String),
}

/// Bytes in the unit that suits them, such as `1.50 GiB`.
pub(crate) fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let (mut value, mut unit) = (bytes as f64, "B");
    for larger in units {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, larger);
    }
    match unit {
        "B" => format!("{bytes} B"),
        _ => format!("{value:.2} {unit}"),
    }
}

fn count_adapters(count: usize) -> String {
    match count {
        0 => "this machine has no GPU adapter".into(),
        1 => "this machine has 1 adapter, gpu:0".into(),
        n => format!("this machine has {n} adapters, gpu:0 to gpu:{}", n - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_have_the_unit_that_suits_them() {
        let shown = [0, 1023, 1024, 1536 << 20, 1 << 60].map(size);
        assert_eq!(shown, ["0 B", "1023 B", "1.00 KiB", "1.50 GiB", "1.00 EiB"]);
    }
}
