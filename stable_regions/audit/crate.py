"""A finished study as a Workflow Run RO-Crate (profile 0.5, RO-Crate 1.1), made from its manifest.

See https://w3id.org/ro/wfrun/workflow/0.5. The steps of the run, one by one, are in the manifest.
"""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rocrate.model.computationalworkflow import ComputationalWorkflow
from rocrate.model.contextentity import ContextEntity
from rocrate.rocrate import ROCrate

from stable_regions.audit.manifest import CODE, NAME, Job
from stable_regions.audit.records import ROOT
from stable_regions.base.files import sha256

# All that the repository holds: a run of the copy is set up, and can be tested, as one of it.
PARTS = (
    "CITATION.cff", "LICENSE", "Makefile", "README.md", "Snakefile", "config.yaml",
    "pyproject.toml", "requirements.in", "requirements.lock", "benchmarks", "config", "docs",
    "envs", "examples", "explorer", "paper", "profiles", "reference", "report", "rules", "scripts",
    "stable_regions", "tests", "tools",
)  # fmt: skip
LICENCE = "https://spdx.org/licenses/MIT"
BIOSCHEMAS = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": ("Workflow RO-Crate", "1.0"),
}
TERMS = "https://w3id.org/ro/terms/workflow-run/context"  # of SHA-256, which RO-Crate 1.1 lacks
SNAKEMAKE = "https://w3id.org/workflowhub/workflow-ro-crate#snakemake"
FORMATS = {
    ".csv": "text/csv",
    ".html": "text/html",
    ".json": "application/json",
    ".md": "text/markdown",
    ".parquet": "application/vnd.apache.parquet",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".py": "text/x-python",
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
    properties: dict[str, Any] = {
        "@type": "File",
        "name": path.name,
        "sha256": entry["sha256"] if entry else sha256(path),
        "contentSize": str(entry["bytes"] if entry else path.stat().st_size),
    }
    if path.suffix in FORMATS:
        properties["encodingFormat"] = FORMATS[path.suffix]
    return properties


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
            if source["source"]["kind"] == "train":
                continue  # made here, from the texts
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


def describe(results: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The crate's metadata: a function of the manifest, and of the code beside it.

    Parameters
    ----------
    results
        The study's folder, with the manifest and the code in it.
    """
    crate = ROCrate(version="1.1")
    crate.metadata.extra_contexts.append(TERMS)
    root = crate.root_dataset
    root["name"] = f"Stable regions in the residual stream: the study {manifest['study']}"
    root["description"] = f"Results of one run of the workflow: {manifest['title']}"
    root["datePublished"] = manifest["made"]
    root["license"] = {"@id": LICENCE}
    _context(crate, LICENCE, "CreativeWork", name="MIT licence")
    for url, (name, version) in PROFILES.items():
        _context(crate, url, "CreativeWork", name=name, version=version)
    root["conformsTo"] = [{"@id": url} for url in PROFILES]
    crate.metadata["conformsTo"] = [
        {"@id": "https://w3id.org/ro/crate/1.1"},
        {"@id": "https://w3id.org/workflowhub/workflow-ro-crate/1.0"},
    ]
    versions: dict[str, set[str]] = {}
    for environment in manifest["environments"]:
        for name, version in environment.items():
            versions.setdefault(name, set()).add(version)
    software = [
        _context(
            crate, f"pkg:{'generic' if name == 'python' else 'pypi'}/{name}@{version}",
            "SoftwareApplication",
            name=name, softwareVersion=version,
        )
        for name, some in sorted(versions.items())
        for version in sorted(some)
    ]  # fmt: skip
    _context(
        crate, SNAKEMAKE, "ComputerLanguage", name="Snakemake",
        identifier={"@id": "https://doi.org/10.1093/bioinformatics/bts480"},
        url={"@id": "https://snakemake.readthedocs.io"},
    )  # fmt: skip
    code = manifest["checkout"]
    workflow = crate.add(
        ComputationalWorkflow(
            crate,
            dest_path=f"{CODE}/Snakefile",
            properties=_file(results / CODE / "Snakefile")
            | {
                "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow"],
                "name": "A replication of arXiv 2409.17113",
                "programmingLanguage": {"@id": SNAKEMAKE},
                "conformsTo": {"@id": BIOSCHEMAS},
                "license": {"@id": LICENCE},
                "version": code["commit"] or f"lock {code['lock']}",
                "softwareRequirements": [{"@id": one.id} for one in software],
            },
        )
    )
    _context(crate, BIOSCHEMAS, "CreativeWork", name="ComputationalWorkflow", version="1.0-RELEASE")
    crate.mainEntity = workflow
    parameters, values = [], []
    settings = {key: manifest[key] for key in ("study", "compute", "experiments", "models")}
    for key, value in settings.items():
        for name, text in _leaves(value, key):
            one = _context(
                crate, f"#parameter/{name}", "FormalParameter",
                name=name, additionalType="PropertyValue", workExample={"@id": f"#value/{name}"},
            )  # fmt: skip
            property_value = _context(
                crate, f"#value/{name}", "PropertyValue",
                name=name, value=text, exampleOfWork={"@id": one.id},
            )  # fmt: skip
            parameters.append({"@id": one.id})
            values.append({"@id": property_value.id})
    workflow["input"] = parameters
    for path, facts in _origins(manifest):
        values.append({"@id": _context(crate, f"#{path}", "CreativeWork", **facts).id})
    for file in sorted((results / CODE).rglob("*")):
        name = file.relative_to(results).as_posix()
        if file.is_file() and not file.name.startswith(".") and name != workflow.id:
            crate.add_file(dest_path=name, properties=_file(file))
    results_of_job = []
    for path, property_value in manifest["files"].items():
        name = Path(path).relative_to(results).as_posix()
        results_of_job.append(
            crate.add_file(dest_path=name, properties=_file(Path(path), property_value))
        )
    results_of_job.append(crate.add_file(dest_path=NAME, properties=_file(results / NAME)))
    action = _context(
        crate, "#run", "CreateAction",
        name=f"Run of the study {manifest['study']}",
        description=f"Each of its {len(manifest['jobs'])} jobs is in {NAME}",
        instrument={"@id": workflow.id},
        object=values,
        result=[{"@id": file.id} for file in results_of_job],
        startTime=min(job["started"] for job in manifest["jobs"]),
        endTime=max(job["ended"] for job in manifest["jobs"]),
        actionStatus={"@id": "http://schema.org/CompletedActionStatus"},
    )  # fmt: skip
    root["mentions"] = {"@id": action.id}
    return crate.metadata.generate()


def _context(crate: ROCrate, identity: str, kind: str, /, **properties: Any) -> Any:
    return crate.add(ContextEntity(crate, identity, properties={"@type": kind, **properties}))
