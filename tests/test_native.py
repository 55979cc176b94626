"""The reader of native frames: one decode for all its families, frames of many shapes, several rows per input."""

from __future__ import annotations

import multiprocessing
import os
import signal
from contextlib import ExitStack
from fractions import Fraction

import fake_encoders
import numpy as np
import pytest
import videos_of_strangers
from hanging import hang
from made_videos import decoded, make_video, rotated

from pipeline import families, files
from pipeline.encoders.base import Weights
from pipeline.encoders.workers import workers
from pipeline.features.making import encode
from pipeline.features.making.frame_rows import FrameRowMaker
from pipeline.features.making.recipe import Recipe, VideoFile
from pipeline.features.store import Store
from pipeline.features.store.writer import StoreWriter
from pipeline.grids import grid_seconds, n_clips
from pipeline.video import ahead, decode, views
from pipeline.video.probe import probe

GRIDS = {"frames": "1-6s", "windows": "0.5s", "stacks": "2s", "flows": "2s", "clips": "2s"}

CALLS: list[tuple[int, ...]] = []
"""The shape of the frames of every call of `encode`."""


class Blues:
    """Makes rows of 8 numbers: the first and the last blue of the frames of a row, then zeros."""

    preprocessing = "blues"
    sampling, view, batch, rows_per_input = "every4of24", "crop224of256", 16, 1

    def __init__(self, weights, device):
        pass

    def encode(self, frames):
        CALLS.append(frames.shape)
        blues = frames[..., 2].mean((2, 3))
        ends = [part[:, [0, -1]] for part in np.array_split(blues, self.rows_per_input, axis=1)]
        rows = np.zeros((len(frames) * self.rows_per_input, 8), np.float32)
        rows[:, :2] = np.stack(ends, axis=1).reshape(-1, 2)
        return rows


class Windows(Blues):
    """Makes two rows for each window, one for each half."""

    sampling, view, batch, rows_per_input = "stacks24", "crop224", 2, 2


class Stacks(Blues):
    sampling, view, batch = "stacks16", "crop224of256", 2


class Flows(Blues):
    """Reads frames of the video's own shape."""

    sampling, view, batch = "stacks16-flow", "short256", 3


class Clips(Blues):
    sampling, view, batch = "middle", "frames224", 4


@pytest.fixture(autouse=True)
def given_families(monkeypatch):
    kinds = {"frames": "Blues", "windows": "Windows", "stacks": "Stacks", "flows": "Flows", "clips": "Clips"}
    for name in GRIDS:
        place = f"{__name__}:{kinds[name]}"
        family = families.Family(reader="native", dim=8, encoder=place, **fake_encoders.light(place))
        monkeypatch.setitem(families.FAMILIES, name, family)
    CALLS.clear()


def extracted(folder, paths, names, seconds_per_video=60):
    """Return (family → vid → rows, what was skipped) of one run."""
    grids = {GRIDS[name]: grid_seconds(GRIDS[name]) for name in names}
    sources = []
    for vid, path in paths.items():
        clips = {grid: n_clips(probe(path).duration, seconds) for grid, seconds in grids.items()}
        sources.append(VideoFile(vid, path, files.sha256(path), clips))
    recipes = {name: Recipe(name, GRIDS[name], Weights("random:0"), "float32") for name in names}
    with ExitStack() as stack, workers("cpu") as threads:
        writers = {name: stack.enter_context(StoreWriter(folder / name, recipes[name].passport)) for name in names}
        makers = [FrameRowMaker(recipes[name], writer, "cpu", threads) for name, writer in writers.items()]
        skipped = encode.encode_videos(sources, makers, seconds_per_video)
    stores = {name: Store([folder / name]) for name in names}
    return {name: {vid: store.read(vid) for vid in store.keys()} for name, store in stores.items()}, skipped  # noqa: SIM118


def blues_at(path, seconds):
    """Return the blue of the last frame that is shown before each time, decoded by PyAV."""
    shown = [(frame.pts * frame.time_base, frame) for frame in decoded(path) if frame.pts >= 0]
    before = [[frame for time, frame in shown if time < second] or [shown[0][1]] for second in seconds]
    return [frames[-1].to_ndarray(format="rgb24")[:, :, 2].mean() for frames in before]


def grid_times(places, rate):
    """Return the times of the grid. Grid frame n shows the last source frame before (n + ½)/rate."""
    return [(n + Fraction(1, 2)) / rate for n in places]


def test_a_window_gives_two_rows_in_order_of_time(tmp_path):
    path = make_video(tmp_path / "a.mp4", range(0, 600 * 4, 20), 320, 240)
    rows = extracted(tmp_path / "x", {"a": path}, ["windows"])[0]["windows"]["a"]
    assert len(rows) == 8
    starts = [0, 12, 24, 36, 48, 60, 95 - 24, 95 - 12]  # the last window moves back; the last frame is never used
    np.testing.assert_allclose(rows[:, 0], blues_at(path, grid_times(starts, 24)), atol=3)
    np.testing.assert_allclose(rows[:, 1], blues_at(path, grid_times([k + 11 for k in starts], 24)), atol=3)


