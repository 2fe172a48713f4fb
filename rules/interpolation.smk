# The output along paths between prompts, in shards that can be resumed and spread over machines.


rule interpolation_shard:
    input:
        unpack(experiment_inputs),
    output:
        temp("results/{study}/interpolation/{experiment}/{ref}.shards/{shard}.parquet"),
    log:
        "logs/{study}/interpolation/{experiment}/{ref}.{shard}.log",
    benchmark:
        "logs/{study}/interpolation/{experiment}/{ref}.{shard}.benchmark.tsv"
    conda:
        "../envs/model.yaml"
    threads: lambda w: threads_of(w.ref)
    params:
        entry=lambda w: entry("experiments", w.experiment),
        rows=lambda w: shard_pairs(w.experiment)[int(w.shard)],
        dtype=lambda w: model_of(w.ref).dtype,
        compute=lambda w: compute_of(w.ref),
        code=code("interpolate.py"),
    message:
        "Interpolate: {wildcards.experiment}, {wildcards.ref}, shard {wildcards.shard}"
    script:
        "../scripts/interpolate.py"


rule interpolation:
    input:
        shards,
    output:
        "results/{study}/interpolation/{experiment}/{ref}.parquet",
    log:
        "logs/{study}/interpolation/{experiment}/{ref}.log",
    conda:
        "../envs/figures.yaml"
    message:
        "Gather the paths of {wildcards.experiment}, {wildcards.ref}"
    script:
        "../scripts/gather.py"
