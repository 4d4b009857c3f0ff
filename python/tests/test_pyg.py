"""The client beside PyTorch Geometric, where that is installed; .ci/run does not install it."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torch_geometric")

from conftest import NODES  # noqa: E402
from torch_geometric.nn import SAGEConv  # noqa: E402
from torch_geometric.utils import k_hop_subgraph  # noqa: E402

from shardloom.graph import NeighborLoader  # noqa: E402


@pytest.mark.parametrize("seeds", [[3], [100, 1500], [1999]])
@pytest.mark.parametrize("hops", [1, 2])
def test_all_neighbours_are_those_of_pyg(store, facts, seeds, hops):
    edge_index = torch.from_numpy(facts[:, [0, 2]].T.copy())
    expected, _, _, _ = k_hop_subgraph(seeds, hops, edge_index, num_nodes=NODES)
    batch = store.sample(seeds, [-1] * hops)
    assert np.array_equal(np.sort(batch.n_id), np.sort(expected.numpy()))


def test_graphsage_learns(store):
    torch.manual_seed(1)
    features, classes = torch.eye(NODES)[:, :256] + torch.randn(NODES, 256) / 16, torch.arange(NODES) % 4
    first, second = SAGEConv(256, 32), SAGEConv(32, 4)
    optimizer = torch.optim.Adam([*first.parameters(), *second.parameters()], lr=0.01)
    losses = []
    loader = NeighborLoader(store, [10, 5], input_nodes=np.arange(256), batch_size=64, shuffle=True)
    for _ in range(8):
        for batch in loader:
            data = batch.to_pyg()
            hidden = first(features[data.n_id], data.edge_index).relu()
            out = second(hidden, data.edge_index)[: data.batch_size]
            loss = torch.nn.functional.cross_entropy(out, classes[data.n_id[: data.batch_size]])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert np.mean(losses[-4:]) < np.mean(losses[:4]) / 2
