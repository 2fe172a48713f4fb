# For a reader who trusts nobody: the manifest of a study, provenance of any number, verification.

import snakemake


rule manifest:
    input:
        "results/{study}/paper.pdf",
        "results/{study}/explorer.html",
    output:
        "results/{study}/manifest.json",
    log:
        "logs/{study}/manifest.log",
    benchmark:
        "logs/{study}/manifest.benchmark.tsv"
    conda:
        "../envs/paper.yaml"
    params:
        facts=lambda w: {
            "title": CONFIG.studies[w.study].title,
            "compute": COMPUTE.model_dump(),
            "experiments": {
                name: entry("experiments", name) for name in STUDY.experiments
            },
            "models": STUDY.experiments,
            # which a job's environment need not have
            "snakemake": snakemake.__version__,
        },
        code=code("write_manifest.py"),
    message:
        "Write the manifest"
    script:
        "../scripts/write_manifest.py"


rule crate:
    input:
        "results/{study}/manifest.json",
    output:
        code=directory("results/{study}/workflow"),
        readme="results/{study}/README.md",
        preview="results/{study}/ro-crate-preview.html",
        metadata="results/{study}/ro-crate-metadata.json",
    log:
        "logs/{study}/crate.log",
    benchmark:
        "logs/{study}/crate.benchmark.tsv"
    conda:
        "../envs/paper.yaml"
    params:
        code=code("make_crate.py"),
    message:
        "Describe the run as an RO-Crate"
    script:
        "../scripts/make_crate.py"


# A run is compared with the digest of an earlier one, where the repository keeps one. The result is
# printed where Snakemake runs.


rule comparison:
    input:
        "results/{study}/manifest.json",
    output:
        "logs/{study}/comparison.json",
    log:
        "logs/{study}/comparison.log",
    localrule: True
    conda:
        "../envs/paper.yaml"
    params:
        references=list(map(str, STUDY.references)),
        sha256=list(map(sha256, STUDY.references)),
        code=code("compare_reference.py"),
    message:
        "Compare with the reference"
    script:
        "../scripts/compare_reference.py"


# The targets below make no result file: they run whenever they are requested.


rule reference:
    log:
        f"logs/{STUDY.name}/reference.log",
    localrule: True
    conda:
        "../envs/paper.yaml"
    params:
        results=f"results/{STUDY.name}",
        reference=str(STUDY.reference),
    message:
        "Keep a digest of the results as the reference"
    script:
        "../scripts/make_reference.py"


rule verify:
    log:
        f"logs/{STUDY.name}/verify.log",
    conda:
        "../envs/audit.yaml"
    threads: COMPUTE.threads
    resources:
        mem_mb=growing(max(resources.memory(STUDY, ref) for ref in STUDY.refs)),
        runtime=240,
        gpu=lambda w: max(map(gpus_of, STUDY.refs)) or None,
    params:
        results=f"results/{STUDY.name}",
        seed=COMPUTE.seed,
    message:
        "Verify the results"
    script:
        "../scripts/verify.py"


rule trace:
    log:
        f"logs/{STUDY.name}/trace.log",
    localrule: True
    conda:
        "../envs/paper.yaml"
    params:
        results=f"results/{STUDY.name}",
        target=CONFIG.target,
        json=f"logs/{STUDY.name}/trace.json",
    message:
        "Trace a result back to its sources"
    script:
        "../scripts/trace.py"


rule deposit:
    log:
        f"logs/{STUDY.name}/deposit.log",
    localrule: True
    conda:
        "../envs/audit.yaml"
    params:
        results=f"results/{STUDY.name}",
        target=f"deposit/{STUDY.name}.zip",
        raw=CONFIG.raw,
    message:
        "Pack the results for a repository"
    script:
        "../scripts/make_deposit.py"
