"""The page to explore: what is packed into it, and how it behaves in a browser."""

import base64
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from stable_regions.base.errors import UserError
from stable_regions.base.files import read_parquet, read_safetensors
from stable_regions.experiments.interpolation.tables import stacked
from stable_regions.explorer import pack as explorer
from stable_regions.measures.boundaries import in_boundary
from stable_regions.measures.paths import max_slope, relative
from tests.browser import requests
from tests.tiny_study import ROOT

KINDS = {"Uint8Array": "<u1", "Uint16Array": "<u2", "Uint32Array": "<u4", "Float32Array": "<f4"}


def unpacked(block: dict) -> np.ndarray:
    """What a page reads from a packed array."""
    values = np.frombuffer(base64.b64decode(block["data"]), dtype=KINDS[block["type"]])
    return values.reshape(block["shape"])


# What is packed


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([0, 255], "Uint8Array"),
        ([[0, 256], [1, 2]], "Uint16Array"),
        ([70_000], "Uint32Array"),
        ([0.5, np.nan], "Float32Array"),
        ([], "Float32Array"),
    ],
)
def test_a_packed_array_is_read_back(values: list, kind: str) -> None:
    block = explorer.packed(values)
    assert block["type"] == kind
    np.testing.assert_array_equal(unpacked(block), np.array(values))


def test_the_width_of_integers_can_be_asked_for() -> None:
    block = explorer.packed(np.array([1, 2]), 16)
    assert block["type"] == "Uint16Array"
    assert unpacked(block).tolist() == [1, 2]


def test_negative_integers_are_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        explorer.packed([-1])


def test_levels_are_within_half_a_level() -> None:
    distance = np.random.default_rng(0).random((5, 50)) * 80
    distance[0] = 0
    level, largest = explorer.levels(distance)
    assert largest.tolist() == distance.max(1).tolist()
    error = np.abs(level * largest[:, None] / explorer.LEVELS - distance)
    assert (error <= largest[:, None] / explorer.LEVELS / 1.99).all()


@given(st.lists(st.lists(st.integers(1, 20), max_size=8), max_size=4), st.integers(1, 300))
def test_as_many_are_kept_as_there_is_room_for(costs: list[list[int]], room: int) -> None:
    kept = explorer.first_that_fit([np.array(cost) for cost in costs], room)
    size = lambda count: sum(sum(cost[:count]) for cost in costs)  # noqa: E731
    assert kept == 1 or size(kept) <= room
    assert kept >= max(map(len, costs), default=0) or size(kept + 1) > room


def test_json_cannot_end_its_script_and_has_one_form() -> None:
    first = explorer.encode({"b": "</script><!--", "a": [1, None]})
    assert first == explorer.encode({"a": [1, None], "b": "</script><!--"})
    assert "<" not in first
    assert json.loads(first)["b"] == "</script><!--"


def test_no_text_is_ever_read_as_markup() -> None:
    scripts = "".join(path.read_text() for path in (ROOT / "explorer").glob("*.js"))
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", scripts)


def test_parts_are_not_searched_for_places() -> None:
    filled = explorer.fill("<{{one}}|{{two}}>", {"one": "{{two}}", "two": r"\1 {{three}}"})
    assert filled == r"<{{two}}|\1 {{three}}>"


@pytest.mark.parametrize(
    "template", ["{{one}}", "{{one}}{{two}}{{two}}", "{{one}}{{two}}{{three}}"]
)
def test_a_template_with_other_places_is_refused(template: str) -> None:
    with pytest.raises(UserError, match="each of one, two once"):
        explorer.fill(template, {"one": "", "two": ""})


# Paths: two experiments measured the same two pairs, and each one more

PROMPTS = pd.DataFrame(
    {
        "prompt": [0, 1, 2],
        "text": [" a dog", " a <b>", " the cat"],
        "last_token": [" dog", " <b>", " cat"],
        "tokens": [[1, 2], [1, 3], [4, 5]],
    }
)


