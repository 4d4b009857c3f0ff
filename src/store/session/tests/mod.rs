//! Tests of sessions: contracts by their numbers, and random events against a model.

mod contracts;
mod model;
mod shell;

use std::num::NonZeroU32;
use std::sync::LazyLock;
use std::time::Duration;

use super::*;
use crate::graph::Graph;
use crate::store::tests::{circle, plan};
use crate::store::{ChannelPlan, ChannelSpec, SamplerSpec, SeedSpec, StoreError, Window, World};

const NODES: u32 = 60;

static GRAPH: LazyLock<std::sync::Arc<Graph>> = LazyLock::new(|| circle(NODES));

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Sampler of a key with seeds in batches of 3: 20 batches of all nodes.
fn spec(key: &str) -> SamplerSpec {
    SamplerSpec::new(key, plan(), NonZeroU32::new(3).unwrap())
}

/// Plan of a channel with `seeds` seeds.
fn channel_plan(spec: &SamplerSpec, seeds: u32) -> ChannelPlan {
    let channel = ChannelSpec {
        seeds: SeedSpec::Listed((0..seeds).map(|seed| seed % NODES).collect()),
        world: World::default(),
        window: Window::default(),
    };
    ChannelPlan::new(&**GRAPH, spec, &channel, 1 << 20).unwrap()
}

fn window(batches: u32) -> Window {
    Window {
        batches: NonZeroU32::new(batches).unwrap(),
        ..Window::default()
    }
}

fn credit(batches: u64) -> Credit {
    Credit {
        batches,
        bytes: u64::MAX,
    }
}
