# Distances between all prompts of a set by what the model does with them, and their clusters.

FIGURES |= {
    "figA_clusters": ["clusters_entries", "clusters_map", "clusters_trees"],
    "figA_clusters_words": ["words_entries", "words_map", "words_trees"],
    "figA_words_maps": ["words_map"],
    "figA_words_scores": ["words_scores", "words-control_scores"],
    "figA_words_layers": ["words-layers_scores"],
    "figA_words_training": ["words-training_scores"],
}
for name in of_kind("pairwise"):
    QUOTED |= {
        f"{name}_scores": ["model", "layer", "distance", "labels", "score"],
        f"{name}_comparisons": [
            "model",
            "layer",
            "distance",
            "against",
            "labels",
            "score",
        ],
        f"{name}_confounded": ["model", "layer", "distance", "labels", "given"],
        f"{name}_sweep": ["model", "layer", "distance", "min_cluster_size"],
        f"{name}_grids": ["model", "layer", "measure", "steps"],
    }


for experiment, job, refs in runs("pairwise"):

    rule:
        name:
            f"pairwise_{experiment}_{job}"
        input:
            **experiment_inputs(experiment, refs),
        output:
            [
                temp(f"{raw_folder(experiment)}/{ref}.blocks/{{block}}.safetensors")
                for ref in refs
            ],
        log:
            f"logs/{STUDY}/pairwise/{experiment}/{job}.{{block}}.log",
        benchmark:
            timed(
                "distances between prompts",
                f"logs/{STUDY}/pairwise/{experiment}/{job}.{{block}}.benchmark.tsv",
                block=range(job_count(experiment)),
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
            entry=pairwise_entry(experiment),
            block=lambda w: int(w.block),
            dtype=model_of(job).dtype,
            compute=compute_of(job),
            code=code("measure_pairwise.py"),
        message:
            f"Compare all prompts: {experiment}, {job}, block {{wildcards.block}}"
        script:
            "../scripts/measure_pairwise.py"


rule pairwise:
    input:
        blocks=pairwise_blocks,
        prompts=pairwise_prompts,
    output:
        "results/{study}/pairwise/{experiment}/{ref}.safetensors",
    log:
        "logs/{study}/pairwise/{experiment}/{ref}.gather.log",
    benchmark:
        timed_gathering("pairwise")
    conda:
        "../envs/clustering.yaml"
    params:
        code=code("gather_pairwise.py"),
    message:
        "Gather the distances of {wildcards.experiment}, {wildcards.ref}"
    script:
        "../scripts/gather_pairwise.py"


rule clusters:
    input:
        raw=pairwise_outputs,
        prompts=raw_prompts,
    output:
        labels="results/{study}/clustering/{experiment}.labels.parquet",
        trees="results/{study}/clustering/{experiment}.trees.parquet",
        persistence="results/{study}/clustering/{experiment}.persistence.parquet",
    log:
        "logs/{study}/clustering/{experiment}.log",
    benchmark:
        timed(
            "clusters",
            "logs/{study}/clustering/{experiment}.benchmark.tsv",
            experiment=of_kind("pairwise"),
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
        raw=pairwise_outputs,
        prompts=raw_prompts,
        labels="results/{study}/clustering/{experiment}.labels.parquet",
        trees="results/{study}/clustering/{experiment}.trees.parquet",
        persistence="results/{study}/clustering/{experiment}.persistence.parquet",
    output:
        scores="results/{study}/tables/{experiment}_scores.csv",
        comparisons="results/{study}/tables/{experiment}_comparisons.csv",
        confounded="results/{study}/tables/{experiment}_confounded.csv",
        sweep="results/{study}/tables/{experiment}_sweep.csv",
        grids="results/{study}/tables/{experiment}_grids.csv",
        persistence="results/{study}/tables/{experiment}_persistence.csv",
        map="results/{study}/tables/{experiment}_map.csv",
        entries="results/{study}/tables/{experiment}_entries.csv",
        trees="results/{study}/tables/{experiment}_trees.csv",
    log:
        "logs/{study}/tables/{experiment}.clusters.log",
    benchmark:
        timed(
            "scores of clusters",
            "logs/{study}/tables/{experiment}.clusters.benchmark.tsv",
            experiment=of_kind("pairwise"),
        )
    wildcard_constraints:
        experiment="|".join(map(re.escape, of_kind("pairwise"))) or "(?!)",
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
