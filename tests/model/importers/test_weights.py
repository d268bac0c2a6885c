"""State dicts are read as data, never as code."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from model.checkpoint import CheckpointError, load
from model.importers import read
from model.importers.weights import read_folder, read_pickle


class Attack:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("attacked",)


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Attack()}, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match="as weights alone"):
        read_pickle(tmp_path / "weights.pth", "model")
    assert not (tmp_path / "attacked").exists()


@pytest.mark.parametrize("content", [b"", b"404: Not Found", b"PK\x03\x04 cut short"])
def test_a_file_that_is_no_pickle_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"weights\.pth cannot be read"):
        read_pickle(tmp_path / "weights.pth")


@pytest.mark.parametrize("saved", [{}, {"model": {}}, {"model": {"a": 1}}, {"weights": {"a": torch.zeros(1)}}, [1]])
def test_a_file_without_the_state_dict_is_refused(tmp_path: Path, saved: object) -> None:
    torch.save(saved, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match="no state dict under 'model'"):
        read_pickle(tmp_path / "weights.pth", "model")


def test_the_member_is_read_with_the_files_checksum(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "model": {"module.a": torch.ones(2)}}, tmp_path / "weights.pth")
    weights = read_pickle(tmp_path / "weights.pth", "model").without_prefix("module.")
    assert list(weights.state) == ["a"]
    assert len(weights.files[tmp_path / "weights.pth"]) == 64


@pytest.mark.parametrize("core", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_a_numpy_number_beside_the_weights_is_no_code(tmp_path: Path, core: bytes) -> None:
    """As in laion_clap's files: the learning rate of an optimiser, saved by NumPy 1 or 2."""
    torch.save(
        {"optimizer": {"lr": np.float64(1e-4)}, "state_dict": {"a": torch.ones(2)}},
        tmp_path / "weights.pt",
        _use_new_zipfile_serialization=False,
    )
    saved = (tmp_path / "weights.pt").read_bytes()
    assert b"cnumpy._core.multiarray\n" in saved
    (tmp_path / "weights.pt").write_bytes(saved.replace(b"cnumpy._core.multiarray\n", b"c" + core + b"\n"))
    assert list(read_pickle(tmp_path / "weights.pt", "state_dict").state) == ["a"]


def test_an_unknown_kind_and_an_absent_source_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="unknown kind 'openai'"):
        read("openai", tmp_path)
    with pytest.raises(CheckpointError, match="does not exist"):
        read("transformers", tmp_path / "absent")


STAND_INS = {
    "Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 776\n",
    "HTML page": b"\n<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>",
}


@pytest.mark.parametrize("what", STAND_INS)
def test_what_a_failed_download_left_is_named(tmp_path: Path, what: str) -> None:
    for name in ("weights.pt", "weights.pth", "model.safetensors", "pytorch_model.bin"):
        (tmp_path / name).write_bytes(STAND_INS[what])
    for kind in ("laion", "msclap-2022", "panns"):
        with pytest.raises(CheckpointError, match=f"is an? {what} instead of") as caught:
            read(kind, tmp_path / "weights.pt", tokenizer=tmp_path if kind == "laion" else None)
        assert "\n" not in str(caught.value)
    for name in ("model.safetensors", "pytorch_model.bin"):
        with pytest.raises(CheckpointError, match=f"is an? {what} instead of"):
            read_folder(tmp_path)
        (tmp_path / name).unlink()


@pytest.mark.parametrize("what", STAND_INS)
def test_a_checkpoint_with_such_a_file_is_refused_too(tmp_path: Path, tiny_folder: Path, what: str) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "checkpoint"))
    (folder / "model.safetensors").write_bytes(STAND_INS[what])
    with pytest.raises(CheckpointError, match=f"model.safetensors is an? {what} instead of"):
        load(folder)
