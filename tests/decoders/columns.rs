//! Columns of shards on their way from one process to another.

use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use shardloom::cluster::columns::{fetch_column, send_column};
use shardloom::cluster::messages::{ColumnName, ColumnRequest};
use shardloom::ids::ShardId;
use shardloom::net::{Accept, Channel, Frame, FrameStream, LocalNetwork, stream};

use crate::memory::peak;
use crate::mutations::{changed_frames, frame_changes};
use crate::{LIMIT, carry, runtime};

/// Answers a request by given frames.
struct Answer(Mutex<Option<Vec<Frame>>>);

impl Accept for Answer {
    fn accept(&self, _: Channel, stream: FrameStream) {
        let frames = self.0.lock().unwrap().take().unwrap_or_default();
        tokio::spawn(async move {
            let mut stream = stream;
            let _ = stream.receiver.receive(LIMIT).await;
            for frame in frames {
                if stream.sender.send(frame, LIMIT).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// Frames of a column with the values 0, 1, 2, …
fn valid(rows: usize, width: usize) -> Vec<Frame> {
    runtime().block_on(async {
        let [sending, mut receiving] = stream::pair(["a", "b"]);
        let [recorded, _kept] = stream::pair(["c", "d"]);
        let send = async {
            let sender = sending.sender;
            let read = |range: std::ops::Range<usize>, values: &mut Vec<f32>| {
                values.extend((range.start * width..range.end * width).map(|i| i as f32));
                Ok(())
            };
            send_column(&sender, rows, width, read).await.unwrap();
        };
        let (carried, ()) = tokio::join!(carry_all(&mut receiving.receiver), send);
        drop(recorded);
        carried
    })
}

async fn carry_all(from: &mut shardloom::net::FrameReceiver) -> Vec<Frame> {
    let [to, mut end] = stream::pair(["c", "d"]);
    let drain = async { while let Ok(Some(_)) = end.receiver.receive(LIMIT).await {} };
    let carried = async {
        let sender = to.sender;
        carry(from, &sender).await
    };
    tokio::join!(carried, drain).0
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn any_change_of_a_column_is_read_or_refused(
        rows in 0..200usize, width in prop::sample::select(vec![0usize, 1, 3, 700]), changes in frame_changes(),
    ) {
        let frames = changed_frames(&valid(rows, width), &changes);
        let bytes: usize = frames.iter().map(Frame::size).sum();
        let request = ColumnRequest {
            epoch: 1,
            generation: None,
            steps: 3,
            shard: ShardId::entities(0),
            column: ColumnName::Values,
        };
        let mut written = 0;
        let (fetched, peak) = peak(|| runtime().block_on(async {
            let network = LocalNetwork::default();
            network.listen("holder", Arc::new(Answer(Mutex::new(Some(frames)))));
            let write = |range: std::ops::Range<usize>, values: &[f32]| {
                assert_eq!(range.start, written);
                assert_eq!(values.len(), range.len() * width);
                written = range.end;
                Ok(())
            };
            fetch_column(&network, "holder", &request, (rows, width), write).await
        }));
        prop_assert!(peak <= 8 * bytes + (64 << 10), "{peak} bytes for {bytes}");
        prop_assert!(written <= rows);
        if fetched.is_ok() {
            prop_assert!(width == 0 || written == rows, "{written} of {rows} rows");
        }
    }
}
