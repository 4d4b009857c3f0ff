//! Registry of leaders: records of epochs of leadership, each created once.
//!
//! A [`Registry`] keeps one [`LeaderRecord`] for each leadership epoch. The record of an epoch is created only if
//! none exists, so that of many candidates exactly one wins; epochs rise by one and records are never removed.
//! Nothing expires: time only suggests that a leader is lost, and the epoch decides who leads.
//!
//! | who | rule | where |
//! |---|---|---|
//! | standby | may acquire the next epoch if the leader's stream ended, or after silence | [`Standby`] |
//! | leader | commits with the acknowledgement of every holder, and stops at a newer epoch | [`Leadership`] |
//! | holder | acknowledges the highest epoch that it has seen, and stops serving after silence | [`Fence`] |
//!
//! These three are pure: time and messages are arguments.

mod error;
mod fence;
mod leadership;
mod memory;
mod record;
mod standby;
#[cfg(feature = "net")]
mod store;
#[cfg(test)]
mod tests;

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

pub use error::RegistryError;
pub use fence::{Fence, FenceError};
pub use leadership::{Leadership, NotLeading, Phase};
pub use memory::MemoryRegistry;
pub use record::{Candidate, Claim, LeaderRecord, RELEASE, Token};
pub use standby::{Decision, Standby, StandbyConfig};
#[cfg(feature = "net")]
pub use store::StoreRegistry;

/// Future of a call of a [`Registry`].
pub type RegistryFuture<'a, T> =
    Pin<Box<dyn Future<Output = Result<T, RegistryError>> + Send + 'a>>;

/// Records of the leaders of one run.
///
/// ```
/// use std::time::Duration;
///
/// use shardloom::ids::Incarnation;
/// use shardloom::net::registry::{Candidate, Claim, MemoryRegistry, Registry};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let registry: Box<dyn Registry> = Box::new(MemoryRegistry::new("umls-0"));
/// let candidate = |owner| Candidate {
///     owner: Incarnation(owner),
///     address: "127.0.0.1:4100".to_owned(),
///     token: None,
/// };
/// let Claim::Won(first) = registry.acquire(0, candidate(1)).await? else { unreachable!() };
/// assert_eq!(first.epoch, 1);
/// assert_eq!(registry.acquire(0, candidate(2)).await?, Claim::Lost(first.clone()));
/// assert_eq!(registry.current().await?, Some(first));
/// assert_eq!(registry.watch(1, Duration::from_millis(5)).await?, None);
/// # Ok::<(), shardloom::net::registry::RegistryError>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Registry: fmt::Debug + Send + Sync {
    /// Returns the record of the highest epoch; `None` before the first.
    ///
    /// # Errors
    /// [`RegistryError::Damaged`], [`RegistryError::OtherRun`] and [`RegistryError::OtherRelease`] if that record
    /// cannot be used; [`RegistryError::Io`] and [`RegistryError::Deadline`].
    fn current(&self) -> RegistryFuture<'_, Option<LeaderRecord>>;

    /// Tries to create the record of epoch `after` + 1. `after` is the highest epoch that the caller knows, 0 for
    /// none; its record need not be readable. A call that is repeated after a failure wins if its first attempt
    /// did create the record and no newer epoch exists.
    ///
    /// # Errors
    /// [`RegistryError::Unknown`] if epoch `after` does not exist; [`RegistryError::Exhausted`]; the errors of
    /// [`Registry::current`] for the record of another candidate. After an error the record may exist.
    fn acquire(&self, after: u32, candidate: Candidate) -> RegistryFuture<'_, Claim>;

    /// Waits for an epoch above `after`, for at most `limit`, and returns the record of the highest epoch; `None`
    /// if there is no such epoch by then.
    ///
    /// # Errors
    /// The errors of [`Registry::current`].
    fn watch(&self, after: u32, limit: Duration) -> RegistryFuture<'_, Option<LeaderRecord>>;
}
