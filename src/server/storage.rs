//! Storage of a server's rows, and construction of a server.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, RwLock};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::sync::state::{ServerState, ShardState};
use super::table::devices::ShardDevices;
use super::table::sharded_table::ShardedTable;
use super::table::tables::Tables;
use super::{
    Combination, DeviceCapacity, Generation, Initializer, Inner, LayoutVersion, ParameterServer,
    PlacementError, RowMap, ServerError, Shape, ShardAssignment, ShardError, ShardId, ShardManager,
    ShardingStrategy, UpdateMode,
};
use crate::kernel::{Backend, Dtype, KernelError, ShardLayout, TableName, TableSpec};
use crate::optim::OptimizerKind;

/// Options for the storage of a server's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storage {
    /// Optimizer of the server; decides which states are kept for every row.
    pub optimizer: OptimizerKind,
    /// Strategy that spreads the rows of entities over shards. Results do not depend on it.
    pub sharding: ShardingStrategy,
    /// Minimum number of entity shards; a device's limits on buffers may require more. Relations have as few
    /// shards as these limits allow.
    pub shards: usize,
    /// Type of the stored values.
    pub dtype: Dtype,
}

/// Adagrad, in one shard of `f32`.
impl Default for Storage {
    fn default() -> Storage {
        Storage {
            optimizer: OptimizerKind::Adagrad,
            sharding: ShardingStrategy::Range,
            shards: 1,
            dtype: Dtype::F32,
        }
    }
}

/// Minimum number of entity shards per device, on average, where there are several devices: with fewer, loads
/// cannot follow the devices' speeds.
pub const SHARDS_EACH: usize = 4;

/// Checks that there are not more shards than rows.
pub(super) fn check_shards(rows: usize, shards: usize) -> Result<(), ShardError> {
    match shards > rows.max(1) {
        true => Err(ShardError::TooFine { rows, shards }),
        false => Ok(()),
    }
}

impl ParameterServer {
    /// Makes both tables, on one device.
    ///
    /// # Errors
    /// [`ServerError::Shards`] for 0 shards, or more shards than entities; [`ServerError::Kernel`] if the
    /// device cannot hold the tables.
    pub fn new(
        backend: Backend,
        shape: Shape,
        storage: Storage,
        init: &Initializer,
    ) -> Result<ParameterServer, ServerError> {
        Self::on(ShardDevices::one(backend), shape, storage, Some(init))
    }

    /// Makes a server on one device that knows the layout of both tables, but has no rows: other processes hold
    /// them. Reads and writes fail until [`ParameterServer::make_room`].
    ///
    /// # Errors
    /// [`ServerError::Shards`] for 0 shards, or more shards than entities.
    pub fn without_rows(
        backend: Backend,
        shape: Shape,
        storage: Storage,
    ) -> Result<ParameterServer, ServerError> {
        Self::on(ShardDevices::one(backend), shape, storage, None)
    }

    /// Makes both tables, with each shard on the device that [`place`](super::place) chooses. Entities have at
    /// least [`SHARDS_EACH`] shards per device, if they have that many rows.
    ///
    /// Results are the same as on one device, except for the last digits where devices round differently.
    ///
    /// # Errors
    /// See [`ParameterServer::new`]; [`ServerError::Placement`] for no device, or if the devices do not have
    /// enough memory.
    pub fn on_devices(
        devices: Vec<(Backend, DeviceCapacity)>,
        shape: Shape,
        storage: Storage,
        init: &Initializer,
    ) -> Result<ParameterServer, ServerError> {
        if devices.is_empty() {
            let shards = storage.shards;
            let (table, source) = (TableName::Entities, PlacementError::NoDevices { shards });
            return Err(ServerError::Placement { table, source });
        }
        let least = (SHARDS_EACH * devices.len()).min(shape.entities);
        let storage = Storage {
            shards: storage.shards.max(least),
            ..storage
        };
        Self::on(ShardDevices::new(devices), shape, storage, Some(init))
    }