def raw(name: str, steps: int, pairs: list[tuple[int, int]], **columns: Any) -> explorer.PathData:
    """A raw output with made-up distances."""
    rng = np.random.default_rng(steps)
    distance = np.sort(rng.random((len(pairs), steps)).astype(np.float32), axis=1) * 40
    distance[:, 0] = 0
    table = pd.DataFrame(
        {
            "pair": [f"{name}-{i}" for i in range(len(pairs))],
            "prompt_a": [a for a, _ in pairs],
            "prompt_b": [b for _, b in pairs],
            "layer": 0,
            "input_distance": 1.5,
            "distance_post_norm": list(distance),
            "step_post_norm": list(np.diff(distance, axis=1)),
        }
        | {key: list(values) for key, values in columns.items()}
    )
    facts = {"model": "one", "alpha": np.linspace(0, 1, steps).tolist()}
    return explorer.PathData(name, table, facts, PROMPTS)


def two_experiments() -> tuple[list[explorer.PathData], explorer.Prompts, list[explorer.Group]]:
    coarse = raw(
        "coarse", 4, [(0, 1), (1, 2), (2, 0)], top_token=[[7, 7, 9, 9], [9, 9, 9, 9], [7, 7, 7, 9]]
    )
    gates = np.arange(27).reshape(3, 9)
    fine = raw(
        "fine", 10, [(1, 2), (0, 1), (2, 1)],
        passed_by_step=gates * 2, passed_by_step_last=gates, mismatch=[[1, 2], [3, 4], [5, 6]],
    )  # fmt: skip
    prompts = explorer.Prompts()
    return [coarse, fine], prompts, explorer.path_groups([coarse, fine], prompts)


def test_a_pair_that_two_experiments_measured_stands_once() -> None:
    [coarse, fine], prompts, [group] = two_experiments()
    assert prompts.rows[1] == [" a <b>", " <b>"]
    made = group.json(99, lambda token: f"<{token}>")
    assert [one["name"] for one in made["experiments"]] == ["fine", "coarse"]
    assert made["names"] == ["fine-0", "fine-1", "fine-2", "coarse-2"]
    assert unpacked(made["a"]).tolist() == [1, 0, 2, 2]
    assert unpacked(made["b"]).tolist() == [2, 1, 1, 0]
    assert unpacked(made["member"]).tolist() == [3, 3, 1, 2]
    flat, at = unpacked(made["distance"]), 0
    rows = [*fine.table.to_dict("records"), coarse.table.to_dict("records")[2]]
    for place, row in enumerate(rows):
        distance = row["distance_post_norm"]
        got = flat[at : at + len(distance)] / 65535 * unpacked(made["largest"])[place]
        np.testing.assert_allclose(got, distance, atol=distance.max() / 65535)
        assert unpacked(made["slope"])[place] == pytest.approx(max_slope(distance))
        at += len(distance)
    assert at == len(flat)


def test_boundaries_are_packed_bit_by_bit() -> None:
    [coarse, fine], _, [group] = two_experiments()
    made = group.json(99, str)
    flat = np.unpackbits(unpacked(made["boundary"]).reshape(-1)).reshape(-1, 8)
    expected = in_boundary(stacked(fine.table["step_post_norm"]))
    assert expected.any()
    for row in range(3):  # nine steps take two bytes
        assert (
            flat[2 * row : 2 * row + 2].ravel()[:9].astype(bool).tolist() == expected[row].tolist()
        )
    last = in_boundary(stacked(coarse.table["step_post_norm"]))[2]
    assert flat[6, :3].astype(bool).tolist() == last.tolist()


def test_predictions_and_gates_are_joined_to_the_pair() -> None:
    _, _, [group] = two_experiments()
    made = group.json(99, lambda token: f"<{token}>")
    [tokens], [gates] = made["tokens"], made["gates"]
    assert unpacked(tokens["rows"]).tolist() == [1, 0, 3]  # coarse-0 is fine-1
    message = np.array(tokens["texts"])[unpacked(tokens["top"])]
    assert message[0].tolist() == ["<7>", "<7>", "<9>", "<9>"]
    assert unpacked(gates["rows"]).tolist() == [0, 1, 2]
    assert unpacked(gates["all"])[1].tolist() == [2 * i for i in range(9, 18)]
    assert unpacked(gates["ends"]).tolist() == [3, 7, 11]
    assert unpacked(gates["ends_last"]).tolist() == [2, 4, 6]


def test_what_does_not_fit_is_left_out_of_everything() -> None:
    _, _, [group] = two_experiments()
    made = group.json(2, str)
    assert made["available"] == 4
    assert made["names"] == ["fine-0", "fine-1"]
    assert len(unpacked(made["distance"])) == 20
    assert unpacked(made["tokens"][0]["rows"]).tolist() == [1, 0]
    assert len(unpacked(made["gates"][0]["all"])) == 2


