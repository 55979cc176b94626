"""The limits of docs/faults.md that no other file tests: what is longer, deeper or larger is refused in one line."""

from __future__ import annotations

import gzip
import json
import time
from itertools import pairwise

import pytest
from breaking_server import breaking

from pipeline import csv_file, files, limits, records, yaml_file
from pipeline.acquire import parts
from pipeline.acquire.download import download
from pipeline.acquire.transfer import Wanted
from pipeline.config import Acquire
from pipeline.errors import PipelineError

DEEP = f"has more than {limits.MOST_NESTED} lists and objects inside each other"


@pytest.fixture
def written(tmp_path):
    def write(content, name="file"):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path / name

    return write


def test_a_config_may_have_a_mebibyte_and_no_more(written):
    most = yaml_file.MOST_CHARACTERS
    assert yaml_file.read(written("a: 1\n#" + "x" * (most - 6))) == {"a": 1}
    with pytest.raises(PipelineError, match=r"is longer than 1,048,576 characters"):
        yaml_file.read(written("a: 1\n#" + "x" * (most - 5)))


def in_brackets(n):
    return f"a: {'[' * (n - 1)}{']' * (n - 1)}"


def in_lines(n):
    return "".join(f"{' ' * k}a:\n" for k in range(n))


def in_json(n):
    return f'{{\n\t"a": {"[" * (n - 1)}{"]" * (n - 1)}}}'  # tabs, which YAML refuses and JSON allows


@pytest.mark.parametrize("nested", [in_brackets, in_lines, in_json])
def test_a_config_may_be_nested_a_hundred_deep_and_no_deeper(written, nested):
    assert list(yaml_file.read(written(nested(100)))) == ["a"]
    for depth in (101, 1_400):
        with pytest.raises(PipelineError, match=DEEP):
            yaml_file.read(written(nested(depth)))


def test_brackets_in_a_text_nest_nothing(written):
    assert yaml_file.read(written(f"a: '{'[' * 500}'  # {'[' * 500}")) == {"a": "[" * 500}


ALIASES = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in pairwise("abcdefghij")
)


@pytest.mark.parametrize("text", [ALIASES, "a: &a [1, *a]\n", "a: &a {b: *a}\n", "a: [" + "1," * 1_000])
def test_a_config_may_stand_for_so_many_values_and_no_more(written, monkeypatch, text):
    monkeypatch.setattr(yaml_file, "MOST_VALUES", 1_000)
    with pytest.raises(PipelineError, match=r"has more than 1,000 keys and values, with each `\*alias` written out"):
        yaml_file.read(written(text))


def test_aliases_that_stand_for_few_values_are_read(written):
    assert yaml_file.read(written("a: &a [1, 2]\nb: [*a, *a]\n"))["b"] == [[1, 2], [1, 2]]


def deep(n):
    return '{"a": ' + "[" * (n - 1) + "]" * (n - 1) + "}\n"


@pytest.mark.parametrize(
    "read", [lambda path: [row for _, row in records.read_jsonl(path)], lambda path: [files.read_json(path)]]
)
def test_json_may_be_nested_a_hundred_deep_and_no_deeper(written, read):
    assert len(read(written(deep(100)))) == 1
    for depth in (101, 900, 200_000):
        with pytest.raises(PipelineError, match=DEEP):
            read(written(deep(depth)))


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_line_of_jsonl_has_a_longest_length(written, monkeypatch, pack):
    monkeypatch.setattr(records, "LONGEST_LINE", 40)
    lines = b'{"a": 1}\n' + b'{"a": "%s"}\n'
    assert len(list(records.read_jsonl(written(pack(lines % (b"x" * 30)))))) == 2
    with pytest.raises(PipelineError, match=r"its line 2 is longer than 40 bytes.*write each row on a line of its own"):
        list(records.read_jsonl(written(pack(lines % (b"x" * 31)))))


def test_a_line_of_csv_has_a_longest_length(written, monkeypatch):
    monkeypatch.setattr(csv_file, "LONGEST_LINE", 20)
    assert csv_file.read(written("a,b\n" + "x" * 17 + ",y\n")) == [{"a": "x" * 17, "b": "y"}]
    with pytest.raises(PipelineError, match="its line 2 is longer than 20 characters"):
        csv_file.read(written("a,b\n" + "x" * 18 + ",y\n"))