    fn on(
        devices: ShardDevices,
        shape: Shape,
        storage: Storage,
        init: Option<&Initializer>,
    ) -> Result<ParameterServer, ServerError> {
        let Storage {
            optimizer,
            sharding,
            shards,
            dtype,
        } = storage;
        check_shards(shape.entities, shards)?;
        let most_rows = |table| devices.most_rows(shape.width(table));
        let most_entities = most_rows(TableName::Entities);
        let manager = ShardManager::fitting(sharding, shape.entities, shards, most_entities)?;
        let assignment = Arc::clone(manager.assignment());
        let spec = |table: TableName, layout| TableSpec {
            name: table.name(),
            width: shape.width(table),
            layout,
            optimizer,
            dtype,
        };
        let entities = spec(TableName::Entities, assignment.layout());
        let relations = ShardLayout::new(
            shape.rows(TableName::Relations),
            1,
            most_rows(TableName::Relations),
        );
        let relations = spec(TableName::Relations, relations);
        let none = vec![0; devices.engines.len()];
        let of_entities = devices.place(TableName::Entities, &entities, &none)?;
        let kept = devices.kept(&entities, of_entities.iter().copied());
        let of_relations = devices.place(TableName::Relations, &relations, &kept)?;
        let (entities, relations) = match init {
            Some(init) => {
                let fill = &mut |first: usize, values: &mut [f32]| {
                    let rows = &assignment.rows_in_storage()[first..];
                    init.fill(&shape, TableName::Entities, rows.iter().copied(), values);
                };
                let entities = ShardedTable::new(&devices.engines, entities, &of_entities, fill)?;
                // Random bits follow row numbers, so that they do not depend on the shards.
                entities.name_rows(assignment.rows_in_storage())?;
                let fill = &mut |first: usize, values: &mut [f32]| {
                    init.fill(&shape, TableName::Relations, first as u32.., values);
                };
                let relations =
                    ShardedTable::new(&devices.engines, relations, &of_relations, fill)?;
                (entities, relations)
            }
            None => (
                ShardedTable::without_rows(&devices.engines, entities, &of_entities),
                ShardedTable::without_rows(&devices.engines, relations, &of_relations),
            ),
        };
        let tables = Tables {
            shape,
            entities,
            relations: Arc::new(relations),
            assignment,
            version: LayoutVersion::next(),
        };
        Ok(ParameterServer::with(tables, manager, devices))
    }

    /// Makes a server on one device of some shards of a larger model, all zero: `held` ascend, and are the
    /// server's shards in this order. Its row numbers count the rows of these shards alone. The numbers that
    /// `map` gives the rows seed their stochastic rounding.
    ///
    /// # Errors
    /// [`ServerError::Kernel`] if the device cannot hold the shards.
    pub(super) fn of_shards(
        backend: Backend,
        shape: Shape,
        storage: Storage,
        map: &RowMap,
        held: &[ShardId],
    ) -> Result<ParameterServer, ServerError> {
        let devices = ShardDevices::one(backend);
        let of = |table: TableName| held.iter().filter(move |shard| shard.table == table);
        let sizes = |table| -> Vec<usize> {
            let sizes = of(table).map(|&shard| map.range(shard).len());
            sizes.collect()
        };
        let table = |table: TableName, layout: ShardLayout| {
            let spec = TableSpec {
                name: table.name(),
                width: map.width(table),
                layout,
                optimizer: storage.optimizer,
                dtype: storage.dtype,
            };
            let placement = vec![0; spec.layout.shards()];
            let zero = &mut |_: usize, values: &mut [f32]| values.fill(0.0);
            let made = ShardedTable::new(&devices.engines, spec, &placement, zero)?;
            let names = of(table).flat_map(|&shard| map.rows_of(shard).into_owned());
            made.name_rows(&names.collect::<Vec<u32>>())?;
            Ok::<_, KernelError>(made)
        };
        let assignment = Arc::new(ShardAssignment::in_order(&sizes(TableName::Entities)));
        let relations = ShardLayout::from_sizes(&sizes(TableName::Relations));
        let tables = Tables {
            shape: Shape {
                entities: assignment.rows(),
                relations: relations.rows().saturating_sub(shape.core_rows()),
                ..shape
            },
            entities: table(TableName::Entities, assignment.layout())?,
            relations: Arc::new(table(TableName::Relations, relations)?),
            assignment: Arc::clone(&assignment),
            version: LayoutVersion::next(),
        };
        let manager = ShardManager::from(assignment);
        Ok(ParameterServer::with(tables, manager, devices))
    }

    fn with(tables: Tables, manager: ShardManager, devices: ShardDevices) -> ParameterServer {
        let states = tables
            .shards()
            .map(|id| ShardState::new(id, tables.layout(id.table).range(id.shard).len(), 0));
        let state = ServerState {
            mode: UpdateMode::default(),
            combination: Combination::default(),
            generation: Generation(0),
            workers: Arc::default(),
            shards: states.collect(),
            assignment: Arc::clone(&tables.assignment),
            moving: false,
            rate: 0.1,
            waiting: BTreeMap::new(),
            pushed: BTreeMap::new(),
        };
        ParameterServer {
            inner: Arc::new(Inner {
                shape: tables.shape,
                manager: RwLock::new(manager),
                tables: RwLock::new(Arc::new(tables)),
                devices,
                state: Mutex::new(state),
                changed: Notify::new(),
                pool: Mutex::default(),
                started: Instant::now(),
            }),
        }
    }
}
