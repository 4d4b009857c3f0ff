//! Bytes of programs that are no clients, and frames of clients that are cut at every byte.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shardloom::net::graph_store::{Address, Remote, RemoteOptions};
use shardloom::store::GraphStore;

use crate::fixture::{
    Process, anonymous_memory, count, epoch, graph_file, next, rank, sampler, wait_until,
};

/// First bytes of a client that speaks HTTP/2.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Random numbers, the same in every run.
struct Noise(u64);

impl Noise {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }

    fn bytes(&mut self, most: u64) -> Vec<u8> {
        let count = self.below(most);
        (0..count).map(|_| self.below(256) as u8).collect()
    }

    /// Bytes of a program that is no client: random ones, or frames of HTTP/2 with random contents.
    fn garbage(&mut self) -> Vec<u8> {
        if self.below(2) == 0 {
            return self.bytes(600);
        }
        let mut bytes = PREFACE.to_vec();
        // Settings come first; without them, the connection ends before any other frame is read.
        bytes.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
        for _ in 0..self.below(6) {
            let payload = self.bytes(80);
            let length = match self.below(8) {
                0 => self.below(1 << 24) as u32,
                _ => payload.len() as u32,
            };
            bytes.extend(&length.to_be_bytes()[1..]);
            bytes.extend([self.below(11) as u8, self.below(256) as u8]);
            bytes.extend((self.below(4) as u32).to_be_bytes());
            bytes.extend(payload);
        }
        bytes
    }
}

/// Open files of a process.
fn files(process: u32) -> usize {
    std::fs::read_dir(format!("/proc/{process}/fd"))
        .unwrap()
        .count()
}

/// Starts a server at both kinds of sockets.
fn start(directory: &Path) -> (Process, std::path::PathBuf) {
    let file = graph_file(directory);
    let socket = directory.join("store.sock");
    let listen = format!("unix:{}", socket.display());
    let arguments = [
        "--listen",
        "127.0.0.1:0",
        "--listen",
        &listen,
        "--lease",
        "1",
    ];
    (Process::start(&file, &arguments), socket)
}

#[test]
fn ten_thousand_random_texts_leave_neither_files_nor_memory() {
    let directory = tempfile::tempdir().unwrap();
    let (server, socket) = start(directory.path());
    let id = server.child.id();
    let mut channel = server
        .client()
        .open(&sampler("loader"), &rank(0, 1))
        .unwrap();
    let expected = epoch(&mut *channel, 1);
    let files_before = files(id);
    let mut noise = Noise(5);
    let mut send = |texts: usize| {
        for at in 0..texts {
            let text = noise.garbage();
            // The server may have closed the connection already.
            if at % 50 == 0 {
                let address = server.addresses[0].to_string();
                let _ = TcpStream::connect(address).unwrap().write_all(&text);
            } else {
                let _ = UnixStream::connect(&socket).unwrap().write_all(&text);
            }
        }
        wait_until("the end of all connections", || files(id) <= files_before);
        anonymous_memory(id)
    };
    // Memory depends on the connections that are open at once, and some is kept for later ones: the most of one half of
    // the rounds is compared with the most of the other.
    let after: Vec<u64> = (0..10).map(|_| send(1_000)).collect();
    println!("bytes after each 1,000 texts: {after:?}");
    let [first, last] = [&after[..5], &after[5..]].map(|half| half.iter().max().unwrap());
    let grown = last.saturating_sub(*first);
    // Less than two of the smallest allocations for each connection.
    assert!(grown < 5_000 * 2 * 32, "{grown} bytes more: {after:?}");
    assert_eq!(epoch(&mut *channel, 2).len(), expected.len());
}

/// Bytes that a client sends while it opens a channel and reads a few batches.
fn recorded(address: &Address) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let between = Address::Tcp(listener.local_addr().unwrap().to_string());
    let sent = Arc::new(Mutex::new(Vec::new()));
    let (to, record) = (address.to_string(), Arc::clone(&sent));
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut server = TcpStream::connect(to).unwrap();
        let (mut answers, mut back) = (server.try_clone().unwrap(), client.try_clone().unwrap());
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut answers, &mut back);
        });
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = client.read(&mut bytes) {
            record.lock().unwrap().extend_from_slice(&bytes[..count]);
            if server.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
    });
    let client = Remote::new(&between, &RemoteOptions::default()).unwrap();
    client.describe().unwrap();
    let mut channel = client.open(&sampler("recorded"), &rank(0, 1)).unwrap();
    channel.start(1).unwrap();
    for _ in 0..3 {
        next(&mut *channel).unwrap();
    }
    let sent = sent.lock().unwrap().clone();
    assert!(sent.starts_with(PREFACE));
    sent
}

#[test]
fn frames_that_are_cut_at_every_byte_leave_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (server, socket) = start(directory.path());
    let id = server.child.id();
    let mut channel = server
        .client()
        .open(&sampler("loader"), &rank(0, 1))
        .unwrap();
    let expected = epoch(&mut *channel, 1);
    let bytes = recorded(&server.addresses[0]);
    let client = server.client();
    let alone = || count(&client, "channels") <= 1;
    wait_until("the end of the recorded client", alone);
    let files_before = files(id);
    let mut opened = 0;
    for end in 0..=bytes.len() {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        // The server may have closed the connection already.
        let _ = stream.write_all(&bytes[..end]);
        if end % 16 == 0 {
            // Some clients wait for the answers, up to the end of their own half.
            let _ = stream.shutdown(std::net::Shutdown::Write);
            opened += std::io::copy(&mut stream, &mut std::io::sink()).unwrap_or(0);
        }
    }
    assert!(opened > 0, "nobody was answered");
    wait_until("the end of all connections", || files(id) <= files_before);
    wait_until("the end of all leases", || {
        alone() && count(&client, "streams") == 0
    });
    assert_eq!(epoch(&mut *channel, 2).len(), expected.len());
}
