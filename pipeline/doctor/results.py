"""Finds what is present of each dataset, stage by stage, and which of its files are missing or damaged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pipeline.config import Config
from pipeline.doctor.case import Case
from pipeline.doctor.findings import Finding, named, note, ok, problem
from pipeline.doctor.integrity import examine, rows_of
from pipeline.families import FAMILIES
from pipeline.layout import Layout
from pipeline.nouns import counted
from pipeline.shards import shard_names

FILES = "files"
SHOWN = 8
"""Largest number of faults with a line of their own."""
GB = 1e9


def check(case: Case) -> Iterator[Finding]:
    """Yield findings about what is present of each dataset, and about damaged files."""
    if case.needs is not None:
        for name in case.needs.of_datasets:
            yield of_dataset(name, case.needs.cfg, case.layout)
    yield from _faults(case)


def of_dataset(name: str, cfg: Config, layout: Layout) -> Finding:
    """Return a finding about how many manifests of each stage exist, and how many the config asks for."""
    parts = []
    for stage, manifests in expected(name, cfg, layout).items():
        there = sum(path.is_file() for path in manifests)
        if manifests:
            parts.append(f"{stage} {there} of {len(manifests)}")
    text = ", ".join(parts) or "nothing is asked for"
    absent = Counter(row["status"] for path in layout.accounts(name) for row in rows_of(path))
    usable = absent.pop("ok", 0)
    if usable or absent:
        text += f"; {counted(usable, 'video')} usable" + "".join(f", {n:,} {status}" for status, n in absent.items())
    if absent and cfg.datasets[name].missing == "fail" and set(absent) - {"skipped"}:
        remedy = f"see {layout.account(name, '*')}; to train without those of val: `missing: skip` of the dataset"
        return note(name, text, remedy)
    return ok(name, text)


def expected(name: str, cfg: Config, layout: Layout) -> dict[str, list[Path]]:
    """Return stage → the manifests that the config asks for, in the order of the data flow."""
    dataset, made = cfg.datasets[name], cfg.made(name)
    experiments = {key: e for key, e in cfg.experiments.items() if e.dataset == name}
    trained = {key: e for key, e in experiments.items() if e.source != "predictions"}
    readers = sorted({str(FAMILIES[family].reader) for family in made})
    shards = shard_names(dataset.shards)
    of_videos = shards if set(readers) - {"words"} else []
    return {
        "annotate": [layout.manifest("annotations", dataset=name, split=split) for split in dataset.annotations],
        "videos": [layout.manifest("videos", dataset=name, shard=shard) for shard in of_videos],
        "segment": [layout.manifest("segments", dataset=name, shard=shard) for shard in of_videos],
        "extract": [layout.manifest("features", dataset=name, reader=r, shard=s) for r in readers for s in shards],
        "import": [layout.manifest("archive", dataset=name, name=archive) for archive in cfg.archived(name)],
        "train": [layout.manifest("runs", experiment=key, part=part) for key, e in trained.items() for part in e.parts],
        "predict": [layout.manifest("predictions", experiment=key) for key in trained],
        "score": [layout.manifest("metrics", experiment=key, split=e.report) for key, e in experiments.items()],
    }


def _faults(case: Case) -> Iterator[Finding]:
    found = examine(case.layout, all_digests=case.invocation.digests)
    faults = sorted(found.faults, key=lambda fault: fault.is_found)  # those that the run does not find come first
    for fault in faults[:SHOWN]:
        kind = note if fault.is_found else problem
        yield kind(FILES, f"{fault.where} {fault.why}", fault.remedy)
    if hidden := faults[SHOWN:]:
        kind = note if all(fault.is_found for fault in hidden) else problem
        what = f"{len(hidden)} more are missing or damaged: {named(fault.where for fault in hidden)}"
        yield kind(FILES, what, "do the same for these")
    if found.by_digest or found.by_size:
        by_size = f"; {found.by_size:,} ({found.bytes_by_size / GB:,.1f} GB) by size alone: --digests reads all"
        whole = found.by_digest - sum("other bytes" in fault.why for fault in found.faults)
        text = f"{counted(whole, 'file')} with the digest that was written down"
        yield ok(FILES, text + (by_size if found.by_size else ""))
    elif not found.faults:
        yield ok(FILES, "no results yet" if not any(case.layout.manifests()) else "no manifest lists a file")