def test_the_first_of_a_group_are_some_of_each_experiment() -> None:
    many = raw("many", 10, [(0, 1), (1, 0)])
    few = raw("few", 4, [(2, 0)])
    [group] = explorer.path_groups([many, few], explorer.Prompts())
    assert group.json(2, None)["names"] == ["many-0", "few-0"]


def test_the_cost_of_a_pair_is_close_to_what_it_takes() -> None:
    """Else the page would be larger than its limit, or leave out what fits."""
    coarse = raw("coarse", 30, [(0, 1), (1, 2)] * 200, top_token=np.zeros((400, 30), dtype=int))
    coarse = explorer.PathData(
        "coarse", coarse.table.assign(prompt_a=range(400), prompt_b=range(1, 401)), coarse.facts,
        pd.DataFrame({"prompt": range(401), "text": [str(i) for i in range(401)],
                      "last_token": "", "tokens": [[i] for i in range(401)]}),
    )  # fmt: skip
    [group] = explorer.path_groups([coarse], explorer.Prompts())
    size = len(explorer.encode(group.json(400, str)))
    assert 0.8 * group.costs().sum() < size < 1.02 * group.costs().sum()


def test_a_page_is_filled_up_to_its_limit() -> None:
    _, _, [group] = two_experiments()
    costs = group.costs()
    for count in (1, 3):
        rest = {"rest": "x" * 500}
        room = len(explorer.encode(rest)) + len("[]") + costs[:count].sum() + 1
        data = explorer.fit_to_size(rest, [group], [], {"one": str}, room)
        assert [len(one["names"]) for one in data["paths"]] == [count]


# Planes, series, maps


def test_planes_are_packed_context_by_context() -> None:
    rng = np.random.default_rng(0)
    tensors = {
        "axis": np.linspace(-0.25, 1.25, 5),
        "distance_post_norm": rng.random((2, 3, 3, 5, 5)),
        "top_token": rng.integers(50_000, 50_004, (2, 3, 3, 5, 5)),
        "place_c": rng.random((2, 3)),
    }
    facts = {
        "model": "one", "texts": [["a", "b", "c"]] * 3, "experiment": {"layers": [0, 4]},
        "token_texts": {str(t): f"t{t}" for t in range(50_000, 50_004)},
    }  # fmt: skip
    plane = explorer.Plane("planes", tensors, facts)
    [one] = explorer.planes_json([plane], 2)
    [made] = one["models"]
    assert made["available"] == 3
    assert len(made["texts"]) == 2
    distance = unpacked(made["distance"]) / 65535 * unpacked(made["largest"])[..., None, None]
    np.testing.assert_allclose(distance, tensors["distance_post_norm"][:, :2], atol=1e-4)
    message = np.array(made["tokens"])[unpacked(made["top"])]
    assert (message == np.char.add("t", tensors["top_token"][:, :2].astype(str))).all()
    assert len(explorer.encode(made["distance"])) < plane.costs()[:2].sum()


def facts_of(refs: dict[str, dict]) -> pd.DataFrame:
    default = {"family": "F", "source": "hub", "layers": 2, "hidden_size": 8, "parameters": 10,
               "tokens": np.nan}  # fmt: skip
    rows = [
        {"model": ref, "name": ref.partition("@")[0]} | default | own for ref, own in refs.items()
    ]
    return pd.DataFrame(rows)


