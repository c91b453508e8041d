"""Network, loss, schedule, and a training that can be stopped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bad_robot_behavior.errors import BadRobotError
from bad_robot_behavior.scorers.rewind import training
from bad_robot_behavior.scorers.rewind.dataset import Batch, Pool, Trajectory
from bad_robot_behavior.scorers.rewind.features import FeaturePair
from bad_robot_behavior.scorers.rewind.judge import Dimensions, judge, shapes, thinned
from bad_robot_behavior.scorers.rewind.model import Network, pick_device, progress_loss
from bad_robot_behavior.scorers.rewind.training import Settings, Trainer, fit, rate

PAIR = FeaturePair(
    kind="embedded", frames="numbers", frames_id="0", frame_dimension=6, text="numbers", text_id="0", text_dimension=4
)
TINY = Dimensions(frame=6, text=4, width=16, heads=2, layers=2, inner=32)


@pytest.fixture
def pool() -> Pool:
    rng = np.random.default_rng(0)
    return Pool(
        [
            Trajectory(
                rollout_id=f"{number:020x}",
                instruction_key=f"task {number % 2}",
                frames=rng.normal(size=(8, 6)).astype(np.float16),
                text=rng.normal(size=4).astype(np.float32),
                progress=np.arange(1, 9) / 8,
                rewindable=number < 3,
            )
            for number in range(4)
        ]
    )


def test_what_comes_later_changes_nothing_before_it() -> None:
    network = Network(TINY).eval()
    frames, text = torch.randn(3, 16, 6), torch.randn(3, 4)
    with torch.inference_mode():
        whole = network(frames, text)
        prefixes = torch.stack([network(frames[:, : t + 1], text)[:, -1] for t in range(16)], dim=1)
        torch.testing.assert_close(prefixes, whole, atol=1e-6, rtol=0)
        other = frames.clone()
        other[:, 9:] += 5
        changed = network(other, text)
    torch.testing.assert_close(changed[:, :9], whole[:, :9], atol=1e-6, rtol=0)
    assert (changed[:, 9:] - whole[:, 9:]).abs().min() > 1e-6
    assert whole.shape == (3, 16)
    assert ((whole > 0) & (whole < 1)).all()


def test_the_text_counts_and_only_the_first_frame_has_a_position() -> None:
    # of one layer: with more, what a frame came to tells how many stood before it
    network = Network(Dimensions(frame=6, text=4, width=16, heads=2, layers=1, inner=32)).eval()
    frames, text = torch.randn(1, 5, 6), torch.randn(2, 4)
    with torch.inference_mode():
        assert not torch.allclose(network(frames, text[:1]), network(frames, text[1:]))
        swapped = frames[:, [0, 2, 1, 3, 4]]  # the last sees a set of frames, and which was the first
        torch.testing.assert_close(network(frames, text[:1])[:, 3:], network(swapped, text[:1])[:, 3:])
        moved = frames[:, [1, 0, 2, 3, 4]]
        assert not torch.allclose(network(frames, text[:1])[:, 3:], network(moved, text[:1])[:, 3:])


def test_the_loss_of_a_hand_worked_example() -> None:
    given = torch.tensor([[0.9, 0.5, 0.5], [0.9, 0.2, 0.4], [0.1, 0.1, 0.3]])
    wanted = torch.tensor([[0.0, 0.5, 1.0], [0.0, 0.0, 0.0], [0.0, 0.5, 0.5]])
    # rows from frame 2 on: (0 + 0.25) / 2, (0.04 + 0.16) / 2, (0.16 + 0.04) / 2
    assert progress_loss(given, wanted).item() == pytest.approx((0.125 + 0.1 + 0.1) / 3)
    assert progress_loss(given, wanted, torch.tensor([1, 0, 1])).item() == pytest.approx((0.125 + 0.1) / 2)


def test_a_step_has_the_loss_of_the_published_batch(pool: Pool) -> None:
    """Clips under their texts, and again under texts of other tasks with progress 0, without those that have none."""
    trainer = Trainer(pool, TINY, Settings(), "cpu")
    trainer.network.eval()
    drawn = pool.draw(5, np.random.default_rng(3))
    batch = Batch(frames=drawn.frames, text=drawn.text, progress=drawn.progress, other=np.array([1, -1, 0, 3, -1]))
    clips, texts = trainer.frames[torch.from_numpy(batch.frames)].float(), trainer.texts
    rows = []
    for i in range(5):
        own = trainer.network(clips[i : i + 1], texts[batch.text[i : i + 1]])
        rows.append(((own - torch.from_numpy(batch.progress[i]))[:, 1:] ** 2).mean())
        if batch.other[i] >= 0:
            other = trainer.network(clips[i : i + 1], texts[batch.other[i : i + 1]])
            rows.append((other[:, 1:] ** 2).mean())
    assert len(rows) == 8
    assert trainer.loss(batch).item() == pytest.approx(torch.stack(rows).mean().item(), rel=1e-5)


def test_the_rate_falls_by_cosine_and_then_stays() -> None:
    settings = Settings()
    assert rate(settings, 0) == pytest.approx(1e-4)
    assert rate(settings, 150_000) == pytest.approx(5.5e-5)
    assert rate(settings, 300_000) == rate(settings, 400_000) == pytest.approx(1e-5)
    reference = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(reference, 300_000, 1e-5)
    for step in range(50):
        assert rate(settings, step) == pytest.approx(schedule.get_last_lr()[0], rel=1e-9)
        reference.step()
        schedule.step()


def same(a: training.Trained, b: training.Trained) -> bool:
    pairs = zip(a.weights.values(), b.weights.values(), strict=True)
    return a.loss == b.loss and all(np.array_equal(x, y) for x, y in pairs)


def test_what_is_kept_reads_features_as_they_are(pool: Pool) -> None:
    """Centred and scaled for the training, and taken back into the weights: the same values from the raw features."""
    pool.frames[:, 1] = pool.frames[:, 1] * 30 + 100
    pool.frames[:, 2] = 7  # a column that never changes
    trainer = Trainer(pool, TINY, Settings(rate=1e-2), "cpu")
    rng = np.random.default_rng(0)
    for number in range(20):
        trainer.step(pool.draw(8, rng), number)
    with torch.inference_mode():
        inside = trainer.network.eval()(trainer.frames[None, :8].float(), trainer.texts[:1])
        network = Network(TINY).eval()
        network.load_state_dict({name: torch.from_numpy(held) for name, held in trainer.weights().items()})
        outside = network(torch.from_numpy(pool.frames[None, :8]).float(), torch.from_numpy(pool.texts[:1]))
    torch.testing.assert_close(outside, inside, atol=5e-3, rtol=0)
    assert (trainer.scales["see"][1] > 0).all()


@pytest.mark.parametrize("dimensions", [TINY, Dimensions(frame=6, text=4, width=20, heads=5, layers=3, inner=24)])
def test_judging_without_torch_is_the_same(dimensions: Dimensions) -> None:
    network = Network(dimensions).eval()
    frames, text = torch.randn(16, 6), torch.randn(4)
    weights = {name: tensor.double().numpy() for name, tensor in network.state_dict().items()}
    assert {name: held.shape for name, held in weights.items()} == shapes(dimensions)
    shown = np.random.default_rng(0).integers(0, 16, (70, 9))
    with torch.inference_mode():
        wanted = network(frames[shown], text.expand(70, -1))[:, -1]
    found = judge(weights, dimensions, frames.double().numpy(), text.double().numpy(), shown)
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-6)
    assert found.std() > 1e-4


def test_a_thinned_network_is_one_that_dropout_trains() -> None:
    """Each unit of each dropout of the training, but that of attention weights, is left out or gives more."""
    network = Network(TINY).eval()
    weights = {name: tensor.double().numpy() for name, tensor in network.state_dict().items()}
    frames, text, shown = torch.randn(9, 6), torch.randn(4), np.arange(9)[None]
    made = thinned(weights, TINY, np.random.default_rng(3))

    masks = np.random.default_rng(3)
    layers = network.transformer.layers
    dropouts = [part for layer in layers for part in (layer.dropout1, layer.dropout, layer.dropout2)]
    for dropout, units in [*zip(dropouts, [16, 32, 16] * 2, strict=True), (network.head[3], 8)]:
        mask = torch.from_numpy((masks.random(units) >= TINY.dropout) / (1 - TINY.dropout)).float()
        dropout.register_forward_hook(lambda module, given, out, mask=mask: out * mask)
    torch.backends.mha.set_fastpath_enabled(False)  # it has no dropouts to hook into
    try:
        with torch.no_grad():
            wanted = network(frames[None], text[None])[0, -1]
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    found = judge(made, TINY, frames.double().numpy(), text.double().numpy(), shown)
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-6)
    assert judge(weights, TINY, frames.double().numpy(), text.double().numpy(), shown) != pytest.approx(found)


def test_a_seed_is_a_training(pool: Pool) -> None:
    settings = Settings(epochs=2, steps=3, batch=4)
    torch.manual_seed(5)
    first = fit(pool, PAIR, settings, "cpu", data="d")
    torch.manual_seed(6)  # what others do with the generator changes nothing
    after = torch.rand(1)
    torch.manual_seed(6)
    assert same(first, fit(pool, PAIR, settings, "cpu", data="d"))
    assert torch.equal(torch.rand(1), after)  # nor does a training change what others draw
    assert not same(first, fit(pool, PAIR, Settings(seed=1, epochs=2, steps=3, batch=4), "cpu", data="d"))


def test_each_epoch_draws_clips_of_its_own(pool: Pool) -> None:
    still = Settings(epochs=3, steps=3, batch=4, rate=1e-12, final_rate=1e-12)
    assert len(set(fit(pool, PAIR, still, "cpu", data="d").loss)) == 3


def test_a_training_that_is_stopped_goes_on_as_if_it_had_not_been(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(epochs=3, steps=3, batch=4)
    straight = fit(pool, PAIR, settings, "cpu", data="d")
    state = tmp_path / "state.safetensors"
    step = Trainer.step

    def stopped(self: Trainer, batch: Batch, number: int) -> torch.Tensor:
        if number == 7:
            raise KeyboardInterrupt
        return step(self, batch, number)

    monkeypatch.setattr(Trainer, "step", stopped)
    with pytest.raises(KeyboardInterrupt):
        fit(pool, PAIR, settings, "cpu", data="d", state=state)
    made = []
    monkeypatch.setattr(Trainer, "step", lambda self, batch, number: made.append(number) or step(self, batch, number))
    assert same(straight, fit(pool, PAIR, settings, "cpu", data="d", state=state))
    assert made == [6, 7, 8]
    # more epochs go on from there; fewer, and another training, are refused
    more = fit(pool, PAIR, Settings(epochs=4, steps=3, batch=4), "cpu", data="d", state=state)
    assert more.loss[:3] == straight.loss
    assert made[3:] == [9, 10, 11]
    with pytest.raises(BadRobotError, match="4 epochs are done already"):
        fit(pool, PAIR, settings, "cpu", data="d", state=state)
    with pytest.raises(BadRobotError, match="belongs to a training with other data"):
        fit(pool, PAIR, settings, "cpu", data="other", state=state)
    state.write_bytes(b"\x10\0\0\0\0\0\0\0nothing")
    with pytest.raises(BadRobotError, match="remove it to start anew"):
        fit(pool, PAIR, settings, "cpu", data="d", state=state)


def test_a_training_that_goes_astray_says_so(pool: Pool) -> None:
    pool.frames[:] = np.inf
    with pytest.raises(BadRobotError, match="epoch 1: the loss is nan"):
        fit(pool, PAIR, Settings(epochs=2, steps=2, batch=4), "cpu", data="d")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_not_there_is_named() -> None:
    assert pick_device("auto") == "cpu"
    with pytest.raises(BadRobotError, match="torch sees none here"):
        pick_device("cuda")
