"""Makes the rows of a user's video with the code of the stage `extract`, and keeps them beside the video.

One folder belongs to one video: `{video}.rows/`. It holds a store for each family, named after the family and a digest
of its passport, and `video.json`: digest, length and title of the file, so that a second question reads no video.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from pipeline import devices, files, locks, names
from pipeline.config import Encoding
from pipeline.encoders.workers import workers
from pipeline.errors import PipelineError, readable
from pipeline.families import FAMILIES, Passport
from pipeline.features.making.encode import encode_videos
from pipeline.features.making.frame_rows import FrameRowMaker
from pipeline.features.making.own_file import own_vid
from pipeline.features.making.recipe import Recipe, Skipped, VideoFile
from pipeline.features.making.sound import SoundRowMaker, encode_sounds
from pipeline.features.store import Store
from pipeline.features.store.writer import StoreWriter
from pipeline.grids import grid_seconds, n_clips, whole_clips
from pipeline.video.container import opened
from pipeline.video.looking import DOING, LONGEST_S
from pipeline.video.probe import probe
from pipeline.video.supervised import in_other_process

FACTS = "video.json"
"""The file with facts about the video, in the folder of its rows."""

TIMES_REAL = 4
"""Seconds that decoding one second of video may take. This is used if it gives more than the limit for a whole
video."""


@dataclass(frozen=True)
class Encoded:
    """A video whose rows are made, ready to be asked.

    rows: the folder that they are kept in. vid: the key of its rows. duration_s: seconds, exact as a fraction.
    stores: family → the store of its rows. title: what the file calls itself, or else its name. notes: sentences about
    rows that are not what one would expect, such as those of a video without sound. sha256: digest of the video.
    """

    video: Path
    rows: Path
    vid: str
    duration_s: float
    stores: Mapping[str, Path]
    title: str
    notes: tuple[str, ...] = ()
    sha256: str = ""


@dataclass(frozen=True)
class VideoNote:
    """Stored facts about a video, so that it need not be read again while size and time of the file are unchanged.

    video: its path, '' if an older version wrote the facts.
    """

    bytes: int
    changed_ns: int
    sha256: str
    duration_s: str
    title: str
    video: str = ""


def rows_folder(video: Path) -> Path:
    """Return the folder of a video's rows, which lies beside it. Raises PipelineError for a path without a name."""
    if not video.name:
        raise PipelineError("is a folder and no video", where=video, remedy="name a video file")
    return video.with_name(f"{video.name}.rows")


def store_path(folder: Path, passport: Passport) -> Path:
    """Return the path of the store for one passport. Every other passport has another path, also if it is of the same
    family."""
    text = json.dumps(asdict(passport), sort_keys=True)
    return folder / f"{passport.family}.{hashlib.sha256(text.encode()).hexdigest()[:12]}.h5"


def encode(video: Path, recipes: Sequence[Recipe], folder: Path) -> Encoded:
    """Make the rows of one video that do not exist yet. Its pictures are decoded once for all families.

    recipes: of the families of video and sound. Raises PipelineError for a file that cannot be read, for a video that
    is shorter than a clip, for a name that cannot be that of a store's array, for a folder that cannot be written, and
    for a video whose rows cannot be made.
    """
    video = Path(video)
    vid = names.file_name(own_vid(video), "the name", video, "rename the file: its name is the key of its rows")
    _refuse_folder_of_another(video, folder)
    note = _note_of(video, folder)
    duration = Fraction(note.duration_s)
    _refuse_shorter_than_a_clip(video, duration, recipes)
    stores = {recipe.family: store_path(folder, recipe.passport) for recipe in recipes}
    clips = {recipe.grid: n_clips(duration, grid_seconds(recipe.grid)) for recipe in recipes}
    source = VideoFile(vid, video, note.sha256, clips)
    missing = [recipe for recipe in recipes if not _is_there(stores[recipe.family], source)]
    if missing:
        with locks.lock(folder / FACTS, wait=True) as waited:
            if waited:  # another process may have made them meanwhile
                missing = [recipe for recipe in missing if not _is_there(stores[recipe.family], source)]
            if missing:
                _make(source, missing, stores, max(Encoding().seconds_per_video, TIMES_REAL * float(duration)))
    return Encoded(video, folder, vid, float(duration), stores, note.title, _findings(stores, vid), note.sha256)


def _refuse_folder_of_another(video: Path, folder: Path) -> None:
    """Raise PipelineError for a folder that was named for the rows and holds those of another video, which is still
    there. Its rows would be replaced, also while a page about it is served."""
    if os.path.abspath(folder) == os.path.abspath(rows_folder(video)):
        return
    known = _remembered(folder / FACTS)
    other = Path(known.video) if known else video
    if os.path.isfile(other) and os.path.isfile(video) and not other.samefile(video):
        remedy = "name another folder, for each video has one of its own: --rows FOLDER"
        raise PipelineError(f"holds the rows of {other}", where=folder, remedy=remedy)


