//! The worker's side: a [`ShardClient`] over a stream.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

use super::buffers::{Buffers, HostRows};
use super::message::{
    self, MOST_JSON, MOST_PULLED, Pull, Request, check_values, chunk, index, write_gradients,
    write_places, write_push,
};
use super::{IN_FLIGHT, packed_type};
use crate::ids::{Generation, LayoutVersion, Step, TableName, WorkerId};
use crate::net::{Frame, FrameReceiver, FrameSender, FrameStream, Header, Kind, NetError};
use crate::server::{
    Answer, Caller, Layout, PackedRows, PackedType, PullRequest, Pulled, PushRequest, PushedRows,
    ServerError, ShardClient, off_runtime,
};

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
    inner: Arc<Inner>,
    receiving: AbortHandle,
}

struct Inner {
    sender: FrameSender,
    options: RemoteOptions,
    epoch: AtomicU32,
    slots: Arc<Semaphore>,
    state: Mutex<State>,
    buffers: Buffers,
    /// Values in a row of entities, and of relations.
    widths: OnceLock<[usize; 2]>,
}

#[derive(Default)]
struct State {
    next: u32,
    waiting: HashMap<u32, Waiting>,
    lost: Option<ServerError>,
}

/// A request without its whole answer.
struct Waiting {
    answer: Expected,
    done: oneshot::Sender<Result<Expected, ServerError>>,
    /// Held until the server has answered, even if the caller is gone.
    _slot: OwnedSemaphorePermit,
}

/// Answer of a request, as far as it has come.
enum Expected {
    Ack,
    Json(Vec<u8>),
    Rows {
        value_type: PackedType,
        /// Number of values in all.
        expected: usize,
        values: Vec<f32>,
    },
}

impl fmt::Debug for RemoteShards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteShards")
            .field("peer", &self.inner.sender.peer())
            .field("options", &self.inner.options)
            .finish_non_exhaustive()
    }
}

impl Drop for RemoteShards {
    fn drop(&mut self) {
        self.receiving.abort();
    }
}

impl RemoteShards {
    /// Makes a client of the shards that the other end of a stream [serves](super::serve).
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(stream: FrameStream, options: RemoteOptions) -> RemoteShards {
        let inner = Arc::new(Inner {
            sender: stream.sender,
            options,
            epoch: options.epoch.into(),
            slots: Arc::new(Semaphore::new(IN_FLIGHT)),
            state: Mutex::default(),
            buffers: Buffers::default(),
            widths: OnceLock::new(),
        });
        let receiving = tokio::spawn(receive(Arc::clone(&inner), stream.receiver)).abort_handle();
        RemoteShards { inner, receiving }
    }

    /// Name or address of the process of the shards.
    pub fn peer(&self) -> &str {
        self.inner.sender.peer()
    }

    /// Sets the leadership epoch of later requests.
    pub fn set_epoch(&self, epoch: u32) {
        self.inner.epoch.store(epoch, Ordering::Relaxed);
    }

    /// Failure for which the shards count as lost, if they do.
    pub fn lost(&self) -> Option<ServerError> {
        self.inner.state().lost.clone()
    }

