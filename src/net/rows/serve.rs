//! The owner's side: requests of a stream, answered from shards.

use std::collections::HashMap;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::task::{self, AbortHandle, JoinError, JoinSet};

use super::buffers::Buffers;
use super::message::{Pull, Request, caller, index, malformed, set_shape};
use super::push::{PushReader, Sizes, is_head, pushed_layout};
use super::{CHUNK, Fence, IN_FLIGHT};
use crate::ids::LayoutVersion;
use crate::net::frame::MOST_PAYLOAD;
use crate::net::{Frame, FrameSender, FrameStream, Header, Kind, NetError};
use crate::server::{Layout, PushRequest, ServerError, ShardClient};

/// Deadlines of [`serve`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServeOptions {
    /// Longest time that the worker may take to accept a frame of an answer.
    pub send: Duration,
    /// Longest time without a request.
    pub idle: Duration,
}

impl Default for ServeOptions {
    fn default() -> ServeOptions {
        ServeOptions {
            send: Duration::from_secs(30),
            idle: Duration::from_secs(24 * 3600),
        }
    }
}

/// Answers the requests of a stream until its end. Requests that still wait then are dropped, and change nothing.
/// Requests are refused while `fence` refuses their epoch.
///
/// Requests that can be answered at once are answered one after the other; those that wait do not hold up others.
///
/// # Errors
/// If the stream is lost, the worker takes no frames for [`ServeOptions::send`], sends none for
/// [`ServeOptions::idle`], or breaks the rules of the [protocol](super).
pub async fn serve(
    stream: FrameStream,
    shards: Arc<dyn ShardClient>,
    fence: Arc<dyn Fence>,
    options: ServeOptions,
) -> Result<(), NetError> {
    let FrameStream {
        sender,
        mut receiver,
    } = stream;
    let mut server = Server {
        answers: Answers {
            sender,
            limit: options.send,
            shards,
            buffers: Buffers::default(),
        },
        fence,
        sizes: None,
        partial: HashMap::new(),
        tasks: JoinSet::new(),
        running: Vec::new(),
    };
    loop {
        let event = {
            let mut next = pin!(receiver.receive(options.idle));
            let tasks = &mut server.tasks;
            std::future::poll_fn(|context| {
                if let Poll::Ready(Some(ended)) = tasks.poll_join_next_with_id(context) {
                    return Poll::Ready(Event::Ended(ended));
                }
                next.as_mut().poll(context).map(Event::Frame)
            })
            .await
        };
        match event {
            Event::Ended(ended) => server.ended(ended).await?,
            Event::Frame(frame) => match frame? {
                Some(frame) => server.take(frame).await?,
                None => return Ok(()),
            },
        }
    }
}

/// End of an answer by a task of its own.
type Ended = Result<(task::Id, Result<(), NetError>), JoinError>;

enum Event {
    Ended(Ended),
    Frame(Result<Option<Frame>, NetError>),
}

/// A push whose last frame has not come.
#[derive(Debug)]
enum Partial {
    Push(PushReader),
    /// Answered by a refusal; frames that still come are dropped.
    Refused,
}

/// Most pushes of a stream whose last frames have not come, refused ones included.
const UNFINISHED: usize = 64;

/// Work of a request that has come whole.
enum Work {
    Request(Request),
    Pull(Pull, [usize; 2]),
    Push(PushRequest),
}

struct Running {
    task: AbortHandle,
    header: Header,
}

/// State of a stream.
struct Server {
    answers: Answers,
    fence: Arc<dyn Fence>,
    /// Sizes by the last layout that was read.
    sizes: Option<Sizes>,
    partial: HashMap<u32, Partial>,
    tasks: JoinSet<Result<(), NetError>>,
    running: Vec<Running>,
}

impl Server {
    /// Takes the next frame of the worker.
    async fn take(&mut self, frame: Frame) -> Result<(), NetError> {
        let header = frame.header;
        if header.kind == Kind::Cancel {
            return self.cancel(&header).await;
        }
        let work = match self.partial.remove(&header.request) {
            Some(Partial::Refused) => {
                if !header.last {
                    self.partial.insert(header.request, Partial::Refused);
                }
                return Ok(());
            }
            Some(Partial::Push(push)) => self.go_on(push, frame),
            None => self.start(frame).await?,
        };
        match work {
            Ok(Some(work)) => self.run(header, work).await,
            Ok(None) => Ok(()),
            Err(error) => {
                if !header.last {
                    self.partial.insert(header.request, Partial::Refused);
                }
                self.answers.refuse(&header, &error).await
            }
        }
    }

