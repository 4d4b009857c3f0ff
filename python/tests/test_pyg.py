"""Loaders beside those of PyTorch Geometric, where they are installed; .ci/run installs neither.

PyTorch Geometric's loaders need pyg-lib, which PyPI does not have, or torch-sparse, which comes as source.
``python tests/pyg_sampler.py`` compiles the one file of it that draws neighbours, in a minute.
"""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torch_geometric")

import pyg_sampler  # noqa: E402
from conftest import NODES, ROOT  # noqa: E402
from test_reference import check_counts  # noqa: E402
from torch_geometric import loader as pyg  # noqa: E402
from torch_geometric.data import Data  # noqa: E402
from torch_geometric.utils import k_hop_subgraph  # noqa: E402

from shardloom.graph import LinkNeighborLoader, NeighborLoader  # noqa: E402

#: PyTorch Geometric's loaders, where they can draw.
needs_sampler = pytest.mark.skipif(not pyg_sampler.load(), reason="no pyg-lib, torch-sparse or pyg_sampler.py")


@pytest.fixture(scope="module")
def data(facts) -> Data:
    """The graph as PyTorch Geometric has it."""
    return Data(edge_index=torch.from_numpy(facts[:, [0, 2]].T.copy()), num_nodes=NODES)


def same_facts(batch, data) -> None:
    """Checks that both batches have the same nodes and facts, and number sources and targets alike."""
    assert np.array_equal(np.sort(batch.n_id), np.sort(data.n_id.numpy()))
    assert np.array_equal(np.sort(batch.e_id), np.sort(data.e_id.numpy()))

    def pairs(nodes, edges):
        return np.sort(nodes[edges[0]] * NODES + nodes[edges[1]])

    ours = pairs(batch.n_id, batch.edge_index)
    assert np.array_equal(ours, pairs(data.n_id.numpy(), data.edge_index.numpy()))


@pytest.mark.parametrize("seeds", [[3], [100, 1500], [1999]])
@pytest.mark.parametrize("hops", [1, 2])
def test_all_neighbours_are_those_of_pyg(store, data, seeds, hops):
    expected, _, _, _ = k_hop_subgraph(seeds, hops, data.edge_index, num_nodes=NODES)
    batch = store.sample(seeds, [-1] * hops)
    assert np.array_equal(np.sort(batch.n_id), np.sort(expected.numpy()))


@needs_sampler
@pytest.mark.parametrize("hops", [1, 2, 3])
def test_all_facts_around_nodes_are_those_of_pyg(store, data, hops):
    settings = dict(num_neighbors=[-1] * hops, input_nodes=torch.arange(0, NODES, 31), batch_size=10)
    theirs = list(pyg.NeighborLoader(data, **settings))
    ours = list(NeighborLoader(store, **settings))
    assert len(ours) == len(theirs) == 7
    for batch, other in zip(ours, theirs):
        same_facts(batch, other)
        assert np.array_equal(batch.input_id, other.input_id.numpy())
        assert batch.batch_size == other.batch_size
        # Seeds come first, in their order.
        assert np.array_equal(batch.n_id[: batch.batch_size], other.n_id[: other.batch_size].numpy())


@needs_sampler
def test_counts_around_nodes_are_those_of_pyg(store, data, facts):
    degree = np.bincount(facts[:, 2], minlength=NODES)
    settings = dict(num_neighbors=[6], batch_size=250)
    for batch, other in zip(NeighborLoader(store, **settings), pyg.NeighborLoader(data, **settings)):
        counts = [
            np.bincount(of.edge_index[1], minlength=of.num_nodes)[: of.batch_size] for of in (batch, other)
        ]
        assert np.array_equal(*counts)
    # Behind the first hop nodes differ, and each has as many facts as the fanout says on either side.
    settings = dict(num_neighbors=[6, 3], batch_size=250)
    for batch, other in zip(NeighborLoader(store, **settings), pyg.NeighborLoader(data, **settings)):
        check_counts(batch, degree, [6, 3])
        counts = np.bincount(other.edge_index[1], minlength=other.num_nodes)
        expanded = np.flatnonzero(counts)
        of = degree[other.n_id.numpy()[expanded]]
        fanout = np.where(expanded < other.batch_size, 6, 3)
        assert np.array_equal(counts[expanded], np.minimum(of, fanout))


