"""Where a result comes from: revisions, families, manifests, and the no-op rule every stage follows.

A stage's declared output is its manifest: small, written last, equal bytes for equal work. Before importing anything
heavy a stage compares the digests of its inputs and its resolved settings with the manifest it wrote last time, and
ends when nothing changed: Snakemake deletes declared outputs before a job, and re-runs more than what changed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline import files
from pipeline.errors import PipelineError, is_printable, printable

STAGES: dict[str, int] = {
    "benchmark": 1,
    "fetch": 1,
    "unpack": 1,
    "annotate": 1,
    "videos": 2,
    "segment": 1,
    "extract": 1,
    "import": 1,
    "train": 3,
    "predict": 1,
    "score": 1,
    "tabulate": 1,
    "draw": 1,
}
"""The revision of every stage, by the name of its command."""


@dataclass
class Outcome:
    """What a stage's work left behind.

    files: everything it made and a later stage may read. counts: what a reader of the manifest wants to see.
    skipped: one row per thing left out, `{"vid": …, "why": …}` (or `qid`).
    """

    files: Iterable[Path] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    skipped: list[dict[str, str]] = field(default_factory=list)


def run_stage(
    stage: str,
    manifest: Path | str,
    work: Callable[[], Outcome],
    *,
    inputs: Iterable[Path | str] = (),
    settings: Mapping[str, Any] | None = None,
    under: Iterable[str] | None = None,
) -> bool:
    """Do `work` unless `manifest` says that it was done already; write the manifest. Returns whether work was done.

    inputs: the manifests (or plain files) the work reads. settings: everything else that can change a result, as
    JSON values. under: keep only those files of the input manifests whose path contains one of these parts, so that
    a change of PANN leaves a training on video alone untouched.
    A lock beside the manifest keeps a second process away (PipelineError).
    """
    manifest = Path(manifest)
    with files.lock(manifest):
        header = {
            "stage": stage,
            "revision": REVISIONS[stage],
            "settings": dict(settings or {}),
            "inputs": input_digests(inputs, under),
        }
        if is_done(manifest, header):
            bring_back(manifest)
            return False
        outcome = work()
        files.write_json(
            manifest,
            header
            | {
                "files": [describe(path) for path in sorted(map(Path, outcome.files))],
                "counts": dict(outcome.counts),
                "skipped": outcome.skipped,
            },
        )
        aside(manifest).unlink(missing_ok=True)
    return True


def input_digests(inputs: Iterable[Path | str], under: Iterable[str] | None = None) -> dict[str, str]:
    """Map each input to its SHA-256. A manifest stands for the files it lists: their recorded digests are taken."""
    digests: dict[str, str] = {}
    wanted = None if under is None else tuple(under)
    for path in map(Path, inputs):
        listed = _listed_files(path)
        if listed is None:
            digests[str(path)] = files.sha256(path)
            continue
        for entry in listed:
            if wanted is None or any(part in entry["path"] for part in wanted):
                digests[entry["path"]] = entry["sha256"]
    return digests


def describe(path: Path) -> dict[str, Any]:
    """One file as a manifest lists it: path, bytes, sha256."""
    return {"path": str(path), "bytes": path.stat().st_size, "sha256": files.sha256(path)}


def is_done(manifest: Path, header: Mapping[str, Any]) -> bool:
    """Whether the last work recorded at `manifest` is exactly this and every file it lists is there at its size."""
    old = last_record(manifest)
    return bool(old) and all(old.get(key) == header[key] for key in header) and is_whole(old)


def last_record(manifest: Path) -> dict[str, Any]:
    """What a stage's last work left: its manifest, or the one that was set aside (`stale.py`); empty without one."""
    for path in (manifest, aside(manifest)):
        with suppress(PipelineError):
            found = files.read_json(path)
            return found if isinstance(found, dict) else {}
    return {}


def aside(manifest: Path) -> Path:
    """Where a manifest lies that Snakemake is not to see."""
    return manifest.with_name(f".{manifest.name}.aside")


def manifest_of(hidden: Path) -> Path:
    """The way back from `aside`."""
    return hidden.with_name(hidden.name.removeprefix(".").removesuffix(".aside"))


def bring_back(manifest: Path) -> None:
    """Let Snakemake see a manifest, with a fresh time."""
    if not manifest.exists():
        os.replace(aside(manifest), manifest)
    os.utime(manifest)


def is_whole(manifest: Mapping[str, Any]) -> bool:
    """Whether every file that a manifest lists exists at the size it had."""
    for entry in manifest.get("files", ()):
        try:
            if os.stat(entry["path"]).st_size != entry["bytes"]:
                return False
        except OSError:
            return False
    return True


def files_of(manifest: Path | str) -> list[Path]:
    """The files a manifest lists. Raises PipelineError where it is missing or none."""
    listed = _listed_files(Path(manifest))
    if listed is None:
        raise PipelineError("is no manifest of this pipeline", where=manifest, remedy="delete it and run again")
    return [Path(entry["path"]) for entry in listed]


