# Gates that change sign on the way between two prompts, held against boundaries of regions.


rule polytope_tables:
    input:
        lambda w: STUDY.raw_outputs(w.experiment),
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
            experiment=STUDY.of_kind("polytopes"),
        )
    wildcard_constraints:
        experiment=any_of(STUDY.of_kind("polytopes")),
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
