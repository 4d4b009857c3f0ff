//! Shards of a model that one process of several holds.

use std::ops::Range;
use std::sync::Arc;

use super::{
    Answer, Caller, Generation, Initializer, Layout, LayoutVersion, ParameterServer, PullRequest,
    Pulled, PushRequest, RowMap, ServerError, Shape, ShardClient, ShardId, Step, Storage,
    TableName, UpdateMode, WorkerId,
};
use crate::kernel::{Backend, Column, KernelError, ShardLayout, Table, TableSpec};

/// Shards of a model that this process holds. Callers name rows and shards as in the whole model.
///
/// A clone is cheap and shares the shards. Updates are sync: a push waits for [`ShardClient::commit`].
#[derive(Clone, Debug)]
pub struct HeldShards {
    map: Arc<RowMap>,
    /// Held shards, ascending. Their position, counted in their table, is their number in `server`.
    held: Arc<[ShardId]>,
    /// Number of each shard of the model in the server; `None` for shards that others hold.
    numbers: Arc<[Option<usize>]>,
    server: ParameterServer,
    /// Shape of the whole model.
    shape: Shape,
}

/// Values that are initialized at once; at least one row.
const INITIALIZED: usize = 1 << 18;

impl HeldShards {
    /// Makes shards of a model, all zero, on a device. `shape` is that of the whole model.
    ///
    /// # Errors
    /// [`ServerError::NoShard`] if the model does not have one of the shards; [`ServerError::Kernel`] if the
    /// device cannot hold them.
    pub fn new(
        backend: Backend,
        shape: Shape,
        storage: Storage,
        map: &Arc<RowMap>,
        held: &[ShardId],
    ) -> Result<HeldShards, ServerError> {
        let mut held = held.to_vec();
        held.sort_unstable();
        held.dedup();
        let mut numbers = vec![None; map.shards().count()];
        let mut counts = [0; 2];
        for &shard in &held {
            let shards = map.shard_layout(shard.table).shards();
            if shard.shard >= shards {
                return Err(ServerError::NoShard {
                    table: shard.table,
                    shard: shard.shard,
                    shards,
                });
            }
            let count = &mut counts[shard.table as usize];
            numbers[map.index(shard)] = Some(*count);
            *count += 1;
        }
        Ok(HeldShards {
            server: ParameterServer::of_shards(backend, shape, storage, map, &held)?,
            shape,
            map: Arc::clone(map),
            held: held.into(),
            numbers: numbers.into(),
        })
    }

    /// Bytes of shards of a model on a device, with the optimizer's states.
    pub fn bytes(storage: Storage, map: &RowMap, shards: &[ShardId]) -> u64 {
        let of = |&shard: &ShardId| {
            let spec = TableSpec {
                name: shard.table.name(),
                width: map.width(shard.table),
                layout: ShardLayout::from_sizes(&[map.range(shard).len()]),
                optimizer: storage.optimizer,
                dtype: storage.dtype,
            };
            (spec.layout.rows() * spec.row_bytes()) as u64
        };
        shards.iter().map(of).sum()
    }

    /// The held shards, ascending.
    pub fn shards(&self) -> &[ShardId] {
        &self.held
    }

    /// Places of all rows of the model.
    pub fn map(&self) -> &Arc<RowMap> {
        &self.map
    }

    /// Returns whether a shard is held here.
    pub fn holds(&self, shard: ShardId) -> bool {
        self.number(shard).is_some()
    }

    /// The server of the held shards, whose numbers of rows and shards are its own.
    pub fn server(&self) -> &ParameterServer {
        &self.server
    }

    /// Sets the generation, its workers (lanes), and the number of steps made. Staged gradients are discarded.
    pub fn configure(
        &self,
        mode: UpdateMode,
        generation: Generation,
        workers: &[WorkerId],
        steps: u64,
    ) {
        self.server.configure(mode, generation, workers);
        self.server.set_steps(steps);
    }

    /// Bytes of a row of a shard's column, in f32; 0 if the optimizer does not keep the column.
    pub fn column_width(&self, table: TableName, column: Column) -> usize {
        column.width(self.server.tables().table(table).spec())
    }

    /// Reads places of a shard's column, row-major, to `out`, whose content is replaced.
    ///
    /// # Errors
    /// [`ServerError::NotHeld`]; [`ServerError::Kernel`] if a place does not exist, or the device is lost.
    pub fn read_column(
        &self,
        shard: ShardId,
        column: Column,
        places: Range<usize>,
        out: &mut Vec<f32>,
    ) -> Result<(), ServerError> {
        let rows = self.rows(shard, places)?;
        let tables = self.server.tables();
        Ok(tables.table(shard.table).read_part(column, rows, out)?)
    }

    /// Replaces places of a shard's column.
    ///
    /// # Errors
    /// See [`HeldShards::read_column`]; [`ServerError::Kernel`] if `values` do not have their size.
    pub fn write_column(
        &self,
        shard: ShardId,
        column: Column,
        places: Range<usize>,
        values: &[f32],
    ) -> Result<(), ServerError> {
        let rows = self.rows(shard, places)?;
        let tables = self.server.tables();
        Ok(tables.table(shard.table).write_part(column, rows, values)?)
    }

