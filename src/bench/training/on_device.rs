//! Steps as the device sees them.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Serialize;

use super::Tables;
use crate::bench::BenchError;
use crate::kernel::Timed;

/// How long the device is watched, in seconds.
const WATCHED: f64 = 0.25;
/// Steps that are watched, at most: each leaves its times on the device.
const MOST: f64 = 256.0;

/// What a step (or a ranking) has the device do, and what that takes of the host.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OnDevice {
    /// The share of the time that the device spends in stages, by its own clock, while steps follow
    /// each other. The rest it waits for the host, or takes over what the host wrote.
    pub device_busy: f64,
    /// What a step asks of the device, by the name of its
    /// [count](crate::device::Counts). A read waits, so there is none but for the loss at the end.
    pub per_step: BTreeMap<&'static str, f64>,
    /// Its stages, if they were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<Stage>,
}

/// A stage of a step, timed by itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stage {
    /// Its one name.
    pub stage: &'static str,
    /// How often a step runs it.
    pub runs: f64,
    /// Seconds of a step, all runs together.
    pub seconds: f64,
}

impl OnDevice {
    /// Watches steps of `step` seconds; `None` if the device has no clock.
    pub(super) fn find(
        tables: &mut Tables,
        work: &mut dyn FnMut(&mut Tables, usize) -> Result<(), BenchError>,
        step: f64,
        stages: bool,
    ) -> Result<Option<OnDevice>, BenchError> {
        let steps = (WATCHED / step).ceil().clamp(1.0, MOST);
        if !tables.backend.start_clock(Timed::Passes)? {
            return Ok(None);
        }
        let (before, start) = (tables.backend.counts(), Instant::now());
        let worked = work(tables, steps as usize);
        let (seconds, after) = (start.elapsed().as_secs_f64(), tables.backend.counts());
        let passes = tables.backend.stop_clock()?;
        worked?;
        let busy: f64 = passes.iter().map(|pass| pass.seconds).sum();
        let counts = after.zip(before).map(|(after, before)| after - before);
        let counts = counts.unwrap_or_default().named();
        Ok(Some(OnDevice {
            device_busy: busy / seconds,
            per_step: (counts.into_iter())
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
    tables.backend.start_clock(Timed::Stages)?;
    let worked = work(tables, steps as usize);
    let stages = tables.backend.stop_clock()?;
    worked?;
    Ok((stages.into_iter())
        .map(|stage| Stage {
            stage: stage.stage,
            runs: stage.runs as f64 / steps,
            seconds: stage.seconds / steps,
        })
        .collect())
}
