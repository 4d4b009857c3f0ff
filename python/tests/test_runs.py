"""``train`` and ``Run`` with the real program, on a small graph."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

import shardloom
from shardloom import Run, ShardloomError

ENTITIES = 40
SETTINGS = dict(dim=8, epochs=3, batch_size=64, split=[0.8, 0.1, 0.1], validate_every=1, device="cpu", progress=False)
#: Names that files hold as they are, and names that they hold as JSON strings.
ODD = {0: 'a "quoted" name', 1: '"Ada"', 2: " blank ", 3: "tab\tin", 4: "Zoë", 5: "-5"}


def name(number: int) -> str:
    return ODD.get(number, f"n{number}")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph whose relations are steps in a circle."""
    path = tmp_path_factory.mktemp("facts") / "facts.jsonl"
    facts = [(h, step, (h + step) % ENTITIES) for h in range(ENTITIES) for step in range(1, 9)]
    lines = [json.dumps({"head": name(h), "relation": f"step {r}", "tail": name(t)}) for h, r, t in facts]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def events():
    """Events of the run."""
    return []


@pytest.fixture(scope="module")
def run(dataset: Path, events) -> Run:
    """A run that all tests read."""
    return shardloom.train(dataset, output=dataset.parent / "run", **{**SETTINGS, "progress": events.append})


def test_a_run_has_names_facts_and_figures(run, events):
    assert sorted(run.entity_names) == sorted(map(name, range(ENTITIES)))
    assert sorted(run.relation_names) == [f"step {step}" for step in range(1, 9)]
    assert [run.entity_names[run.entity_ids[of]] for of in ODD.values()] == list(ODD.values())
    every = np.concatenate([run.facts(split) for split in ("train", "valid", "test")])
    assert len(every) == ENTITIES * 8 == len(np.unique(every, axis=0))
    places = {name(number): number for number in range(ENTITIES)}
    for head, relation, tail in every:
        step = int(run.relation_names[relation].split()[1])
        ends = [places[run.entity_names[end]] for end in (head, tail)]
        assert (ends[0] + step) % ENTITIES == ends[1]
    assert [line["epoch"] for line in run.metrics] == [1, 2, 3]
    assert run.metrics[-1]["loss"] < run.metrics[0]["loss"]
    assert run.result["test"]["queries"] == 2 * len(run.facts("test"))
    assert run.config["dim"] == 8 and run.config["split"] == [0.8, 0.1, 0.1]
    # What was shown on the way is what was written.
    shown = [event for event in events if event["event"] == "epoch"]
    assert [event["loss"] for event in shown] == [line["loss"] for line in run.metrics]
    assert events[-1] == {"event": "done"}


def test_tables_are_those_of_the_program(run, tmp_path):
    binary = shardloom.find_binary()
    for precision in ("f32", "f16"):
        out = tmp_path / precision
        command = [binary, "export", run.path, "--format", "npy", "--precision", precision, "--output", out]
        subprocess.run(command, check=True, capture_output=True)
        for table in ("entities", "relations"):
            ours, theirs = getattr(run, table)(precision), np.load(out / f"{table}.npy")
            assert ours.dtype == theirs.dtype and np.array_equal(ours, theirs)
    assert run.entities().shape == (ENTITIES, 8) and run.relations().shape == (16, 8)
    assert run.core() is None
    best = max(run.metrics, key=lambda line: line["valid_mrr"])["epoch"]
    assert run.best_checkpoint == best and best in run.checkpoints
    assert not np.array_equal(run.entities(checkpoint=run.checkpoints[0]), run.entities(checkpoint=run.checkpoints[-1]))
    with pytest.raises(ValueError, match="bf16"):
        run.entities("bf16")
    with pytest.raises(ShardloomError, match=r"has no checkpoint of epoch 99: it has \["):
        run.entities(checkpoint=99)


def test_the_core_of_tucker_is_apart(dataset, tmp_path):
    settings = {**SETTINGS, "epochs": 1, "dim": 6}
    run = shardloom.train(dataset, output=tmp_path / "run", model="tucker", relation_dim=4, **settings)
    assert run.entities().shape == (ENTITIES, 6)
    assert run.relations().shape == (16, 4) and run.core().shape == (36, 4)


