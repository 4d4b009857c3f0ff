//! The tables that steps make when nothing happens, and the arithmetic of a step: gradients that depend on the step,
//! the lane, the row and the pulled values.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use shardloom::cluster::node::{RouteError, Router, StepPush};
use shardloom::ids::{Generation, Step, TableName, WorkerId};
use shardloom::kernel::{Backend, Column};
use shardloom::model::Model as Kind;
use shardloom::optim::OptimizerKind;
use shardloom::server::{
    Caller, HeldShards, Initializer, ParameterServer, PushedPart, PushedRows, RowMap, Shape,
    ShardClient, ShardId, Spread, Storage, UpdateMode,
};

/// Steps of a run.
pub const STEPS: u64 = 60;
/// Steps between two cuts.
pub const CUT: u64 = 12;
/// Parts of a step.
pub const LANES: u32 = 3;
/// Learning rate.
pub const RATE: f64 = 0.1;
/// Longest time of a step.
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// Shape of the tables.
pub fn shape() -> Shape {
    Shape {
        model: Kind::DistMult,
        dim: 2,
        entities: 12,
        relations: 3,
        relation_dim: None,
    }
}

/// Storage of the tables.
pub fn storage() -> Storage {
    Storage {
        optimizer: OptimizerKind::Adagrad,
        shards: 4,
        ..Storage::default()
    }
}

/// A server with the tables at the start.
pub fn server() -> ParameterServer {
    let init = Initializer::new(5, Spread::Uniform(-1.0, 1.0));
    ParameterServer::new(Backend::cpu(), shape(), storage(), &init).unwrap()
}

/// All columns that the optimizer keeps.
pub fn columns() -> [(TableName, Column); 4] {
    let of = |table| [(table, Column::Values), (table, Column::First)];
    let [a, b] = of(TableName::Entities);
    let [c, d] = of(TableName::Relations);
    [a, b, c, d]
}

/// Both tables, with the states of the optimizer.
#[derive(Clone, Debug, PartialEq)]
pub struct Tables(pub Vec<Vec<f32>>);

impl Tables {
    pub fn of(server: &ParameterServer) -> Tables {
        let read = |(table, column)| server.read(table, column).unwrap();
        Tables(columns().map(read).into())
    }

    pub fn write_to(&self, server: &ParameterServer) {
        for ((table, column), values) in columns().into_iter().zip(&self.0) {
            server.write(table, column, values).unwrap();
        }
    }

    fn row(&self, table: TableName, row: u32) -> &[f32] {
        let width = shape().width(table);
        &self.0[table as usize * 2][row as usize * width..][..width]
    }
}

/// The tables after every number of steps.
pub struct Model {
    after: Vec<Tables>,
}

impl Model {
    /// Makes all steps, by one holder of all shards.
    pub async fn make() -> Model {
        let server = server();
        let map = Arc::new(RowMap::new(&server.layout().await.unwrap()).unwrap());
        let shards: Vec<ShardId> = map.shards().collect();
        let held = HeldShards::new(Backend::cpu(), shape(), storage(), &map, &shards).unwrap();
        let first = Tables::of(&server);
        for &shard in &shards {
            for column in [Column::Values, Column::First] {
                let mut values = Vec::new();
                server
                    .read_shard_column(shard, column, &mut values)
                    .unwrap();
                held.write_column(shard, column, 0..map.range(shard).len(), &values)
                    .unwrap();
            }
        }
        let lanes: Vec<WorkerId> = (0..LANES).map(WorkerId).collect();
        let (mode, generation) = (UpdateMode::Sync { timeout: TIMEOUT }, Generation(1));
        held.configure(mode, generation, &lanes, 0);
        held.server().set_rate(RATE);
        let me = WorkerId(0);
        let client: Arc<dyn ShardClient> = Arc::new(held.clone());
        let holders = vec![vec![me]; shards.len()];
        let router = Router::new(Arc::clone(&map), holders, BTreeMap::from([(me, client)]));
        let mut after = vec![first];
        for step in 0..STEPS {
            for lane in 0..LANES {
                let done = compute(&router, generation, Step(step), lane, |_, _, _| {}).await;
                done.unwrap();
            }
            held.commit(generation, Step(step)).await.unwrap();
            let read = |(table, column)| {
                let mut all = vec![0.0; shape().rows(table) * shape().width(table)];
                let width = shape().width(table);
                for &shard in shards.iter().filter(|shard| shard.table == table) {
                    let mut values = Vec::new();
                    let rows = map.rows_of(shard);
                    held.read_column(shard, column, 0..rows.len(), &mut values)
                        .unwrap();
                    for (&row, values) in rows.iter().zip(values.chunks_exact(width)) {
                        all[row as usize * width..][..width].copy_from_slice(values);
                    }
                }
                all
            };
            after.push(Tables(columns().map(read).into()));
        }
        assert!(after.windows(2).all(|pair| pair[0] != pair[1]));
        Model { after }
    }

