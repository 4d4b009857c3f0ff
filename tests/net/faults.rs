//! Peers that break the protocol, or the stream.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use bytes::{BufMut, Bytes, BytesMut};
use shardloom::net::frame::{HEADER, MOST_PAYLOAD};
use shardloom::net::transport::{Security, Settings, VERSION_KEY};
use shardloom::net::{Channel, Frame, FrameError, NetError};
use tonic::Code;

use crate::raw::{End, Parts, call, serve, status};
use crate::{LIMIT, dialer, frame, listen, network};

const OURS: &[(&str, &str)] = &[(VERSION_KEY, "1")];

/// A frame as a message of gRPC.
fn message(frame: &Frame) -> BytesMut {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(frame.size() as u32);
    frame.write(&mut bytes);
    bytes
}

/// Messages that are not valid, by the word that their sentence must have.
fn invalid() -> Vec<(&'static str, Bytes)> {
    let good = frame(1, Bytes::from_static(b"values"));
    let changed = |at: usize, with: &[u8]| {
        let mut bytes = message(&good);
        bytes[at..at + with.len()].copy_from_slice(with);
        bytes.freeze()
    };
    let header = 5;
    vec![
        ("mark of a frame", changed(header, b"HTTP")),
        ("protocol has version 9", changed(header + 4, &[9])),
        ("kind is 99", changed(header + 6, &[99])),
        ("digest", changed(header + HEADER, b"V")),
        ("flag of compression is 1", changed(0, &[1])),
        // Lengths: of gRPC, of the header, and of both.
        (
            "4294967231 bytes, of at most 262144",
            changed(1, &[0xff; 4]),
        ),
        (
            "it has 3 bytes, and its header says 64",
            changed(1, &[0, 0, 0, 3]),
        ),
        (
            "it has 70 bytes, and its header says 71",
            changed(header + 52, &[7]),
        ),
        (
            "4294967295 bytes, of at most 262144",
            changed(header + 52, &[0xff; 4]),
        ),
    ]
}

#[test]
fn a_listener_refuses_and_counts_frames_that_are_not_valid() {
    let runtime = network();
    runtime.block_on(async {
        let (listener, mut accepted) = listen(&Security::default(), runtime.handle()).unwrap();
        for (count, (word, bytes)) in (1..).zip(invalid()) {
            // A frame before the fault is received.
            let before = message(&frame(8, Bytes::new())).freeze();
            let body = Parts::new([before, bytes], End::Open);
            let response = call(listener.local_address(), OURS, body).await;
            let (_, mut stream) = accepted.next().await;
            let first = stream.receiver.receive(LIMIT).await.unwrap().unwrap();
            assert_eq!(first.header.request, 8);
            let error = stream.receiver.receive(LIMIT).await.unwrap_err();
            assert!(matches!(error, NetError::Frame { .. }), "{error:?}");
            assert!(error.to_string().contains(word), "{error}");
            assert_eq!(stream.receiver.receive(LIMIT).await, Err(error));
            assert_eq!(listener.refusals().frames, count, "{word}");
            // The caller is told, and can send no more.
            let status = status(response).await;
            assert_eq!(status.code(), Code::InvalidArgument);
            assert!(status.message().contains(word), "{status}");
            tokio::time::timeout(LIMIT, stream.sender.closed())
                .await
                .unwrap();
        }
    });
}

#[test]
fn a_dialer_refuses_and_counts_frames_that_are_not_valid() {
    let runtime = network();
    runtime.block_on(async {
        let dialer = dialer(&Security::default(), runtime.handle());
        for (count, (word, bytes)) in (1..).zip(invalid()) {
            let address = serve(Some("1"), vec![bytes], End::Open, runtime.handle());
            let mut stream = dialer.open(&address, Channel::Rows, LIMIT).await.unwrap();
            let error = stream.receiver.receive(LIMIT).await.unwrap_err();
            assert!(matches!(error, NetError::Frame { .. }), "{error:?}");
            assert!(error.to_string().contains(word), "{error}");
            assert_eq!(dialer.refusals().frames, count, "{word}");
            tokio::time::timeout(LIMIT, stream.sender.closed())
                .await
                .unwrap();
        }
    });
}

