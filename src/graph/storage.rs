//! Bytes of a graph: a file that is mapped, or memory.

use std::fs::File;
use std::io;
use std::ops::Range;

use bytemuck::AnyBitPattern;
use memmap2::Mmap;

/// Bytes of a graph.
pub(super) enum Storage {
    /// A file.
    Mapped(Mmap),
    /// Memory: words, so that sections are aligned.
    Memory(Vec<u64>),
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self {
            Storage::Mapped(_) => "Mapped",
            Storage::Memory(_) => "Memory",
        };
        write!(f, "{kind}({} bytes)", self.bytes().len())
    }
}

impl Storage {
    /// Maps a file.
    ///
    /// # Errors
    /// If the system cannot map it.
    pub fn map(file: &File) -> io::Result<Storage> {
        // SAFETY: the bytes are read as numbers, of which any pattern is valid; who cuts the file off while it is
        // mapped ends this process by a signal, as with any mapped file. docs/graph-store.md says so.
        let map = unsafe { Mmap::map(file) }?;
        #[cfg(target_os = "linux")]
        // Where the file system has no huge pages, small ones serve.
        let _ = map.advise(memmap2::Advice::HugePage);
        Ok(Storage::Mapped(map))
    }

    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Storage::Mapped(map) => map,
            Storage::Memory(words) => bytemuck::cast_slice(words),
        }
    }

    /// Numbers of a section, by its bytes. Sections are aligned to 4 KiB.
    pub fn numbers<T: AnyBitPattern>(&self, section: &Range<usize>) -> &[T] {
        bytemuck::cast_slice(&self.bytes()[section.clone()])
    }
}
