"""Checkpoints: exact, whole or not at all, and refused politely when they are something else."""

from __future__ import annotations

import errno
import json
import math
import os
import resource
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from rnnbptt.bptt.network import CharRNN
from rnnbptt.errors import UserError
from rnnbptt.model.config import ModelConfig
from rnnbptt.text.options import PARTS
from rnnbptt.text.vocabulary import Vocabulary
from rnnbptt.training.checkpoint import find_checkpoint, load_checkpoint, save_checkpoint
from rnnbptt.training.document import FORMAT, Standing
from rnnbptt.training.records import Axes, Sums, Validations
from support.networks import make_model
from support.refusals import message_of
from support.runs import make_document

MODEL = ModelConfig(7, "lstm", 5, dropout=0.0)
DOCUMENT = make_document(MODEL)
TRAINED_ON = json.loads(DOCUMENT.to_json())["corpus"]


def model_tensors() -> dict[str, Tensor]:
    """The same each time."""
    torch.manual_seed(0)
    values = make_model(precision="float32").parameters.values
    return {f"model.{name}": value.contiguous() for name, value in values.items()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A checkpoint, alone in a folder."""
    folder = tmp_path / "run"
    folder.mkdir()
    save_checkpoint(folder / "last.safetensors", model_tensors(), DOCUMENT)
    return folder / "last.safetensors"


# --- what goes in comes out -------------------------------------------------------------------------------------------


def test_round_trip_bit_for_bit(tmp_path: Path) -> None:
    flat = torch.randn(12)
    tensors = {
        "model.turned": flat[:6].view(2, 3).t(),
        "model.beside": flat[6:],  # in the same storage
        "optimizer.step": torch.tensor(3.0),
        "state.carried": torch.tensor([0.1, -0.0, torch.inf, torch.nan, 5e-324], dtype=torch.float64),
        "rng.dropout": torch.Generator().manual_seed(7).get_state(),
        "state.none": torch.empty(0, 3),
    }
    symbols = tuple("\0\né\ud800😀")
    standing = Standing(
        position=3, sums=Sums(nats=0.1 + 0.2), validations=Validations([5], [5e-324]), measured=[0.25, 0.5]
    )
    config = replace(MODEL, vocabulary=len(symbols))
    document = replace(make_document(config, Vocabulary("char", symbols)), standing=standing)
    save_checkpoint(tmp_path / "a", tensors, document)
    checkpoint = load_checkpoint(tmp_path / "a")
    assert checkpoint.document == document
    assert checkpoint.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        loaded = checkpoint.tensors[name]
        assert (loaded.shape, loaded.dtype) == (tensor.shape, tensor.dtype)
        assert loaded.numpy().tobytes() == tensor.contiguous().numpy().tobytes(), name
    assert list(checkpoint.group("optimizer")) == ["step"]
    assert checkpoint.path == tmp_path / "a"


def test_the_file_is_json_and_plain_numbers_and_nothing_else(path: Path) -> None:
    """Read by hand: 8 bytes of length, a JSON header, and then every byte belongs to a tensor."""
    data, tensors = path.read_bytes(), model_tensors()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    assert list(header.pop("__metadata__")) == ["rnnbptt"]
    assert {entry["dtype"] for entry in header.values()} == {"F32"}
    spans = sorted(entry["data_offsets"] for entry in header.values())
    assert [stop for _, stop in spans[:-1]] == [start for start, _ in spans[1:]]
    assert (spans[0][0], spans[-1][1]) == (0, len(data) - 8 - length)
    for name, entry in header.items():
        start, stop = (8 + length + offset for offset in entry["data_offsets"])
        numbers = torch.frombuffer(bytearray(data[start:stop]), dtype=torch.float32).view(entry["shape"])
        assert torch.equal(numbers, tensors.pop(name))
    assert not tensors


def test_the_model_comes_back(path: Path) -> None:
    model = load_checkpoint(path).build_model("float64")
    assert isinstance(model, CharRNN)
    for name, value in load_checkpoint(path).group("model").items():
        assert torch.equal(model.parameters.values[name], value.double())


def test_others_may_read_the_file_as_far_as_the_umask_lets_them(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    save_checkpoint(tmp_path / "a", {}, DOCUMENT)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


# --- whole or not at all ----------------------------------------------------------------------------------------------


@contextmanager
def files_at_most(size: int) -> Iterator[None]:
    """As if the disk were full: no file grows beyond that many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_the_old_file_and_nothing_else(path: Path) -> None:
    before = path.read_bytes()
    with files_at_most(len(before) // 2):
        message = message_of(save_checkpoint, path, model_tensors(), DOCUMENT)
    assert message.startswith(f"cannot write {path}: ")
    assert {entry.name: entry.read_bytes() for entry in path.parent.iterdir()} == {path.name: before}


@pytest.mark.parametrize("error", [OSError(errno.EACCES, "Permission denied"), KeyboardInterrupt()])
def test_a_failure_at_the_last_moment_leaves_the_old_file_and_nothing_else(
    path: Path, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise error

    before = path.read_bytes()
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(UserError if isinstance(error, OSError) else KeyboardInterrupt) as caught:
        save_checkpoint(path, {}, DOCUMENT)
    if isinstance(error, OSError):
        assert str(caught.value) == f"cannot write {path}: Permission denied"
    assert {entry.name: entry.read_bytes() for entry in path.parent.iterdir()} == {path.name: before}


def test_a_missing_folder_is_the_users_to_mend(tmp_path: Path) -> None:
    path = tmp_path / "gone" / "a"
    assert message_of(save_checkpoint, path, {}, DOCUMENT).startswith(f"cannot write {path}: ")


def test_a_folder_in_the_way_is_the_users_to_mend(path: Path) -> None:
    folder = path.with_name("folder")
    folder.mkdir()
    assert message_of(save_checkpoint, folder, {}, DOCUMENT) == f"cannot write {folder}: Is a directory"
    assert {entry.name for entry in path.parent.iterdir()} == {path.name, folder.name}


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        assert message_of(load_checkpoint, path) == (
            f"{path}: no such run or checkpoint; rnnbptt info lists those in runs/"
        )


@pytest.mark.parametrize("data", [b"", b"hello, I am a text and no checkpoint", b"\x80\x04}\x94.", b"{}" * 20])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(data)
    message = message_of(load_checkpoint, path)
    assert message.startswith(f"{path}: no checkpoint, or a damaged one (")


@pytest.mark.parametrize("lost", [1, 100, -20])
def test_a_truncated_file_is_refused(path: Path, lost: int) -> None:
    path.write_bytes(path.read_bytes()[:-lost])
    assert message_of(load_checkpoint, path).startswith(f"{path}: no checkpoint, or a damaged one (")


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_the_safetensors_file_of_somebody_else_is_refused(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    path = tmp_path / "a"
    save_file(model_tensors() | {"model.rnn.weight_ih_l0": torch.ones(2)}, path, metadata=metadata)
    assert message_of(load_checkpoint, path) == (
        f"{path}: a safetensors file, but not a checkpoint of rnnbptt (its metadata lacks 'rnnbptt')"
    )


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a"
    save_file({}, path, metadata={"rnnbptt": json.dumps({"format": FORMAT + 1})})
    assert message_of(load_checkpoint, path) == (
        f"{path}: format {FORMAT + 1}, this rnnbptt reads up to {FORMAT}; upgrade rnnbptt"
    )


def damaged(**parts: Any) -> str:
    """The JSON of a document with parts of it replaced; None: left out."""
    data = json.loads(DOCUMENT.to_json()) | parts
    return json.dumps({name: part for name, part in data.items() if part is not None})


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ("", "Expecting value: line 1 column 1 (char 0)"),
        ("{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ("[" * 100_000, "maximum recursion depth exceeded while decoding a JSON array from a unicode string"),
        ("null", "no format"),
        ("[]", "no format"),
        ("{}", "no format"),
        ('{"format": "x"}', "no format"),
        ('{"format": 0}', "no format"),
        ('{"format": 1}', "format 1 lacks 'progress'"),
        ('{"format": 1, "progress": 5}', "format 1 lacks 'int' object is not iterable"),
        (damaged(model=5), "Expected `object`, got `int` - at `$.model`"),
        (damaged(model={"hidden": 5}), "Object missing required field `vocabulary` - at `$.model`"),
        (damaged(model={"vocabulary": 7, "hidden": "5"}), "Expected `int`, got `str` - at `$.model.hidden`"),
        (damaged(model={"vocabulary": 6}), "7 symbols, and a model of 6"),
        (damaged(standing=None), "Object missing required field `standing`"),
        (damaged(standing={"position": -1}), "Expected `int` >= 0 - at `$.standing.position`"),
        (
            damaged(standing={"axes": {"chars": 10**30}}),
            "Expected `int` <= 9007199254740992 - at `$.standing.axes.chars`",
        ),
        (damaged(standing={"sums": {"nats": -1.5}}), "Expected `float` >= 0.0 - at `$.standing.sums.nats`"),
        (damaged(standing={"lr": math.inf}), "Infinity is no number"),
        (damaged(standing={"validations": {"chars": [1]}}), "1 and 0 figures of validations"),
        (damaged(corpus={**TRAINED_ON, "splits": {}}), "splits that no text has - at `$.corpus`"),
        (
            damaged(corpus={**TRAINED_ON, "splits": {part: [5, 3] for part in PARTS}}),
            "splits that no text has - at `$.corpus`",
        ),
        (damaged(standing={"axes": {"chars": 0.5}}), "Expected `int`, got `float` - at `$.standing.axes.chars`"),
        (damaged(precision=None, threads=True), "Expected `int`, got `bool` - at `$.threads`"),
    ],
)
def test_a_damaged_document_is_refused(tmp_path: Path, document: str, reason: str) -> None:
    path = tmp_path / "a"
    save_file(model_tensors(), path, metadata={"rnnbptt": document})
    assert message_of(load_checkpoint, path) == (
        f"{path}: damaged: {reason}, in its document; take another checkpoint of that run"
    )


def test_settings_that_no_run_can_have_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a"
    save_file(model_tensors(), path, metadata={"rnnbptt": damaged(model={"vocabulary": 7, "layers": 0})})
    assert message_of(load_checkpoint, path) == f"{path}: --layers 0: must be between 1 and 1,000"


def test_a_document_of_format_1_is_read(tmp_path: Path) -> None:
    """As version 0.1.0 wrote it, and before it knew of devices and measurements."""
    path, data = tmp_path / "a", json.loads(DOCUMENT.to_json())
    for newer in ("versions", "engine", "threads", "device"):
        del data[newer]
    counts = {"chars": 400, "updates": 100, "seconds": 1.5, "flops": 2e6}
    standing = data.pop("standing")
    standing |= {"counts": counts, "interval": standing.pop("sums")}
    del standing["axes"]
    save_file(model_tensors(), path, metadata={"rnnbptt": json.dumps(data | {"format": 1, "progress": standing})})
    loaded = load_checkpoint(path).document
    assert loaded.standing.axes == Axes(**counts)
    assert replace(loaded, standing=DOCUMENT.standing) == DOCUMENT


def test_depths_that_format_2_has_measured_are_no_biases(tmp_path: Path) -> None:
    path, data = tmp_path / "a", json.loads(DOCUMENT.to_json()) | {"format": 2}
    data["standing"]["measured"] = [64, 128]
    save_file(model_tensors(), path, metadata={"rnnbptt": json.dumps(data)})
    assert load_checkpoint(path).document == replace(DOCUMENT, standing=replace(DOCUMENT.standing, measured=[]))


def test_rates_of_format_3_fell_by_a_cosine(tmp_path: Path) -> None:
    """Which it did not say; a program of that time would go on so, and not know of another."""
    path, data = tmp_path / "a", json.loads(DOCUMENT.to_json()) | {"format": 3}
    del data["train"]["decay"]
    save_file(model_tensors(), path, metadata={"rnnbptt": json.dumps(data)})
    assert load_checkpoint(path).document.train.decay == "cosine"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden": 6}, "'rnn.weight_ih_l0' has shape (20, 7), the model wants (24, 7)"),
        ({"layers": 2}, "the weights lack 'rnn.bias_hh_l1': they belong to another model"),
        ({"hidden": 8000}, "'rnn.weight_ih_l0' has shape (20, 7), the model wants (32000, 7)"),
        ({"layers": 1000}, "the weights lack 'rnn.bias_hh_l1': they belong to another model"),
        ({"cell": "rnn"}, "'rnn.weight_ih_l0' has shape (20, 7), the model wants (5, 7)"),
    ],
)
def test_weights_that_do_not_fit_their_configuration_are_refused(
    tmp_path: Path, change: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is made of the size that the configuration speaks of."""
    path = tmp_path / "a"
    save_checkpoint(path, model_tensors(), make_document(replace(MODEL, **change)))
    monkeypatch.setattr("rnnbptt.training.checkpoint.create_network", pytest.fail)
    assert message_of(load_checkpoint(path).build_model) == f"{path}: {message}"


# --- which file -------------------------------------------------------------------------------------------------------


def test_a_file_means_itself_and_a_folder_its_best_or_last(path: Path) -> None:
    folder, best = path.parent, path.with_name("best.safetensors")
    assert find_checkpoint(path) == path
    assert find_checkpoint(folder / "none") == folder / "none"  # for load_checkpoint to refuse
    assert find_checkpoint(folder) == find_checkpoint(folder, "last") == path
    best.touch()
    assert find_checkpoint(folder) == best
    assert find_checkpoint(folder, "last") == path


def test_a_folder_without_checkpoints_is_refused(tmp_path: Path) -> None:
    assert message_of(find_checkpoint, tmp_path) == (
        f"{tmp_path}: a folder without checkpoints; give a run folder (such as runs/NAME) or a .safetensors file"
    )


def test_settings_that_a_file_lacks_are_the_usual_ones(tmp_path: Path) -> None:
    path, data = tmp_path / "a", json.loads(DOCUMENT.to_json())
    del data["train"]["eval_every"], data["model"]["dropout"]
    save_file(model_tensors(), path, metadata={"rnnbptt": json.dumps(data)})
    settings = load_checkpoint(path).document.settings()
    assert (settings["eval_every"], settings["dropout"]) == (0, 0.3)
