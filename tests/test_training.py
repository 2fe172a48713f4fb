"""Training: the same bytes always, folders that load, and one clear line for a wrong setting."""

import dataclasses
import itertools
import json
import math
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, LlamaForCausalLM

from stable_regions.base.errors import UserError
from stable_regions.base.files import read_safetensors
from stable_regions.training import tokenizer as byte_level
from stable_regions.training import train as training
from stable_regions.training.train import TrainingSettings

VOCABULARY = 300
SETTINGS = TrainingSettings(
    layers=2,
    width=16,
    heads=2,
    mlp_width=24,
    context=12,
    steps=8,
    batch=6,
    learning_rate=1e-2,
    warmup=2,
    schedule="cosine",
    weight_decay=0.1,
    seed=0,
    checkpoints=(0, 2, 5, 8),
)
TEXTS = [
    "The cat sat on the mat, and the dog sat by the cat; a dog barked at mats.\n" * 40,
    "Où est la bibliothèque? « Là-bas », dit-elle; ainsi 🜁 fut-il.\n" * 40,
]


def with_(**changes):
    return dataclasses.replace(SETTINGS, **changes)


def stream(count=2000, seed=1):
    """A stream with something to learn: every id decides the next, but for a little noise."""
    random = np.random.default_rng(seed)
    tokens = np.cumsum(np.where(random.random(count) < 0.9, 7, 1)) % VOCABULARY
    return tokens.astype(np.int32)


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def tokenizer():
    return byte_level.train_tokenizer(TEXTS, VOCABULARY)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "model"
    training.train(stream(), VOCABULARY, SETTINGS, folder, threads=1)
    return folder


class Interrupted(Exception):
    pass


def interrupt(patch, folder, at, state_seconds=0.0, tokens=None, settings=SETTINGS):
    """Train until update `at`, which fails; the state is saved after each update, or never."""
    update = training.TrainingRun.update

    def failing(run, rows):
        if run.step + 1 == at:
            raise Interrupted
        update(run, rows)

    with patch.context() as inner:
        inner.setattr(training, "STATE_SECONDS", state_seconds)
        inner.setattr(training.TrainingRun, "update", failing)
        tokens = stream() if tokens is None else tokens
        with pytest.raises(Interrupted):
            training.train(tokens, VOCABULARY, settings, folder, threads=1)


class TestTokenizer:
    def test_round_trip_of_any_text(self, tokenizer):
        for text in [*TEXTS, "\x00\t unseen: 漢字 and ßẞ "]:
            assert tokenizer.decode(tokenizer.encode(text).ids) == text

    def test_same_bytes_twice(self, tokenizer, tmp_path):
        again = byte_level.train_tokenizer(TEXTS, VOCABULARY)
        byte_level.save_tokenizer(tokenizer, tmp_path / "first")
        byte_level.save_tokenizer(again, tmp_path / "second")
        assert contents(tmp_path / "first") == contents(tmp_path / "second")

    @pytest.mark.parametrize("beside_a_config", [False, True])
    def test_folder_loads_and_adds_no_token(self, tokenizer, tmp_path, trained, beside_a_config):
        """Beside a Llama config too, which must not turn it into Llama's own tokenizer."""
        folder = tmp_path / "tokenizer"
        byte_level.save_tokenizer(tokenizer, folder)
        if beside_a_config:
            (folder / "config.json").write_bytes((trained / "step0/config.json").read_bytes())
        loaded = AutoTokenizer.from_pretrained(folder)
        for text in TEXTS:
            assert loaded(text)["input_ids"] == tokenizer.encode(text).ids
        assert loaded.bos_token == loaded.eos_token == byte_level.END_OF_TEXT
        assert len(loaded) == VOCABULARY

    def test_encode_ends_each_text(self, tokenizer):
        tokens = byte_level.encode(tokenizer, TEXTS)
        ends = np.flatnonzero(tokens == tokenizer.token_to_id(byte_level.END_OF_TEXT))
        assert len(ends) == len(TEXTS)
        assert ends[-1] == len(tokens) - 1
        assert tokenizer.decode(tokens.tolist()) == "".join(TEXTS)

    @pytest.mark.parametrize(("size", "match"), [(256, "at least 257"), (5000, "at most")])
    def test_wrong_size(self, size, match):
        with pytest.raises(UserError, match=f"vocab_size: .*{size}.*{match}"):
            byte_level.train_tokenizer(TEXTS, size)


