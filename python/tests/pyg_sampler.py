"""Neighbour sampling for PyTorch Geometric's loaders, out of torch-sparse's sources.

PyPI has no wheels of torch-sparse, and all of it compiles for half an hour. The loaders need two files, which take a minute::

    $ pip install torch torch_geometric setuptools wheel && python tests/pyg_sampler.py
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from pathlib import Path

VERSION = "0.6.18"
#: Result of the compiler; ``target`` is not part of the repository.
LIBRARY = Path(__file__).parents[2] / "target" / f"torch_sparse-{VERSION}-neighbors.so"


def load() -> bool:
    """Gives PyTorch Geometric a sampler, and returns whether it has one."""
    import torch
    import torch_geometric.typing as present

    if present.WITH_PYG_LIB or importlib.util.find_spec("torch_sparse") is not None:
        return True
    if not LIBRARY.exists():
        return False
    torch.ops.load_library(str(LIBRARY))
    present.WITH_TORCH_SPARSE = True
    return True


def build() -> None:
    """Downloads the sources and compiles the sampler."""
    import torch
    from torch.utils import cpp_extension

    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-build-isolation"]
        subprocess.run([*pip, "--no-binary", ":all:", "--dest", folder, f"torch-sparse=={VERSION}"], check=True)
        with tarfile.open(next(Path(folder).glob("*.tar.gz"))) as archive:
            archive.extractall(folder, filter="data")
        root = next(path for path in Path(folder).iterdir() if path.is_dir())
        headers = [root / "csrc", root, root / "third_party/parallel-hashmap", sysconfig.get_path("include")]
        headers += cpp_extension.include_paths()
        sources = [root / "csrc/neighbor_sample.cpp", root / "csrc/cpu/neighbor_sample_cpu.cpp"]
        options = ["-O1", "-std=c++17", "-shared", "-fPIC"]
        options += [f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"]
        LIBRARY.parent.mkdir(exist_ok=True)
        compiler = os.environ.get("CXX", "g++")
        libraries = [f"-L{path}" for path in cpp_extension.library_paths()] + ["-ltorch", "-ltorch_cpu", "-lc10"]
        command = [compiler, *options, *(f"-I{path}" for path in headers), *map(str, sources)]
        subprocess.run([*command, *libraries, "-o", str(LIBRARY)], check=True)


if __name__ == "__main__":
    build()
