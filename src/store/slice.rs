//! Parts of lists, by ranks.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::StoreError;

/// Part of a list: of `of` equal shares, those from `start` to `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slice {
    /// First share, from 0.
    pub start: u32,
    /// Share after the last.
    pub end: u32,
    /// Number of shares of the whole list.
    pub of: u32,
}

impl Default for Slice {
    fn default() -> Slice {
        Slice::WHOLE
    }
}

impl Slice {
    /// The whole list.
    pub const WHOLE: Slice = Slice {
        start: 0,
        end: 1,
        of: 1,
    };

    /// Rows of a list of `len` rows: from ⌊len · start / of⌋ to ⌊len · end / of⌋.
    ///
    /// # Errors
    /// If there are no shares, or the slice is not within them.
    pub fn rows(&self, len: u32) -> Result<Range<u32>, StoreError> {
        let Slice { start, end, of } = *self;
        if of == 0 || start > end || end > of {
            let what = format!(
                "shares {start} to {end} of {of}; the first is at most the last, and that at most all"
            );
            return Err(StoreError::setting("slice", what));
        }
        let row = |share: u32| (u64::from(len) * u64::from(share) / u64::from(of)) as u32;
        Ok(row(start)..row(end))
    }

    /// Slice of a server's list that a rank reads. The lists of `servers` servers are laid end to end and cut into as
    /// many equal parts as there are ranks; the slice is empty if the rank's part has none of the server's list.
    ///
    /// # Errors
    /// If there is no such server or rank.
    pub fn of_rank(server: u32, servers: u32, world: World) -> Result<Slice, StoreError> {
        world.check()?;
        if server >= servers {
            let what = format!("server {server} of {servers}; servers are numbered from 0");
            return Err(StoreError::setting("server", what));
        }
        // A line of servers · ranks units: each server has as many units as there are ranks, and the other way round.
        let (rank, size) = (u64::from(world.rank), u64::from(world.size));
        let (server, servers) = (u64::from(server), u64::from(servers));
        let within = |unit: u64| unit.clamp(server * size, (server + 1) * size) - server * size;
        Ok(Slice {
            start: within(rank * servers) as u32,
            end: within((rank + 1) * servers) as u32,
            of: world.size,
        })
    }
}

/// Rank among the trainers of a loader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct World {
    /// Number of the rank, from 0.
    pub rank: u32,
    /// Number of ranks.
    pub size: u32,
}

impl Default for World {
    fn default() -> World {
        World { rank: 0, size: 1 }
    }
}

impl World {
    /// Checks that the rank is in the world.
    ///
    /// # Errors
    /// If the rank is not below the size.
    pub fn check(&self) -> Result<(), StoreError> {
        let World { rank, size } = *self;
        if rank < size {
            return Ok(());
        }
        let what = format!("rank {rank} of {size}; ranks are numbered from 0");
        Err(StoreError::setting("world", what))
    }
}
