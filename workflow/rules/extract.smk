"""Extract: a job decodes a shard of videos once for one reader, and makes one store per family of this reader.

reads   paths.segments (words: paths.annotations), the weights of this reader's families
writes  paths.features, paths.archive (stores made from a released archive)
beside  results/features/{dataset}/{grid}/{family}/{shard}.h5, which outlive a failed job
"""


rule extract:
    """Encode {wildcards.dataset}, shard {wildcards.shard}, reader {wildcards.reader}."""
    input:
        inputs=decoded_for,
        weights=weights_of_reader,
    output:
        manifest=update(paths.features),
    log:
        logs.extract,
    conda:
        "../envs/extract.yaml"
    threads: 4
    resources:
        gpu=1,
        mem_mb=growing(8_000),
        runtime=growing(480),
    params:
        settings=written_settings("extract"),
    shell:
        stage(
            "features extract --dataset {wildcards.dataset} --shard {wildcards.shard}"
            " --reader {wildcards.reader} --inputs {input.inputs:q} --weights {input.weights:q}"
            " --settings {params.settings:q} --manifest {output.manifest:q} 2> {log:q}"
        )


rule import_archive:
    """Make stores of {wildcards.dataset} from the released archive {wildcards.name}."""
    input:
        unpacked=paths.unpacked,
        annotations=lambda wc: annotations_of(wc.dataset),
    output:
        manifest=update(paths.archive),
    log:
        logs.import_archive,
    conda:
        "../envs/light.yaml"
    resources:
        mem_mb=growing(2_000),
        runtime=growing(120),
    params:
        settings=written_settings("import"),
    shell:
        stage(
            "features import {wildcards.name} --dataset {wildcards.dataset}"
            " --unpacked {input.unpacked:q} --annotations {input.annotations:q}"
            " --settings {params.settings:q} --manifest {output.manifest:q} 2> {log:q}"
        )