def refuse_replaced_rows(encoded: Encoded, store: Store) -> None:
    """Raise PipelineError if a store no longer holds the rows of this video, because another process replaced them."""
    found = store.attributes(encoded.vid).get("source") if encoded.vid in store else ""
    if encoded.sha256 and found not in (None, encoded.sha256):
        what = "has no rows any more: the video was changed, or another one was encoded into the same folder"
        raise PipelineError(what, where=encoded.video, remedy="encode it again (end this command, and start it again)")


def _refuse_shorter_than_a_clip(video: Path, duration: Fraction, recipes: Sequence[Recipe]) -> None:
    longest = max((recipe.grid for recipe in recipes), key=grid_seconds, default=None)
    if longest is None or whole_clips(float(duration), float(grid_seconds(longest))):
        return
    lasts = f"lasts {float(duration):.4g} s, less than a clip of {float(grid_seconds(longest)):.4g} s"
    remedy = "ask about a longer video, or ask a run that was trained on shorter clips"
    raise PipelineError(lasts, where=video, remedy=remedy)


def _make(source: VideoFile, recipes: Sequence[Recipe], stores: Mapping[str, Path], seconds: float) -> None:
    skipped: list[Skipped] = []
    with devices.claimed_for_torch() as device, ExitStack() as stack:
        threads = stack.enter_context(workers(device))
        writers = {r.family: stack.enter_context(StoreWriter(stores[r.family], r.passport)) for r in recipes}
        seen = [r for r in recipes if FAMILIES[r.family].reader != "sound"]
        heard = [r for r in recipes if FAMILIES[r.family].reader == "sound"]
        if seen:
            makers = [FrameRowMaker(recipe, writers[recipe.family], device, threads) for recipe in seen]
            skipped += encode_videos([source], makers, seconds)
        if heard:
            tracks = [SoundRowMaker(recipe, writers[recipe.family], device, threads) for recipe in heard]
            skipped += encode_sounds([source], tracks, seconds)
        for row in skipped:
            raise PipelineError(
                row.why, where=source.path, remedy="replace the file, or encode it again (ffmpeg -i OLD NEW.mp4)"
            )


def _is_there(path: Path, source: VideoFile) -> bool:
    if not path.is_file():
        return False
    try:
        with Store([path]) as store:
            return source.vid in store and store.attributes(source.vid).get("source") == source.sha256
    except PipelineError:
        return False  # damaged, so it is made again


def _findings(stores: Mapping[str, Path], vid: str) -> tuple[str, ...]:
    notes = []
    for family, path in stores.items():
        with Store([path]) as store:
            found = store.attributes(vid)
        if "finding" in found:
            notes.append(f"{family}: {found['finding']}, {found['detail']}")
    return tuple(notes)


def _note_of(video: Path, folder: Path) -> VideoNote:
    """Return facts about a video. They are stored ones if the file has the same size and time, or else they are read.

    If the video has another path than before, the new one is stored, so that the folder belongs to it.
    """
    try:
        state = os.stat(video)
    except OSError as error:
        raise files.cannot_read(video, error) from error
    path, here = folder / FACTS, readable(video.absolute())
    if path.is_file():
        known = _remembered(path)
        if known is not None and (known.bytes, known.changed_ns) == (state.st_size, state.st_mtime_ns):
            if known.video != here:
                with suppress(PipelineError):  # a folder that cannot be written may be read
                    files.write_json(path, asdict(known) | {"video": here})
            return known
    duration, title = in_other_process(_duration_and_title, video, LONGEST_S, DOING, video)
    note = VideoNote(state.st_size, state.st_mtime_ns, files.sha256(video), str(duration), title, here)
    try:
        files.write_json(path, asdict(note))
    except PipelineError as error:
        remedy = "name a folder that can be written for the video's rows: --rows FOLDER"
        raise PipelineError(error.what, where=error.where, remedy=remedy) from error
    return note


def _remembered(path: Path) -> VideoNote | None:
    try:
        note = VideoNote(**files.read_json(path))
        texts = note.title, note.sha256, note.video
        is_sound = all(isinstance(text, str) for text in texts) and Fraction(note.duration_s) > 0
    except (PipelineError, TypeError, ValueError, ZeroDivisionError):
        return None
    return note if is_sound else None


def _duration_and_title(video: Path) -> tuple[Fraction, str]:
    return probe(video).duration, _title(video)


def _title(video: Path) -> str:
    """Return the title that a file contains, or else its name as words."""
    with opened(video) as container:
        found: Any = container.metadata.get("title", "")
    words = found if isinstance(found, str) and found.strip() else own_vid(video).replace("_", " ").replace("-", " ")
    return " ".join(words.split())
