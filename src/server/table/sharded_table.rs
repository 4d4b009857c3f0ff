//! A table whose shards lie on one device or several.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::kernel::{Backend, Column, KernelError, Places, Push, ShardLayout, Table, TableSpec};
use crate::optim::OptimizerStep;

/// The shards of one table on their devices.
#[derive(Debug)]
pub(crate) struct ShardedTable {
    spec: TableSpec,
    devices: Arc<[Backend]>,
    by_device: Vec<DeviceTable>,
    /// For every shard: the index of its device table, and the number of the shard in that table.
    homes: Vec<(usize, usize)>,
    /// Changes after every change of a value through this type.
    version: AtomicU64,
}

/// Shards of one device, as one table.
#[derive(Debug)]
struct DeviceTable {
    device: usize,
    /// The rows; `None` if they are not in this process.
    rows: Option<Table>,
    /// Layout of the rows.
    layout: ShardLayout,
    /// Numbers of these shards in the whole table, ascending.
    shards: Vec<usize>,
}

/// Source of versions: no two states of any tables have the same one.
static VERSIONS: AtomicU64 = AtomicU64::new(0);

fn next_version() -> u64 {
    VERSIONS.fetch_add(1, Ordering::Relaxed)
}

impl DeviceTable {
    /// The rows.
    ///
    /// # Errors
    /// [`KernelError::NoRows`].
    fn table(&self, spec: &TableSpec) -> Result<&Table, KernelError> {
        let table = spec.name;
        self.rows.as_ref().ok_or(KernelError::NoRows { table })
    }

    /// Storage rows of the whole table that lie on this device, shard by shard.
    fn ranges(&self, layout: &ShardLayout) -> impl Iterator<Item = Range<usize>> {
        self.shards.iter().map(|&shard| layout.range(shard))
    }
}

impl ShardedTable {
    /// Makes the shards of a table, each on the device that `placement` names. `fill` writes the values of
    /// consecutive storage rows, given the first; states start at zero. Until [`name_rows`](Self::name_rows) is
    /// called, stochastic rounding of a row is seeded by its storage row.
    ///
    /// # Errors
    /// If a device cannot hold its shards.
    pub fn new(
        devices: &Arc<[Backend]>,
        spec: TableSpec,
        placement: &[usize],
        fill: &mut dyn FnMut(usize, &mut [f32]),
    ) -> Result<ShardedTable, KernelError> {
        let mut table = ShardedTable::without_rows(devices, spec, placement);
        for device_table in &mut table.by_device {
            let device = &devices[device_table.device];
            let made = create_device_table(device, &table.spec, &device_table.shards, fill)?;
            device_table.rows = Some(made);
        }
        if table.alone().is_none() {
            let rows: Vec<u32> = (0..table.spec.layout.rows() as u32).collect();
            table.name_rows(&rows)?;
        }
        Ok(table)
    }

    /// Describes the shards of a table whose rows are not in this process. Rows cannot be read or written.
    pub fn without_rows(
        devices: &Arc<[Backend]>,
        spec: TableSpec,
        placement: &[usize],
    ) -> ShardedTable {
        let mut homes = vec![(0, 0); placement.len()];
        let mut by_device = Vec::new();
        for device in 0..devices.len() {
            let here = (0..placement.len()).filter(|&shard| placement[shard] == device);
            let shards: Vec<usize> = here.collect();
            // Devices without shards are left out, but a table without shards lies on the first device.
            let idle = shards.is_empty() && !(placement.is_empty() && device == 0);
            if idle {
                continue;
            }
            for (number, &shard) in shards.iter().enumerate() {
                homes[shard] = (by_device.len(), number);
            }
            by_device.push(DeviceTable {
                device,
                rows: None,
                layout: device_layout(&spec, &shards),
                shards,
            });
        }
        ShardedTable {
            spec,
            devices: Arc::clone(devices),
            by_device,
            homes,
            version: AtomicU64::new(next_version()),
        }
    }