def test_more_rows_than_clips_are_as_many_as_an_input_gives(tmp_path):
    path = make_video(tmp_path / "a.mp4", range(0, 2460, 20), 320, 240)  # 4.1 s: 8 clips, 99 frames in 5 windows
    rows, skipped = extracted(tmp_path / "x", {"a": path}, ["windows"])
    assert (len(rows["windows"]["a"]), skipped) == (10, [])


def counted(monkeypatch, folder):
    """Count the openings for decoding, in whichever process."""
    count, opened = folder / "count", decode.opened

    def opening(path):
        with open(count, "a", encoding="utf-8") as file:
            file.write(f"{path.name}\n")
        return opened(path)

    monkeypatch.setattr(decode, "opened", opening)
    monkeypatch.setattr(ahead, "START", multiprocessing.get_context("fork"))
    return count


def test_all_families_of_a_reader_share_one_decode_and_have_the_rows_of_each_alone(tmp_path, monkeypatch):
    paths = {"a": make_video(tmp_path / "a.mp4", range(0, 600 * 7, 25), 320, 240)}
    paths["b"] = rotated(tmp_path / "b.mp4", make_video(tmp_path / "c.mp4", range(0, 600 * 5, 24), 300, 200))
    count = counted(monkeypatch, tmp_path)
    together, skipped = extracted(tmp_path / "all", paths, GRIDS)
    assert (sorted(count.read_text().split()), skipped) == (["a.mp4", "b.mp4"], [])
    for name in GRIDS:
        alone = extracted(tmp_path / f"{name}.alone", paths, [name])[0][name]
        for vid in paths:
            np.testing.assert_array_equal(together[name][vid], alone[vid])
    assert {name: len(rows["a"]) for name, rows in together.items()} == {
        "frames": 42,
        "windows": 14,
        "stacks": 3,
        "flows": 3,
        "clips": 3,
    }


def test_a_batch_crosses_videos_only_where_frames_have_one_shape(tmp_path):
    sizes = {"a": (320, 240), "b": (64, 48), "c": (240, 320), "d": (480, 270)}
    paths = {vid: make_video(tmp_path / f"{vid}.mp4", range(0, 3700, 25), *size) for vid, size in sizes.items()}
    rows, skipped = extracted(tmp_path / "x", paths, ["flows"])
    assert skipped == []
    assert sorted(shape[2:4] for shape in CALLS) == sorted([(256, 341)] * 2 + [(341, 256), (256, 455)])
    assert sum(shape[0] for shape in CALLS) == sum(map(len, rows["flows"].values())) == 12
    starts = grid_times([0, 32, 64], 16)
    for vid, path in paths.items():
        np.testing.assert_allclose(rows["flows"][vid][:, 0], blues_at(path, starts), atol=3)


def misbehave(how):
    def view(frame):
        if frame.shape[1] == 400:
            how()
        return views.crop224(frame)

    return view


def crash():
    signal.signal(signal.SIGSEGV, signal.SIG_DFL)  # pytest's handler would print the stack
    os.kill(os.getpid(), signal.SIGSEGV)


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("how", "why", "fault"),
    [
        (hang, "decoding took longer than 60 s", "decoder"),
        (crash, "decoding crashed (SIGSEGV)", "decoder"),
        (killed, "decoding was killed (SIGKILL)", "outside"),
    ],
)
def test_a_video_that_hangs_or_crashes_the_reader_costs_itself_alone(tmp_path, monkeypatch, how, why, fault):
    monkeypatch.setitem(views.VIEWS, "crop224", misbehave(how))
    monkeypatch.setattr(ahead, "START", multiprocessing.get_context("fork"))
    widths = {"a": 320, "b": 400, "c": 320}
    paths = {vid: make_video(tmp_path / f"{vid}.mp4", range(0, 2400, 20), width, 240) for vid, width in widths.items()}
    rows, skipped = extracted(tmp_path / "x", paths, ["windows", "frames"], seconds_per_video=60)
    assert skipped == [("b", why, fault)]
    assert {name: sorted(found) for name, found in rows.items()} == {"windows": ["a", "c"], "frames": ["a", "c"]}


STRANGERS = [case for case in videos_of_strangers.CASES if isinstance(case.clips, int) and "sound" not in case.what]


@pytest.mark.parametrize("case", STRANGERS, ids=lambda case: case.what)
def test_a_strangers_video_gets_its_frames(tmp_path, case):
    path = case.make(tmp_path / case.file)
    rows, skipped = extracted(tmp_path / "x", {"v": path}, ["frames", "windows"])
    assert skipped == []
    frames, halves = rows["frames"]["v"], rows["windows"]["v"]
    n24 = int(24 * probe(path).duration + Fraction(1, 2)) or 1
    assert (len(frames), len(halves)) == (-(-n24 // 4), 2 * -(-n24 // 24))
    np.testing.assert_allclose(frames[:, 0], blues_at(path, grid_times(range(0, n24, 4), 24)), atol=4)
    starts = range(0, n24 - 24, 24)  # of the windows before the last
    np.testing.assert_allclose(halves[:-2:2, 0], blues_at(path, grid_times(starts, 24)), atol=4)
