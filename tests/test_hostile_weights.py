"""Weight files of torch that claim more numbers than they have are refused before memory is allocated."""

from __future__ import annotations

import re
import zipfile

import pytest

from pipeline.acquire import archives
from pipeline.encoders.pann import Cnn14
from pipeline.encoders.state import tensors_by_name
from pipeline.errors import PipelineError

torch = pytest.importorskip("torch")


def stretched(path, inside=None):
    """Write a file with one number that claims to be ten thousand million."""
    tensors = {"weight": torch.ones(1).expand(100_000, 100_000)}
    torch.save({inside: tensors} if inside else tensors, path)
    return path


def packed(path, n_bytes=8 << 20):
    """Write a whole file whose zeros are packed to a thousandth."""
    torch.save({"weight": torch.zeros(n_bytes // 4)}, path.with_suffix(".plain"))
    with zipfile.ZipFile(path.with_suffix(".plain")) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return path


def test_a_tensor_of_more_numbers_than_there_are_is_refused_wherever_weights_are_read(tmp_path):
    from pipeline.released.checkpoint import read_released

    with pytest.raises(PipelineError, match="more numbers claimed than held: weight"):
        tensors_by_name(stretched(tmp_path / "a.pth"), "it")
    with pytest.raises(PipelineError, match="more numbers claimed than held: weight"):
        tensors_by_name(stretched(tmp_path / "b.pth", "model_state"), "it", inside="model_state")
    with pytest.raises(PipelineError, match="claims more numbers than the file holds"):
        read_released(stretched(tmp_path / "c.ckpt", "model"))


def test_a_file_that_was_made_to_fill_the_memory_is_refused(tmp_path, monkeypatch):
    from pipeline.released.checkpoint import read_released

    monkeypatch.setattr(archives, "ALWAYS_ALLOWED_BYTES", 1 << 20)
    path = packed(tmp_path / "a.pth")
    for opened in (lambda: tensors_by_name(path, "it"), lambda: read_released(path)):
        with pytest.raises(PipelineError, match=r"unpacks to 8,3\d\d,\d\d\d bytes, more than the 1,048,576"):
            opened()


@pytest.mark.parametrize("content", [3, {"model": 3}, {"model": {"conv.weight": "text"}}, {"model": {3: 4}}, ["x"]])
def test_a_file_with_something_else_is_no_cnn14(tmp_path, content):
    from pipeline.encoders.base import Weights

    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(PipelineError, match=re.escape("x.pth: does not hold Cnn14")):
        Cnn14(Weights.named("released", tmp_path / "x.pth"), "cpu")
