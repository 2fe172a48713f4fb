# Planes through the activations of three prompts.

QUOTED |= {
    name: ["model", "layer", "read_site", "measure"] for name in of_kind("plane")
}
QUOTED |= {f"{name}_triples": [] for name in of_kind("plane")}
FIGURES |= {
    "fig1": ["training-plane_points", "training-plane_triples"],
    "figA_planes_training": ["training-planes_points", "training-planes_triples"],
    "figA_planes_training_common": [
        "training-planes_points",
        "training-planes_triples",
    ],
    "figA_planes_models": ["planes_points", "planes_triples"],
    "figA_planes_models_common": ["planes_points", "planes_triples"],
    "figA_planes_tokens": ["planes_points", "planes_triples", "planes_tokens"],
}


for experiment, job, refs in runs("plane"):

    rule:
        name:
            f"planes_{experiment}_{job}"
        input:
            **experiment_inputs(experiment, refs),
        output:
            measured(experiment, refs),
        log:
            job_log(experiment, job),
        benchmark:
            timed(
                "planes",
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
            code=code("measure_planes.py"),
        message:
            f"Measure planes: {experiment}, {job}"
        script:
            "../scripts/measure_planes.py"


rule planes:
    input:
        shards,
    output:
        "results/{study}/planes/{experiment}/{ref}.safetensors",
    log:
        "logs/{study}/planes/{experiment}/{ref}.gather.log",
    benchmark:
        timed_gathering("plane")
    wildcard_constraints:
        experiment="|".join(map(re.escape, sharded("plane"))) or "(?!)",
    conda:
        "../envs/clustering.yaml"
    params:
        code=code("gather_planes.py"),
    message:
        "Gather the planes of {wildcards.experiment}, {wildcards.ref}"
    script:
        "../scripts/gather_planes.py"


rule plane_tables:
    input:
        lambda w: [
            f"results/{w.study}/planes/{w.experiment}/{ref}.safetensors"
            for ref in EXPERIMENTS[w.experiment]
        ],
    output:
        summary="results/{study}/tables/{experiment}.csv",
        triples="results/{study}/tables/{experiment}_triples.csv",
        points="results/{study}/tables/{experiment}_points.csv",
        tokens="results/{study}/tables/{experiment}_tokens.csv",
    log:
        "logs/{study}/tables/{experiment}.log",
    benchmark:
        timed(
            "tables",
            "logs/{study}/tables/{experiment}.benchmark.tsv",
            experiment=of_kind("plane"),
        )
    wildcard_constraints:
        experiment="|".join(map(re.escape, of_kind("plane"))) or "(?!)",
    conda:
        "../envs/figures.yaml"
    params:
        resamples=COMPUTE.bootstrap,
        seed=COMPUTE.seed,
        code=code("tabulate_planes.py"),
    message:
        "Tabulate the planes of {wildcards.experiment}"
    script:
        "../scripts/tabulate_planes.py"
