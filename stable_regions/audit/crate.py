"""A finished study as a Provenance Run Crate (profile 0.5, RO-Crate 1.1), made from its manifest.

See https://w3id.org/ro/wfrun/provenance/0.5. `stable_regions.audit.crate_jobs` adds what was run.
"""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rocrate.model.computationalworkflow import ComputationalWorkflow
from rocrate.rocrate import ROCrate

from stable_regions.audit.crate_jobs import AGENT, DONE, Things, add_jobs, context, refer
from stable_regions.audit.manifest import CODE, NAME, PREVIEW, README, Job, code_files
from stable_regions.audit.records import ROOT
from stable_regions.base.files import sha256

# All that the repository holds: a run of the copy is set up, and can be tested, as one of it.
PARTS = (
    "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md",
    "SECURITY.md", "Snakefile", "codecheck.yml", "config.yaml", "mkdocs.yml", "pyproject.toml",
    "requirements.in", "requirements.lock", "benchmarks", "codecheck", "config", "docs", "envs",
    "examples", "explorer", "paper", "profiles", "reference", "report", "rules", "scripts",
    "stable_regions", "tests", "tools",
)  # fmt: skip
AUTHORS = "The stable-regions contributors"
LICENCE = "https://spdx.org/licenses/MIT"
BIOSCHEMAS = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/provenance/0.5": ("Provenance Run Crate", "0.5"),
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": ("Workflow RO-Crate", "1.0"),
}
TERMS = "https://w3id.org/ro/terms/workflow-run/context"  # of what RO-Crate 1.1 lacks
BUILD = {"buildInstructions": "https://codemeta.github.io/terms/buildInstructions"}
SNAKEMAKE = "https://w3id.org/workflowhub/workflow-ro-crate#snakemake"
FORMATS = {
    ".csv": "text/csv",
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".md": "text/markdown",
    ".parquet": "application/vnd.apache.parquet",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".py": "text/x-python",
    ".safetensors": "application/octet-stream",
    ".yaml": "application/yaml",
}


def copy_code(target: Path) -> None:
    """Copy the code of this checkout into a folder that is not there yet."""
    unwanted = shutil.ignore_patterns("__pycache__", ".*")
    target.mkdir()
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, target / part, ignore=unwanted)
        else:
            shutil.copy(ROOT / part, target / part)


