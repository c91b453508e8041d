"""From a release to a checkpoint to curves, by command and by library; and what is refused on the way."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from bad_robot_behavior import media, scorers
from bad_robot_behavior.builder.loader import load
from bad_robot_behavior.cli import main
from bad_robot_behavior.errors import BadRobotError
from bad_robot_behavior.scorers.rewind.checkpoint import EMBEDDED, SIMULATED
from bad_robot_behavior.scorers.rewind.scorer import ReWiND, prefixes
from bad_robot_behavior.scorers.run import view
from bad_robot_behavior.scorers.scorer import Clip
from bad_robot_behavior.train import train_rewind
from tests.scorers.rewind.conftest import FRAMES, LEFT, RIGHT, digest, draw, way

QUICK = ("--epochs", "1", "--steps", "2", "--batch", "4")


def run(*args: object) -> tuple[int, str]:
    done = CliRunner().invoke(main, [str(arg) for arg in args])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("features")


@pytest.fixture
def quick(blocks: Path, cache: Path, tmp_path: Path) -> Path:
    """A checkpoint that has hardly been trained."""
    out = tmp_path / "quick"
    code, said = run("train", "rewind", blocks, "-o", out, "--cache", cache, "--device", "cpu", *QUICK)
    assert code == 0, said
    return out


def clip(places: list[float], instruction: str, name: str = "0" * 20) -> Clip:
    count = len(places)
    return Clip(
        rollout_id=name,
        instruction=instruction,
        frames=draw(places, height=12),
        frame_index=np.arange(count),
        num_frames=count,
        fps=10.0,
    )


def test_it_learns_what_success_rewind_failure_and_another_instruction_are(
    blocks: Path, cache: Path, tmp_path: Path
) -> None:
    out = tmp_path / "rewind"
    flags = ["--cache", cache, "--device", "cpu", "--epochs", "6", "--steps", "100", "--batch", "24", "--rate", "3e-4"]
    code, said = run("train", "rewind", blocks, "-o", out, *flags, "--json")
    assert code == 0, said
    card = json.loads(said[said.index("{") :])
    assert card == json.loads((out / "card.json").read_text())
    assert card["loss"][-1] < 0.4 * card["loss"][0]
    assert (card["data"]["successes"], card["data"]["failures"], card["data"]["instructions"]) == (4, 4, 2)
    assert card["command"].startswith("bad-robot train rewind bad-robot-behavior -o rewind --seed 0 --epochs 6")
    assert card["command"].endswith(" --split train --device cpu --features embedded")

    scorer = ReWiND(out)
    there, back = way(RIGHT, "success"), way(RIGHT, "success")[-2::-1]
    shown = [
        clip(there, RIGHT),
        clip(there[:8] + back[2:], RIGHT),
        clip(way(RIGHT, "failure"), RIGHT),
        clip(there, LEFT),
    ]
    success, rewound, failed, other = (value_of(curve) for curve in scorer.score(shown))
    assert success[-1] > 0.7
    assert np.corrcoef(success, np.arange(FRAMES))[0, 1] > 0.9
    assert rewound[-1] < rewound.max() - 0.3
    assert rewound.argmax() in range(5, 11)
    assert failed.mean() < 0.7 * success.mean()
    assert failed[-1] < 0.3
    assert other.max() < 0.3

    # from the command line
    assert (
        run(
            "score", blocks, "--scorer", "rewind", "--checkpoint", out, "--split", "test", "-o", tmp_path / "p.parquet"
        )[0]
        == 0
    )
    (row,) = pq.read_table(tmp_path / "p.parquet").to_pylist()
    assert row["error"] is None
    seen = view(load(blocks)[row["rollout_id"]], scorer)
    assert isinstance(seen, Clip)
    np.testing.assert_allclose(row["value"], value_of(scorer.score([seen])[0]), atol=1e-6)
    assert str(tmp_path) not in row["parameters"]


def value_of(curve: Any) -> NDArray[np.float64]:
    assert curve.error is None
    assert curve.value is not None
    return np.asarray(curve.value)


def test_the_same_command_gives_the_same_bytes(blocks: Path, cache: Path, quick: Path, tmp_path: Path) -> None:
    again = tmp_path / "again" / "quick"
    assert run("train", "rewind", blocks, "-o", again, "--cache", cache, "--device", "cpu", *QUICK)[0] == 0
    assert digest(again) == digest(quick)
    seeded = tmp_path / "seeded"
    assert run("train", "rewind", blocks, "-o", seeded, "--cache", cache, "--seed", 1, *QUICK)[0] == 0
    assert digest(seeded) != digest(quick)
    # once more into the same folder: what is done is done
    assert run("train", "rewind", blocks, "-o", again, "--cache", cache, "--device", "cpu", *QUICK)[0] == 0
    assert digest(again) == digest(quick)


def test_features_are_made_once_and_a_broken_file_is_made_anew(
    blocks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "features"
    flags = ("--cache", cache, "--max-frames", "3", "--failures", "none", *QUICK)
    assert run("train", "rewind", blocks, "-o", tmp_path / "a", *flags)[0] == 0
    kept = sorted(cache.iterdir())
    assert len(kept) == 8
    data = kept[0].read_bytes()
    kept[0].write_bytes(data[: len(data) // 2])
    sampled = []
    sample = media.sample
    monkeypatch.setattr(media, "sample", lambda *args: sampled.append(args) or sample(*args))
    assert run("train", "rewind", blocks, "-o", tmp_path / "b" / "a", *flags)[0] == 0
    assert len(sampled) == 1
    assert kept[0].read_bytes() == data
    assert digest(tmp_path / "a") == digest(tmp_path / "b" / "a")


@pytest.mark.parametrize("count", [1, 3, 16, 40])
def test_prefixes_end_at_their_frame_and_never_look_beyond(count: int) -> None:
    rows = prefixes(count)
    assert rows.shape == (count, 16)
    for t, row in enumerate(rows):
        assert (row[0], row[-1]) == (0, t)
        assert (np.diff(row) >= 0).all()
        if t < 16:
            assert row.tolist() == [*range(t + 1), *[t] * (15 - t)]
    kept = np.arange(count) % 2 == 0
    for t, row in enumerate(prefixes(count, kept)):
        assert set(row) <= {*range(0, t + 1, 2), t}


def test_a_curve_does_not_depend_on_company_or_on_what_follows(quick: Path) -> None:
    scorer = ReWiND(quick)
    places = way(RIGHT, "success")
    alone = value_of(scorer.score([clip(places, RIGHT)])[0])
    assert alone.shape == (FRAMES,)
    assert ((alone > 0) & (alone < 1)).all()
    _, beside = scorer.score([clip(places[::-1], LEFT), clip(places, RIGHT)])
    assert np.array_equal(alone, value_of(beside))
    cut = value_of(scorer.score([clip(places[:6], RIGHT)])[0])
    np.testing.assert_allclose(cut, alone[:6], atol=1e-6)


def test_samples_differ_and_come_again(quick: Path) -> None:
    scorer = ReWiND(quick, seed=3)
    one = clip(way(RIGHT, "success"), RIGHT)
    samples = np.stack([value_of(curve) for curve in scorer.sample(one, 4)])
    assert samples.shape == (4, FRAMES)
    assert ((samples > 0) & (samples < 1)).all()
    assert len(np.unique(samples.mean(axis=1))) == 4
    before = value_of(scorer.score([one])[0])
    again = np.stack([value_of(curve) for curve in ReWiND(quick, seed=3).sample(one, 2)])
    assert np.array_equal(again, samples[:2])
    assert np.array_equal(value_of(scorer.score([one])[0]), before)  # and leave no trace in the network
    assert not np.array_equal(value_of(ReWiND(quick, seed=4).sample(one, 1)[0]), samples[0])
    renamed = clip(way(RIGHT, "success"), RIGHT, name="1" * 20)
    assert not np.array_equal(value_of(scorer.sample(renamed, 1)[0]), samples[0])


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "card.json"
    card = json.loads(path.read_text())
    for name, value in changes.items():
        if isinstance(card[name], dict):
            card[name] |= value
        else:
            card[name] = value
    path.write_text(json.dumps(card))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "bad-robot-rewind-9"}, "format is 'bad-robot-rewind-9'; legal: bad-robot-rewind-1"),
        ({"weights_sha256": "0" * 64}, "is not what card.json describes"),
        ({"dimensions": {"width": 64}}, r"first has shape \(32,\); by the dimensions in card.json it is \(64,\)"),
        ({"dimensions": {"layers": 1}}, "by the dimensions in card.json it is none"),
        ({"dimensions": {"heads": 5}}, "there is no network of 2 layers, 5 heads"),
        ({"dimensions": {"width": 10**9, "heads": 1}}, "there is no network"),
        ({"dimensions": {"frame": 768}}, "the network reads vectors of 768 and 384 numbers, its features have 2880"),
        ({"dimensions": {"dropout": 1.0}}, "dropout 1.0"),
        ({"features": {"frames_id": "f" * 64}}, "trained on features with frames_id 'ffff"),
        ({"loss": "low"}, "is no card of this format"),
    ],
)
def test_a_checkpoint_that_is_not_what_it_says_is_one_sentence(
    quick: Path, changes: dict[str, Any], message: str
) -> None:
    edit(quick, **changes)
    with pytest.raises(BadRobotError, match=message) as caught:
        ReWiND(quick)
    assert "\n" not in str(caught.value)


def test_what_is_no_checkpoint_is_refused(quick: Path, tmp_path: Path) -> None:
    with pytest.raises(BadRobotError, match="bring their own models"):
        ReWiND(quick, frame_model="facebook/dinov2-base")
    with pytest.raises(BadRobotError, match="is no checkpoint of rewind"):
        scorers.get("rewind", checkpoint=tmp_path / "nothing")
    nonsense = b"\xff" * 40
    (quick / "model.safetensors").write_bytes(nonsense)
    edit(quick, weights_sha256=hashlib.sha256(nonsense).hexdigest())
    with pytest.raises(BadRobotError, match="is no safetensors file"):
        ReWiND(quick)
    (quick / "model.safetensors").unlink()
    with pytest.raises(BadRobotError, match="cannot be read"):
        ReWiND(quick)


def test_a_folder_that_is_no_checkpoint_is_not_written_over(blocks: Path, cache: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.tex").write_text("years")
    code, said = run("train", "rewind", blocks, "-o", precious, "--cache", cache, *QUICK)
    assert (code, "is there and is no checkpoint; give a new folder" in said) == (2, True)
    assert (precious / "thesis.tex").read_text() == "years"


def test_a_release_without_a_success_cannot_be_trained_on(blocks: Path, cache: Path, tmp_path: Path) -> None:
    code, said = run("train", "rewind", blocks, "-o", tmp_path / "out", "--split", "validation", *QUICK)
    assert code == 2
    assert "split validation has no success to train on, of 0 rollouts" in said


def test_the_card_warns_of_what_it_is(blocks: Path, cache: Path, tmp_path: Path) -> None:
    from bad_robot_behavior.scorers.rewind.training import Settings

    settings = Settings(epochs=1, steps=1, batch=4, failures="none")
    card = train_rewind(blocks, tmp_path / "all", settings, split=None, cache=cache, device="cpu")
    assert card.data.left_out == {"failures are not asked for": 4}
    assert card.warnings == ("trained on all splits, test too: its numbers on this release mean nothing",)
    assert (card.data.rollouts, card.data.failures, card.data.split) == (5, 0, None)


def test_the_checkpoint_that_comes_with_the_package() -> None:
    """Small with its encoder, honest about itself, and of use without an option."""
    scorer = scorers.get("rewind")
    assert isinstance(scorer, ReWiND)
    card = scorer.trained
    assert SIMULATED in card.warnings
    assert card.command.startswith("bad-robot train rewind ")
    assert f"--seed {card.settings['seed']} " in card.command
    assert len(card.data.sha256) == 64
    assert scorer.parameters()["weights_sha256"] == card.weights_sha256
    files = [*EMBEDDED.iterdir(), EMBEDDED.parent / "efficientnet_lite0.onnx"]
    assert sum(path.stat().st_size for path in files) < 12_000_000
    one = clip(way(RIGHT, "success"), RIGHT)
    value = value_of(scorer.score([one])[0])
    assert value.shape == (FRAMES,)
    assert value.std() > 0


def test_judging_needs_no_torch(tmp_path: Path) -> None:
    program = """
import sys
sys.modules["torch"] = None
import numpy as np
from bad_robot_behavior import scorers
from bad_robot_behavior.scorers import Clip
frames = np.arange(4 * 32 * 32 * 3, dtype=np.uint8).reshape(4, 32, 32, 3)
clip = Clip(rollout_id="0" * 20, instruction="open it", frames=frames, frame_index=np.arange(4), num_frames=4, fps=10.0)
print(len(scorers.get("rewind").sample(clip, 3)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr
