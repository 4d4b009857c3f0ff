//! Way of orders from the session to a stream: any thread adds some, and one task takes them.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use super::sync::{Mutex, MutexGuard, PoisonError};

/// Orders for a stream, in order, and the task that waits for one.
#[derive(Debug)]
pub(super) struct Outbox<T>(Mutex<State<T>>);

#[derive(Debug)]
struct State<T> {
    orders: VecDeque<T>,
    waker: Option<Waker>,
}

impl<T> Outbox<T> {
    /// Makes an outbox without orders.
    pub fn new() -> Outbox<T> {
        Outbox(Mutex::new(State {
            orders: VecDeque::new(),
            waker: None,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Orders change in calls that do not panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an order.
    pub fn push(&self, order: T) {
        let mut state = self.lock();
        state.orders.push_back(order);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Adds an order in place of all that were not taken. Their memory is free at once, whether the task runs or not.
    pub fn replace(&self, order: T) {
        let mut state = self.lock();
        let orders = std::mem::take(&mut state.orders);
        state.orders.push_back(order);
        let waker = state.waker.take();
        drop(state);
        drop(orders);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Calls `take` with the first order, which stays there unless `take` says that it is used up. Without an order, the
    /// task is woken up by the next one.
    pub fn poll<R>(
        &self,
        context: &mut Context<'_>,
        take: impl FnOnce(&mut T) -> (R, Used),
    ) -> Poll<R> {
        let mut state = self.lock();
        let Some(first) = state.orders.front_mut() else {
            state.waker = Some(context.waker().clone());
            return Poll::Pending;
        };
        let (result, used) = take(first);
        let order = match used {
            Used::Up => state.orders.pop_front(),
            Used::InPart => None,
        };
        drop(state);
        drop(order);
        Poll::Ready(result)
    }
}

/// State of an order after a part of it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Used {
    /// More is left.
    InPart,
    /// No part is left.
    Up,
}
