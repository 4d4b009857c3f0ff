//! A bound on nested triples, since their parsers are recursive.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memchr::{memchr_iter, memmem};

use super::Job;
use super::row::{Mismatch, malformed};
use crate::dataset::ParseError;

/// Most triples nested within each other.
const DEEPEST: usize = 200;

const OPEN: &[u8] = b"<<(";
const CLOSE: &[u8] = b")>>";

/// Returns true if a text nests triples more deeply than allowed.
pub(super) fn is_too_deep(text: &[u8]) -> bool {
    depth_after(text, 0).is_err()
}

/// Error of triples that are nested too deeply.
pub(super) fn too_deep(job: &Job, line: u64) -> ParseError {
    let found = "triples within triples".to_owned();
    let expected = format!("at most {DEEPEST} within each other");
    malformed(job.label, line, Mismatch::new(found, expected))
}

/// Returns the depth at the end of a text that begins at depth `depth`.
///
/// # Errors
/// The offset at which the depth exceeds the bound.
fn depth_after(text: &[u8], mut depth: usize) -> Result<usize, usize> {
    let mut closed = memmem::find_iter(text, CLOSE).peekable();
    for open in memmem::find_iter(text, OPEN) {
        while closed.next_if(|&close| close < open).is_some() {
            depth = depth.saturating_sub(1);
        }
        depth += 1;
        if depth > DEEPEST {
            return Err(open);
        }
    }
    Ok(depth.saturating_sub(closed.count()))
}

/// Content that ends where triples are nested too deeply.
pub(super) struct Shallow<R> {
    content: R,
    depth: usize,
    line: u64,
    /// Number of the line in which the content was ended, or 0.
    ended: Arc<AtomicU64>,
}

impl<R> Shallow<R> {
    pub fn new(content: R) -> Self {
        Shallow {
            content,
            depth: 0,
            line: 1,
            ended: Arc::default(),
        }
    }

    /// Returns the number of the line in which the content was ended, or 0, once it is read.
    pub fn ended(&self) -> Arc<AtomicU64> {
        self.ended.clone()
    }
}

impl<R: Read> Read for Shallow<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.ended.load(Ordering::Relaxed) > 0 {
            return Ok(0);
        }
        let count = self.content.read(into)?;
        let read = &into[..count];
        let lines = |part: &[u8]| memchr_iter(b'\n', part).count() as u64;
        match depth_after(read, self.depth) {
            Ok(depth) => {
                self.depth = depth;
                self.line += lines(read);
                Ok(count)
            }
            Err(offset) => {
                let line = self.line + lines(&read[..offset]);
                self.ended.store(line, Ordering::Relaxed);
                Ok(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::ReadOptions;
    use crate::dataset::read::tests::message_with;

    #[test]
    fn depth_is_that_of_triples_within_triples() {
        assert_eq!(depth_after(b"<<( a <<( b )>> )>> <<( c )>>", 0), Ok(0));
        assert_eq!(depth_after(b"<<( a", 3), Ok(4));
        assert_eq!(depth_after(b")>> )>>", 1), Ok(0));
        assert_eq!(depth_after(b")>> <<( a <<( b", DEEPEST), Err(10));
    }

    #[test]
    fn triples_that_stand_too_deep_are_refused() {
        for name in ["f.nt", "f.nq", "f.ttl", "f.trig", "f.n3"] {
            for depth in [300, 100_000] {
                let open = "<<( <e:a> <e:r> ".repeat(depth);
                let close = " )>>".repeat(depth);
                let text = format!("<e:a> <e:r> <e:b> .\n<e:a> <e:r> {open}<e:b>{close} .\n");
                let error = message_with(name, text.as_bytes(), &ReadOptions::default());
                assert!(error.starts_with(&format!("{name}:2: ")), "{error}");
                let deep = error.contains("at most 200 within each other");
                assert!(deep, "{error}");
            }
        }
    }
}
