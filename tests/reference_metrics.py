"""The community's metrics in plain loops, one query, one threshold and one annotator at a time. They are slow, and easy
to check by reading.

Written from the description of the scorer, independently of pipeline.evaluation, which is tested against it.
"""

from __future__ import annotations

import math

THRESHOLDS = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
RANGES = {"full": None, "long": (30, 150), "middle": (10, 30), "short": (0, 10)}
LEVELS = {"Fair": 2, "Good": 3, "VeryGood": 4}


def mean(values):
    values = list(values)
    return sum(values) / len(values) if values else None


def overlap(p, g):
    return max(0.0, min(p[1], g[1]) - max(p[0], g[0]))


def sum_iou(p, g):
    inside = overlap(p, g)
    union = (p[1] - p[0]) + (g[1] - g[0]) - inside
    return inside / union if union != 0 else math.nan


def hull_iou(p, g):
    hull = max(p[1], g[1]) - min(p[0], g[0])
    return overlap(p, g) / hull if hull != 0 else 0.0


def best_window(p, truth):
    """Return the window with the largest sum IoU: the first one of equals, and the first NaN before all."""
    best = truth[0]
    for g in truth:
        here, so_far = sum_iou(p, g), sum_iou(p, best)
        if not math.isnan(so_far) and (math.isnan(here) or here > so_far):
            best = g
    return best


def first_iou(predictions, truth):
    return hull_iou(predictions[0], best_window(predictions[0], truth))


def visiting_order(p, truth):
    """Return indices of windows by decreasing sum IoU. Of equals the one listed later is first, and NaN is first of
    all."""

    def priority(index):
        iou = sum_iou(p, truth[index])
        return (math.inf if math.isnan(iou) else iou, index)

    return sorted(range(len(truth)), key=priority, reverse=True)


def hits(predictions, truth, threshold):
    """Tell for each of the first ten predictions, the best first, whether it is a true positive."""
    taken = set()
    result = []
    for p in sorted(predictions[:10], key=lambda window: -window[2]):
        hit = False
        for index in visiting_order(p, truth):
            if sum_iou(p, truth[index]) < threshold:
                break
            if index not in taken:
                taken.add(index)
                hit = True
                break
        result.append(hit)
    return result


def moment_ap(predictions, truth, threshold):
    found = hits(predictions, truth, threshold)
    precision = [sum(found[: k + 1]) / (k + 1) for k in range(len(found))]
    return sum(max(precision[k:]) for k in range(len(found)) if found[k]) / len(truth)


def within(truth, name):
    if RANGES[name] is None:
        return truth
    above, up_to = RANGES[name]
    return [g for g in truth if above < g[1] - g[0] <= up_to]


def n_clips(annotation):
    return int(annotation["duration"] / 2)


def rating_matrix(annotation):
    matrix = [[0, 0, 0] for _ in range(n_clips(annotation))]
    for clip, ratings in zip(annotation["relevant_clip_ids"], annotation["saliency_scores"], strict=True):
        matrix[clip] = ratings
    return matrix


def fitted(scores, n):
    return list(scores[:n]) + [0.0] * (n - len(scores))


def highlight_ap(labels, scores):
    """Return the mean of interpolated precisions over the distinct scores whose clips include a positive."""
    if not any(labels):
        return 0.0
    levels = sorted(set(scores), reverse=True)
    precision = []
    for level in levels:
        chosen = [label for label, score in zip(labels, scores, strict=True) if score >= level]
        precision.append(sum(chosen) / len(chosen))
    return mean(
        max(precision[k:])
        for k, level in enumerate(levels)
        if any(label for label, score in zip(labels, scores, strict=True) if score == level)
    )


def annotator_aps(annotation, scores, level):
    matrix = rating_matrix(annotation)
    values = fitted(scores, len(matrix))
    return [highlight_ap([clip[k] >= level for clip in matrix], values) for k in range(3)]