def test_scores_are_those_of_the_tables(run):
    """ComplEx in NumPy, as docs/export.md has it."""
    asked = run.facts("test")[:5]
    halves = [np.split(table, 2, axis=1) for table in (run.entities(), run.relations())]
    entities, relations = [real + 1j * imaginary for real, imaginary in halves]
    names = [(run.entity_names[h], run.relation_names[r], run.entity_names[t]) for h, r, t in asked]
    query = entities[asked[:, 0]] * relations[asked[:, 1]]
    expected = (query * entities[asked[:, 2]].conj()).real.sum(axis=1)
    assert np.allclose(run.score(names, device="cpu"), expected, rtol=1e-5, atol=1e-6)
    assert run.score([]).shape == (0,)
    answers = run.predict(names[0][0], names[0][1], top=ENTITIES, device="cpu")
    scores = (query[0] * entities.conj()).real.sum(axis=1)
    ranked = [run.entity_ids[answer.tail] for answer in answers]
    assert np.allclose(scores[ranked], np.sort(scores)[::-1]) and len(set(ranked)) == ENTITIES
    assert np.allclose([answer.score for answer in answers], scores[ranked], rtol=1e-5, atol=1e-6)


def test_queries_of_every_kind_are_answered(run):
    queries = [
        {"head": " blank ", "relation": "step 2"},
        (None, "step 1", "tab\tin"),
        ("-5", None, "n8"),
        ("n9", "step 8", None),
    ]
    tails, heads, relations, more = run.predict_many(queries, top=4, device="cpu")
    assert [answer.rank for answer in tails] == [1, 2, 3, 4]
    assert all(answer.head == " blank " and answer.relation == "step 2" for answer in tails)
    assert all(answer.tail == "tab\tin" for answer in heads) and len({of.head for of in heads}) == 4
    assert all((answer.head, answer.tail) == ("-5", "n8") for answer in relations)
    assert {answer.known for answer in relations} <= {True, False}
    assert len(more) == 4 and run.predict_many([]) == []
    listed = ["Zoë", '"Ada"', " blank "]
    some = run.predict(head="n9", relation="step 8", candidates=listed, device="cpu")
    assert {answer.tail for answer in some} == set(listed)
    unknown = run.predict(head=" blank ", relation="step 2", top=ENTITIES, filter_known=True, device="cpu")
    assert len(unknown) == ENTITIES - 1 and name(4) not in {answer.tail for answer in unknown}


def test_an_evaluation_is_that_of_the_result(run):
    again = run.evaluate(device="cpu")
    assert again["metrics"]["mrr"] == run.result["test"]["mrr"] and again["split"] == "test"
    assert run.evaluate("valid", device="cpu")["metrics"]["mrr"] == run.result["valid"]["mrr"]
    some = run.evaluate("valid", relations=["step 2", "step 3"], typed=True, device="cpu")
    assert 0 < some["metrics"]["queries"] < again["metrics"]["queries"] * 2 and "typed" in some


def test_a_run_goes_on(dataset, tmp_path, run):
    short = shardloom.train(dataset, output=tmp_path / "run", **{**SETTINGS, "epochs": 2})
    longer = short.resume(epochs=3, progress=False)
    assert len(longer.metrics) == 3
    assert np.array_equal(longer.entities(checkpoint=3), run.entities(checkpoint=3))


