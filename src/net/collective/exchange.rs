//! Exchanges of values between ranks, after a call has been decided.
//!
//! A rank sends a message to every other rank: its values, then, in an all-reduce, the results of its own
//! segment. Frames of a message have rising numbers, and its last one says so.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::{Sleep, sleep, timeout};

use super::group::{ANSWER, Group, Inbox, Over};
use super::link::Job;
use super::message::{self, Notice};
use super::values::{Shared, Source, append, decode, most_values, wire_type};
use crate::collective::reduction::{Reduction, reduce};
use crate::collective::{Call, CollectiveError, Element, segment};
use crate::net::{Frame, Header, Kind, WireType};

/// Values of a rank as they come.
struct Piece {
    from: usize,
    payload: Bytes,
    /// Whether the message of the rank ends here.
    last: bool,
}

/// One rank's part in the exchange of a call.
pub(super) struct Exchange {
    group: Arc<Group>,
    call: Call,
    rank: usize,
    wire_type: WireType,
    inbox: Inbox,
    over: watch::Receiver<Over>,
    deadline: Pin<Box<Sleep>>,
    /// Number of the next frame, by rank.
    next: Vec<u32>,
    sent: (mpsc::Sender<Infallible>, mpsc::Receiver<Infallible>),
}

impl Exchange {
    /// Starts the exchange of a call of values of `T`.
    pub(super) fn new<T: Element>(
        group: Arc<Group>,
        call: Call,
        rank: usize,
        inbox: Inbox,
    ) -> Exchange {
        let mut over = group.over();
        over.mark_changed();
        Exchange {
            call,
            rank,
            wire_type: wire_type(T::TYPE, call.wire),
            inbox,
            over,
            deadline: Box::pin(sleep(call.timeout.max(ANSWER))),
            next: vec![0; group.world],
            sent: mpsc::channel(1),
            group,
        }
    }

    /// Number of ranks.
    pub(super) fn world(&self) -> usize {
        self.group.world
    }

    /// The other ranks, from the one after this on, so that not all ranks begin with the same one.
    fn others(&self) -> impl Iterator<Item = usize> + use<> {
        let (rank, world) = (self.rank, self.group.world);
        (1..world).map(move |step| (rank + step) % world)
    }

    /// Number of frames for `len` values.
    fn frames(&self, len: usize) -> usize {
        len.div_ceil(most_values(self.wire_type)).max(1)
    }

    /// Queues a range of values for a rank, as frames from number `first` on.
    fn send(
        &self,
        to: usize,
        source: &Arc<impl Source + 'static>,
        range: Range<usize>,
        first: usize,
        last: bool,
    ) {
        let header = Header {
            wire_type: self.wire_type,
            shard: self.rank as u32,
            worker: to as u32,
            request: first as u32,
            generation: self.group.generation.0,
            step: self.call.sequence,
            ..Header::new(Kind::Values)
        };
        let job = Job {
            header,
            source: source.clone(),
            range,
            last,
            _sent: self.sent.0.clone(),
        };
        // A process that is lost takes no values.
        let _ = self.group.links[self.group.link_of[to]].values.send(job);
    }

    /// Receives the next values. Fails if a rank that is `needed` cannot send them any more.
    async fn receive(&mut self, needed: impl Fn(usize) -> bool) -> Result<Piece, CollectiveError> {
        loop {
            let frame = tokio::select! {
                biased;
                Some(frame) = self.inbox.frames.recv() => frame,
                Ok(()) = self.over.changed() => {
                    let lost = self.check_lost(&needed);
                    // The inbox holds by now all values that came before the loss: they count.
                    let Ok(frame) = self.inbox.frames.try_recv() else {
                        lost?;
                        continue;
                    };
                    self.over.mark_changed();
                    frame
                }
                () = &mut self.deadline => return Err(self.silent(needed)),
            };
            if frame.header.kind == Kind::Control {
                self.check_failed(&frame, &needed)?;
                continue;
            }
            let Header {
                shard,
                request,
                last,
                wire_type,
                ..
            } = frame.header;
            let from = shard as usize;
            if wire_type != self.wire_type {
                return Err(self.fault(from, &format!("sent values of type {wire_type:?}")));
            }
            let expected = self.next[from];
            // A frame that came twice.
            if request < expected {
                continue;
            }
            if request > expected {
                let gap = format!("sent frame {request} where {expected} was to come");
                return Err(self.fault(from, &gap));
            }
            self.next[from] = expected.wrapping_add(1);
            return Ok(Piece {
                from,
                payload: frame.payload,
                last,
            });
        }
    }