def test_a_file_of_one_endless_line_is_not_read_to_its_end(monkeypatch, tmp_path):
    path = tmp_path / "endless"
    with open(path, "wb") as file:
        file.truncate(1 << 36)  # 64 GB of zeros that take no room on the disk
    monkeypatch.setattr(records, "LONGEST_LINE", 1 << 16)
    monkeypatch.setattr(csv_file, "LONGEST_LINE", 1 << 16)
    for read in (lambda path: list(records.read_lines(path)), csv_file.read):
        with pytest.raises(PipelineError, match="longer than 65,536"):
            read(path)


def test_many_equal_keys_are_told_at_once(written):
    row = "{" + ", ".join(f'"k{n}": 1' for n in range(100_000)) + ', "k7": 2}'
    began = time.process_time()
    ((_, _, problem),) = records.read_lines(written(row))
    assert problem == "holds the key `k7` twice"
    assert time.process_time() - began < 5


@pytest.mark.parametrize(("duration", "is_fine"), [(records.LONGEST_S, True), (records.LONGEST_S + 1, False)])
def test_a_video_lasts_a_million_seconds_at_most(written, duration, is_fine):
    path = written(json.dumps({"qid": 1, "query": "a cat", "vid": "v", "duration": duration}))
    if is_fine:
        assert records.read_queries(path)[0].duration == duration
        return
    with pytest.raises(PipelineError, match="is longer than any video may be"):
        records.read_queries(path)


# ---- downloads ---------------------------------------------------------------------------------------------------

BODY = bytes(range(256)) * 400


@pytest.mark.parametrize("name", ["a.mp4", "a.zip"])
@pytest.mark.parametrize("connections", [1, 3])
@pytest.mark.parametrize("says_size", [True, False])
def test_a_file_of_unlisted_size_has_a_largest_one(tmp_path, monkeypatch, name, connections, says_size):
    monkeypatch.setattr(parts, "SEGMENT", 1 << 14)
    body = b"PK\3\4" + BODY
    key = "largest_archive_gb" if name == "a.zip" else "largest_file_gb"
    with breaking({f"/{name}": body}) as server:
        server.says_size = says_size
        wanted = Wanted(f"{server.url}/{name}", tmp_path / "f" / name, "it")
        settings = {"attempts": 1, "timeout_s": 5, "connections": connections}
        with pytest.raises(PipelineError, match=f"has more than 0.0001 GB.*raise acquire.{key}"):
            download(wanted, Acquire(**settings, **{key: 1e-4}))
        assert list(wanted.target.parent.iterdir()) == []
        download(wanted, Acquire(**settings, **{key: len(body) / 1e9}))
    assert wanted.target.read_bytes() == body


def test_a_server_that_sends_more_than_the_listed_size_is_left(tmp_path):
    with breaking({"/a.mp4": BODY}) as server:
        server.says_size = False
        wanted = Wanted(f"{server.url}/a.mp4", tmp_path / "f/a.mp4", "it", n_bytes=len(BODY) - 1)
        with pytest.raises(PipelineError, match="the server sends more than the 102,399 bytes of the file"):
            download(wanted, Acquire(attempts=1, timeout_s=5))
    assert list(wanted.target.parent.iterdir()) == []


# ---- videos ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    pytest.importorskip("av")
    from made_videos import make_video

    return make_video(tmp_path_factory.mktemp("film") / "film.mp4", [0, 20, 40])


def test_a_video_that_claims_vast_pictures_is_refused_without_the_memory_for_one(tmp_path):
    av = pytest.importorskip("av")
    from pipeline.video.probe import probe

    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("rawvideo", rate=5)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        file.mux(stream.encode(av.VideoFrame(320, 240, "yuv420p")))
    content = path.read_bytes()
    size, claimed = ((w).to_bytes(4, "little") + (h).to_bytes(4, "little") for w, h in ((320, 240), (60_000, 60_000)))
    assert size in content
    path.write_bytes(content.replace(size, claimed))
    with pytest.raises(PipelineError, match=r"of too many pixels; at most 35,651,584 are accepted"):
        probe(path)


def test_a_video_beyond_the_limit_of_pixels_is_told_how_to_make_it_smaller(film, monkeypatch):
    from pipeline.video import container, probe

    monkeypatch.setattr(container, "MOST_PIXELS", 64 * 48)
    assert probe.probe(film).width == 64
    monkeypatch.setattr(container, "MOST_PIXELS", 64 * 48 - 1)
    with pytest.raises(PipelineError, match=r"has pictures of 64 × 48 pixels; at most 3,071 are accepted.*scale="):
        probe.probe(film)
