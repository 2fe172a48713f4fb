# Does it depend on the choices? The same pairs, with one choice changed at a time.

FIGURES |= {"figA_choices": ["choices"]}
QUOTED |= {name: [] for name in of_kind("choices")}


rule choices:
    input:
        unpack(choices_inputs),
    output:
        "results/{study}/choices/{experiment}/{ref}.parquet",
    log:
        "logs/{study}/choices/{experiment}/{ref}.log",
    benchmark:
        "logs/{study}/choices/{experiment}/{ref}.benchmark.tsv"
    wildcard_constraints:
        experiment="|".join(map(re.escape, of_kind("choices"))) or "(?!)",
    conda:
        "../envs/model.yaml"
    threads: lambda w: threads_of(w.ref)
    params:
        entry=lambda w: entry("experiments", w.experiment),
        pairs=lambda w: pair_count(w.experiment),
        dtype=lambda w: model_of(w.ref).dtype,
        compute=lambda w: compute_of(w.ref),
        code=code("compare_choices.py"),
    message:
        "Change one choice at a time: {wildcards.experiment}, {wildcards.ref}"
    script:
        "../scripts/compare_choices.py"


rule choices_table:
    input:
        lambda w: [
            f"results/{w.study}/choices/{w.experiment}/{ref}.parquet"
            for ref in EXPERIMENTS[w.experiment]
        ],
    output:
        "results/{study}/tables/{experiment}.csv",
    log:
        "logs/{study}/tables/{experiment}.log",
    wildcard_constraints:
        experiment="|".join(map(re.escape, of_kind("choices"))) or "(?!)",
    conda:
        "../envs/figures.yaml"
    params:
        resamples=COMPUTE.bootstrap,
        seed=COMPUTE.seed,
        code=code("summarise_choices.py"),
    message:
        "Summarise {wildcards.experiment}"
    script:
        "../scripts/summarise_choices.py"
