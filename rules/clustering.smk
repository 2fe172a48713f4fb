# Clusters of prompts by the distances between them, and their scores.

CLUSTERED = STUDY.on_page("maps")


rule clusters:
    input:
        raw=lambda w: STUDY.raw_outputs(w.experiment),
        prompts=lambda w: STUDY.raw_prompts(w.experiment),
    output:
        labels="results/{study}/clustering/{experiment}.labels.parquet",
        trees="results/{study}/clustering/{experiment}.trees.parquet",
        persistence="results/{study}/clustering/{experiment}.persistence.parquet",
    log:
        "logs/{study}/clustering/{experiment}.log",
    benchmark:
        benchmark_path(
            "clusters",
            "logs/{study}/clustering/{experiment}.benchmark.tsv",
            experiment=CLUSTERED,
        )
    conda:
        "../envs/clustering.yaml"
    params:
        entry=lambda w: entry("experiments", w.experiment)["clusters"],
        code=code("cluster.py"),
    message:
        "Cluster the prompts of {wildcards.experiment}"
    script:
        "../scripts/cluster.py"


rule cluster_tables:
    input:
        raw=lambda w: STUDY.raw_outputs(w.experiment),
        prompts=lambda w: STUDY.raw_prompts(w.experiment),
        labels="results/{study}/clustering/{experiment}.labels.parquet",
        trees="results/{study}/clustering/{experiment}.trees.parquet",
        persistence="results/{study}/clustering/{experiment}.persistence.parquet",
    output:
        scores="results/{study}/tables/{experiment}_scores.csv",
        comparisons="results/{study}/tables/{experiment}_comparisons.csv",
        confounded="results/{study}/tables/{experiment}_confounded.csv",
        sensitivity="results/{study}/tables/{experiment}_sensitivity.csv",
        states="results/{study}/tables/{experiment}_states.csv",
        grids="results/{study}/tables/{experiment}_grids.csv",
        persistence="results/{study}/tables/{experiment}_persistence.csv",
        map="results/{study}/tables/{experiment}_map.csv",
        entries="results/{study}/tables/{experiment}_entries.csv",
        trees="results/{study}/tables/{experiment}_trees.csv",
    log:
        "logs/{study}/tables/{experiment}.clusters.log",
    benchmark:
        benchmark_path(
            "scores of clusters",
            "logs/{study}/tables/{experiment}.clusters.benchmark.tsv",
            experiment=CLUSTERED,
        )
    wildcard_constraints:
        experiment=any_of(CLUSTERED),
    conda:
        "../envs/clustering.yaml"
    params:
        entry=lambda w: entry("experiments", w.experiment)["clusters"],
        seed=COMPUTE.seed,
        code=code("score_clusters.py"),
    message:
        "Score the clusters of {wildcards.experiment}"
    script:
        "../scripts/score_clusters.py"