#[test]
fn the_sender_of_a_refused_frame_is_told() {
    let runtime = network();
    runtime.block_on(async {
        let (listener, mut accepted) = listen(&Security::default(), runtime.handle()).unwrap();
        let refusal = End::Status(Code::InvalidArgument);
        let address = serve(Some("1"), vec![], refusal, runtime.handle());
        let dialer = dialer(&Security::default(), runtime.handle());
        let near = dialer.open(&address, Channel::Rows, LIMIT).await.unwrap();
        let _response = call(listener.local_address(), OURS, Parts::new([], refusal)).await;
        for mut stream in [near, accepted.next().await.1] {
            let error = stream.receiver.receive(LIMIT).await.unwrap_err();
            assert!(matches!(error, NetError::Refused { .. }), "{error:?}");
            assert!(error.to_string().ends_with(" refused: said so"), "{error}");
        }
    });
}

#[test]
fn frames_are_read_however_they_are_cut() {
    let runtime = network();
    runtime.block_on(async {
        let (listener, mut accepted) = listen(&Security::default(), runtime.handle()).unwrap();
        let payload: Bytes = (0..700).map(|i| i as u8).collect();
        let frames = [
            frame(1, payload.clone()),
            frame(2, Bytes::new()),
            frame(3, payload),
        ];
        let all: BytesMut = frames.iter().flat_map(message).collect();
        for size in [1, 3, 5, 64, 69, 70, 500, 10_000] {
            let parts = all.chunks(size).map(Bytes::copy_from_slice);
            let body = Parts::new(parts, End::Status(Code::Ok));
            let _response = call(listener.local_address(), OURS, body).await;
            let (_, mut stream) = accepted.next().await;
            for sent in &frames {
                let received = stream.receiver.receive(LIMIT).await.unwrap().unwrap();
                assert_eq!(received, *sent, "parts of {size} bytes");
            }
            assert_eq!(stream.receiver.receive(LIMIT).await, Ok(None));
        }
    });
}

/// Every end but the one in order is a loss, on both sides. The statuses Unknown and Cancelled are what broken
/// connections and calls out of time look like.
#[test]
fn other_ends_of_a_stream_are_losses() {
    let runtime = network();
    runtime.block_on(async {
        let (listener, mut accepted) = listen(&Security::default(), runtime.handle()).unwrap();
        let whole = message(&frame(1, Bytes::from_static(b"values"))).freeze();
        let ends = [
            (whole.clone(), End::Status(Code::Unknown)),
            (whole.clone(), End::Status(Code::Cancelled)),
            (whole.clone(), End::Status(Code::Unavailable)),
            (whole.clone(), End::Plain),
            (whole.clone(), End::Reset),
            (whole.slice(..40), End::Status(Code::Ok)),
            (whole.slice(..72), End::Status(Code::Ok)),
        ];
        for (bytes, end) in ends {
            let dialer = dialer(&Security::default(), runtime.handle());
            let address = serve(Some("1"), vec![bytes.clone()], end, runtime.handle());
            let mut streams = vec![dialer.open(&address, Channel::Rows, LIMIT).await.unwrap()];
            let body = Parts::new([bytes], end);
            let _response = call(listener.local_address(), OURS, body).await;
            streams.push(accepted.next().await.1);
            for mut stream in streams {
                let error = loop {
                    match stream.receiver.receive(LIMIT).await {
                        Ok(frame) => assert!(frame.is_some(), "{end:?} is no end in order"),
                        Err(error) => break error,
                    }
                };
                assert!(matches!(error, NetError::Lost { .. }), "{end:?}: {error:?}");
            }
        }
    });
}

#[test]
fn a_process_whose_network_has_stopped_is_lost() {
    let (here, there) = (network(), network());
    let (listener, mut accepted) = listen(&Security::default(), here.handle()).unwrap();
    let address = listener.local_address().to_string();
    let dialer = dialer(&Security::default(), there.handle());
    let near = here
        .block_on(dialer.open(&address, Channel::Rows, LIMIT))
        .unwrap();
    let mut far = here.block_on(accepted.next()).1;
    there.shutdown_background();
    let error = here.block_on(far.receiver.receive(LIMIT)).unwrap_err();
    assert!(matches!(error, NetError::Lost { .. }), "{error:?}");
    drop(near);
    let error = here
        .block_on(dialer.open(&address, Channel::Rows, LIMIT))
        .unwrap_err();
    assert!(matches!(error, NetError::Lost { .. }), "{error:?}");
}

