"""Every parser of files from strangers against thousands of damaged ones: a value or a refusal, and nothing else.

The ordinary suite tries a few of each; `make test-fuzz` ten thousand. Inputs are made by a grammar of each format or
taken whole, and then mutated by the bytes. The limits for the files of a parser are listed with each parser.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import shutil
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

import h5py
import numpy as np
import pytest
from mutations import FEW, MANY, fuzzed, mutated

from pipeline import records, yaml_file
from pipeline.acquire import archives, sources
from pipeline.datasets import own_table
from pipeline.errors import PipelineError
from pipeline.families import FAMILIES, Passport
from pipeline.features.exchange import array_files
from pipeline.features.store import POOLED, Store
from pipeline.features.store.bulk import read_packed
from pipeline.video.segment import read_segments, read_videos

MEMORY = 400 << 20
"""The memory that the files of one parser may need at a time, in addition to that of its libraries: 400 MiB."""


HDF5_LOOPS = 20
"""HDF5 keeps texts in a heap. If an object in it has the length zero, HDF5 reads it again without end."""
CRASHES_OF_FFMPEG = 3
"""The stage `videos` survives a file that crashes FFmpeg or makes it hang (`video/supervised.py`)."""


@dataclass(frozen=True)
class Parser:
    """A parser, and whole files that it reads.

    seeds: made once. refusals: how it says no. may_die: the largest number of inputs in ten thousand that may end the
    process, for a library that nobody here can mend.
    """

    parse: Callable[[Path], object]
    seeds: Callable[[], Sequence[bytes]]
    suffix: str
    refusals: tuple[type[Exception], ...] = (PipelineError,)
    may_die: int = 0


def jsonl() -> list[bytes]:
    row = {"qid": 1, "query": "a cat", "vid": "v", "duration": 30.0, "relevant_windows": [[0, 8.5]]}
    whole = (json.dumps(row) + "\n").encode()
    rows = [
        row,
        row | {"qid": "ä", "saliency_scores": [[1, 2, 4]], "relevant_clip_ids": [3]},
        row | {"query": "\ud83d"},
    ]
    text = "".join(json.dumps(one) + "\n" for one in rows).encode()
    deep = b'{"qid": ' + b"[" * 5_000 + b"]" * 5_000 + b"}\n"
    return [
        whole,
        gzip.compress(whole),
        whole * 3,
        text,
        deep,
        b'{"duration": 1e999, "qid": NaN, "qid": -Infinity}\n' + text,
        b"\xef\xbb\xbf" + text,
    ]


def read_jsonl(path: Path) -> None:
    list(records.read_lines(path))
    records.read_queries(path)


def own_csv() -> list[bytes]:
    rows = ["video,query,start,end,score,split", 'a.mp4,"a, ""cat""",0,2.5,4,train', "b.mp4,dog,1:30,2:00,3,val"]
    return ["\n".join(rows).encode(), "\r\n".join(rows).encode(), ("\ufeff" + "\n".join(rows)).encode()]


def read_own_csv(path: Path) -> None:
    (path.parent / "a.mp4").touch()
    own_table.read(path, path.parent)


def our_tables() -> list[bytes]:
    return [
        sources.PACKAGED.read_bytes()[:3_000],
        b"member,bytes\na/b.npz,12\n",
        b"vid,status,clip_s,n_clips\na,ok,2,4\n",
        b"vid,status,why,path,bytes,duration_s,fps,sha256,source,annotated_s\na,ok,,a.mp4,3,460460/15000,30,x,s,8.0\n",
    ]


def read_our_tables(path: Path) -> None:
    said = []
    for read in (sources.load, archives.read_index, read_segments, read_videos):
        try:
            read(path)
        except PipelineError as error:
            said.append(error)
    if len(said) == 4:
        raise said[0]


def yaml() -> list[bytes]:
    bomb = b"a: &a [x, x, x, x, x, x, x, x, x]\n" + b"".join(
        b"%c: &%c [%s]\n" % (n + 1, n + 1, b", ".join([b"*%c" % n] * 9)) for n in range(ord("a"), ord("k"))
    )
    return [
        b"acquire: {sources: s.csv}\ntraining:\n  tvsum: {epochs: 2, seeds: [1, 2]}\n"
        b"experiments: {a: &x {row: 1}, b: *x}\n",
        b'{"a": {"b": [1, 2, null]}, "c": "2020-01-01"}\n\t',
        b"a: " + b"[" * 150 + b"]" * 150,
        b"? {a: 1}\n: 2\n<<: [{b: 1}, {c: !!python/object/apply:os.system [ls]}]\n",
        bomb,
        b"a: 0x" + b"9" * 5_000 + b"\nb: 1" + b":59" * 400,
    ]


