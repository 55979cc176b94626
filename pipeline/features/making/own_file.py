"""Features of one file of one's own: a store with one key, the file's name without its suffix."""

from __future__ import annotations

from pathlib import Path

from pipeline import devices, files, names
from pipeline.config import Encoding
from pipeline.encoders.base import Weights
from pipeline.encoders.workers import workers
from pipeline.errors import PipelineError, readable
from pipeline.families import FAMILIES, Family, Passport
from pipeline.features.making.encode import FrameLine, LeftOut, Recipe, VideoFile, encode_videos
from pipeline.features.store import Store
from pipeline.features.store.passports import passport_differences
from pipeline.features.store.writer import StoreWriter
from pipeline.grids import grid_seconds, n_clips
from pipeline.video.probe import probe


def extract_own(video: Path, family: str, grid: str, weights: Weights, output: Path) -> Store:
    """Encode one video (or its sound) into the store `output`, with the defaults of `encoding:` in config.yaml.

    Raises PipelineError for a family that no video gives, for a file that cannot be read, and for an `output` that
    holds anything else, or that another process is at.
    """
    made_of_video(family)
    names.file_name(own_vid(video), "the name", video, "rename the file: its name is the vid")
    recipe = Recipe(family, grid, weights, Encoding().dtype)
    clips = n_clips(probe(video).duration, grid_seconds(grid))
    source = VideoFile(own_vid(video), video, files.sha256(video), {grid: clips})
    with files.lock(output):
        _refuse_others(output, source.vid, recipe.passport)
        with devices.claimed_for_torch() as device, StoreWriter(output, recipe.passport) as store:
            for row in _encode(source, recipe, store, device):
                raise PipelineError(row.why, where=video, remedy="replace the file, or name another grid")
    return Store([output])


def own_vid(video: Path) -> str:
    """The key of a file's rows: its name without the suffix, readable where the name is no UTF-8."""
    return readable(video.stem)


def made_of_video(family: str) -> Family:
    """The family of this name. Raises PipelineError where no video gives it."""
    known = {name: kind for name, kind in FAMILIES.items() if kind.reader not in (None, "words")}
    if family not in known:
        raise PipelineError("is not made of a video", where=family, remedy=f"name one of {', '.join(known)}")
    return known[family]


def _refuse_others(output: Path, stem: str, passport: Passport) -> None:
    """Raise PipelineError for a store that is there and holds another video, or this one's rows of another kind."""
    if not output.exists():
        return
    with Store([output]) as old:
        others = [key for key in old.keys() if key != stem]  # noqa: SIM118 - no dict
        differ = passport_differences(passport, old.passport)
    if others:
        raise PipelineError(f"holds {len(others)} other arrays ({others[0]} …)", where=output, remedy="name a new file")
    if differ:
        raise PipelineError(f"holds another kind: {'; '.join(differ)}", where=output, remedy="name a new file")


def _encode(source: VideoFile, recipe: Recipe, store: StoreWriter, device: str) -> list[LeftOut]:
    seconds = Encoding().seconds_per_video
    with workers(device) as threads:
        if FAMILIES[recipe.family].reader == "sound":
            from pipeline.features.making.sound import SoundLine, encode_sounds

            return encode_sounds([source], [SoundLine(recipe, store, device, threads)], seconds)
        return encode_videos([source], [FrameLine(recipe, store, device, threads)], seconds)