    /// Fails if the process of a needed rank is lost.
    fn check_lost(&mut self, needed: impl Fn(usize) -> bool) -> Result<(), CollectiveError> {
        let over = self.over.borrow_and_update();
        let lost = (0..self.group.world).filter(|&rank| needed(rank));
        for rank in lost {
            let link = self.group.link_of[rank];
            if let Some(reason) = &over.lost[link] {
                return Err(self.group.lost(self.call.sequence, link, reason.clone()));
            }
        }
        Ok(())
    }

    /// Fails if a needed rank will send no more values.
    fn check_failed(
        &self,
        frame: &Frame,
        needed: impl Fn(usize) -> bool,
    ) -> Result<(), CollectiveError> {
        match message::read::<Notice>(frame) {
            Ok((
                Notice::Failed {
                    rank, lost, reason, ..
                },
                _,
            )) if needed(rank) => Err(CollectiveError::RanksLost {
                sequence: self.call.sequence,
                ranks: lost,
                reason,
            }),
            _ => Ok(()),
        }
    }

    /// Fails for a rank that breaks the rules.
    fn fault(&self, from: usize, what: &str) -> CollectiveError {
        let link = self.group.link_of[from];
        let reason = format!("{} {what}", self.group.links[link].peer);
        self.group.lose(link, &reason);
        self.group.lost(self.call.sequence, link, reason)
    }

    /// Fails for needed ranks that have not sent their values in time.
    fn silent(&self, needed: impl Fn(usize) -> bool) -> CollectiveError {
        let after = self.call.timeout.max(ANSWER);
        let what = format!("sent no values within {after:?}");
        let mut late = (0..self.group.world).filter(|&rank| needed(rank));
        self.fault(late.next().unwrap_or(self.rank), &what)
    }

    /// Number of values of a piece.
    fn count(&self, piece: &Piece) -> usize {
        piece.payload.len() / self.wire_type.size()
    }

    /// Takes the values back when all have been sent, or a copy if that takes too long.
    async fn take_back<T: Element>(self, shared: Arc<Shared<T>>) -> Vec<T> {
        let (sender, mut sent) = self.sent;
        drop(sender);
        match timeout(ANSWER, sent.recv()).await {
            Ok(_) => shared.with(std::mem::take),
            Err(_) => shared.with(|values| values.clone()),
        }
    }

    /// Receives one message of every other rank.
    async fn gather<T: Element>(&mut self) -> Result<Vec<Vec<T>>, CollectiveError> {
        let world = self.group.world;
        let mut parts = vec![Vec::new(); world];
        let mut open: Vec<bool> = (0..world).map(|rank| rank != self.rank).collect();
        while open.contains(&true) {
            let piece = self.receive(|rank| open[rank]).await?;
            if !open[piece.from] {
                return Err(self.fault(piece.from, "sent more than a message"));
            }
            append(&piece.payload, self.call.wire, &mut parts[piece.from]);
            open[piece.from] = !piece.last;
        }
        Ok(parts)
    }
}

/// Gathers the values of all ranks, by rank.
pub(super) async fn all_gather<T: Element>(
    mut exchange: Exchange,
    values: Vec<T>,
) -> Result<Vec<Vec<T>>, CollectiveError> {
    let (rank, len) = (exchange.rank, values.len());
    let own = Shared::new(values, exchange.call.wire);
    for to in exchange.others() {
        exchange.send(to, &own, 0..len, 0, true);
    }
    let mut parts = exchange.gather().await?;
    parts[rank] = exchange.take_back(own).await;
    Ok(parts)
}

