# Measurements on models: a rule for each kind of experiment. Checkpoints of a model share a job, and
# have their own rule; so have shards, which can be resumed and spread over machines.


for kind, each in STUDY.measuring_rules():

    rule:
        name:
            each.name
        input:
            unpack(lambda w: STUDY.measuring_inputs(w.experiment, w.job)),
        output:
            [
                temp(path) if each.sharded else path
                for path in each.outputs(
                    f"results/{{study}}/{kind.folder}/{{experiment}}", kind.ending
                )
            ],
        log:
            each.log(f"logs/{{study}}/{kind.folder}/{{experiment}}", "log"),
        benchmark:
            benchmark_jobs(
                kind.stage,
                each.log(
                    f"logs/{{study}}/{kind.folder}/{{experiment}}", "benchmark.tsv"
                ),
                each,
            )
        wildcard_constraints:
            experiment=each.of,
            job=each.pattern,
        priority: lambda w: resources.priority(STUDY, w.experiment, w.job)
        group:
            lambda w: grouped("measure", STUDY.alike(w.job))
        conda:
            "../envs/model.yaml"
        threads: lambda w: resources.threads(STUDY, w.job)
        resources:
            **scheduler_resources(resources.measuring, measuring_job),
        params:
            name=lambda w: w.experiment,
            refs=lambda w: list(measuring_job(w).refs),
            entry=lambda w: STUDY.entry(w.experiment).measuring(),
            part=lambda w: measuring_job(w).parts[int(w.get("shard", 0))],
            dtype=lambda w: STUDY.model(w.job).dtype,
            compute=lambda w: resources.compute(STUDY, w.job),
            others=lambda w: STUDY.other_prompts(w.experiment),
            engine=kind.engine,
            module=kind.module("measure"),
            code=code("measure.py", kind.module("measure")),
        message:
            f"{kind.does}: {{wildcards.experiment}}, {{wildcards.job}}"
        script:
            "../scripts/measure.py"


# Shards become one raw output.


rule gather:
    input:
        shards=lambda w: STUDY.shards(w.experiment, w.raw.rpartition(".")[0]),
        prompts=lambda w: STUDY.prompts(w.experiment, w.raw.rpartition(".")[0]),
    output:
        "results/{study}/{folder}/{experiment}/{raw}",
    log:
        "logs/{study}/{folder}/{experiment}/{raw}.gather.log",
    benchmark:
        benchmark_gathering(
            "logs/{study}/{folder}/{experiment}/{raw}.gather.benchmark.tsv"
        )
    wildcard_constraints:
        folder=any_of(dict.fromkeys(kind.folder for kind in STUDY.kinds)),
        experiment=any_of(STUDY.sharded),
        raw="[^/]+[.](parquet|safetensors)",
    conda:
        "../envs/figures.yaml"
    params:
        module=lambda w: STUDY.entry(w.experiment).module("gather"),
        code=lambda w: digest("gather.py", STUDY.entry(w.experiment).module("gather")),
    message:
        "Gather {wildcards.experiment}, {wildcards.raw}"
    script:
        "../scripts/gather.py"
