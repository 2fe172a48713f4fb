# The output along paths between prompts, in shards that can be resumed and spread over machines.

for experiment, job, refs in runs("interpolation"):

    rule:
        name:
            f"interpolation_{experiment}_{job}"
        input:
            **experiment_inputs(experiment, refs),
        output:
            measured(experiment, refs),
        log:
            job_log(experiment, job),
        benchmark:
            timed(
                "paths",
                job_log(experiment, job, "benchmark.tsv"),
                shard=range(job_count(experiment)),
            )
        priority: priority_of(experiment)
        group:
            grouped("measure", job)
        conda:
            "../envs/model.yaml"
        threads: threads_of(job)
        resources:
            **measuring_resources(experiment, job, refs),
        params:
            name=experiment,
            refs=refs,
            entry=entry("experiments", experiment),
            rows=shard_rows(experiment),
            dtype=model_of(job).dtype,
            compute=compute_of(job),
            code=code("interpolate.py"),
        message:
            f"Interpolate: {experiment}, {job}"
        script:
            "../scripts/interpolate.py"


rule interpolation:
    input:
        shards,
    output:
        "results/{study}/interpolation/{experiment}/{ref}.parquet",
    log:
        "logs/{study}/interpolation/{experiment}/{ref}.gather.log",
    benchmark:
        timed_gathering("interpolation")
    wildcard_constraints:
        experiment="|".join(map(re.escape, sharded("interpolation"))) or "(?!)",
    conda:
        "../envs/figures.yaml"
    params:
        code=code("gather.py"),
    message:
        "Gather the paths of {wildcards.experiment}, {wildcards.ref}"
    script:
        "../scripts/gather.py"
