"""Runs: directories that ``train`` makes."""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from . import _binary, _names, _tensors
from ._progress import Progress

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: Precisions by the words of the program.
_PRECISIONS = {"f32": "<f4", "f16": "<f2", "f64": "<f8"}
#: Head, relation and tail; of a query, one is ``None``.
Query = Union[Mapping[str, Optional[str]], Sequence[Optional[str]]]


@dataclass(frozen=True)
class Answer:
    """Answer of a query, or a fact with its score."""

    #: Fact, with the answer in its place.
    head: str
    relation: str
    tail: str
    #: Score; larger is better. Scores compare within a query.
    score: float
    #: Place among the answers of the query, from 1.
    rank: int
    #: Whether the fact is in the run's graph, in any split; ``None`` if the graph cannot be read.
    known: Optional[bool]


class Run:
    """A run's directory, which may still be training.

    :param path: directory, as ``train`` printed it.
    :raises ShardloomError: if this is no run.
    """

    def __init__(self, path: Union[str, Path]) -> None:
        self.path = Path(path)
        if not (self.path / "config.toml").is_file():
            raise _binary.ShardloomError(f"{path} is no run: it has no config.toml")

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    # What was trained.

    @cached_property
    def config(self) -> Dict[str, Any]:
        """Configuration, with the keys of ``shardloom recipes --keys``."""
        return tomllib.loads((self.path / "config.toml").read_text(encoding="utf-8"))

    @cached_property
    def entity_names(self) -> List[str]:
        """Name of each entity, in the order of rows."""
        return _names.lines(self.path / "entities.txt")

    @cached_property
    def relation_names(self) -> List[str]:
        """Name of each relation, in the order of rows."""
        return _names.lines(self.path / "relations.txt")

    @cached_property
    def entity_ids(self) -> Dict[str, int]:
        """Row of each entity, by name."""
        return {name: row for row, name in enumerate(self.entity_names)}

    @cached_property
    def relation_ids(self) -> Dict[str, int]:
        """Row of each relation, by name."""
        return {name: row for row, name in enumerate(self.relation_names)}

    def facts(self, split: str = "train") -> np.ndarray:
        """Facts of a split: rows of head, relation and tail, by their rows in the tables.

        :param split: ``"train"``, ``"valid"`` or ``"test"``.
        """
        if split == "train":
            return np.load(self.path / "train.npy").astype(np.int64)
        if split not in ("valid", "test"):
            raise ValueError(f"split: {split!r}; train, valid or test")
        rows = []
        for line in _names.lines(self.path / f"{split}.tsv"):
            head, relation, tail = map(_names.from_field, line.split("\t"))
            rows.append((self.entity_ids[head], self.relation_ids[relation], self.entity_ids[tail]))
        return np.array(rows, np.int64).reshape(-1, 3)

    # What came of it.

    @property
    def metrics(self) -> List[Dict[str, Any]]:
        """Figures of each epoch so far: ``epoch``, ``loss``, ``lr``, ``seconds``, and ``valid_mrr`` after a validation."""
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return []
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    @property
    def result(self) -> Optional[Dict[str, Any]]:
        """Figures of ``result.json``, such as ``run.result["test"]["mrr"]``; ``None`` before training has ended."""
        path = self.path / "result.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    @property
    def checkpoints(self) -> List[int]:
        """Epochs whose checkpoints are kept."""
        manifests = (self.path / "checkpoints").glob("epoch-*.json")
        return sorted(int(path.stem[len("epoch-") :]) for path in manifests)

    @property
    def best_checkpoint(self) -> int:
        """Epoch that was best in validation, or else the latest one: the one whose tables are read.

        :raises ShardloomError: if there is no checkpoint yet.
        """
        kept = self.checkpoints
        if not kept:
            raise _binary.ShardloomError(f"{self.path} has no checkpoint")
        best = self._manifest(kept[-1])["state"]["best"]
        return best[1] if best is not None and best[1] in kept else kept[-1]

    def _manifest(self, epoch: int) -> Dict[str, Any]:
        path = self.path / "checkpoints" / f"epoch-{epoch:06}.json"
        return json.loads(path.read_text(encoding="utf-8"))

    def _table(self, name: str, dtype: Any, checkpoint: Optional[int]) -> np.ndarray:
        epoch = self.best_checkpoint if checkpoint is None else checkpoint
        if epoch not in self.checkpoints:
            raise _binary.ShardloomError(f"{self.path} has no checkpoint of epoch {epoch}: it has {self.checkpoints}")
        if dtype == "bf16":
            raise ValueError("dtype: 'bf16', which NumPy does not have; f32, f16 or f64")
        path = self.path / "checkpoints" / self._manifest(epoch)["file"]
        table = _tensors.tables(path)[name]
        kind = _PRECISIONS.get(dtype, dtype) if isinstance(dtype, str) else dtype
        return table.astype(kind, copy=False)

    @property
    def _relation_rows(self) -> int:
        return len(self.relation_names) * (2 if self.config.get("reciprocal") else 1)

    def entities(self, dtype: Any = "f32", checkpoint: Optional[int] = None) -> np.ndarray:
        """Embeddings of entities, a row for each name, as ``docs/export.md`` describes rows.

        :param dtype: ``"f32"``, which leaves the table on disk until it is used, or ``"f16"``, ``"f64"``, a type of NumPy.
        :param checkpoint: epoch of the checkpoint; :attr:`best_checkpoint` by default.
        """
        return self._table("entities", dtype, checkpoint)

    def relations(self, dtype: Any = "f32", checkpoint: Optional[int] = None) -> np.ndarray:
        """Embeddings of relations. With reciprocal relations, row r + R of the R relations is the reciprocal of row r."""
        return self._table("relations", dtype, checkpoint)[: self._relation_rows]

    def core(self, dtype: Any = "f32", checkpoint: Optional[int] = None) -> Optional[np.ndarray]:
        """Core of TuckER; ``None`` for other models."""
        rows = self._table("relations", dtype, checkpoint)[self._relation_rows :]
        return rows if len(rows) else None

    # Questions.

    def predict(
        self,
        head: Optional[str] = None,
        relation: Optional[str] = None,
        tail: Optional[str] = None,
        **options: Any,
    ) -> List[Answer]:
        """Answers to one query, best first: two of head, relation and tail are given, and the third is asked for.

        Options are those of :meth:`predict_many`.
        """
        return self.predict_many([(head, relation, tail)], **options)[0]

    def predict_many(
        self,
        queries: Iterable[Query],
        top: int = 10,
        filter_known: bool = False,
        typed: bool = False,
        candidates: Optional[Iterable[str]] = None,
        device: str = "auto",
        checkpoint: Optional[int] = None,
    ) -> List[List[Answer]]:
        """Answers to each query, best first.

        :param queries: rows of head, relation and tail, or dictionaries with these keys; what is asked for is ``None``.
        :param top: number of answers to a query.
        :param filter_known: leaves out answers that are facts already.
        :param typed: answers with entities alone that training shows on that side of the relation.
        :param candidates: names of the entities that may be answers.
        :param device: ``"auto"``, ``"cpu"``, ``"gpu"`` or ``"gpu:N"``.
        :raises ShardloomError: with the program's sentence, as for a name that the run does not have.
        """
        rows = [_fields(query) for query in queries]
        if not rows:
            return []
        answers: List[List[Answer]] = [[] for _ in rows]
        arguments: List[Any] = ["--top", top]
        arguments += ["--filter-known"] if filter_known else []
        arguments += ["--typed"] if typed else []
        with tempfile.TemporaryDirectory(prefix="shardloom-") as folder:
            if candidates is not None:
                listed = Path(folder, "candidates.txt")
                _names.write(listed, candidates)
                arguments += ["--candidates", listed]
            for line in self._ask("--queries", rows, folder, device, checkpoint, arguments):
                answer = Answer(
                    line["head"], line["relation"], line["tail"], line["score"], line["rank"], line["known"]
                )
                answers[line["query"] - 1].append(answer)
        return answers

    def score(
        self, facts: Iterable[Query], device: str = "auto", checkpoint: Optional[int] = None
    ) -> np.ndarray:
        """Scores of facts, each as the answer to (head, relation, ?).

        :param facts: rows of head, relation and tail, by name, or dictionaries with these keys.
        :raises ShardloomError: with the program's sentence, as for a name that the run does not have.
        """
        rows = [_fields(fact) for fact in facts]
        if not rows:
            return np.zeros(0, np.float32)
        with tempfile.TemporaryDirectory(prefix="shardloom-") as folder:
            lines = self._ask("--triples", rows, folder, device, checkpoint, [])
            return np.array([line["score"] for line in lines], np.float32)

    def _ask(
        self,
        flag: str,
        rows: List[Tuple[Optional[str], ...]],
        folder: str,
        device: str,
        checkpoint: Optional[int],
        arguments: List[Any],
    ) -> Iterator[Dict[str, Any]]:
        """Lines of ``predict`` for a file of queries or facts."""
        asked = Path(folder, "asked.jsonl")
        with open(asked, "w", encoding="utf-8") as out:
            for row in rows:
                given = {name: value for name, value in zip(_FIELDS, row) if value is not None}
                out.write(json.dumps(given) + "\n")
        command = ["predict", self.path, flag, asked, "--format", "jsonl", *self._opened(device, checkpoint)]
        shown = _binary.run([*command, *arguments])
        return (json.loads(line) for line in shown.split("\n") if line)

    @staticmethod
    def _opened(device: str, checkpoint: Optional[int]) -> List[Any]:
        chosen = ["--device", device]
        return chosen if checkpoint is None else [*chosen, "--checkpoint", checkpoint]

    def evaluate(
        self,
        split: Optional[str] = None,
        dataset: Union[str, Path, None] = None,
        skip_unknown: bool = False,
        relations: Iterable[str] = (),
        typed: bool = False,
        device: str = "auto",
        checkpoint: Optional[int] = None,
    ) -> Dict[str, Any]:
        """Ranks facts, and returns what ``shardloom eval --json`` prints: ``["metrics"]["mrr"]`` and much more.

        :param split: ``"test"``, the default, or ``"valid"`` or ``"train"``.
        :param dataset: other facts to rank instead.
        :param skip_unknown: leaves facts out whose names the run does not know.
        :param relations: relations whose facts alone are ranked, by name.
        :param typed: ranks among entities that training shows on that side of the relation, too.
        :raises ShardloomError: with the program's sentence, if it fails.
        """
        command: List[Any] = ["eval", self.path, "--json", *self._opened(device, checkpoint)]
        for flag, value in [("--split", split), ("--dataset", dataset)]:
            command += [] if value is None else [flag, value]
        command += ["--skip-unknown"] if skip_unknown else []
        command += ["--typed"] if typed else []
        command += [f"--relation={name}" for name in relations]
        return json.loads(_binary.run(command))

    def resume(
        self,
        epochs: Optional[int] = None,
        progress: Progress = True,
        arguments: Sequence[str] = (),
    ) -> "Run":
        """Goes on with training where it stopped.

        :param epochs: epoch to train to; that of the configuration by default.
        :param progress: as for :func:`train`.
        :param arguments: other arguments of ``shardloom train --resume``.
        :raises ShardloomError: with the program's sentence, if it fails.
        """
        from ._train import follow

        command: List[Any] = ["train", "--resume", self.path]
        command += [] if epochs is None else ["--epochs", epochs]
        return follow([*command, *arguments], progress)


_FIELDS = ("head", "relation", "tail")


def _fields(query: Query) -> Tuple[Optional[str], ...]:
    """Head, relation and tail of a query or a fact."""
    if isinstance(query, Mapping):
        unknown = set(query) - set(_FIELDS)
        if unknown:
            raise ValueError(f"{query!r}: {sorted(unknown)[0]!r}; keys are head, relation and tail")
        return tuple(query.get(name) for name in _FIELDS)
    row = tuple(query)
    if len(row) != 3 or isinstance(query, str):
        raise ValueError(f"{query!r}: {len(row)} fields; head, relation and tail are needed, or None in their place")
    return row