def slopes_of(
    places: list[tuple[str, int]], models: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    size = models.set_index("model")["parameters"]
    slopes = pd.DataFrame(
        [
            {"model": m, "parameters": size[m], "layer": layer, "read_site": site, "pairs": 5,
             "median": 2.0, "q25": 1.5, "q75": 3, "ci_low": 1.8, "ci_high": 2.2}
            for m, layer in places for site in ("post_norm", "pre_norm")
        ]
    )  # fmt: skip
    curves = slopes[["model", "layer", "read_site"]].merge(
        pd.DataFrame({"alpha": [0.0, 1.0], "median": [0, 1.0], "q25": [0, 1.0], "q75": [0, 1.0]}),
        how="cross",
    )
    return slopes, curves


def listed(found: list[dict]) -> list[tuple]:
    return [
        (one["kind"], one["title"], [(m["model"], m["layer"]) for m in one["members"]])
        for one in found
    ]


def test_checkpoints_are_in_the_order_of_their_training() -> None:
    models = facts_of({"m@10": {"tokens": 10}, "m@2": {"tokens": 2}, "n@2": {"tokens": 2}})
    tables = slopes_of([("m@10", 0), ("m@2", 0), ("n@2", 0)], models)
    assert listed(explorer.series({"training": tables}, models)) == [
        ("training", "m", [("m@2", 0), ("m@10", 0)])
    ]


def test_models_are_in_the_order_of_their_size_and_layers_in_theirs() -> None:
    models = facts_of({"large": {"parameters": 30, "layers": 4}, "small": {}})
    tables = slopes_of([("large", 3), ("large", 0), ("small", 0)], models)
    assert listed(explorer.series({"size": tables}, models)) == [
        ("size", "F", [("small", 0), ("large", 0)]),
        ("write layer", "large", [("large", 0), ("large", 3)]),
    ]


def test_models_of_several_families_are_one_series_too() -> None:
    models = facts_of({"b": {"parameters": 30}, "twin": {"family": "random", "parameters": 20}})
    tables = slopes_of([("b", 0), ("twin", 0)], models)
    assert listed(explorer.series({"sharpness": tables}, models)) == [
        ("size", "all models", [("twin", 0), ("b", 0)])
    ]


def test_the_nearest_of_a_prompt_are_those_of_the_table() -> None:
    places = pd.DataFrame(
        {"model": "one", "layer": 0, "distance": "output", "prompt": range(3),
         "name": ['"a"', '" b"', '"c"'], "kind": ['"k"'] * 3, "label": [0, -1, 0],
         "x": [0.0, 1, 2], "y": 0.0, "shown": 0.5}
    )  # fmt: skip
    entries = pd.DataFrame(
        {"distance": "output", "i": [0, 0, 1], "j": [1, 2, 2], "value": [3.0, 1.0, 2.0]}
    )
    made = explorer.cluster_map("words", places, entries, pd.DataFrame({"text": list("abcd")}))
    assert made["names"] == ["a", " b", "c"]
    assert made["texts"] == ["a", "b", "c"]
    assert made["maps"][0]["nearest"] == [[2, 1], [2, 0], [0, 1]]
    assert made["maps"][0]["away"] == [[1, 3], [2, 3], [1, 2]]


# The page of the tiny study


@pytest.fixture(scope="module")
def page(tiny: Path) -> Path:
    return tiny / "results" / "tiny" / "explorer.html"


def data_of(page: Path) -> dict:
    [text] = re.findall(r'<script id="data"[^>]*>(.*?)</script>', page.read_text())
    return json.loads(text)


def test_the_page_is_small_enough_to_send(page: Path) -> None:
    assert page.stat().st_size < 15_000_000
    assert "window.Plotly" in page.read_text()


def test_the_page_has_every_path_of_the_study(page: Path, tiny: Path) -> None:
    result = {(one["model"], one["layer"]): one for one in data_of(page)["paths"]}
    table, _ = read_parquet(tiny / "results/tiny/interpolation/sharpness/tiny-llama.parquet")
    for layer, part in table.groupby("layer"):
        group = result["tiny-llama", layer]
        slopes = dict(zip(group["names"], unpacked(group["slope"]), strict=True))
        for name, slope in zip(
            part["pair"], max_slope(stacked(part["distance_post_norm"])), strict=True
        ):
            assert slopes[name] == pytest.approx(slope, rel=1e-6)
    experiments = {one["name"] for group in result.values() for one in group["experiments"]}
    assert experiments == {
        "examples", "sharpness", "gemma", "training", "size", "layers", "depth", "embedding",
        "meaning", "controls",
        "polytopes", "polytopes-training",
    }  # fmt: skip


def test_each_figure_of_the_paper_leads_to_its_data(page: Path, tiny: Path) -> None:
    figures = data_of(page)["figures"]
    numbers = json.loads((tiny / "results/tiny/numbers.json").read_text())
    assert [one["name"] for one in figures] == sorted(numbers["figures"])
    for one in figures:
        drawn = pd.read_csv(page.parent / "figures" / f"{one['name']}.csv", low_memory=False)
        assert one["rows"] == len(drawn)
        assert all((page.parent / "tables" / f"{table}.csv").exists() for table in one["tables"])


# In a browser

Open = Callable[..., webdriver.Chrome]


@pytest.fixture
def opened(chrome: webdriver.Chrome) -> Open:
    """Open a page and wait until it is drawn; what was logged before is forgotten."""

    def open_page(path: Path, address: str = "") -> webdriver.Chrome:
        chrome.get("about:blank")
        for kind in ("performance", "browser"):
            chrome.get_log(kind)
        chrome.get(path.as_uri() + address)
        deadline = time.monotonic() + 60
        while chrome.execute_script("return document.documentElement.dataset.ready") != "yes":
            assert time.monotonic() < deadline, chrome.get_log("browser")
            time.sleep(0.1)
        return chrome

    return open_page


def sections(chrome: webdriver.Chrome) -> list[str | None]:
    """The parts of the page that are there to be seen."""
    result = chrome.find_elements(By.CSS_SELECTOR, "main > section")
    return [one.get_attribute("id") for one in result if one.is_displayed()]


def text(chrome: webdriver.Chrome, name: str) -> str:
    return chrome.find_element(By.ID, name).text


def choose(chrome: webdriver.Chrome, name: str, value: str) -> None:
    Select(chrome.find_element(By.ID, name)).select_by_value(value)


def move(chrome: webdriver.Chrome, name: str, value: float | str) -> None:
    """Set an input as a user would who types or drags."""
    chrome.execute_script(
        "const e = document.getElementById(arguments[0]); e.value = arguments[1];"
        "e.dispatchEvent(new Event('input', {bubbles: true}));",
        name,
        value,
    )


def plotted(chrome: webdriver.Chrome, name: str, trace: int, what: str) -> Any:
    return chrome.execute_script(
        f"return Array.from(document.getElementById('{name}').data[{trace}].{what})"
    )


@pytest.mark.browser
def test_the_page_opens_without_errors_and_asks_for_nothing(opened: Open, page: Path) -> None:
    chrome = opened(page)
    assert requests(chrome) == [page.as_uri()]
    assert chrome.get_log("browser") == []
    assert not chrome.find_element(By.ID, "trouble").is_displayed()
    assert sections(chrome) == ["pairs", "series", "planes", "clusters", "figures", "about"]
    for plot in chrome.find_elements(By.CLASS_NAME, "plot"):
        assert plot.find_elements(By.CSS_SELECTOR, ".main-svg"), plot.get_attribute("id")


@pytest.mark.browser
def test_the_page_could_not_fetch_if_it_wanted(opened: Open, page: Path) -> None:
    chrome = opened(page)
    message = chrome.execute_async_script(
        "const done = arguments[0];"
        "fetch('http://localhost:9/').then(() => done('fetched'), (error) => done(error.name));"
    )
    assert message == "TypeError"
    assert [
        line for line in chrome.get_log("browser") if "Content Security Policy" in line["message"]
    ]


RUN = "window.ran = 1"
# What would run, load, hide or turn around, if a text were taken for anything else.
HOSTILE = [
    f"</script><script>{RUN}</script>",
    f"<!--<script>{RUN}//-->",
    f"<img src=x onerror='{RUN}'>",
    f"<svg/onload={RUN}>",
    f'"><a href="javascript:{RUN}" id="hacked">x</a>',
    "<style>* { display: none }</style><link rel=stylesheet href=https://example.org/x.css>",
    f"&lt;b id=hacked&gt;{RUN}<b id=hacked>",
    f"%{{customdata}}${{{RUN}}}`{RUN}`",
    "abc\u202edcba\u2066x\u200b\u200d\ufeffy\u2028z\0",
    "W" * 100_000,
]


def hostile(page: Path, folder: Path) -> Path:
    """A page whose texts are these, wherever a prompt, a token, a name or a title stands."""
    data, drawn = data_of(page), iter(HOSTILE * 1000)
    data["study"]["title"] = data["study"]["name"] = HOSTILE[0]
    data["prompts"] = [[*(next(drawn) for _ in row)] for row in data["prompts"]]
    for group in data["paths"]:
        for some in group.get("tokens", []):
            some["texts"] = [next(drawn) for _ in some["texts"]]
    for group in data["planes"]:
        for model in group["models"]:
            model["tokens"] = [next(drawn) for _ in model["tokens"]]
    for one in data["maps"]:
        for key in ("names", "texts", "kinds"):
            one[key] = [next(drawn) for _ in one[key]]
    for model in data["models"]:
        model["name"], model["family"] = next(drawn), next(drawn)
    for figure in data["figures"]:
        figure["title"] = next(drawn)
    for series in data["series"]:
        series["title"] = next(drawn)
    written = page.read_text(encoding="utf-8")
    start = written.index('<script id="data"')
    start, end = written.index(">", start) + 1, written.index("</script>", start)
    made = folder / "hostile.html"
    made.write_text(written[:start] + explorer.encode(data) + written[end:], encoding="utf-8")
    return made


@pytest.mark.browser
def test_hostile_texts_are_shown_and_do_nothing(opened: Open, page: Path, tmp_path: Path) -> None:
    made = hostile(page, tmp_path)
    chrome = opened(made)
    for plot in ("pair-plot", "plane-plot", "map-plot"):
        chrome.execute_script(
            "const e = document.getElementById(arguments[0]);"
            "e.scrollIntoView(); e.focus();"
            "Plotly.Fx.hover(e, [{curveNumber: 0, pointNumber: 0}]);",
            plot,
        )
    for number in range(len(HOSTILE)):
        move(chrome, "plane-model", number)
        choose_nth = "const e = document.getElementById('map-prompt');"
        choose_nth += "e.selectedIndex = arguments[0]; e.dispatchEvent(new Event('change'));"
        chrome.execute_script(choose_nth, number)
    assert chrome.execute_script("return window.ran === undefined")
    assert chrome.find_elements(By.ID, "hacked") == []
    assert (
        chrome.find_elements(By.CSS_SELECTOR, "main img, main link, main [href^=javascript]") == []
    )
    assert requests(chrome) == [made.as_uri()]
    assert chrome.get_log("browser") == []
    assert sections(chrome) == ["pairs", "series", "planes", "clusters", "figures", "about"]
    shown = chrome.find_element(By.TAG_NAME, "main").get_attribute("textContent")
    assert HOSTILE[2] in shown  # as a text
    options = chrome.execute_script(
        "return Array.from(document.querySelectorAll('#map-prompt option'), (e) => e.textContent)"
    )
    assert any(r"\u{202e}dcba\u{2066}x\u{200b}\u{200d}\u{feff}y\u{2028}z" in one for one in options)
    assert max(map(len, options)) < 3000


@pytest.mark.browser
def test_no_script_but_the_pages_own_can_run(opened: Open, page: Path) -> None:
    chrome = opened(page)
    chrome.execute_script(
        f"const s = document.createElement('script'); s.textContent = {RUN!r};"
        "document.body.append(s);"
        f"const i = document.createElement('img'); i.setAttribute('onerror', {RUN!r});"
        "i.src = 'data:,'; document.body.append(i);"
    )
    time.sleep(0.2)
    assert chrome.execute_script("return window.ran === undefined")
    message = [line["message"] for line in chrome.get_log("browser")]
    assert sum("Content Security Policy" in line for line in message) == 2


@pytest.mark.browser
def test_a_chosen_pair_is_drawn_from_its_raw_rows(opened: Open, page: Path, tiny: Path) -> None:
    chrome = opened(page, "#pair=sharpness:0")
    choose(chrome, "pair-model", "tiny-gpt2")
    choose(chrome, "pair-experiment", "sharpness")
    assert chrome.execute_script("return pairs.path.id") == "sharpness:0"  # the same as before
    third = chrome.find_elements(By.CSS_SELECTOR, "#pair-list button")[2]
    assert third.text == "sharpness 2"
    third.click()
    table, _ = read_parquet(tiny / "results/tiny/interpolation/sharpness/tiny-gpt2.parquet")
    row = table[(table["pair"] == "2") & (table["layer"] == 0)].iloc[0]
    curve = relative(row["distance_post_norm"])
    np.testing.assert_allclose(plotted(chrome, "pair-plot", 1, "y"), curve, atol=1e-4 * curve.max())
    prompts, _ = read_parquet(tiny / "results/tiny/prompts/tiny/tiny-gpt2.prompts.parquet")
    message = text(chrome, "pair-prompts")
    for number in (row["prompt_a"], row["prompt_b"]):
        assert json.dumps(prompts["text"][number]) in message


@pytest.mark.browser
def test_boundaries_are_read_bit_by_bit(opened: Open, page: Path, tiny: Path) -> None:
    chrome = opened(page, "#pair-model=tiny-llama")
    table, _ = read_parquet(tiny / "results/tiny/interpolation/sharpness/tiny-llama.parquet")
    rows = table[table["layer"] == 0]
    mask = in_boundary(stacked(rows["step_post_norm"]))
    assert mask.any()
    result = chrome.execute_script(
        "return pairs.group.names.map((_, row) => new Path(pairs.group, row))"
        ".filter((path) => path.experiment === 'sharpness')"
        ".map((path) => [path.name, path.boundary])"
    )
    assert dict(result) == dict(zip(rows["pair"], mask.tolist(), strict=True))


@pytest.mark.browser
def test_predictions_and_gates_of_other_experiments_stand_with_a_pair(
    opened: Open, page: Path, tiny: Path
) -> None:
    chrome = opened(page, "#pair-model=tiny-llama&pair=sharpness:5")
    results = tiny / "results" / "tiny"
    gates, _ = read_parquet(results / "polytopes/polytopes/tiny-llama.parquet")
    row = gates[(gates["pair"] == "5") & (gates["layer"] == 0)].iloc[0]
    assert chrome.execute_script("return pairs.path.id") == "sharpness:5"
    assert chrome.execute_script("return pairs.path.gates.all") == row["passed_by_step"].tolist()
    meaning, _ = read_parquet(results / "interpolation/meaning/tiny-llama.parquet")
    top = meaning[meaning["pair"] == "5"].iloc[0]["top_token"]
    message = chrome.execute_script("return pairs.path.tokens.texts")
    assert [message.index(one) for one in message] == [list(top).index(one) for one in top]
    assert "Predicts" in text(chrome, "pair-caption")
    assert f"{row['mismatch'].sum()} gates differ" in text(chrome, "pair-caption")
    assert len(chrome.find_elements(By.CSS_SELECTOR, "#pair-plot .bars .point")) >= 7


@pytest.mark.browser
def test_pairs_can_be_filtered(opened: Open, page: Path, tiny: Path) -> None:
    chrome = opened(page, "#pair-model=tiny-gpt2")
    choose(chrome, "pair-experiment", "sharpness")
    table, _ = read_parquet(tiny / "results/tiny/interpolation/sharpness/tiny-gpt2.parquet")
    slopes = max_slope(stacked(table[table["layer"] == 0]["distance_post_norm"]))
    middle = float(np.sort(slopes)[11:13].mean())
    assert text(chrome, "pair-count").endswith("of 24 pairs")
    move(chrome, "slope-from", middle)
    assert text(chrome, "pair-count").endswith("of 12 pairs")
    choose(chrome, "pair-order", "down")
    first = chrome.find_element(By.CSS_SELECTOR, "#pair-list .number").text
    assert float(first) == pytest.approx(slopes.max(), rel=0.006)
    move(chrome, "slope-from", "")
    prompts, _ = read_parquet(tiny / "results/tiny/prompts/tiny/tiny-gpt2.prompts.parquet")
    last = [one.strip().lower() for one in prompts["last_token"]]
    word = last[7]
    pairs = sum(word in last[i : i + 2] for i in range(24))
    move(chrome, "pair-last", word)
    assert text(chrome, "pair-count").endswith(f"of {pairs} pairs")
    move(chrome, "pair-last", "")
    texts = [" ".join(one.split()) for one in prompts["text"]]  # a line break is as good as a space
    part = texts[7][5:25]
    move(chrome, "pair-text", part.upper())
    result = sum(any(part in one for one in texts[i : i + 2]) for i in range(24))
    assert 0 < result < 24
    assert text(chrome, "pair-count").endswith(f"of {result} pairs")
    move(chrome, "pair-text", "no prompt has this")
    assert text(chrome, "pair-count").startswith("no such pair")
    assert chrome.get_log("browser") == []


@pytest.mark.browser
def test_a_plane_is_read_with_keys_and_pointer(opened: Open, page: Path, tiny: Path) -> None:
    chrome = opened(page, "#plane-experiment=planes&plane-triple=1&plane-layer=1&plane-model=0")
    tensors, facts = read_safetensors(
        tiny / "results/tiny/planes/planes/tiny-llama.safetensors", "numpy"
    )
    plot = chrome.find_element(By.ID, "plane-plot")
    plot.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_UP, Keys.ARROW_UP)
    distance = tensors["distance_post_norm"][1, 1, :, 8, 7]
    tokens = [facts["token_texts"][str(t)] for t in tensors["top_token"][1, 1, :, 8, 7]]
    message = text(chrome, "plane-caption").splitlines()
    for line, one, token in zip(message[1:], distance, tokens, strict=True):
        got = re.fullmatch(r'[ABC]: distance (\S+), predicts (".*")', line)
        assert got
        assert float(got[1].replace(",", "")) == pytest.approx(one, rel=0.006)
        assert json.loads(got[2]) == token
    webdriver.ActionChains(chrome).move_to_element_with_offset(plot, 60, 40).perform()
    time.sleep(0.5)
    assert text(chrome, "plane-caption").splitlines() != message
    assert "distance" in plot.find_element(By.CSS_SELECTOR, ".hoverlayer").text
    choose(chrome, "plane-view", "token-1")
    assert '"' in text(chrome, "plane-tokens")
    assert chrome.get_log("browser") == []