#[test]
fn another_version_is_refused_with_both() {
    let runtime = network();
    runtime.block_on(async {
        let (listener, _) = listen(&Security::default(), runtime.handle()).unwrap();
        for (headers, found) in [(&[(VERSION_KEY, "9")][..], "9"), (&[], "missing")] {
            let body = Parts::new([], End::Open);
            let response = call(listener.local_address(), headers, body).await;
            assert_eq!(response.headers()[VERSION_KEY], "1");
            let status = status(response).await;
            assert_eq!(status.code(), Code::FailedPrecondition);
            assert_eq!(
                status.message(),
                format!("the protocol of the caller is {found}, the one here 1: use the same release everywhere")
            );
        }
        assert_eq!(listener.refusals().versions, 2);

        let address = serve(Some("9"), vec![], End::Open, runtime.handle());
        let dialer = dialer(&Security::default(), runtime.handle());
        let error = dialer.open(&address, Channel::Rows, LIMIT).await.unwrap_err();
        let source = FrameError::Version { found: 9, expected: 1 };
        assert_eq!(error, NetError::Frame { peer: address, source });
        assert_eq!(dialer.refusals().versions, 1);
    });
}

#[test]
fn an_address_without_a_node_is_told() {
    let runtime = network();
    let dialer = dialer(&Security::default(), runtime.handle());
    let open = |address: &str| {
        let error = runtime
            .block_on(dialer.open(address, Channel::Rows, LIMIT))
            .unwrap_err();
        (error.to_string(), error)
    };
    // A port that was just free.
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let (sentence, error) = open(&free);
    assert_eq!(
        sentence,
        format!(
            "{free} cannot be reached: nothing listens there: is the run still going, and is the address right?"
        )
    );
    assert!(error.is_lost());
    // Programs that speak HTTP/2, HTTP/1, or nothing.
    let other = serve(None, vec![], End::Open, runtime.handle());
    let (sentence, _) = open(&other);
    assert!(
        sentence.contains("another program answers there"),
        "{sentence}"
    );
    for answer in ["HTTP/1.1 400 Bad Request\r\n\r\n", ""] {
        let program = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = program.local_addr().unwrap().to_string();
        // The thread ends with the process.
        std::thread::spawn(move || {
            for socket in program.incoming() {
                let mut socket = socket.unwrap();
                let _ = socket.read_exact(&mut [0; 24]);
                let _ = socket.write_all(answer.as_bytes());
            }
        });
        let (sentence, error) = open(&address);
        assert!(matches!(error, NetError::Unreachable { .. }), "{error:?}");
        assert!(
            sentence.contains("or is another program there?"),
            "{sentence}"
        );
    }
    let (sentence, error) = open("nowhere");
    assert!(matches!(error, NetError::Options(_)), "{error:?}");
    assert!(sentence.contains("write host and port"), "{sentence}");
}

/// Settings of HTTP/2 by their number, out of the first frame of `socket`.
fn announced(socket: &mut TcpStream) -> Vec<(u16, u32)> {
    let mut head = [0; 9];
    socket.read_exact(&mut head).unwrap();
    assert_eq!(head[3], 4, "a frame of settings");
    let mut body = vec![0; usize::from(u16::from_be_bytes([head[1], head[2]]))];
    socket.read_exact(&mut body).unwrap();
    let setting = |s: &[u8]| {
        (
            u16::from_be_bytes([s[0], s[1]]),
            u32::from_be_bytes([s[2], s[3], s[4], s[5]]),
        )
    };
    body.chunks(6).map(setting).collect()
}

/// Untuned frames have 16 KiB and windows 64 KiB: a payload would come in 16 parts.
#[test]
fn both_ends_announce_large_frames_and_windows() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let runtime = network();
    let settings = Settings::default();
    assert!(settings.frame_size as usize >= MOST_PAYLOAD);
    let (listener, _) = listen(&Security::default(), runtime.handle()).unwrap();
    let mut socket = TcpStream::connect(listener.local_address()).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket.write_all(PREFACE).unwrap();
    // An empty frame of settings.
    socket.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).unwrap();
    let of_listener = announced(&mut socket);

    let program = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = program.local_addr().unwrap().to_string();
    let dialer = dialer(&Security::default(), runtime.handle());
    runtime.spawn(async move { dialer.open(&address, Channel::Rows, LIMIT).await });
    let mut socket = program.accept().unwrap().0;
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    let mut preface = [0; PREFACE.len()];
    socket.read_exact(&mut preface).unwrap();
    assert_eq!(preface, PREFACE);
    let of_dialer = announced(&mut socket);

    let (window, frame_size) = (4, 5);
    for announced in [of_listener, of_dialer] {
        assert!(
            announced.contains(&(window, settings.stream_window)),
            "{announced:?}"
        );
        assert!(
            announced.contains(&(frame_size, settings.frame_size)),
            "{announced:?}"
        );
    }
}
