"""Features of one file of one's own: a store with one key, the file's name without its suffix."""

from __future__ import annotations

from pathlib import Path

from pipeline import devices, files
from pipeline.config import Encoding
from pipeline.encoders.base import Weights
from pipeline.errors import PipelineError
from pipeline.features.encode import Recipe, Source
from pipeline.features.store import Store
from pipeline.features.store_writer import StoreWriter
from pipeline.provenance import FAMILIES, Family
from pipeline.video.probe import probe
from pipeline.video.segment import grid_seconds, n_clips


def extract_own(video: Path, family: str, grid: str, weights: Weights, output: Path) -> Store:
    """Encode one video (or its sound) into the store `output`, with the defaults of `encoding:` in config.yaml.

    Raises PipelineError for a family that no video gives, for a file that cannot be read, and for an `output` that
    holds anything else.
    """
    reader = made_of_video(family).reader
    if output.exists():
        with Store([output]) as old:
            if others := [key for key in old.keys() if key != video.stem]:  # noqa: SIM118 - no dict
                raise PipelineError(
                    f"holds {len(others)} other arrays ({others[0]} …)", where=output, remedy="name a new file"
                )
    default = Encoding()
    recipe = Recipe(family, grid, weights, default.dtype)
    with devices.claimed_for_torch() as device:
        if reader == "sound":
            return _from_sound(video, recipe, output, device, default.seconds_per_video)
        from pipeline.features.extract import extract_file

        return extract_file(video, recipe, output, device, default.seconds_per_video)


def made_of_video(family: str) -> Family:
    """The family of this name. Raises PipelineError where no video gives it."""
    known = {name: kind for name, kind in FAMILIES.items() if kind.reader not in (None, "words")}
    if family not in known:
        raise PipelineError("is not made of a video", where=family, remedy=f"name one of {', '.join(known)}")
    return known[family]


def _from_sound(video: Path, recipe: Recipe, output: Path, device: str, seconds: float) -> Store:
    from pipeline.features.sound import Line, encode_sounds

    clips = n_clips(probe(video).duration, grid_seconds(recipe.grid))
    source = Source(video.stem, video, files.sha256(video), {recipe.grid: clips})
    with StoreWriter(output, recipe.passport) as store:
        for row in encode_sounds([source], [Line(recipe, store, device)], seconds):
            raise PipelineError(row["why"], where=video, remedy="replace the file")
    return Store([output])
