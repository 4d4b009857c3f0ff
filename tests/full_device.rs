//! A device that is full just now is told from one that can never hold a buffer, and lives on.
//!
//! A process of its own: it bounds its address space, which is what a software adapter allocates
//! from. Adapters with memory of their own are filled only where the bound reaches them.
#![cfg(target_os = "linux")]

use std::io::Write;

use shardloom::device::{AdapterKind, BufferUsages, DeviceError, testing};

/// Bytes of one buffer, and of what may be allocated beyond what the process has at the start.
const BUFFER: u64 = 256 << 20;
const ROOM: u64 = 4 << 30;

/// Lets this process map no more than `ROOM` beyond what it has mapped now.
fn bound_address_space() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmSize:")).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    let limit = libc::rlimit {
        rlim_cur: kib * 1024 + ROOM,
        rlim_max: kib * 1024 + ROOM,
    };
    // SAFETY: setrlimit reads the struct it is given and nothing else.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
}

#[test]
fn a_full_device_lives_on() {
    let Some(gpu) = testing::gpu() else { return };
    if gpu.description().kind != AdapterKind::Software {
        // Not `eprintln!`: the test harness would swallow it.
        let why = format!("SKIPPED ({gpu} has memory of its own): a_full_device_lives_on\n");
        std::io::stderr().write_all(why.as_bytes()).unwrap();
        return;
    }
    bound_address_space();
    let mut held = Vec::new();
    let error = loop {
        match gpu.buffer("hoard", BUFFER, BufferUsages::COPY_DST) {
            Ok(buffer) => held.push(buffer),
            Err(error) => break error,
        }
        assert!(held.len() < 1000, "never full");
    };
    assert!(matches!(error, DeviceError::Full { .. }), "{error:?}");
    assert!(error.to_string().contains("hoard"), "{error}");
    assert!(!held.is_empty());
    drop(held);
    gpu.finish().unwrap();
    let small = gpu.upload("small", &[1u8, 2, 3]).unwrap();
    assert_eq!(gpu.read::<u8>(&small, 0, 3).unwrap(), [1, 2, 3]);
}
