//! Writes of nodes that are behind: the generation that they know is over.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use shardloom::ids::{Generation, Step, WorkerId};
use shardloom::net::Channel;
use shardloom::net::rows::{RemoteOptions, RemoteShards};
use shardloom::server::{
    Apply, Caller, PackedType, PushRequest, PushedPart, PushedRows, RowMap, ShardClient,
};
use tokio::time::sleep;

use super::model::LANES;
use super::network::Host;
use super::world::World;

/// A node that missed a change of nodes.
pub struct Zombie {
    pub host: Host,
    pub epoch: u32,
    pub generation: Generation,
    pub step: Step,
    pub map: Arc<RowMap>,
}

impl Zombie {
    /// Pushes nonsense to every node, as a worker of the generation that is over.
    pub async fn write(self, world: Arc<World>) {
        let wait = world.random(|random| random.random_range(0..3000));
        sleep(Duration::from_millis(wait)).await;
        let dial = world.network.dial(self.host);
        for (address, target) in world.network.addresses() {
            let limit = Duration::from_secs(1);
            let Ok(stream) = dial.open(&address, Channel::Rows, limit).await else {
                continue;
            };
            let options = RemoteOptions {
                epoch: world.epoch_of_zombie(self.epoch),
                value_type: PackedType::F32,
                deadline: Duration::from_secs(30),
            };
            let shards = RemoteShards::new(stream, options);
            for step in [self.step, self.step.next()] {
                let written = shards.push(self.nonsense(&world, target, step)).await;
                world.zombie(self.epoch, self.generation, target, written);
            }
        }
    }

    fn nonsense(&self, world: &World, target: Host, step: Step) -> PushRequest {
        let (lane, shard) = world.random(|random| {
            let shards = self.map.shards().count();
            (
                random.random_range(0..LANES),
                random.random_range(0..shards),
            )
        });
        let held = world.held(target);
        let shard = held.map_or_else(
            || self.map.shards().nth(shard).unwrap(),
            |held| held[shard % held.len()],
        );
        let values = self.map.range(shard).len() * self.map.width(shard.table);
        PushRequest {
            caller: Caller {
                worker: WorkerId(lane),
                generation: world.generation_of_zombie(target, self.generation),
                step: world.step_of_zombie(step),
                layout: self.map.version(),
            },
            apply: Apply::OnCommit,
            samples: 1.0,
            squares: 1.0,
            parts: vec![PushedPart {
                shard,
                places: None,
                gradients: PushedRows::Values(vec![1000.0; values]),
            }],
        }
    }
}