class TestSettings:
    @pytest.mark.parametrize(
        ("name", "value", "blamed"),
        [
            ("layers", 0, "layers"),
            ("width", 15, "width"),
            ("heads", 0, "heads"),
            ("heads", 3, "width"),
            ("heads", 16, "heads"),
            ("mlp_width", 0, "mlp_width"),
            ("context", 1, "context"),
            ("steps", 0, "steps"),
            ("batch", 0, "batch"),
            ("learning_rate", 0.0, "learning_rate"),
            ("learning_rate", math.inf, "learning_rate"),
            ("warmup", 9, "warmup"),
            ("warmup", -1, "warmup"),
            ("schedule", "linear", "schedule"),
            ("weight_decay", -0.1, "weight_decay"),
            ("seed", -1, "seed"),
            ("checkpoints", (2, 8), "checkpoints"),
            ("checkpoints", (0, 5), "checkpoints"),
            ("checkpoints", (0, 5, 2, 8), "checkpoints"),
            ("checkpoints", (0, 2, 2, 8), "checkpoints"),
            ("checkpoints", (), "checkpoints"),
        ],
    )
    def test_wrong_setting_is_named(self, name, value, blamed):
        with pytest.raises(UserError, match=rf"^{blamed}: "):
            with_(**{name: value})

    @pytest.mark.parametrize("schedule", ["constant", "cosine"])
    @pytest.mark.parametrize("warmup", [0, 1, 3, 8])
    def test_rate(self, schedule, warmup):
        settings = with_(schedule=schedule, warmup=warmup)
        rates = [training.learning_rate(settings, step) for step in range(1, 9)]
        assert max(rates) <= settings.learning_rate
        assert rates[:warmup] == sorted(set(rates[:warmup]))
        after = rates[warmup:]
        if schedule == "constant":
            assert after == [settings.learning_rate] * len(after)
        elif after:
            assert after == sorted(set(after), reverse=True)
            assert after[-1] == pytest.approx(settings.learning_rate * training.COSINE_FLOOR)


