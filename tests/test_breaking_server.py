"""Downloads from a server that breaks, lies and crawls: each fault × each kind of file ends whole, or refused in a
line."""

from __future__ import annotations

import hashlib
import io
import re
import time
import zipfile
from email.utils import formatdate
from types import SimpleNamespace

import numpy as np
import pytest
from breaking_server import FAULTS, LIES, breaking

from pipeline.acquire import parts, patience
from pipeline.acquire.download import download
from pipeline.acquire.transfer import Wanted
from pipeline.config import Acquire
from pipeline.errors import PipelineError


def packed(n):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("features/a.bin", np.random.default_rng(0).bytes(n))
    return made.getvalue()


NOISE = np.random.default_rng(1).bytes(300_000)
KINDS = {
    "archive": ("a.zip", packed(300_000), False),
    "video": ("v.mp4", b"\0\0\0\x18ftypmp42" + NOISE, False),
    "annotation": ("a.jsonl", b'{"qid": 1, "query": "a dog", "vid": "v"}\n' * 5000, True),
    "weights": ("w.pth", NOISE[::-1], True),
}
"""Kind of file → its name, its content, and whether a digest of it is known."""


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(patience, "BACKOFF_S", 0.01)
    monkeypatch.setattr(parts, "SEGMENT", 1 << 15)


def get(server, tmp_path, kind, connections=1, **acquire):
    name, body, has_digest = KINDS[kind]
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}" if has_digest else None
    wanted = Wanted(f"{server.url}/{name}", tmp_path / "f" / name, kind, digest)
    settings = {"attempts": 4, "timeout_s": 0.3, "connections": connections} | acquire
    download(wanted, Acquire(**settings))
    return wanted.target


def served(kind, faults=()):
    name, body, _ = KINDS[kind]
    waiting = list(faults)
    return breaking({f"/{name}": body}, lambda _path: waiting.pop(0) if waiting else None)