def files_behind(path: Path) -> list[Path]:
    """The files that a manifest lists; any other path stands for itself."""
    return files_of(path) if path.suffix == ".json" else [path]


def _listed_files(path: Path) -> list[dict[str, Any]] | None:
    if path.suffix != ".json":
        return None
    content = files.read_json(path)
    if not (isinstance(content, dict) and "stage" in content and isinstance(content.get("files"), list)):
        return None
    listed: list[dict[str, Any]] = content["files"]
    for entry in listed:
        if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in ("path", "sha256")):
            return None
        if not entry["path"] or not is_printable(entry["path"]):
            why = f"lists a path that cannot be printed ({printable(entry['path'])})"
            raise PipelineError(why, where=path, remedy="delete it, rename that file and run again")
    return listed


@dataclass(frozen=True)
class Family:
    """One exact kind of feature: what makes it and the length of a row.

    reader: `frames224`, `native`, `sound` or `words`; None for families that only an archive has ("released only").
    encoder: its class, `module:Class`; None for families that only an archive has.
    weights: names in sources.csv, in the order the encoder takes them; none where nobody has them.
    instead_of: the released family that this one stands in for, because nobody can make that one again.
    looked_up: words taken from a table while training in the released systems, so that no archive holds them: every
    experiment makes them. revision: raised when the numbers change.
    """

    reader: str | None
    dim: int
    encoder: str | None = None
    weights: tuple[str, ...] = ()
    instead_of: str | None = None
    looked_up: bool = False
    revision: int = 1


CLIP = ("clip-vit-b32",)
GLOVE = ("glove-6b",)
PANN = ("pann-cnn14",)

FAMILIES: dict[str, Family] = {
    "clip-vit-b32": Family("frames224", 512, "pipeline.encoders.clip:ImageEncoder", CLIP, revision=2),
    "clip-text": Family("words", 512, "pipeline.encoders.clip:TextEncoder", CLIP),
    "clip-token-table": Family("words", 512, "pipeline.encoders.clip:TokenTable", CLIP),
    "glove-6b-300d": Family("words", 300, "pipeline.encoders.glove:GloVe", GLOVE, looked_up=True),
    "glove-6b-300d-kept-stop": Family("words", 300, "pipeline.encoders.glove:GloVeKeptStop", GLOVE, looked_up=True),
    "slowfast-r50-caffe2": Family(
        "frames224", 2304, "pipeline.encoders.slowfast:Caffe2SlowFast", ("slowfast-r50-caffe2",), revision=2
    ),
    "slowfast-r50-pytorchvideo": Family(
        "frames224", 2304, "pipeline.encoders.slowfast:PytorchvideoSlowFast", ("slowfast-r50-pytorchvideo",), revision=2
    ),
    "i3d-resnet50": Family("frames224", 2048, "pipeline.encoders.i3d_resnet:ResNetI3D", ("i3d-resnet50",), revision=2),
    "i3d-inception-rgb-tvsum": Family(
        "native", 1024, "pipeline.encoders.i3d:TvsumRgb", ("i3d-inception-rgb-kinetics",), revision=2
    ),
    "i3d-inception-flow-tvsum": Family(None, 1024),
    "i3d-inception-flow-raft-tvsum": Family(
        "native",
        1024,
        "pipeline.encoders.i3d:TvsumFlow",
        ("i3d-inception-flow-kinetics", "raft-large"),
        instead_of="i3d-inception-flow-tvsum",
        revision=2,
    ),
    "i3d-inception-rgb-charades": Family(
        "native", 1024, "pipeline.encoders.i3d:CharadesRgb", ("i3d-inception-rgb-charades",), revision=2
    ),
    "vgg16-imagenet": Family(
        "native", 4096, "pipeline.encoders.vgg:Vgg16", ("vgg16-imagenet",), instead_of="vgg16-charades", revision=2
    ),
    "vgg16-charades": Family(None, 4096),
    "vgg16-flow-charades": Family(None, 4096),
    "pann-cnn14": Family("sound", 2048, "pipeline.encoders.pann:Cnn14", PANN, revision=2),
    "pann-cnn14-centred": Family(
        "sound", 2048, "pipeline.encoders.pann:Cnn14", PANN, instead_of="pann-cnn14-charades", revision=2
    ),
    "pann-cnn14-charades": Family(None, 2048),
}

REVISIONS: dict[str, int] = STAGES | {name: family.revision for name, family in FAMILIES.items()}
"""Of every stage and family: raised when its numbers change, so that a fixed bug is visible to re-runs."""


@dataclass(frozen=True)
class Passport:
    """What says that two arrays are of one kind: the root attributes of every feature store.

    origin: `raw`, or the released archive's name in sources.csv. weights: digest of the weight file, `random:{seed}`,
    or `released`. grid: `2s`, `1s`, `0.5s`, `1-6s` or `tokens`. dim: length of a row. dtype: `float16` or `float32`.
    preprocessing: one line that names sampling, resize filter, crop and normalisation.
    """

    family: str
    revision: int
    origin: str
    weights: str
    grid: str
    dim: int
    dtype: str
    preprocessing: str
