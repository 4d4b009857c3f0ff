"""Connection to a server."""

from __future__ import annotations

import json
import os
import queue
import secrets
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, Optional, Sequence, Tuple, Union

import grpc
import numpy as np

from . import _batch
from ._wire import decode, encode

_SERVICE = "/shardloom.graph.v1.GraphStore/"
_PROTOCOL = "1"
#: Environment variable with the token.
_TOKEN = "SHARDLOOM_TOKEN"
#: Name that certificates of servers bear.
_CERTIFICATE_NAME = "shardloom"
#: Codes after which the same request is sent again.
_LOST = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN)
#: Seconds before a server that is away is tried again.
_AGAIN = 0.1


class GraphStoreError(RuntimeError):
    """Request that the server refused, or a server that is away."""

    def __init__(self, sentence: str, code: Optional[grpc.StatusCode] = None) -> None:
        super().__init__(sentence)
        #: Code of gRPC.
        self.code = code

    @property
    def is_lost(self) -> bool:
        """Whether the server is away or ends, so that another one may take its place."""
        return self.code in _LOST

    @property
    def is_unknown(self) -> bool:
        """Whether the server does not know the sampler or channel, as one that has started anew."""
        return self.code == grpc.StatusCode.NOT_FOUND


@dataclass(frozen=True)
class Description:
    """The graph of a server."""

    name: str
    nodes: int
    relations: int
    #: Number of facts, repeated ones included.
    facts: int
    #: Digest of the graph: equal graphs have equal digests.
    digest: int
    weights: bool
    times: bool
    names: bool
    #: Most facts that a batch may have.
    most_facts: int
    #: Digest of the facts by number, without weights, times and names.
    facts_digest: int = 0
    #: Digest of the names; 0 if there are none.
    names_digest: int = 0
    #: Place of the rows that the server has in the whole graph: number of the part, number of parts, range of nodes.
    part: Optional[Dict[str, Any]] = None


def _bytes(numbers: Any, kind: Any, what: str) -> bytes:
    """Numbers as the protocol has them."""
    array = np.asarray(numbers)
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"{what}: numbers of type {array.dtype}; they are integers")
    info = np.iinfo(kind)
    if array.size and (int(array.min()) < info.min or int(array.max()) > info.max):
        wrong = array.min() if int(array.min()) < info.min else array.max()
        raise ValueError(f"{what}: {wrong}; numbers are from {info.min} to {info.max}")
    return np.ascontiguousarray(array, np.dtype(kind).newbyteorder("<")).tobytes()


def node_seeds(nodes: Any, times: Any = None) -> Dict[str, Any]:
    """Nodes as a message, with times if there are any."""
    message = {"nodes": _bytes(nodes, np.uint32, "nodes")}
    if times is not None:
        message["times"] = _bytes(times, np.int64, "times")
    return message


def fact_seeds(facts: Any) -> Dict[str, Any]:
    """Facts as a message: rows of head, relation and tail."""
    array = np.asarray(facts)
    if array.size and (array.ndim != 2 or array.shape[1] != 3):
        raise ValueError(f"facts of shape {array.shape}; they have rows of head, relation and tail")
    return {"facts": _bytes(array, np.uint32, "facts")}


def plan(
    num_neighbors: Sequence[Any],
    replace: bool = False,
    weighted: bool = False,
    direction: str = "in",
    expand: str = "new",
    exclude: str = "nothing",
    inverses: Sequence[Tuple[int, int]] = (),
    before: Optional[Dict[str, Any]] = None,
) -> Dict[str, Any]:
    """Settings of batches, as the server reads them."""

    def fanout(of: Any) -> Any:
        if isinstance(of, dict):
            return {"relations": sorted((int(relation), int(most)) for relation, most in of.items())}
        if int(of) < -1:
            raise ValueError(f"num_neighbors: {of}; a number is 0 or more, or -1 for all")
        return "all" if int(of) == -1 else {"most": int(of)}

    pick: Any = "uniform"
    if before is not None:
        pick = {"before": before}
    elif weighted:
        pick = "weighted-replace" if replace else "weighted"
    elif replace:
        pick = "replace"
    return {
        "fanouts": [fanout(of) for of in num_neighbors],
        "pick": pick,
        "direction": direction,
        "expand": expand,
        "exclude": exclude,
        "inverses": [list(pair) for pair in inverses],
        "facts": True,
    }


