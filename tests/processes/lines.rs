//! A line between a worker and its leader that delays, stalls and cuts.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::{Place, Process, until};

/// What a line does with the bytes that come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Passage {
    Open,
    /// Every piece takes 20 ms.
    Slow,
    /// Nothing passes from the worker to the leader; the connection stays.
    Stalled,
    /// The next piece passes by half, and the connection ends.
    Cut,
}

/// A line to an address. Dropping it cuts the line for good.
pub struct Line {
    pub address: String,
    passage: Arc<AtomicU8>,
    connections: Arc<Mutex<Vec<TcpStream>>>,
}

impl Line {
    pub fn to(leader: &str) -> Line {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let passage = Arc::new(AtomicU8::new(Passage::Open as u8));
        let connections = Arc::<Mutex<Vec<TcpStream>>>::default();
        let line = Line {
            address,
            passage: Arc::clone(&passage),
            connections: Arc::clone(&connections),
        };
        let leader = leader.to_owned();
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                // Nobody leads any more.
                let Ok(far) = TcpStream::connect(&leader) else {
                    continue;
                };
                let ways = [(&near, &far, true), (&far, &near, false)];
                for (from, to, stalls) in ways {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let passage = Arc::clone(&passage);
                    thread::spawn(move || carry(from, to, &passage, stalls));
                }
                connections.lock().unwrap().extend([near, far]);
            }
        });
        line
    }

    pub fn set(&self, passage: Passage) {
        self.passage.store(passage as u8, Ordering::Relaxed);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        for connection in self.connections.lock().unwrap().iter() {
            // The connection may have ended.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, passage: &AtomicU8, stalls: bool) {
    let is = |what: Passage| passage.load(Ordering::Relaxed) == what as u8;
    let mut piece = [0; 16 << 10];
    while let Ok(count) = from.read(&mut piece) {
        while is(Passage::Stalled) && stalls {
            thread::sleep(Duration::from_millis(5));
        }
        if is(Passage::Slow) {
            thread::sleep(Duration::from_millis(20));
        }
        let cut = is(Passage::Cut);
        let passes = if cut { count / 2 } else { count };
        if count == 0 || to.write_all(&piece[..passes]).is_err() || cut {
            break;
        }
    }
    // Either end may be gone.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// Starts a worker that joins by a line.
pub fn work_by(line: &Line, token: &str) -> Process {
    let join = [
        "worker",
        "--join",
        &line.address,
        "--threads",
        "1",
        "--device",
        "cpu",
    ];
    Process::start(&join, &[("SHARDLOOM_TOKEN", token)])
}

#[test]
fn a_worker_on_a_bad_line_is_lost_and_comes_back() {
    let place = Place::new();
    let more = ["--batch-size", "250"];
    let epochs = ["--epochs", "1000000", "--replicas", "2"];
    let mut leader = place.lead_aloud("run", &[&more[..], &epochs].concat());
    let (address, token) = place.leader_of("run");
    let line = Line::to(&address);
    let _other = place.work("run");
    let worker = work_by(&line, &token);
    let joins = |times: usize| {
        until("it joins", || {
            worker.said().matches("joins the run").count() >= times
        });
    };
    joins(1);
    place.reach("run", place.epochs("run") + 2);
    line.set(Passage::Slow);
    place.reach("run", place.epochs("run") + 5);
    // Slow is not lost.
    assert_eq!(
        worker.said().matches("joins the run").count(),
        1,
        "{}",
        worker.said()
    );
    line.set(Passage::Cut);
    leader.says("lost: ", Instant::now() - Duration::from_millis(10));
    line.set(Passage::Open);
    joins(2);
    place.reach("run", place.epochs("run") + 2);
    let at = Instant::now();
    line.set(Passage::Stalled);
    let noticed = leader.says("lost: ", at);
    assert!(noticed < Duration::from_secs(3), "{noticed:?}");
    place.reach("run", place.epochs("run") + 2);
    line.set(Passage::Open);
    joins(3);
    place.reach("run", place.epochs("run") + 2);
    place.end_as_alone("run", &mut leader, &more);
}
