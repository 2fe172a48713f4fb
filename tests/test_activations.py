"""Activations: the same whatever the budget, which the logits keep to."""

import pandas as pd
import torch

from stable_regions.audit.sample import sample
from stable_regions.base.files import write_safetensors
from stable_regions.experiments.activations import SITES, cache
from stable_regions.models.load import load_model
from stable_regions.models.sweep import batch_rows, clean
from tests.models import make_model
from tests.test_engine import PeakBytes, tokens


def test_the_logits_of_many_prompts_keep_to_the_budget(tmp_path):
    model = load_model(
        make_model(tmp_path, vocab_size=5000), dtype="float32", device="cpu", threads=1
    )
    read = ["resid.0", *SITES]
    budget = 2**20
    assert 1 < batch_rows(model, k=1, seq=7, sites=read, budget=budget) < 30
    prompts = tokens(120)
    with PeakBytes() as memory:
        result = cache(model, prompts.tolist(), [0], budget=budget)
    kept = sum(value.nbytes for value in result.values())
    assert memory.peak <= budget + kept + prompts.nbytes
    whole = clean(model, prompts, [0], sites=SITES, budget=2**30)
    whole["top_token"] = whole.pop("logits").argmax(-1)
    assert result.keys() == whole.keys()
    for name, value in result.items():
        torch.testing.assert_close(value, whole[name])


def test_a_sample_of_activations_is_what_was_cached(model_of, tmp_path):
    model, prompts = model_of(), pd.DataFrame({"tokens": tokens(20).tolist()})
    cached = cache(model, list(prompts["tokens"]), [0, 1], budget=2**24)
    facts = {"compute": {"memory_budget_mb": 16}}
    for changed in (0.0, 1.0):
        stored = cached | {"resid.1": cached["resid.1"] + changed}
        write_safetensors(tmp_path / "a.safetensors", stored, facts)
        compared = sample(model, tmp_path / "a.safetensors", prompts, 0, 5)
        assert {each.quantity for each in compared} == {*cached}
        off = {each.quantity for each in compared if each.worst > 1}
        assert off == ({"resid.1"} if changed else set())
