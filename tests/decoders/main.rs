//! Any bytes from another process, or in a file of a run: a decoder reads them or refuses them by a typed error,
//! never panics, and takes no more memory than its limits say.
//!
//! A case begins with bytes that are valid and changes some of them, so that most faults lie deep.

#[cfg(feature = "net")]
mod collective;
mod columns;
mod cuts;
mod frames;
mod memory;
mod messages;
mod mutations;
#[cfg(feature = "net")]
mod registry;
mod rows;

use std::cell::Cell;
use std::sync::Once;
use std::time::Duration;

use shardloom::net::{Frame, FrameReceiver, FrameStream, stream};
use tokio::runtime::Runtime;

/// Longest wait of a test for anything.
const LIMIT: Duration = Duration::from_secs(20);

thread_local! {
    static PANICS: Cell<usize> = const { Cell::new(0) };
}

/// Number of panics so far on this thread: tokio's tasks hide theirs.
fn panics() -> usize {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.set(PANICS.get() + 1);
            before(panic);
        }));
    });
    PANICS.get()
}

/// Runtime whose tasks run on this thread, where memory is counted. Time passes when all tasks wait.
fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().start_paused(true).build().unwrap()
}

/// A stream that yields `frames`, and ends.
fn incoming(frames: Vec<Frame>) -> FrameReceiver {
    let (sender, receiver) = tokio::sync::mpsc::channel(frames.len().max(1));
    let (outgoing, _) = tokio::sync::mpsc::channel(1);
    for frame in frames {
        sender.try_send(frame).unwrap();
    }
    FrameStream::new("a test".to_owned(), outgoing, Box::new(receiver)).receiver
}

/// Carries frames from one stream to another until the first has ended; returns them.
async fn carry(from: &mut FrameReceiver, to: &stream::FrameSender) -> Vec<Frame> {
    let mut carried = Vec::new();
    while let Ok(Some(frame)) = from.receive(LIMIT).await {
        carried.push(frame.clone());
        if to.send(frame, LIMIT).await.is_err() {
            break;
        }
    }
    carried
}
