//! Compute pipelines from WGSL, their bindings, and dispatches of any length.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    num::NonZero,
};

use wgpu::{BindGroup, BindGroupEntry, Buffer, BufferBinding, ComputePass, ShaderRuntimeChecks};

use super::{
    DeviceError, Gpu,
    gpu::{lock, words},
    params::Slot,
};

/// Whether shaders are compiled with bounds checks: in debug and test builds.
const CHECKED: bool = cfg!(debug_assertions);

/// The most workgroups in one dimension of a dispatch, on every adapter.
pub const MAX_WORKGROUPS: u32 = 65_535;

/// A compiled compute shader with the layout of its bind group 0. Clones are cheap.
#[derive(Debug, Clone)]
pub struct Pipeline {
    pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
}

#[derive(PartialEq, Eq, Hash)]
pub(super) struct PipelineKey {
    label: String,
    entry: String,
    source: u64,
}

/// A buffer, or a range of one, to bind. [`From`] a buffer or an arena's [`Slot`].
#[derive(Debug, Clone, Copy)]
pub struct Binding<'a> {
    buffer: &'a Buffer,
    offset: u64,
    bytes: Option<NonZero<u64>>,
}

impl<'a> Binding<'a> {
    /// The `bytes` bytes from `offset` on; the offset is a multiple of 256, and `bytes` of 4.
    /// Zero bytes stand for the rest of the buffer.
    pub fn part(buffer: &'a Buffer, offset: u64, bytes: u64) -> Self {
        Self {
            buffer,
            offset,
            bytes: NonZero::new(bytes),
        }
    }
}

impl<'a> From<&'a Buffer> for Binding<'a> {
    fn from(buffer: &'a Buffer) -> Self {
        Self::part(buffer, 0, 0)
    }
}

impl<'a> From<&'a Slot> for Binding<'a> {
    fn from(slot: &'a Slot) -> Self {
        Self::part(&slot.buffer, slot.offset, slot.bytes)
    }
}

impl Gpu {
    /// Compiles the entry point `entry` of a WGSL source, or returns it from the cache. Workgroup memory starts out undefined; loops are not bounded
    /// and, in release builds, accesses are not checked: shaders are part of this program, and
    /// the ids that they index with are checked before they are uploaded.
    ///
    /// Keep loops short: llvmpipe ends an invocation's loops, without an error, after 65,535 iterations
    /// altogether, and Windows resets a GPU that is busy for two seconds.
    ///
    /// # Errors
    /// [`DeviceError::Shader`], with the lines of the source, if it does not compile or lacks
    /// the entry point; [`DeviceError::Lost`].
    pub fn pipeline(
        &self,
        label: &str,
        source: &str,
        entry: &str,
    ) -> Result<Pipeline, DeviceError> {
        let key = PipelineKey::new(label, source, entry);
        if let Some(pipeline) = lock(&self.0.pipelines).get(&key) {
            return Ok(pipeline.clone());
        }
        let compiled = self.guarded(|| self.compile(label, source, entry));
        // On a lost device everything is invalid; the loss is the better answer.
        self.notice_loss()?;
        let pipeline = compiled.map_err(|error| DeviceError::Shader {
            label: label.into(),
            message: words(&error),
        })?;
        lock(&self.0.pipelines).insert(key, pipeline.clone());
        Ok(pipeline)
    }

    fn compile(&self, label: &str, source: &str, entry: &str) -> Pipeline {
        let checks = ShaderRuntimeChecks {
            bounds_checks: CHECKED,
            int_div_checks: CHECKED,
            ..ShaderRuntimeChecks::unchecked()
        };
        let source = wgpu::ShaderModuleDescriptor {
            label: Some(label),
            source: wgpu::ShaderSource::Wgsl(source.into()),
        };
        // SAFETY: only this program's own shaders come here. Their loops end, and they index
        // with ids that the host validated against the tables' sizes; debug and test builds
        // run the same shaders with the checks on.
        let module = unsafe { self.device().create_shader_module_trusted(source, checks) };
        let pipeline = (self.device()).create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(label),
            layout: None,
            module: &module,
            entry_point: Some(entry),
            compilation_options: wgpu::PipelineCompilationOptions {
                // Shaders write workgroup memory before they read it. Zeros would cost FXC, which
                // unrolls the loops that write them, up to 30 s a shader.
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache: None,
        });
        let layout = pipeline.get_bind_group_layout(0);
        Pipeline { pipeline, layout }
    }

    /// Binds buffers to bindings 0, 1, … of group 0, in order. Mistakes surface at the next
    /// [`check`](Self::check).
    pub fn bind(&self, pipeline: &Pipeline, bindings: &[Binding<'_>]) -> BindGroup {
        let entries: Vec<_> = (0..)
            .zip(bindings)
            .map(|(binding, b)| BindGroupEntry {
                binding,
                resource: wgpu::BindingResource::Buffer(BufferBinding {
                    buffer: b.buffer,
                    offset: b.offset,
                    size: b.bytes,
                }),
            })
            .collect();
        self.0.tally.bind_groups.add(1);
        self.device().create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.layout,
            entries: &entries,
        })
    }

    /// Records a dispatch of at least `workgroups` workgroups in one line, folded as
    /// the device needs it; of none if zero.
    pub fn dispatch(
        &self,
        pass: &mut ComputePass<'_>,
        pipeline: &Pipeline,
        bind_group: &BindGroup,
        workgroups: u32,
    ) {
        if workgroups == 0 {
            return;
        }
        let (x, y, z) = fold(workgroups);
        self.0.tally.dispatches.add(1);
        pass.set_pipeline(&pipeline.pipeline);
        pass.set_bind_group(0, bind_group, &[]);
        pass.dispatch_workgroups(x, y, z);
    }
}

/// Folds a line of workgroups into as few rows as there must be, as even as can be: `x * y`
/// is at least `workgroups` and at most `y - 1` more.
///
/// A workgroup's place in the line is `wid.y * num_workgroups.x + wid.x`; a workgroup past the end
/// returns at once. Lines over 65,535² do not fit a dispatch and are refused by wgpu.
pub(super) fn fold(workgroups: u32) -> (u32, u32, u32) {
    let y = workgroups.div_ceil(MAX_WORKGROUPS).max(1);
    (workgroups.div_ceil(y), y, 1)
}

impl PipelineKey {
    fn new(label: &str, source: &str, entry: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        source.hash(&mut hasher);
        Self {
            label: label.into(),
            entry: entry.into(),
            source: hasher.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn folds_only_when_it_must() {
        assert_eq!(fold(0), (0, 1, 1));
        assert_eq!(fold(1), (1, 1, 1));
        assert_eq!(fold(65_535), (65_535, 1, 1));
        assert_eq!(fold(65_536), (32_768, 2, 1));
        assert_eq!(fold(131_071), (43_691, 3, 1));
    }

    proptest! {
        #[test]
        fn folds_cover_the_line_and_hardly_more(n in 1..=MAX_WORKGROUPS * MAX_WORKGROUPS) {
            let (x, y, z) = fold(n);
            prop_assert!(x <= MAX_WORKGROUPS && y <= MAX_WORKGROUPS && z == 1);
            let covered = u64::from(x) * u64::from(y);
            prop_assert!(covered >= u64::from(n) && covered < u64::from(n) + u64::from(y));
        }
    }
}
