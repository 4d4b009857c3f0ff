//! Counts of the host's calls to a device.

use std::ops::Sub;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::Serialize;

macro_rules! counts {
    ($($(#[doc = $doc:literal])* $field:ident,)+) => {
        /// Calls to an open device so far, from all its clones. The difference of two counts has the calls
        /// between them.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
        pub struct Counts {
            $($(#[doc = $doc])* pub $field: u64,)+
        }

        impl Counts {
            /// Every count with its name.
            pub fn named(self) -> impl IntoIterator<Item = (&'static str, u64)> {
                [$((stringify!($field), self.$field),)+]
            }
        }

        /// Counters behind [`Counts`].
        #[derive(Default)]
        pub(in crate::device) struct Tally {
            $(pub $field: Count,)+
        }

        impl Tally {
            pub fn counts(&self) -> Counts {
                Counts { $($field: self.$field.0.load(Relaxed),)+ }
            }
        }

        impl Sub for Counts {
            type Output = Counts;

            fn sub(self, before: Counts) -> Counts {
                Counts { $($field: self.$field.saturating_sub(before.$field),)+ }
            }
        }
    };
}

counts! {
    /// Lists of commands handed over.
    submissions,
    /// Compute stages recorded.
    dispatches,
    /// Bind groups made.
    bind_groups,
    /// Buffers made.
    buffers,
    /// Writes from the host, and their bytes.
    writes,
    written_bytes,
    /// Reads by the host, each of which waits.
    reads,
}

/// A counter that only goes up. Nothing depends on when other threads see it.
#[derive(Default)]
pub(in crate::device) struct Count(AtomicU64);

impl Count {
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }
}
