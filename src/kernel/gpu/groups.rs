//! Bind groups that one step has in common with the next.

use std::collections::HashMap;

use crate::device::{BindGroup, Binding, Buffer, Gpu, Pipeline, Slot};

/// Submissions after which a bind group that was not used is dropped. Until then it keeps the
/// memory of its buffers, so there are few: enough for steps that take several submissions.
const KEPT: u64 = 8;

/// Making a bind group takes longer than everything else that a dispatch takes of the host.
#[derive(Debug, Default)]
pub(super) struct Groups {
    made: HashMap<Key, Group>,
    submissions: u64,
}

/// The number of a pipeline, and what is bound.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    pipeline: usize,
    slot: Slot,
    buffers: Vec<Buffer>,
}

#[derive(Debug)]
struct Group {
    group: BindGroup,
    used: u64,
}

impl Groups {
    /// The group that binds `slot` and then `buffers` for a pipeline and its number.
    pub fn bind(
        &mut self,
        gpu: &Gpu,
        (number, pipeline): (usize, &Pipeline),
        slot: Slot,
        buffers: &[&Buffer],
    ) -> &BindGroup {
        let key = Key {
            pipeline: number,
            buffers: buffers.iter().map(|&buffer| buffer.clone()).collect(),
            slot,
        };
        let made = self.made.entry(key).or_insert_with_key(|key| {
            let bindings: Vec<_> = std::iter::once(Binding::from(&key.slot))
                .chain(key.buffers.iter().map(Binding::from))
                .collect();
            let group = gpu.bind(pipeline, &bindings);
            Group { group, used: 0 }
        });
        made.used = self.submissions;
        &made.group
    }

    /// To be called after every submission.
    pub fn submitted(&mut self) {
        self.submissions += 1;
        let oldest = self.submissions.saturating_sub(KEPT);
        self.made.retain(|_, group| group.used >= oldest);
    }

    /// Drops them all, with what they keep.
    pub fn clear(&mut self) {
        self.made.clear();
    }
}
