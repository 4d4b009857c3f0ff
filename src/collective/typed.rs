//! Collectives of vectors whose element type the compiler knows.

use super::{Buffer, Buffers, Call, Collective, CollectiveError, Element, Reduce};

/// The operations of a [`Collective`] on typed vectors. Buffers are moved there and back: no value
/// is copied.
///
/// Every method fails as the method of [`Collective`] fails that it calls, and with
/// [`CollectiveError::Reply`] if the backend returns values of another element type.
pub trait CollectiveExt: Collective {
    /// [`Collective::all_reduce_buffer`] of a vector.
    fn all_reduce<T: Element>(
        &self,
        call: Call,
        values: Vec<T>,
        reduce: Reduce,
    ) -> impl Future<Output = Result<Vec<T>, CollectiveError>> + Send {
        async move {
            unpack(
                call,
                self.all_reduce_buffer(call, values.into(), reduce).await?,
            )
        }
    }

    /// [`Collective::all_gather_buffer`] of a vector.
    fn all_gather<T: Element>(
        &self,
        call: Call,
        values: Vec<T>,
    ) -> impl Future<Output = Result<Vec<Vec<T>>, CollectiveError>> + Send {
        async move { unpack_parts(call, self.all_gather_buffer(call, values.into()).await?) }
    }

    /// [`Collective::reduce_scatter_buffer`] of a vector.
    fn reduce_scatter<T: Element>(
        &self,
        call: Call,
        values: Vec<T>,
        reduce: Reduce,
    ) -> impl Future<Output = Result<Vec<T>, CollectiveError>> + Send {
        async move {
            let segment = self.reduce_scatter_buffer(call, values.into(), reduce);
            unpack(call, segment.await?)
        }
    }

    /// [`Collective::all_to_all_buffers`] of vectors.
    fn all_to_all<T: Element>(
        &self,
        call: Call,
        parts: Vec<Vec<T>>,
    ) -> impl Future<Output = Result<Vec<Vec<T>>, CollectiveError>> + Send {
        async move { unpack_parts(call, self.all_to_all_buffers(call, parts.into()).await?) }
    }

    /// [`Collective::broadcast_buffer`] of a vector.
    fn broadcast<T: Element>(
        &self,
        call: Call,
        root: usize,
        values: Vec<T>,
    ) -> impl Future<Output = Result<Vec<T>, CollectiveError>> + Send {
        async move {
            unpack(
                call,
                self.broadcast_buffer(call, root, values.into()).await?,
            )
        }
    }
}

impl<C: Collective + ?Sized> CollectiveExt for C {}

pub(super) fn unpack<T: Element>(call: Call, buffer: Buffer) -> Result<Vec<T>, CollectiveError> {
    T::unpack(buffer).map_err(|found| CollectiveError::Reply {
        sequence: call.sequence,
        found,
        expected: T::TYPE,
    })
}

fn unpack_parts<T: Element>(call: Call, parts: Buffers) -> Result<Vec<Vec<T>>, CollectiveError> {
    T::unpack_parts(parts).map_err(|found| CollectiveError::Reply {
        sequence: call.sequence,
        found,
        expected: T::TYPE,
    })
}
