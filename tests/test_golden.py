"""The released system's figures, met by ours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

from pipeline.errors import PipelineError
from pipeline.released.golden import verify

COMPACT = sorted((Path(__file__).parent / "data" / "golden").glob("*.json"))


def failures(path):
    return [check for check in verify(path) if not check.ok]


@pytest.mark.parametrize("path", COMPACT, ids=lambda path: path.stem)
def test_a_compact_set_is_met(path, torch_one_thread):
    assert failures(path) == []


def test_a_folder_of_compact_sets_is_checked_whole(torch_one_thread):
    checks = verify(COMPACT[0].parent)
    assert {check.quantity.split(":")[0] for check in checks} == {path.stem for path in COMPACT}


@pytest.mark.parametrize("folder", [".", "sharp"])
def test_a_shared_set_is_met(shared_data, folder, torch_one_thread):
    assert failures(shared_data / "golden" / folder) == []


@pytest.mark.parametrize(
    ("key", "spoil", "quantity"),
    [
        ("losses", lambda losses: losses | {"loss_giou": losses["loss_giou"] * 1.0001}, "loss giou"),
        ("matcher", lambda pairs: [[[9], [0]] if n else pair for n, pair in enumerate(pairs)], "matching"),
        ("n_parameters", lambda n: n + 1, "number of parameters"),
        ("clip_mask", lambda mask: [[1 - mask[0][0], *mask[0][1:]], *mask[1:]], "loss local_alignment"),
    ],
)
def test_a_figure_that_is_off_is_reported(tmp_path, torch_one_thread, key, spoil, quantity):
    told = json.loads(COMPACT[0].read_text())
    path = tmp_path / "spoilt.json"
    path.write_text(json.dumps(told | {key: spoil(told[key])}))
    assert any(check.quantity.startswith(quantity) for check in failures(path))


def test_a_place_without_a_set_is_named(tmp_path):
    with pytest.raises(PipelineError, match="no golden set lies here"):
        verify(tmp_path)


def test_a_set_that_lacks_a_key_is_refused(tmp_path):
    (tmp_path / "half.json").write_text(json.dumps({"case": "half"}))
    with pytest.raises(PipelineError, match="is not whole"):
        verify(tmp_path / "half.json")
