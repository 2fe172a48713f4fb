# What is measured on models: a rule for each kind of experiment. Checkpoints of a model share a job,
# and have a rule of their own; so have shards, which can be resumed and spread over machines.


for kind, each in STUDY.measuring_rules():

    rule:
        name:
            each.name
        input:
            unpack(lambda w: STUDY.measuring_inputs(w.experiment, w.job)),
        output:
            [
                temp(path) if each.cut else path
                for path in each.outputs(
                    f"results/{{study}}/{kind.folder}/{{experiment}}", kind.ending
                )
            ],
        log:
            each.log(f"logs/{{study}}/{kind.folder}/{{experiment}}", "log"),
        benchmark:
            timed_jobs(
                kind.stage,
                each.log(
                    f"logs/{{study}}/{kind.folder}/{{experiment}}", "benchmark.tsv"
                ),
                each,
            )
        wildcard_constraints:
            experiment=each.of,
            job=each.pattern,
        priority: lambda w: resources.priority(STUDY, w.experiment)
        group:
            lambda w: grouped("measure", STUDY.alike(w.job))
        conda:
            "../envs/model.yaml"
        threads: lambda w: resources.threads(STUDY, w.job)
        resources:
            **asking(resources.measuring, measured),
        params:
            name=lambda w: w.experiment,
            refs=lambda w: list(measured(w).refs),
            entry=lambda w: STUDY.entry(w.experiment).measuring(),
            part=lambda w: measured(w).parts[int(w.get("shard", 0))],
            dtype=lambda w: STUDY.model(w.job).dtype,
            compute=lambda w: resources.compute(STUDY, w.job),
            script=kind.script,
            code=code(kind.script),
        message:
            f"{kind.does}: {{wildcards.experiment}}, {{wildcards.job}}"
        script:
            "../scripts/{params.script}"


# Shards, put together.


rule gather_paths:
    input:
        lambda w: STUDY.shards(w.experiment, w.ref),
    output:
        "results/{study}/interpolation/{experiment}/{ref}.parquet",
    log:
        "logs/{study}/interpolation/{experiment}/{ref}.gather.log",
    benchmark:
        timed_gathering("interpolation", "interpolation")
    wildcard_constraints:
        experiment=any_of(STUDY.cut("interpolation")),
    conda:
        "../envs/figures.yaml"
    params:
        code=code("gather.py"),
    message:
        "Gather the paths of {wildcards.experiment}, {wildcards.ref}"
    script:
        "../scripts/gather.py"


use rule gather_paths as gather_gates with:
    output:
        "results/{study}/polytopes/{experiment}/{ref}.parquet",
    log:
        "logs/{study}/polytopes/{experiment}/{ref}.gather.log",
    benchmark:
        timed_gathering("polytopes", "polytopes")
    wildcard_constraints:
        experiment=any_of(STUDY.cut("polytopes")),
    message:
        "Gather the gates of {wildcards.experiment}, {wildcards.ref}"


rule gather_planes:
    input:
        lambda w: STUDY.shards(w.experiment, w.ref),
    output:
        "results/{study}/planes/{experiment}/{ref}.safetensors",
    log:
        "logs/{study}/planes/{experiment}/{ref}.gather.log",
    benchmark:
        timed_gathering("plane", "planes")
    wildcard_constraints:
        experiment=any_of(STUDY.cut("plane")),
    conda:
        "../envs/clustering.yaml"
    params:
        code=code("gather_planes.py"),
    message:
        "Gather the planes of {wildcards.experiment}, {wildcards.ref}"
    script:
        "../scripts/gather_planes.py"


rule gather_distances:
    input:
        blocks=lambda w: STUDY.shards(w.experiment, w.ref),
        prompts=lambda w: STUDY.prompts(w.experiment, w.ref),
    output:
        "results/{study}/pairwise/{experiment}/{ref}.safetensors",
    log:
        "logs/{study}/pairwise/{experiment}/{ref}.gather.log",
    benchmark:
        timed_gathering("pairwise", "pairwise")
    wildcard_constraints:
        experiment=any_of(STUDY.cut("pairwise")),
    conda:
        "../envs/clustering.yaml"
    params:
        code=code("gather_pairwise.py"),
    message:
        "Gather the distances of {wildcards.experiment}, {wildcards.ref}"
    script:
        "../scripts/gather_pairwise.py"
