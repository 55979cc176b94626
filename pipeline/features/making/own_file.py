"""Makes features of a single file of the user. The store gets one key: the file's name without its suffix."""

from __future__ import annotations

from pathlib import Path

from pipeline import devices, files, locks, names
from pipeline.config import Encoding
from pipeline.encoders.base import Weights
from pipeline.encoders.workers import workers
from pipeline.errors import PipelineError, readable
from pipeline.families import FAMILIES, Family, Passport
from pipeline.features.making.encode import encode_videos
from pipeline.features.making.frame_rows import FrameRowMaker
from pipeline.features.making.recipe import Recipe, Skipped, VideoFile
from pipeline.features.store import Store
from pipeline.features.store.passports import passport_differences
from pipeline.features.store.writer import StoreWriter
from pipeline.grids import grid_seconds, n_clips
from pipeline.nouns import counted
from pipeline.video.looking import duration_of


def extract_own(video: Path, family: str, grid: str, weights: Weights, output: Path) -> Store:
    """Encode one video (or its sound) into the store `output`, with the defaults of the section `encoding`.

    Raises PipelineError for a family that is not made from videos, for a file that cannot be read, for an `output` that
    holds other rows, and if another process writes to `output`.
    """
    made_of_video(family)
    names.file_name(own_vid(video), "the name", video, "rename the file: its name is the vid")
    recipe = Recipe(family, grid, weights, Encoding().dtype)
    clips = n_clips(duration_of(video), grid_seconds(grid))
    source = VideoFile(own_vid(video), video, files.sha256(video), {grid: clips})
    with locks.lock(output):
        _refuse_others(output, source.vid, recipe.passport)
        with devices.claimed_for_torch() as device, StoreWriter(output, recipe.passport) as store:
            for row in _encode(source, recipe, store, device):
                raise PipelineError(row.why, where=video, remedy="replace the file, or name another grid")
    return Store([output])


def own_vid(video: Path) -> str:
    """Return the key of a file's rows: its name without the suffix. Bytes that are not UTF-8 are written as escapes."""
    return readable(video.stem)


def made_of_video(family: str) -> Family:
    """Return the family of this name. Raises PipelineError if the family is not made from videos or their sound."""
    known = {name: kind for name, kind in FAMILIES.items() if kind.reader not in (None, "words")}
    if family not in known:
        raise PipelineError("is not made of a video", where=family, remedy=f"name one of {', '.join(known)}")
    return known[family]


def _refuse_others(output: Path, stem: str, passport: Passport) -> None:
    """Raise PipelineError if `output` is a store with other videos, or with rows of another passport."""
    if not output.exists():
        return
    with Store([output]) as old:
        others = [key for key in old.keys() if key != stem]  # noqa: SIM118 - no dict
        differ = passport_differences(passport, old.passport)
    if others:
        raise PipelineError(
            f"holds {counted(len(others), 'other array')} ({others[0]} …)",
            where=output,
            remedy="name a new file as --output",
        )
    if differ:
        raise PipelineError(
            f"has another passport: {'; '.join(differ)}",
            where=output,
            remedy="name a new file as --output",
        )


def _encode(source: VideoFile, recipe: Recipe, store: StoreWriter, device: str) -> list[Skipped]:
    seconds = Encoding().seconds_per_video
    with workers(device) as threads:
        if FAMILIES[recipe.family].reader == "sound":
            from pipeline.features.making.sound import SoundRowMaker, encode_sounds

            return encode_sounds([source], [SoundRowMaker(recipe, store, device, threads)], seconds)
        return encode_videos([source], [FrameRowMaker(recipe, store, device, threads)], seconds)
