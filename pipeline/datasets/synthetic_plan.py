"""Decides what happens in each video of the demo's benchmarks, and how its annotators rate it.

A video is a sequence of events on a plain dark background. In each event a coloured shape is seen and a tone is heard.
A shape grows until the middle of its event and then shrinks. The size of the shape decides how highly a clip is rated.
A QVHighlights-like video has one large event in each half, and small events of other colours around them. Queries ask
for the large events; the words of a query (when, which colour, which shape) say which of the two is meant.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random
from typing import Any

from pipeline.datasets import qvhighlights, tvsum
from pipeline.datasets.tvsum import DOMAINS
from pipeline.grids import grid_seconds

CLIP_S = int(grid_seconds("2s"))
COLOURS = {
    "red": (225, 35, 35),
    "green": (35, 190, 60),
    "blue": (45, 70, 235),
    "yellow": (240, 220, 40),
    "purple": (165, 45, 205),
    "white": (245, 245, 245),
}
SHAPES = ("circle", "square", "diamond", "cross")
MOTIONS = ("stands still", "drifts to the right", "drifts to the left", "bounces")
HALVES = ("First", "Near the end of the video")
TEMPLATES = ("{when} a {colour} {shape} {motion}", "{when} a {colour} {shape} {motion}.")
SMALL = 0.35
TITLES = ("{}, the best moments", "Watch this {}!", "How to film a {}", "{} compilation", "My {} - part 2")

QVHIGHLIGHTS_CLIPS = 10
QVHIGHLIGHTS_PIECES = {"train": 36, "val": 12, "test": 12}
PIECES_PER_YOUTUBE_VIDEO = 3
CHARADES_CLIPS = 4
CHARADES_VIDEOS = {"train": 12, "val": 4}
CHARADES_TEMPLATES = ("a {colour} {shape} {motion}.", "the {colour} {shape}  {motion} in the room.")

TVSUM_SPLITS = ("train", "train", "train", "train", "val")
TVSUM_ANNOTATORS = 20


@dataclass(frozen=True)
class Event:
    """A coloured shape that is seen and heard for `n_clips` clips, beginning with clip `first`.

    scale: a factor on the size of the shape, above 0 and at most 1.
    """

    first: int
    n_clips: int
    colour: str
    shape: str
    motion: str
    scale: float = 1.0

    @property
    def window(self) -> list[int]:
        """The start and the end in seconds."""
        return [self.first * CLIP_S, (self.first + self.n_clips) * CLIP_S]

    @property
    def clips(self) -> range:
        """The numbers of the clips in which the event is seen."""
        return range(self.first, self.first + self.n_clips)

    def size(self, time_s: float) -> float:
        """Return how far the shape has grown at a time inside the event: 0 at both ends, 1 in the middle."""
        return math.sin(math.pi * (time_s / CLIP_S - self.first) / self.n_clips)

    def size_of_clip(self, clip: int) -> float:
        """Return the `size` in the middle of a clip."""
        return self.size((clip + 0.5) * CLIP_S)


@dataclass(frozen=True)
class Video:
    """The plan of one video.

    background: grey level of the background, 0 to 255.
    events: what is seen, in order of time. Events never overlap.
    is_square: whether the left and the right edge of the picture are cut off.
    """

    vid: str
    n_clips: int
    background: int
    events: tuple[Event, ...]
    is_square: bool = False


@dataclass(frozen=True)
class Benchmark:
    """The videos of a benchmark, and for each split the annotation rows in the released form."""

    videos: list[Video]
    rows: dict[str, list[dict[str, Any]]]


def plan_qvhighlights(seed: int) -> Benchmark:
    """Plan 60 pieces of 20 s from 20 invented YouTube videos, with 117 queries.

    Each query of all splits has a different qid. No two splits share a YouTube video. The first piece of each split has
    one query, and every other piece has two.
    """
    chance = _chance(qvhighlights.DATASET.name, seed)
    youtube_ids = _youtube_ids(chance, sum(QVHIGHLIGHTS_PIECES.values()) // PIECES_PER_YOUTUBE_VIDEO)
    vids = [f"{name}_{60 + 20 * i}.0_{80 + 20 * i}.0" for name in youtube_ids for i in range(PIECES_PER_YOUTUBE_VIDEO)]
    benchmark = Benchmark([], {split: [] for split in QVHIGHLIGHTS_PIECES})
    splits = [split for split, pieces in QVHIGHLIGHTS_PIECES.items() for _ in range(pieces)]
    for vid, split in zip(vids, splits, strict=True):
        halves = _two_halves(chance)
        events = tuple(event for half in halves for event in half)
        benchmark.videos.append(Video(vid, QVHIGHLIGHTS_CLIPS, chance.randint(25, 60), events))
        large = [next(event for event in half if event.scale == 1) for half in halves]
        asked = list(zip(HALVES, large, strict=True))
        for when, event in asked if benchmark.rows[split] else asked[:1]:
            qid = sum(map(len, benchmark.rows.values()))
            benchmark.rows[split].append(_moment_row(qid, vid, when, event, chance))
    return benchmark


def one_clip() -> Video:
    """Plan a video of a single clip.

    It is for encoders that need seconds for each row, or (optical flow) for each pair of frames.
    """
    return Video("one_clip", 1, 40, (Event(0, 1, "red", "circle", "bounces"),), is_square=True)


def plan_charades(seed: int) -> Benchmark:
    """Plan 16 videos of 8 s with two queries each. Each query of all splits has a different qid.

    A video shows two large events of different colours, one after the other, and small events of other colours between
    them. Windows are moved a little at both ends, because people do not mark windows exactly either.
    """
    chance = _chance("charades", seed)
    benchmark = Benchmark([], {split: [] for split in CHARADES_VIDEOS})
    splits = [split for split, videos in CHARADES_VIDEOS.items() for _ in range(videos)]
    for number, split in enumerate(splits):
        events = _two_in_a_row(chance)
        # Some vids look like numbers (07E32), because some real ones do. A CSV reader must not turn them into floats.
        vid = f"{number:02d}E{''.join(chance.choices('AZ0123456789', k=2))}"
        benchmark.videos.append(Video(vid, CHARADES_CLIPS, chance.randint(25, 60), tuple(events)))
        for event in (event for event in events if event.scale == 1):
            qid = sum(map(len, benchmark.rows.values()))
            benchmark.rows[split].append(_loose_row(qid, vid, event, chance))
    return benchmark


def plan_tvsum(seed: int) -> Benchmark:
    """Plan 50 videos of 12 to 16 s, rated by 20 annotators. Each domain has four videos for train and one for val.

    Each domain has a theme: a colour and a shape. The rating of a clip that shows the theme grows with the size of the
    shape. Other clips are rated low.
    """
    chance = _chance(tvsum.DATASET.name, seed)
    benchmark = Benchmark([], {"train": [], "val": []})
    vids = iter(_youtube_ids(chance, len(DOMAINS) * len(TVSUM_SPLITS)))
    for number, domain in enumerate(DOMAINS):
        theme = list(COLOURS)[number % len(COLOURS)], SHAPES[number % len(SHAPES)]
        for split, title in zip(TVSUM_SPLITS, TITLES, strict=True):
            n_clips = chance.choice((6, 7, 8))
            events = _themed_events(theme, n_clips, chance)
            video = Video(next(vids), n_clips, chance.randint(25, 60), tuple(events))
            benchmark.videos.append(video)
            benchmark.rows[split].append(_rated_row(video, domain, title.format(" ".join(theme)), theme[0], chance))
    return benchmark


def _two_halves(chance: Random) -> list[list[Event]]:
    """Plan both halves of a video: one large event of two to four clips in each half.

    Two in three of the other clips show a small event.
    """
    colours = chance.sample(list(COLOURS), 4)
    clips = QVHIGHLIGHTS_CLIPS // 2
    halves = []
    for half in range(2):
        n_clips = chance.choice((2, 3, 4))
        first = half * clips + chance.randint(0, clips - n_clips)
        events = [Event(first, n_clips, colours[half], chance.choice(SHAPES), chance.choice(MOTIONS))]
        for clip in range(half * clips, (half + 1) * clips):
            if clip not in events[0].clips and chance.random() < 2 / 3:
                colour = chance.choice(colours[2:])
                events.append(Event(clip, 1, colour, chance.choice(SHAPES), chance.choice(MOTIONS), SMALL))
        halves.append(sorted(events, key=lambda event: event.first))
    return halves


def _moment_row(qid: int, vid: str, when: str, event: Event, chance: Random) -> dict[str, Any]:
    """Make a row of QVHighlights' released form about one event.

    Each clip has three ratings from 0 to 4; a larger shape gets higher ratings.
    """
    words = {"when": when, "colour": event.colour, "shape": event.shape, "motion": event.motion}
    means = [1.6 + 2.6 * event.size_of_clip(clip) for clip in event.clips]
    return {
        "qid": qid,
        "query": chance.choice(TEMPLATES).format(**words),
        "duration": QVHIGHLIGHTS_CLIPS * CLIP_S,
        "vid": vid,
        "relevant_clip_ids": list(event.clips),
        "saliency_scores": [[_rating(mean, 0, 4, chance) for _ in range(3)] for mean in means],
        "relevant_windows": [event.window],
    }


def _two_in_a_row(chance: Random) -> list[Event]:
    """Plan one large event of one or two clips in each half. The other clips show a small event or nothing."""
    colours = chance.sample(list(COLOURS), 4)
    events = []
    for half in range(2):
        n_clips = chance.choice((1, 2))
        first = 2 * half + chance.randint(0, 2 - n_clips)
        events.append(Event(first, n_clips, colours[half], chance.choice(SHAPES), chance.choice(MOTIONS)))
    taken = {clip for event in events for clip in event.clips}
    for clip in set(range(CHARADES_CLIPS)) - taken:
        if chance.random() < 2 / 3:
            colour = chance.choice(colours[2:])
            events.append(Event(clip, 1, colour, chance.choice(SHAPES), chance.choice(MOTIONS), SMALL))
    return sorted(events, key=lambda event: event.first)


def _loose_row(qid: int, vid: str, event: Event, chance: Random) -> dict[str, Any]:
    """Make a row of Charades-STA's released form. Each end of its window is off by up to 0.3 seconds."""
    duration = CHARADES_CLIPS * CLIP_S + 0.03
    words = {"colour": event.colour, "shape": event.shape, "motion": event.motion}
    start, end = (round(time + chance.uniform(-0.3, 0.3), 1) for time in event.window)
    return {
        "qid": qid,
        "query": chance.choice(CHARADES_TEMPLATES).format(**words),
        "duration": duration,
        "vid": vid,
        "relevant_windows": [[max(0.0, start), min(duration, end)]],
    }


