//! Times of steps by the clock of the device.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Serialize;
use shardloom::bench::BenchError;
use shardloom::kernel::measure::{Timed, counts, start_clock, stop_clock};

use super::Tables;

/// Duration of the timed steps, in seconds.
const TIMED: f64 = 0.25;
/// Largest number of timed steps: the times of each take memory of the device.
const MOST: f64 = 256.0;

/// The work of the device in a step or a ranking.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OnDevice {
    /// Share of the time that the device works on stages, by its own clock, while steps follow each
    /// other. For the rest of the time the device waits for the host, or receives data from it.
    pub device_busy: f64,
    /// Numbers of requests of a step to the device, by the name of the
    /// [count](shardloom::device::Counts). Steps read nothing; the loss is read after the last.
    pub per_step: BTreeMap<&'static str, f64>,
    /// The stages of a step; empty unless requested.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<Stage>,
}

/// A stage of a step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stage {
    /// Name of the stage.
    pub stage: &'static str,
    /// Number of runs in a step.
    pub runs: f64,
    /// Seconds in a step, all runs together.
    pub seconds: f64,
}

impl OnDevice {
    /// Times steps of `step` seconds each. None if the device does not have a clock.
    pub(super) fn find(
        tables: &mut Tables,
        work: &mut dyn FnMut(&mut Tables, usize) -> Result<(), BenchError>,
        step: f64,
        stages: bool,
    ) -> Result<Option<OnDevice>, BenchError> {
        let steps = (TIMED / step).ceil().clamp(1.0, MOST);
        if !start_clock(&tables.backend, Timed::Passes)? {
            return Ok(None);
        }
        let (before, start) = (counts(&tables.backend), Instant::now());
        let worked = work(tables, steps as usize);
        let (seconds, after) = (start.elapsed().as_secs_f64(), counts(&tables.backend));
        let passes = stop_clock(&tables.backend)?;
        worked?;
        let busy: f64 = passes.iter().map(|pass| pass.seconds).sum();
        let requests = after.zip(before).map(|(after, before)| after - before);
        let requests = requests.unwrap_or_default().named();
        Ok(Some(OnDevice {
            device_busy: busy / seconds,
            per_step: (requests.into_iter())
                .map(|(name, count)| (name, count as f64 / steps))
                .collect(),
            stages: match stages {
                true => find_stages(tables, work, steps)?,
                false => Vec::new(),
            },
        }))
    }
}

fn find_stages(
    tables: &mut Tables,
    work: &mut dyn FnMut(&mut Tables, usize) -> Result<(), BenchError>,
    steps: f64,
) -> Result<Vec<Stage>, BenchError> {
    start_clock(&tables.backend, Timed::Stages)?;
    let worked = work(tables, steps as usize);
    let stages = stop_clock(&tables.backend)?;
    worked?;
    Ok((stages.into_iter())
        .map(|stage| Stage {
            stage: stage.stage,
            runs: stage.runs as f64 / steps,
            seconds: stage.seconds / steps,
        })
        .collect())
}
