//! Pages that show a run while it trains: loss, MRR, throughput, workers, shards, events, and counts for Prometheus.
//!
//! A [`Dashboard`] is an [`Observer`] and a server of HTTP on a thread of its own. It lives as long
//! as the process, so that it still tells what happened when the run has failed.
//!
//! | path | answer |
//! |---|---|
//! | `/` | the page |
//! | `/state` | the run as JSON, as [`RunView`] |
//! | `/events` | the same, as a server-sent event each time that it changes |
//! | `/metrics` | counts in the format of Prometheus |

mod metrics;
mod server;
mod view;

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

pub use view::{RunEvent, RunView, ShardView, Stage, WorkerView};

use crate::train::{Observer, TrainError, TrainEvent};

/// A page that cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum DashboardError {
    /// The address is not one of this machine alone.
    #[error(
        "--dashboard {0}: the page has no password, so it is for this machine alone: take 127.0.0.1:0, and from elsewhere a tunnel such as ssh -L"
    )]
    NotLoopback(String),
    /// The address cannot be listened at.
    #[error("--dashboard {address}: {source}")]
    Bind {
        /// The address.
        address: String,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// State that the observer writes and the server reads.
#[derive(Debug)]
struct Shared {
    view: Mutex<RunView>,
    changed: watch::Sender<u64>,
}

impl Shared {
    fn view(&self) -> MutexGuard<'_, RunView> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A page about a run, served until the process ends. Clones are the same page.
#[derive(Clone, Debug)]
pub struct Dashboard {
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl Dashboard {
    /// Serves the page of a run at an address of this machine, such as `127.0.0.1:0`.
    ///
    /// ```
    /// use shardloom::dashboard::Dashboard;
    ///
    /// let dashboard = Dashboard::open("umls-complex-0", "127.0.0.1:0")?;
    /// println!("{}", dashboard.url());
    /// # Ok::<(), shardloom::dashboard::DashboardError>(())
    /// ```
    ///
    /// # Errors
    /// [`DashboardError`] if others could reach the address, or it cannot be listened at.
    pub fn open(run: &str, address: &str) -> Result<Dashboard, DashboardError> {
        let shared = Arc::new(Shared {
            view: Mutex::new(RunView::new(run)),
            changed: watch::Sender::new(0),
        });
        let address = server::serve(address, Arc::clone(&shared))?;
        Ok(Dashboard { shared, address })
    }

    /// Address of the page in a browser.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Notes the end of the run, with its result in words. Waits for about a second if a page is open, so that it shows
    /// the end before the process ends.
    pub fn end(&self, what: &str) {
        self.change(|view| view.end(what));
        if self.shared.changed.receiver_count() > 0 {
            std::thread::sleep(2 * server::PAUSE + server::PAUSE / 2);
        }
    }

    /// The run as it is now.
    pub fn view(&self) -> RunView {
        self.shared.view().clone()
    }

    fn change(&self, change: impl FnOnce(&mut RunView)) {
        change(&mut self.shared.view());
        self.shared.changed.send_modify(|count| *count += 1);
    }
}

impl Observer for Dashboard {
    fn on(&mut self, event: TrainEvent<'_>) -> Result<ControlFlow<()>, TrainError> {
        // Steps are many: the page looks for them a few times a second.
        match event {
            TrainEvent::StepDone { step, facts } => self.shared.view().step(step, facts),
            event => self.change(|view| view.on(event)),
        }
        Ok(ControlFlow::Continue(()))
    }
}
