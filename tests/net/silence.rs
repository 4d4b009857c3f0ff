//! Processes that stop, or are killed.

use std::time::{Duration, Instant};

use bytes::Bytes;
use shardloom::net::transport::Security;
use shardloom::net::{Channel, FrameStream, NetError};
use tokio::runtime::Runtime;

use crate::helper::Process;
use crate::{LIMIT, dialer, frame, listen, network};

/// A stream to another process, which listens or has dialed.
fn stream_to_process(runtime: &Runtime, listening: bool) -> (Process, FrameStream) {
    let open = Security::default();
    let (process, mut stream) = match listening {
        true => {
            let (process, address) = Process::listening();
            let dialer = dialer(&open, runtime.handle());
            let stream = runtime.block_on(dialer.open(&address, Channel::Session, LIMIT));
            (process, stream.unwrap())
        }
        false => {
            let (listener, mut accepted) = listen(&open, runtime.handle()).unwrap();
            let process = Process::dialing(&listener.local_address().to_string());
            (process, runtime.block_on(accepted.next()).1)
        }
    };
    runtime.block_on(echoed(&mut stream));
    (process, stream)
}

async fn echoed(stream: &mut FrameStream) {
    stream
        .sender
        .send(frame(1, Bytes::from_static(b"values")), LIMIT)
        .await
        .unwrap();
    let back = stream.receiver.receive(LIMIT).await.unwrap().unwrap();
    assert_eq!(back.payload, "values");
}

/// Times after which the receiver and the sender know that the stream is lost.
async fn noticed(mut stream: FrameStream, since: Instant) -> (Duration, Duration) {
    let receiver = async {
        let error = loop {
            match stream.receiver.receive(LIMIT).await {
                // Frames from before.
                Ok(frame) => assert!(frame.is_some(), "an end in order"),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, NetError::Lost { .. }), "{error}");
        since.elapsed()
    };
    let sender = async {
        tokio::time::timeout(LIMIT, stream.sender.closed())
            .await
            .expect("the sender is told");
        since.elapsed()
    };
    tokio::join!(receiver, sender)
}

/// Without keep-alive on its own end, with its timeout, and while idle, a stream waits for ever.
#[test]
fn a_process_that_is_stopped_is_noticed_within_2500_ms() {
    let runtime = network();
    let mut streams = Vec::new();
    for listening in [true, false] {
        for busy in [true, false] {
            let (process, stream) = stream_to_process(&runtime, listening);
            if busy {
                let sender = stream.sender.clone();
                runtime.spawn(async move {
                    let large = frame(2, vec![0; 1 << 17].into());
                    while sender.send(large.clone(), LIMIT).await.is_ok() {}
                });
            }
            process.stop();
            let noticed = runtime.spawn(noticed(stream, Instant::now()));
            streams.push((process, noticed, listening, busy));
        }
    }
    for (_process, noticed, listening, busy) in streams {
        let (receiver, sender) = runtime.block_on(noticed).unwrap();
        let slower = receiver.max(sender);
        assert!(
            slower < Duration::from_millis(2500) && slower > Duration::from_millis(900),
            "{receiver:?}, {sender:?}, listening: {listening}, busy: {busy}"
        );
    }
}

#[test]
fn a_process_that_is_killed_is_noticed_within_50_ms() {
    let runtime = network();
    for listening in [true, false] {
        // The machine may do other work meanwhile: the best of three.
        let tries: Vec<Duration> = (0..3)
            .map(|_| {
                let (process, stream) = stream_to_process(&runtime, listening);
                process.kill();
                let (receiver, sender) = runtime.block_on(noticed(stream, Instant::now()));
                receiver.max(sender)
            })
            .collect();
        let best = tries.iter().min().unwrap();
        assert!(
            *best < Duration::from_millis(50),
            "{tries:?}, listening: {listening}"
        );
    }
}

#[test]
fn an_idle_stream_stays_open() {
    let runtime = network();
    let (_process, mut stream) = stream_to_process(&runtime, true);
    let silence = Duration::from_millis(3500);
    let quiet = runtime
        .block_on(stream.receiver.receive(silence))
        .unwrap_err();
    assert!(matches!(quiet, NetError::Deadline { .. }), "{quiet}");
    runtime.block_on(echoed(&mut stream));
}

/// The operating system accepts connections for a process that is stopped.
#[test]
fn a_stream_to_a_stopped_process_is_given_up_in_time() {
    let runtime = network();
    let (process, address) = Process::listening();
    process.stop();
    let limit = Duration::from_millis(500);
    let start = Instant::now();
    let dialer = dialer(&Security::default(), runtime.handle());
    let error = runtime
        .block_on(dialer.open(&address, Channel::Rows, limit))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{address} did not answer within 500ms")
    );
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
}