@pytest.mark.browser
def test_series_and_planes_play(opened: Open, page: Path) -> None:
    chrome = opened(
        page, "#plane-experiment=training-plane&plane-model=0&series-choice=0&series-at=0"
    )
    for name, element in (("series", "series-caption"), ("plane", "plane-what")):
        before = text(chrome, element)
        chrome.find_element(By.ID, f"{name}-play").click()
        deadline = time.monotonic() + 10
        while text(chrome, element) == before:
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.mark.browser
def test_a_map_says_which_prompts_are_near(opened: Open, page: Path, tiny: Path) -> None:
    chrome = opened(page, "#map-experiment=words")
    choose(chrome, "map-distance", "barrier")
    choose(chrome, "map-prompt", "3")
    entries = pd.read_csv(tiny / "results/tiny/tables/words_entries.csv")
    rows = entries[(entries["distance"] == "barrier") & ((entries["i"] == 3) | (entries["j"] == 3))]
    nearest = rows.sort_values("value").iloc[0]
    names = pd.read_csv(tiny / "results/tiny/tables/words_map.csv")["name"]
    first = chrome.find_element(By.CSS_SELECTOR, "#map-caption li").text
    assert first.startswith(names[int(nearest["i"] + nearest["j"] - 3)])
    assert chrome.get_log("browser") == []


