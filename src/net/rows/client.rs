//! The worker's side: a [`ShardClient`] over a stream.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[cfg(doc)]
use super::IN_FLIGHT;
use super::call::{Connection, Expected};
use super::gradients::GradientSource;
use super::message::{self, MOST_PULLED, Pull, Request, chunk, index};
use super::push::{PLACES, write_gradients, write_places, write_push, write_whole};
use crate::ids::{Generation, LayoutVersion, Step, TableName, WorkerId};
use crate::net::{Frame, FrameStream, Header, Kind};
use crate::server::{
    Answer, Caller, Layout, PackedType, PullRequest, Pulled, PushRequest, ServerError, ShardClient,
};

/// Most bytes of places and gradients that are copied into the first frame of a push: below them, a copy costs less than
/// frames of their own.
const WHOLE: usize = 16 << 10;

/// Options of [`RemoteShards`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteOptions {
    /// Leadership epoch of the first requests.
    pub epoch: u32,
    /// Type in which values and gradients travel.
    pub value_type: PackedType,
    /// Longest time of a request, the waits of the server for other workers included. When a request takes longer,
    /// the process of the shards counts as lost.
    pub deadline: Duration,
}

/// Shards of another process. All calls end: with the server's answer or refusal, or with [`ServerError::Lost`] at
/// the end of the stream or after the deadline. Once lost, the shards stay lost: a new stream needs a new client.
///
/// Several tasks may call at once. At most [`IN_FLIGHT`] requests are on their way, others wait for their turn. A
/// call whose future is dropped is withdrawn, but the server may have done it already.
///
/// A pull of many rows is read piece by piece: rows that are pushed meanwhile may be old or new.
pub struct RemoteShards {
    connection: Arc<Connection>,
}

impl fmt::Debug for RemoteShards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteShards")
            .field("peer", &self.connection.sender.peer())
            .field("options", &self.connection.options)
            .finish_non_exhaustive()
    }
}

impl Drop for RemoteShards {
    fn drop(&mut self) {
        self.connection.stop_receiving();
    }
}

impl RemoteShards {
    /// Makes a client of the shards that the other end of a stream [serves](super::serve).
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(stream: FrameStream, options: RemoteOptions) -> RemoteShards {
        RemoteShards {
            connection: Connection::open(stream, options),
        }
    }

    /// Takes the widths of rows, entities first, as known: the shards are not asked for their layout.
    #[must_use]
    pub fn with_widths(self, widths: [usize; 2]) -> RemoteShards {
        // Set once only.
        let _ = self.connection.widths.set(widths);
        self
    }

    /// Name or address of the process of the shards.
    pub fn peer(&self) -> &str {
        self.connection.sender.peer()
    }

    /// Sets the leadership epoch of later requests.
    pub fn set_epoch(&self, epoch: u32) {
        self.connection.epoch.store(epoch, Ordering::Relaxed);
    }

    /// Failure for which the shards count as lost, if they do.
    pub fn lost(&self) -> Option<ServerError> {
        self.connection.lost()
    }

    /// Values in a row of a table.
    async fn width(&self, table: TableName) -> Result<usize, ServerError> {
        let widths = match self.connection.widths.get() {
            Some(widths) => *widths,
            None => self.layout().await?.widths,
        };
        Ok(widths[index(table)])
    }

    /// Makes a call without rows.
    async fn request(
        &self,
        caller: Caller,
        request: Request,
        answer: Expected,
    ) -> Result<Expected, ServerError> {
        let payload = serde_json::to_vec(&request);
        let payload = payload.map_err(|error| message::malformed(error.to_string()))?;
        let header = Header {
            last: true,
            ..message::header(Kind::Control, caller)
        };
        let payload = payload.into();
        let mut call = self.connection.call(answer).await?;
        call.send(Frame { header, payload }).await?;
        call.answered().await
    }

    /// Pulls at most [`MOST_PULLED`] rows to `out`, behind its first `found` values. Returns the number of values with
    /// those of the rows.
    async fn pull_some(
        &self,
        caller: Caller,
        table: TableName,
        rows: &[u32],
        found: usize,
        out: &mut Vec<f32>,
    ) -> Result<usize, ServerError> {
        let value_type = self.connection.options.value_type;
        // Another process named the width: too large a number is found when the values come.
        let values = rows.len().saturating_mul(self.width(table).await?);
        let expected = found.saturating_add(values);
        let answer = Expected::Rows {
            value_type,
            expected,
            found,
            values: std::mem::take(out),
        };
        let mut call = self.connection.call(answer).await?;
        call.send(Pull::write(caller, table, value_type, rows))
            .await?;
        if let Expected::Rows { values, .. } = call.answered().await? {
            *out = values;
        }
        Ok(expected)
    }