    /// Engines of the devices that may hold shards.
    pub fn devices(&self) -> &Arc<[Backend]> {
        &self.devices
    }

    /// Returns whether the rows are in this process.
    pub fn has_rows(&self) -> bool {
        self.by_device.iter().all(|table| table.rows.is_some())
    }

    /// Description of the whole table.
    pub fn spec(&self) -> &TableSpec {
        &self.spec
    }

    /// Version of the values: differs after every change, except changes by an engine that was given the
    /// [whole](Self::whole) table.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The table, if it lies on one device.
    ///
    /// # Errors
    /// [`KernelError::ForeignTable`] if the table lies on several devices: no engine can use it then.
    pub fn whole(&self) -> Result<&Table, KernelError> {
        match self.alone() {
            Some(device_table) => device_table.table(&self.spec),
            None => Err(KernelError::ForeignTable { engine: "server's" }),
        }
    }

    /// Engine on the device that holds a shard.
    pub fn device(&self, shard: usize) -> &Backend {
        &self.devices[self.by_device[self.homes[shard].0].device]
    }

    /// Number of the device that holds a shard.
    pub fn device_index(&self, shard: usize) -> usize {
        self.by_device[self.homes[shard].0].device
    }

    /// Reads all rows of a column, in storage order.
    pub fn read(&self, column: Column) -> Result<Vec<f32>, KernelError> {
        let mut out = Vec::new();
        self.read_part(column, 0..self.spec.layout.rows(), &mut out)?;
        Ok(out)
    }

    /// Reads successive storage rows of a column to `out`, whose content is replaced.
    pub fn read_part(
        &self,
        column: Column,
        rows: Range<usize>,
        out: &mut Vec<f32>,
    ) -> Result<(), KernelError> {
        if let Some(device_table) = self.alone() {
            return self.devices[device_table.device].read_part(
                device_table.table(&self.spec)?,
                column,
                rows,
                out,
            );
        }
        self.check_range(&rows)?;
        let width = column.width(&self.spec);
        out.resize(rows.len() * width, 0.0);
        let mut values = Vec::new();
        for (shard, places, part) in self.spec.layout.parts(rows) {
            let (device_table, number) = self.home(shard);
            let first = device_table.layout.range(number).start;
            let here = first + places.start..first + places.end;
            let device = &self.devices[device_table.device];
            let table = device_table.table(&self.spec)?;
            device.read_part(table, column, here, &mut values)?;
            out[part.start * width..part.end * width].copy_from_slice(&values);
        }
        Ok(())
    }

    /// Replaces all rows of a column by `data`, in storage order.
    pub fn write(&self, column: Column, data: &[f32]) -> Result<(), KernelError> {
        self.write_part(column, 0..self.spec.layout.rows(), data)
    }

    /// Replaces successive storage rows of a column.
    pub fn write_part(
        &self,
        column: Column,
        rows: Range<usize>,
        data: &[f32],
    ) -> Result<(), KernelError> {
        if let Some(device_table) = self.alone() {
            self.devices[device_table.device].write_part(
                device_table.table(&self.spec)?,
                column,
                rows,
                data,
            )?;
        } else {
            self.check_range(&rows)?;
            let width = column.width(&self.spec);
            KernelError::check_shape(self.spec.name, rows.len() * width, data.len())?;
            for (shard, places, part) in self.spec.layout.parts(rows) {
                let (device_table, number) = self.home(shard);
                let first = device_table.layout.range(number).start;
                let here = first + places.start..first + places.end;
                let data = &data[part.start * width..part.end * width];
                self.devices[device_table.device].write_part(
                    device_table.table(&self.spec)?,
                    column,
                    here,
                    data,
                )?;
            }
        }
        self.changed();
        Ok(())
    }

