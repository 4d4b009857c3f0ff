"""Sampled neighbourhoods from a server of shardloom, with the names of PyTorch Geometric.

::

    from shardloom.graph import GraphStore, NeighborLoader

    with GraphStore("127.0.0.1:7400") as store:
        loader = NeighborLoader(store, num_neighbors=[15, 10, 5], batch_size=1024, shuffle=True, seed=7)
        for batch in loader:
            x = features[batch.n_id]
            out = model(x, batch.edge_index)[: batch.batch_size]

A batch is a function of the graph, the settings, seed, epoch and position: two runs have the same batches, whatever the
server's threads, and whichever side has crashed in between.
"""

from ._batch import Batch, Labels, PackedError
from ._blocks import Block
from ._loader import LinkNeighborLoader, NeighborLoader
from ._store import Description, GraphStore, GraphStoreError

__all__ = [
    "Batch",
    "Block",
    "Description",
    "GraphStore",
    "GraphStoreError",
    "Labels",
    "LinkNeighborLoader",
    "NeighborLoader",
    "PackedError",
]
