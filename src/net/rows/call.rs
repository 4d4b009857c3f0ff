//! Requests of a client that are on their way, and the stream that they share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

use super::buffers::Buffers;
use super::message::{MOST_JSON, check_values};
use super::{CHUNK, IN_FLIGHT, RemoteOptions, packed_type};
use crate::net::{Frame, FrameReceiver, FrameSender, FrameStream, Header, Kind, NetError};
use crate::server::{PackedType, ServerError};

/// Values for which memory is taken before they come.
const AHEAD: usize = 16 * CHUNK;

/// A stream to the process of the shards, and the requests that wait for answers.
pub(super) struct Connection {
    pub sender: FrameSender,
    pub options: RemoteOptions,
    pub epoch: AtomicU32,
    slots: Arc<Semaphore>,
    state: Mutex<State>,
    pub buffers: Buffers,
    /// Values in a row of entities, and of relations.
    pub widths: OnceLock<[usize; 2]>,
    /// Task that takes answers: holds the incoming half of the stream.
    receiving: OnceLock<AbortHandle>,
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
pub(super) enum Expected {
    Ack,
    Json(Vec<u8>),
    Rows {
        value_type: PackedType,
        /// Number of values in all.
        expected: usize,
        /// Number of values that have come.
        found: usize,
        /// The values that have come; behind them, old ones without a meaning.
        values: Vec<f32>,
    },
}

impl Connection {
    /// Takes over a stream, and starts the task that takes answers.
    pub fn open(stream: FrameStream, options: RemoteOptions) -> Arc<Connection> {
        let connection = Arc::new(Connection {
            sender: stream.sender,
            options,
            epoch: options.epoch.into(),
            slots: Arc::new(Semaphore::new(IN_FLIGHT)),
            state: Mutex::default(),
            buffers: Buffers::default(),
            widths: OnceLock::new(),
            receiving: OnceLock::new(),
        });
        let task = tokio::spawn(receive(Arc::clone(&connection), stream.receiver));
        let _ = connection.receiving.set(task.abort_handle());
        connection
    }

    /// Failure for which the process counts as lost, if it does.
    pub fn lost(&self) -> Option<ServerError> {
        self.state().lost.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a request: waits for its turn.
    pub async fn call(&self, answer: Expected) -> Result<Call<'_>, ServerError> {
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
            connection: self,
            number,
            deadline,
            answered,
            begun: false,
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
        self.stop_receiving();
        for waiting in waiting {
            let _ = waiting.done.send(Err(error.clone()));
        }
        error
    }

    /// Drops the incoming half of the stream, so that the server drops requests that still wait.
    pub fn stop_receiving(&self) {
        if let Some(task) = self.receiving.get() {
            task.abort();
        }
    }

    fn late(&self) -> ServerError {
        self.lose(NetError::Deadline {
            peer: self.sender.peer().to_owned(),
            after: self.options.deadline,
        })
    }

    /// Counts the process as lost, because its frames are not valid.
    pub fn fault(&self, reason: &str) -> ServerError {
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
                    found,
                    values,
                },
                Kind::Rows,
            ) => {
                let more = check_values(frame).map_err(|error| error.to_string())?;
                if packed_type(header.wire_type) != Some(*value_type) {
                    return Err("its rows have another type than requested".to_owned());
                }
                let end = *found + more;
                if end > *expected || header.last && end != *expected {
                    return Err(format!("it sent {end} values, expected {expected}"));
                }
                if values.len() < end {
                    // Another process named the values of a row: memory is taken ahead of few values only.
                    let room = AHEAD.max(values.len()).max(more);
                    values.reserve(room.min(*expected - values.len()));
                    values.resize(end, 0.0);
                }
                value_type.unpack_to(&frame.payload, &mut values[*found..end]);
                *found = end;
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
pub(super) struct Call<'a> {
    connection: &'a Connection,
    number: u32,
    deadline: Instant,
    answered: oneshot::Receiver<Result<Expected, ServerError>>,
    /// The first frame has been sent.
    begun: bool,
    /// The last frame has been sent.
    sent: bool,
    /// True when a withdrawal has no effect any more.
    ended: bool,
}

impl Call<'_> {
    /// Sends a frame of the request.
    pub async fn send(&mut self, mut frame: Frame) -> Result<(), ServerError> {
        let connection = self.connection;
        frame.header.request = self.number;
        frame.header.epoch = connection.epoch.load(Ordering::Relaxed);
        let last = frame.header.last;
        let left = self.deadline.saturating_duration_since(Instant::now());
        match connection.sender.send(frame, left).await {
            Ok(()) => {
                self.begun = true;
                self.sent = last;
                Ok(())
            }
            Err(error) => {
                self.ended = true;
                Err(match error {
                    NetError::Deadline { .. } => connection.late(),
                    error => connection.lose(error),
                })
            }
        }
    }

    /// Sends a frame, unless the request has been answered already: `false` then.
    pub async fn send_unless_answered(&mut self, frame: Frame) -> Result<bool, ServerError> {
        // An answer is there, or the sender of the answer is gone.
        if !self.answered.is_empty() || self.answered.is_terminated() {
            return Ok(false);
        }
        self.send(frame).await.map(|()| true)
    }

    /// Waits for the answer.
    pub async fn answered(mut self) -> Result<Expected, ServerError> {
        let answer = timeout_at(self.deadline, &mut self.answered).await;
        // A refusal in the middle leaves frames unsent, which the server still expects.
        self.ended = self.sent;
        match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(self.connection.failure()),
            Err(_) => {
                self.ended = true;
                Err(self.connection.late())
            }
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let (connection, number) = (self.connection, self.number);
        if self.ended {
            return;
        }
        if !self.begun {
            // The server does not know the request, and will not answer.
            connection.state().waiting.remove(&number);
            return;
        }
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        // The answer, which ends the request, still comes.
        let frame = Frame::empty(Header {
            request: number,
            epoch: connection.epoch.load(Ordering::Relaxed),
            last: true,
            ..Header::new(Kind::Cancel)
        });
        let (sender, limit) = (connection.sender.clone(), connection.options.deadline);
        runtime.spawn(async move {
            // A stream that is lost has nothing to withdraw.
            let _ = sender.send(frame, limit).await;
        });
    }
}

/// Takes the frames of the stream until its end.
async fn receive(connection: Arc<Connection>, mut receiver: FrameReceiver) {
    loop {
        // Every request has a deadline of its own; without requests, the stream may be silent.
        let fault = match receiver.receive(connection.options.deadline).await {
            Ok(Some(frame)) => match connection.take(frame) {
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
        connection.lose(fault);
        return;
    }
}
