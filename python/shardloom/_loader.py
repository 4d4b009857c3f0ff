"""Loaders with the names of PyTorch Geometric."""

from __future__ import annotations

import math
import secrets
from typing import Any, Dict, Iterator, Optional, Sequence, Tuple

import numpy as np

from . import _batch
from ._store import Channel, GraphStore, fact_seeds, node_seeds, plan

_EVEN = ("short", "drop", "wrap")


class _Loader:
    """Epochs of batches of one rank. Each ``iter()`` is an epoch."""

    def __init__(
        self,
        store: GraphStore,
        settings: Dict[str, Any],
        num_neighbors: Sequence[Any],
        batch_size: int,
        shuffle: bool,
        drop_last: bool,
        seed: int,
        rank: int,
        world_size: int,
        even: str,
        prefetch: int,
        key: Optional[str],
        seeds: Optional[Dict[str, Any]],
        listed: Dict[str, Any],
        labels: Optional[Dict[str, Any]] = None,
        negative_facts: Optional[Dict[str, Any]] = None,
    ) -> None:
        if even not in _EVEN:
            raise ValueError(f"even: {even!r}; one of {', '.join(_EVEN)}")
        if batch_size < 1 or prefetch < 1:
            raise ValueError(f"batch_size {batch_size} and prefetch {prefetch}; both are at least 1")
        spec = {
            "key": key or f"loader {secrets.token_hex(8)}",
            "plan": plan(num_neighbors, **settings),
            "seed": seed,
            "batch_size": batch_size,
            "order": "shuffled" if shuffle else "sequential",
            "drop_last": drop_last,
            "even": even,
            "labels": labels,
        }
        if negative_facts is not None:
            spec["negative_facts"] = negative_facts
        channel: Dict[str, Any] = {
            "world": {"rank": rank, "size": world_size},
            "window": {"batches": prefetch, "bytes": 64 << 20},
        }
        if seeds is None:
            channel["seeds"] = listed
        self.store = store
        self._channel = Channel(store, spec, channel, seeds)
        self._hops = len(num_neighbors)
        self._inverse = settings.get("direction") == "out"
        self._epoch = 0
        self._position = 0
        self._running: Optional[Iterator[_batch.Batch]] = None
        self._batches: Optional[int] = None

    def __len__(self) -> int:
        """Number of batches of an epoch, of this rank."""
        if self._batches is None:
            self._batches = self._channel.start(self._epoch)["batches"]
        return self._batches

    def __iter__(self) -> Iterator[_batch.Batch]:
        epoch, position = self._epoch, self._position
        return self.batches(epoch, position)

    def batches(self, epoch: int, position: int = 0) -> Iterator[_batch.Batch]:
        """Batches of an epoch from a position. An epoch may be repeated until a later one has begun."""
        self._epoch, self._position = epoch, position
        for packed, last in self._channel.batches(epoch, position):
            batch = self._finish(_batch.decode(packed, self._hops, self._inverse), last)
            self._position += 1
            yield batch
        self._epoch, self._position = epoch + 1, 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch of the next ``iter()``. Epochs only rise."""
        self._epoch, self._position = epoch, 0

    def state_dict(self) -> Dict[str, int]:
        """Epoch and position of the next batch."""
        return {"epoch": self._epoch, "position": self._position}

    def load_state_dict(self, state: Dict[str, int]) -> None:
        """Goes on where :meth:`state_dict` was called, also in another process."""
        self._epoch, self._position = state["epoch"], state["position"]

    def close(self) -> None:
        """Closes the channel at the server."""
        self._channel.close()

    def __enter__(self) -> "_Loader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _finish(self, batch: _batch.Batch, last: Dict[str, Any]) -> _batch.Batch:
        batch.input_id = np.frombuffer(last["places"], "<u4").astype(np.int64)
        return batch


def negative_facts(neg_sampling: Any) -> Optional[Dict[str, Any]]:
    """Negative facts as the server reads them, of PyTorch Geometric's forms: a word, a tuple, a dictionary, its class."""
    if neg_sampling is None:
        return None
    if isinstance(neg_sampling, str):
        given = {"mode": neg_sampling}
    elif isinstance(neg_sampling, tuple):
        given = dict(zip(("mode", "amount", "src_weight", "dst_weight"), neg_sampling))
    elif isinstance(neg_sampling, dict):
        given = neg_sampling
    else:
        given = vars(neg_sampling)
    for name, value in given.items():
        if name not in ("mode", "amount") and value is not None:
            raise ValueError(f"neg_sampling: {name}; negative facts have a mode and an amount, and are drawn uniformly")
    mode = getattr(given.get("mode"), "value", given.get("mode"))
    if mode not in ("binary", "triplet"):
        raise ValueError(f"neg_sampling: {mode!r}; binary or triplet")
    amount = float(given.get("amount", 1))
    if not 0 < amount < math.inf or (mode == "triplet" and amount != int(amount)):
        raise ValueError(f"neg_sampling: amount {amount:g}; above 0, and a whole number with triplet")
    return {"mode": mode, "amount": amount}


