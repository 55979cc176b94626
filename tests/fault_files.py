"""Faults of files: each is damaged or deleted, while nothing runs or just before it is read."""

from __future__ import annotations

import json
import os
import random
import re
from pathlib import Path

from fault_chain import Chain, killed_in_the_second_epoch
from fault_outcome import AGAIN, JOBS, must_be_equal, refused, undo

HOWS = ("deleted", "truncated", "one bit flipped")

KINDS = {
    "a fetched file": ("results/resources/train/train.jsonl", "annotate"),
    "a fetched video": ("results/resources/videos/files/BBBBBBBBBBB_0.0_8.0.mp4", "extract"),
    "annotations": ("results/annotations/qvhighlights/train.jsonl", "train"),
    "the account of videos": ("results/videos/qvhighlights/00001.csv", "segment"),
    "clips": ("results/segments/qvhighlights/2s/00001.csv", "extract"),
    "a store": ("results/features/qvhighlights/2s/clip-vit-b32/00001.h5", "train"),
    "weights": ("results/runs/seen/all-s2017/selected.safetensors", "predict"),
    "a learning curve": ("results/runs/seen/all-s2017/log.csv", "draw"),
    "a run's card": ("results/runs/seen/all-s2017/card.json", "predict"),
    "predictions": ("results/runs/seen/all-s2017/predictions/val-selected.jsonl", "score"),
    "metrics": ("results/metrics/seen/all-s2017/val-selected.json", "tabulate"),
    "a table": ("results/tables/table1.csv", ""),
    "a figure": ("results/figures/seen.svg", ""),
}
"""Kind of file → one of its kind, and the stage that reads it."""

MANIFESTS = {f"the manifest of {stage}": job for stage, job in JOBS.items()}
STARTS = {
    "the account of videos": "videos 00001",
    "a fetched video": "videos 00001",
    "clips": "segment",
    "a store": "extract",
    "weights": "train seen",
    "a learning curve": "train seen",
    "a run's card": "train seen",
    "predictions": "predict seen",
    "metrics": "score seen",
    "a table": "tabulate",
    "a figure": "draw seen",
}
"""Kind of file → the first job that has to do with it. Those before it have no work, whatever happens to the file."""


def delete(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path, dice: random.Random, bit: int | None = None) -> None:
    """Turn one bit round, as a disk does: size and time stay. bit: which of the byte's, or any."""
    state, content = path.stat(), bytearray(path.read_bytes())
    content[dice.randrange(len(content))] ^= 1 << (dice.randrange(8) if bit is None else bit)
    path.write_bytes(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def damage(how: str, path: Path, dice: random.Random) -> None:
    """Do it to one file."""
    if how == "one bit flipped":
        flip(path, dice)
    else:
        {"deleted": delete, "truncated": truncate}[how](path)


def damaged(how: str, kind: str, chain: Chain, dice: random.Random) -> str:
    """Damage a file while nothing runs, and start the same commands again."""
    path = chain.folder / (KINDS[kind][0] if kind in KINDS else chain.job(MANIFESTS[kind]).manifest)
    damage(how, path, dice)
    first = STARTS.get(kind, "")
    ended = chain.again(first)
    if ended is not None:
        assert "delete it and run" in ended.line, ended
        return refused(chain, ended, path.unlink, first)
    assert chain.differences() == [], chain.differences()
    return AGAIN


def read_when_damaged(how: str, kind: str, chain: Chain, dice: random.Random) -> str:
    """Damage a file just before the one stage that reads it begins to work."""
    name, reader = KINDS[kind]
    undo(chain, reader)
    damage(how, chain.folder / name, dice)
    ended = chain.run(chain.job(JOBS[reader]))

    def advised() -> None:
        assert any(advice in ended.line for advice in ADVICE), ended
        (chain.folder / name).unlink(missing_ok=True)
        if "manifest under videos/" in ended.line:
            chain.forget("videos 00001")

    return refused(chain, ended, advised, STARTS.get(kind, ""))


def state(how: str, chain: Chain, dice: random.Random) -> str:
    """Damage the state that a killed training goes on from."""
    undo(chain, "train")
    chain.run(chain.job(JOBS["train"]), killed_in_the_second_epoch)
    path = chain.results / "runs/seen/all-s2017/state.pt"
    damage(how, path, dice)
    ended = chain.run(chain.job(JOBS["train"]))
    if ended.code:
        return refused(chain, ended, path.unlink, JOBS["train"])
    must_be_equal(chain, JOBS["train"])
    return AGAIN


def another_count(kind: str, chain: Chain, dice: random.Random) -> str:
    """Flip a bit in the counts of a manifest, so that it is valid JSON as before."""
    path = chain.folder / chain.job(MANIFESTS[kind]).manifest
    content = path.read_text()
    place = re.search(r'"counts": {\s+"[^"]+": \d*(?=\d)', content).end()
    path.write_text(content[:place] + str(int(content[place]) ^ 1) + content[place + 1 :])
    assert json.loads(path.read_text()) != json.loads(content)
    must_be_equal(chain)
    return AGAIN


ADVICE = ("delete it and run", "which makes it again", "manifest under videos/")