@pytest.mark.parametrize("connections", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_ends_whole_or_refused_and_leaves_nothing_else(tmp_path, fault, kind, connections):
    _, body, has_digest = KINDS[kind]
    with served(kind, [fault, None, fault]) as server:
        server.later_s = 0
        try:
            target = get(server, tmp_path, kind, connections)
        except PipelineError as refusal:
            assert fault == "says fewer bytes" and has_digest
            assert "digest" in str(refusal)
            return
        if fault == "says fewer bytes" and not has_digest:
            # A server that states a smaller size cannot be told from one with a smaller file. What reads the file
            # tells: the account of videos (test_account.py), and the unpacking of an archive.
            assert body.startswith(target.read_bytes())
            return
        assert target.read_bytes() == body
        assert [path.name for path in target.parent.iterdir()] == [target.name]


@pytest.mark.parametrize("kind", ["video", "weights"])
@pytest.mark.parametrize("lie", LIES)
def test_a_server_that_lies_about_ranges_gives_the_same_file_over_one_connection(tmp_path, lie, kind):
    with served(kind, [None] * 30) as server:
        server.lie = lie
        target = get(server, tmp_path, kind, connections=3)
    assert target.read_bytes() == KINDS[kind][1]
    assert [path.name for path in target.parent.iterdir()] == [target.name]


@pytest.mark.parametrize("connections", [1, 2, 6])
def test_as_many_connections_are_open_at_once_as_the_config_says(tmp_path, connections):
    with served("video") as server:
        server.at_once = connections
        target = get(server, tmp_path, "video", connections, timeout_s=60.0)
        assert server.gathered.is_set()
    assert target.read_bytes() == KINDS["video"][1]


def test_a_broken_download_in_parts_goes_on_with_the_segments_that_are_there(tmp_path):
    n_segments = -(-len(KINDS["video"][1]) // parts.SEGMENT)
    with served("video", [None] * 7 + ["reset"] * 100) as server:
        with pytest.raises(PipelineError, match="run again to continue"):
            get(server, tmp_path, "video", connections=2)
        kept = sum((tmp_path / "f/.v.mp4.parts.done").read_bytes())
        assert kept >= 4
        server.fault_of = lambda _path: None
        before = server.asked["/v.mp4"]
        target = get(server, tmp_path, "video", connections=2)
        assert server.asked["/v.mp4"] - before == 2 + n_segments - kept
    assert target.read_bytes() == KINDS["video"][1]


def test_segments_of_a_file_that_was_replaced_meanwhile_are_not_used(tmp_path):
    name, body, _ = KINDS["video"]
    with served("video", [None] * 6 + ["reset"] * 100) as server, pytest.raises(PipelineError):
        get(server, tmp_path, "video", connections=2)
    bodies = {f"/{name}": body[::-1]}
    with breaking(bodies) as server:
        note = tmp_path / "f/.v.mp4.parts.json"
        assert re.search(r"http://127\.0\.0\.1:\d+/v\.mp4", note.read_text())
        note.write_text(re.sub(r"http://127\.0\.0\.1:\d+", server.url, note.read_text()))
        target = get(server, tmp_path, "video", connections=2)
    assert target.read_bytes() == body[::-1]


def test_a_small_file_comes_over_one_connection(tmp_path):
    with breaking({"/v.mp4": b"small"}) as server:
        wanted = Wanted(f"{server.url}/v.mp4", tmp_path / "v.mp4", "v")
        download(wanted, Acquire(connections=8))
    assert wanted.target.read_bytes() == b"small"


def answer(after, date=""):
    return SimpleNamespace(headers={"Retry-After": after, "Date": date})


A_DAY = 1_800_000_000.0
"""A fixed time, because every process of the tests must collect tests of the same names."""


@pytest.mark.parametrize(
    ("asked", "date", "seconds"),
    [
        ("", "", 0),
        ("17", "", 17),
        (" 17 ", "", 17),
        ("-5", "", 0),
        ("soon", "", 0),
        ("9" * 30, "", 0),
        (formatdate(A_DAY + 90, usegmt=True), formatdate(A_DAY + 30, usegmt=True), 60),
        (formatdate(A_DAY - 90, usegmt=True), formatdate(A_DAY, usegmt=True), 0),
        # The clock of this machine may be a day off; both dates are the server's.
        (formatdate(A_DAY + 86_460, usegmt=True), formatdate(A_DAY + 86_400, usegmt=True), 60),
        ("Wed, 99 Foo 2026 00:00:00 GMT", "", 0),
    ],
)
def test_what_a_server_asks_to_wait_is_read_as_seconds_or_a_date(asked, date, seconds):
    assert patience.asked_to_wait_s(answer(asked, date)) == pytest.approx(seconds, abs=1)


def test_a_server_that_asks_to_wait_longer_than_allowed_is_left_with_the_time_to_come_back(tmp_path):
    with served("weights", ["503 later"] * 9) as server, pytest.raises(PipelineError) as refusal:
        get(server, tmp_path, "weights", longest_wait_s=0.5)
    assert "run again in 1 s to continue where it stopped" in str(refusal.value)
    assert server.seen["503 later"] == 1


def test_waits_after_failures_grow_are_random_and_have_a_bound(monkeypatch):
    monkeypatch.setattr(patience, "BACKOFF_S", 1.0)
    drawn = {n: [patience.backoff_s(n) for _ in range(50)] for n in (1, 2, 4, 40)}
    for n, longest in ((1, 1.0), (2, 2.0), (4, 8.0), (40, 60.0)):
        assert longest / 2 <= min(drawn[n]) < max(drawn[n]) <= longest


@pytest.mark.parametrize("limits", [{"127.0.0.1": 600}, {"*": 600}, {"*": 6, "127.0.0.1": 600}])
def test_requests_to_a_host_keep_their_distance_in_all_processes(tmp_path, monkeypatch, limits):
    monkeypatch.setattr(patience.tempfile, "gettempdir", lambda: str(tmp_path))
    acquire = Acquire(requests_per_minute=limits)
    now, waits = 1e9, []

    def sleep(seconds):
        nonlocal now
        waits.append(seconds)
        now += seconds

    monkeypatch.setattr(patience, "time", SimpleNamespace(time=lambda: now, sleep=sleep))
    for _ in range(4):
        patience.wait_for_turn("http://127.0.0.1:8000/a", acquire)
        now += 0.02
    assert waits == pytest.approx([0, 0.08, 0.08, 0.08])
    patience.wait_for_turn("http://elsewhere/a", Acquire(requests_per_minute={"127.0.0.1": 1}))
    assert len(waits) == 4


def test_a_clock_that_was_set_back_does_not_stop_downloads(tmp_path, monkeypatch):
    monkeypatch.setattr(patience.tempfile, "gettempdir", lambda: str(tmp_path))
    waits = []
    monkeypatch.setattr(patience.time, "sleep", waits.append)
    acquire = Acquire(requests_per_minute={"*": 60})
    patience.wait_for_turn("http://host/a", acquire)
    (record,) = tmp_path.rglob("host")
    for text in (f"{time.time() + 1e6} {time.time() + 2e6}", "torn"):
        record.write_text(text)
        patience.wait_for_turn("http://host/a", acquire)
    assert waits == [0.0, 0.0, 0.0]
