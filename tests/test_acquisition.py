"""The small form of benchmarks/acquisition.py: made videos from a server that fails one request in three."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pipeline.acquire import parts, patience


@pytest.mark.parametrize("connections", [1, 2])
def test_every_video_arrives_whole_however_often_the_server_fails(tmp_path, monkeypatch, connections):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "benchmarks"))
    monkeypatch.setattr(patience, "BACKOFF_S", 0.05)
    monkeypatch.setattr(parts, "SEGMENT", 1 << 12)
    monkeypatch.delitem(sys.modules, "acquisition", raising=False)
    import acquisition

    monkeypatch.setattr(acquisition, "KINDS", 2)
    found = acquisition.acquired(tmp_path, 10, 0.3, 2, attempts=4, timeout_s=0.5, connections=connections)
    assert found["account after each start"][-1] == {"ok": 10}
    assert found["equal to what was made"] == 10
    assert found["failed requests"] >= 2
    assert found["left behind"] == []
