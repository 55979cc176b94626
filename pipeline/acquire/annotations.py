"""The stage `annotate`: it converts one released file to the common form, and checks and counts its rows."""

from collections.abc import Sequence
from pathlib import Path

from pipeline import datasets, files, provenance, records, stage_requests
from pipeline.datasets import rows
from pipeline.errors import PipelineError
from pipeline.manifests import listed_or_itself
from pipeline.nouns import counted
from pipeline.shards import is_in_sample
from pipeline.stage_settings import Annotate
from pipeline.stages import StageJob


def annotate(job: StageJob[Annotate]) -> bool:
    """Write `{results}/annotations/{dataset}/{split}.jsonl` from a file in the dataset's released form.

    Durations and windows in seconds. Counts in the manifest: queries, videos, windows. With a `sample` only the queries
    of a rehearsal are written. Returns whether there was work to do. Raises PipelineError for a row that does not fit,
    for a released file of another split, for counts that differ from the released file's, for a `train` or `val` file
    without ground truth, and for a sample without a query.
    """
    dataset, split = job.about["dataset"], job.about["split"]
    target = job.layout.annotations(dataset, split)
    source_file = listed_or_itself(job.input("fetched"))[0]

    def work() -> provenance.Outcome:
        queries = rows.read(datasets.get(dataset), source_file)
        counts = count(queries)
        check_released(dataset, split, source_file, counts)
        _check_ground_truth(split, source_file, queries)
        if job.settings.sample is not None:
            queries = sampled(dataset, split, queries, job.settings.sample)
        records.write_jsonl(target, map(records.to_row, queries))
        return provenance.Outcome([target], count(queries))

    want = stage_requests.annotate(job)
    return provenance.run_request(want, job.manifest, work)


def sampled(dataset: str, split: str, queries: Sequence[records.Query], share: float) -> list[records.Query]:
    """Return the queries of a rehearsal: those on a share of the videos, which a hash of a video's name decides.

    Pieces of one original video are all taken, or none of them. Raises PipelineError where nothing is left.
    """
    video_of = datasets.get(dataset).video_of
    kept = [query for query in queries if is_in_sample(video_of(query.vid), share)]
    if not kept:
        raise PipelineError(
            f"a sample of {share:g} contains none of the {counted(count(queries)['videos'], 'video')} of {split}",
            where=f"datasets.{dataset}.sample",
            remedy="name a larger share there",
        )
    return kept


def count(queries: Sequence[records.Query]) -> dict[str, int]:
    """Return the number of queries, of different videos and of ground-truth windows."""
    return {
        "queries": len(queries),
        "videos": len({query.vid for query in queries}),
        "windows": sum(len(query.relevant_windows or ()) for query in queries),
    }


def check_released(dataset: str, split: str, source_file: Path, counts: dict[str, int]) -> None:
    """Compare a released file, which is recognised by its digest, with its known numbers. Any other file passes.

    Raises PipelineError for another split or another number of queries or videos.
    """
    known = datasets.get(dataset).released.get(files.sha256(source_file))
    if known is None:
        return
    if split != known.split:
        raise PipelineError(
            f"is the released {known.split} split, not {split}",
            where=source_file,
            remedy=f"name the {split} file under datasets.{dataset}.annotations.{split}",
        )
    if (counts["queries"], counts["videos"]) != (known.queries, known.videos):
        raise PipelineError(
            f"the reader found {counted(counts['queries'], 'query')} of {counted(counts['videos'], 'video')},"
            f" but this released file has {counted(known.queries, 'query')} of {counted(known.videos, 'video')}",
            where=source_file,
            remedy="report this as an error of the reader",
        )


def _check_ground_truth(split: str, source_file: Path, queries: Sequence[records.Query]) -> None:
    # Only a test file may hide it; predictions on it can still be made.
    if split != "test" and all(query.relevant_windows is None and query.label is None for query in queries):
        raise PipelineError(f"has no ground truth, which {split} needs", where=source_file, remedy="name another file")
