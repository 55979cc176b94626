"""A user's script may call the pipeline's functions at its top level, without an `if __name__ == "__main__":`."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from made_videos import make_video

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = {
    "probe": """
        from pipeline.video.probe import probe
        print("read", probe("v.mp4").n_frames)
    """,
    "sound": """
        from pathlib import Path
        from pipeline.video.ahead import sounds_ahead
        for _, event in sounds_ahead([Path("v.mp4")], 60):
            print("read", type(event).__name__)
    """,
    "frames": """
        from fractions import Fraction
        from pathlib import Path
        from pipeline.video.ahead import FramesWanted, Request, decode_ahead
        wanted = {"clip-vit-b32": FramesWanted("middle", "crop224", Fraction(2))}
        for _, event in decode_ahead([Request(Path("v.mp4"), wanted)], 60):
            print("read", event if type(event).__name__ == "Failed" else type(event).__name__)
    """,
    "trainings": """
        import operator
        from pipeline.training import pool
        pool.SHARED_IMPORTS = []
        print("read", pool.pooled(operator.is_, ["a", "b"], 2, 1, print))
    """,
}


@pytest.mark.parametrize(
    ("script", "last"),
    [("probe", "read 60"), ("sound", "read Ended"), ("frames", "read Done"), ("trainings", "read []")],
)
def test_a_script_without_a_guard_works_and_runs_once(tmp_path, script, last):
    """A spawned process would run the script again. It would print twice, and it could start no process itself."""
    make_video(tmp_path / "v.mp4", range(0, 1200, 20), sound_s=2)
    (tmp_path / "mine.py").write_text("print('begins')\n" + textwrap.dedent(SCRIPTS[script]))
    answer = subprocess.run(
        [sys.executable, "mine.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    printed = answer.stdout.splitlines()
    assert answer.returncode == 0, answer.stderr
    assert printed.count("begins") == 1
    assert printed[-1] == last, answer.stderr
    assert "Failed" not in answer.stdout