    async fn push_parts(&self, request: PushRequest) -> Result<(), ServerError> {
        let connection = &*self.connection;
        let value_type = connection.options.value_type;
        let head = write_push(&request, value_type)?;
        let caller = request.caller;
        // Rows are read from a GPU before the request takes a place in the stream.
        let mut parts = Vec::with_capacity(request.parts.len());
        for part in request.parts {
            let width = self.width(part.shard.table).await?;
            let rows = GradientSource::new(part.gradients, &connection.buffers, value_type).await?;
            parts.push((part.shard, part.places.unwrap_or_default(), rows, width));
        }
        let is_empty = |rows: &GradientSource| rows.len() == 0;
        while parts
            .pop_if(|(_, places, rows, _)| places.is_empty() && is_empty(rows))
            .is_some()
        {}
        let size = |(_, places, rows, _): &(_, Vec<u32>, GradientSource, _)| {
            places.len() * size_of::<u32>() + rows.len() * value_type.size()
        };
        let bytes: usize = parts.iter().map(size).sum();
        let mut call = connection.call(Expected::Ack).await?;
        if bytes <= WHOLE {
            let packed = parts.into_iter().map(|(_, places, rows, width)| {
                let gradients = rows.payloads(&connection.buffers, value_type, chunk(width));
                (places, gradients)
            });
            let whole = write_whole(head, bytes, packed);
            call.send(whole).await?;
            return call.answered().await.map(drop);
        }
        call.send(head).await?;
        let count = parts.len();
        for (i, (shard, places, rows, width)) in parts.into_iter().enumerate() {
            let last_part = i + 1 == count;
            let mut pieces = places.chunks(PLACES).peekable();
            while let Some(piece) = pieces.next() {
                let mut frame = write_places(caller, shard, piece);
                frame.header.last = last_part && rows.len() == 0 && pieces.peek().is_none();
                if !call.send_unless_answered(frame).await? {
                    return call.answered().await.map(drop);
                }
            }
            let mut rows = rows
                .payloads(&connection.buffers, value_type, chunk(width))
                .peekable();
            while let Some(payload) = rows.next() {
                let mut frame = write_gradients(caller, shard, value_type, width, payload);
                frame.header.last = last_part && rows.peek().is_none();
                if !call.send_unless_answered(frame).await? {
                    return call.answered().await.map(drop);
                }
            }
        }
        call.answered().await.map(drop)
    }
}

impl ShardClient for RemoteShards {
    fn layout(&self) -> Answer<'_, Layout> {
        Box::pin(async move {
            let nobody = caller(Generation(0), Step(0));
            let answer = Expected::Json(Vec::new());
            let answer = self.request(nobody, Request::Layout, answer).await?;
            let Expected::Json(json) = answer else {
                return Err(self
                    .connection
                    .fault("it acknowledged a request for the layout"));
            };
            let layout: Layout = serde_json::from_slice(&json).map_err(|error| {
                self.connection
                    .fault(&format!("its layout cannot be read: {error}"))
            })?;
            let _ = self.connection.widths.set(layout.widths);
            Ok(layout)
        })
    }

    fn begin(&self, caller: Caller) -> Answer<'_, ()> {
        Box::pin(async move {
            let begin = Request::Begin(caller.layout);
            self.request(caller, begin, Expected::Ack).await.map(drop)
        })
    }

    fn pull(&self, request: PullRequest) -> Answer<'_, Pulled> {
        Box::pin(async move {
            let mut values = Vec::new();
            self.pull_into(request.caller, request.table, &request.rows, &mut values)
                .await?;
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
            let mut found = 0;
            if rows.is_empty() {
                // The server checks the caller.
                found = self.pull_some(caller, table, rows, found, out).await?;
            }
            for rows in rows.chunks(MOST_PULLED) {
                found = self.pull_some(caller, table, rows, found, out).await?;
            }
            // Old values are overwritten rather than cleared first.
            out.truncate(found);
            Ok(())
        })
    }

    fn push(&self, request: PushRequest) -> Answer<'_, ()> {
        Box::pin(self.push_parts(request))
    }

    fn commit(&self, generation: Generation, step: Step) -> Answer<'_, ()> {
        Box::pin(async move {
            let caller = caller(generation, step);
            let done = self.request(caller, Request::Commit, Expected::Ack).await;
            done.map(drop)
        })
    }

    fn abort(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            let nobody = caller(Generation(0), Step(0));
            let done = self.request(nobody, Request::Abort, Expected::Ack).await;
            done.map(drop)
        })
    }
}

/// Caller of a request that is not a worker's.
fn caller(generation: Generation, step: Step) -> Caller {
    Caller {
        worker: WorkerId(0),
        generation,
        step,
        layout: LayoutVersion(0),
    }
}
