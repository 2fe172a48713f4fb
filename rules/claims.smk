# Claims decided from tables and raw outputs, deviations from the original with the size of their
# effects, and an independent check of the max slope.


rule claims:
    input:
        tables=tables(STUDY.claim_tables(STUDY.claims, also=True)),
        raw=[STUDY.raw(*each) for each in STUDY.claim_raw(STUDY.claims, also=True)],
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
        benchmark_path("claims", "logs/{study}/claims.benchmark.tsv")
    conda:
        "../envs/figures.yaml"
    params:
        claims={name: claim.model_dump() for name, claim in STUDY.claims.items()},
        costs={name: STUDY.cost(name) for name in STUDY.claims},
        tables=STUDY.claim_tables(STUDY.claims, also=True),
        raw=STUDY.claim_raw(STUDY.claims, also=True),
        bos=STUDY.with_bos,
        resamples=COMPUTE.bootstrap,
        seed=COMPUTE.seed,
        code=code("check_claims.py"),
    message:
        "Check the claims"
    script:
        "../scripts/check_claims.py"


# One claim by itself, with no more than it needs.
use rule claims as claim with:
    input:
        tables=lambda w: tables(STUDY.claim_tables([w.claim])),
        raw=lambda w: [STUDY.raw(*each) for each in STUDY.claim_raw([w.claim])],
        models="results/{study}/tables/models.csv",
    output:
        "results/{study}/claims/{claim}.json",
    log:
        "logs/{study}/claims/{claim}.log",
    benchmark:
        "logs/{study}/claims/{claim}.benchmark.tsv"
    params:
        claims=lambda w: {w.claim: STUDY.claims[w.claim].model_dump() | {"also": []}},
        costs=lambda w: {w.claim: STUDY.cost(w.claim)},
        tables=lambda w: STUDY.claim_tables([w.claim]),
        raw=lambda w: STUDY.claim_raw([w.claim]),
        bos=STUDY.with_bos,
        resamples=COMPUTE.bootstrap,
        seed=COMPUTE.seed,
        code=code("check_claims.py"),
    message:
        "Check the claim {wildcards.claim}"


rule deviations:
    input:
        tables(STUDY.deviation_tables()),
    output:
        "results/{study}/tables/deviations.csv",
    log:
        "logs/{study}/tables/deviations.log",
    benchmark:
        benchmark_path("tables", "logs/{study}/tables/deviations.benchmark.tsv")
    conda:
        "../envs/figures.yaml"
    params:
        deviations={
            name: entry.model_dump() for name, entry in STUDY.deviations.items()
        },
        tables=STUDY.deviation_tables(),
        code=code("tabulate_deviations.py"),
    message:
        "Tabulate the deviations from the original"
    script:
        "../scripts/tabulate_deviations.py"


rule independent_check:
    input:
        models=list(map(paths.model, STUDY.cross_checked)),
        raw=[STUDY.raw("sharpness", ref) for ref in STUDY.cross_checked],
        pairs="results/{study}/tables/sharpness_pairs.csv",
    output:
        "results/{study}/tables/independent-check.csv",
    log:
        "logs/{study}/tables/independent-check.log",
    benchmark:
        benchmark_path(
            "the independent check",
            "logs/{study}/tables/independent-check.benchmark.tsv",
        )
    conda:
        "../envs/model.yaml"
    threads: max((resources.threads(STUDY, ref) for ref in STUDY.cross_checked), default=1)
    resources:
        mem_mb=growing(
            max(
                (resources.memory(STUDY, ref) for ref in STUDY.cross_checked),
                default=0,
            )
        ),
        runtime=growing(
            sum(resources.minutes(STUDY, ref, 10_000) for ref in STUDY.cross_checked)
        ),
        gpu=lambda w: max(map(gpus_of, STUDY.cross_checked), default=0) or None,
    params:
        refs=STUDY.cross_checked,
        placed=[
            {
                key: resources.compute(STUDY, ref)[key]
                for key in ("device", "device_map")
            }
            for ref in STUDY.cross_checked
        ],
        code=code("check_independent.py"),
    message:
        "Recompute max slopes with an independent implementation"
    script:
        "../scripts/check_independent.py"
