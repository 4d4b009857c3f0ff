//! Calls of a client that joins parts: rows and facts of the part that this server has.

use std::sync::Arc;

use bytes::Bytes;
use tonic::Status;

use super::calls::{Calls, chunks, counted, json, numbers};
use super::chunks::Chunks;
use super::message::{FactsRequest, RowsRequest};
use super::row_bytes;
use super::status::status;
use crate::neighborhood::RowRequest;
use crate::store::{Scratch, Source, StoreError};

impl Calls {
    /// Refuses requests for another graph; 0 is any.
    pub fn meant(&self, digest: u64) -> Result<(), Status> {
        let (found, expected) = (self.0.description.digest, digest);
        match expected == 0 || found == expected {
            true => Ok(()),
            false => Err(status(&StoreError::OtherGraph { found, expected })),
        }
    }

    pub async fn rows(self, request: RowsRequest) -> Result<Chunks, Status> {
        self.meant(request.digest)?;
        let mut asked: RowRequest = json("request", &request.request)?;
        asked.nodes = numbers("nodes", &request.nodes)?;
        asked.places = numbers("places", &request.places)?;
        asked.times = numbers("times", &request.times)?;
        asked.facts = numbers("facts", &request.facts)?;
        let shell = Arc::clone(&self.0);
        let draw = move |scratch: &mut Scratch| {
            counted(&shell, || {
                let begun = std::time::Instant::now();
                let rows = scratch.sampler.rows(&shell.graph, &asked)?;
                let bytes = row_bytes::encode(&rows);
                shell.metrics.drawn(begun.elapsed());
                Ok(bytes)
            })
        };
        let drawn = self.0.on_pool(draw).await;
        Ok(chunks(drawn.map_err(|error| status(&error))?))
    }

    pub async fn facts(self, request: FactsRequest) -> Result<Chunks, Status> {
        self.meant(request.digest)?;
        let asked: Vec<u32> = numbers("numbers", &request.numbers)?;
        let shell = Arc::clone(&self.0);
        let find = move |_: &mut Scratch| {
            counted(&shell, || {
                let facts = shell.graph.facts_at(&asked)?;
                Ok(Bytes::copy_from_slice(bytemuck::cast_slice(&facts)))
            })
        };
        let found = self.0.on_pool(find).await;
        Ok(chunks(found.map_err(|error| status(&error))?))
    }
}
