"""Batches, and their bytes as ``docs/graph-store.md`` describes them."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any, List, Optional, Tuple

import numpy as np

from . import _blocks

_MAGIC = b"SLGB"
_VERSION = 1
_HEADER = struct.Struct("<4sHHQQQIIIIQQ")
_RELATIONS, _FACTS, _LABELS, _NEGATIVES = 1, 2, 4, 8
_WIDTHS = {1: np.uint8, 2: np.uint16, 4: np.uint32}


class PackedError(ValueError):
    """Bytes that are no batch."""


@dataclass
class Labels:
    """Known answers of the questions that the facts of a batch ask."""

    #: Place of the first answer of each question, and the number of all answers.
    bounds: np.ndarray
    #: Nodes that are answers, by their numbers in the graph.
    nodes: np.ndarray


@dataclass
class Batch:
    """Nodes around the seeds, and the facts between them."""

    #: Number in the graph of each node; the seeds come first.
    n_id: np.ndarray
    #: Facts as (source, target), numbered within the batch, by hop. Messages flow from source to target.
    edge_index: np.ndarray
    #: Relation of each fact.
    edge_type: np.ndarray
    #: Whether each fact's head is the target, so that the fact points against the messages.
    edge_inverse: np.ndarray
    #: Number in the graph of each fact, if the loader asks for it.
    e_id: Optional[np.ndarray]
    #: Number of distinct seeds: the nodes before this one are the seeds.
    batch_size: int
    #: Node, within the batch, of each given seed; heads and tails in turn where facts are seeds.
    seed_index: np.ndarray
    #: Number of nodes that each hop met first; the seeds, then one for each hop.
    num_sampled_nodes: List[int]
    #: Number of facts of each hop.
    num_sampled_edges: List[int]
    #: Seed, epoch and index: the name of the batch.
    draw: tuple
    #: Place of each seed in the loader's input: of nodes, or of facts.
    input_id: Optional[np.ndarray] = None
    #: Nodes that each hop expanded: the first, and the end.
    expanded: List[Tuple[int, int]] = field(default_factory=list)
    #: Heads and tails, within the batch, of the facts that are seeds; with ``neg_sampling="binary"``, then those of the
    #: negative facts; with ``"triplet"`` there is none.
    edge_label_index: Optional[np.ndarray] = None
    #: Relations of the facts that are seeds; with ``neg_sampling="binary"``, then those of the negative facts.
    edge_label_type: Optional[np.ndarray] = None
    #: 1 for each fact that is a seed, 0 for each negative one, with ``neg_sampling="binary"``.
    edge_label: Optional[np.ndarray] = None
    #: Heads, within the batch, of the facts that are seeds, with ``neg_sampling="triplet"``.
    src_index: Optional[np.ndarray] = None
    #: Tails, within the batch, of the facts that are seeds, with ``neg_sampling="triplet"``.
    dst_pos_index: Optional[np.ndarray] = None
    #: Negative tails of each fact that is a seed, within the batch, with ``neg_sampling="triplet"``: a row for each fact
    #: where there are several.
    dst_neg_index: Optional[np.ndarray] = None
    #: Known answers, if the loader asks for them.
    labels: Optional[Labels] = None
    #: Nodes that are no answers, if the server draws them.
    negatives: Optional[np.ndarray] = None

    @property
    def num_nodes(self) -> int:
        """Number of nodes."""
        return len(self.n_id)

    @property
    def num_edges(self) -> int:
        """Number of facts."""
        return self.edge_index.shape[1]

    def to_pyg(self) -> Any:
        """The batch as a ``torch_geometric.data.Data``, without copies of the arrays.

        :raises ImportError: if torch or torch_geometric is not installed.
        """
        import torch
        from torch_geometric.data import Data

        data = Data(num_nodes=self.num_nodes)
        for name in (
            "n_id",
            "edge_index",
            "edge_type",
            "edge_inverse",
            "e_id",
            "input_id",
            "edge_label_index",
            "edge_label_type",
            "edge_label",
            "src_index",
            "dst_pos_index",
            "dst_neg_index",
        ):
            array = getattr(self, name)
            if array is not None:
                data[name] = torch.from_numpy(array)
        data.batch_size = self.batch_size
        data.num_sampled_nodes = self.num_sampled_nodes
        data.num_sampled_edges = self.num_sampled_edges
        return data

    def to_blocks(self) -> List[_blocks.Block]:
        """Message-flow blocks, one for each hop, that of the network's first layer first, as DGL's samplers give them.

        The targets of the last block are the distinct seeds. The targets of every other one are the sources of the
        next. With ``expand="all"``, each layer has facts drawn for it alone, as in DGL; else all layers share the facts
        that were drawn of a node.
        """
        return _blocks.blocks(self)


class _Reader:
    """Arrays from the front of bytes, each padded to 4 bytes."""

    def __init__(self, data: memoryview, at: int) -> None:
        self.data = data
        self.at = at

    def array(self, what: str, count: int, kind: Any = np.uint32) -> np.ndarray:
        size = count * np.dtype(kind).itemsize
        padded = (size + 3) // 4 * 4
        left = len(self.data) - self.at
        if padded > left:
            raise PackedError(f"{what}: {padded} bytes at byte {self.at}, and there are {left}")
        found = np.frombuffer(self.data, np.dtype(kind).newbyteorder("<"), count, self.at)
        self.at += padded
        return found

    def words(self, what: str, count: int) -> List[int]:
        return self.array(what, count).tolist()


def _width(what: str, size: int) -> Any:
    if size not in _WIDTHS:
        raise PackedError(f"{what} of {size} bytes; they have 1, 2 or 4")
    return _WIDTHS[size]


def decode(data: bytes, hops: int = 0, inverse: bool = False) -> Batch:
    """Reads a batch.

    :param hops: number of hops that were asked for; those that had nothing to expand are empty.
    :param inverse: whether heads are targets, where the batch has one relation and does not say.
    :raises PackedError: if the bytes are no batch.
    """
    view = memoryview(data)
    if len(view) < _HEADER.size:
        raise PackedError(f"{len(view)} bytes, and a batch has at least {_HEADER.size}")
    (magic, version, flags, seed, epoch, index, nodes, seeds, found, relation_bytes, length, _) = (
        _HEADER.unpack_from(view)
    )
    if magic != _MAGIC:
        raise PackedError(f"these bytes begin with {magic!r}, and a batch with {_MAGIC!r}")
    if version != _VERSION:
        raise PackedError(f"a batch of version {version}, and this package reads version {_VERSION}")
    if length != len(view) - _HEADER.size:
        raise PackedError(f"{len(view) - _HEADER.size} bytes after the header, and it says {length}")
    reader = _Reader(view, _HEADER.size)
    n_id = reader.array("nodes", nodes).astype(np.int64)
    seed_index = reader.array("seeds", seeds).astype(np.int64)
    sources, targets, types, inverses, facts = [], [], [], [], []
    expanded, counted = [], []
    for _ in range(found):
        start, end, count, count_bytes = reader.words("hop", 4)
        if not start <= end <= nodes:
            raise PackedError(f"nodes {start} to {end} are expanded, and there are {nodes}")
        counts = reader.array("counts", end - start, _width("counts", count_bytes))
        if int(counts.sum(dtype=np.int64)) != count:
            raise PackedError(f"{counts.sum(dtype=np.int64)} facts of all nodes, and {count} of the hop")
        sources.append(reader.array("sources", count))
        targets.append(np.repeat(np.arange(start, end, dtype=np.int64), counts))
        if flags & _RELATIONS:
            marked = reader.array("relations", count, _width("relations", relation_bytes))
            mark = 1 << (8 * relation_bytes - 1)
            types.append((marked & (mark - 1)).astype(np.int64))
            inverses.append(marked < mark)
        else:
            types.append(np.zeros(count, np.int64))
            inverses.append(np.full(count, inverse))
        if flags & _FACTS:
            facts.append(reader.array("facts", count))
        expanded.append((start, end))
        counted.append(count)
    empty = [np.zeros(0, np.int64)]
    edge_index = np.stack(
        [np.concatenate(sources or empty).astype(np.int64), np.concatenate(targets or empty)]
    )
    if edge_index.shape[1] and int(edge_index[0].max()) >= nodes:
        raise PackedError(f"source {edge_index[0].max()}, and there are {nodes} nodes")
    labels = negatives = None
    if flags & _LABELS:
        anchors, answers = reader.words("labels", 2)
        bounds = reader.array("bounds of labels", anchors + 1).astype(np.int64)
        labels = Labels(bounds, reader.array("labels", answers).astype(np.int64))
    if flags & _NEGATIVES:
        (count,) = reader.words("negatives", 1)
        negatives = reader.array("negatives", count).astype(np.int64)
    if reader.at != len(view):
        raise PackedError(f"{len(view) - reader.at} bytes after the batch")
    distinct = int(seed_index.max()) + 1 if seeds else 0
    # Nodes that a hop met are expanded by the next one, up to the same end.
    ends = [distinct] + [end for _, end in expanded[1:]] + [nodes] if found else [distinct]
    new = [end - first for first, end in zip(ends, ends[1:])]
    missing = max(hops - found, 0)
    return Batch(
        n_id=n_id,
        edge_index=edge_index,
        edge_type=np.concatenate(types or empty),
        edge_inverse=np.concatenate(inverses or [np.zeros(0, bool)]),
        e_id=np.concatenate(facts).astype(np.int64) if facts else None,
        batch_size=distinct,
        seed_index=seed_index,
        num_sampled_nodes=[distinct] + new + [0] * missing,
        num_sampled_edges=counted + [0] * missing,
        expanded=expanded,
        draw=(seed, epoch, index),
        labels=labels,
        negatives=negatives,
    )
