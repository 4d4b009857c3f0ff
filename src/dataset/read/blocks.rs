//! Content cut into blocks of whole lines, which threads parse in parallel.

use std::io::{self, Read};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use memchr::{memchr_iter, memrchr};

use super::Fault;

/// Bytes in a block, unless a line is longer.
const BLOCK: usize = 1 << 19;

/// Most bytes in a block, so that offsets fit 32 bits.
const LONGEST: usize = 1 << 30;

/// More threads would wait for the one that assigns ids to names.
const MOST_THREADS: usize = 8;

/// Block of whole lines.
#[derive(Debug)]
pub(super) struct Block {
    pub bytes: Vec<u8>,
    /// Number of the first line, counted from 1.
    pub line: u64,
}

/// Cuts content into blocks.
pub(super) struct Cutter<R> {
    content: R,
    /// Bytes read after the last block.
    carry: Vec<u8>,
    line: u64,
    size: usize,
    ended: bool,
    /// Block that was put back, to be returned first.
    first: Option<Block>,
}

impl<R: Read> Cutter<R> {
    pub fn new(content: R) -> Self {
        Self::with_size(content, BLOCK)
    }

    fn with_size(content: R, size: usize) -> Self {
        Cutter {
            content,
            carry: Vec::new(),
            line: 1,
            size,
            ended: false,
            first: None,
        }
    }

    /// Returns the next block, or `None` at the end. The last line may lack its line feed.
    ///
    /// # Errors
    /// The reader's error, or `InvalidData` for a line of more than 1 GiB.
    pub fn next(&mut self) -> io::Result<Option<Block>> {
        if let Some(block) = self.first.take() {
            return Ok(Some(block));
        }
        let mut bytes = std::mem::take(&mut self.carry);
        while !self.ended {
            let before = bytes.len();
            bytes.reserve_exact(self.size);
            let more = self.content.by_ref().take(self.size as u64);
            let read = { more }.read_to_end(&mut bytes)?;
            self.ended = read < self.size;
            if bytes.len() > LONGEST {
                let reason = format!("line {} is longer than 1 GiB", self.line);
                return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
            }
            if !self.ended
                && let Some(end) = memrchr(b'\n', &bytes[before..])
            {
                self.carry = bytes.split_off(before + end + 1);
                break;
            }
        }
        if bytes.is_empty() {
            return Ok(None);
        }
        let line = self.line;
        self.line += memchr_iter(b'\n', &bytes).count() as u64;
        Ok(Some(Block { bytes, line }))
    }

    /// Puts a block back, to be returned next.
    pub fn put_back(&mut self, block: Block) {
        self.first = Some(block);
    }

    /// Returns the remaining content, beginning with `block`, and the number of its first line.
    pub fn rest(self, block: Option<Block>) -> (impl Read, u64) {
        let line = block.as_ref().map_or(self.line, |block| block.line);
        let bytes = block.map(|block| block.bytes).unwrap_or_default();
        let carry = io::Cursor::new(self.carry);
        (
            io::Cursor::new(bytes).chain(carry).chain(self.content),
            line,
        )
    }
}

/// Parses blocks on several threads and passes the results to `take` in the order of the blocks.
/// Stops before the first block for which `stop` is true, and returns that block.
///
/// # Errors
/// The reader's errors, and those of `take`.
pub(super) fn parse<R: Read + Send, T: Send>(
    cutter: &mut Cutter<R>,
    stop: impl Fn(&Block) -> bool + Sync,
    parse: impl Fn(Block) -> T + Sync,
    mut take: impl FnMut(T) -> Result<(), Fault>,
) -> Result<Option<Block>, Fault> {
    let (stop, parse) = (&stop, &parse);
    // Short content needs no threads.
    let Some(first) = cutter.next()? else {
        return Ok(None);
    };
    if stop(&first) {
        return Ok(Some(first));
    }
    if cutter.ended && cutter.carry.is_empty() {
        take(parse(first))?;
        return Ok(None);
    }
    let threads = rayon::current_num_threads().clamp(1, MOST_THREADS);
    let (hand_in, handed_in) = sync_channel::<Receiver<T>>(threads + 1);
    let (give_work, work) = sync_channel::<(Block, SyncSender<T>)>(1);
    let work = Mutex::new(work);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                // A lock is poisoned only by a panic, which the scope passes on.
                while let Some((block, answer)) = work.lock().ok().and_then(|work| work.recv().ok())
                {
                    let _ = answer.send(parse(block));
                }
            });
        }
        let reader = scope.spawn(move || {
            let mut next = Some(first);
            loop {
                let block = match next.take() {
                    Some(block) => block,
                    None => match cutter.next()? {
                        Some(block) => block,
                        None => return Ok(None),
                    },
                };
                if stop(&block) {
                    return Ok(Some(block));
                }
                let (answer, answered) = sync_channel(1);
                // After an error, the receivers are gone.
                if hand_in.send(answered).is_err() || give_work.send((block, answer)).is_err() {
                    return Ok(None);
                }
            }
        });
        for answered in handed_in {
            match answered.recv() {
                Ok(parsed) => take(parsed)?,
                Err(_) => break,
            }
        }
        let rest: io::Result<Option<Block>> = match reader.join() {
            Ok(rest) => rest,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        Ok(rest?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str, size: usize) -> Vec<(u64, String)> {
        let mut cutter = Cutter::with_size(text.as_bytes(), size);
        let mut blocks = Vec::new();
        while let Some(block) = cutter.next().unwrap() {
            blocks.push((block.line, String::from_utf8(block.bytes).unwrap()));
        }
        blocks
    }

    #[test]
    fn blocks_end_with_lines_and_know_their_numbers() {
        let text = "a\nbb\n\nccccccccccc\nd";
        for size in 1..30 {
            let blocks = lines(text, size);
            let mut line = 1;
            for (index, (number, block)) in blocks.iter().enumerate() {
                assert_eq!(*number, line, "{size}");
                assert!(block.ends_with('\n') || index + 1 == blocks.len());
                line += block.matches('\n').count() as u64;
            }
            let whole: String = blocks.into_iter().map(|(_, block)| block).collect();
            assert_eq!(whole, text, "{size}");
        }
        assert_eq!(lines("", 4), []);
    }

    #[test]
    fn results_come_in_order_and_reading_stops_where_it_is_told() {
        let text: String = (0..1000).map(|i| format!("{i}\n")).collect();
        let mut cutter = Cutter::with_size(text.as_bytes(), 64);
        let (mut taken, mark) = (String::new(), "500\n");
        let stop = |block: &Block| String::from_utf8_lossy(&block.bytes).contains(mark);
        let parsed = |block: Block| String::from_utf8(block.bytes).unwrap();
        let take = |part: String| {
            taken.push_str(&part);
            Ok(())
        };
        let left = parse(&mut cutter, stop, parsed, take).unwrap();
        let (mut rest, line) = cutter.rest(left);
        assert_eq!(line, taken.matches('\n').count() as u64 + 1);
        rest.read_to_string(&mut taken).unwrap();
        assert_eq!(taken, text);
    }

    #[test]
    fn an_error_ends_it() {
        let text = "line\n".repeat(100_000);
        let mut cutter = Cutter::with_size(text.as_bytes(), 64);
        let mut count = 0;
        let take = |()| {
            count += 1;
            match count {
                10 => Err(Fault::Read(io::Error::other("enough"))),
                _ => Ok(()),
            }
        };
        let ended = parse(&mut cutter, |_| false, |_| (), take);
        assert!(matches!(ended, Err(Fault::Read(_))));
        assert_eq!(count, 10);
    }
}
