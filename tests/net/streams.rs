//! Frames, both ways, to the end of a stream.

use std::time::{Duration, Instant};

use bytes::Bytes;
use shardloom::net::frame::MOST_PAYLOAD;
use shardloom::net::transport::Security;
use shardloom::net::{Channel, NetError};

use crate::{LIMIT, connected, dialer, frame, listen, listen_at, network};

/// Sizes around those at which the way through the transport changes.
const SIZES: [usize; 9] = [
    0,
    1,
    4095,
    4096,
    4097,
    16_384,
    65_536,
    MOST_PAYLOAD - 1,
    MOST_PAYLOAD,
];

fn payload(bytes: usize) -> Bytes {
    (0..bytes).map(|i| (i * 31 + i / 251) as u8).collect()
}

#[test]
fn each_channel_carries_frames_of_every_size_both_ways() {
    let runtime = network();
    runtime.block_on(async {
        let open = Security::default();
        let (listener, mut accepted) = listen(&open, runtime.handle()).unwrap();
        let address = listener.local_address().to_string();
        let dialer = dialer(&open, runtime.handle());
        for channel in [Channel::Session, Channel::Rows, Channel::Collective] {
            let mut near = dialer.open(&address, channel, LIMIT).await.unwrap();
            let (found, mut far) = accepted.next().await;
            assert_eq!(found, channel);
            assert_eq!(near.peer(), address);
            for (request, bytes) in SIZES.into_iter().enumerate() {
                let sent = frame(request as u32, payload(bytes));
                near.sender.send(sent.clone(), LIMIT).await.unwrap();
                let received = far.receiver.receive(LIMIT).await.unwrap().unwrap();
                assert_eq!(received, sent, "{bytes} bytes to the listener");
                far.sender.send(received, LIMIT).await.unwrap();
                let received = near.receiver.receive(LIMIT).await.unwrap().unwrap();
                assert_eq!(received, sent, "{bytes} bytes from the listener");
            }
        }
    });
}

/// Frames that were sent before their stream was dropped arrive, and the other end learns that this was an end in
/// order.
#[test]
fn a_stream_that_is_dropped_ends_in_order_for_the_other_side() {
    let runtime = network();
    runtime.block_on(async {
        for reversed in [false, true] {
            let (mut a, mut b) = connected(runtime.handle()).await;
            if reversed {
                (a, b) = (b, a);
            }
            for request in 0..4 {
                let last = frame(request, payload(MOST_PAYLOAD));
                a.sender.send(last, LIMIT).await.unwrap();
            }
            drop(a);
            // The end is on this side before its first frame is read.
            tokio::time::sleep(Duration::from_millis(if reversed { 0 } else { 1 })).await;
            for request in 0..4 {
                let next = b.receiver.receive(LIMIT).await.unwrap().unwrap();
                assert_eq!(next.header.request, request);
            }
            assert_eq!(
                b.receiver.receive(LIMIT).await,
                Ok(None),
                "reversed: {reversed}"
            );
            assert_eq!(b.receiver.receive(LIMIT).await, Ok(None));
            tokio::time::timeout(LIMIT, b.sender.closed())
                .await
                .unwrap();
            assert!(
                b.sender
                    .send(frame(0, Bytes::new()), LIMIT)
                    .await
                    .unwrap_err()
                    .is_lost()
            );
        }
    });
}

#[test]
fn a_receiver_that_takes_no_frames_holds_the_sender_up() {
    let runtime = network();
    runtime.block_on(async {
        let (near, _far) = connected(runtime.handle()).await;
        let limit = Duration::from_millis(300);
        let mut sent = 0;
        let error = loop {
            match near
                .sender
                .send(frame(0, payload(MOST_PAYLOAD)), limit)
                .await
            {
                Ok(()) => sent += MOST_PAYLOAD,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, NetError::Deadline { .. }), "{error}");
        // The window, and what waits on both sides.
        assert!(
            (16 << 20..20 << 20).contains(&sent),
            "{sent} bytes were taken"
        );
    });
}

/// Without TCP_NODELAY on the accepted socket, a message waits for an acknowledgement of the operating system, 40 ms.
#[test]
fn a_message_takes_far_less_than_40_ms() {
    let runtime = network();
    runtime.block_on(async {
        let (mut near, mut far) = connected(runtime.handle()).await;
        let part = payload(MOST_PAYLOAD / 32);
        let mut times = [vec![], vec![]];
        for _ in 0..100 {
            for back in [false, true] {
                let (from, to) = match back {
                    false => (&near.sender, &mut far.receiver),
                    true => (&far.sender, &mut near.receiver),
                };
                let start = Instant::now();
                let send = async {
                    for request in 0..8 {
                        from.send(frame(request, part.clone()), LIMIT)
                            .await
                            .unwrap();
                    }
                };
                let receive = async {
                    for _ in 0..8 {
                        to.receive(LIMIT).await.unwrap().unwrap();
                    }
                };
                tokio::join!(send, receive);
                times[usize::from(back)].push(start.elapsed());
            }
        }
        // The machine may do other work: the median, not the slowest.
        let medians = times.map(|mut times| {
            times.sort();
            times[times.len() / 2]
        });
        let limit = Duration::from_millis(20);
        assert!(medians.iter().all(|&median| median < limit), "{medians:?}");
    });
}

#[test]
fn a_port_in_use_is_told() {
    let runtime = network();
    let open = Security::default();
    let (first, _) = listen(&open, runtime.handle()).unwrap();
    let address = first.local_address().to_string();
    let error = listen_at(&address, &open, runtime.handle()).err().unwrap();
    assert_eq!(
        error.to_string(),
        format!("cannot listen at {address}: the port is in use: choose another one, or 0 for any")
    );
    runtime.block_on(first.shutdown());
    // A process that another test starts meanwhile holds the socket for a moment.
    let again = || listen_at(&address, &open, runtime.handle()).ok();
    let pause = || std::thread::sleep(Duration::from_millis(20));
    assert!((0..100).any(|_| again().is_some() || {
        pause();
        false
    }));
    let error = listen_at("elsewhere", &open, runtime.handle())
        .err()
        .unwrap();
    assert!(error.to_string().contains("write host and port"), "{error}");
}

#[test]
fn streams_survive_their_listener() {
    let runtime = network();
    runtime.block_on(async {
        // The helper drops the listener.
        let (mut near, mut far) = connected(runtime.handle()).await;
        near.sender
            .send(frame(7, payload(10)), LIMIT)
            .await
            .unwrap();
        let received = far.receiver.receive(LIMIT).await.unwrap().unwrap();
        far.sender.send(received, LIMIT).await.unwrap();
        let back = near.receiver.receive(LIMIT).await.unwrap().unwrap();
        assert_eq!(back.header.request, 7);
    });
}