@pytest.mark.browser
def test_a_view_can_be_kept_as_an_address(opened: Open, page: Path) -> None:
    chrome = opened(page)
    choose(chrome, "pair-model", "tiny-random")
    choose(chrome, "pair-layer", "1")
    move(chrome, "pair-text", "the")
    chrome.find_elements(By.CSS_SELECTOR, "#pair-list button")[1].click()
    chosen = chrome.execute_script("return pairs.path.id")
    address = "#" + chrome.current_url.partition("#")[2]
    opened(page, address)
    assert chrome.execute_script("return pairs.path.id") == chosen
    assert chrome.find_element(By.ID, "pair-model").get_attribute("value") == "tiny-random"
    assert chrome.find_element(By.ID, "pair-layer").get_attribute("value") == "1"
    assert chrome.find_element(By.ID, "pair-text").get_attribute("value") == "the"


@pytest.mark.browser
def test_the_page_is_readable_on_a_phone(opened: Open, page: Path) -> None:
    chrome = opened(page)
    phone = {"width": 375, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    try:
        opened(page, "#series-pair=1")
        assert chrome.execute_script("return document.documentElement.scrollWidth") <= 375
        small = chrome.execute_script(
            "return [...document.querySelectorAll('main *')].filter((e) => e.checkVisibility()"
            " && !e.closest('svg') && e.textContent.trim()"
            " && parseFloat(getComputedStyle(e).fontSize) < 12)"
            ".map((e) => e.outerHTML.slice(0, 80))"
        )
        assert small == []
        for plot in chrome.find_elements(By.CLASS_NAME, "plot"):
            assert 300 <= plot.size["width"] <= 375
    finally:
        chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.browser
def test_what_a_study_lacks_is_absent(opened: Open, page: Path, tmp_path: Path) -> None:
    less = tmp_path / "less.html"
    data = data_of(page)
    text_of = page.read_text()
    whole = re.search(r'(<script id="data"[^>]*>)(.*?)(</script>)', text_of)
    assert whole
    for kept in ("paths", "series", "planes", "maps"):
        some = data | {name: [] for name in ("paths", "series", "planes", "maps") if name != kept}
        less.write_text(text_of[: whole.start(2)] + explorer.encode(some) + text_of[whole.end(2) :])
        chrome = opened(less)
        assert chrome.get_log("browser") == []
        section = {"paths": "pairs", "maps": "clusters"}.get(kept, kept)
        assert sections(chrome) == [section, "figures", "about"]
