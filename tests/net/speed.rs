//! Speed compared with a plain copy over TCP, in the same run:
//! `cargo test --release --test net speed -- --ignored --nocapture`, on an idle machine.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use bytes::Bytes;
use shardloom::net::frame::MOST_PAYLOAD;
use shardloom::net::{Frame, FrameSender, FrameStream};

use crate::{LIMIT, connected_between, frame, network};

/// Bytes of a message: 4096 rows of 128 `f32`.
const MESSAGE: usize = 2 << 20;
const PARTS: usize = MESSAGE / MOST_PAYLOAD;
/// Rounds, in which every way is measured in turn.
const ROUNDS: usize = 9;
/// Messages of a round.
const MESSAGES: usize = 100;
/// Small round trips of a round.
const TRIPS: usize = 2000;

/// Time on the clock, and processor time of all threads.
#[derive(Clone, Copy)]
struct Cost {
    clock: Duration,
    processor: Duration,
}

fn processor_time() -> Duration {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` outlives the call, which fills it.
    let usage = unsafe {
        assert_eq!(libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()), 0);
        usage.assume_init()
    };
    let time = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
    time(usage.ru_utime) + time(usage.ru_stime)
}

fn cost(work: impl FnOnce()) -> Cost {
    let (start, before) = (Instant::now(), processor_time());
    work();
    Cost {
        clock: start.elapsed(),
        processor: processor_time() - before,
    }
}

/// What a request of the peers below asks for.
const PULL: u32 = 1;
const PUSH: u32 = 2;
const TRIP: u32 = 3;

/// Answers over TCP, with a header of 64 bytes before each message.
fn answer_copies(mut socket: TcpStream) {
    socket.set_nodelay(true).unwrap();
    let (mut head, mut values) = ([0; 64], vec![7; MESSAGE]);
    while socket.read_exact(&mut head).is_ok() {
        match u32::from(head[0]) {
            PULL => socket.write_all(&values).unwrap(),
            PUSH => {
                socket.read_exact(&mut values).unwrap();
                socket.write_all(&head).unwrap();
            }
            _ => socket.write_all(&head).unwrap(),
        }
    }
}

fn copy(socket: &mut TcpStream, request: u32, values: &mut [u8]) {
    let mut head = [request as u8; 64];
    socket.write_all(&head).unwrap();
    match request {
        PULL => socket.read_exact(values).unwrap(),
        PUSH => {
            socket.write_all(values).unwrap();
            socket.read_exact(&mut head).unwrap();
        }
        _ => socket.read_exact(&mut head).unwrap(),
    }
}

fn part() -> Bytes {
    vec![7; MOST_PAYLOAD].into()
}

async fn send(sender: &FrameSender, request: u32, payload: &Bytes) {
    let frame = frame(request, payload.clone());
    sender.send(frame, LIMIT).await.unwrap();
}

async fn receive(stream: &mut FrameStream) -> Frame {
    stream.receiver.receive(LIMIT).await.unwrap().unwrap()
}

/// Answers over a stream of frames.
async fn answer_frames(mut stream: FrameStream) {
    let (values, nothing) = (part(), Bytes::new());
    while let Ok(Some(request)) = stream.receiver.receive(LIMIT * 10).await {
        let number = request.header.request;
        match number {
            PULL => {
                for _ in 0..PARTS {
                    send(&stream.sender, number, &values).await;
                }
            }
            PUSH => {
                for _ in 0..PARTS {
                    receive(&mut stream).await;
                }
                send(&stream.sender, number, &nothing).await;
            }
            _ => send(&stream.sender, number, &nothing).await,
        }
    }
}

async fn call(stream: &mut FrameStream, request: u32, values: &Bytes) {
    send(&stream.sender, request, &Bytes::new()).await;
    let received = match request {
        PULL => PARTS,
        PUSH => {
            for _ in 0..PARTS {
                send(&stream.sender, request, values).await;
            }
            1
        }
        _ => 1,
    };
    for _ in 0..received {
        receive(stream).await;
    }
}

fn median<T: PartialOrd + Copy>(mut values: Vec<T>) -> T {
    values.sort_by(|a, b| a.partial_cmp(b).unwrap());
    values[values.len() / 2]
}

#[test]
#[ignore = "measures: on an idle machine, in release"]
fn speed() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut plain = TcpStream::connect(socket.local_addr().unwrap()).unwrap();
    plain.set_nodelay(true).unwrap();
    let accepted = socket.accept().unwrap().0;
    std::thread::spawn(move || answer_copies(accepted));

    let (here, there) = (network(), network());
    let (near, far) = here.block_on(connected_between(here.handle(), there.handle()));
    there.spawn(answer_frames(far));
    let mut stream = Some(near);

    let mut values = vec![7; MESSAGE];
    let payload = part();
    println!("                          copy   frames");
    for (name, request) in [("pull", PULL), ("push", PUSH)] {
        let (mut copies, mut frames) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            copies.push(cost(|| {
                (0..MESSAGES).for_each(|_| copy(&mut plain, request, &mut values));
            }));
            let (mut near, payload) = (stream.take().unwrap(), payload.clone());
            frames.push(cost(|| {
                let calls = here.spawn(async move {
                    for _ in 0..MESSAGES {
                        call(&mut near, request, &payload).await;
                    }
                    near
                });
                stream = Some(here.block_on(calls).unwrap());
            }));
        }
        let gb = (MESSAGES * MESSAGE) as f64 / 1e9;
        let speed =
            |costs: &[Cost]| gb / median(costs.iter().map(|c| c.clock.as_secs_f64()).collect());
        let processor =
            |costs: &[Cost]| median(costs.iter().map(|c| c.processor.as_secs_f64()).collect()) / gb;
        let (a, b) = (speed(&copies), speed(&frames));
        println!(
            "{name} of 2 MiB, GB/s       {a:6.2}   {b:6.2}   share {:.2}",
            b / a
        );
        let (a, b) = (processor(&copies), processor(&frames));
        println!("{name}, processor s a GB    {a:6.2}   {b:6.2}");
    }
    let (mut copies, mut frames) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for _ in 0..TRIPS {
            let start = Instant::now();
            copy(&mut plain, TRIP, &mut values);
            copies.push(start.elapsed());
        }
        let (mut near, payload) = (stream.take().unwrap(), payload.clone());
        let trips = here.spawn(async move {
            let mut times = Vec::new();
            for _ in 0..TRIPS {
                let start = Instant::now();
                call(&mut near, TRIP, &payload).await;
                times.push(start.elapsed());
            }
            (near, times)
        });
        let (near, times) = here.block_on(trips).unwrap();
        stream = Some(near);
        frames.extend(times);
    }
    let (a, b) = (median(copies), median(frames));
    println!("one small round trip    {a:6.1?}  {b:6.1?}");
}