class TestSplit:
    @pytest.mark.parametrize(("count", "context"), [(25, 12), (1000, 12), (40_000, 2), (999, 64)])
    def test_every_token_is_predicted_once(self, count, context):
        rows, held_out = training.split_held_out(np.arange(count), context)
        targets = torch.cat((rows, held_out))[:, 1:].flatten().sort().values
        assert torch.equal(targets, torch.arange(1, (count - 1) // context * context + 1))
        assert 1 <= len(held_out) <= len(rows)
        assert len(held_out) * context <= training.HELD_OUT_TOKENS

    def test_held_out_rows_are_spread(self):
        _, held_out = training.split_held_out(np.arange(120_001), 12)
        gaps = held_out[:, 0].diff()
        assert gaps.min() > 0
        assert gaps.max() - gaps.min() <= 12

    def test_too_few_tokens(self):
        with pytest.raises(UserError, match="tokens: .*24.* 25"):
            training.split_held_out(np.arange(24), 12)


class TestTrain:
    def test_checkpoints_load_as_they_were(self, trained):
        names = sorted(path.name for path in trained.iterdir())
        assert names == ["loss.csv", "step0", "step2", "step5", "step8"]
        first = LlamaForCausalLM.from_pretrained(trained / "step0")
        untrained = training.first_model(SETTINGS, VOCABULARY)
        tokens = torch.arange(24).view(2, 12)
        assert torch.equal(first(tokens).logits, untrained(tokens).logits)
        saved = [load_file(trained / f"step{step}/model.safetensors") for step in (0, 2, 5, 8)]
        for before, after in itertools.pairwise(saved):
            assert all(not torch.equal(before[name], after[name]) for name in before)

    def test_curve_is_of_the_checkpoints(self, trained):
        curve = pd.read_csv(trained / "loss.csv", index_col="step")
        assert list(curve.index) == list(range(SETTINGS.steps + 1))
        assert list(curve.tokens) == [step * 6 * 12 for step in curve.index]
        for step in curve.index[1:]:
            rate = training.learning_rate(SETTINGS, step)
            assert curve.learning_rate[step] == pytest.approx(rate, rel=1e-6)
        assert list(curve.held_out_loss.dropna().index) == list(SETTINGS.checkpoints)
        assert list(curve.train_loss.isna()) == [True] + [False] * SETTINGS.steps
        _, held_out = training.split_held_out(stream(), SETTINGS.context)
        for step in SETTINGS.checkpoints:
            model = LlamaForCausalLM.from_pretrained(trained / f"step{step}")
            # transformers' own loss shifts the labels itself
            expected = model(held_out, labels=held_out).loss.item()
            assert curve.held_out_loss[step] == pytest.approx(expected, rel=1e-5)

    def test_loss_falls_towards_what_can_be_known(self, tmp_path):
        settings = with_(steps=300, checkpoints=(0, 300))
        training.train(stream(30_000), VOCABULARY, settings, tmp_path / "model", threads=1)
        held_out = pd.read_csv(tmp_path / "model/loss.csv").held_out_loss.dropna().tolist()
        assert held_out[0] == pytest.approx(math.log(VOCABULARY), abs=0.1)
        # Two outcomes with shares of 0.9 and 0.1: 0.33 nats a token cannot be known
        assert 0.3 < held_out[1] < 1.0

    @pytest.mark.parametrize("threads", [1, 2])
    def test_same_bytes_twice_whatever_the_global_state(self, tmp_path, threads):
        before = torch.get_num_threads()
        settings = with_(steps=3, checkpoints=(0, 3))
        for name in ("a", "ab"):
            torch.manual_seed(len(name))
            training.train(stream(), VOCABULARY, settings, tmp_path / name, threads)
            drawn = torch.rand(3)
            torch.manual_seed(len(name))
            assert torch.equal(drawn, torch.rand(3))
        assert contents(tmp_path / "a") == contents(tmp_path / "ab")
        assert torch.get_num_threads() == before

    def test_seed_changes_weights_and_order(self, tmp_path, trained):
        training.train(stream(), VOCABULARY, with_(seed=1), tmp_path / "other", threads=1)
        ours, other = contents(trained), contents(tmp_path / "other")
        assert ours["step0/config.json"] == other["step0/config.json"]
        assert ours["step0/model.safetensors"] != other["step0/model.safetensors"]
        first, second = (training._order(with_(seed=seed), 50) for seed in (0, 1))
        assert not torch.equal(first, second)

    def test_order_reads_every_row_before_any_again(self):
        order = training._order(with_(steps=10, batch=6, checkpoints=(0, 10)), 25)
        assert len(order) == 60
        assert sorted(order[:25]) == sorted(order[25:50]) == list(range(25))
        assert not torch.equal(order[:25], order[25:50])

    @pytest.mark.parametrize("at", [1, 2, 3, 6, 8])
    def test_resumed_run_ends_in_the_same_bytes(self, tmp_path, monkeypatch, trained, at):
        folder = tmp_path / "model"
        interrupt(monkeypatch, folder, at)
        assert not folder.exists()
        # What a call leaves that is killed in the middle of writing a checkpoint
        half = tmp_path / ".model.work/.step5.scratch/step5/config.json"
        half.parent.mkdir(parents=True)
        half.write_text("{")
        updates = []
        update = training.TrainingRun.update
        monkeypatch.setattr(
            training.TrainingRun,
            "update",
            lambda run, rows: (updates.append(1), update(run, rows)),  # type: ignore[func-returns-value]
        )
        training.train(stream(), VOCABULARY, SETTINGS, folder, threads=1)
        assert len(updates) == SETTINGS.steps - (at - 1)
        assert contents(folder) == contents(trained)
        assert [path.name for path in tmp_path.iterdir()] == ["model"]

    def test_state_older_than_the_last_checkpoint(self, tmp_path, monkeypatch, trained):
        """A run that stopped after a checkpoint, but before the next state, writes it again."""
        folder = tmp_path / "model"
        interrupt(monkeypatch, folder, at=4)
        interrupt(monkeypatch, folder, at=7, state_seconds=math.inf)
        assert (tmp_path / ".model.work/step5").exists()
        training.train(stream(), VOCABULARY, SETTINGS, folder, threads=1)
        assert contents(folder) == contents(trained)

    @pytest.mark.parametrize(
        ("tokens", "settings"),
        [(stream(seed=2), SETTINGS), (stream(), with_(checkpoints=(0, 1, 8)))],
    )
    def test_state_of_another_run_is_not_taken_up(
        self, tmp_path, monkeypatch, trained, tokens, settings
    ):
        folder = tmp_path / "model"
        interrupt(monkeypatch, folder, at=4, tokens=tokens, settings=settings)
        training.train(stream(), VOCABULARY, SETTINGS, folder, threads=1)
        assert contents(folder) == contents(trained)

    def test_state_left_by_other_code_is_not_taken_up(self, tmp_path, monkeypatch, trained):
        folder = tmp_path / "model"
        interrupt(monkeypatch, folder, at=4)
        steps = []
        update = training.TrainingRun.update
        monkeypatch.setattr(
            training.TrainingRun,
            "update",
            lambda run, rows: (steps.append(run.step), update(run, rows)),  # type: ignore[func-returns-value]
        )
        training.train(stream(), VOCABULARY, SETTINGS, folder, threads=1, code="other")
        assert steps == list(range(SETTINGS.steps))
        assert contents(folder) == contents(trained)

    @pytest.mark.process
    def test_killed_process_goes_on(self, tmp_path, trained):
        """Killed outright, at any moment: nothing is half-written."""
        folder = tmp_path / "model"
        np.save(tmp_path / "tokens.npy", stream())
        program = (
            "import json, sys, time, numpy as np\n"
            "from stable_regions.training import train as training\n"
            "update = training.TrainingRun.update\n"
            "training.STATE_SECONDS = 0.0\n"
            "def slow(run, rows):\n"
            "    time.sleep(0.2 if run.step > 3 else 0)\n"
            "    update(run, rows)\n"
            "training.TrainingRun.update = slow\n"
            "settings = training.TrainingSettings(**json.loads(sys.argv[2]))\n"
            "tokens = np.load(sys.argv[1] + '/tokens.npy')\n"
            f"training.train(tokens, {VOCABULARY}, settings, sys.argv[1] + '/model', 1)\n"
        )
        settings = json.dumps(dataclasses.asdict(SETTINGS))
        process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path), settings])
        while not (tmp_path / ".model.work" / training.STATE).exists():
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not folder.exists()
        training.train(stream(), VOCABULARY, SETTINGS, folder, threads=1)
        assert contents(folder) == contents(trained)

    @pytest.mark.process
    @pytest.mark.parametrize("event", ["os.rename", "shutil.rmtree"])
    def test_killed_at_its_end_loses_nothing(self, tmp_path, monkeypatch, trained, event):
        """Killed before the folder gets its name, or before the state behind it goes."""
        folder, work = tmp_path / "model", tmp_path / ".model.work"
        np.save(tmp_path / "tokens.npy", stream())
        program = (
            "import json, os, signal, sys, numpy as np\n"
            "from stable_regions.training import train as training\n"
            "folder, settings, fatal, last = sys.argv[1:]\n"
            "training.STATE_SECONDS = 0.0\n"
            "def watch(event, args):\n"
            "    if event == fatal and last in map(str, args):\n"
            "        os.kill(os.getpid(), signal.SIGKILL)\n"
            "settings = training.TrainingSettings(**json.loads(settings))\n"
            "tokens = np.load(folder + '/tokens.npy')\n"
            "write_csv = training.write_csv\n"
            "def write(*args):\n"
            "    sys.addaudithook(watch)\n"
            "    write_csv(*args)\n"
            "training.write_csv = write\n"
            f"training.train(tokens, {VOCABULARY}, settings, folder + '/model', 1)\n"
        )
        settings = json.dumps(dataclasses.asdict(SETTINGS))
        last = folder if event == "os.rename" else work
        arguments = [str(tmp_path), settings, event, str(last)]
        done = subprocess.run([sys.executable, "-c", program, *arguments])
        assert done.returncode == -signal.SIGKILL
        assert folder.exists() == (event == "shutil.rmtree")
        monkeypatch.setattr(training.TrainingRun, "update", None)  # no step is done again
        training.train(stream(), VOCABULARY, SETTINGS, folder, threads=1)
        assert contents(folder) == contents(trained)
        assert {path.name for path in tmp_path.iterdir()} == {"model", "tokens.npy"}

    @pytest.mark.parametrize("damaged", [training.STATE, f"step5/{training.WEIGHTS}"])
    @pytest.mark.parametrize("damage", ["gone", "empty", "cut", *range(0, 100, 20)])
    def test_damaged_work_is_not_taken_up(self, tmp_path, monkeypatch, trained, damaged, damage):
        """A file of an interrupted run is lost or cut off, or one byte is another."""
        folder = tmp_path / "model"
        interrupt(monkeypatch, folder, at=7)
        path = tmp_path / ".model.work" / damaged
        content = bytearray(path.read_bytes())
        if isinstance(damage, int):
            content[len(content) * damage // 100] ^= 1
        path.write_bytes({"empty": b"", "cut": content[:-9]}.get(damage, content))
        if damage == "gone":
            path.unlink()
        steps = []
        update = training.TrainingRun.update
        monkeypatch.setattr(
            training.TrainingRun,
            "update",
            lambda run, rows: (steps.append(run.step), update(run, rows)),  # type: ignore[func-returns-value]
        )
        training.train(stream(), VOCABULARY, SETTINGS, folder, threads=1)
        assert steps == list(range(SETTINGS.steps))
        assert contents(folder) == contents(trained)

    def test_state_is_safetensors_and_json(self, tmp_path, monkeypatch):
        interrupt(monkeypatch, tmp_path / "model", at=3)
        tensors, facts = read_safetensors(tmp_path / ".model.work" / training.STATE)
        assert facts["step"] == 2
        assert {name.partition(".")[0] for name in tensors} == {"weight", "exp_avg", "exp_avg_sq"}

    def test_an_older_result_gives_way(self, tmp_path, trained):
        folder = tmp_path / "model"
        (folder / "step7").mkdir(parents=True)
        training.train(stream(), VOCABULARY, SETTINGS, folder, threads=1)
        assert contents(folder) == contents(trained)

    @pytest.mark.parametrize("wrong", [-1, VOCABULARY])
    def test_token_outside_the_vocabulary(self, tmp_path, wrong):
        tokens = stream()
        tokens[3] = wrong
        with pytest.raises(UserError, match=f"tokens: .*0 to {VOCABULARY - 1}"):
            training.train(tokens, VOCABULARY, SETTINGS, tmp_path / "model", threads=1)
        assert not list(tmp_path.iterdir())

    def test_bridge_takes_model_and_tokenizer(self, tmp_path, trained, tokenizer):
        from transformer_lens.model_bridge import TransformerBridge

        byte_level.save_tokenizer(tokenizer, tmp_path / "tokenizer")
        loaded = AutoTokenizer.from_pretrained(tmp_path / "tokenizer")
        model = LlamaForCausalLM.from_pretrained(trained / "step8", attn_implementation="eager")
        tokens = torch.tensor(loaded(TEXTS[0])["input_ids"][:12])[None]
        expected = model(tokens).logits
        bridge = TransformerBridge.boot_transformers(
            str(trained / "step8"), hf_model=model, tokenizer=loaded, device="cpu"
        )
        torch.testing.assert_close(bridge(tokens), expected, rtol=0, atol=1e-5)