/// Sends part `r` to rank `r`, and receives the parts for this rank.
pub(super) async fn all_to_all<T: Element>(
    mut exchange: Exchange,
    mut parts: Vec<Vec<T>>,
) -> Result<Vec<Vec<T>>, CollectiveError> {
    let rank = exchange.rank;
    for to in exchange.others() {
        let part = std::mem::take(&mut parts[to]);
        let range = 0..part.len();
        let part = Shared::new(part, exchange.call.wire);
        exchange.send(to, &part, range, 0, true);
    }
    let mut received = exchange.gather().await?;
    received[rank] = std::mem::take(&mut parts[rank]);
    Ok(received)
}

/// Sends the values of the root, or receives them into `values`.
pub(super) async fn broadcast<T: Element>(
    mut exchange: Exchange,
    root: usize,
    mut values: Vec<T>,
) -> Result<Vec<T>, CollectiveError> {
    let len = values.len();
    if exchange.rank == root {
        let own = Shared::new(values, exchange.call.wire);
        for to in exchange.others() {
            exchange.send(to, &own, 0..len, 0, true);
        }
        return Ok(exchange.take_back(own).await);
    }
    let mut at = 0;
    loop {
        let piece = exchange.receive(|rank| rank == root).await?;
        let end = at + exchange.count(&piece);
        if piece.from != root || end > len || piece.last && end < len {
            let what = format!("sent {end} of {len} values");
            return Err(exchange.fault(piece.from, &what));
        }
        decode(&piece.payload, exchange.call.wire, &mut values[at..end]);
        at = end;
        if piece.last {
            return Ok(values);
        }
    }
}

/// Reduces the values of all ranks in rank order: this rank its own segment, as its values come. Returns the
/// segment.
pub(super) async fn reduce_scatter<T: Element>(
    mut exchange: Exchange,
    values: Vec<T>,
    reduction: Reduction<T>,
) -> Result<Vec<T>, CollectiveError> {
    let (rank, world) = (exchange.rank, exchange.group.world);
    let (len, own) = (values.len(), segment(values.len(), world, rank));
    let shared = Shared::new(values, exchange.call.wire);
    for to in exchange.others() {
        exchange.send(to, &shared, segment(len, world, to), 0, true);
    }
    let mut result = Vec::with_capacity(own.len());
    let mut sums = Sums::new(&exchange, own);
    loop {
        while let Some((range, sum)) = sums.next(&shared, &reduction, exchange.call) {
            result.extend_from_slice(&sum[..range.len()]);
        }
        if sums.done() {
            return Ok(result);
        }
        let piece = exchange.receive(|rank| sums.wants(rank)).await?;
        sums.take(&exchange, piece)?;
    }
}

/// Reduces the values of all ranks in rank order. Every rank reduces its own segment as values come, and sends
/// it on at once.
pub(super) async fn all_reduce<T: Element>(
    mut exchange: Exchange,
    values: Vec<T>,
    reduction: Reduction<T>,
) -> Result<Vec<T>, CollectiveError> {
    let (rank, world, wire) = (exchange.rank, exchange.group.world, exchange.call.wire);
    let len = values.len();
    let segment = |rank| segment(len, world, rank);
    let shared = Shared::new(values, wire);
    for to in exchange.others() {
        exchange.send(to, &shared, segment(to), 0, true);
    }
    let own = segment(rank);
    let mut sums = Sums::new(&exchange, own.clone());
    let mut results: Vec<Range<usize>> = (0..world).map(segment).collect();
    let mut open: Vec<bool> = (0..world).map(|other| other != rank).collect();
    let mut made = 0;
    loop {
        while let Some((range, sum)) = sums.next(&shared, &reduction, exchange.call) {
            let sum = &mut sum[..range.len()];
            T::round_to_wire(sum, wire);
            shared.with(|values| values[range.clone()].copy_from_slice(sum));
            let last = range.end == own.end;
            for to in exchange.others() {
                let first = exchange.frames(segment(to).len()) + made;
                exchange.send(to, &shared, range.clone(), first, last);
            }
            made += 1;
        }
        if sums.done() && !open.contains(&true) {
            return Ok(exchange.take_back(shared).await);
        }
        let piece = exchange.receive(|rank| open[rank]).await?;
        if sums.wants(piece.from) {
            sums.take(&exchange, piece)?;
            continue;
        }
        let (from, rest) = (piece.from, results[piece.from].clone());
        let count = exchange.count(&piece);
        if !open[from] || count > rest.len() || piece.last && count < rest.len() {
            let what = format!("sent {count} results where {} were to come", rest.len());
            return Err(exchange.fault(from, &what));
        }
        results[from].start += count;
        open[from] = !piece.last;
        let range = rest.start..rest.start + count;
        shared.with(|values| decode(&piece.payload, wire, &mut values[range]));
    }
}

