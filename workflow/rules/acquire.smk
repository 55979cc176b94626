"""Acquire: fetch files, unpack archives, bring annotations to one form, and write an account of every video.

reads   pipeline/acquire/sources.csv (the only place that knows an address)
writes  paths.fetched, paths.unpacked, paths.annotations, paths.videos
beside  results/resources/{name}/, results/annotations/{dataset}/{split}.jsonl, results/videos/{dataset}/{shard}.csv
"""


rule fetch:
    """Fetch {wildcards.name}."""
    output:
        manifest=update(paths.fetched),
    log:
        logs.fetch,
    retries: 1
    localrule: True
    conda:
        "../envs/light.yaml"
    resources:
        mem_mb=growing(500),
    params:
        settings=written_settings("fetch"),
        digest=lambda wc: SOURCES[wc.name].digest,  # only a new digest in the table asks for another file
    shell:
        stage("fetch {wildcards.name} --settings {params.settings:q}" " --manifest {output.manifest:q} 2> {log:q}")


rule unpack:
    """Unpack {wildcards.name}."""
    input:
        fetched=paths.fetched,
    output:
        manifest=update(paths.unpacked),
    log:
        logs.unpack,
    conda:
        "../envs/light.yaml"
    resources:
        mem_mb=growing(1_000),
        runtime=growing(240),
        disk_mb=growing(150_000),
    shell:
        stage("unpack {wildcards.name} --fetched {input.fetched:q}" " --manifest {output.manifest:q} 2> {log:q}")


rule annotate:
    """Annotations of {wildcards.dataset}, {wildcards.split}, in the common form."""
    input:
        fetched=annotated_file,
    output:
        manifest=update(paths.annotations),
    log:
        logs.annotate,
    localrule: True
    conda:
        "../envs/extract.yaml"  # the lengths of a user's own videos are read
    resources:
        mem_mb=growing(1_000),
    params:
        settings=written_settings("annotate"),
    shell:
        stage(
            "annotate --dataset {wildcards.dataset} --split {wildcards.split} --fetched {input.fetched:q}"
            " --settings {params.settings:q} --manifest {output.manifest:q} 2> {log:q}"
        )


rule videos:
    """Account for every video of {wildcards.dataset}, shard {wildcards.shard}."""
    input:
        inputs=videos_of_shard,
    output:
        manifest=update(paths.videos),
    log:
        logs.videos,
    conda:
        "../envs/extract.yaml"
    resources:
        mem_mb=growing(1_000),
        runtime=growing(240),
        disk_mb=growing(10_000),
    params:
        settings=written_settings("videos"),
    shell:
        stage(
            "videos --dataset {wildcards.dataset} --shard {wildcards.shard} --inputs {input.inputs:q}"
            " --settings {params.settings:q} --manifest {output.manifest:q} 2> {log:q}"
        )
