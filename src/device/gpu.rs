//! One open GPU: its queue, its faults, and every wait for it.

use std::{
    collections::HashMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use wgpu::{
    COPY_BUFFER_ALIGNMENT, CommandEncoder, Features, Limits, PollError, PollType, SubmissionIndex,
    wgt::DeviceLostReason,
};

use super::{
    AdapterDescription, DeviceError, ParamsArena,
    bench::{Counts, Tally},
    buffer::Staging,
    pipeline::{Pipeline, PipelineKey},
};

/// The most that one binding may cover on any adapter, in bytes. Vulkan and DX12 stop at 2 GiB;
/// Metal takes more but may then miscompute silently.
pub const MAX_BINDING: u64 = (i32::MAX as u64) & !(BINDING_STEP - 1);
/// Binding limits are multiples of this, so that a shard always ends on a legal binding offset.
const BINDING_STEP: u64 = 256;

/// Options for opening a GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuOptions {
    /// Lowers the storage binding limit to this many bytes (rounded down to a multiple of 256,
    /// at least 256), so that small tables fall into many shards. The default is the adapter's
    /// own limit, at most [`MAX_BINDING`].
    pub binding_limit: Option<u64>,
    /// Longest wait for the GPU, after which calls fail with [`DeviceError::Timeout`]. llvmpipe
    /// computes inside the wait.
    pub deadline: Duration,
}

impl Default for GpuOptions {
    fn default() -> Self {
        Self {
            binding_limit: None,
            deadline: Duration::from_secs(120),
        }
    }
}

impl GpuOptions {
    /// The default options with a lower storage binding limit, in bytes.
    pub fn with_binding_limit(bytes: u64) -> Self {
        Self {
            binding_limit: Some(bytes),
            ..Self::default()
        }
    }
}

/// An open GPU. Clones are cheap and share the device.
#[derive(Clone)]
pub struct Gpu(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    description: AdapterDescription,
    limits: Limits,
    features: Features,
    pub deadline: Duration,
    faults: Arc<Faults>,
    pub pipelines: Mutex<HashMap<PipelineKey, Pipeline>>,
    pub staging: Staging,
    pub tally: Tally,
}

/// Errors that the driver reported outside of any call.
#[derive(Default)]
struct Faults {
    lost: OnceLock<String>,
    first: Mutex<Option<DeviceError>>,
}

/// Whether both are the same open device. Another opening of the same adapter is another device:
/// neither sees the buffers of the other.
impl PartialEq for Gpu {
    fn eq(&self, other: &Gpu) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Gpu {}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gpu({self})")
    }
}

impl fmt::Display for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.description().fmt(f)
    }
}