/// Sums of a rank's own segment, a frame at a time.
struct Sums<T> {
    rank: usize,
    /// Values that have not been summed, of the whole buffer.
    rest: Range<usize>,
    /// Values of a block: those of a frame.
    block: usize,
    /// Blocks that have come and have not been summed, by rank.
    blocks: Vec<VecDeque<Bytes>>,
    /// Values that have not come, by rank.
    missing: Vec<usize>,
    /// Ranks whose message has not ended.
    open: Vec<bool>,
    /// Whether a block is left: an empty segment has one too, which is empty.
    left: bool,
    memory: Vec<Vec<T>>,
}

impl<T: Element> Sums<T> {
    fn new(exchange: &Exchange, own: Range<usize>) -> Sums<T> {
        let (rank, world) = (exchange.rank, exchange.group.world);
        Sums {
            rank,
            block: most_values(exchange.wire_type),
            blocks: vec![VecDeque::new(); world],
            missing: vec![own.len(); world],
            open: (0..world).map(|other| other != rank).collect(),
            left: true,
            memory: vec![Vec::new(); world],
            rest: own,
        }
    }

    fn wants(&self, rank: usize) -> bool {
        self.open[rank]
    }

    fn done(&self) -> bool {
        !self.left
    }

    /// Takes in values of a rank.
    fn take(&mut self, exchange: &Exchange, piece: Piece) -> Result<(), CollectiveError> {
        let (from, count) = (piece.from, exchange.count(&piece));
        let expected = self.missing[from].min(self.block);
        if !self.open[from] || count != expected || piece.last != (expected == self.missing[from]) {
            let what = format!("sent {count} values where {expected} were to come");
            return Err(exchange.fault(from, &what));
        }
        self.missing[from] -= count;
        self.open[from] = !piece.last;
        self.blocks[from].push_back(piece.payload);
        Ok(())
    }

    /// Sums the next block if it has come from every rank: its place in the whole buffer, and the sums.
    fn next(
        &mut self,
        own: &Shared<T>,
        reduction: &Reduction<T>,
        call: Call,
    ) -> Option<(Range<usize>, &mut Vec<T>)> {
        let here = |(rank, blocks): (usize, &VecDeque<_>)| rank == self.rank || !blocks.is_empty();
        if !self.left || !self.blocks.iter().enumerate().all(here) {
            return None;
        }
        let start = self.rest.start;
        let range = start..self.rest.end.min(start.saturating_add(self.block));
        for (rank, memory) in self.memory.iter_mut().enumerate() {
            memory.resize(range.len(), T::zeroed());
            if rank == self.rank {
                own.with(|values| memory.copy_from_slice(&values[range.clone()]));
            } else if let Some(block) = self.blocks[rank].pop_front() {
                decode(&block, call.wire, memory);
            }
        }
        self.rest.start = range.end;
        self.left = !self.rest.is_empty();
        reduce(&mut self.memory, reduction);
        Some((range, &mut self.memory[0]))
    }
}
