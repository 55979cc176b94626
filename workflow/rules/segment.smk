"""Segment: write the clip boundaries of every video on every grid of a family. Videos are never cut or re-encoded.

reads   paths.videos
writes  paths.segments
beside  results/segments/{dataset}/{grid}/{shard}.csv
"""


rule segment:
    """Cut the videos of {wildcards.dataset}, shard {wildcards.shard}, into clips."""
    input:
        videos=paths.videos,
    output:
        manifest=update(paths.segments),
    log:
        logs.segment,
    localrule: True
    conda:
        "../envs/extract.yaml"
    resources:
        mem_mb=growing(500),
    params:
        settings=written_settings("segment"),
    shell:
        stage(
            "segment --dataset {wildcards.dataset} --shard {wildcards.shard} --videos {input.videos:q}"
            " --settings {params.settings:q} --manifest {output.manifest:q} 2> {log:q}"
        )
