//! Bind groups that successive steps share.

use std::collections::HashMap;

use crate::device::{BindGroup, Binding, Buffer, Gpu, Pipeline, Slot};

/// Submissions after which an unused bind group is dropped. Until then the group keeps the memory of
/// its buffers, so the number is small: enough for steps that take several submissions.
const KEPT: u64 = 8;

/// Bind groups by pipeline and buffers. To make one takes the host longer than the rest of a dispatch.
#[derive(Debug, Default)]
pub(super) struct BindGroups {
    made: HashMap<Key, Group>,
    submissions: u64,
}

/// A pipeline and the buffers that are bound to it.
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

impl BindGroups {
    /// The group that binds `slot` and then `buffers` for a pipeline, whose number is its key.
    pub fn bind(
        &mut self,
        gpu: &Gpu,
        number: usize,
        pipeline: &Pipeline,
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

    /// Drops groups that were not used for a while. Called after every submission.
    pub fn submitted(&mut self) {
        self.submissions += 1;
        let oldest = self.submissions.saturating_sub(KEPT);
        self.made.retain(|_, group| group.used >= oldest);
    }

    /// Drops all groups, and the memory that only they keep.
    pub fn clear(&mut self) {
        self.made.clear();
    }
}
