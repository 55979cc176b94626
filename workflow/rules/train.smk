"""Train and predict: one job for all runs of an experiment, or a fixed part of them (`jobs` in config.yaml).

reads   paths.annotations (those of test only to predict; their labels are never read), paths.features
writes  paths.runs, paths.predictions
beside  results/runs/{experiment}/{run}/: weights, state to resume from, log.csv, predictions/
"""


rule train:
    """Train {wildcards.experiment}, part {wildcards.part}."""
    input:
        annotations=lambda wc: annotations_of(experiment_of(wc).dataset, ["train", "val"]),
        features=features_of,
    output:
        manifest=update(paths.runs),
    log:
        logs.train,
    conda:
        "../envs/train.yaml"
    threads: 4
    resources:
        gpu=1,
        mem_mb=growing(16_000),
        runtime=growing(480),
    params:
        settings=written_settings("train"),
    shell:
        stage(
            "train {wildcards.experiment} --part {wildcards.part}"
            " --annotations {input.annotations:q} --features {input.features:q}"
            " --settings {params.settings:q} --manifest {output.manifest:q} 2> {log:q}"
        )


rule predict:
    """Predict with every run of {wildcards.experiment}."""
    input:
        annotations=lambda wc: annotations_of(experiment_of(wc).dataset, predicted_splits(wc)),
        features=features_of,
        runs=parts_of,
    output:
        manifest=update(paths.predictions),
    log:
        logs.predict,
    conda:
        "../envs/train.yaml"
    threads: 4
    resources:
        gpu=1,
        mem_mb=growing(16_000),
        runtime=growing(120),
    params:
        settings=written_settings("predict"),
    shell:
        stage(
            "predict {wildcards.experiment} --runs {input.runs:q}"
            " --annotations {input.annotations:q} --features {input.features:q}"
            " --settings {params.settings:q} --manifest {output.manifest:q} 2> {log:q}"
        )
