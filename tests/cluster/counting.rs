//! A network that counts the payloads of frames.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shardloom::net::dial::Opening;
use shardloom::net::stream::pair;
use shardloom::net::{Channel, Dial, FrameReceiver, FrameSender, Kind, LocalNetwork};

/// Longest rest of a stream.
const REST: Duration = Duration::from_secs(120);

/// Opens streams of a network, and counts what they carry both ways.
#[derive(Debug)]
pub struct Counting {
    network: LocalNetwork,
    /// Bytes of payloads by name of channel and kind of frame.
    bytes: Arc<Mutex<BTreeMap<String, u64>>>,
}

fn name(channel: Channel, kind: Kind) -> String {
    format!("{channel:?} {kind:?}")
}

impl Counting {
    pub fn new(network: &LocalNetwork) -> Counting {
        Counting {
            network: network.clone(),
            bytes: Arc::default(),
        }
    }

    /// Bytes of payloads of frames of a kind so far.
    pub fn bytes(&self, channel: Channel, kind: Kind) -> u64 {
        let bytes = self.bytes.lock().unwrap();
        bytes.get(&name(channel, kind)).copied().unwrap_or_default()
    }

    fn forward(&self, channel: Channel, mut from: FrameReceiver, to: FrameSender) {
        let bytes = Arc::clone(&self.bytes);
        tokio::spawn(async move {
            loop {
                let frame = tokio::select! {
                    frame = from.receive(REST) => frame,
                    () = to.closed() => return,
                };
                let Ok(Some(frame)) = frame else { return };
                let name = name(channel, frame.header.kind);
                *bytes.lock().unwrap().entry(name).or_default() += frame.payload.len() as u64;
                if to.send(frame, REST).await.is_err() {
                    return;
                }
            }
        });
    }
}

impl Dial for Counting {
    fn open<'a>(&'a self, address: &'a str, channel: Channel, limit: Duration) -> Opening<'a> {
        Box::pin(async move {
            let theirs = self.network.open(address, channel, limit).await?;
            let [ours, middle] = pair(["a process", address]);
            self.forward(channel, middle.receiver, theirs.sender);
            self.forward(channel, theirs.receiver, middle.sender);
            Ok(ours)
        })
    }
}