def _themed_events(theme: tuple[str, str], n_clips: int, chance: Random) -> list[Event]:
    """Plan events of one or two clips. Every other event shows the theme."""
    others = [colour for colour in COLOURS if colour != theme[0]]
    events: list[Event] = []
    themed = chance.random() < 0.5
    while (first := sum(event.n_clips for event in events)) < n_clips:
        colour, shape = theme if themed else (chance.choice(others), chance.choice(SHAPES))
        events.append(
            Event(first, min(chance.choice((1, 1, 2)), n_clips - first), colour, shape, chance.choice(MOTIONS))
        )
        themed = not themed
    return events


def _rated_row(video: Video, domain: str, title: str, colour: str, chance: Random) -> dict[str, Any]:
    """Make a row of TVSum's released form: 20 ratings from 1 to 5 for each clip, and a `duration` that counts clips."""
    interest = [
        2.2 + 2.4 * event.size_of_clip(clip) if event.colour == colour else 1.2 + 0.6 * event.size_of_clip(clip)
        for event in video.events
        for clip in event.clips
    ]
    return {
        "qid": video.vid,
        "query": title,
        "duration": video.n_clips,
        "vid": video.vid,
        "relevant_clip_ids": None,
        "relevant_windows": None,
        "label": [[float(_rating(mean, 1, 5, chance)) for _ in range(TVSUM_ANNOTATORS)] for mean in interest],
        "domain": domain,
    }


def _chance(name: str, seed: int) -> Random:
    return Random(f"{name} {seed}")  # noqa: S311 - pictures, not secrets


def _rating(mean: float, low: int, high: int, chance: Random) -> int:
    return max(low, min(high, round(chance.gauss(mean, 0.5))))


def _youtube_ids(chance: Random, count: int) -> list[str]:
    """Invent YouTube ids of 11 characters.

    The first id begins with `-` and the second contains `_`, because some real ids do. Such ids are easily mistaken for
    options of a command or taken apart at the wrong place.
    """
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    ids = ["".join(chance.choices(letters, k=11)) for _ in range(count)]
    return ["-" + ids[0][1:], ids[1][:4] + "_" + ids[1][5:], *ids[2:]]