def is_hit(annotation, scores, level):
    matrix = rating_matrix(annotation)
    top = scores.index(max(scores))
    return top < len(matrix) and max(matrix[top]) >= level


def qvhighlights(predictions, annotations):
    """Return all 104 numbers (or 90 without highlights) in percent, unrounded, in the official tree."""
    rows = {row["qid"]: row for row in predictions}
    tree = {"brief": {}}
    if "saliency_scores" in annotations[0]:
        for name, level in LEVELS.items():
            aps = [ap for a in annotations for ap in annotator_aps(a, rows[a["qid"]]["pred_saliency_scores"], level)]
            hit = [is_hit(a, rows[a["qid"]]["pred_saliency_scores"], level) for a in annotations]
            tree[f"HL-min-{name}"] = {"HL-mAP": 100 * mean(aps), "HL-Hit1": 100 * mean(hit)}
    for name in RANGES:
        pairs = [(rows[a["qid"]]["pred_relevant_windows"], within(a["relevant_windows"], name)) for a in annotations]
        pairs = [(predictions, truth) for predictions, truth in pairs if truth]
        precision = {f"{t:g}": mean(moment_ap(p, g, t) for p, g in pairs) for t in THRESHOLDS}
        precision["average"] = mean(precision.values()) if pairs else None
        recall = {f"{t:g}": mean(first_iou(p, g) >= t for p, g in pairs) for t in THRESHOLDS}
        tree[name] = {"MR-mAP": percent(precision), "MR-R1": percent(recall)}
    tree["brief"] = brief(tree)
    return tree


def percent(values):
    return {key: None if value is None else 100 * value for key, value in values.items()}


def brief(tree):
    full = tree["full"]
    numbers = {
        "MR-full-R1@0.5": full["MR-R1"]["0.5"],
        "MR-full-R1@0.7": full["MR-R1"]["0.7"],
        "MR-full-mAP": full["MR-mAP"]["average"],
        "MR-full-mAP@0.5": full["MR-mAP"]["0.5"],
        "MR-full-mAP@0.75": full["MR-mAP"]["0.75"],
    }
    for name in ("long", "middle", "short"):
        numbers[f"MR-{name}-mAP"] = tree[name]["MR-mAP"]["average"]
    for level in LEVELS:
        if f"HL-min-{level}" in tree:
            numbers[f"HL-min-{level}-mAP"] = tree[f"HL-min-{level}"]["HL-mAP"]
            numbers[f"HL-min-{level}-Hit1"] = tree[f"HL-min-{level}"]["HL-Hit1"]
    return numbers


def top5_ap(scores, ratings):
    """Return TVSum's average precision of one annotator: trapezoids over the five top clips, with recall relative to
    them."""
    n = len(ratings)
    scores = list(scores[:n])
    median = sorted(ratings)[(n - 1) // 2]
    top = sorted(range(len(scores)), key=lambda clip: -scores[clip])[:5]
    labels = [ratings[clip] > median for clip in top]
    if not any(labels):
        return 0.0
    area, recall_before, precision_before = 0.0, 0.0, 1.0
    for j in range(1, len(labels) + 1):
        recall, precision = sum(labels[:j]) / sum(labels), sum(labels[:j]) / j
        area += (recall - recall_before) * (precision + precision_before) / 2
        recall_before, precision_before = recall, precision
    return area


def tvsum(predictions, annotations):
    """Return the mean over annotators, then over the videos of each domain, then over domains, as fractions."""
    rows = {row["qid"]: row["pred_saliency_scores"] for row in predictions}
    domains = {}
    for a in annotations:
        annotators = list(zip(*a["label"], strict=True))
        value = mean(top5_ap(rows[a["qid"]], ratings) for ratings in annotators)
        domains.setdefault(a["domain"], []).append(value)
    means = {domain: mean(values) for domain, values in domains.items()}
    return {**means, "average": mean(means.values())}
