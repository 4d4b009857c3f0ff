//! Small parameters for many dispatches, uploaded once a step.

use bytemuck::Pod;
use wgpu::{Buffer, BufferUsages};

use super::{DeviceError, Gpu};

/// Bytes of a page, unless one value needs more: within every adapter's uniform binding limit.
const PAGE: u64 = 16 << 10;

/// Collects the parameters of a step's dispatches and uploads them together.
///
/// A step pushes its values, binds the [`Slot`]s, records its dispatches, and calls
/// [`Gpu::submit_with`], which uploads and submits. The next step reuses the memory: the
/// upload waits in the queue for the previous submission, so nothing is overwritten early.
/// An arena serves one step at a time; steps that are recorded at the same time need an arena each.
#[derive(Debug)]
pub struct ParamsArena {
    gpu: Gpu,
    pages: Vec<Page>,
    align: u64,
}

#[derive(Debug)]
struct Page {
    buffer: Buffer,
    bytes: Vec<u8>,
}

/// The place of a value until the next flush; binds as a uniform or as read-only storage.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Slot {
    pub(super) buffer: Buffer,
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

impl ParamsArena {
    /// An empty arena; pages come as they are needed.
    pub fn new(gpu: &Gpu) -> Self {
        let limits = gpu.limits();
        let align = (limits.min_uniform_buffer_offset_alignment)
            .max(limits.min_storage_buffer_offset_alignment);
        Self {
            gpu: gpu.clone(),
            pages: Vec::new(),
            align: align.into(),
        }
    }

    /// Adds a value to the step, padded with zeros to a multiple of 16 bytes as WGSL's uniform
    /// structs are.
    ///
    /// # Errors
    /// As [`Gpu::buffer`], when a page is added.
    pub fn push<T: Pod>(&mut self, value: &T) -> Result<Slot, DeviceError> {
        let bytes = (size_of::<T>() as u64).next_multiple_of(16).max(16);
        let fits = |page: &Page| page.next(self.align) + bytes <= page.buffer.size();
        let index = match self.pages.iter().position(fits) {
            Some(index) => index,
            None => {
                let usage = BufferUsages::UNIFORM | BufferUsages::STORAGE | BufferUsages::COPY_DST;
                let buffer = self.gpu.buffer("params", bytes.max(PAGE), usage)?;
                let bytes = Vec::new();
                self.pages.push(Page { buffer, bytes });
                self.pages.len() - 1
            }
        };
        let page = &mut self.pages[index];
        let offset = page.next(self.align);
        page.bytes.resize(offset as usize, 0);
        page.bytes.extend_from_slice(bytemuck::bytes_of(value));
        page.bytes.resize((offset + bytes) as usize, 0);
        Ok(Slot {
            buffer: page.buffer.clone(),
            offset,
            bytes,
        })
    }

    /// Uploads everything pushed since the last flush and starts over. The commands that read
    /// it are to be submitted before anything else is flushed: prefer [`Gpu::submit_with`].
    pub fn flush(&mut self) {
        for page in &mut self.pages {
            if !page.bytes.is_empty() {
                self.gpu.put(&page.buffer, 0, &page.bytes);
                page.bytes.clear();
            }
        }
    }
}

impl Page {
    fn next(&self, align: u64) -> u64 {
        (self.bytes.len() as u64).next_multiple_of(align)
    }
}