    /// Takes the first frame of a request.
    async fn start(&mut self, frame: Frame) -> Result<Result<Option<Work>, ServerError>, NetError> {
        let header = &frame.header;
        let pushes = self.partial.values();
        let pushes = pushes.filter(|partial| matches!(partial, Partial::Push(_)));
        // A worker may know of an answer before the end of its task is noticed here.
        if pushes.count() + self.running.len() >= 2 * IN_FLIGHT || self.partial.len() >= UNFINISHED
        {
            return Err(self.broken(format!("more than {IN_FLIGHT} requests at once")));
        }
        let number = header.request;
        if self.running.iter().any(|run| run.header.request == number) {
            return Err(self.broken(format!("request {number} began twice")));
        }
        match header.kind {
            Kind::Control | Kind::Pull => {}
            Kind::Push if is_head(&frame) => {}
            Kind::Push => {
                return Err(self.broken("a push began without its first frame".to_owned()));
            }
            kind => {
                return Err(self.broken(format!("a request began with a frame of kind {kind:?}")));
            }
        }
        Ok(self.read(frame).await)
    }

    /// End of a stream whose worker breaks the rules.
    fn broken(&self, reason: String) -> NetError {
        NetError::Lost {
            peer: self.answers.sender.peer().to_owned(),
            reason,
        }
    }

    async fn read(&mut self, frame: Frame) -> Result<Option<Work>, ServerError> {
        let header = &frame.header;
        self.fence.check(header.epoch)?;
        if matches!(header.kind, Kind::Pull | Kind::Push) {
            let caller = caller(header, LayoutVersion(0));
            self.fence
                .check_generation(caller.worker, caller.generation)?;
        }
        Ok(Some(match header.kind {
            Kind::Pull => {
                let pull = Pull::read(&frame)?;
                let sizes = self.sizes(pull.caller.layout).await?;
                let widths = sizes.widths;
                Work::Pull(pull, widths)
            }
            Kind::Push => {
                let sizes = self.sizes(pushed_layout(&frame)?).await?;
                let push = PushReader::start(&frame, sizes)?;
                if !header.last {
                    self.partial.insert(header.request, Partial::Push(push));
                    return Ok(None);
                }
                Work::Push(push.finish()?)
            }
            _ if !header.last => return Err(malformed("a call is one frame")),
            _ => {
                let request = serde_json::from_slice(&frame.payload);
                Work::Request(request.map_err(|error| malformed(error.to_string()))?)
            }
        }))
    }

    /// Takes a later frame of a push.
    fn go_on(&mut self, mut push: PushReader, frame: Frame) -> Result<Option<Work>, ServerError> {
        let (number, last, epoch) = (frame.header.request, frame.header.last, frame.header.epoch);
        push.take(frame)?;
        if !last {
            self.partial.insert(number, Partial::Push(push));
            return Ok(None);
        }
        // Another leader may have taken over since the first frame.
        self.fence.check(epoch)?;
        Ok(Some(Work::Push(push.finish()?)))
    }

    /// Sizes of the tables; read again if a request is for another layout.
    async fn sizes(&mut self, version: LayoutVersion) -> Result<&Sizes, ServerError> {
        let known = self.sizes.take().filter(|sizes| sizes.version == version);
        let sizes = match known {
            Some(sizes) => sizes,
            None => Sizes::new(&self.answers.shards.layout().await?),
        };
        Ok(self.sizes.insert(sizes))
    }

    /// Answers a request at once, or by a task if it has to wait.
    async fn run(&mut self, header: Header, work: Work) -> Result<(), NetError> {
        let answers = self.answers.clone();
        let mut answer: Pin<Box<dyn Future<Output = _> + Send>> =
            Box::pin(async move { answers.answer(&header, work).await });
        let at_once = std::future::poll_fn(|context| {
            Poll::Ready(match answer.as_mut().poll(context) {
                Poll::Ready(ended) => Some(ended),
                Poll::Pending => None,
            })
        });
        match at_once.await {
            Some(ended) => ended,
            None => {
                let task = self.tasks.spawn(answer);
                self.running.push(Running { task, header });
                Ok(())
            }
        }
    }

    async fn cancel(&mut self, header: &Header) -> Result<(), NetError> {
        if let Some(partial) = self.partial.remove(&header.request) {
            return match partial {
                Partial::Push(_) => self.answers.refuse(header, &ServerError::Stopped).await,
                Partial::Refused => Ok(()),
            };
        }
        let mut running = self.running.iter();
        if let Some(found) = running.find(|run| run.header.request == header.request) {
            found.task.abort();
        }
        Ok(())
    }

