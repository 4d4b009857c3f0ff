"""GraphSAGE on batches of a running server: learns to tell facts of the graph from negative ones.

    $ shardloom graph build genealogy --output g.graph && shardloom graph-store g.graph --listen 127.0.0.1:7400 &
    $ pip install ./python torch torch_geometric && python python/examples/graphsage.py 127.0.0.1:7400
"""

import sys

import torch
from torch_geometric.nn import SAGEConv

from shardloom.graph import GraphStore, LinkNeighborLoader

torch.manual_seed(0)
store = GraphStore(sys.argv[1])
settings = dict(batch_size=256, shuffle=True, direction="both", neg_sampling="binary", seed=7)
loader = LinkNeighborLoader(store, num_neighbors=[10, 5], **settings)
entities, relations = torch.nn.Embedding(store.num_nodes, 64), torch.nn.Embedding(store.num_relations, 64)
first, second = SAGEConv(64, 64), SAGEConv(64, 64)
parts = torch.nn.ModuleList([entities, relations, first, second])
optimizer = torch.optim.Adam(parts.parameters(), lr=0.01)
for epoch in range(4):
    total = 0.0
    for batch in loader:
        data = batch.to_pyg()
        hidden = first(entities(data.n_id), data.edge_index).relu()
        head, tail = second(hidden, data.edge_index)[data.edge_label_index]
        scores = (head * relations(data.edge_label_type) * tail).sum(dim=1)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(scores, data.edge_label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    print(f"epoch {epoch + 1}: loss {total / len(loader):.4f}")