@needs_sampler
def test_all_facts_around_facts_are_those_of_pyg(store, data, facts):
    mine = np.arange(0, len(facts), 173)
    index = torch.from_numpy(facts[mine][:, [0, 2]].T.copy())
    theirs = list(pyg.LinkNeighborLoader(data, [-1, -1], edge_label_index=index, batch_size=9))
    ours = list(LinkNeighborLoader(store, [-1, -1], facts=facts[mine], batch_size=9, exclude="nothing"))
    assert len(ours) == len(theirs) == -(-len(mine) // 9)
    for batch, other in zip(ours, theirs):
        same_facts(batch, other)
        ends = other.n_id[other.edge_label_index].numpy()
        assert np.array_equal(batch.n_id[batch.edge_label_index], ends)
        assert np.array_equal(batch.input_id, other.input_id.numpy())


@needs_sampler
@pytest.mark.parametrize("form", ["binary", ("binary", 2.5), "triplet", ("triplet", 4)])
def test_negative_facts_have_the_form_of_pyg(store, data, facts, form):
    index = torch.from_numpy(facts[:, [0, 2]].T.copy())
    settings = dict(batch_size=700, neg_sampling=form)
    theirs = pyg.LinkNeighborLoader(data, [2], edge_label_index=index, **settings)
    for batch, other in zip(LinkNeighborLoader(store, [2], **settings), theirs):
        mine = batch.to_pyg()
        names = ["edge_label_index", "edge_label", "src_index", "dst_pos_index", "dst_neg_index"]
        assert [name in mine for name in names] == [name in other for name in names]
        for name in names:
            if name in mine:
                assert mine[name].shape == other[name].shape, name
                assert mine[name].dtype == other[name].dtype, name
        if "edge_label" in mine:
            assert torch.equal(mine.edge_label, other.edge_label)
        else:
            assert torch.equal(mine.n_id[mine.src_index], other.n_id[other.src_index])
            assert torch.equal(mine.n_id[mine.dst_pos_index], other.n_id[other.dst_pos_index])


def test_graphsage_learns(server):
    example = ROOT / "python/examples/graphsage.py"
    command = [sys.executable, str(example), server.address]
    shown = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout
    losses = [float(loss) for loss in re.findall(r"loss ([\d.]+)", shown)]
    assert len(losses) >= 3 and losses == sorted(losses, reverse=True), shown
    assert losses[-1] < losses[0] * 0.9, shown


def test_blocks_are_those_of_dgl(store, facts):
    dgl = pytest.importorskip("dgl")
    graph = dgl.graph((torch.from_numpy(facts[:, 0].copy()), torch.from_numpy(facts[:, 2].copy())), num_nodes=NODES)
    seeds = torch.tensor([5, 900, 1999])
    _, _, expected = dgl.dataloading.MultiLayerFullNeighborSampler(3).sample_blocks(graph, seeds)
    blocks = store.sample(seeds, [-1] * 3, expand="all").to_blocks()
    for block, other in zip(blocks, expected):
        mine = block.to_dgl()
        for one in (mine, other):
            assert torch.equal(one.srcdata[dgl.NID][: one.num_dst_nodes()], one.dstdata[dgl.NID])
        for name in ("srcdata", "dstdata"):
            ids = [getattr(one, name)[dgl.NID].sort()[0] for one in (mine, other)]
            assert torch.equal(*ids)
        assert torch.equal(mine.edata[dgl.EID].sort()[0], other.edata[dgl.EID].sort()[0])
        ends = []
        for one in (mine, other):
            source, target = one.edges()
            pairs = one.srcdata[dgl.NID][source] * NODES + one.dstdata[dgl.NID][target]
            ends.append(pairs.sort()[0])
        assert torch.equal(*ends)