    /// Notes the end of a task. A task that was withdrawn, or panicked, has not answered.
    async fn ended(&mut self, ended: Ended) -> Result<(), NetError> {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let at = self.running.iter().position(|run| run.task.id() == id);
        let run = at.map(|at| self.running.swap_remove(at));
        match (ended, run) {
            (Ok((_, sent)), _) => sent,
            (Err(_), Some(run)) => {
                self.answers
                    .refuse(&run.header, &ServerError::Stopped)
                    .await
            }
            (Err(_), None) => Ok(()),
        }
    }
}

/// Source of answers to a stream's requests.
#[derive(Clone, Debug)]
struct Answers {
    sender: FrameSender,
    limit: Duration,
    shards: Arc<dyn ShardClient>,
    buffers: Buffers,
}

impl Answers {
    /// Does the work of a request, and sends the answer.
    async fn answer(&self, header: &Header, work: Work) -> Result<(), NetError> {
        let shards = &*self.shards;
        let done = match work {
            Work::Pull(pull, widths) => return self.pull(header, &pull, widths).await,
            Work::Request(Request::Layout) => match shards.layout().await {
                Ok(layout) => return self.layout(header, &layout).await,
                Err(error) => Err(error),
            },
            Work::Request(Request::Begin(layout)) => shards.begin(caller(header, layout)).await,
            Work::Request(Request::Commit) => {
                let caller = caller(header, LayoutVersion(0));
                shards.commit(caller.generation, caller.step).await
            }
            Work::Request(Request::Abort) => shards.abort().await,
            Work::Push(push) => shards.push(push).await,
        };
        match done {
            Ok(()) => {
                self.send(Frame::empty(reply(header, Kind::Ack, true)))
                    .await
            }
            Err(error) => self.refuse(header, &error).await,
        }
    }

    /// Reads rows, as many at once as fit a frame.
    async fn pull(&self, header: &Header, pull: &Pull, widths: [usize; 2]) -> Result<(), NetError> {
        let (width, size) = (widths[index(pull.table)], pull.value_type.size());
        let at_once = (CHUNK / width.max(1)).max(1);
        let (mut rows, mut left) = (&pull.rows[..], true);
        while left {
            let now;
            (now, rows) = rows.split_at(at_once.min(rows.len()));
            left = !rows.is_empty();
            let mut buffer = self.buffers.take();
            let read = self
                .shards
                .pull_into(pull.caller, pull.table, now, &mut buffer.values);
            if let Err(error) = read.await {
                return self.refuse(header, &error).await;
            }
            let mut payload = buffer.pack(pull.value_type);
            // A row may be longer than a frame.
            loop {
                let part = payload.split_to(payload.len().min(CHUNK * size));
                let last = payload.is_empty();
                let mut header = reply(header, Kind::Rows, last && !left);
                header.wire_type = pull.value_type.into();
                set_shape(&mut header, part.len() / size, width);
                self.send(Frame {
                    header,
                    payload: part,
                })
                .await?;
                if last {
                    break;
                }
            }
            if left {
                // The connection's task, on this thread, sends the frame while the worker waits for it.
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    async fn layout(&self, header: &Header, layout: &Layout) -> Result<(), NetError> {
        self.send_json(header, Kind::Control, layout).await
    }

    async fn refuse(&self, header: &Header, error: &ServerError) -> Result<(), NetError> {
        self.send_json(header, Kind::Refused, &error.to_send())
            .await
    }

    async fn send_json(
        &self,
        header: &Header,
        kind: Kind,
        message: &impl Serialize,
    ) -> Result<(), NetError> {
        let json =
            serde_json::to_vec(message).map_err(|error| NetError::Options(error.to_string()))?;
        let mut json = Bytes::from(json);
        loop {
            let payload = json.split_to(json.len().min(MOST_PAYLOAD));
            let header = reply(header, kind, json.is_empty());
            self.send(Frame { header, payload }).await?;
            if json.is_empty() {
                return Ok(());
            }
        }
    }

    async fn send(&self, frame: Frame) -> Result<(), NetError> {
        self.sender.send(frame, self.limit).await
    }
}

/// Header of an answer: the request's, with another kind and without a payload.
fn reply(header: &Header, kind: Kind, last: bool) -> Header {
    Header {
        kind,
        last,
        table: header.table,
        request: header.request,
        epoch: header.epoch,
        generation: header.generation,
        step: header.step,
        worker: header.worker,
        ..Header::new(kind)
    }
}
