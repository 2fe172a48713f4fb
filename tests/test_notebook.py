"""The notebook runs, in a kernel of its own, and its pictures are in it."""

import base64
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.test_look import make
from tests.tiny_study import ROOT, text

NOTEBOOK = ROOT / "examples" / "first_look.ipynb"


def test_its_pictures_are_in_it() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert len(notebook.cells) == 10
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    drawn = [cell for cell in code if ".plot()" in cell.source]
    assert len(drawn) == 4
    for cell in drawn:
        [output] = [each for each in cell.outputs if "data" in each]
        assert base64.b64decode(output.data["image/png"]).startswith(b"\x89PNG")
    message = "".join(str(output) for cell in code for output in cell.outputs)
    assert "Traceback" not in message
    assert "/home" not in message
    assert "/tmp" not in message


@pytest.mark.hub  # its kernel listens on this machine's ports
def test_it_runs_on_any_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it stands, on a small model in place of the one in a package."""
    make(tmp_path / "model")
    (tmp_path / "texts.txt").write_text(text())
    shutil.copy(NOTEBOOK, tmp_path)
    notebook = nbformat.read(tmp_path / NOTEBOOK.name, as_version=4)
    for cell in notebook.cells:
        cell.source = cell.source.replace('"smollm2-135m"', '"model"').replace(
            "pairs=40", 'pairs=5, texts="texts.txt"'
        )
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )  # fmt: skip
    client.execute()
    shown = [
        output
        for cell in notebook.cells
        if ".plot()" in cell.source
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    assert len(shown) == 4
