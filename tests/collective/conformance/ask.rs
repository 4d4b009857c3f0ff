//! Calls as data, so that ranks can differ in one aspect at a time.

use shardloom::collective::{
    Call, Collective, CollectiveError, CollectiveExt, Element, ElementType, Operation, Reduce,
};
use shardloom::kernel::{Backend, GradientRows};

/// A call with zeros for values; gradient rows are on the CPU.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    pub call: Call,
    pub operation: Operation,
    pub element: ElementType,
    pub reduce: Reduce,
    pub root: usize,
    pub length: usize,
}

impl Ask {
    pub fn new(call: Call, operation: Operation) -> Ask {
        Ask {
            call,
            operation,
            element: ElementType::F32,
            reduce: Reduce::Sum,
            root: 0,
            length: 5,
        }
    }

    /// Makes the call and forgets its results.
    pub async fn of(self, c: &dyn Collective) -> Result<(), CollectiveError> {
        match self.element {
            ElementType::F32 => self.typed::<f32>(c).await,
            ElementType::F64 => self.typed::<f64>(c).await,
            ElementType::U32 => self.typed::<u32>(c).await,
            ElementType::U64 => self.typed::<u64>(c).await,
        }
    }

    async fn typed<T: Element>(self, c: &dyn Collective) -> Result<(), CollectiveError> {
        let values = vec![T::zeroed(); self.length];
        let call = self.call;
        match self.operation {
            Operation::AllReduce => c.all_reduce(call, values, self.reduce).await.map(drop),
            Operation::AllReduceRows => {
                let rows = GradientRows::from(vec![0.0; self.length]);
                let engine = &Backend::cpu();
                let sum = c.all_reduce_rows(call, engine, rows, self.reduce).await;
                sum.map(drop)
            }
            Operation::AllGather => c.all_gather(call, values).await.map(drop),
            Operation::ReduceScatter => c.reduce_scatter(call, values, self.reduce).await.map(drop),
            Operation::AllToAll => c.all_to_all(call, vec![values; c.world()]).await.map(drop),
            Operation::Broadcast => c.broadcast(call, self.root, values).await.map(drop),
            Operation::Barrier => c.barrier(call).await,
        }
    }
}
