"""Planes: their geometry, what is measured on them, and the tables made of it."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stable_regions.base.errors import UserError
from stable_regions.base.files import read_safetensors, write_safetensors
from stable_regions.experiments.plane import tables as plane_tables
from stable_regions.experiments.plane.gather import gather
from stable_regions.experiments.plane.measure import (
    ROW,
    SITES,
    fields,
    frames,
    grid_axis,
    plane_points,
    plane_tensors,
)
from stable_regions.models import sweep as engine
from stable_regions.study.config import load
from tests.models import VOCAB

BUDGET = 2**24
AXIS = grid_axis(7, 0.25)


def corners(seed, triples=2, d=6):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(triples, 3, d, generator=generator, dtype=torch.float64)


def at(plane, triple, a, b):
    grid = (torch.full((1, 1), value, dtype=plane.origin.dtype) for value in (a, b))
    return plane_points(plane, torch.tensor([triple]), *grid)[0, 0]


# Geometry


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_corners_lie_at_their_places_and_the_axes_are_orthogonal(seed):
    three = corners(seed)
    plane = frames(three)
    for triple, (a, b, c) in enumerate(three):
        torch.testing.assert_close(at(plane, triple, 0.0, 0.0), a)
        torch.testing.assert_close(at(plane, triple, 1.0, 0.0), b)
        torch.testing.assert_close(at(plane, triple, float(plane.place[triple]), 1.0), c)
    assert (plane.along * plane.across).sum(-1).abs().max() < 1e-12


def test_geometry_of_a_known_triangle():
    three = torch.tensor([[[1.0, 1.0], [5.0, 1.0], [2.0, 4.0]]])
    plane = frames(three)
    assert plane.along.tolist() == [[4.0, 0.0]]
    assert plane.across.tolist() == [[0.0, 3.0]]
    assert plane.place.tolist() == [0.25]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(0.1, 10))
def test_moving_turning_and_scaling_the_corners_moves_the_points_alike(seed, scale):
    three = corners(seed)
    turn = torch.linalg.qr(corners(seed + 1, 2, 6).reshape(6, 6))[0]
    shift = corners(seed + 2, 1, 6)[0, 0]
    plane, moved = frames(three), frames(scale * three @ turn + shift)
    torch.testing.assert_close(moved.place, plane.place)
    for a, b in ((0.3, 0.7), (-0.25, 1.25)):
        torch.testing.assert_close(at(moved, 1, a, b), scale * at(plane, 1, a, b) @ turn + shift)


def test_two_prompts_with_one_activation_give_a_line():
    three = corners(0, 1)
    three[0, 1] = three[0, 0]
    plane = frames(three)
    assert plane.place.tolist() == [0.0]
    torch.testing.assert_close(at(plane, 0, 0.4, 1.0), three[0, 2])


def test_the_axis_has_0_and_1_at_the_resolutions_of_the_documentation():
    for resolution in (7, 13, 61):
        axis = grid_axis(resolution, 0.25)
        assert (axis[0], axis[-1], len(axis)) == (-0.25, 1.25, resolution)
        assert np.abs(axis[:, None] - [0, 1]).min(0).max() < 1e-12


# Measurement


@pytest.fixture(scope="module")
def measured(model_of):
    """Two triples on a small model: the model, tokens, clean runs, what `plane_tensors` gives."""
    model = model_of("llama", "float64")
    tokens = torch.randint(VOCAB, (7, 5), generator=torch.Generator().manual_seed(1))
    runs = engine.clean(model, tokens, [0, 1], sites=(*SITES, "logits"), budget=BUDGET)
    result = plane_tensors(
        model, pd.DataFrame({"prompt": range(7), "tokens": tokens.tolist()}), runs,
        triples=(0, 2), layers=[0, 1], axis=AXIS, budget=BUDGET,
    )  # fmt: skip
    return model, tokens, runs, result


def test_shapes_and_the_prompts_of_each_triple(measured):
    _, tokens, _, result = measured
    assert result["tokens"].tolist() == [tokens[:3].tolist(), tokens[3:6].tolist()]
    for name in ("distance_post_norm", "distance_pre_norm", "top_token"):
        assert result[name].shape == (2, 2, 3, 7, 7)
    assert result["axis"].tolist() == AXIS.tolist()
    assert result["place_c"].shape == result["length_along"].shape == (2, 2)


def test_a_triple_measured_apart_is_the_one_measured_with_others(measured):
    model, tokens, runs, result = measured
    apart = plane_tensors(
        model, pd.DataFrame({"prompt": range(7), "tokens": tokens.tolist()}), runs,
        triples=(1, 2), layers=[0, 1], axis=AXIS, budget=BUDGET,
    )  # fmt: skip
    assert torch.equal(apart["tokens"], result["tokens"][1:])
    for name in ("distance_post_norm", "distance_pre_norm", "top_token", "place_c"):
        torch.testing.assert_close(apart[name], result[name][:, 1:])


def test_the_output_at_the_own_point_is_the_clean_one(measured):
    _, _, runs, result = measured
    for layer in (0, 1):
        for triple in (0, 1):
            for context, a in ((0, 1), (1, 5)):  # A at a = 0, B at a = 1, both at b = 0
                for site in SITES:
                    field = result[f"distance_{site}"][layer, triple, context]
                    # The norms of the hub's code are in float32: 1.0e-5 has been seen.
                    assert field[1, a] < 1e-4 < field.max()
                top = result["top_token"][layer, triple, context, 1, a]
                assert top == runs["logits"][3 * triple + context].argmax()


def test_every_point_agrees_with_plain_patching(measured):
    model, tokens, runs, result = measured
    plane = frames(runs["resid.1"][:6].unflatten(0, (2, 3)))
    for b, a in ((0, 0), (2, 4), (6, 6)):
        point = at(plane, 1, AXIS[a], AXIS[b])[None]
        for context in range(3):
            plain = engine.full_forward(model, 1, tokens[3 + context], point, (*SITES, "logits"))
            for site in SITES:
                expected = (plain[site][0] - runs[site][3 + context]).norm()
                torch.testing.assert_close(
                    result[f"distance_{site}"][1, 1, context, b, a], expected, rtol=1e-5, atol=1e-6
                )
            assert result["top_token"][1, 1, context, b, a] == plain["logits"].argmax()


@pytest.mark.parametrize("resolution", [2, 7, 11])  # less than a row, nearly one, more than two
def test_how_points_are_put_into_rows_does_not_show(measured, monkeypatch, resolution):
    model, tokens, runs, _ = measured
    plane = frames(runs["resid.0"][:3].unflatten(0, (1, 3)))
    outputs = {site: runs[site][:3].unflatten(0, (1, 3)) for site in SITES}
    results = []
    for row in (ROW, 3):
        monkeypatch.setattr("stable_regions.experiments.plane.measure.ROW", row)
        results.append(
            fields(
                model,
                tokens[:3].unflatten(0, (1, 3)),
                plane,
                outputs,
                layer=0,
                axis=grid_axis(resolution, 0.1),
                budget=BUDGET,
            )
        )
    for name, value in results[0].items():
        assert value.shape == (1, 3, resolution, resolution)
        torch.testing.assert_close(results[1][name], value, rtol=1e-5, atol=1e-6)


def test_the_raw_file_gives_back_fields_and_metadata_without_torch(measured, tmp_path):
    result = measured[-1]
    facts = {"model": "m", "token_texts": {7: " x"}}
    write_safetensors(tmp_path / "p.safetensors", result, facts)
    arrays, metadata = read_safetensors(tmp_path / "p.safetensors", framework="numpy")
    assert metadata == {"model": "m", "token_texts": {"7": " x"}}
    assert {type(value) for value in arrays.values()} == {np.ndarray}
    np.testing.assert_array_equal(
        arrays["distance_post_norm"], result["distance_post_norm"].numpy()
    )


# Measures of fields


def cone(n=61, x=0.4, y=0.7):
    a, b = np.meshgrid(np.linspace(0, 1, n), np.linspace(0, 1, n))
    return np.hypot(a - x, b - y)


def test_the_gradient_of_a_linear_field_is_its_slope():
    a, b = np.meshgrid(np.arange(5) * 0.5, np.arange(5) * 2.0)
    slope = plane_tables.gradient(3 * a + 4 * b, along=0.5, across=2.0)
    assert slope.shape == (4, 4)
    np.testing.assert_allclose(slope, 5.0)


def test_a_cone_has_sharpness_one_and_a_step_as_much_as_it_is_narrow():
    def of(field):
        n = len(field) - 1
        return plane_tables.sharpness(plane_tables.gradient(field, 1 / n, 1 / n))

    assert of(cone()) == pytest.approx(1, abs=0.02)
    step = np.tile(np.arange(61) >= 30, (61, 1)).astype(float)
    assert of(step) == pytest.approx(60)
    assert of(100 * cone() + 7) == pytest.approx(of(cone()))
    assert np.isnan(of(np.zeros((5, 5))))


def test_a_plane_of_no_width_has_no_sharpness():
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = plane_tables.gradient(cone(), 1.0, 0.0)
    assert np.isnan(plane_tables.sharpness(slope))


def test_the_edge_ratio_is_high_where_tokens_change_with_the_output_and_one_where_not():
    top = np.tile(np.arange(20) >= 10, (20, 1)).astype(int)
    edges = plane_tables.token_edges(top)
    assert edges.sum() == 19
    assert edges[:, 9].all()
    smooth_step = np.tile(np.tanh(np.arange(20) - 9.5), (20, 1))
    assert plane_tables.edge_ratio(plane_tables.gradient(smooth_step, 1, 1), edges) > 5
    slope = np.tile(np.arange(20.0), (20, 1))
    assert plane_tables.edge_ratio(plane_tables.gradient(slope, 1, 1), edges) == pytest.approx(1)
    assert np.isnan(plane_tables.edge_ratio(np.ones((19, 19)), np.zeros((19, 19), bool)))


def test_shares_of_the_nearest_output():
    distance = np.ones((3, 2, 2))
    distance[1, 0] = 0.5
    distance[2, 1, 0] = 0.1
    np.testing.assert_allclose(plane_tables.nearest_shares(distance), [0.25, 0.5, 0.25])


# Tables


def made_up(model="m", n=7, triples=2, layers=1):
    """Raw planes of known values: cones about the corners, the nearest of which says the token."""
    axis = np.linspace(-0.25, 1.25, n)
    a, b = np.meshgrid(axis, axis)
    one = np.stack([np.hypot(a - x, b - y) for x, y in ((0, 0), (1, 0), (0.5, 1))])
    shape = (layers, triples, 3, n, n)
    top = np.broadcast_to(one.argmin(0), shape)
    tensors = {
        "axis": axis,
        "distance_post_norm": np.broadcast_to(one, shape).copy(),
        "distance_pre_norm": np.broadcast_to(2 * one, shape).copy(),
        "top_token": top.astype(np.int32),
        "place_c": np.full((layers, triples), 0.5),
        "length_along": np.ones((layers, triples)),
        "length_across": np.ones((layers, triples)),
    }
    meta = {
        "model": model,
        "experiment": {"layers": list(range(layers))},
        "texts": [[f" {t}{c}\nx" for c in "abc"] for t in range(triples)],
        "token_texts": {"0": "NA", "1": " one", "2": "\n"},
    }
    return tensors, meta


def test_shards_of_planes_are_put_together_triple_by_triple():
    whole, facts = made_up(triples=3, layers=2)
    whole["tokens"] = np.arange(3 * 3 * 4).reshape(3, 3, 4)
    for name, value in whole.items():
        if name not in ("axis", "tokens"):
            whole[name] = np.random.default_rng(0).permuted(value, axis=1)
    parts = []
    for some in (slice(0, 1), slice(1, 3)):
        arrays = {
            name: value if name == "axis" else value[some] if name == "tokens" else value[:, some]
            for name, value in whole.items()
        }
        texts = facts["texts"][some]
        parts.append((arrays, {**facts, "texts": texts, "token_texts": {str(some.start): "x"}}))
    result, gathered = gather(parts, pd.DataFrame())
    for name, value in whole.items():
        np.testing.assert_array_equal(result[name], value)
    assert gathered == {**facts, "token_texts": {"0": "x", "1": "x"}}


def test_the_tables_of_made_up_planes(tmp_path):
    raw = [made_up("m", layers=2), made_up("n@step3")]
    triples = plane_tables.triples(raw)
    assert len(triples) == (2 + 1) * 2 * 2
    assert triples[["share_a", "share_b", "share_c"]].sum(axis=1).to_list() == pytest.approx(
        [1] * 12
    )
    assert triples["sharpness"].to_list() == pytest.approx([1] * 12, abs=0.1)
    assert set(triples["top_tokens"]) == {3}
    assert triples["text_b"][0] == '" 0b\\nx"'
    points = plane_tables.points(raw)
    assert len(points) == 2 * 2 * 49
    first = points.iloc[0]
    assert first[["model", "triple", "alpha", "beta"]].to_list() == ["m", 0, -0.25, -0.25]
    assert first["distance_b"] == pytest.approx(np.hypot(1.25, 0.25))
    tokens = plane_tables.token_texts(raw)
    tokens.to_csv(tmp_path / "t.csv", index=False)
    assert pd.read_csv(tmp_path / "t.csv")["text"].to_list() == ['"NA"', '" one"', '"\\n"'] * 2


def test_the_summary_counts_triples_and_those_without_a_number():
    table = plane_tables.triples([made_up(triples=5)])
    table.loc[table["triple"] == 4, "token_edge_ratio"] = np.nan
    table.loc[table["read_site"] == "pre_norm", "token_edge_ratio"] = np.nan
    table.loc[table["read_site"] == "post_norm", "sharpness"] = [1.0, 2.0, 3.0, 4.0, 5.0]
    summary = plane_tables.summary(table, resamples=200, seed=0).set_index(["read_site", "measure"])
    row = summary.loc[("post_norm", "sharpness")]
    assert row[["triples", "median", "q25", "q75", "undefined"]].to_list() == [5, 3, 2, 4, 0]
    assert 1 <= row["ci_low"] < 3 < row["ci_high"] <= 5
    assert summary.loc[("post_norm", "token_edge_ratio"), ["triples", "undefined"]].to_list() == [
        4,
        1,
    ]
    none = summary.loc[("pre_norm", "token_edge_ratio")]
    assert none[["triples", "undefined"]].to_list() == [0, 5]
    assert np.isnan(none["median"])


# Configuration


def config(prompts="random", **plane):
    return {
        "study": "s",
        "models": {"m": {"family": "f", "licence": "l", "source": {"kind": "local", "path": "p"}}},
        "corpora": {"c": {"kind": "local", "path": "p"}},
        "prompts": {
            "random": {"kind": "random", "corpus": "c", "count": 8},
            "written": {"kind": "pairs", "pairs": {"D": {"a": " a b", "b": " a c"}}},
        },
        "experiments": {"planes": {"kind": "plane", "prompts": prompts, **plane}},
        "studies": {"s": {"title": "t", "experiments": {"planes": ["m"]}}},
    }


def test_a_plane_in_the_configuration():
    made = load(config(triples=2)).experiments["planes"]
    assert (made.resolution, made.extent, made.layers) == (61, 0.25, [0])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"triples": 3}, "experiments.planes.triples: holds 3; .* gives at most 2"),
        ({"prompts": "written"}, "experiments.planes: the prompt set 'written' is of kind 'pairs'"),
        ({"resolution": 1}, "experiments.planes.resolution: holds 1"),
        ({"steps": 50}, "experiments.planes.steps: unknown key"),
    ],
)
def test_mistakes_are_told_in_one_line(wrong, says):
    with pytest.raises(UserError, match=says) as caught:
        load(config(**wrong))
    assert "\n" not in str(caught.value)
