"""Weights are found where their stage fetched them."""

from __future__ import annotations

import pytest

from pipeline import files
from pipeline.acquire.weights import weights_file
from pipeline.errors import PipelineError
from pipeline.manifests import describe


def test_weights_that_were_not_fetched_are_answered_with_the_command(tmp_path):
    with pytest.raises(PipelineError, match=r"python -m pipeline --results .* fetch clip-vit-b32"):
        weights_file("clip-vit-b32", tmp_path)


def test_fetched_weights_are_found(tmp_path):
    (tmp_path / "weights.bin").write_bytes(b"w")
    manifest = tmp_path / "resources/clip-vit-b32/fetch.json"
    files.write_json(manifest, {"stage": "fetch", "files": [describe(tmp_path / "weights.bin")]})
    assert weights_file("clip-vit-b32", tmp_path) == tmp_path / "weights.bin"