def npy() -> list[bytes]:
    found = []
    for array in (np.arange(12.0).reshape(3, 4), np.zeros((0, 3), "f2"), np.array([{}], object), np.array(["x"])):
        for version in ((1, 0), (2, 0), (3, 0)):
            file = io.BytesIO()
            np.lib.format.write_array(file, array, version, allow_pickle=True)
            found.append(file.getvalue())
    return found


def npz() -> list[bytes]:
    found = []
    for save in (np.savez, np.savez_compressed):
        file = io.BytesIO()
        save(file, features=np.ones((5, 4), "f4"), other=np.arange(3))
        found.append(file.getvalue())
    return found


def stores() -> list[bytes]:
    passport = Passport("clip-vit-b32", 1, "raw", "random:0", "2s", 8, "float32", "none")
    found = []
    for version, packing in (("latest", {}), ("earliest", {}), ("latest", {"compression": "gzip", "fletcher32": True})):
        file = io.BytesIO()
        with h5py.File(file, "w", libver=version) as made:
            for name, value in asdict(passport).items():
                made.attrs[name] = value
            for key in "ab":
                made.create_dataset(key, data=np.ones((4, 8), "f4"), **packing)
            made[f"{POOLED}/a"] = np.ones(8, "f4")
        found.append(file.getvalue())
    return found


def read_store(path: Path) -> None:
    with Store([path]) as store:
        for key in store.keys():  # noqa: SIM118 - no dict
            store.entry(key)
        read_packed(store, store.keys())


def weights() -> list[bytes]:
    from safetensors.numpy import save

    tensors = {"a.weight": np.ones((2, 3), np.float32), "a.bias": np.zeros(3, np.float16)}
    whole = save(tensors, {"origin": "x"})
    huge = json.dumps({"a": {"dtype": "F32", "shape": [2**60, 2**60], "data_offsets": [0, 2**62]}}).encode()
    return [whole, struct.pack("<Q", len(huge)) + huge + bytes(8), struct.pack("<Q", 2**63) + whole[8:]]


def read_weights(path: Path) -> None:
    from pipeline.encoders.state import read_safetensors
    from pipeline.training.checkpoint import read_weights

    shutil.copy(path, path.with_name("selected.safetensors"))
    read_safetensors(("a",))(path, "it")
    read_weights(path.parent, "selected", "cpu")


def cards() -> list[bytes]:
    from pipeline.methods.tr_detr.settings import TrDetrSettings

    def passport(family: str, grid: str) -> dict[str, object]:
        kind = FAMILIES[family]
        return asdict(Passport(family, kind.revision, "raw", "random:0", grid, kind.dim, "float16", kind.preprocessing))

    card = {
        "dataset": "qvhighlights",
        "experiment": "seen",
        "features": {"clip-vit-b32": passport("clip-vit-b32", "2s"), "clip-text": passport("clip-text", "tokens")},
        "reads": {"video": ["clip-vit-b32"], "audio": [], "text": "clip-text"},
        "threads": 2,
        "longest_clips": 75,
        "model": TrDetrSettings().model_dump(mode="json"),
        "training": {},
    }
    return [json.dumps(card, indent=2).encode()]


def read_card(path: Path) -> None:
    from pipeline.asking.card import read_card as read

    shutil.copy(path, path.with_name("card.json"))
    read(path.parent)


def tars() -> list[bytes]:
    found = []
    for mode in ("w:", "w:gz", "w:xz"):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode=mode) as made:
            for name, kind in (
                ("a/b.npz", tarfile.REGTYPE),
                ("../../escaped", tarfile.REGTYPE),
                ("link", tarfile.SYMTYPE),
            ):
                info = tarfile.TarInfo(name)
                info.type, info.size, info.linkname = kind, 600 if kind == tarfile.REGTYPE else 0, "/etc/passwd"
                made.addfile(info, io.BytesIO(b"x" * info.size))
                if name == "a/b.npz":
                    found.append(file.getvalue() + bytes(1024))
        found.append(file.getvalue())
    return [one for one in found if one.strip(b"\0")]


def zips() -> list[bytes]:
    found = []
    for names in (("a/b.npz", "c.txt"), ("../x",), ("inner.zip", "d")):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
            for name in names:
                made.writestr(name, found[0] if name == "inner.zip" else b"x" * 500)
        found.append(file.getvalue())
    return found


def unpack(path: Path) -> None:
    target = path.parent / "out" / "files"
    shutil.rmtree(target, ignore_errors=True)
    unpacking = archives.Unpacking(target, 1 << 22, "fetch it again")
    unpacking.add(path, PurePosixPath())
    beside = [found.name for found in (path.parent / "out").iterdir()] if target.exists() else ["files"]
    assert beside == ["files"], beside