class GraphStore:
    """A server's graph.

    :param address: ``HOST:PORT`` or ``unix:PATH``.
    :param token: token in hexadecimal; by default that of the environment variable ``SHARDLOOM_TOKEN``, if it is set.
    :param tls: directory with ``ca.pem``, ``cert.pem`` and ``key.pem``.
    :param timeout: longest time of a call, in seconds.
    :param patience: time for which loaders wait for a server that is away, in seconds.
    """

    def __init__(
        self,
        address: str,
        token: Optional[str] = None,
        tls: Union[str, Path, None] = None,
        timeout: float = 10.0,
        patience: float = 60.0,
    ) -> None:
        self.address = address
        self.timeout = timeout
        self.patience = patience
        self.client = secrets.token_hex(16)
        self._metadata = [("shardloom-protocol", _PROTOCOL)]
        token = token or os.environ.get(_TOKEN)
        if token and not address.startswith("unix:"):
            self._metadata.append(("authorization", f"Bearer {token}"))
        options = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        if address.startswith("unix:"):
            # By default it is the path, which the server's HTTP/2 refuses as no authority.
            options.append(("grpc.default_authority", "localhost"))
        if tls is None:
            self._channel = grpc.insecure_channel(address, options)
        else:
            read = {name: (Path(tls) / name).read_bytes() for name in ("ca.pem", "key.pem", "cert.pem")}
            credentials = grpc.ssl_channel_credentials(read["ca.pem"], read["key.pem"], read["cert.pem"])
            options.append(("grpc.ssl_target_name_override", _CERTIFICATE_NAME))
            self._channel = grpc.secure_channel(address, credentials, options)
        self._description: Optional[Description] = None

    def __enter__(self) -> "GraphStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection. The server closes the channels of loaders when their lease ends."""
        self._channel.close()

    def error(self, error: grpc.RpcError) -> GraphStoreError:
        """The server's sentence, or that it is away."""
        code = error.code()
        if code in _LOST or code == grpc.StatusCode.DEADLINE_EXCEEDED:
            return GraphStoreError(f"{self.address}: {error.details()}", code)
        return GraphStoreError(error.details() or str(code), code)

    def one(self, method: str, request: str, answer: str, fields: Dict[str, Any]) -> Dict[str, Any]:
        """Makes a call with one answer."""
        call = self._channel.unary_unary(
            _SERVICE + method,
            request_serializer=lambda of: encode(request, of),
            response_deserializer=lambda of: decode(answer, of),
        )
        try:
            return call(fields, timeout=self.timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            raise self.error(error) from None

    def many(self, method: str, request: str, fields: Dict[str, Any]) -> bytes:
        """Makes a call whose answer comes in chunks."""
        call = self._channel.unary_stream(
            _SERVICE + method,
            request_serializer=lambda of: encode(request, of),
            response_deserializer=lambda of: decode("Chunk", of),
        )
        parts = []
        try:
            for chunk in call(fields, timeout=self.timeout, metadata=self._metadata):
                parts.append(chunk["data"])
                if chunk["last"]:
                    return b"".join(parts)
        except grpc.RpcError as error:
            raise self.error(error) from None
        raise GraphStoreError(f"{self.address}: the answer was cut off", grpc.StatusCode.UNAVAILABLE)

    def describe(self) -> Description:
        """Describes the graph."""
        return Description(**self.one("Describe", "DescribeRequest", "Description", {}))

    @property
    def description(self) -> Description:
        """Description of the graph, as it was at the first call."""
        if self._description is None:
            self._description = self.describe()
        return self._description

    @property
    def num_nodes(self) -> int:
        """Number of nodes."""
        return self.description.nodes

    @property
    def num_relations(self) -> int:
        """Number of relations."""
        return self.description.relations

    @property
    def num_edges(self) -> int:
        """Number of facts."""
        return self.description.facts

    def ids(
        self,
        heads_of: Optional[int] = None,
        tails_of: Optional[int] = None,
        part: Tuple[int, int, int] = (0, 1, 1),
    ) -> np.ndarray:
        """Nodes, ascending: all, or the heads or tails of a relation.

        :param part: first share, share behind the last, and number of shares that the nodes are cut into.
        """
        if heads_of is not None and tails_of is not None:
            raise ValueError("heads_of and tails_of: choose one of the two")
        select: Any = "all"
        if heads_of is not None:
            select = {"heads": heads_of}
        if tails_of is not None:
            select = {"tails": tails_of}
        start, end, of = part
        request = {
            "select": json.dumps(select),
            "slice": json.dumps({"start": start, "end": end, "of": of}),
        }
        return np.frombuffer(self.many("Ids", "IdsRequest", request), "<u4").astype(np.int64)

    def labels(
        self,
        nodes: Any,
        relations: Any,
        heads: bool = False,
        most: int = 0,
        draw: Tuple[int, int, int] = (0, 0, 0),
    ) -> _batch.Labels:
        """Known tails of (node, relation, ?), or with ``heads`` known heads of (?, relation, node).

        :param most: most answers of a question: of more, a random choice that depends on ``draw`` alone; 0 for all.
        :param draw: seed, epoch and index.
        """
        nodes = np.asarray(nodes)
        request = {
            "nodes": _bytes(nodes, np.uint32, "nodes"),
            "relations": _bytes(relations, np.uint32, "relations"),
            "sides": bytes([int(heads)]) * len(nodes),
            "most": most,
            "draw": dict(zip(("seed", "epoch", "index"), draw)),
        }
        found = np.frombuffer(self.many("Labels", "LabelsRequest", request), "<u4").astype(np.int64)
        return _batch.Labels(found[: len(nodes) + 1], found[len(nodes) + 1 :])

    def sample(
        self,
        nodes: Any,
        num_neighbors: Sequence[Any],
        draw: Tuple[int, int, int] = (0, 0, 0),
        times: Any = None,
        **settings: Any,
    ) -> _batch.Batch:
        """Draws one batch, now. The same arguments give the same batch.

        :param nodes: seeds.
        :param num_neighbors: facts taken of each node, for each hop; -1 for all; by relation as a dictionary.
        :param draw: seed, epoch and index.
        :param settings: as for :class:`NeighborLoader`: ``replace``, ``weighted``, ``direction``, ``expand``.
        """
        request = {
            "seeds": node_seeds(nodes, times),
            "plan": json.dumps(plan(num_neighbors, **settings)),
            "draw": dict(zip(("seed", "epoch", "index"), draw)),
        }
        packed = self.many("Sample", "SampleRequest", request)
        inverse = settings.get("direction", "in") == "out"
        return _batch.decode(packed, hops=len(num_neighbors), inverse=inverse)

    def metrics(self) -> str:
        """Counts of the server, in the format of Prometheus."""
        return self.one("Status", "StatusRequest", "StatusReply", {})["metrics"]

    def fetch(self, first: Dict[str, Any]) -> "Fetch":
        """Begins a fetch with its first credit."""
        return Fetch(self, first)

    def stream(self, credits: Iterator[Dict[str, Any]]) -> Any:
        """Opens the stream of a fetch."""
        call = self._channel.stream_stream(
            _SERVICE + "Fetch",
            request_serializer=lambda of: encode("Credit", of),
            response_deserializer=lambda of: decode("Chunk", of),
        )
        return call(credits, metadata=self._metadata)


class Fetch:
    """Batches of an epoch, as bytes."""

    def __init__(self, store: GraphStore, first: Dict[str, Any]) -> None:
        self._store = store
        self._credits: "queue.SimpleQueue[Optional[Dict[str, Any]]]" = queue.SimpleQueue()
        self._credits.put(first)
        self._call = store.stream(iter(self._credits.get, None))
        self._ended = threading.Event()

    def __iter__(self) -> Iterator[Tuple[bytes, Dict[str, Any]]]:
        """Bytes of each batch, and its last chunk; at the end empty bytes, and the chunk with ``done``."""
        parts = []
        try:
            for chunk in self._call:
                if "done" in chunk:
                    yield b"", chunk
                    return
                parts.append(chunk["data"])
                if chunk["last"]:
                    yield b"".join(parts), chunk
                    parts = []
                    self._credits.put({"batches": 1})
        except grpc.RpcError as error:
            if self._ended.is_set():
                return
            raise self._store.error(error) from None
        finally:
            self.close()
        raise GraphStoreError("the batches were cut off", grpc.StatusCode.UNAVAILABLE)

    def close(self) -> None:
        """Ends the fetch."""
        if not self._ended.is_set():
            self._ended.set()
            self._credits.put(None)
            self._call.cancel()


class Channel:
    """A loader's channel at the server, which is opened again if the server has started anew."""

    def __init__(
        self,
        store: GraphStore,
        spec: Dict[str, Any],
        channel: Dict[str, Any],
        seeds: Optional[Dict[str, Any]],
    ) -> None:
        self._store = store
        self._spec = spec
        self._channel = channel
        self._seeds = seeds
        self._name = secrets.token_hex(8)
        self._digest: Optional[int] = None
        self._number: Optional[int] = None

    def _open(self) -> int:
        if self._number is not None:
            return self._number
        digest = self._store.describe().digest
        if self._digest is not None and digest != self._digest:
            raise GraphStoreError(
                f"the graph's digest is {digest:016x}, and it was {self._digest:016x}: this is another graph"
            )
        self._digest = digest
        spec = {"spec": json.dumps(self._spec)}
        sampler = self._store.one("OpenSampler", "SamplerRequest", "SamplerInfo", spec)
        request = {
            "sampler": sampler["sampler"],
            "client": self._store.client,
            "name": self._name,
            "spec": json.dumps(self._channel),
        }
        if self._seeds is not None:
            request["seeds"] = self._seeds
        info = self._store.one("OpenChannel", "ChannelRequest", "ChannelInfo", request)
        self._number = info["channel"]
        return info["channel"]

    def _start(self, epoch: int) -> Dict[str, Any]:
        request = {"channel": self._open(), "epoch": epoch}
        info = self._store.one("StartEpoch", "StartRequest", "EpochInfo", request)
        if info["closed"]:
            raise GraphStoreError("the channel is closed", grpc.StatusCode.NOT_FOUND)
        return info

    def _again(self, error: GraphStoreError, since: Optional[float]) -> Optional[float]:
        """Prepares another attempt, or raises the error.

        :param since: time since which the server is away; ``None`` if it was there.
        :returns: the same, after this error.
        """
        if error.is_unknown and self._number is not None:
            self._number = None
            return since
        self._number = None
        now = time.monotonic()
        since = now if since is None else since
        if not error.is_lost or now - since > self._store.patience:
            raise error
        time.sleep(_AGAIN)
        return since

    def start(self, epoch: int) -> Dict[str, Any]:
        """Begins an epoch, and returns the server's words about it."""
        since: Optional[float] = None
        while True:
            try:
                return self._start(epoch)
            except GraphStoreError as error:
                since = self._again(error, since)

    def batches(self, epoch: int, position: int) -> Iterator[Tuple[bytes, Dict[str, Any]]]:
        """Batches of an epoch from a position, with their last chunks, whatever servers come and go."""
        begun = self.start(epoch)
        if begun["epoch"] != epoch:
            raise ValueError(f"epoch {epoch}, and epoch {begun['epoch']} has begun: epochs only rise")
        since: Optional[float] = None
        while position < begun["batches"]:
            try:
                if self._start(epoch)["digest"] != begun["digest"]:
                    raise GraphStoreError("the order of the seeds has changed")
                first = {
                    "channel": self._open(),
                    "epoch": epoch,
                    "from": position,
                    "batches": self._channel["window"]["batches"],
                }
                fetch = self._store.fetch(first)
                try:
                    for packed, last in fetch:
                        if "done" not in last:
                            since = None
                            position += 1
                            yield packed, last
                        elif last["done"]["closed"]:
                            raise GraphStoreError("the channel is closed", grpc.StatusCode.NOT_FOUND)
                        else:
                            return
                finally:
                    fetch.close()
            except GraphStoreError as error:
                since = self._again(error, since)

    def close(self) -> None:
        """Closes the channel at the server, if it can be reached."""
        if self._number is None:
            return
        number, self._number = self._number, None
        try:
            self._store.one("CloseChannel", "CloseRequest", "CloseReply", {"channel": number})
        except (GraphStoreError, ValueError):
            # Its lease will end.
            pass