class NeighborLoader(_Loader):
    """Batches of nodes and their neighbourhoods, as PyTorch Geometric's ``NeighborLoader`` makes them.

    :param num_neighbors: facts taken of each node, for each hop: a number, -1 for all, or numbers by relation.
    :param input_nodes: seeds; by default all nodes. ``("heads", r)`` and ``("tails", r)`` are those of a relation.
    :param input_time: time of each seed; then facts before it are taken, and each seed has a tree of its own.
    :param temporal_strategy: ``"uniform"`` or ``"last"``, with ``input_time``.
    :param inclusive: whether facts at the seed's own time are taken.
    :param replace: draws with replacement.
    :param weighted: draws by the weights of the graph's facts.
    :param direction: ``"in"`` takes facts whose tail is the node, as PyTorch Geometric does; ``"out"``; ``"both"``.
    :param expand: ``"new"`` expands nodes once; ``"all"`` expands all nodes so far again; ``"tree"``.
    :param seed: seed of all draws and of the order. Equal seeds give equal epochs.
    :param rank: rank of this process, from 0; it has the batches ``rank``, ``rank + world_size`` …
    :param even: ``"short"``: some ranks have one batch less; ``"drop"``; ``"wrap"``: some repeat batches.
    :param prefetch: batches that the server makes ahead.
    :param key: name of the loader, the same on all ranks. Ranks with equal keys must have equal settings.
    """

    def __init__(
        self,
        store: GraphStore,
        num_neighbors: Sequence[Any],
        input_nodes: Any = None,
        batch_size: int = 1,
        shuffle: bool = False,
        drop_last: bool = False,
        replace: bool = False,
        weighted: bool = False,
        input_time: Any = None,
        temporal_strategy: str = "uniform",
        inclusive: bool = False,
        direction: str = "in",
        expand: str = "new",
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        even: str = "short",
        prefetch: int = 4,
        key: Optional[str] = None,
    ) -> None:
        settings: Dict[str, Any] = {
            "replace": replace,
            "weighted": weighted,
            "direction": direction,
            "expand": expand,
        }
        seeds = None
        of: Any = "all"
        if isinstance(input_nodes, tuple):
            side, relation = input_nodes
            if side not in ("heads", "tails"):
                raise ValueError(f"input_nodes: {side!r}; heads or tails of a relation")
            of = {side: relation}
        elif input_nodes is not None:
            seeds = node_seeds(input_nodes, input_time)
        if input_time is not None:
            if seeds is None:
                raise ValueError("input_time: input_nodes says which nodes the times belong to")
            if temporal_strategy not in ("uniform", "last"):
                raise ValueError(f"temporal_strategy: {temporal_strategy!r}; uniform or last")
            settings["expand"] = "tree"
            settings["before"] = {
                "inclusive": inclusive,
                "window": None,
                "latest": temporal_strategy == "last",
            }
        super().__init__(
            store,
            settings,
            num_neighbors,
            batch_size,
            shuffle,
            drop_last,
            seed,
            rank,
            world_size,
            even,
            prefetch,
            key,
            seeds,
            {"nodes": {"of": of}},
        )


