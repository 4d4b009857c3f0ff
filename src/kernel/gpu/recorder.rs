//! Records dispatches and submits them, with their parameters, in one go.

use std::collections::VecDeque;

use super::params::Params;
use super::shape::Tile;
use super::source::Stage;
use crate::device::{
    Binding, Buffer, CommandEncoder, ComputePass, ComputePassDescriptor, DeviceError, Gpu,
    ParamsArena, Pipeline, SubmissionIndex,
};

/// Submissions that may wait for the device; plans of more would fill the memory.
const IN_FLIGHT: usize = 3;

/// What has been recorded and not yet submitted, and the pipelines made so far.
#[derive(Debug)]
pub(super) struct Recorder {
    gpu: Gpu,
    arena: ParamsArena,
    pipelines: Vec<(Stage, Pipeline)>,
    // Dropped first: a pass must end before its encoder.
    pass: Option<ComputePass<'static>>,
    encoder: Option<CommandEncoder>,
    in_flight: VecDeque<SubmissionIndex>,
    /// See [`Tile::BUSY`].
    pub busy: u64,
}

impl Recorder {
    pub fn new(gpu: &Gpu) -> Recorder {
        Recorder {
            gpu: gpu.clone(),
            arena: ParamsArena::new(gpu),
            pipelines: Vec::new(),
            pass: None,
            encoder: None,
            in_flight: VecDeque::new(),
            busy: Tile::BUSY,
        }
    }

    /// Records a dispatch of `workgroups` workgroups in a line. `buffers` are the stage's bindings
    /// from 1 on; binding 0 is `params`.
    pub fn dispatch(
        &mut self,
        stage: Stage,
        params: &Params,
        buffers: &[&Buffer],
        workgroups: u32,
    ) -> Result<(), DeviceError> {
        if workgroups == 0 {
            return Ok(());
        }
        let pipeline = self.pipeline(stage)?;
        let slot = self.arena.push(params)?;
        let mut bindings = Vec::with_capacity(1 + buffers.len());
        bindings.push(Binding::from(&slot));
        bindings.extend(buffers.iter().map(|&buffer| Binding::from(buffer)));
        let group = self.gpu.bind(&pipeline, &bindings);

        let encoder = self.encoder.get_or_insert_with(|| self.gpu.encoder("step"));
        let pass = self.pass.get_or_insert_with(|| {
            let descriptor = ComputePassDescriptor::default();
            encoder.begin_compute_pass(&descriptor).forget_lifetime()
        });
        self.gpu.dispatch(pass, &pipeline, &group, workgroups);
        Ok(())
    }

    /// Records that a buffer is filled with zeros.
    pub fn clear(&mut self, buffer: &Buffer) {
        self.pass = None;
        let encoder = self.encoder.get_or_insert_with(|| self.gpu.encoder("step"));
        encoder.clear_buffer(buffer, 0, None);
    }

    /// Records a copy of `values` values from one buffer to another, from and to these values on.
    pub fn copy(&mut self, from: (&Buffer, usize), to: (&Buffer, usize), values: usize) {
        if values == 0 {
            return;
        }
        self.pass = None;
        let encoder = self.encoder.get_or_insert_with(|| self.gpu.encoder("step"));
        let bytes = |values: usize| (values * size_of::<f32>()) as u64;
        encoder.copy_buffer_to_buffer(from.0, bytes(from.1), to.0, bytes(to.1), bytes(values));
    }

    /// Submits what was recorded, if anything, and waits while too much is under way.
    pub fn submit(&mut self) -> Result<(), DeviceError> {
        self.pass = None;
        if let Some(encoder) = self.encoder.take() {
            let submission = self.gpu.submit_with(encoder, &mut self.arena);
            self.in_flight.push_back(submission);
        }
        while self.in_flight.len() > IN_FLIGHT
            && let Some(oldest) = self.in_flight.pop_front()
        {
            self.gpu.wait(oldest)?;
        }
        self.gpu.check()
    }

    fn pipeline(&mut self, stage: Stage) -> Result<Pipeline, DeviceError> {
        if let Some((_, pipeline)) = self.pipelines.iter().find(|(made, _)| *made == stage) {
            return Ok(pipeline.clone());
        }
        let name = stage.name();
        let pipeline = self.gpu.pipeline(name, &stage.source(), name, &[])?;
        self.pipelines.push((stage, pipeline.clone()));
        Ok(pipeline)
    }
}

/// Workgroups of `size` for so many invocations. Buffers end at 2 GiB, so a line of workgroups over
/// their values always fits.
pub(super) fn workgroups(invocations: u64, size: u32) -> u32 {
    invocations.div_ceil(u64::from(size)) as u32
}
