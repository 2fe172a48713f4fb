# Gates that change sign on the way between two prompts, held against boundaries of regions.

FIGURES |= {
    "figA_polytopes": ["polytopes_pairs", "polytopes_gates", "polytopes_comparison"]
}
for name in of_kind("polytopes"):
    QUOTED |= {
        f"{name}_gates": ["model", "layer", "measure", "read_layer"],
        f"{name}_boundaries": ["model", "layer", "read_site", "definition"],
        f"{name}_comparison": [
            "model",
            "layer",
            "read_site",
            "definition",
            "measure",
        ],
    }


for experiment, job, refs in runs("polytopes"):

    rule:
        name:
            f"polytopes_{experiment}_{job}"
        input:
            **experiment_inputs(experiment, refs),
        output:
            measured(experiment, refs),
        log:
            job_log(experiment, job),
        benchmark:
            timed(
                "gates",
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
            code=code("count_gates.py"),
        message:
            f"Count gates: {experiment}, {job}"
        script:
            "../scripts/count_gates.py"


rule polytopes:
    input:
        shards,
    output:
        "results/{study}/polytopes/{experiment}/{ref}.parquet",
    log:
        "logs/{study}/polytopes/{experiment}/{ref}.gather.log",
    benchmark:
        timed_gathering("polytopes")
    wildcard_constraints:
        experiment="|".join(map(re.escape, sharded("polytopes"))) or "(?!)",
    conda:
        "../envs/figures.yaml"
    params:
        code=code("gather.py"),
    message:
        "Gather the gates of {wildcards.experiment}, {wildcards.ref}"
    script:
        "../scripts/gather.py"


rule polytope_tables:
    input:
        raw_outputs,
    output:
        gates="results/{study}/tables/{experiment}_gates.csv",
        boundaries="results/{study}/tables/{experiment}_boundaries.csv",
        comparison="results/{study}/tables/{experiment}_comparison.csv",
        pairs="results/{study}/tables/{experiment}_pairs.csv",
    log:
        "logs/{study}/tables/{experiment}_polytopes.log",
    benchmark:
        timed(
            "tables",
            "logs/{study}/tables/{experiment}_polytopes.benchmark.tsv",
            experiment=of_kind("polytopes"),
        )
    wildcard_constraints:
        experiment="|".join(map(re.escape, of_kind("polytopes"))) or "(?!)",
    conda:
        "../envs/figures.yaml"
    params:
        resamples=COMPUTE.bootstrap,
        seed=COMPUTE.seed,
        code=code("summarise_polytopes.py"),
    message:
        "Summarise the gates of {wildcards.experiment}"
    script:
        "../scripts/summarise_polytopes.py"
