"""Loaders against a real server."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import NODES, RELATIONS, ROOT, Server

from shardloom import _batch, _wire
from shardloom.graph import GraphStore, GraphStoreError, LinkNeighborLoader, NeighborLoader


def names(batch) -> np.ndarray:
    """Facts of a batch by the numbers of the graph: head, relation, tail."""
    source, target = batch.n_id[batch.edge_index]
    head = np.where(batch.edge_inverse, target, source)
    tail = np.where(batch.edge_inverse, source, target)
    return np.stack([head, batch.edge_type, tail], axis=1)


def equal(one, other) -> bool:
    """Whether two batches are the same."""
    arrays = ["n_id", "edge_index", "edge_type", "edge_inverse", "e_id", "seed_index", "input_id"]
    return one.draw == other.draw and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays
    )


def test_the_store_is_described(store, facts):
    assert (store.num_nodes, store.num_relations, store.num_edges) == (NODES, RELATIONS, len(facts))
    assert np.array_equal(store.ids(), np.arange(NODES))
    assert np.array_equal(store.ids(part=(1, 2, 4)), np.arange(NODES // 4, NODES // 2))
    for relation in range(RELATIONS):
        of = facts[facts[:, 1] == relation]
        assert np.array_equal(store.ids(heads_of=relation), np.unique(of[:, 0]))
        assert np.array_equal(store.ids(tails_of=relation), np.unique(of[:, 2]))
    assert "shardloom_graph_store_channels" in store.metrics()


def test_labels_are_the_known_answers(store, facts):
    nodes = np.arange(0, NODES, 7)
    relations = nodes % RELATIONS
    labels = store.labels(nodes, relations)
    for at, (node, relation) in enumerate(zip(nodes, relations)):
        of = facts[(facts[:, 0] == node) & (facts[:, 1] == relation)]
        found = labels.nodes[labels.bounds[at] : labels.bounds[at + 1]]
        assert np.array_equal(found, np.unique(of[:, 2]))
    few = store.labels(nodes, relations, heads=True, most=1)
    assert np.diff(few.bounds).max() == 1


@pytest.mark.parametrize("direction", ["in", "out", "both"])
def test_facts_of_a_batch_are_those_of_the_graph(store, facts, direction):
    known = {tuple(fact) for fact in facts}
    batch = store.sample([5, 3, 5, 1999], [4, 3], direction=direction)
    assert np.array_equal(batch.n_id[batch.seed_index], [5, 3, 5, 1999])
    assert batch.batch_size == 3
    assert len(np.unique(batch.n_id)) == batch.num_nodes
    found = names(batch)
    assert all(tuple(fact) in known for fact in found)
    assert np.array_equal(facts[batch.e_id], found)
    assert sum(batch.num_sampled_nodes) == batch.num_nodes
    assert sum(batch.num_sampled_edges) == batch.num_edges
    inverse = {"in": {False}, "out": {True}, "both": {False, True}}[direction]
    assert set(batch.edge_inverse.tolist()) == inverse


def test_counts_are_those_of_the_fanout(store, facts):
    degree = np.bincount(facts[:, 2], minlength=NODES)
    batch = store.sample(np.arange(50), [6, 2])
    counts = np.bincount(batch.edge_index[1], minlength=batch.num_nodes)
    expanded = sum(batch.num_sampled_nodes[:2])
    fanout = np.where(np.arange(expanded) < batch.batch_size, 6, 2)
    assert np.array_equal(counts[:expanded], np.minimum(degree[batch.n_id[:expanded]], fanout))
    assert counts[expanded:].sum() == 0


def test_all_facts_of_two_hops(store, facts):
    seeds = np.array([1990, 700])
    batch = store.sample(seeds, [-1, -1])
    first = facts[np.isin(facts[:, 2], seeds)]
    met = np.setdiff1d(first[:, 0], seeds)
    second = facts[np.isin(facts[:, 2], met)]
    expected = np.unique(np.concatenate([first, second]), axis=0)
    assert np.array_equal(np.unique(names(batch), axis=0), expected)
    assert batch.num_sampled_nodes[:2] == [2, len(met)]
    # A dictionary gives a number for each relation.
    some = store.sample(seeds, [{0: 2, 3: 1}])
    assert set(some.edge_type.tolist()) <= {0, 3}


def test_an_epoch_has_every_seed_once_in_an_order_of_its_own(store):
    nodes = np.random.default_rng(1).permutation(NODES)[:777]
    loader = NeighborLoader(store, [3], input_nodes=nodes, batch_size=64, shuffle=True, seed=4)
    assert len(loader) == 13
    epochs = []
    for _ in range(2):
        seen = []
        for batch in loader:
            assert np.array_equal(nodes[batch.input_id], batch.n_id[batch.seed_index])
            seen.append(batch.input_id)
        seen = np.concatenate(seen)
        assert np.array_equal(np.sort(seen), np.arange(777))
        epochs.append(seen)
    assert not np.array_equal(*epochs)
    again = NeighborLoader(store, [3], input_nodes=nodes, batch_size=64, shuffle=True, seed=4)
    assert np.array_equal(np.concatenate([batch.input_id for batch in again]), epochs[0])


def test_ranks_share_an_epoch(store):
    def rank(number, even):
        settings = dict(batch_size=100, rank=number, world_size=3, even=even, key=f"ranks {even}")
        return NeighborLoader(store, [2], input_nodes=np.arange(1000), **settings)

    seen = [np.concatenate([batch.input_id for batch in rank(number, "short")]) for number in range(3)]
    assert [len(of) for of in seen] == [400, 300, 300]
    assert np.array_equal(np.sort(np.concatenate(seen)), np.arange(1000))
    assert [len(rank(number, "drop")) for number in range(3)] == [3, 3, 3]
    assert [len(rank(number, "wrap")) for number in range(3)] == [4, 4, 4]


def test_facts_that_are_seeds_are_not_in_their_neighbourhoods(store, facts):
    loader = LinkNeighborLoader(store, [5, 5], batch_size=128, shuffle=True, direction="both")
    seen = []
    for batch in loader:
        seeds = facts[batch.input_id]
        assert np.array_equal(batch.n_id[batch.edge_label_index].T, seeds[:, [0, 2]])
        assert np.array_equal(batch.edge_label_type, seeds[:, 1])
        left_out = {tuple(fact) for fact in seeds} | {(t, r, h) for h, r, t in seeds}
        assert not any(tuple(fact) in left_out for fact in names(batch))
        seen.append(batch.input_id)
    assert np.array_equal(np.sort(np.concatenate(seen)), np.arange(len(facts)))


def test_listed_facts_and_labels(store, facts):
    mine = facts[::-1][:300]
    loader = LinkNeighborLoader(store, [2], facts=mine, batch_size=50, shuffle=True, labels="tails")
    for batch in loader:
        seeds = mine[batch.input_id]
        assert np.array_equal(batch.edge_label_type, seeds[:, 1])
        for at, (head, relation, tail) in enumerate(seeds):
            answers = batch.labels.nodes[batch.labels.bounds[at] : batch.labels.bounds[at + 1]]
            of = facts[(facts[:, 0] == head) & (facts[:, 1] == relation)]
            assert np.array_equal(answers, np.unique(of[:, 2])) and tail in answers


def test_breaking_off_leaves_nothing_for_the_next_epoch(store):
    loader = NeighborLoader(store, [3], batch_size=100, shuffle=True, seed=2)
    for batch in loader:
        break
    loader.set_epoch(1)
    assert {batch.draw[1] for batch in loader} == {1}
    assert loader.state_dict() == {"epoch": 2, "position": 0}


def test_a_loader_goes_on_where_another_was(store):
    def loader():
        return NeighborLoader(store, [3, 2], batch_size=100, shuffle=True, seed=2)

    whole = list(loader())
    first, state = loader(), None
    for position, batch in enumerate(first):
        assert equal(batch, whole[position])
        if position == 6:
            state = first.state_dict()
            break
    second = loader()
    second.load_state_dict(state)
    rest = list(second)
    assert len(rest) == 13 and all(equal(*pair) for pair in zip(rest, whole[7:]))


def test_a_server_that_is_killed_and_another_that_takes_its_place(graph, tmp_path):
    address = f"unix:{tmp_path / 'store.sock'}"
    server = Server(graph, address)
    with GraphStore(address) as store:
        whole = list(NeighborLoader(store, [5, 3], batch_size=40, shuffle=True, seed=9))
        loader = NeighborLoader(store, [5, 3], batch_size=40, shuffle=True, seed=9)
        seen = []
        for batch in loader:
            seen.append(batch)
            if len(seen) == 20:
                server.kill()
                # The other one comes while this one waits.
                later = threading.Timer(0.5, lambda: servers.append(Server(graph, address)))
                servers = []
                later.start()
        later.join()
        assert len(seen) == 50 and all(equal(*pair) for pair in zip(seen, whole))
    servers[0].kill()


def test_the_lease_of_a_loader_may_end_between_epochs(graph):
    server = Server(graph, "127.0.0.1:0", ["--lease", "1"])
    with GraphStore(server.address) as store:
        loader = NeighborLoader(store, [2], batch_size=500, shuffle=True)
        assert len(list(loader)) == 4
        deadline = time.monotonic() + 10
        while "shardloom_graph_store_channels 0" not in store.metrics():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert len(list(loader)) == 4
    server.kill()


def test_sentences_of_the_server_arrive(store):
    with pytest.raises(GraphStoreError, match="seed 1: node 2000, and the graph has 2000 nodes"):
        store.sample([0, 2000], [1])
    with pytest.raises(GraphStoreError, match="the graph has no weights"):
        store.sample([0], [1], weighted=True)
    with pytest.raises(GraphStoreError, match="a batch may have"):
        store.sample([0], [10**6] * 3, replace=True)
    with pytest.raises(GraphStoreError, match="rank 3 of 2"):
        list(NeighborLoader(store, [1], rank=3, world_size=2))
    with pytest.raises(GraphStoreError, match="unknown variant `sideways`"):
        store.sample([0], [1], direction="sideways")
    one = NeighborLoader(store, [1], key="taken", batch_size=10)
    next(iter(one))
    with pytest.raises(GraphStoreError, match="open with another plan"):
        list(NeighborLoader(store, [2], key="taken", batch_size=10))
    with pytest.raises(ValueError, match="num_neighbors: -2"):
        NeighborLoader(store, [-2])
    with pytest.raises(ValueError, match="nodes: -1; numbers are from 0"):
        store.sample([-1], [1])
    with pytest.raises(TypeError, match="they are integers"):
        store.sample([0.5], [1])


def test_a_server_that_is_away_is_told_by_its_address(tmp_path):
    with GraphStore(f"unix:{tmp_path / 'none'}", timeout=1, patience=0.3) as store:
        with pytest.raises(GraphStoreError, match="none"):
            store.describe()
        with pytest.raises(GraphStoreError, match="none"):
            list(NeighborLoader(store, [1]))


def test_a_token_is_brought(graph, tmp_path):
    token = "00112233445566778899aabbccddeeff"
    (tmp_path / "token").write_text(token)
    server = Server(graph, "127.0.0.1:0", ["--token-file", str(tmp_path / "token")])
    with GraphStore(server.address) as store:
        with pytest.raises(GraphStoreError, match="brings no token"):
            store.describe()
    with GraphStore(server.address, token=token) as store:
        assert store.describe().nodes == NODES
    server.kill()


def test_a_server_that_is_asked_to_end_lets_the_epoch_end(graph):
    server = Server(graph, "127.0.0.1:0")
    with GraphStore(server.address) as store:
        batches = 0
        for _ in NeighborLoader(store, [3], batch_size=20):
            if batches == 0:
                server.process.send_signal(signal.SIGTERM)
            batches += 1
        assert batches == 100
    assert server.process.wait(10) == 0


def test_damaged_batches_are_refused(store):
    packed = bytearray(store.many("Sample", "SampleRequest", {
        "seeds": {"nodes": np.arange(9, dtype="<u4").tobytes()},
        "plan": '{"fanouts": [{"most": 3}], "facts": true}',
    }))
    assert _batch.decode(packed).num_edges == 27
    for end in range(len(packed)):
        with pytest.raises(_batch.PackedError):
            _batch.decode(packed[:end])
    with pytest.raises(_batch.PackedError, match="version 9"):
        _batch.decode(packed[:4] + b"\x09\x00" + packed[6:])
    with pytest.raises(_batch.PackedError, match="begin with"):
        _batch.decode(b"JUNK" + packed[4:])


def test_messages_are_those_of_the_published_file():
    published, message = {}, None
    for line in (ROOT / "proto/graph_store.proto").read_text().splitlines():
        words = line.strip().rstrip(";").split()
        if words[:1] == ["message"]:
            message = published.setdefault(words[1], {})
        elif message is not None and len(words) == 4 and words[2] == "=":
            message[words[1]] = (int(words[3]), words[0])
    assert published == _wire.MESSAGES


def test_messages_read_back():
    fields = {"sampler": 2**40, "client": "ä", "name": "", "spec": "{}", "seeds": {"nodes": b"1234"}}
    read = _wire.decode("ChannelRequest", _wire.encode("ChannelRequest", fields))
    assert read == {**fields, "seeds": {"nodes": b"1234", "times": b"", "facts": b""}}
    info = {"epoch": 1, "batches": 300, "seeds": 0, "digest": 2**64 - 1, "closed": True}
    assert _wire.decode("EpochInfo", _wire.encode("EpochInfo", info)) == info
    # Unknown fields are skipped.
    assert _wire.decode("CloseRequest", b"\x08\x05\x52\x01x\x58\x07") == {"channel": 5}
    for cut in (b"\x08", b"\x12\x05ab", b"\x21\x00"):
        with pytest.raises(ValueError):
            _wire.decode("ChannelRequest", cut)


def test_a_batch_becomes_pyg_data(store):
    pytest.importorskip("torch_geometric")
    batch = store.sample([1, 2], [2])
    data = batch.to_pyg()
    assert data.num_nodes == batch.num_nodes and data.edge_index.shape == batch.edge_index.shape


def test_the_suite_runs_from_the_repository():
    assert Path(os.path.realpath(_wire.__file__)).is_relative_to(ROOT / "python")
