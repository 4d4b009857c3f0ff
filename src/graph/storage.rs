//! Bytes of a graph: a file that is mapped, or memory.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;

use bytemuck::AnyBitPattern;
use memmap2::Mmap;

/// Memory that a graph file is read from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Memory {
    /// The file, mapped: it opens at once, and processes share it.
    #[default]
    File,
    /// A copy of the file in pages of 2 MiB, where the system gives them. Each process has its own. Opening takes as long as reading
    /// the file; draws from graphs beyond the processor's cache are faster.
    Huge,
}

/// Bytes of a graph.
pub(super) enum Storage {
    /// A file.
    Mapped(Mmap),
    /// A copy of a file.
    Copied(Mmap),
    /// Memory: words, so that sections are aligned.
    Memory(Vec<u64>),
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self {
            Storage::Mapped(_) => "Mapped",
            Storage::Copied(_) => "Copied",
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

    /// Copies a file into memory with huge pages.
    ///
    /// # Errors
    /// If the system has no memory for it, or the file cannot be read.
    pub fn copy(file: &mut File) -> io::Result<Storage> {
        let bytes = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        // The system makes no map of no bytes; the header says what is wrong with such a file.
        let mut map = memmap2::MmapMut::map_anon(bytes.max(1))?;
        #[cfg(target_os = "linux")]
        // Where the system has no huge pages, small ones serve.
        let _ = map.advise(memmap2::Advice::HugePage);
        file.read_exact(&mut map[..bytes])?;
        Ok(Storage::Copied(map.make_read_only()?))
    }

    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Storage::Mapped(map) | Storage::Copied(map) => map,
            Storage::Memory(words) => bytemuck::cast_slice(words),
        }
    }

    /// Numbers of a section, by its bytes. Sections are aligned to 4 KiB.
    pub fn numbers<T: AnyBitPattern>(&self, section: &Range<usize>) -> &[T] {
        bytemuck::cast_slice(&self.bytes()[section.clone()])
    }
}
