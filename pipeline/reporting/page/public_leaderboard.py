"""Makes the leaderboard of a split: every prediction file in the table of sources is scored here, and all are
compared."""

from __future__ import annotations

from pipeline import datasets, provenance, stage_requests
from pipeline.layout import sources_by_name
from pipeline.manifests import files_of
from pipeline.reporting.page import own
from pipeline.reporting.page.scored_files import examine
from pipeline.stage_settings import Nothing
from pipeline.stages import StageJob


def leaderboard(job: StageJob[Nothing]) -> bool:
    """Write a page into {results}/report/leaderboard-{dataset}-{split}.html.

    The files have their names from the table of sources, without the suffix that all of them share. Returns whether
    there was work to do. Raises PipelineError for a file with errors.
    """
    dataset, split = job.about["dataset"], job.about["split"]
    ending = datasets.get(dataset).predictions_end.format(split=split)

    def work() -> provenance.Outcome:
        released = sources_by_name(job.inputs["released"])
        files = {name.removesuffix(ending): files_of(path)[0] for name, path in released.items()}
        truth = files_of(job.input("annotations"))[0]
        page = job.layout.leaderboard(dataset, split)
        own.write(page, examine(dataset, files, truth, name=split), {})
        return provenance.Outcome([page], {"files": len(files)})

    return provenance.run_request(stage_requests.leaderboard(job), job.manifest, work)
