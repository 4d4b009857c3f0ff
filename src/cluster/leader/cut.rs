//! The last cut, which all shards go back to when some are lost.

use crate::cluster::columns::{refuse_column, send_column};
use crate::cluster::messages::ColumnRequest;
use crate::kernel::Column;
use crate::net::cut::{CutError, SavedCut};
use crate::net::{FrameSender, NetError};

/// All shards of one step.
#[derive(Clone, Debug)]
pub struct Cut {
    /// Number of steps that the shards have made.
    pub steps: u64,
    /// Files in the run's directory; `None` for the start of a run, whose rows every holder makes by itself.
    pub files: Option<SavedCut>,
}

impl Cut {
    /// Sends a column of a shard from its file.
    ///
    /// # Errors
    /// The failure of the stream.
    pub(super) async fn send(
        &self,
        sender: &FrameSender,
        request: &ColumnRequest,
    ) -> Result<(), NetError> {
        let refuse = async |reason: String| {
            refuse_column(sender, &reason).await;
            Ok(())
        };
        let step = self.steps;
        if step != request.steps {
            let asked = request.steps;
            return refuse(format!(
                "there is no cut of step {asked}: the last one is of step {step}"
            ))
            .await;
        }
        let Some(files) = &self.files else {
            let reason = "the cut is the start of the run: its rows are initial rows";
            return refuse(reason.to_owned()).await;
        };
        let column = Column::from(request.column);
        let opened = tokio::task::block_in_place(|| {
            let mut reader = files.cuts.reader(&files.manifest, request.shard)?;
            reader.start_at(column, 0)?;
            Ok::<_, CutError>(reader)
        });
        let mut reader = match opened {
            Ok(reader) => reader,
            Err(error) => return refuse(error.to_string()).await,
        };
        let rows = reader.shape().rows;
        let mut columns = reader.shape().columns().iter();
        let shape = columns.find(|shape| shape.column == column);
        let width = shape.map_or(0, |shape| shape.width);
        send_column(sender, rows, width, |places, out| {
            let read = tokio::task::block_in_place(|| reader.values(places.len() * width, out));
            read.map_err(|error| NetError::Options(error.to_string()))
        })
        .await
    }
}
