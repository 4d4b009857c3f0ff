//! A part of a graph that a server has.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use prost::Message;

use super::address::Address;
use super::connection::{Connection, Failure};
use super::message;
use super::remote::{
    RemoteOptions, bytes, describe, draw_message, json, labels_request, numbers, read_labels,
};
use super::remote_channel::AGAIN;
use super::row_bytes;
use crate::dataset::Triple;
use crate::neighborhood::{Anchor, Draw, DrawnRows, Labels, RowRequest, SampleError, Sampler};
use crate::store::{
    Description, JoinedParts, PartSource, Parts, Pending, Pool, Select, Slice, StoreError,
};

/// Joins the parts of a graph that servers have, with threads that make batches. A server that dies is waited for until
/// the `patience` of the options is over; if it comes back with the same part, batches go on with the same bytes.
///
/// # Errors
/// If a server is away or refuses, or the parts are not all of one graph.
pub fn join_parts(
    addresses: &[Address],
    options: &RemoteOptions,
    threads: NonZeroU32,
) -> Result<Parts, StoreError> {
    let pool = Arc::new(Pool::new(threads, Sampler::MOST_FACTS)?);
    let connect = |address| -> Result<Box<dyn PartSource>, StoreError> {
        Ok(Box::new(RemotePart::connect(
            address,
            options,
            pool.ended(),
        )?))
    };
    let parts = addresses.iter().map(connect);
    let parts = JoinedParts::new(parts.collect::<Result<_, StoreError>>()?)?;
    Ok(Parts::with_pool(Arc::new(parts), pool))
}

/// Part that a server has.
#[derive(Debug)]
struct RemotePart {
    connection: Arc<Connection>,
    address: Address,
    patience: Duration,
    described: Description,
    /// Mark that the store has ended, so that nobody waits for an answer.
    ended: Arc<AtomicBool>,
}

impl RemotePart {
    /// Connects to a server, and asks it what it has.
    ///
    /// # Errors
    /// If the server is away or refuses.
    fn connect(
        address: &Address,
        options: &RemoteOptions,
        ended: Arc<AtomicBool>,
    ) -> Result<RemotePart, StoreError> {
        let connection = Connection::new(address, &options.security, options.timeout);
        let connection = connection.map_err(|error| StoreError::Unreachable {
            address: address.to_string(),
            what: error.to_string(),
        })?;
        let connection = Arc::new(connection);
        let described = describe(&connection).map_err(Failure::error)?;
        Ok(RemotePart {
            connection,
            address: address.clone(),
            patience: options.patience,
            described,
            ended,
        })
    }

    /// Begins a call, which is made again while the server is away and there is patience.
    fn begin<'a, M: Message + Clone + 'static, T>(
        &'a self,
        method: &'static str,
        message: M,
        read: impl FnOnce(BytesMut) -> Result<T, StoreError> + 'a,
    ) -> Pending<'a, T> {
        let first = self.connection.begin_many(method, message.clone());
        Box::new(move || {
            let (mut answer, mut lost) = (first, None);
            loop {
                let failure = match answer.wait(AGAIN, &self.ended) {
                    Ok(bytes) => return read(bytes),
                    Err(failure) => failure,
                };
                let Failure::Lost(error) = failure else {
                    return Err(failure.error());
                };
                let since: &Instant = lost.get_or_insert_with(Instant::now);
                if since.elapsed() > self.patience || self.ended.load(Ordering::Relaxed) {
                    return Err(error);
                }
                std::thread::sleep(AGAIN);
                answer = self.connection.begin_many(method, message.clone());
            }
        })
    }
}

/// Answer that cannot be prepared.
fn fault<'a, T>(error: StoreError) -> Pending<'a, T> {
    Box::new(move || Err(error))
}

impl PartSource for RemotePart {
    fn name(&self) -> String {
        self.address.to_string()
    }

    fn describe(&self) -> Result<Description, StoreError> {
        Ok(self.described.clone())
    }

    fn rows<'a>(&'a self, asked: &'a RowRequest) -> Pending<'a, DrawnRows> {
        let request = match json(asked) {
            Ok(request) => request,
            Err(error) => return fault(error),
        };
        let message = message::RowsRequest {
            request,
            nodes: bytes(&asked.nodes),
            places: bytes(&asked.places),
            times: bytes(&asked.times),
            facts: bytes(&asked.facts),
            digest: self.described.digest,
        };
        self.begin("Rows", message, |bytes| Ok(row_bytes::decode(&bytes)?))
    }

    fn ids<'a>(&'a self, of: Select, slice: Slice) -> Pending<'a, Vec<u32>> {
        let message = match (json(&of), json(&slice)) {
            (Ok(select), Ok(slice)) => message::IdsRequest {
                select,
                slice,
                digest: self.described.digest,
            },
            (Err(error), _) | (_, Err(error)) => return fault(error),
        };
        self.begin("Ids", message, |bytes| Ok(numbers(&bytes)))
    }

    fn facts<'a>(&'a self, asked: &'a [u32]) -> Pending<'a, Vec<Triple>> {
        let message = message::FactsRequest {
            numbers: bytes(asked),
            digest: self.described.digest,
        };
        let count = asked.len();
        self.begin("Facts", message, move |bytes| {
            let words = numbers(&bytes);
            if words.len() != 3 * count {
                let what = format!("{} numbers for {count} facts", words.len());
                return Err(SampleError::Rows(what).into());
            }
            let fact = |of: &[u32]| Triple {
                head: of[0],
                relation: of[1],
                tail: of[2],
            };
            Ok(words.chunks_exact(3).map(fact).collect())
        })
    }

    fn labels<'a>(
        &'a self,
        anchors: &'a [Anchor],
        most: Option<NonZeroU32>,
        draw: Draw,
    ) -> Pending<'a, Labels> {
        let message = message::LabelsRequest {
            draw: Some(draw_message(draw)),
            digest: self.described.digest,
            ..labels_request(anchors, most)
        };
        let count = anchors.len();
        self.begin("Labels", message, move |bytes| read_labels(&bytes, count))
    }
}