def test_errors_are_the_sentences_of_the_program(run, tmp_path, monkeypatch):
    def refused(call, match, code=2):
        with pytest.raises(ShardloomError, match=match) as caught:
            call()
        assert caught.value.exit_code == code and not str(caught.value).startswith("error")

    refused(lambda: shardloom.train(epoch=3, progress=False), r"unknown key `epoch` \(did you mean `epochs`\?\)")
    refused(lambda: shardloom.train(tmp_path / "none", progress=False), "none")
    refused(lambda: shardloom.train(arguments=["--sideways"]), r"^unexpected argument '--sideways' found")
    refused(lambda: run.predict(head="n8", relation="steps 2"), "did you mean")
    refused(lambda: run.predict(head="n8"), "1")
    refused(lambda: run.evaluate(split="all"), "invalid value 'all'")
    refused(lambda: run.resume(epochs=1, progress=False), "epoch 3 already")
    refused(lambda: Run(tmp_path), "is no run: it has no config.toml", None)
    monkeypatch.setenv("SHARDLOOM_BINARY", str(tmp_path / "gone"))
    refused(lambda: run.evaluate(), "gone, and there is no such file", None)
    with pytest.raises(TypeError, match="settings are numbers"):
        shardloom.train(dim={})
    with pytest.raises(ValueError, match="2 fields; head, relation and tail"):
        run.score([("n1", "step 1")])
    with pytest.raises(ValueError, match="'object'; keys are"):
        run.predict_many([{"head": "n1", "object": "n2"}])
    with pytest.raises(ValueError, match="split: 'all'"):
        run.facts("all")


def test_the_program_is_found_beside_python_or_on_the_path(tmp_path, monkeypatch):
    binary = shardloom.find_binary()
    monkeypatch.delenv("SHARDLOOM_BINARY")
    scripts = tmp_path / "scripts"
    for folder in (scripts, tmp_path / "path"):
        folder.mkdir()
        (folder / "shardloom").symlink_to(binary)
    monkeypatch.setattr("sysconfig.get_path", lambda *_: str(scripts))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    assert shardloom.find_binary() == scripts / "shardloom"
    (scripts / "shardloom").unlink()
    assert shardloom.find_binary() == tmp_path / "path" / "shardloom"
    (tmp_path / "path" / "shardloom").unlink()
    with pytest.raises(ShardloomError, match="found no program `shardloom` in .*scripts or on PATH") as caught:
        shardloom.find_binary()
    assert caught.value.exit_code is None


def test_progress_is_shown_a_line_an_epoch_without_a_terminal(dataset, tmp_path, capfd):
    settings = {**SETTINGS, "progress": True}
    shardloom.train(dataset, output=tmp_path / "run", **settings)
    shown = capfd.readouterr()
    epochs = [line for line in shown.err.splitlines() if line.startswith("epoch ")]
    assert len(epochs) == 3 and "epoch 3/3: loss " in epochs[2] and "valid MRR" in epochs[2]
    assert shown.out == ""


def test_an_interruption_saves_and_can_be_gone_on_from(dataset, tmp_path):
    def interrupt(event):
        if event["event"] == "epoch" and event["epoch"] == 2:
            os.kill(os.getpid(), signal.SIGINT)

    settings = {**SETTINGS, "epochs": 10**6, "validate_every": 0, "progress": interrupt}
    with pytest.raises(KeyboardInterrupt, match="continue with: shardloom train --resume"):
        shardloom.train(dataset, output=tmp_path / "run", **settings)
    run = Run(tmp_path / "run")
    reached = len(run.metrics)
    assert reached >= 2 and run.result is None and run.checkpoints
    done = run.resume(epochs=reached + 2, progress=False)
    assert len(done.metrics) == reached + 2 and done.result is not None


def test_a_function_that_fails_ends_the_training(dataset, tmp_path):
    threads = threading.active_count()

    def fail(event):
        if event["event"] == "epoch":
            raise LookupError("of the test")

    settings = {**SETTINGS, "epochs": 10**6, "validate_every": 0, "progress": fail}
    with pytest.raises(LookupError, match="of the test"):
        shardloom.train(dataset, output=tmp_path / "run", **settings)
    assert threading.active_count() == threads
    # The process has saved, and holds the directory no longer.
    run = Run(tmp_path / "run")
    run.resume(epochs=len(run.metrics) + 1, progress=False)


def test_both_packages_are_the_same_one():
    """The package with the program, and the one without."""
    tomllib = pytest.importorskip("tomllib")
    projects = []
    for folder in (ROOT, ROOT / "python"):
        project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
        projects.append({key: value for key, value in project.items() if key not in ("readme", "description")})
    assert projects[0] == projects[1]
    cargo = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]
    assert projects[0]["version"] == cargo["version"] == shardloom.__version__
