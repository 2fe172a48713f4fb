"""What the site has beside docs/: the README as its first page, and what a run has made.

MkDocs calls these functions (`hooks` in mkdocs.yml).
"""

from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}
RESULTS = ROOT / "results" / "embedded"
MADE = {"explorer.html": "results/explorer.html", "paper.pdf": "results/paper.pdf"}
PLACE = "<!-- the page -->"  # in docs/explore.md
EMBEDDED = """\
[Open it alone](results/explorer.html) · [Open the paper](results/paper.pdf)

<iframe src="results/explorer.html" title="The page to explore"
 style="width: 100%; height: 80vh; border: 0"></iframe>
"""


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages that lie at the top of the repository, and the results that are there."""
    for name, page in PAGES.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=inside(text)))
    files.append(given(config, "CITATION.cff", ROOT / "CITATION.cff"))
    for name, place in MADE.items():
        if (RESULTS / name).exists():
            files.append(given(config, place, RESULTS / name))
    return files


def given(config: MkDocsConfig, place: str, path: Path) -> File:
    """A file of the site that lies elsewhere on the disk."""
    return File.generated(config, place, abs_src_path=str(path))


def inside(text: str) -> str:
    """A page of the repository's top, with its links as they are inside docs/."""
    text = text.replace("](docs/", "](")
    for name, page in PAGES.items():
        text = text.replace(f"]({name})", f"]({page})")
    return text


def on_page_markdown(markdown: str, *, files: Files, **_: Any) -> str:
    """Put the page to explore into its place, if a run has made one."""
    made = all(files.get_file_from_path(place) for place in MADE.values())
    return markdown.replace(PLACE, EMBEDDED) if made else markdown
