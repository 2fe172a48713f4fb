# Planes through the activations of three prompts.


rule plane_tables:
    input:
        lambda w: STUDY.raw_outputs(w.experiment),
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
            experiment=STUDY.of_kind("plane"),
        )
    wildcard_constraints:
        experiment=any_of(STUDY.of_kind("plane")),
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
