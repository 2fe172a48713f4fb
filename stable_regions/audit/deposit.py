"""A finished study as one archive for a repository of research data, with what that asks to know.

The archive holds what the crate describes, and nothing else of the machine. Its bytes follow from
its files: their times are one, and nothing is compressed, since no two libraries do that alike.
"""

import json
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stable_regions.audit.manifest import (
    CODE,
    CRATE,
    LEFT_OUT,
    NAME,
    PREVIEW,
    README,
    code_files,
)
from stable_regions.base.files import atomic
from stable_regions.base.yaml_file import read_yaml

EPOCH = (1980, 1, 1, 0, 0, 0)  # the first that the format knows
ORIGINAL = "2409.17113"
GUIDE = """# {title}

Unpack this into an empty folder; `results/{study}/README.md` says what lies where. To verify it,
set up the code that comes with it and ask that code (Linux, Python 3.11 to 3.13):

    make -C results/{study}/{code} setup
    results/{study}/{code}/.venv/bin/snakemake --snakefile results/{study}/{code}/Snakefile \\
        --directory . --cores 2 verify

Models and texts are not in it: they come from where `config.yaml` says, by hash.
"""


def is_raw(path: Path, results: Path) -> bool:
    """Whether a result is a raw output of models: large, and behind all that is summarised."""
    top = path.relative_to(results).parts[0]
    return path.suffix in (".parquet", ".safetensors") and top not in ("prompts", "clustering")


def describe(results: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What a repository asks to know, from `CITATION.cff` of the run's code and the manifest."""
    cited = read_yaml(results / CODE / "CITATION.cff")
    return {
        "title": f"{cited['title']}: results of the study {manifest['study']}",
        "description": f"{cited['abstract'].strip()} This is one run, of {manifest['title']}.",
        "date": manifest["made"][:10],
        "authors": [one["name"] for one in cited["authors"]],
        "keywords": cited["keywords"],
        "licence": cited["license"],
        "version": cited["version"],
    }


def zenodo(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata as Zenodo's deposit API reads them."""
    return {
        "metadata": {
            "upload_type": "dataset",
            "title": facts["title"],
            "description": f"<p>{facts['description']}</p>",
            "publication_date": facts["date"],
            "creators": [{"name": name} for name in facts["authors"]],
            "keywords": facts["keywords"],
            "license": facts["licence"],
            "version": facts["version"],
            "access_right": "open",
            "related_identifiers": [
                {"identifier": f"arXiv:{ORIGINAL}", "relation": "references", "scheme": "arxiv"}
            ],
        }
    }


def inveniordm(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata as the REST API of InvenioRDM reads them."""
    return {
        "access": {"record": "public", "files": "public"},
        "files": {"enabled": True},
        "metadata": {
            "resource_type": {"id": "dataset"},
            "title": facts["title"],
            "description": f"<p>{facts['description']}</p>",
            "publication_date": facts["date"],
            "creators": [
                {"person_or_org": {"type": "organizational", "name": name}}
                for name in facts["authors"]
            ],
            "subjects": [{"subject": word} for word in facts["keywords"]],
            "rights": [{"id": facts["licence"].lower()}],
            "version": facts["version"],
            "related_identifiers": [
                {
                    "identifier": f"arXiv:{ORIGINAL}",
                    "scheme": "arxiv",
                    "relation_type": {"id": "references"},
                }
            ],
        },
    }


def write_archive(target: Path, results: Path, manifest: Mapping[str, Any], *, raw: bool) -> int:
    """Write the archive of a study.

    Parameters
    ----------
    results
        The study's folder, relative to the working directory, and so it is unpacked.
    raw
        Whether raw outputs are in it; else it says which files of the manifest it does without.

    Returns
    -------
    How many files are in it.
    """
    every = [Path(path) for path in manifest["files"]]
    taken = [path for path in every if raw or not is_raw(path, results)]
    crate = [results / name for name in (NAME, CRATE, PREVIEW, README)]
    code = code_files(results)
    title = f"Results of the study {manifest['study']}: {manifest['title']}"
    texts = {Path(README): GUIDE.format(title=title, study=manifest["study"], code=CODE)}
    if len(taken) < len(every):
        left_out = sorted(str(path) for path in set(every) - set(taken))
        texts[results / LEFT_OUT] = json.dumps(left_out, indent=1) + "\n"
    files = sorted([*taken, *crate, *code, *texts])
    with atomic(target) as made, zipfile.ZipFile(made, "w") as archive:
        for path in files:
            entry = zipfile.ZipInfo(path.as_posix(), EPOCH)
            entry.create_system, entry.external_attr = 3, 0o100644 << 16  # a plain file of Unix
            with archive.open(entry, "w", force_zip64=True) as into:
                if path in texts:
                    into.write(texts[path].encode())
                else:
                    with open(path, "rb") as read:
                        shutil.copyfileobj(read, into, 1 << 20)
    return len(files)