class LinkNeighborLoader(_Loader):
    """Batches of facts and the neighbourhoods of their ends, as PyTorch Geometric's ``LinkNeighborLoader`` makes them.

    The facts of a batch are left out of its neighbourhoods before facts are drawn, so that no answer is in its own
    question, and as many facts are drawn as ``num_neighbors`` says.

    :param facts: seeds: rows of head, relation and tail; by default all facts of the graph.
    :param part: of the graph's facts, the shares from the first number to the second, of as many as the third.
    :param exclude: ``"seeds+inverse"``, ``"seeds"``, ``"pairs"`` (all facts between the two ends), or ``"nothing"``.
    :param inverses: pairs of relations of which one reverses the other.
    :param labels: ``"tails"``, ``"heads"`` or ``"both"``: adds the known answers of the questions that facts ask.
    :param most_labels: most answers of a question: of more, a random choice.
    :param neg_sampling: ``"binary"``: as many negative facts, of which both ends are drawn; ``"triplet"``: a negative tail
        for each fact. ``("triplet", 5)`` or ``{"mode": "triplet", "amount": 5}`` gives their number for each fact. They are
        never facts of the graph or of the batch, and their ends are seeds too: their neighbourhoods are drawn, without the
        inverses of the negative facts if ``exclude`` says so, so that a neighbourhood does not tell which facts are negative.

    Other arguments are those of :class:`NeighborLoader`.
    """

    def __init__(
        self,
        store: GraphStore,
        num_neighbors: Sequence[Any],
        facts: Any = None,
        part: Tuple[int, int, int] = (0, 1, 1),
        batch_size: int = 1,
        shuffle: bool = False,
        drop_last: bool = False,
        exclude: str = "seeds+inverse",
        inverses: Sequence[Tuple[int, int]] = (),
        labels: Optional[str] = None,
        most_labels: Optional[int] = None,
        neg_sampling: Any = None,
        replace: bool = False,
        weighted: bool = False,
        direction: str = "in",
        expand: str = "new",
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        even: str = "short",
        prefetch: int = 4,
        key: Optional[str] = None,
    ) -> None:
        excludes = {
            "nothing": "nothing",
            "seeds": "seeds",
            "seeds+inverse": "seeds-and-inverse",
            "pairs": "pairs",
        }
        if exclude not in excludes:
            raise ValueError(f"exclude: {exclude!r}; one of {', '.join(excludes)}")
        settings = {
            "replace": replace,
            "weighted": weighted,
            "direction": direction,
            "expand": expand,
            "exclude": excludes[exclude],
            "inverses": inverses,
        }
        self._negative = negative_facts(neg_sampling)
        start, end, of = part
        super().__init__(
            store,
            settings,
            num_neighbors,
            batch_size,
            shuffle,
            drop_last,
            seed,
            rank,
            world_size,
            even,
            prefetch,
            key,
            None if facts is None else fact_seeds(facts),
            {"facts": {"slice": {"start": start, "end": end, "of": of}}},
            None if labels is None else {"ask": labels, "most": most_labels},
            self._negative,
        )

    def _finish(self, batch: _batch.Batch, last: Dict[str, Any]) -> _batch.Batch:
        batch = super()._finish(batch, last)
        ends = batch.seed_index.reshape(-1, 2).T.copy()
        batch.edge_label_type = np.frombuffer(last["relations"], "<u4").astype(np.int64)
        facts = len(batch.edge_label_type)
        if self._negative is not None and self._negative["mode"] == "triplet":
            batch.src_index, batch.dst_pos_index = ends[:, :facts]
            negatives = ends[1, facts:]
            amount = int(self._negative["amount"])
            batch.dst_neg_index = negatives if amount == 1 else negatives.reshape(facts, amount)
            return batch
        batch.edge_label_index = ends
        if self._negative is not None:
            negatives = ends.shape[1] - facts
            batch.edge_label = np.repeat(np.array([1, 0], np.float32), [facts, negatives])
            # A negative fact has the relation of a fact, in turn.
            batch.edge_label_type = np.resize(batch.edge_label_type, facts + negatives)
        return batch
