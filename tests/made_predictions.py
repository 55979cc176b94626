"""Makes annotations and predictions like those of QVHighlights for tests of pages, and reads the data of a page."""

from __future__ import annotations

import json
from html.parser import HTMLParser

HOSTILE = '</script><script>alert(1)</script>"><img src=x onerror=alert(2)> & \u2028'


def annotation(qid, windows, query="a cat", vid=None, duration=150):
    clips = sorted({clip for start, end in windows for clip in range(int(start) // 2, int(end) // 2)})
    return {
        "qid": qid, "query": query, "vid": vid or f"video{qid}_0.0_150.0", "duration": duration,
        "relevant_windows": windows, "relevant_clip_ids": clips, "saliency_scores": [[4, 2, 0]] * len(clips),
    }  # fmt: skip


def prediction(row, windows, saliency=None):
    n_clips = int(row["duration"] / 2)
    scores = saliency or [float(clip) for clip in range(n_clips)]
    return {k: row[k] for k in ("qid", "query", "vid")} | {
        "pred_relevant_windows": windows, "pred_saliency_scores": scores,
    }  # fmt: skip


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


class Outline(HTMLParser):
    """Every tag, every address, and every id of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.addresses, self.ids, self.data, self.inside = [], [], set(), "", None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append((tag, found))
        self.inside = tag if found.get("id") == "data" else None
        self.addresses += [found[key] for key in ("href", "src", "action", "srcset", "data") if key in found]
        self.ids |= {found["id"]} if "id" in found else set()

    def handle_data(self, text):
        if self.inside:
            self.data += text

    def handle_endtag(self, tag):
        self.inside = None
