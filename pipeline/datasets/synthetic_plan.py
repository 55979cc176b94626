"""What happens in each video of the demo's benchmarks, and what its annotators say about it.

A video is a row of events on a plain dark background: a coloured shape each, with a tone of its own. A shape grows
towards the middle of its event and shrinks again; how large it is decides how highly a clip is rated. A
QVHighlights-like video has one large event in each half, and small ones of other colours around them: what is large is
worth finding, and the query (when, which colour, which shape) says which of the two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random
from typing import Any

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
    """A coloured shape that is seen and heard for `n_clips` clips from clip `first` on. scale: of its size, up to 1."""

    first: int
    n_clips: int
    colour: str
    shape: str
    motion: str
    scale: float = 1.0

    @property
    def window(self) -> list[int]:
        """Start and end in seconds."""
        return [self.first * CLIP_S, (self.first + self.n_clips) * CLIP_S]

    @property
    def clips(self) -> range:
        """Numbers of its clips."""
        return range(self.first, self.first + self.n_clips)

    def size(self, time_s: float) -> float:
        """How far the shape has grown at a time inside the event, 0 to 1; 1 is the middle of the event."""
        return math.sin(math.pi * (time_s / CLIP_S - self.first) / self.n_clips)

    def size_of_clip(self, clip: int) -> float:
        """`size` at the middle of a clip."""
        return self.size((clip + 0.5) * CLIP_S)


@dataclass(frozen=True)
class Video:
    """One video to be made. background: grey level, 0 to 255. events: in time order, never overlapping.

    is_square: without its left and right edge.
    """

    vid: str
    n_clips: int
    background: int
    events: tuple[Event, ...]
    is_square: bool = False


@dataclass(frozen=True)
class Benchmark:
    """Videos, and annotation rows in the released form for each split."""

    videos: list[Video]
    rows: dict[str, list[dict[str, Any]]]


def plan_qvhighlights(seed: int) -> Benchmark:
    """60 pieces of 20 s from 20 made-up YouTube videos, 117 queries; qids count through the splits.

    No two splits share a YouTube video. The first piece of each split has one query, every other has two.
    """
    chance = _chance("qvhighlights", seed)
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
    """A single clip, for encoders that take seconds a row and, of optical flow, for every pair of frames."""
    return Video("one_clip", 1, 40, (Event(0, 1, "red", "circle", "bounces"),), is_square=True)


def plan_charades(seed: int) -> Benchmark:
    """16 videos of 8 s, two queries each; qids count through the splits, windows are as loose as people's are.

    A video shows two large events of different colours, one after the other, and small ones of other colours between.
    """
    chance = _chance("charades", seed)
    benchmark = Benchmark([], {split: [] for split in CHARADES_VIDEOS})
    splits = [split for split, videos in CHARADES_VIDEOS.items() for _ in range(videos)]
    for number, split in enumerate(splits):
        events = _two_in_a_row(chance)
        # Some look like numbers (07E32), as real ones do.
        vid = f"{number:02d}E{''.join(chance.choices('AZ0123456789', k=2))}"
        benchmark.videos.append(Video(vid, CHARADES_CLIPS, chance.randint(25, 60), tuple(events)))
        for event in (event for event in events if event.scale == 1):
            qid = sum(map(len, benchmark.rows.values()))
            benchmark.rows[split].append(_loose_row(qid, vid, event, chance))
    return benchmark


def plan_tvsum(seed: int) -> Benchmark:
    """50 videos of 12 to 16 s, five per domain (four train, one val), rated by 20 annotators.

    A domain has a theme (a colour and a shape); clips that show it are rated by its size, others low.
    """
    chance = _chance("tvsum", seed)
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
    """In each half one large event of two to four clips; of the other clips, two in three show a small one."""
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
    """A released QVHighlights row about one event: three ratings 0 to 4 per clip, larger shapes higher."""
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
    """Large events of one or two clips, one in each half, and in what is left small ones or nothing."""
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
    """A released Charades-STA row: one window, up to a third of a second off at either end."""
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
    """Events of one or two clips, the theme and other colours by turns."""
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
    """A released TVSum row: 20 ratings 1 to 5 per clip; `duration` counts clips."""
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
    """Made-up ids of 11 characters; the first begins with `-` and the second has a `_`, as real ones do at times."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    ids = ["".join(chance.choices(letters, k=11)) for _ in range(count)]
    return ["-" + ids[0][1:], ids[1][:4] + "_" + ids[1][5:], *ids[2:]]