def _file(path: Path, entry: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A file's properties: hash and size by the manifest, or of the file on disk."""
    return {
        "@type": "File",
        "name": path.name,
        "sha256": entry["sha256"] if entry else sha256(path),
        "contentSize": str(entry["bytes"] if entry else path.stat().st_size),
        "encodingFormat": FORMATS.get(path.suffix, "text/plain"),
    }


def _leaves(value: Any, name: str) -> Iterator[tuple[str, str]]:
    """The settings of a configuration, each with its dotted name."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{name}.{key}")
    else:
        yield name, str(value)


def _origins(manifest: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """External sources: packages, hub repositories, local files, and what is known of models."""
    jobs: list[Job] = manifest["jobs"]
    for path, recorded in manifest["inputs"].items():
        job = jobs[recorded["job"]] if recorded["job"] is not None else None
        readers = [j for j in jobs if any(f["path"] == path for f in j["input"]["files"])]
        entries = [j["params"].get("entry") for j in ([job] if job else readers)]
        entry = next((e for e in entries if isinstance(e, Mapping)), {})
        facts: dict[str, Any] = {"name": path, "sha256": recorded["sha256"]}
        source = recorded.get("source")
        if source is not None:
            if "step" in source:
                continue  # trained here, from the texts
            files = source["files"]
            weights = [name for name in files if name.endswith(".safetensors")]
            facts["description"] = (
                f"model folder; SHA-256 of its {', '.join(weights)}: "
                + ", ".join(files[name] for name in weights)
            )
            entry = source
        elif job and job["input"]["files"]:
            continue  # made here, from what comes before it in this list
        if (ROOT / path).is_file() and not path.startswith("resources/"):
            continue  # a part of the code
        if job and "version" in entry:
            facts |= {"version": entry["version"], "name": job["params"]["name"]}
            facts["identifier"] = f"pkg:pypi/{facts['name']}@{entry['version']}"
        if entry.get("licence"):
            facts["license"] = entry["licence"]
        yield path, facts


def _package(crate: ROCrate, name: str, version: str) -> str:
    """Add a package in one version, once; its entity."""
    url = f"https://pypi.org/project/{name}/{version}/"
    if name == "python":
        url = f"https://docs.python.org/release/{version}/"
    if crate.get(url) is None:
        context(crate, url, "SoftwareApplication", name=name, softwareVersion=version, url=url)
    return url


def _add_files(crate: ROCrate, results: Path, manifest: Mapping[str, Any]) -> Things:
    """Add the code and the results, and what of inputs is no file of the crate."""
    things = Things(crate, manifest)
    tools = {f"{CODE}/{job['script']}" for job in manifest["jobs"]}
    for file in code_files(results):
        name = file.relative_to(results).as_posix()
        kind = {"@type": ["File", "SoftwareSourceCode"]} if name in tools else {}
        entity = crate.get(name) or crate.add_file(dest_path=name, properties=_file(file) | kind)
        things.place(file.relative_to(results / CODE).as_posix(), entity.id)
    for path, entity in manifest["files"].items():
        name = Path(path).relative_to(results).as_posix()
        made = crate.add_file(dest_path=name, properties=_file(Path(path), entity))
        things.place(path, made.id)  # in which some characters are escaped
    return things


def describe(results: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The crate's metadata: a function of the manifest, and of the code beside it.

    Parameters
    ----------
    results
        The study's folder, with the manifest and the code in it.
    """
    crate = ROCrate(version="1.1")
    crate.metadata.extra_contexts.append(TERMS)
    crate.metadata.extra_terms.update(BUILD)
    root = crate.root_dataset
    root["name"] = f"Stable regions in the residual stream: the study {manifest['study']}"
    root["description"] = f"Results of one run of the workflow: {manifest['title']}"
    root["datePublished"] = manifest["made"]
    root["license"] = {"@id": LICENCE}
    context(
        crate, LICENCE, "CreativeWork", name="MIT licence", url=LICENCE,
        description="Of the code and the results; models and texts keep their own.",
    )  # fmt: skip
    for url, (name, version) in PROFILES.items():
        context(crate, url, "CreativeWork", name=name, version=version)
    root["conformsTo"] = refer(PROFILES)
    crate.metadata["conformsTo"] = [
        {"@id": "https://w3id.org/ro/crate/1.1"},
        {"@id": "https://w3id.org/workflowhub/workflow-ro-crate/1.0"},
    ]
    context(crate, PREVIEW, "CreativeWork", about={"@id": "./"}, encodingFormat="text/html")
    context(crate, "#authors", "Organization", name=AUTHORS)
    root["author"] = root["publisher"] = {"@id": "#authors"}
    context(crate, AGENT, "Person", name="whoever ran the study: no record names them")
    engine = _package(crate, "snakemake", manifest["snakemake"])
    environments = [
        sorted(_package(crate, *each) for each in environment.items())
        for environment in manifest["environments"]
    ]
    context(
        crate, SNAKEMAKE, "ComputerLanguage", name="Snakemake",
        identifier={"@id": "https://doi.org/10.1093/bioinformatics/bts480"},
        url={"@id": "https://snakemake.readthedocs.io"},
    )  # fmt: skip
    code = manifest["checkout"]
    version = code["commit"] or f"lock {code['lock']}"
    workflow = crate.add(
        ComputationalWorkflow(
            crate,
            dest_path=f"{CODE}/Snakefile",
            properties=_file(results / CODE / "Snakefile")
            | {
                "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"],
                "name": "A replication of arXiv 2409.17113",
                "programmingLanguage": {"@id": SNAKEMAKE},
                "conformsTo": {"@id": BIOSCHEMAS},
                "license": {"@id": LICENCE},
                "url": f"{CODE}/Snakefile",
                "version": version,
                "softwareRequirements": refer(sorted(set().union([engine], *environments))),
            },
        )
    )
    context(crate, BIOSCHEMAS, "CreativeWork", name="ComputationalWorkflow", version="1.0-RELEASE")
    crate.mainEntity = workflow
    things = _add_files(crate, results, manifest)
    parameters, values = [], []
    settings = {key: manifest[key] for key in ("study", "compute", "experiments", "models")}
    for key, value in settings.items():
        for name, text in _leaves(value, key):
            one = context(
                crate, f"#parameter/{name}", "FormalParameter", name=name,
                description="a setting of the study", additionalType="PropertyValue",
                workExample={"@id": f"#value/{name}"},
            )  # fmt: skip
            property_value = context(
                crate, f"#value/{name}", "PropertyValue",
                name=name, value=text, exampleOfWork={"@id": one.id},
            )  # fmt: skip
            parameters.append(one.id)
            values.append(property_value.id)
    workflow["input"] = refer(parameters)
    for path, facts in _origins(manifest):
        values.append(things.add(path, facts))
    results_of_job = crate.add_file(dest_path=NAME, properties=_file(results / NAME))
    about = {"about": {"@id": "./"}}
    crate.add_file(dest_path=README, properties=_file(results / README) | about)
    run = context(
        crate, "#run", "CreateAction",
        name=f"Run of the study {manifest['study']}",
        description=f"Its {len(manifest['jobs'])} jobs, with all their parameters: {NAME}",
        agent={"@id": AGENT},
        instrument={"@id": workflow.id},
        object=refer(values),
        result=refer([*map(things.of, manifest["files"]), results_of_job.id]),
        startTime=min(job["started"] for job in manifest["jobs"]),
        endTime=max(job["ended"] for job in manifest["jobs"]),
        actionStatus=DONE,
    )  # fmt: skip
    actions = add_jobs(
        crate, workflow, run, things, manifest, environments, engine=engine, version=version
    )
    root["mentions"] = refer([run.id, *actions])
    return crate.metadata.generate()
