//! Records dispatches and submits them together, with their parameters; times them for `bench`.

use std::collections::VecDeque;

use super::bind_groups::BindGroups;
use super::params::Params;
use super::shape::Tile;
use super::source::Stage;
use crate::device::{
    Buffer, Clock, CommandEncoder, ComputePass, ComputePassDescriptor, DeviceError, Gpu,
    ParamsArena, Pipeline, Span, SubmissionIndex,
};
use crate::kernel::measure::Timed;

/// Submissions that may be under way: the plans of more would fill the memory.
const IN_FLIGHT: usize = 3;

/// Values of a buffer, from number `first` on.
#[derive(Clone, Copy)]
pub(super) struct ValuesAt<'a> {
    pub buffer: &'a Buffer,
    pub first: usize,
}

/// Commands that are recorded and not yet submitted, and the pipelines made so far.
#[derive(Debug)]
pub(super) struct Recorder {
    gpu: Gpu,
    arena: ParamsArena,
    pipelines: Vec<(Stage, Pipeline)>,
    groups: BindGroups,
    /// Times of passes or stages, between [`Recorder::start_clock`] and [`Recorder::stop_clock`].
    clock: Option<(Clock, Timed)>,
    // Dropped first: a pass must end before its encoder.
    pass: Option<ComputePass<'static>>,
    encoder: Option<CommandEncoder>,
    in_flight: VecDeque<SubmissionIndex>,
    /// Number of wide tiles that keep the GPU busy; tests change it.
    pub busy: u64,
}

impl Recorder {
    pub fn new(gpu: &Gpu) -> Recorder {
        Recorder {
            gpu: gpu.clone(),
            arena: ParamsArena::new(gpu),
            pipelines: Vec::new(),
            groups: BindGroups::default(),
            clock: None,
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
        let number = self.pipeline(stage)?;
        let slot = self.arena.push(params)?;
        self.open_pass(stage.name())?;
        let pipeline = &self.pipelines[number].1;
        let group = (self.groups).bind(&self.gpu, number, pipeline, slot, buffers);
        if let Some(pass) = &mut self.pass {
            self.gpu.dispatch(pass, pipeline, group, workgroups);
        }
        Ok(())
    }

    /// Records that a buffer is filled with zeros.
    pub fn clear(&mut self, buffer: &Buffer) -> Result<(), DeviceError> {
        self.outside("clear", |encoder| encoder.clear_buffer(buffer, 0, None))
    }

    /// Records a copy of `values` values of four bytes.
    pub fn copy(
        &mut self,
        from: ValuesAt<'_>,
        to: ValuesAt<'_>,
        values: usize,
    ) -> Result<(), DeviceError> {
        if values == 0 {
            return Ok(());
        }
        let bytes = |values: usize| (values * size_of::<f32>()) as u64;
        self.outside("copy", |encoder| {
            let (source, destination) = (bytes(from.first), bytes(to.first));
            encoder.copy_buffer_to_buffer(
                from.buffer,
                source,
                to.buffer,
                destination,
                bytes(values),
            );
        })
    }

    /// Begins a pass, unless one is open that the stage may be part of.
    fn open_pass(&mut self, stage: &'static str) -> Result<(), DeviceError> {
        let alone = matches!(self.clock, Some((_, Timed::Stages)));
        if self.pass.is_some() && !alone {
            return Ok(());
        }
        self.pass = None;
        let timestamp_writes = match &mut self.clock {
            Some((clock, Timed::Stages)) => Some(clock.pass(stage)?),
            Some((clock, Timed::Passes)) => Some(clock.pass("pass")?),
            None => None,
        };
        let encoder = self.encoder.get_or_insert_with(|| self.gpu.encoder("step"));
        let descriptor = ComputePassDescriptor {
            label: None,
            timestamp_writes,
        };
        let pass = encoder.begin_compute_pass(&descriptor);
        self.pass = Some(pass.forget_lifetime());
        Ok(())
    }

    /// Records copies and fills, which cannot be part of a pass.
    fn outside(
        &mut self,
        name: &'static str,
        record: impl FnOnce(&mut CommandEncoder),
    ) -> Result<(), DeviceError> {
        self.pass = None;
        let encoder = self.encoder.get_or_insert_with(|| self.gpu.encoder("step"));
        match &mut self.clock {
            Some((clock, _)) => clock.around(name, encoder, record),
            None => {
                record(encoder);
                Ok(())
            }
        }
    }

    /// Times the commands that are recorded from now on. Returns false if the device has no clock.
    pub fn start_clock(&mut self, timed: Timed) -> Result<bool, DeviceError> {
        self.submit()?;
        self.clock = Clock::of(&self.gpu).map(|clock| (clock, timed));
        Ok(self.clock.is_some())
    }

    /// Submits the recorded commands and returns the times since [`Recorder::start_clock`]. Waits for the
    /// device, if it has a clock.
    pub fn stop_clock(&mut self) -> Result<Vec<Span>, DeviceError> {
        self.submit()?;
        match self.clock.take() {
            Some((mut clock, _)) => clock.read(),
            None => Ok(Vec::new()),
        }
    }

    /// Drops the bind groups, which keep the memory of their buffers.
    pub fn forget(&mut self) {
        self.groups.clear();
    }

    /// Submits the recorded commands, if any. Waits while more than [`IN_FLIGHT`] submissions are under
    /// way.
    pub fn submit(&mut self) -> Result<(), DeviceError> {
        self.pass = None;
        if let Some(encoder) = self.encoder.take() {
            let submission = self.gpu.submit_with(encoder, &mut self.arena);
            self.in_flight.push_back(submission);
            self.groups.submitted();
        }
        while self.in_flight.len() > IN_FLIGHT
            && let Some(oldest) = self.in_flight.pop_front()
        {
            self.gpu.wait(oldest)?;
        }
        self.gpu.check()
    }

    /// The number of a stage's pipeline, which the first call for the stage makes.
    fn pipeline(&mut self, stage: Stage) -> Result<usize, DeviceError> {
        if let Some(number) = self.pipelines.iter().position(|(made, _)| *made == stage) {
            return Ok(number);
        }
        let name = stage.name();
        let source = stage.source().map_err(|error| DeviceError::Shader {
            label: name.into(),
            message: error.to_string(),
        })?;
        let pipeline = self.gpu.pipeline(name, &source, name)?;
        self.pipelines.push((stage, pipeline));
        Ok(self.pipelines.len() - 1)
    }
}

/// Number of workgroups of `size` invocations for `invocations` in all. Buffers end at 2 GiB, so a line
/// of workgroups over their values always fits.
pub(super) fn workgroups(invocations: u64, size: u32) -> u32 {
    invocations.div_ceil(u64::from(size)) as u32
}