    /// The tables after a number of steps.
    pub fn after(&self, steps: u64) -> &Tables {
        &self.after[steps as usize]
    }

    /// Returns whether rows that were pulled for a step have the values of the model.
    pub fn agrees(&self, step: u64, table: TableName, rows: &[u32], values: &[f32]) -> bool {
        let Some(tables) = self.after.get(step as usize) else {
            return false;
        };
        let width = shape().width(table);
        let pulled = rows.iter().zip(values.chunks_exact(width));
        values.len() == rows.len() * width
            && pulled
                .into_iter()
                .all(|(&row, values)| tables.row(table, row) == values)
    }
}

/// Number made of a step, a lane and a place.
fn mixed(parts: [u64; 5]) -> u64 {
    let mut hash = 0x9e37_79b9_7f4a_7c15_u64;
    for part in parts {
        hash = (hash ^ part).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash ^= hash >> 32;
    }
    hash
}

/// Rows of a table that a lane of a step needs.
fn needed(step: Step, lane: u32, table: TableName) -> Vec<u32> {
    let rows = 0..shape().rows(table) as u32;
    let is = |&row: &u32| {
        mixed([step.0, u64::from(lane), table as u64, u64::from(row), 7]).is_multiple_of(2)
    };
    rows.filter(is).collect()
}

/// Computes a lane of a step: pulls its rows, and pushes gradients. `pulled` sees the rows.
pub async fn compute(
    router: &Router,
    generation: Generation,
    step: Step,
    lane: u32,
    mut pulled: impl FnMut(TableName, &[u32], &[f32]),
) -> Result<(), RouteError> {
    let caller = Caller {
        worker: WorkerId(lane),
        generation,
        step,
        layout: router.layout(),
    };
    let map = router.map();
    let mut gradients: BTreeMap<(TableName, u32), Vec<f32>> = BTreeMap::new();
    for table in TableName::ALL {
        let rows = needed(step, lane, table);
        let mut values = Vec::new();
        router.pull(caller, table, &rows, &mut values).await?;
        pulled(table, &rows, &values);
        let width = shape().width(table);
        for (&row, values) in rows.iter().zip(values.chunks_exact(width)) {
            let gradient = values.iter().zip(0..).map(|(value, column)| {
                let hash = mixed([
                    step.0,
                    u64::from(lane),
                    table as u64,
                    u64::from(row),
                    column,
                ]);
                (hash >> 40) as f32 / (1 << 23) as f32 - 1.0 + 0.25 * value
            });
            gradients.insert((table, row), gradient.collect());
        }
    }
    let squares = gradients.values().flatten().map(|g| f64::from(g * g)).sum();
    let parts = map.shards().map(|shard| {
        let (mut places, mut values) = (Vec::new(), Vec::new());
        for (place, &row) in (0..).zip(map.rows_of(shard).iter()) {
            if let Some(gradient) = gradients.get(&(shard.table, row)) {
                places.push(place);
                values.extend_from_slice(gradient);
            }
        }
        PushedPart {
            shard,
            places: Some(places),
            gradients: PushedRows::Values(values),
        }
    });
    let push = StepPush {
        caller,
        samples: 1.0,
        squares,
        parts: parts.collect(),
    };
    router.push(push).await
}
