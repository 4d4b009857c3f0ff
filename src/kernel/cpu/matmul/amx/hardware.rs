//! The processor's unit: leave to use it, its registers, and the product of two panels.

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::marker::PhantomData;
use std::sync::OnceLock;

use super::Panel;

/// Leave to use the matrix unit of this processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leave(());

impl Leave {
    /// Leave, if the processor has a unit and the system allows its use; both are asked once.
    pub fn get() -> Option<Leave> {
        static FOUND: OnceLock<bool> = OnceLock::new();
        FOUND
            .get_or_init(|| processor_has_it() && system_allows_it())
            .then_some(Leave(()))
    }

    /// Takes the registers of this thread.
    pub fn tiles(self) -> Tiles {
        // Eight registers of 16 rows of 64 bytes.
        #[repr(C, align(64))]
        struct Shape {
            palette: u8,
            start: u8,
            reserved: [u8; 14],
            row_bytes: [u16; 16],
            rows: [u8; 16],
        }
        let mut shape = Shape {
            palette: 1,
            start: 0,
            reserved: [0; 14],
            row_bytes: [0; 16],
            rows: [0; 16],
        };
        shape.row_bytes[..8].fill(64);
        shape.rows[..8].fill(16);
        // SAFETY: there is a unit, and the system allows its use. The compiler has no use
        // for these registers itself.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const shape, options(nostack, readonly)) };
        Tiles(PhantomData)
    }
}

/// AMX with bf16, and the vectors that what surrounds products is compiled for.
fn processor_has_it() -> bool {
    const BF16: u32 = 1 << 22;
    const TILE: u32 = 1 << 24;
    std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512bw")
        && std::arch::is_x86_feature_detected!("avx512bf16")
        && __cpuid_count(0, 0).eax >= 7
        && __cpuid_count(7, 0).edx & (BF16 | TILE) == BF16 | TILE
}

/// Linux saves the registers, of 8 KiB a thread, only for processes that request it.
fn system_allows_it() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: the call takes two numbers and changes nothing but what this process may use.
    unsafe {
        libc::syscall(
            libc::SYS_arch_prctl,
            ARCH_REQ_XCOMP_PERM,
            XFEATURE_XTILEDATA,
        ) == 0
    }
}

/// The registers of this thread, shaped for blocks until this is dropped.
pub struct Tiles(PhantomData<*const ()>);

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: there is a unit, and no other code uses this thread's registers.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

impl Tiles {
    /// Does the work of [`super::Tiles::block`].
    ///
    /// # Safety
    /// Panels have `steps` steps, and `sums` has `SIDE` × `SIDE` values.
    #[inline]
    pub unsafe fn block(
        &self,
        left: Panel<'_>,
        right: Panel<'_>,
        steps: usize,
        sums: &mut [f32],
        add: bool,
    ) {
        let start = sums.as_mut_ptr();
        // SAFETY: the registers have their shape as long as `self` is there. Reads of panels and
        // reads and writes of sums are within their slices, as the caller says: a step is 4 KiB, and
        // the block's 32 rows of 128 bytes too.
        unsafe {
            if add {
                asm!(
                    "tileloadd tmm0, [{c} + {pitch}]",
                    "tileloadd tmm1, [{c} + {pitch} + 64]",
                    "tileloadd tmm2, [{c} + {pitch} + 2048]",
                    "tileloadd tmm3, [{c} + {pitch} + 2112]",
                    c = in(reg) start,
                    pitch = in(reg) 128usize,
                    options(nostack, readonly),
                );
            } else {
                asm!(
                    "tilezero tmm0",
                    "tilezero tmm1",
                    "tilezero tmm2",
                    "tilezero tmm3",
                    options(nostack, nomem)
                );
            }
            let (mut a, mut b) = (left.words.as_ptr(), right.words.as_ptr());
            for _ in 0..steps {
                asm!(
                    "tileloadd tmm4, [{a} + {row}]",        // high, first rows
                    "tileloadd tmm6, [{b} + {row} + 1024]", // low, first columns
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm5, [{a} + {row} + 2048]", // high, second rows
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tileloadd tmm7, [{b} + {row} + 3072]", // low, second columns
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    "tileloadd tmm6, [{b} + {row}]",        // high, first columns
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tileloadd tmm7, [{b} + {row} + 2048]", // high, second columns
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    "tileloadd tmm4, [{a} + {row} + 1024]", // low, first rows
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tileloadd tmm5, [{a} + {row} + 3072]", // low, second rows
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    a = in(reg) a,
                    b = in(reg) b,
                    row = in(reg) 64usize,
                    options(nostack, readonly),
                );
                a = a.wrapping_add(left.pitch);
                b = b.wrapping_add(right.pitch);
            }
            asm!(
                "tilestored [{c} + {pitch}], tmm0",
                "tilestored [{c} + {pitch} + 64], tmm1",
                "tilestored [{c} + {pitch} + 2048], tmm2",
                "tilestored [{c} + {pitch} + 2112], tmm3",
                c = in(reg) start,
                pitch = in(reg) 128usize,
                options(nostack),
            );
        }
    }
}