    /// Gives a shard its rows at the start of a run: values of `init`, and states of zero.
    ///
    /// # Errors
    /// [`ServerError::NotHeld`]; [`ServerError::Kernel`] if the device is lost.
    pub fn initialize(&self, shard: ShardId, init: &Initializer) -> Result<(), ServerError> {
        let width = self.map.width(shard.table);
        let each = (INITIALIZED / width.max(1)).max(1);
        let rows = self.map.rows_of(shard);
        let mut values = Vec::new();
        for (number, rows) in rows.chunks(each).enumerate() {
            values.clear();
            values.resize(rows.len() * width, 0.0);
            init.fill(&self.shape, shard.table, rows.iter().copied(), &mut values);
            let first = number * each;
            self.write_column(shard, Column::Values, first..first + rows.len(), &values)?;
        }
        Ok(())
    }

    /// A held shard as a table of its own, in the memory of the shard: the table changes with the shard.
    ///
    /// # Errors
    /// [`ServerError::NotHeld`]; [`ServerError::Kernel`] if the device is lost.
    pub fn shard_table(&self, shard: ShardId) -> Result<Table, ServerError> {
        let number = self.local(shard)?.shard;
        let tables = self.server.tables();
        let table = tables.table(shard.table);
        let range = table.spec().layout.range(number);
        let layout = ShardLayout::from_sizes(&[range.len()]);
        let rows: Vec<u32> = (range.start as u32..range.end as u32).collect();
        Ok(table
            .device(number)
            .rearrange(table.whole()?, &layout, &rows)?)
    }

    fn number(&self, shard: ShardId) -> Option<usize> {
        let known = shard.shard < self.map.shard_layout(shard.table).shards();
        known.then(|| self.numbers[self.map.index(shard)]).flatten()
    }

    /// A shard by its number in [`HeldShards::server`].
    ///
    /// # Errors
    /// [`ServerError::NotHeld`].
    pub fn local(&self, shard: ShardId) -> Result<ShardId, ServerError> {
        let number = self.number(shard).ok_or(ServerError::NotHeld { shard })?;
        Ok(ShardId {
            shard: number,
            ..shard
        })
    }

    /// Storage rows of the server that hold places of a shard.
    fn rows(&self, shard: ShardId, places: Range<usize>) -> Result<Range<usize>, ServerError> {
        let local = self.local(shard)?;
        let tables = self.server.tables();
        let range = tables.layout(shard.table).range(local.shard);
        if places.end > range.len() || places.start > places.end {
            return Err(KernelError::Row {
                table: shard.table.name(),
                row: places.end.saturating_sub(1) as u32,
                rows: range.len(),
            }
            .into());
        }
        Ok(range.start + places.start..range.start + places.end)
    }

    /// Checks that a caller has the map's layout, and gives it the server's own.
    fn caller(&self, caller: Caller) -> Result<Caller, ServerError> {
        if caller.layout != self.map.version() {
            return Err(ServerError::LayoutChanged);
        }
        Ok(Caller {
            layout: self.layout_here(),
            ..caller
        })
    }

    fn layout_here(&self) -> LayoutVersion {
        self.server.layout_version()
    }
}

impl ShardClient for HeldShards {
    /// The layout of the whole model.
    fn layout(&self) -> Answer<'_, Layout> {
        Box::pin(async { Ok(self.map.layout()) })
    }

    fn begin(&self, caller: Caller) -> Answer<'_, ()> {
        Box::pin(async move { ShardClient::begin(&self.server, self.caller(caller)?).await })
    }

    /// Reads rows of held shards; fails with [`ServerError::NotHeld`] for a row of another.
    fn pull(&self, request: PullRequest) -> Answer<'_, Pulled> {
        Box::pin(async move {
            let PullRequest {
                caller,
                table,
                rows,
            } = request;
            let mut values = Vec::new();
            self.pull_into(caller, table, &rows, &mut values).await?;
            Ok(Pulled { values })
        })
    }

    fn pull_into<'a>(
        &'a self,
        caller: Caller,
        table: TableName,
        rows: &'a [u32],
        out: &'a mut Vec<f32>,
    ) -> Answer<'a, ()> {
        Box::pin(async move {
            let caller = self.caller(caller)?;
            let tables = self.server.tables();
            let layout = tables.layout(table);
            let here = rows.iter().map(|&row| {
                let (shard, place) = self.map.locate(table, row)?;
                let local = self.local(ShardId { table, shard })?;
                Ok((layout.range(local.shard).start + place) as u32)
            });
            let rows = here.collect::<Result<Vec<u32>, ServerError>>()?;
            ShardClient::pull_into(&self.server, caller, table, &rows, out).await
        })
    }

    /// Hands over gradients for every held shard.
    fn push(&self, request: PushRequest) -> Answer<'_, ()> {
        Box::pin(async move {
            let caller = self.caller(request.caller)?;
            let mut parts = request.parts;
            for part in &mut parts {
                part.shard = self.local(part.shard)?;
            }
            parts.sort_by_key(|part| part.shard);
            let request = PushRequest {
                caller,
                parts,
                ..request
            };
            ShardClient::push(&self.server, request).await
        })
    }

    fn commit(&self, generation: Generation, step: Step) -> Answer<'_, ()> {
        ShardClient::commit(&self.server, generation, step)
    }

    fn abort(&self) -> Answer<'_, ()> {
        ShardClient::abort(&self.server)
    }
}
