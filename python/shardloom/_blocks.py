"""Batches as message-flow blocks, one for each layer of a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, List, Optional

import numpy as np

if TYPE_CHECKING:
    from ._batch import Batch


@dataclass
class Block:
    """Messages of one layer, from source nodes to target nodes: a message-flow graph of DGL."""

    #: Number in the graph of each source node; the targets are the first of them.
    src_id: np.ndarray
    #: Number of targets.
    num_dst: int
    #: Facts as (source, target), by their places among the sources and the targets.
    edge_index: np.ndarray
    #: Relation of each fact.
    edge_type: np.ndarray
    #: Whether each fact's head is the target.
    edge_inverse: np.ndarray
    #: Number in the graph of each fact, if the loader asks for it.
    e_id: Optional[np.ndarray]

    @property
    def num_src(self) -> int:
        """Number of sources."""
        return len(self.src_id)

    @property
    def num_edges(self) -> int:
        """Number of facts."""
        return self.edge_index.shape[1]

    @property
    def dst_id(self) -> np.ndarray:
        """Number in the graph of each target."""
        return self.src_id[: self.num_dst]

    def to_dgl(self) -> Any:
        """The block as DGL makes them, with ``dgl.NID``, ``dgl.EID`` and ``dgl.ETYPE``.

        :raises ImportError: if torch or dgl is not installed.
        """
        import dgl
        import torch

        source, target = torch.from_numpy(self.edge_index)
        block = dgl.create_block((source, target), num_src_nodes=self.num_src, num_dst_nodes=self.num_dst)
        block.srcdata[dgl.NID] = torch.from_numpy(self.src_id)
        block.dstdata[dgl.NID] = torch.from_numpy(self.dst_id)
        block.edata[dgl.ETYPE] = torch.from_numpy(self.edge_type)
        if self.e_id is not None:
            block.edata[dgl.EID] = torch.from_numpy(self.e_id)
        return block


def blocks(batch: Batch) -> List[Block]:
    """Blocks of a batch, that of the first layer first."""
    nodes = np.cumsum(batch.num_sampled_nodes)
    facts = np.cumsum([0, *batch.num_sampled_edges])
    found: List[Block] = []
    first = 0
    for hop in range(len(batch.num_sampled_edges)):
        if hop < len(batch.expanded) and batch.expanded[hop][0] == 0:
            # All targets were expanded at this hop; otherwise, earlier hops have drawn the facts of the others.
            first = facts[hop]
        of = slice(first, facts[hop + 1])
        block = Block(
            src_id=batch.n_id[: nodes[hop + 1]],
            num_dst=int(nodes[hop]),
            edge_index=batch.edge_index[:, of],
            edge_type=batch.edge_type[of],
            edge_inverse=batch.edge_inverse[of],
            e_id=None if batch.e_id is None else batch.e_id[of],
        )
        found.append(block)
    return found[::-1]