def glove() -> list[bytes]:
    line = b"cat " + b" ".join([b"0.5"] * 300) + b"\n"
    found = []
    for text, packing in (
        (line + b"dog " + line[4:], zipfile.ZIP_DEFLATED),
        (line + b"x" * 70_000, zipfile.ZIP_STORED),
    ):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", packing) as made:
            made.writestr("glove.6B.300d.txt", text)
        found.append(file.getvalue())
    return found


def read_glove(path: Path) -> None:
    from pipeline.encoders.base import Weights
    from pipeline.encoders.glove import GloVe

    for old in path.parent.glob("glove*"):
        old.unlink()
    GloVe(Weights.named("released", path), "cpu", ["a cat"], strips_full_stop=True)


def checkpoints() -> list[bytes]:
    import argparse

    import torch

    found = []
    for new in (True, False):
        file = io.BytesIO()
        content = {"model": {"w": torch.ones(2, 3)}, "opt": argparse.Namespace(a=1, b="x"), "epoch": 3}
        torch.save(content, file, _use_new_zipfile_serialization=new)
        found.append(file.getvalue())
    return found


def read_checkpoint(path: Path) -> None:
    from pipeline.encoders.state import tensors_by_name
    from pipeline.released import container

    try:
        tensors_by_name(path, "it", inside="model")
    except PipelineError:
        container.read(path)


def videos() -> list[bytes]:
    """Return whole videos of half a second in the containers of the datasets and of strangers."""
    from made_videos import make_video

    kinds = {"mp4": "libx264", "mkv": "libx264", "ts": "libx264", "flv": "libx264", "avi": "mpeg4", "webm": "libvpx"}
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for suffix, codec in kinds.items():
            sound_s = 0.5 if suffix in ("mp4", "mkv") else 0.0
            path = Path(folder, f"a.{suffix}")
            found.append(make_video(path, range(0, 300, 30), sound_s=sound_s, codec=codec, rate=20).read_bytes())
    return found


def probe(path: Path) -> None:
    from pipeline.video.probe import probe

    probe(path)


PARSERS = {
    "JSONL": Parser(read_jsonl, jsonl, ".jsonl"),
    "CSV of one's own": Parser(read_own_csv, own_csv, ".csv"),
    "CSV of ours": Parser(read_our_tables, our_tables, ".csv"),
    "YAML": Parser(yaml_file.read, yaml, ".yaml"),
    "npy": Parser(array_files.read_npy, npy, ".npy", (ValueError,)),
    "npz": Parser(array_files.read_npz, npz, ".npz", (ValueError,)),
    "HDF5": Parser(read_store, stores, ".h5", may_die=HDF5_LOOPS),
    "safetensors": Parser(read_weights, weights, ".st"),
    "card": Parser(read_card, cards, ".json"),
    "tar": Parser(unpack, tars, ".tar"),
    "zip": Parser(unpack, zips, ".zip"),
    "GloVe": Parser(read_glove, glove, ".zip"),
    "checkpoint": Parser(read_checkpoint, checkpoints, ".ckpt"),
    "probe": Parser(probe, videos, ".mp4", may_die=CRASHES_OF_FFMPEG),
}


@lru_cache
def seeds_of(name: str) -> Sequence[bytes]:
    return PARSERS[name].seeds()


def content(name: str, turn: int) -> bytes:
    """Return the input with this number. The first ones are whole."""
    seeds = seeds_of(name)
    dice = random.Random(f"{name} {turn}")
    return seeds[turn] if turn < len(seeds) else mutated(dice, dice.choice(seeds))


def warmed(parser: Parser, name: str, folder: Path) -> None:
    """Import what the parser needs, so that the process that is measured has it."""
    folder.mkdir()
    for seed in seeds_of(name)[:2]:
        (folder / f"a{parser.suffix}").write_bytes(seed)
        with suppress(*parser.refusals):
            parser.parse(folder / f"a{parser.suffix}")


@pytest.mark.parametrize("count", [FEW, pytest.param(MANY, marks=pytest.mark.fuzz)], ids=["few", "many"])
@pytest.mark.parametrize("name", PARSERS)
def test_a_damaged_file_is_read_or_refused_in_one_line(tmp_path, name, count, record_property):
    parser = PARSERS[name]
    warmed(parser, name, tmp_path / "warm")
    told = fuzzed(
        parser.parse, lambda turn: content(name, turn), count, tmp_path / "in", f"a{parser.suffix}", parser.refusals
    )
    print(
        f"| {name} | {count:,} | {told.read:,} | {told.refused:,} | {len(told.died)} | {told.seconds:.0f}"
        f" | {told.slowest_s:.2f}"
        f" | {told.peak_bytes / 2**20:.0f} |"
    )
    bad = told.faults + (told.died if len(told.died) > parser.may_die else [])
    assert not bad, "\n\n".join(f"{found[:2000]!r}\n{why}" for found, why in bad)
    assert told.read + told.refused + len(told.died) == count
    assert told.refused > count / 20
    assert told.peak_bytes < MEMORY
