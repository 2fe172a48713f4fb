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


rule polytopes_shard:
    input:
        unpack(experiment_inputs),
    output:
        temp("results/{study}/polytopes/{experiment}/{ref}.shards/{shard}.parquet"),
    log:
        "logs/{study}/polytopes/{experiment}/{ref}.{shard}.log",
    benchmark:
        "logs/{study}/polytopes/{experiment}/{ref}.{shard}.benchmark.tsv"
    conda:
        "../envs/model.yaml"
    threads: lambda w: threads_of(w.ref)
    params:
        entry=lambda w: entry("experiments", w.experiment),
        rows=lambda w: shard_pairs(w.experiment)[int(w.shard)],
        dtype=lambda w: model_of(w.ref).dtype,
        compute=lambda w: compute_of(w.ref),
        code=code("count_gates.py"),
    message:
        "Count gates: {wildcards.experiment}, {wildcards.ref}, shard {wildcards.shard}"
    script:
        "../scripts/count_gates.py"


rule polytopes:
    input:
        shards,
    output:
        "results/{study}/polytopes/{experiment}/{ref}.parquet",
    log:
        "logs/{study}/polytopes/{experiment}/{ref}.log",
    conda:
        "../envs/figures.yaml"
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