    /// Values in a row of a table.
    async fn width(&self, table: TableName) -> Result<usize, ServerError> {
        let widths = match self.inner.widths.get() {
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
        let mut call = self.inner.call(answer).await?;
        call.send(Frame { header, payload }).await?;
        call.answered().await
    }

    /// Pulls at most [`MOST_PULLED`] rows to the end of `out`.
    async fn pull_some(
        &self,
        caller: Caller,
        table: TableName,
        rows: &[u32],
        out: &mut Vec<f32>,
    ) -> Result<(), ServerError> {
        let value_type = self.inner.options.value_type;
        let expected = out.len() + rows.len() * self.width(table).await?;
        let values = std::mem::take(out);
        let answer = Expected::Rows {
            value_type,
            expected,
            values,
        };
        let mut call = self.inner.call(answer).await?;
        call.send(Pull::write(caller, table, value_type, rows))
            .await?;
        if let Expected::Rows { values, .. } = call.answered().await? {
            *out = values;
        }
        Ok(())
    }

    async fn push_parts(&self, request: PushRequest) -> Result<(), ServerError> {
        let inner = &*self.inner;
        let value_type = inner.options.value_type;
        let head = write_push(&request, value_type)?;
        let caller = request.caller;
        // Rows are read from a GPU before the request takes a place in the stream.
        let mut parts = Vec::with_capacity(request.parts.len());
        for part in request.parts {
            let width = self.width(part.shard.table).await?;
            let rows = inner.host_rows(part.gradients).await?;
            parts.push((part.shard, part.places.unwrap_or_default(), rows, width));
        }
        let is_empty = |rows: &Rows| rows.len() == 0;
        while parts
            .pop_if(|(_, places, rows, _)| places.is_empty() && is_empty(rows))
            .is_some()
        {}
        let mut call = inner.call(Expected::Ack).await?;
        call.send(head).await?;
        let count = parts.len();
        for (i, (shard, places, rows, width)) in parts.into_iter().enumerate() {
            let last_part = i + 1 == count;
            let mut pieces = places.chunks(message::PLACES).peekable();
            while let Some(piece) = pieces.next() {
                let mut frame = write_places(caller, shard, piece);
                frame.header.last = last_part && rows.len() == 0 && pieces.peek().is_none();
                if !call.goes_on(frame).await? {
                    return call.answered().await.map(drop);
                }
            }
            let mut rows = rows
                .payloads(&inner.buffers, value_type, chunk(width))
                .peekable();
            while let Some(payload) = rows.next() {
                let mut frame = write_gradients(caller, shard, value_type, width, payload);
                frame.header.last = last_part && rows.peek().is_none();
                if !call.goes_on(frame).await? {
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
                return Err(self.inner.fault("it acknowledged a request for the layout"));
            };
            let layout: Layout = serde_json::from_slice(&json).map_err(|error| {
                self.inner
                    .fault(&format!("its layout cannot be read: {error}"))
            })?;
            let _ = self.inner.widths.set(layout.widths);
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
            out.clear();
            if rows.is_empty() {
                // The server checks the caller.
                return self.pull_some(caller, table, rows, out).await;
            }
            for rows in rows.chunks(MOST_PULLED) {
                self.pull_some(caller, table, rows, out).await?;
            }
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

/// Gradient rows that are ready to be sent.
enum Rows {
    Host(HostRows),
    Packed(PackedRows),
}

impl Rows {
    fn len(&self) -> usize {
        match self {
            Rows::Host(rows) => rows.values().len(),
            Rows::Packed(rows) => rows.len(),
        }
    }

    /// Payloads of at most `chunk` values. Values in main memory that already are as they travel are not copied.
    fn payloads(
        self,
        buffers: &Buffers,
        value_type: PackedType,
        chunk: usize,
    ) -> Box<dyn Iterator<Item = Bytes> + Send + '_> {
        let bytes = chunk * value_type.size();
        let cut = move |whole: &Bytes, at: usize| whole.slice(at..whole.len().min(at + bytes));
        match self {
            Rows::Packed(rows) => {
                let pieces: Vec<Bytes> = rows.pieces().to_vec();
                Box::new(pieces.into_iter().flat_map(move |piece| {
                    (0..piece.len())
                        .step_by(bytes)
                        .map(move |at| cut(&piece, at))
                }))
            }
            Rows::Host(rows) if value_type == PackedType::F32 && cfg!(target_endian = "little") => {
                let whole = Bytes::from_owner(rows);
                let cuts = (0..whole.len()).step_by(bytes);
                Box::new(cuts.map(move |at| cut(&whole, at)))
            }
            Rows::Host(rows) => {
                let cuts = (0..rows.values().len()).step_by(chunk);
                Box::new(cuts.map(move |at| {
                    let values = rows.values();
                    let values = &values[at..values.len().min(at + chunk)];
                    buffers.pack(values, value_type)
                }))
            }
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings gradient rows to main memory, if they are not there.
    async fn host_rows(&self, rows: PushedRows) -> Result<Rows, ServerError> {
        let mut buffer = self.buffers.take();
        Ok(Rows::Host(match rows {
            PushedRows::Values(values) => HostRows::Values(values),
            PushedRows::OnDevice(rows) if rows.as_host().is_some() => HostRows::Gradients(rows),
            PushedRows::OnDevice(rows) => {
                let read = off_runtime(move || rows.read(&mut buffer.values).map(|()| buffer));
                HostRows::Pooled(read.await.ok_or(ServerError::Stopped)??)
            }
            PushedRows::Packed(rows) if rows.value_type() == self.options.value_type => {
                return Ok(Rows::Packed(rows));
            }
            PushedRows::Packed(rows) => {
                buffer.values.resize(rows.len(), 0.0);
                rows.read(&mut buffer.values);
                HostRows::Pooled(buffer)
            }
        }))
    }

    /// Begins a request: waits for its turn.
    async fn call(&self, answer: Expected) -> Result<Call<'_>, ServerError> {
        let deadline = Instant::now() + self.options.deadline;
        let slot = Arc::clone(&self.slots).acquire_owned();
        let slot = match timeout_at(deadline, slot).await {
            Ok(Ok(slot)) => slot,
            Ok(Err(_)) => return Err(self.failure()),
            Err(_) => return Err(self.late()),
        };
        let (done, answered) = oneshot::channel();
        let mut state = self.state();
        if let Some(lost) = &state.lost {
            return Err(lost.clone());
        }
        let number = state.next;
        state.next = number.wrapping_add(1);
        let waiting = Waiting {
            answer,
            done,
            _slot: slot,
        };
        state.waiting.insert(number, waiting);
        drop(state);
        Ok(Call {
            inner: self,
            number,
            deadline,
            answered,
            sent: false,
            ended: false,
        })
    }

    /// Failure of the stream.
    fn failure(&self) -> ServerError {
        let lost = self.state().lost.clone();
        lost.unwrap_or(ServerError::Stopped)
    }

    /// Counts the process as lost: every request that waits fails, and so do later ones.
    fn lose(&self, error: impl Into<ServerError>) -> ServerError {
        let waiting: Vec<Waiting>;
        let error = {
            let mut state = self.state();
            let error = state.lost.get_or_insert(error.into()).clone();
            waiting = state.waiting.drain().map(|(_, waiting)| waiting).collect();
            error
        };
        self.slots.close();
        for waiting in waiting {
            let _ = waiting.done.send(Err(error.clone()));
        }
        error
    }

    fn late(&self) -> ServerError {
        self.lose(NetError::Deadline {
            peer: self.sender.peer().to_owned(),
            after: self.options.deadline,
        })
    }

    /// Counts the process as lost, because its frames are not valid.
    fn fault(&self, reason: &str) -> ServerError {
        self.lose(NetError::Lost {
            peer: self.sender.peer().to_owned(),
            reason: reason.to_owned(),
        })
    }

    /// Takes a frame of an answer.
    ///
    /// # Errors
    /// Fault of the frame.
    fn take(&self, frame: Frame) -> Result<(), String> {
        let header = frame.header;
        let Some(mut waiting) = self.state().waiting.remove(&header.request) else {
            return Err(format!("it answered request {} unasked", header.request));
        };
        let taken = match header.kind {
            Kind::Refused => waiting.answer.refusal(&frame),
            _ => waiting.answer.take(&frame).map(|()| None),
        };
        let answer = match taken {
            Ok(Some(refusal)) => Err(refusal),
            Ok(None) if header.last => Ok(waiting.answer),
            Ok(None) => {
                let mut state = self.state();
                match state.lost.clone() {
                    None => drop(state.waiting.insert(header.request, waiting)),
                    Some(lost) => drop(waiting.done.send(Err(lost))),
                }
                return Ok(());
            }
            Err(fault) => {
                // Fails with all others that wait.
                self.state().waiting.insert(header.request, waiting);
                return Err(fault);
            }
        };
        let _ = waiting.done.send(answer);
        Ok(())
    }
}

impl Expected {
    /// Takes a frame.
    fn take(&mut self, frame: &Frame) -> Result<(), String> {
        let header = &frame.header;
        match (self, header.kind) {
            (Expected::Ack, Kind::Ack) if header.last => Ok(()),
            (Expected::Json(json), Kind::Control) => {
                if json.len() + frame.payload.len() > MOST_JSON {
                    return Err(format!("its answer has more than {MOST_JSON} bytes"));
                }
                json.extend_from_slice(&frame.payload);
                Ok(())
            }
            (
                Expected::Rows {
                    value_type,
                    expected,
                    values,
                },
                Kind::Rows,
            ) => {
                let more = check_values(frame).map_err(|error| error.to_string())?;
                if packed_type(header.wire_type) != Some(*value_type) {
                    return Err("its rows have another type than requested".to_owned());
                }
                let found = values.len() + more;
                if found > *expected || header.last && found != *expected {
                    return Err(format!("it sent {found} values, expected {expected}"));
                }
                values.reserve(*expected - values.len());
                value_type.unpack(&frame.payload, values);
                Ok(())
            }
            (_, kind) => Err(format!("it answered with a frame of kind {kind:?}")),
        }
    }

    /// Reads a refusal; `None` until its last frame has come.
    fn refusal(&mut self, frame: &Frame) -> Result<Option<ServerError>, String> {
        if !frame.header.last {
            return Err("its refusal is too long".to_owned());
        }
        let error = serde_json::from_slice(&frame.payload);
        error
            .map(Some)
            .map_err(|error| format!("its refusal cannot be read: {error}"))
    }
}

/// A request on its way.
struct Call<'a> {
    inner: &'a Inner,
    number: u32,
    deadline: Instant,
    answered: oneshot::Receiver<Result<Expected, ServerError>>,
    /// The last frame has been sent.
    sent: bool,
    /// Nothing is left to be withdrawn.
    ended: bool,
}

impl Call<'_> {
    /// Sends a frame of the request.
    async fn send(&mut self, mut frame: Frame) -> Result<(), ServerError> {
        let inner = self.inner;
        frame.header.request = self.number;
        frame.header.epoch = inner.epoch.load(Ordering::Relaxed);
        let last = frame.header.last;
        let left = self.deadline.saturating_duration_since(Instant::now());
        match inner.sender.send(frame, left).await {
            Ok(()) => {
                self.sent = last;
                Ok(())
            }
            Err(error) => {
                self.ended = true;
                Err(match error {
                    NetError::Deadline { .. } => inner.late(),
                    error => inner.lose(error),
                })
            }
        }
    }

    /// Sends a frame, unless the request has been answered already: `false` then.
    async fn goes_on(&mut self, frame: Frame) -> Result<bool, ServerError> {
        // An answer is there, or the sender of the answer is gone.
        if !self.answered.is_empty() || self.answered.is_terminated() {
            return Ok(false);
        }
        self.send(frame).await.map(|()| true)
    }

    /// Waits for the answer.
    async fn answered(mut self) -> Result<Expected, ServerError> {
        let answer = timeout_at(self.deadline, &mut self.answered).await;
        // A refusal in the middle leaves frames unsent, which the server still expects.
        self.ended = self.sent;
        match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(self.inner.failure()),
            Err(_) => {
                self.ended = true;
                Err(self.inner.late())
            }
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let (inner, number) = (self.inner, self.number);
        if self.ended {
            return;
        }
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        // The answer, which ends the request, still comes.
        let frame = Frame::empty(Header {
            request: number,
            epoch: inner.epoch.load(Ordering::Relaxed),
            last: true,
            ..Header::new(Kind::Cancel)
        });
        let (sender, limit) = (inner.sender.clone(), inner.options.deadline);
        runtime.spawn(async move {
            // A stream that is lost has nothing to withdraw.
            let _ = sender.send(frame, limit).await;
        });
    }
}

/// Takes the frames of the stream until its end.
async fn receive(inner: Arc<Inner>, mut receiver: FrameReceiver) {
    loop {
        // Every request has a deadline of its own; without requests, the stream may be silent.
        let fault = match receiver.receive(inner.options.deadline).await {
            Ok(Some(frame)) => match inner.take(frame) {
                Ok(()) => continue,
                Err(reason) => NetError::Lost {
                    peer: receiver.peer().to_owned(),
                    reason,
                },
            },
            Ok(None) => NetError::Lost {
                peer: receiver.peer().to_owned(),
                reason: "the stream has ended".to_owned(),
            },
            Err(NetError::Deadline { .. }) => continue,
            Err(error) => error,
        };
        inner.lose(fault);
        return;
    }
}
