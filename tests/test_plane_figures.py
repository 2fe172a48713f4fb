"""Pictures of planes on fields whose colours are known."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from stable_regions.experiments.plane import tables as plane_tables
from stable_regions.figures import (
    fig1,
    figA_planes_models,
    figA_planes_models_common,
    figA_planes_tokens,
    figA_planes_training,
    figA_planes_training_common,
    planes,
    style,
)
from tests.test_planes import made_up


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def tables(models=("m@step0", "m@step1600"), **sizes):
    raw = [made_up(model, **sizes) for model in models]
    raw[-1][0]["distance_post_norm"] *= 4
    return plane_tables.points(raw), plane_tables.triples(raw), plane_tables.token_texts(raw)


def test_colours_are_one_minus_the_share_of_the_scale():
    distance = np.array([[[0.0, 2.0]], [[4.0, 1.0]], [[3.0, 3.0]]])
    image = planes.colours(distance, planes.own_scale(distance))
    np.testing.assert_allclose(image, [[[1, 0, 0], [0, 0.75, 0]]])
    np.testing.assert_allclose(
        planes.colours(distance, np.array([4.0, 4, 0]))[0, 1], [0.5, 0.75, 1]
    )


def test_a_corner_is_bright_in_its_own_channel():
    points, triples, _ = tables()
    drawn, _ = fig1.draw(points, triples)
    own = drawn[(drawn["scale"] == "own") & (drawn["model"] == "m@step0") & (drawn["triple"] == 0)]
    corner = own[np.isclose(own["alpha"], 1) & np.isclose(own["beta"], 0)].iloc[0]
    assert corner["green"] == pytest.approx(1)
    assert max(corner["red"], corner["blue"]) < 0.5


def test_the_common_scale_keeps_the_frames_apart_and_the_own_one_does_not():
    points, triples, _ = tables()
    drawn, figure = fig1.draw(points, triples)
    assert set(drawn["triple"]) == {0}
    least = drawn.groupby(["scale", "model"])["red"].min()
    assert least["own"].to_list() == pytest.approx([0, 0])
    assert least["common"].to_list() == pytest.approx([0.75, 0])
    assert [axis.get_title() for axis in figure.axes[:2]] == ["step 0", "step 1,600"]


def test_images_lie_the_right_way_round():
    points, triples, _ = tables()
    _, figure = fig1.draw(points, triples)
    [image] = figure.axes[0].images
    assert image.origin == "lower"
    assert image.get_extent() == pytest.approx([-0.375, 1.375] * 2)
    assert image.get_array()[1, 5, 1] == pytest.approx(1)  # row b = 0, column a = 1: B
    names = {text.get_text(): text.xy for text in figure.axes[0].texts}  # type: ignore[attr-defined]
    assert names == {"A": (0, 0), "B": (1, 0), "C": (0.5, 1)}


def test_rows_and_columns_of_the_appendix():
    points, triples, _ = tables(triples=3)
    drawn, figure = figA_planes_training.draw(points, triples)
    assert len(drawn) == len(points)
    assert sum(len(axis.images) for axis in figure.axes) == 6
    assert [axis.get_ylabel() for axis in figure.axes if axis.get_ylabel()] == ["0", "1", "2"]
    drawn, figure = figA_planes_models.draw(points, triples)
    assert len(drawn) == len(points)
    shown = [axis.get_title() for axis in figure.axes if axis.images]
    assert [title[-3:] for title in shown] == [", 0", ", 0", ", 1", ", 1", ", 2", ", 2"]
    assert len(set(shown)) == 6


def test_a_common_scale_is_the_largest_of_the_triples_planes():
    points, triples, _ = tables(triples=2)
    first = points["model"] == points["model"].iloc[0]
    points.loc[first, ["distance_a", "distance_b", "distance_c"]] *= 5
    own, _ = figA_planes_models.draw(points, triples)
    common, _ = figA_planes_models_common.draw(points, triples)
    darkest = {
        name: drawn.groupby(drawn["model"] == points["model"].iloc[0])["red"].min()
        for name, drawn in (("own", own), ("common", common))
    }
    assert darkest["own"].to_numpy() == pytest.approx([0, 0])
    assert darkest["common"][True] == pytest.approx(0)
    assert darkest["common"][False] == pytest.approx(1 - 4 / 5)
    assert figA_planes_training_common.draw(points, triples)[0]["red"].max() <= 1


def test_regions_of_tokens_are_named_once_and_bordered():
    points, triples, tokens = tables(n=13, triples=1)
    drawn, figure = figA_planes_tokens.draw(points, triples, tokens)
    assert set(drawn["model"]) == {"m@step0"}
    for axis in figure.axes[1:]:
        written = sorted(text.get_text() for text in axis.texts if len(text.get_text()) > 1)
        assert written == sorted(['"NA"', '" one"', '"\\n"'])
        [lines] = axis.collections
        assert len(lines.get_segments()) > 10  # type: ignore[attr-defined]


def test_borders_are_between_points_that_differ():
    _, axes = plt.subplots()
    planes.borders(axes, np.array([[1, 1], [1, 2]]), np.array([0.0, 1.0]))
    segments = sorted(segment.tolist() for segment in axes.collections[0].get_segments())  # type: ignore[attr-defined]
    assert segments == [[[0.5, 0.5], [0.5, 1.5]], [[0.5, 0.5], [1.5, 0.5]]]


def test_a_name_lies_in_its_region_and_off_the_marks():
    axis = np.linspace(0, 1, 11)
    mask = np.zeros((11, 11), bool)
    mask[4:7, :] = True
    assert planes.middle(mask, axis, [(0.0, 0.0)]) == pytest.approx((0.5, 0.5))
    a, b = planes.middle(mask, axis, [(0.5, 0.5)])
    assert abs(a - 0.5) > 0.15
    assert 0.4 <= b <= 0.6
    mask[:] = False
    mask[5, 5] = True
    assert planes.middle(mask, axis, [(0.5, 0.5)]) == pytest.approx((0.5, 0.5))


@pytest.mark.parametrize(
    ("ref", "title"),
    [
        ("suite-16x64@step400", "step 400"),
        ("olmo@step1000-tokens4B", "step 1,000"),
        ("olmo@main", "main"),
        ("olmo@refs%2Fpr%2F1", "refs/pr/1"),
        ("m@step3b", "step3b"),
        ("smollm2-135m", "smollm2-135m"),
    ],
)
def test_titles_of_frames(ref, title):
    assert style.frame_title(ref) == title