impl Gpu {
    pub(super) fn open(
        adapter: &wgpu::Adapter,
        description: &AdapterDescription,
        options: &GpuOptions,
    ) -> Result<Self, DeviceError> {
        let mut limits = adapter.limits();
        let binding = (limits.max_storage_buffer_binding_size)
            .min(options.binding_limit.unwrap_or(MAX_BINDING))
            .min(MAX_BINDING);
        limits.max_storage_buffer_binding_size =
            (binding / BINDING_STEP * BINDING_STEP).max(BINDING_STEP);
        // Some drivers say 2 GiB less one byte; buffers have whole words.
        limits.max_buffer_size &= !(COPY_BUFFER_ALIGNMENT - 1);
        let useful = Features::TIMESTAMP_QUERY
            | Features::TIMESTAMP_QUERY_INSIDE_ENCODERS
            | Features::SUBGROUP
            | Features::SHADER_F16;
        let features = adapter.features() & useful;

        let request = adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("shardloom"),
            required_features: features,
            required_limits: limits.clone(),
            ..Default::default()
        });
        let (device, queue) = pollster::block_on(request).map_err(|e| DeviceError::Open {
            adapter: description.to_string(),
            reason: e.to_string(),
        })?;

        let faults = Arc::new(Faults::default());
        device.set_device_lost_callback({
            let faults = Arc::clone(&faults);
            move |reason, message| faults.lose(reason, message)
        });
        device.on_uncaptured_error({
            let faults = Arc::clone(&faults);
            Arc::new(move |error| faults.record(error))
        });
        Ok(Self(Arc::new(Inner {
            device,
            queue,
            description: description.clone(),
            limits,
            features,
            deadline: options.deadline,
            faults,
            pipelines: Mutex::default(),
            staging: Staging::default(),
            tally: Tally::default(),
        })))
    }

    /// The adapter behind this device, with the adapter's own limits.
    pub fn description(&self) -> &AdapterDescription {
        &self.0.description
    }

    /// The limits in force; the storage binding limit may be lower than the adapter's.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// The most bytes that one storage binding may cover: the bound on a shard.
    pub fn binding_limit(&self) -> u64 {
        self.0.limits.max_storage_buffer_binding_size
    }

    /// The optional features that this device has.
    pub fn features(&self) -> Features {
        self.0.features
    }

    /// Calls to the device so far.
    pub fn counts(&self) -> Counts {
        self.0.tally.counts()
    }

    /// The raw device, for what this wrapper does not cover.
    pub fn device(&self) -> &wgpu::Device {
        &self.0.device
    }

    /// The raw queue.
    pub fn queue(&self) -> &wgpu::Queue {
        &self.0.queue
    }

    /// A new list of commands.
    pub fn encoder(&self, label: &str) -> CommandEncoder {
        (self.0.device)
            .create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some(label) })
    }

    /// Hands commands to the device and returns at once. Mistakes in them surface at the next
    /// [`check`](Self::check) or [`read`](Self::read).
    pub fn submit(&self, encoder: CommandEncoder) -> SubmissionIndex {
        self.0.tally.submissions.add(1);
        self.0.queue.submit([encoder.finish()])
    }

    /// Uploads the step's parameters, then submits the commands that read them.
    pub fn submit_with(
        &self,
        encoder: CommandEncoder,
        params: &mut ParamsArena,
    ) -> SubmissionIndex {
        params.flush();
        self.submit(encoder)
    }

    /// Reports a lost device or the first mistake since the last report; does not block.
    ///
    /// # Errors
    /// [`DeviceError::Lost`] for good; anything else once.
    pub fn check(&self) -> Result<(), DeviceError> {
        self.notice_loss()?;
        match lock(&self.0.faults.first).take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Waits for one submission.
    ///
    /// # Errors
    /// [`DeviceError::Timeout`] past the deadline; [`DeviceError::Lost`].
    pub fn wait(&self, submission: SubmissionIndex) -> Result<(), DeviceError> {
        self.poll(PollType::Wait {
            submission_index: Some(submission),
            timeout: Some(self.0.deadline),
        })
    }

    /// Waits for everything submitted so far, then [checks](Self::check).
    ///
    /// # Errors
    /// As [`wait`](Self::wait) and [`check`](Self::check).
    pub fn finish(&self) -> Result<(), DeviceError> {
        self.poll(PollType::Wait {
            submission_index: None,
            timeout: Some(self.0.deadline),
        })?;
        self.check()
    }

    fn poll(&self, how: PollType) -> Result<(), DeviceError> {
        self.0.faults.lost()?;
        // wgpu panics, after it releases its locks, when the driver fails during a wait. That is
        // one more way of losing the device.
        let polled = catch_unwind(AssertUnwindSafe(|| self.0.device.poll(how)));
        self.0.faults.lost()?;
        match polled {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(PollError::Timeout)) => Err(self.timeout()),
            // The submission was refused; the reason was recorded then.
            Ok(Err(error @ PollError::WrongSubmissionIndex(..))) => {
                Err((lock(&self.0.faults.first).take())
                    .unwrap_or_else(|| DeviceError::Internal(error.to_string())))
            }
            Err(_) => Err(DeviceError::Lost {
                reason: "its driver failed while it was waited for".into(),
            }),
        }
    }

    /// Fails if a loss is known already, without polling the device.
    pub(super) fn known_loss(&self) -> Result<(), DeviceError> {
        self.0.faults.lost()
    }

    /// Polls the device, so that wgpu reports a loss if there was one.
    pub(super) fn notice_loss(&self) -> Result<(), DeviceError> {
        self.poll(PollType::Poll)
    }

    pub(super) fn timeout(&self) -> DeviceError {
        DeviceError::Timeout {
            after: self.0.deadline,
        }
    }

    /// Runs `create` and returns its result, or the first error of the device while it ran.
    pub(super) fn guarded<T>(&self, create: impl FnOnce() -> T) -> Result<T, wgpu::Error> {
        use wgpu::ErrorFilter::{Internal, OutOfMemory, Validation};
        let scopes = [Validation, Internal, OutOfMemory].map(|f| self.0.device.push_error_scope(f));
        let made = create();
        // Scopes close in the reverse order of their opening, all of them.
        let errors = scopes
            .into_iter()
            .rev()
            .map(|scope| pollster::block_on(scope.pop()));
        match errors.collect::<Vec<_>>().into_iter().flatten().next() {
            Some(error) => Err(error),
            None => Ok(made),
        }
    }
}

impl Faults {
    fn lost(&self) -> Result<(), DeviceError> {
        match self.lost.get() {
            Some(reason) => Err(DeviceError::Lost {
                reason: reason.clone(),
            }),
            None => Ok(()),
        }
    }

    fn lose(&self, reason: DeviceLostReason, message: String) {
        let reason = match reason {
            _ if !message.is_empty() => message,
            DeviceLostReason::Destroyed => "it was destroyed by this program".into(),
            DeviceLostReason::Unknown => "the driver gives no reason".into(),
        };
        // A second loss adds nothing to the first.
        let _ = self.lost.set(reason);
    }

    fn record(&self, error: wgpu::Error) {
        lock(&self.first).get_or_insert_with(|| uncaptured(error));
    }
}

/// An error with no buffer and no pipeline to blame.
pub(super) fn uncaptured(error: wgpu::Error) -> DeviceError {
    match error {
        wgpu::Error::Validation { .. } => DeviceError::Validation(words(&error)),
        wgpu::Error::OutOfMemory { .. } => DeviceError::Internal("out of memory".into()),
        wgpu::Error::Internal { .. } => DeviceError::Internal(words(&error)),
    }
}

/// The message of wgpu without its fixed heading.
pub(super) fn words(error: &wgpu::Error) -> String {
    let text = error.to_string();
    let text = text
        .split_once("Caused by:\n")
        .map_or(&*text, |(_, cause)| cause);
    text.trim().to_owned()
}

/// No code panics while these locks are held, and their contents are valid at every moment.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
