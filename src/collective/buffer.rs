//! Values whose element type is known at run time only.

use super::{Element, ElementType};

/// The values of one rank, of one element type. Conversion from a vector copies nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum Buffer {
    /// Values of `f32`.
    F32(Vec<f32>),
    /// Values of `f64`.
    F64(Vec<f64>),
    /// Values of `u32`.
    U32(Vec<u32>),
    /// Values of `u64`.
    U64(Vec<u64>),
}

/// One vector of values for each rank, by rank, all of one element type. Lengths may differ.
/// Conversion from vectors copies nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum Buffers {
    /// Values of `f32`.
    F32(Vec<Vec<f32>>),
    /// Values of `f64`.
    F64(Vec<Vec<f64>>),
    /// Values of `u32`.
    U32(Vec<Vec<u32>>),
    /// Values of `u64`.
    U64(Vec<Vec<u64>>),
}

impl<T: Element> From<Vec<T>> for Buffer {
    fn from(values: Vec<T>) -> Buffer {
        T::pack(values)
    }
}

impl<T: Element> From<Vec<Vec<T>>> for Buffers {
    fn from(parts: Vec<Vec<T>>) -> Buffers {
        T::pack_parts(parts)
    }
}

/// Seals [`Element`]: other crates cannot name this trait.
pub(super) mod packed {
    use super::{Buffer, Buffers, ElementType};

    /// Conversions of vectors to buffers and back, without a copy. Those back fail with the
    /// buffer's element type where that is another one.
    pub trait Packed: Sized {
        fn pack(values: Vec<Self>) -> Buffer;
        fn pack_parts(parts: Vec<Vec<Self>>) -> Buffers;
        fn unpack(buffer: Buffer) -> Result<Vec<Self>, ElementType>;
        fn unpack_parts(buffers: Buffers) -> Result<Vec<Vec<Self>>, ElementType>;
    }
}

macro_rules! elements {
    ($($type:ty, $tag:ident;)*) => {
        impl Buffer {
            /// The element type.
            pub fn element(&self) -> ElementType {
                match self {
                    $(Buffer::$tag(_) => ElementType::$tag,)*
                }
            }

            /// Number of values.
            pub fn len(&self) -> usize {
                match self {
                    $(Buffer::$tag(values) => values.len(),)*
                }
            }

            /// Whether there are no values.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }
        }

        impl Buffers {
            /// The element type.
            pub fn element(&self) -> ElementType {
                match self {
                    $(Buffers::$tag(_) => ElementType::$tag,)*
                }
            }
        }

        $(impl packed::Packed for $type {
            fn pack(values: Vec<$type>) -> Buffer {
                Buffer::$tag(values)
            }

            fn pack_parts(parts: Vec<Vec<$type>>) -> Buffers {
                Buffers::$tag(parts)
            }

            fn unpack(buffer: Buffer) -> Result<Vec<$type>, ElementType> {
                match buffer {
                    Buffer::$tag(values) => Ok(values),
                    other => Err(other.element()),
                }
            }

            fn unpack_parts(buffers: Buffers) -> Result<Vec<Vec<$type>>, ElementType> {
                match buffers {
                    Buffers::$tag(parts) => Ok(parts),
                    other => Err(other.element()),
                }
            }
        })*
    };
}

elements! {
    f32, F32;
    f64, F64;
    u32, U32;
    u64, U64;
}

/// Calls a generic method with the typed values of a buffer, and makes a buffer of its result.
macro_rules! by_element {
    ($kind:ident, $buffer:expr, |$values:ident| $call:expr) => {
        match $buffer {
            $kind::F32($values) => Box::pin(async move { $call.await.map(Into::into) }),
            $kind::F64($values) => Box::pin(async move { $call.await.map(Into::into) }),
            $kind::U32($values) => Box::pin(async move { $call.await.map(Into::into) }),
            $kind::U64($values) => Box::pin(async move { $call.await.map(Into::into) }),
        }
    };
}
pub(crate) use by_element;
