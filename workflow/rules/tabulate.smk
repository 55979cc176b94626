"""Tabulate: write tables of published and reproduced numbers with the facts behind them, draw figures, make the report.

reads   paths.metrics, paths.predictions (to check that they belong to the runs), paths.runs (settings; log.csv for the
        last epoch and luck), pipeline/reporting/published.csv; for the yardsticks of Table 3 paths.annotations
writes  paths.table, paths.figure, paths.page
beside  results/tables/{table}.{csv,md,tex,html}, results/figures/{experiment}.svg, results/report/*.html
"""


rule tabulate:
    """Write {wildcards.table}."""
    input:
        metrics=lambda wc: metrics_behind(wc.table),
        predictions=lambda wc: predictions_behind(wc.table),
        runs=lambda wc: runs_behind(wc.table),
        annotations=lambda wc: annotations_behind(wc.table),
    output:
        manifest=update(paths.table),
    log:
        logs.tabulate,
    localrule: True
    conda:
        "../envs/light.yaml"
    resources:
        mem_mb=growing(1_000),
    params:
        settings=written_settings("tabulate"),
    shell:
        stage(
            "tabulate {wildcards.table} --metrics {input.metrics:q} --predictions {input.predictions:q}"
            " --runs {input.runs:q} --annotations {input.annotations:q} --settings {params.settings:q} --manifest {output.manifest:q} 2> {log:q}"
        )


rule draw:
    """Draw the learning curves of {wildcards.experiment}."""
    input:
        runs=parts_of,
    output:
        manifest=update(paths.figure),
    log:
        logs.draw,
    localrule: True
    conda:
        "../envs/train.yaml"
    resources:
        mem_mb=growing(1_000),
    params:
        settings=written_settings("draw"),
    shell:
        stage(
            "draw {wildcards.experiment} --runs {input.runs:q}"
            " --settings {params.settings:q} --manifest {output.manifest:q} 2> {log:q}"
        )


rule page:
    """Write the report."""
    input:
        metrics=lambda wc: metrics_behind("report"),
        predictions=lambda wc: predictions_behind("report"),
        released=lambda wc: released_shown(),
        runs=lambda wc: runs_behind("report"),
        figures=lambda wc: expand(paths.figure, experiment=trained_experiments()),
        annotations=lambda wc: annotations_shown(),
    output:
        manifest=update(paths.page),
    log:
        logs.page,
    localrule: True
    conda:
        "../envs/extract.yaml"
    resources:
        mem_mb=growing(2_000),
    params:
        settings=written_settings("page"),
    shell:
        stage(
            "page --metrics {input.metrics:q} --predictions {input.predictions:q} --released {input.released:q}"
            " --runs {input.runs:q} --figures {input.figures:q} --annotations {input.annotations:q}"
            " --settings {params.settings:q} --manifest {output.manifest:q} 2> {log:q}"
        )


rule leaderboard:
    """Compare every known prediction file of {wildcards.dataset} {wildcards.split}."""
    input:
        released=lambda wc: known_predictions(wc.dataset, wc.split),
        annotations=lambda wc: annotations_of(wc.dataset, [wc.split]),
    output:
        manifest=update(paths.leaderboard),
    log:
        logs.leaderboard,
    localrule: True
    conda:
        "../envs/light.yaml"
    resources:
        mem_mb=growing(2_000),
    shell:
        stage(
            "leaderboard --dataset {wildcards.dataset} --split {wildcards.split} --released {input.released:q}"
            " --annotations {input.annotations:q} --manifest {output.manifest:q} 2> {log:q}"
        )
