# What holds: claims decided from tables and raw outputs, deviations from the original with the size
# of their effects, and the max slope computed a second time by other means.

# In bfloat16 rounding alone moves a slope by more than two roads may differ.
CHECKED_TWICE = [
    ref for ref in EXPERIMENTS.get("sharpness", []) if model_of(ref).dtype != "bfloat16"
]
OWN_TABLES |= {"deviations", "second-road"} if CHECKED_TWICE else {"deviations"}
QUOTED |= {"deviations": [], "second-road": []}


rule claims:
    input:
        tables=lambda w: [
            f"results/{w.study}/tables/{table}.csv" for table in claim_tables(w)
        ],
        raw=lambda w: [
            f"{raw_folder(name)}/{ref}.parquet" for name, ref in claim_raw(w)
        ],
        models="results/{study}/tables/models.csv",
    output:
        "results/{study}/claims.json",
        report(
            "results/{study}/tables/claims.csv",
            caption="../report/claims.rst",
            category="Paper",
            labels={"part": "which claims hold"},
        ),
    log:
        "logs/{study}/claims.log",
    benchmark:
        timed("claims", "logs/{study}/claims.benchmark.tsv")
    conda:
        "../envs/figures.yaml"
    params:
        claims={name: claim.model_dump() for name, claim in CLAIMS.items()},
        costs={name: cost_of(name) for name in CLAIMS},
        tables=claim_tables,
        raw=claim_raw,
        resamples=COMPUTE.bootstrap,
        seed=COMPUTE.seed,
        code=code("check_claims.py"),
    message:
        "Check the claims"
    script:
        "../scripts/check_claims.py"


# One claim by itself, with no more than it needs.
use rule claims as claim with:
    output:
        "results/{study}/claims/{claim}.json",
    log:
        "logs/{study}/claims/{claim}.log",
    benchmark:
        "logs/{study}/claims/{claim}.benchmark.tsv"
    params:
        claims=lambda w: {w.claim: CLAIMS[w.claim].model_dump()},
        costs=lambda w: {w.claim: cost_of(w.claim)},
        tables=claim_tables,
        raw=claim_raw,
        resamples=COMPUTE.bootstrap,
        seed=COMPUTE.seed,
        code=code("check_claims.py"),
    message:
        "Check the claim {wildcards.claim}"


rule deviations:
    input:
        lambda w: [
            f"results/{w.study}/tables/{table}.csv" for table in deviation_tables()
        ],
    output:
        "results/{study}/tables/deviations.csv",
    log:
        "logs/{study}/tables/deviations.log",
    benchmark:
        timed("tables", "logs/{study}/tables/deviations.benchmark.tsv")
    conda:
        "../envs/figures.yaml"
    params:
        deviations={name: entry.model_dump() for name, entry in DEVIATIONS.items()},
        tables=deviation_tables(),
        code=code("tabulate_deviations.py"),
    message:
        "Tabulate the deviations from the original"
    script:
        "../scripts/tabulate_deviations.py"


rule second_road:
    input:
        models=[folder(ref) for ref in CHECKED_TWICE],
        raw=[f"{raw_folder('sharpness')}/{ref}.parquet" for ref in CHECKED_TWICE],
        pairs="results/{study}/tables/sharpness_pairs.csv",
    output:
        "results/{study}/tables/second-road.csv",
    log:
        "logs/{study}/tables/second-road.log",
    benchmark:
        timed("the second road", "logs/{study}/tables/second-road.benchmark.tsv")
    conda:
        "../envs/model.yaml"
    threads: max(map(threads_of, CHECKED_TWICE), default=1)
    resources:
        mem_mb=growing(max(map(memory_of, CHECKED_TWICE), default=0)),
        runtime=growing(sum(minutes_of(ref, 10_000) for ref in CHECKED_TWICE)),
        gpu=lambda w: max(map(gpus_of, CHECKED_TWICE), default=0) or None,
    params:
        refs=CHECKED_TWICE,
        placed=[
            {key: compute_of(ref)[key] for key in ("device", "device_map")}
            for ref in CHECKED_TWICE
        ],
        code=code("check_second_road.py"),
    message:
        "Compute max slopes by a second road"
    script:
        "../scripts/check_second_road.py"
