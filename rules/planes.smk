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
            [f"{raw_folder(experiment)}/{ref}.safetensors" for ref in refs],
        log:
            f"logs/{STUDY}/planes/{experiment}/{job}.log",
        benchmark:
            f"logs/{STUDY}/planes/{experiment}/{job}.benchmark.tsv"
        conda:
            "../envs/model.yaml"
        threads: threads_of(job)
        params:
            name=experiment,
            refs=refs,
            entry=entry("experiments", experiment),
            dtype=model_of(job).dtype,
            compute=compute_of(job),
            code=code("measure_planes.py"),
        message:
            f"Measure planes: {experiment}, {job}"
        script:
            "../scripts/measure_planes.py"


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
