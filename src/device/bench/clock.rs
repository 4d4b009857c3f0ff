//! Times on the device's own clock.

use wgpu::{
    BufferUsages, CommandEncoder, ComputePassTimestampWrites, Features, QUERY_SET_MAX_QUERIES,
    QUERY_SIZE, QuerySet, QuerySetDescriptor, QueryType,
};

use crate::device::{DeviceError, Gpu, gpu::uncaptured};

/// Spans that one query set has room for.
const SPANS: usize = QUERY_SET_MAX_QUERIES as usize / 2;

/// Times spans of commands on the device. The device keeps the times until [`read`](Clock::read), and
/// reuses their memory after that.
#[derive(Debug)]
pub struct Clock {
    gpu: Gpu,
    sets: Vec<QuerySet>,
    names: Vec<&'static str>,
}

/// The duration of some commands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// Name of the stage or command.
    pub name: &'static str,
    /// Seconds between its beginning and its end.
    pub seconds: f64,
}

impl Clock {
    /// The clock of a device, if the device has one.
    pub fn of(gpu: &Gpu) -> Option<Clock> {
        let has = gpu.features().contains(Features::TIMESTAMP_QUERY);
        has.then(|| Clock {
            gpu: gpu.clone(),
            sets: Vec::new(),
            names: Vec::new(),
        })
    }

    /// The timestamps that make a span of a pass.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn pass(
        &mut self,
        name: &'static str,
    ) -> Result<ComputePassTimestampWrites<'_>, DeviceError> {
        let (query_set, first) = self.add(name)?;
        Ok(ComputePassTimestampWrites {
            query_set,
            beginning_of_pass_write_index: Some(first),
            end_of_pass_write_index: Some(first + 1),
        })
    }

    /// Makes a span of the copies and fills that `record` adds to a list of commands, where the
    /// device can time them.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn around(
        &mut self,
        name: &'static str,
        encoder: &mut CommandEncoder,
        record: impl FnOnce(&mut CommandEncoder),
    ) -> Result<(), DeviceError> {
        if !self.times_copies() {
            record(encoder);
            return Ok(());
        }
        let (set, first) = self.add(name)?;
        encoder.write_timestamp(set, first);
        record(encoder);
        encoder.write_timestamp(set, first + 1);
        Ok(())
    }

    /// Whether copies and fills, which are in no pass, have times.
    pub fn times_copies(&self) -> bool {
        let features = self.gpu.features();
        features.contains(Features::TIMESTAMP_QUERY_INSIDE_ENCODERS)
    }

    /// All spans since the last call, which must have been submitted. Waits for the device.
    ///
    /// # Errors
    /// If the device is lost or full.
    pub fn read(&mut self) -> Result<Vec<Span>, DeviceError> {
        let names = std::mem::take(&mut self.names);
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let usage = BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC;
        let bytes = 2 * names.len() as u64 * u64::from(QUERY_SIZE);
        let buffer = self.gpu.buffer("times", bytes, usage)?;
        let mut encoder = self.gpu.encoder("times");
        for (i, (part, set)) in names.chunks(SPANS).zip(&self.sets).enumerate() {
            let at = (2 * i * SPANS) as u64 * u64::from(QUERY_SIZE);
            encoder.resolve_query_set(set, 0..2 * part.len() as u32, &buffer, at);
        }
        self.gpu.submit(encoder);
        let ticks = self.gpu.read::<u64>(&buffer, 0, 2 * names.len())?;
        let tick = f64::from(self.gpu.queue().get_timestamp_period()) * 1e-9;
        let spans = names.into_iter().zip(ticks.chunks_exact(2));
        Ok(spans
            .map(|(name, ticks)| Span {
                name,
                // Clocks may be set back between two spans, and then only one is wrong.
                seconds: ticks[1].saturating_sub(ticks[0]) as f64 * tick,
            })
            .collect())
    }

    /// Adds a span. Its two queries are the returned one and the next.
    fn add(&mut self, name: &'static str) -> Result<(&QuerySet, u32), DeviceError> {
        let (set, place) = (self.names.len() / SPANS, self.names.len() % SPANS);
        if set == self.sets.len() {
            let made = self.gpu.guarded(|| {
                (self.gpu.device()).create_query_set(&QuerySetDescriptor {
                    label: Some("times"),
                    ty: QueryType::Timestamp,
                    count: 2 * SPANS as u32,
                })
            });
            self.gpu.notice_loss()?;
            self.sets.push(made.map_err(uncaptured)?);
        }
        self.names.push(name);
        Ok((&self.sets[set], 2 * place as u32))
    }
}
