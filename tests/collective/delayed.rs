//! A second backend behind the object-safe trait: another backend's calls, delayed, and with every
//! buffer moved to other memory. The memory of the old buffer is poisoned, so that a backend or a
//! caller that still reads it is noticed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use shardloom::collective::local::group;
use shardloom::collective::{
    BoxFuture, Buffer, Buffers, Call, Collective, CollectiveError, CollectiveExt, ElementType,
    Reduce,
};
use shardloom::ids::Generation;
use shardloom::kernel::Backend;

use crate::conformance::{self, Rank, noise};

/// A rank of another backend, with delays.
struct Delayed {
    inner: Rank,
    /// Number of delays so far.
    delays: AtomicU64,
    /// Applied to every returned buffer.
    reply: fn(Buffer) -> Buffer,
}

impl Delayed {
    /// Lets other tasks run, for a number of times without pattern.
    async fn delay(&self) {
        let delays = self.delays.fetch_add(1, Ordering::Relaxed);
        for _ in 0..noise(delays * 64 + self.inner.rank() as u64) % 4 {
            tokio::task::yield_now().await;
        }
    }

    /// The result of a call, delayed before and after.
    async fn through<T>(
        &self,
        call: impl Future<Output = Result<T, CollectiveError>>,
        moved: impl Fn(T) -> T,
    ) -> Result<T, CollectiveError> {
        self.delay().await;
        let result = call.await;
        self.delay().await;
        result.map(moved)
    }
}

/// The same values in other memory; all bits of the old memory are set.
fn move_values<T: bytemuck::Pod>(mut values: Vec<T>) -> Vec<T> {
    let moved = values.clone();
    bytemuck::cast_slice_mut::<T, u8>(&mut values).fill(0xFF);
    // Otherwise the compiler may leave the poison out.
    std::hint::black_box(&values);
    moved
}

fn move_buffer(buffer: Buffer) -> Buffer {
    match buffer {
        Buffer::F32(values) => move_values(values).into(),
        Buffer::F64(values) => move_values(values).into(),
        Buffer::U32(values) => move_values(values).into(),
        Buffer::U64(values) => move_values(values).into(),
    }
}

fn move_buffers(buffers: Buffers) -> Buffers {
    fn each<T: bytemuck::Pod>(parts: Vec<Vec<T>>) -> Vec<Vec<T>> {
        parts.into_iter().map(move_values).collect()
    }
    match buffers {
        Buffers::F32(parts) => each(parts).into(),
        Buffers::F64(parts) => each(parts).into(),
        Buffers::U32(parts) => each(parts).into(),
        Buffers::U64(parts) => each(parts).into(),
    }
}

/// Gradient rows are left to the default, which brings them to the host.
impl Collective for Delayed {
    fn rank(&self) -> usize {
        self.inner.rank()
    }

    fn world(&self) -> usize {
        self.inner.world()
    }

    fn generation(&self) -> Generation {
        self.inner.generation()
    }

    fn all_reduce_buffer(
        &self,
        call: Call,
        values: Buffer,
        reduce: Reduce,
    ) -> BoxFuture<'_, Result<Buffer, CollectiveError>> {
        let sum = self
            .inner
            .all_reduce_buffer(call, move_buffer(values), reduce);
        Box::pin(self.through(sum, self.reply))
    }

    fn all_gather_buffer(
        &self,
        call: Call,
        values: Buffer,
    ) -> BoxFuture<'_, Result<Buffers, CollectiveError>> {
        let all = self.inner.all_gather_buffer(call, move_buffer(values));
        Box::pin(self.through(all, move_buffers))
    }

    fn reduce_scatter_buffer(
        &self,
        call: Call,
        values: Buffer,
        reduce: Reduce,
    ) -> BoxFuture<'_, Result<Buffer, CollectiveError>> {
        let values = move_buffer(values);
        let segment = self.inner.reduce_scatter_buffer(call, values, reduce);
        Box::pin(self.through(segment, self.reply))
    }

    fn all_to_all_buffers(
        &self,
        call: Call,
        parts: Buffers,
    ) -> BoxFuture<'_, Result<Buffers, CollectiveError>> {
        let received = self.inner.all_to_all_buffers(call, move_buffers(parts));
        Box::pin(self.through(received, move_buffers))
    }

    fn broadcast_buffer(
        &self,
        call: Call,
        root: usize,
        values: Buffer,
    ) -> BoxFuture<'_, Result<Buffer, CollectiveError>> {
        let values = self.inner.broadcast_buffer(call, root, move_buffer(values));
        Box::pin(self.through(values, self.reply))
    }

    fn barrier(&self, call: Call) -> BoxFuture<'_, Result<(), CollectiveError>> {
        Box::pin(self.through(self.inner.barrier(call), |()| ()))
    }

    fn abort(&self, next: Generation) -> BoxFuture<'_, ()> {
        self.inner.abort(next)
    }
}

fn delayed_with(world: usize, reply: fn(Buffer) -> Buffer) -> Vec<Rank> {
    let delayed = |rank| -> Rank {
        Arc::new(Delayed {
            inner: Arc::new(rank),
            delays: AtomicU64::new(0),
            reply,
        })
    };
    group(world).into_iter().map(delayed).collect()
}

fn delayed(world: usize) -> Vec<Rank> {
    delayed_with(world, move_buffer)
}

#[tokio::test(start_paused = true)]
async fn conforms_in_its_results() {
    conformance::results(delayed).await;
}

#[tokio::test(start_paused = true)]
async fn conforms_in_its_refusals() {
    conformance::refusals(delayed).await;
}

#[tokio::test(start_paused = true)]
async fn conforms_in_its_waits() {
    conformance::waits(delayed).await;
    conformance::faults::one_worker_three_times(delayed).await;
    conformance::faults::arrival_order(delayed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn conforms_in_its_races() {
    conformance::races(delayed).await;
    conformance::faults::lost_wake_up(delayed, 1000).await;
}

/// The default implementation for gradient rows, on host and device.
#[tokio::test(start_paused = true)]
async fn conforms_with_gradient_rows() {
    conformance::rows(delayed, |_| Backend::cpu(), true).await;
    let Some(gpu) = crate::rows::shared_gpu() else {
        return;
    };
    conformance::rows(delayed, |_| gpu.another().unwrap(), true).await;
}

/// A backend that returns another element type than it was given does not make the caller panic.
#[tokio::test(start_paused = true)]
async fn replies_of_another_type_are_an_error() {
    let ranks = delayed_with(1, |_| Buffer::U64(vec![7]));
    let call = |sequence| Call::new(Generation(0), sequence, std::time::Duration::from_secs(60));
    let error = |sequence| {
        Err(CollectiveError::Reply {
            sequence,
            found: ElementType::U64,
            expected: ElementType::F32,
        })
    };
    let values = vec![1.0f32];
    let sum = ranks[0].all_reduce(call(0), values.clone(), Reduce::Sum);
    assert_eq!(sum.await, error(0));
    let segment = ranks[0].reduce_scatter(call(1), values.clone(), Reduce::Sum);
    assert_eq!(segment.await, error(1));
    assert_eq!(ranks[0].broadcast(call(2), 0, values).await, error(2));
    let engine = Backend::cpu();
    let rows = ranks[0].all_reduce_rows(call(3), &engine, vec![1.0].into(), Reduce::Sum);
    assert_eq!(
        rows.await.map(|rows| rows.len()),
        error(3).map(|_: Vec<f32>| 0)
    );
}
