"""Score: compute the metrics of every run. The test split has a rule of its own, on which only Table 1 depends.

reads   paths.predictions (or a released prediction file), paths.annotations
writes  paths.metrics
beside  results/metrics/{experiment}/{run}/{split}-{epoch}.json and .queries.jsonl
"""


rule score:
    """Score {wildcards.experiment} on {wildcards.split}."""
    input:
        predictions=to_score,
        annotations=lambda wc: annotations_of(experiment_of(wc).dataset, ["val"]),
    output:
        manifest=update(paths.metrics.replace("{split}", "{split,val}")),
    log:
        logs.score,
    conda:
        "../envs/light.yaml"
    resources:
        mem_mb=growing(2_000),
    params:
        settings=written_settings("score"),
    shell:
        stage(
            "score {wildcards.experiment} --split {wildcards.split}"
            " --predictions {input.predictions:q} --annotations {input.annotations:q}"
            " --settings {params.settings:q} --manifest {output.manifest:q} 2> {log:q}"
        )


use rule score as score_test with:
    input:
        predictions=to_score,
        annotations=lambda wc: annotations_of(experiment_of(wc).dataset, ["test"]),
    output:
        manifest=update(paths.metrics.replace("{split}", "{split,test}")),
