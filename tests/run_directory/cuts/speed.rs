//! Speed of writing and reading; run by hand in a release build.

use std::time::Instant;

use super::*;

#[test]
#[ignore = "a measurement: cargo test --release --test run_directory speed -- --ignored --nocapture"]
fn speed_of_one_gigabyte() {
    let run = tempfile::tempdir().unwrap();
    let cuts = cuts(run.path());
    let shard = ShardId::entities(0);
    let shape = shape(shard, 1_000_000_000 / 16);
    let block = values(1, 1 << 18);
    let count = shape.bytes() as usize / 4;
    let rate = |start: Instant| shape.bytes() as f64 / 1e9 / start.elapsed().as_secs_f64();
    for _ in 0..3 {
        let start = Instant::now();
        let mut writer = cuts.writer(&attempt(1, 1), shape.clone()).unwrap();
        let mut left = count;
        while left > 0 {
            let part = left.min(block.len());
            writer.values(&block[..part]).unwrap();
            left -= part;
        }
        let written = rate(start);
        let file = writer.finish(Incarnation(1)).unwrap();
        let synced = rate(start);
        let cut = manifest(&attempt(1, 1), vec![file]);
        let start = Instant::now();
        let mut reader = cuts.reader(&cut, shard).unwrap();
        let mut out = Vec::new();
        for column in shape.columns() {
            let mut left = shape.rows * column.width;
            while left > 0 {
                reader.values(left.min(1 << 20), &mut out).unwrap();
                left -= out.len();
            }
        }
        let read = rate(start);
        let start = Instant::now();
        cuts.reader(&cut, shard).unwrap().verify().unwrap();
        let verified = rate(start);
        println!(
            "GB/s: written {written:.2}, with fsync {synced:.2}; read {read:.2}, verified {verified:.2}"
        );
    }
}