    /// Reads the values of a shard's rows, in its order, to `out`, whose content is replaced.
    pub fn read_shard(&self, shard: usize, out: &mut Vec<f32>) -> Result<(), KernelError> {
        let (device_table, number) = self.home(shard);
        let table = device_table.table(&self.spec)?;
        self.devices[device_table.device].read_shard(table, number, out)
    }

    /// Reads the values of storage rows, in the given order, to `out`, whose content is replaced.
    pub fn read_rows(&self, rows: &[u32], out: &mut Vec<f32>) -> Result<(), KernelError> {
        if let Some(device_table) = self.alone() {
            let table = device_table.table(&self.spec)?;
            return self.devices[device_table.device].read_rows(table, rows, out);
        }
        let (layout, width) = (&self.spec.layout, self.spec.width);
        self.check(rows.iter().copied())?;
        let mut asked = vec![(Vec::new(), Vec::new()); self.by_device.len()];
        for (at, &row) in rows.iter().enumerate() {
            let (shard, place) = layout.locate(row);
            let (index, number) = self.homes[shard];
            let here = &self.by_device[index].layout;
            let (ats, rows) = &mut asked[index];
            ats.push(at);
            rows.push((here.range(number).start + place) as u32);
        }
        out.clear();
        out.resize(rows.len() * width, 0.0);
        let mut values = Vec::new();
        for (device_table, (ats, rows)) in self.by_device.iter().zip(&asked) {
            if rows.is_empty() {
                continue;
            }
            let table = device_table.table(&self.spec)?;
            self.devices[device_table.device].read_rows(table, rows, &mut values)?;
            for (&at, row) in ats.iter().zip(values.chunks_exact(width)) {
                out[at * width..][..width].copy_from_slice(row);
            }
        }
        Ok(())
    }

