"""Loaders beside a plain walk over the facts. ``test_pyg.py`` has PyTorch Geometric in its place."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from conftest import NODES
from test_graph import names

from shardloom.graph import GraphStoreError, LinkNeighborLoader, NeighborLoader


def walk(facts: np.ndarray, seeds: np.ndarray, hops: int):
    """Facts of each hop against their direction, as numbers, and all nodes that are met."""
    met = frontier = np.unique(seeds)
    found = []
    for _ in range(hops):
        found.append(np.flatnonzero(np.isin(facts[:, 2], frontier)))
        frontier = np.setdiff1d(facts[found[-1], 0], met)
        met = np.union1d(met, frontier)
    return found, met


def check_counts(batch, degree: np.ndarray, fanouts) -> None:
    """Checks the number of facts of each node that was expanded."""
    counts = np.bincount(batch.edge_index[1], minlength=batch.num_nodes)
    ends = np.cumsum(batch.num_sampled_nodes)
    for fanout, first, end in zip(fanouts, [0, *ends], ends):
        expected = np.minimum(degree[batch.n_id[first:end]], fanout)
        assert np.array_equal(counts[first:end], expected)
    assert counts[ends[len(fanouts) - 1] :].sum() == 0


@pytest.mark.parametrize("hops", [1, 2, 3])
def test_all_facts_around_nodes(store, facts, hops):
    nodes = np.arange(1, NODES, 37)
    batches = list(NeighborLoader(store, [-1] * hops, input_nodes=nodes, batch_size=8, shuffle=True))
    assert len(batches) == -(-len(nodes) // 8)
    for batch in batches:
        found, met = walk(facts, nodes[batch.input_id], hops)
        assert batch.num_sampled_edges == [len(of) for of in found]
        assert np.array_equal(np.sort(batch.e_id), np.sort(np.concatenate(found)))
        assert np.array_equal(np.sort(batch.n_id), met)


def test_counts_around_nodes(store, facts):
    degree = np.bincount(facts[:, 2], minlength=NODES)
    for batch in NeighborLoader(store, [6, 3, 2], batch_size=200, shuffle=True):
        check_counts(batch, degree, [6, 3, 2])


def test_all_facts_around_facts(store, facts):
    mine = np.arange(0, len(facts), 211)
    settings = dict(facts=facts[mine], batch_size=6, shuffle=True)
    for batch in LinkNeighborLoader(store, [-1, -1], exclude="nothing", **settings):
        found, met = walk(facts, facts[mine[batch.input_id]][:, [0, 2]], 2)
        assert np.array_equal(np.sort(batch.e_id), np.sort(np.concatenate(found)))
        assert np.array_equal(np.sort(batch.n_id), met)
    for batch in LinkNeighborLoader(store, [-1, -1], exclude="seeds", **settings):
        asked = mine[batch.input_id]
        left = np.setdiff1d(np.arange(len(facts)), asked)
        found, met = walk(facts[left], facts[asked][:, [0, 2]], 2)
        assert np.array_equal(np.sort(batch.e_id), np.sort(left[np.concatenate(found)]))
        assert np.array_equal(np.sort(batch.n_id), met)


def test_counts_around_facts(store, facts):
    for batch in LinkNeighborLoader(store, [5, 2], batch_size=500, exclude="seeds", shuffle=True):
        left = np.delete(facts, batch.input_id, axis=0)
        check_counts(batch, np.bincount(left[:, 2], minlength=NODES), [5, 2])


def negative(batch, facts: np.ndarray) -> np.ndarray:
    """Negative facts of a batch, after checks of what it has beside them."""
    seeds = facts[batch.input_id]
    count = len(seeds)
    if batch.src_index is None:
        positive, negative = np.split(batch.n_id[batch.edge_label_index].T, [count])
        types = batch.edge_label_type
        assert np.array_equal(positive, seeds[:, [0, 2]]) and np.array_equal(types[:count], seeds[:, 1])
        assert np.array_equal(batch.edge_label, [1] * count + [0] * len(negative))
        return np.stack([negative[:, 0], types[count:], negative[:, 1]], axis=1)
    assert batch.edge_label_index is None and batch.edge_label is None
    assert np.array_equal(batch.edge_label_type, seeds[:, 1])
    assert np.array_equal(batch.n_id[batch.src_index], seeds[:, 0])
    assert np.array_equal(batch.n_id[batch.dst_pos_index], seeds[:, 2])
    tails = batch.n_id[batch.dst_neg_index].reshape(count, -1)
    rows = np.repeat(seeds, tails.shape[1], axis=0)
    rows[:, 2] = tails.ravel()
    return rows


@pytest.mark.parametrize("form", ["binary", ("binary", 0.5), "triplet", {"mode": "triplet", "amount": 3}])
def test_negative_facts_are_no_facts(store, facts, form):
    known = {tuple(fact) for fact in facts}

    def loader(seed):
        settings = dict(batch_size=150, shuffle=True, seed=seed, neg_sampling=form)
        return LinkNeighborLoader(store, [3], **settings)

    one, same, other = loader(1), loader(1), loader(2)
    first = [negative(batch, facts) for batch in one]
    amount = {"binary": 1, "triplet": 1, ("binary", 0.5): 0.5}.get(form if isinstance(form, (str, tuple)) else None, 3)
    sizes = [int(np.ceil(len(part) * amount)) for part in np.split(facts, range(150, len(facts), 150))]
    assert [len(of) for of in first] == sizes
    assert not any(tuple(fact) in known for fact in np.concatenate(first))
    assert all(np.array_equal(*pair) for pair in zip(first, [negative(batch, facts) for batch in same]))
    assert not np.array_equal(first[0], negative(next(iter(other)), facts))
    assert not np.array_equal(first[0], negative(next(iter(one)), facts))


def test_negative_facts_have_neighbourhoods(store, facts):
    degree = np.bincount(facts[:, 2], minlength=NODES)
    settings = dict(batch_size=300, exclude="nothing", neg_sampling="triplet")
    for batch in LinkNeighborLoader(store, [4], **settings):
        assert np.array_equal(np.unique(batch.seed_index), np.arange(batch.batch_size))
        check_counts(batch, degree, [4])


def test_words_of_neg_sampling_are_read(store):
    def loader(form):
        return LinkNeighborLoader(store, [2], neg_sampling=form)

    # As PyTorch Geometric's class has them.
    mode = SimpleNamespace(value="triplet")
    form = SimpleNamespace(mode=mode, amount=2, src_weight=None, dst_weight=None)
    assert next(iter(loader(form))).dst_neg_index.shape == (1, 2)
    for wrong, told in [
        ("near", "neg_sampling: 'near'; binary or triplet"),
        (("triplet", 0.5), "amount 0.5; above 0, and a whole number"),
        (("binary", 0), "amount 0; above 0"),
        (("binary", float("inf")), "amount inf; above 0"),
        (("binary", 1, [0.5]), "src_weight; negative facts have a mode and an amount"),
    ]:
        with pytest.raises(ValueError, match=told):
            loader(wrong)
    with pytest.raises(GraphStoreError, match="negative facts 5000; it is above 0, and at most 1024"):
        next(iter(loader(("triplet", 5000))))


@pytest.mark.parametrize("expand", ["new", "all", "tree"])
@pytest.mark.parametrize("direction", ["in", "both"])
def test_blocks_lead_to_the_seeds(store, facts, expand, direction):
    batch = store.sample([7, 3, 1500, 7], [4, 3, 2], expand=expand, direction=direction)
    blocks = batch.to_blocks()
    assert len(blocks) == 3
    assert np.array_equal(blocks[-1].dst_id, batch.n_id[: batch.batch_size])
    assert np.array_equal(blocks[0].src_id, batch.n_id)
    for earlier, later in zip(blocks, blocks[1:]):
        assert np.array_equal(earlier.dst_id, later.src_id)
    for hop, block in enumerate(reversed(blocks)):
        source, target = block.edge_index
        assert source.max() < block.num_src and target.max() < block.num_dst
        drawn = batch.num_sampled_edges
        assert block.num_edges == (drawn[hop] if expand == "all" else sum(drawn[: hop + 1]))
        # Every target that has facts gets messages.
        of = SimpleNamespace(n_id=block.src_id, **{name: getattr(block, name) for name in vars(block)})
        assert np.array_equal(names(of), facts[block.e_id])
        sides = [2] if direction == "in" else [0, 2]
        assert np.array_equal(np.unique(block.dst_id[target]), np.intersect1d(block.dst_id, facts[:, sides]))


def test_blocks_of_hops_that_met_nothing(store, facts):
    # The first hop takes no facts, so that the second has nothing to expand.
    batch = store.sample([0], [0, 5])
    blocks = batch.to_blocks()
    assert [block.num_edges for block in blocks] == [0, 0]
    assert [block.num_src for block in blocks] == [1, 1]
