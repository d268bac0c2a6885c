"""The notebook of the first tutorial runs from its first cell to its last, and shows what it promises."""

from __future__ import annotations

from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import ROOT

TUTORIALS = ROOT / "docs" / "tutorials"


def shown(cell: Any) -> str:
    """The text of a cell's outputs."""
    return "\n".join(each.get("text", "") or each.get("data", {}).get("text/plain", "") for each in cell.outputs)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Jupyter's own packages
def test_the_notebook_labels_the_examples(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYSOUND_URL", address)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "client"))
    notebook = nbformat.read(TUTORIALS / "label-a-folder.ipynb", as_version=4)
    NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(TUTORIALS)}}).execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    best = shown(code[2])
    for name, label in (("crow.flac", "crow"), ("drums.flac", "drums"), ("speech.wav", "a person speaking")):
        assert any(name in line and label in line for line in best.splitlines()), best
    assert "Audio" in shown(code[-1])


def test_the_notebook_is_kept_without_outputs() -> None:
    notebook = nbformat.read(TUTORIALS / "label-a-folder.ipynb", as_version=4)
    assert [cell.outputs for cell in notebook.cells if cell.cell_type == "code" and cell.outputs] == []