    /// See [`Backend::push`].
    pub fn push(
        &self,
        step: OptimizerStep,
        shard: usize,
        pushes: &[Push<'_>],
    ) -> Result<(), KernelError> {
        let (device_table, number) = self.home(shard);
        let table = device_table.table(&self.spec)?;
        let pushed = self.devices[device_table.device].push(step, table, number, pushes);
        self.changed();
        pushed
    }

    /// See [`Backend::push_rows`].
    pub fn push_rows(
        &self,
        step: OptimizerStep,
        shard: usize,
        places: Places<'_>,
        gradients: &[f32],
    ) -> Result<(), KernelError> {
        let (device_table, number) = self.home(shard);
        let device = &self.devices[device_table.device];
        let table = device_table.table(&self.spec)?;
        let pushed = device.push_rows(step, table, number, places, gradients);
        self.changed();
        pushed
    }

    /// See [`Backend::name_rows`]; `names` are in storage order.
    pub fn name_rows(&self, names: &[u32]) -> Result<(), KernelError> {
        KernelError::check_shape(self.spec.name, self.spec.layout.rows(), names.len())?;
        for device_table in &self.by_device {
            let ranges = device_table.ranges(&self.spec.layout);
            let here: Vec<u32> = ranges.flat_map(|range| &names[range]).copied().collect();
            let table = device_table.table(&self.spec)?;
            self.devices[device_table.device].name_rows(table, &here)?;
        }
        Ok(())
    }

    /// Makes a table with the same rows and states in another order, other shards and other devices: row `i` of
    /// the new table is row `from[i]` of this one, and `names[i]` is its row number. Within a device, rows are
    /// copied there; between devices, through the host, one column at a time.
    ///
    /// # Errors
    /// See [`Backend::rearrange`]. This table stays unchanged.
    pub fn rearrange(
        &self,
        layout: ShardLayout,
        placement: &[usize],
        from: &[u32],
        names: &[u32],
    ) -> Result<ShardedTable, KernelError> {
        let stays = |device_table: &&DeviceTable| {
            placement
                .iter()
                .all(|&device| device == device_table.device)
        };
        let spec = TableSpec {
            layout,
            ..self.spec.clone()
        };
        if let Some(device_table) = self.alone().filter(stays) {
            let device = &self.devices[device_table.device];
            return Ok(ShardedTable {
                devices: Arc::clone(&self.devices),
                by_device: vec![DeviceTable {
                    device: device_table.device,
                    rows: Some(device.rearrange(
                        device_table.table(&self.spec)?,
                        &spec.layout,
                        from,
                    )?),
                    layout: spec.layout.clone(),
                    shards: (0..spec.layout.shards()).collect(),
                }],
                homes: (0..spec.layout.shards()).map(|shard| (0, shard)).collect(),
                version: AtomicU64::new(next_version()),
                spec,
            });
        }
        let column = |column: Column| {
            let (width, old) = (column.width(&self.spec), self.read(column)?);
            let mut new = Vec::with_capacity(from.len() * width);
            for &row in from {
                new.extend_from_slice(&old[row as usize * width..][..width]);
            }
            Ok::<_, KernelError>((width, new))
        };
        let (width, values) = column(Column::Values)?;
        let table = ShardedTable::new(&self.devices, spec, placement, &mut |first, rows| {
            rows.copy_from_slice(&values[first * width..][..rows.len()]);
        })?;
        drop(values);
        for state in [Column::First, Column::Second] {
            if state.width(&self.spec) > 0 {
                table.write(state, &column(state)?.1)?;
            }
        }
        table.name_rows(names)?;
        Ok(table)
    }

    /// Checks that successive storage rows exist.
    pub fn check_range(&self, rows: &Range<usize>) -> Result<(), KernelError> {
        let last = rows.end.checked_sub(1).filter(|_| !rows.is_empty());
        self.check(last.map(|row| u32::try_from(row).unwrap_or(u32::MAX)))
    }

    /// Checks that storage rows exist.
    fn check(&self, rows: impl IntoIterator<Item = u32>) -> Result<(), KernelError> {
        let end = self.spec.layout.rows();
        match rows.into_iter().find(|&row| row as usize >= end) {
            None => Ok(()),
            Some(row) => Err(KernelError::Row {
                table: self.spec.name,
                row,
                rows: end,
            }),
        }
    }

    /// The only device table, if all shards lie on one device.
    fn alone(&self) -> Option<&DeviceTable> {
        match &self.by_device[..] {
            [device_table] => Some(device_table),
            _ => None,
        }
    }

    fn home(&self, shard: usize) -> (&DeviceTable, usize) {
        let (index, number) = self.homes[shard];
        (&self.by_device[index], number)
    }

    fn changed(&self) {
        self.version.store(next_version(), Ordering::Release);
    }
}

/// Layout of one device's shards.
fn device_layout(whole: &TableSpec, shards: &[usize]) -> ShardLayout {
    let sizes = shards.iter().map(|&shard| whole.layout.range(shard).len());
    ShardLayout::from_sizes(&sizes.collect::<Vec<_>>())
}

/// Makes the table of one device's shards.
fn create_device_table(
    device: &Backend,
    whole: &TableSpec,
    shards: &[usize],
    fill: &mut dyn FnMut(usize, &mut [f32]),
) -> Result<Table, KernelError> {
    let spec = TableSpec {
        layout: device_layout(whole, shards),
        ..whole.clone()
    };
    let here = spec.layout.clone();
    device.create_table(&spec, &mut |mut first, mut rows| {
        // Rows that are consecutive on the device may belong to shards that are apart in the whole table.
        while !rows.is_empty() {
            let (number, place) = here.locate(first as u32);
            let range = whole.layout.range(shards[number]);
            let count = (range.len() - place).min(rows.len() / spec.width);
            let (now, later) = std::mem::take(&mut rows).split_at_mut(count * spec.width);
            fill(range.start + place, now);
            first += count;
            rows = later;
        }
    })
}
