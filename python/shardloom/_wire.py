"""Messages of ``proto/graph_store.proto``, whose fields are few and plain enough for a codec without protobuf."""

from __future__ import annotations

import struct
from typing import Dict, Tuple, Union

Value = Union[int, bool, str, bytes, Dict[str, "Value"]]

#: Fields of each message that is read or written: number, and kind.
MESSAGES: Dict[str, Dict[str, Tuple[int, str]]] = {
    "DescribeRequest": {},
    "Description": {
        "name": (1, "string"),
        "nodes": (2, "uint32"),
        "relations": (3, "uint32"),
        "facts": (4, "uint32"),
        "digest": (5, "fixed64"),
        "weights": (6, "bool"),
        "times": (7, "bool"),
        "names": (8, "bool"),
        "most_facts": (9, "uint64"),
        "facts_digest": (10, "fixed64"),
        "names_digest": (11, "fixed64"),
        "part": (12, "Part"),
    },
    "Part": {
        "index": (1, "uint32"),
        "of": (2, "uint32"),
        "start": (3, "uint32"),
        "end": (4, "uint32"),
        "first_fact": (5, "uint32"),
        "facts_by_head": (6, "uint32"),
        "facts_by_tail": (7, "uint32"),
        "digest": (8, "fixed64"),
    },
    "IdsRequest": {"select": (1, "string"), "slice": (2, "string"), "digest": (3, "fixed64")},
    "Chunk": {
        "data": (1, "bytes"),
        "last": (2, "bool"),
        "done": (3, "Done"),
        "places": (4, "bytes"),
        "relations": (5, "bytes"),
    },
    "Done": {"batches": (1, "uint64"), "closed": (2, "bool")},
    "Draw": {"seed": (1, "uint64"), "epoch": (2, "uint64"), "index": (3, "uint64")},
    "LabelsRequest": {
        "nodes": (1, "bytes"),
        "relations": (2, "bytes"),
        "sides": (3, "bytes"),
        "most": (4, "uint32"),
        "draw": (5, "Draw"),
        "digest": (6, "fixed64"),
    },
    "Seeds": {"nodes": (1, "bytes"), "times": (2, "bytes"), "facts": (3, "bytes")},
    "SampleRequest": {"seeds": (1, "Seeds"), "plan": (2, "string"), "draw": (3, "Draw")},
    "CandidatesRequest": {
        "facts": (1, "bytes"),
        "sides": (2, "bytes"),
        "plan": (3, "string"),
        "draw": (4, "Draw"),
        "pools": (5, "Draw"),
        "first": (6, "uint32"),
        "graph": (7, "fixed64"),
    },
    "SamplerRequest": {"spec": (1, "string")},
    "SamplerInfo": {"sampler": (1, "uint64")},
    "ChannelRequest": {
        "sampler": (1, "uint64"),
        "client": (2, "string"),
        "name": (3, "string"),
        "spec": (4, "string"),
        "seeds": (5, "Seeds"),
    },
    "ChannelInfo": {"channel": (1, "uint64"), "lease_milliseconds": (2, "uint64")},
    "StartRequest": {"channel": (1, "uint64"), "epoch": (2, "uint64")},
    "EpochInfo": {
        "epoch": (1, "uint64"),
        "batches": (2, "uint64"),
        "seeds": (3, "uint64"),
        "digest": (4, "fixed64"),
        "closed": (5, "bool"),
    },
    "Credit": {
        "channel": (1, "uint64"),
        "epoch": (2, "uint64"),
        "from": (3, "uint64"),
        "batches": (4, "uint32"),
    },
    "CloseRequest": {"channel": (1, "uint64")},
    "CloseReply": {},
    "RenewRequest": {"client": (1, "string")},
    "RenewReply": {"channels": (1, "uint64")},
    "StatusRequest": {},
    "StatusReply": {"metrics": (1, "string"), "session": (2, "string")},
    "DrainRequest": {},
    "DrainReply": {"channels": (1, "uint64")},
    "RowsRequest": {
        "request": (1, "string"),
        "nodes": (2, "bytes"),
        "places": (3, "bytes"),
        "times": (4, "bytes"),
        "facts": (5, "bytes"),
        "digest": (6, "fixed64"),
    },
    "FactsRequest": {"numbers": (1, "bytes"), "digest": (2, "fixed64")},
}

_DEFAULTS: Dict[str, Value] = {"string": "", "bytes": b"", "bool": False}


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def encode(message: str, fields: Dict[str, Value]) -> bytes:
    """Encodes a message. Fields of the default value are left out."""
    out = []
    for name, value in fields.items():
        number, kind = MESSAGES[message][name]
        if kind in MESSAGES:
            value = encode(kind, value)  # type: ignore[arg-type]
        elif kind == "string":
            value = value.encode()  # type: ignore[union-attr]
        if isinstance(value, bytes):
            if value or kind in MESSAGES:
                out += [_varint(number << 3 | 2), _varint(len(value)), value]
        elif kind == "fixed64":
            out += [_varint(number << 3 | 1), struct.pack("<Q", value)]
        elif value:
            out += [_varint(number << 3), _varint(int(value))]  # type: ignore[arg-type]
    return b"".join(out)


def _read_varint(data: memoryview, at: int) -> Tuple[int, int]:
    number = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("a number of the message is cut off")
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return number, at
        shift += 7


def decode(message: str, data: bytes) -> Dict[str, Value]:
    """Decodes a message. Unknown fields are skipped; absent ones have their default value, and messages are absent.

    :raises ValueError: if the bytes are no message.
    """
    fields = {number: (name, kind) for name, (number, kind) in MESSAGES[message].items()}
    known = {
        name: _DEFAULTS.get(kind, 0) for name, kind in fields.values() if kind not in MESSAGES
    }
    view, at = memoryview(data), 0
    while at < len(view):
        key, at = _read_varint(view, at)
        number, wire = key >> 3, key & 7
        value: Value
        if wire == 0:
            value, at = _read_varint(view, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
            if at + size > len(view):
                raise ValueError("a number of the message is cut off")
            value = int.from_bytes(view[at : at + size], "little")
            at += size
        elif wire == 2:
            size, at = _read_varint(view, at)
            if at + size > len(view):
                raise ValueError("bytes of the message are cut off")
            value = bytes(view[at : at + size])
            at += size
        else:
            raise ValueError(f"field {number} has the unknown kind {wire}")
        if number not in fields:
            continue
        name, kind = fields[number]
        if kind in MESSAGES:
            value = decode(kind, value)  # type: ignore[arg-type]
        elif kind == "string":
            value = value.decode()  # type: ignore[union-attr]
        elif kind == "bool":
            value = bool(value)
        known[name] = value
    return known
