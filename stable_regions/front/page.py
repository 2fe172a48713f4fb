"""A result as one page that needs nothing else: facts, the picture, the numbers behind it."""

from html import escape
from pathlib import Path

import pandas as pd

from stable_regions.base.files import atomic
from stable_regions.front.drawing import Picture, svg
from stable_regions.front.terminal import Facts

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 15px/1.45 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto }}
body {{ padding: 0 1rem }}
h1 {{ font-size: 1.3rem }}
svg {{ width: 100%; height: auto; max-height: 34rem }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums }}
th, td {{ text-align: left; padding: .15rem .9rem .15rem 0; vertical-align: top }}
.facts th {{ font-weight: 600; white-space: nowrap }}
.numbers {{ font-size: .85rem; white-space: pre }}
</style>
<h1>{title}</h1>
<table class="facts">
{facts}
</table>
{svg}
<details><summary>The numbers</summary>
{table}
</details>
</html>
"""


def write_page(path: Path, title: str, facts: Facts, picture: Picture, table: pd.DataFrame) -> None:
    """Write a page that holds all that it shows."""
    rows = [f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in facts]
    shown = table.to_html(index=False, border=0, classes="numbers", float_format="{:.6g}".format)
    with atomic(path) as made:
        text = PAGE.format(
            title=escape(title), facts="\n".join(rows), svg=svg(picture), table=shown
        )
        made.write_text(text, encoding="utf-8")
