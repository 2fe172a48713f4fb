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


rule planes:
    input:
        unpack(experiment_inputs),
    output:
        "results/{study}/planes/{experiment}/{ref}.safetensors",
    log:
        "logs/{study}/planes/{experiment}/{ref}.log",
    benchmark:
        "logs/{study}/planes/{experiment}/{ref}.benchmark.tsv"
    conda:
        "../envs/model.yaml"
    threads: lambda w: threads_of(w.ref)
    params:
        entry=lambda w: entry("experiments", w.experiment),
        dtype=lambda w: model_of(w.ref).dtype,
        compute=lambda w: compute_of(w.ref),
        code=code("measure_planes.py"),
    message:
        "Measure planes: {wildcards.experiment}, {wildcards.ref}"
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
