"""Tables of safetensors files, mapped into memory."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any, Dict

import numpy as np

#: Longest header that the format allows, in bytes.
_LONGEST_HEADER = 100_000_000
_KINDS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


def tables(path: Path) -> Dict[str, np.ndarray]:
    """Matrices of a file by name. Values of f32, f64 and f16 stay on disk until they are used; bf16 becomes f32.

    :raises ValueError: if the file is no safetensors file of such matrices, or is cut off.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length > min(_LONGEST_HEADER, size - 8):
            raise ValueError(f"{path}: {size} bytes, and its header would have {length}: this is no safetensors file")
        try:
            header: Dict[str, Any] = json.loads(file.read(length))
        except ValueError as error:
            raise ValueError(f"{path}: its header is no JSON: {error}") from None
    found = {}
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        kind, shape, (first, end) = tensor["dtype"], tuple(tensor["shape"]), tensor["data_offsets"]
        if kind not in _KINDS:
            raise ValueError(f"{path}: {name} has values of type {kind}; {', '.join(_KINDS)} can be read")
        expected = int(np.prod(shape)) * np.dtype(_KINDS[kind]).itemsize
        if end - first != expected or 8 + length + end > size:
            raise ValueError(f"{path}: {name} has bytes {first} to {end} of {size - 8 - length}, and {shape} of {kind}")
        if expected == 0:
            values: np.ndarray = np.zeros(shape, _KINDS[kind])
        else:
            values = np.memmap(path, _KINDS[kind], "r", 8 + length + first, shape)
        if kind == "BF16":
            # The upper half of an f32.
            values = (values.astype(np.uint32) << 16).view(np.float32)
        found[name] = values
    return found
