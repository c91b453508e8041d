from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import numpy as np
import pytest

from bad_robot_behavior import media
from bad_robot_behavior.curation.reward import Reward
from bad_robot_behavior.curation.selection import usable_pairs
from bad_robot_behavior.curation.stage import Store
from bad_robot_behavior.errors import BadRobotError, EndpointError, MediaError
from bad_robot_behavior.schema import (
    EndpointSettings,
    Preference,
    Rejection,
    RewardSettings,
    Rollout,
    Session,
    Videos,
    pair_id,
)
from bad_robot_behavior.scorers.rewind.checkpoint import SIMULATED
from bad_robot_behavior.vlm.cache import Cache
from bad_robot_behavior.vlm.client import Answer, Image, Request
from bad_robot_behavior.vlm.openai_client import OpenAIClient
from bad_robot_behavior.vlm.stub import StubClient
from tests import loopback
from tests.factories import make_pair, make_record, make_rollout, make_video

SETTINGS = RewardSettings(num_frames=5, samples=4, image_size=64)


def run(
    rollouts: list[Rollout], client: Any, settings: RewardSettings = SETTINGS
) -> tuple[list[Rollout], dict[str, int]]:
    stage = Reward(settings, client)
    made = [item for item in stage.run(rollouts, Store(Path("unused"))) if isinstance(item, Rollout)]
    assert [r.rollout_id for r in made] == [r.rollout_id for r in rollouts]
    return made, stage.report()


class Judge:
    """A model that gives all pictures of a rollout the percentages planned for it, one plan a sample in turn."""

    def __init__(self, plans: dict[str, list[Any]]) -> None:
        self.plans = {anchor: list(plan) for anchor, plan in plans.items()}

    def __call__(self, request: Request) -> str | Answer:
        pictures = [part.data for part in request.messages[1].parts if isinstance(part, Image)]
        percent = self.plans[pictures[0].hex()].pop(0)
        if isinstance(percent, Answer) or percent is None:
            return percent or "I cannot say."
        frames = [{"frame": i, "seen": "x", "percent": percent} for i in range(1, len(pictures))]
        return json.dumps({"frames": frames})


def plans(rollouts: list[Rollout], planned: list[list[Any]]) -> StubClient:
    anchors = []
    for rollout in rollouts:
        assert rollout.videos.exterior_1 is not None
        first = media.sample(rollout.videos.exterior_1.path, [0])[0]
        anchors.append(media.jpeg(first, SETTINGS.image_size, 85).hex())
    assert len(set(anchors)) == len(rollouts)
    return StubClient(Judge(dict(zip(anchors, planned, strict=True))))


def constant(percent: int) -> Callable[[Request], str]:
    frames = [{"frame": i, "seen": "", "percent": percent} for i in range(1, SETTINGS.num_frames)]
    return lambda request: json.dumps({"frames": frames})


def test_the_sample_that_agrees_by_most_is_kept(tmp_path: Path) -> None:
    rollouts = list(make_pair(tmp_path))
    (a, b), report = run(rollouts, plans(rollouts, [[50, 60, 90, 20], [60, 40, 50, 20]]))
    (curve,) = a.rewards
    assert (curve.kept_sample, curve.samples, curve.agreement) == (2, 4, "match")
    assert curve.provenance == "self_distilled"
    assert curve.value == (0, 0.9, 0.9, 0.9, 0.9)
    assert curve.margin == pytest.approx(0.8 * (0.9 - 0.5))
    assert (curve.name, curve.kind, curve.scorer, curve.model, curve.role) == (
        "gvl", "progress", "gvl", "stub", "exterior_1"
    )  # fmt: skip
    assert curve.frame_index == (0, 3, 6, 8, 11) == tuple(media.sample_index(12, 5))
    assert a.reward == curve.value
    assert a.reward_frame_index == curve.frame_index
    assert b.reward == (0, 0.5, 0.5, 0.5, 0.5)
    assert b.rewards[0].margin == curve.margin
    assert report["pairs_match"] == report["pairs_usable"] == 1
    assert (report["samples_compared"], report["samples_agreeing"]) == (4, 2)


def test_all_samples_are_stored_with_the_reason(tmp_path: Path) -> None:
    rollouts = list(make_pair(tmp_path))
    (a, b), _ = run(rollouts, plans(rollouts, [[50, 60, 90, None, None], [60, 40, 50, 20]]))
    assert [sample.verdict for sample in a.samples] == ["disagrees", "smaller_margin", "kept", "unreadable"]
    assert [sample.verdict for sample in b.samples] == ["disagrees", "smaller_margin", "kept", "unreadable"]
    assert [sample.margin for sample in b.samples] == [-0.08, 0.16, 0.32, None]
    assert [sample.mean for sample in a.samples] == [0.4, 0.48, 0.72, None]
    assert [sample.error is None for sample in a.samples] == [True, True, True, False]
    assert a.samples[2].value == a.rewards[0].value
    assert a.samples[2].frame_index == a.rewards[0].frame_index
    assert {sample.preferred for sample in a.samples} == {True} == {a.rewards[0].preferred}
    assert {sample.preferred for sample in b.samples} == {False} == {b.rewards[0].preferred}
    assert {sample.pair_id for sample in a.samples + b.samples} == {a.session.preferences[0].pair_id}
    assert len({sample.sample_id for sample in a.samples + b.samples}) == 8


def test_over_all_pairs_each_rollout_keeps_a_sample_of_its_own(tmp_path: Path) -> None:
    rollouts = list(make_pair(tmp_path))
    settings = msgspec.structs.replace(SETTINGS, selection="all_pairs")
    (a, b), report = run(rollouts, plans(rollouts, [[50, 60, 90, 20], [60, 40, 50, 30]]), settings)
    assert (a.rewards[0].kept_sample, b.rewards[0].kept_sample) == (2, 3)
    assert a.rewards[0].margin == pytest.approx(0.8 * 0.6) == b.rewards[0].margin
    assert [sample.verdict for sample in a.samples] == ["smaller_margin", "smaller_margin", "kept", "disagrees"]
    assert (report["samples_compared"], report["samples_agreeing"]) == (4, 2)  # k with k: before any selection


def test_a_reward_that_was_chosen_before_stays(tmp_path: Path) -> None:
    rollouts = list(make_pair(tmp_path, reward=(0.5, 1.0), reward_frame_index=(0, 11)))
    (a, _), _ = run(rollouts, plans(rollouts, [[50, 60, 90, 20], [60, 40, 50, 20]]))
    assert (a.reward, a.reward_frame_index) == ((0.5, 1.0), (0, 11))
    assert a.rewards[0].agreement == "match"


def test_the_human_who_preferred_the_other_keeps_another_sample(tmp_path: Path) -> None:
    rollouts = list(make_pair(tmp_path, preference="b"))
    (a, b), _ = run(rollouts, plans(rollouts, [[50, 60, 90, 20], [60, 40, 50, 20]]))
    assert a.rewards[0].kept_sample == b.rewards[0].kept_sample == 0
    assert a.rewards[0].margin == pytest.approx(0.8 * 0.1)


def test_where_no_sample_agrees_nothing_is_chosen(tmp_path: Path) -> None:
    rollouts = list(make_pair(tmp_path))
    (a, b), report = run(rollouts, plans(rollouts, [[10, 20, 30, 40], [10, 30, 40, 50]]))
    for rollout, mean in ((a, 0.25), (b, 0.325)):
        (curve,) = rollout.rewards
        assert (curve.agreement, curve.provenance, curve.kept_sample, curve.margin) == (
            "no_match",
            "sampled",
            None,
            None,
        )
        assert curve.value == (0, mean, mean, mean, mean)
        assert rollout.reward is None
        assert rollout.reward_frame_index is None
    assert report["pairs_no_match"] == 1
    assert "pairs_match" not in report


def test_samples_that_cannot_be_read_are_left_out_and_counted(tmp_path: Path) -> None:
    rollouts = list(make_pair(tmp_path))
    # None is asked twice: the answer and its repair; the model's plan is followed in order of the requests
    client = plans(rollouts, [[None, 60, 90, 30, None], [40, 40, None, 20, None]])
    (a, b), report = run(rollouts, client)
    assert a.rewards[0].kept_sample == b.rewards[0].kept_sample == 1
    assert report["samples_unreadable"] == 2
    assert report["samples_compared"] == 2


def test_no_readable_sample_is_no_curve(tmp_path: Path) -> None:
    rollouts = list(make_pair(tmp_path))
    made, report = run(rollouts, StubClient(lambda request: "no idea"))
    assert [msgspec.structs.replace(rollout, samples=(), asked=()) for rollout in made] == rollouts
    assert {(s.verdict, s.value, s.margin) for rollout in made for s in rollout.samples} == {("unreadable", None, None)}
    assert report["rollouts_without_curve"] == 2
    assert report["pairs_unread"] == 1


def test_a_pair_of_which_one_side_could_not_be_read_is_not_usable_and_no_mismatch(tmp_path: Path) -> None:
    rollouts = list(make_pair(tmp_path))
    # of b nothing can be read, neither the answers nor their repairs
    (a, b), report = run(rollouts, plans(rollouts, [[10, 20, 30, 40], [None] * 8]))
    assert [curve.agreement for curve in a.rewards] == ["not_usable"]
    assert b.rewards == ()
    assert (report["pairs_usable"], report["pairs_unread"]) == (1, 1)
    assert "pairs_no_match" not in report
    assert report["rollouts_not_usable"] == 2


@pytest.mark.rule("reward.no_readable_sample")
def test_a_curve_that_cannot_be_had_is_a_rejection_beside_its_rollout(tmp_path: Path) -> None:
    a, b = make_pair(tmp_path)
    client = plans([a, b], [[50, None, None, 20, 40, None], [None] * 8])
    made = list(Reward(SETTINGS, client).run([a, b], Store(Path("unused"))))
    assert [item.rollout_id for item in made if isinstance(item, Rollout)] == [a.rollout_id, b.rollout_id]
    (lost,) = [item for item in made if isinstance(item, Rejection)]
    assert (lost.subject, lost.subject_id, lost.session_id) == ("reward_curve", b.rollout_id, b.session_id)
    assert (lost.stage, lost.code) == ("reward", "reward.no_readable_sample")
    assert lost.detail.startswith("4 of 4 samples: not valid JSON")


def test_a_rejection_repeats_nothing_that_a_server_said(tmp_path: Path) -> None:
    client = StubClient(lambda request: Answer(text=None, lack="refused", error="answered 400: cannot read Jo's cup"))
    made = Reward(SETTINGS, client).run(make_pair(tmp_path), Store(Path("unused")))
    details = [item.detail for item in made if isinstance(item, Rejection)]
    assert details == ["4 of 4 samples: the endpoint or the model refused the request"] * 2


def test_equal_scores_make_a_pair_unusable_and_unknown_ones_do_not(tmp_path: Path) -> None:
    a, b = make_pair(tmp_path)
    for first, second, usable in ((0.5, 0.5, False), (0.0, 0.0, False), (0.5, 0.4, True), (None, None, True)):
        pair = [msgspec.structs.replace(a, score=first), msgspec.structs.replace(b, score=second)]
        assert bool(usable_pairs(pair)) == usable
    assert usable_pairs([msgspec.structs.replace(a, score=None), b])


def test_ties_and_missing_partners_are_not_usable(tmp_path: Path) -> None:
    tied = list(make_pair(tmp_path, "s1", preference="tie"))
    alone = list(make_pair(tmp_path, "s2"))[:1]
    rollouts = [*tied, *alone]
    made, report = run(rollouts, StubClient(constant(5)))
    for rollout in made:
        assert [curve.agreement for curve in rollout.rewards] == ["not_usable"]
        assert rollout.rewards[0].provenance == "sampled"
        assert rollout.reward is None
    assert report["rollouts_not_usable"] == 3
    assert "pairs_usable" not in report


def choice(a: str, b: str, preference: str, session: str = "5" * 20) -> Preference:
    return Preference(pair_id=pair_id(a, b), session_id=session, rollout_a=a, rollout_b=b, preference=preference)  # type: ignore[arg-type]


def test_a_rollout_in_several_pairs_is_judged_by_the_first_usable_one(tmp_path: Path) -> None:
    video = make_video(tmp_path / "v.mp4")
    rollouts = [
        make_rollout(video, label=label, score=score) for label, score in zip("ABC", (0.2, 0.4, 0.6), strict=True)
    ]
    a, b, c = (rollout.rollout_id for rollout in rollouts)
    preferences = (
        choice(a, b, "tie"),
        choice(a, "f" * 20, "a"),
        choice(c, a, "b"),
        choice(a, b, "a"),
        choice(b, b, "a"),
    )
    session = Session(session_id=rollouts[0].session_id, preferences=preferences)
    found = usable_pairs([msgspec.structs.replace(rollout, session=session) for rollout in rollouts])
    assert {key: pair.pair_id for key, pair in found.items()} == {
        a: pair_id(c, a), c: pair_id(c, a), b: pair_id(a, b)
    }  # fmt: skip


def test_without_a_client_rollouts_pass_as_they_are(tmp_path: Path) -> None:
    rollouts = list(make_pair(tmp_path))
    made, report = run(rollouts, None)
    assert made == rollouts
    assert report == {}
    assert Reward(SETTINGS).parameters() == {}


def test_the_view_is_the_first_of_exterior_1_exterior_2_wrist(tmp_path: Path) -> None:
    record = make_record(make_video(tmp_path / "v.mp4"))
    rollouts = [
        make_rollout(tmp_path / "v.mp4", session=str(i), videos=videos)
        for i, videos in enumerate([Videos(wrist=record), Videos(wrist=record, exterior_2=record)])
    ]
    made, _ = run(rollouts, StubClient(constant(5)))
    assert [rollout.rewards[0].role for rollout in made] == ["wrist", "exterior_2"]


def test_an_endpoint_that_is_down_stops_the_stage(tmp_path: Path) -> None:
    client = StubClient(lambda request: Answer(text=None, lack="transport", error="answered 502"))
    with pytest.raises(EndpointError, match="502"):
        run(list(make_pair(tmp_path)), client)


def test_a_video_that_went_bad_after_screening_stops_the_stage(tmp_path: Path) -> None:
    rollouts = list(make_pair(tmp_path))
    (tmp_path / "session-1-a.mp4").write_bytes(b"gone")
    with pytest.raises(MediaError, match="session-1-a"):
        run(rollouts, StubClient(lambda request: ""))


def test_parameters_name_what_decides_the_output_and_nothing_else() -> None:
    parameters = Reward(SETTINGS, StubClient(lambda request: "")).parameters()
    assert json.loads(json.dumps(parameters)) == parameters
    assert {"model", "prompt_sha256", "samples", "temperature", "seed", "num_frames"} <= set(parameters)
    assert not {"base_url", "concurrency", "timeout_s"} & set(parameters)


FAULTS = ["429", "500", "drop", "garbage", "empty", "no-choices", "truncated", "one-null"]
FAULTS += ["wrong-count", "prose", "german", "half-json", "out-of-range"]


def over_http(
    rollouts: list[Rollout], url: str, cache: Path | None = None, attempts: int = 4, concurrency: int = 8
) -> bytes:
    settings = EndpointSettings(base_url=url, model="loopback", max_attempts=attempts, concurrency=concurrency)
    client = OpenAIClient(settings, None if cache is None else Cache(cache), backoff_s=0.01)
    return msgspec.json.encode(run(rollouts, client)[0])


def sessions(folder: Path, number: int) -> list[Rollout]:
    return [r for i in range(number) for r in make_pair(folder, f"s{i}", preference="ab"[i % 2])]


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Rollout], bytes]:
    rollouts = sessions(tmp_path_factory.mktemp("judged"), 3)
    with loopback.serve() as url:
        return rollouts, over_http(rollouts, url)


def test_over_http_some_pairs_match_and_some_do_not(judged: tuple[list[Rollout], bytes]) -> None:
    made = msgspec.json.decode(judged[1], type=list[Rollout])
    assert {rollout.rewards[0].agreement for rollout in made} == {"match", "no_match"}
    for rollout in made:
        assert (rollout.reward is not None) == (rollout.rewards[0].agreement == "match")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_server_costs_time_and_no_byte(fault: str, judged: tuple[list[Rollout], bytes]) -> None:
    rollouts, expected = judged
    with loopback.serve(fault=fault, times=2) as url:
        assert over_http(rollouts, url) == expected


@pytest.mark.parametrize("samples", [1, 10])
def test_frames_are_decoded_and_encoded_once_however_many_samples(samples: int, tmp_path: Path) -> None:
    """Also where the server gives one answer at a time, so that the same pictures are sent again and again."""
    rollouts = sessions(tmp_path, 2)
    settings = RewardSettings(num_frames=5, samples=samples)
    with (
        loopback.serve(refuse="n") as url,
        mock.patch.object(media, "sample", wraps=media.sample) as decoded,
        mock.patch.object(media, "jpeg", wraps=media.jpeg) as encoded,
    ):
        client = OpenAIClient(EndpointSettings(base_url=url, model="loopback"))
        list(Reward(settings, client).run(rollouts, Store(Path("unused"))))
        assert loopback.stats(url)["answered"] == samples * len(rollouts)
    assert (decoded.call_count, encoded.call_count) == (len(rollouts), 5 * len(rollouts))


def test_a_second_run_asks_nothing(judged: tuple[list[Rollout], bytes], tmp_path: Path) -> None:
    rollouts, expected = judged
    with loopback.serve() as url:
        assert over_http(rollouts, url, tmp_path / "cache.sqlite") == expected
        assert loopback.stats(url)["requests"] == 6, "the samples of a rollout are one request"
    with loopback.serve(fault="500", times=99) as url:
        assert over_http(rollouts, url, tmp_path / "cache.sqlite") == expected
        assert loopback.stats(url)["requests"] == 0


WORKER = """
import sys
from pathlib import Path
import msgspec
from bad_robot_behavior.schema import Rollout
from tests.curation.test_reward import over_http
folder, url = Path(sys.argv[1]), sys.argv[2]
rollouts = msgspec.json.decode((folder / "in.json").read_bytes(), type=list[Rollout])
(folder / "out.json").write_bytes(over_http(rollouts, url, folder / "cache.sqlite", concurrency=2))
"""


def test_a_run_that_was_killed_goes_on_where_it_was(judged: tuple[list[Rollout], bytes], tmp_path: Path) -> None:
    rollouts = sessions(tmp_path, 3)
    (tmp_path / "in.json").write_bytes(msgspec.json.encode(rollouts))
    command = [sys.executable, "-c", WORKER, str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    cache = tmp_path / "cache.sqlite"
    with loopback.serve(latency_s=0.3) as url:
        worker = subprocess.Popen([*command, url], env=environment)
        while not (cache.exists() and len(Cache(cache)) > 2):
            assert worker.poll() is None
            time.sleep(0.01)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    assert not (tmp_path / "out.json").exists()
    kept = len(Cache(cache))
    assert 2 < kept < 6 * SETTINGS.samples
    with loopback.serve() as url:
        subprocess.run([*command, url], env=environment, check=True)
        assert loopback.stats(url)["choices"] == 6 * SETTINGS.samples - kept
        assert (tmp_path / "out.json").read_bytes() == over_http(rollouts, url)


def test_a_server_that_dies_stops_the_run_and_one_that_comes_back_ends_it(
    judged: tuple[list[Rollout], bytes], tmp_path: Path
) -> None:
    rollouts, expected = judged
    cache = tmp_path / "cache.sqlite"
    with loopback.serve() as url:
        over_http(rollouts[:2], url, cache)
    with pytest.raises(EndpointError, match="cannot be reached"):
        over_http(rollouts, url, cache, attempts=2)
    with loopback.serve() as url:
        assert over_http(rollouts, url, cache) == expected
        assert loopback.stats(url)["choices"] == 4 * SETTINGS.samples


def test_rewind_is_sampled_without_an_endpoint(tmp_path: Path) -> None:
    """The checkpoint that comes with the package, through the same selection; each rollout is decoded once."""
    settings = RewardSettings(scorer="rewind", num_frames=5, samples=6)
    rollouts = list(make_pair(tmp_path))
    stage = Reward(settings)
    made = [item for item in stage.run(rollouts, Store(Path("unused"))) if isinstance(item, Rollout)]
    again = [item for item in Reward(settings).run(rollouts, Store(Path("unused"))) if isinstance(item, Rollout)]
    assert made == again
    stated = stage.parameters()
    assert stated["warnings"] == [SIMULATED]
    assert {len(stated[name]) for name in ("weights_sha256", "frames_id", "text_id")} == {64}
    means = np.array([[sample.mean for sample in rollout.samples] for rollout in made])
    assert means.shape == (2, 6)
    assert len(np.unique(means)) == 12
    gaps = means[0] - means[1]  # the human preferred the first
    for rollout, row in zip(made, means, strict=True):
        (curve,) = rollout.rewards
        assert (curve.scorer, curve.model, curve.kind) == ("rewind", stated["model"], "progress")
        assert curve.frame_index == (0, 3, 6, 8, 11)
        assert [sample.verdict == "unreadable" for sample in rollout.samples] == [False] * 6
        np.testing.assert_allclose([np.mean(sample.value or ()) for sample in rollout.samples], row, atol=1e-5)
        if (gaps > 0).any():
            assert curve.kept_sample == gaps.argmax()
            assert curve.margin == pytest.approx(gaps.max())
            assert rollout.reward == curve.value == rollout.samples[int(gaps.argmax())].value
        else:
            assert (curve.agreement, rollout.reward) == ("no_match", None)
    report = stage.report()
    assert (report["samples_compared"], report["samples_agreeing"]) == (6, int((gaps > 0).sum()))


def test_a_seed_decides_what_rewind_is_sampled_as(tmp_path: Path) -> None:
    settings = RewardSettings(scorer="rewind", num_frames=5, samples=3)
    rollouts = list(make_pair(tmp_path))

    def drawn(seed: int) -> list[Any]:
        stage = Reward(msgspec.structs.replace(settings, seed=seed))
        assert stage.parameters()["seed"] == seed
        made = [item for item in stage.run(rollouts, Store(Path("unused"))) if isinstance(item, Rollout)]
        return [sample.value for rollout in made for sample in rollout.samples]

    assert drawn(0) == drawn(0)
    assert not set(drawn(0)) & set(drawn(1))


def test_a_checkpoint_is_looked_for_beside_the_recipe(tmp_path: Path) -> None:
    with pytest.raises(BadRobotError, match="beside/mine: is no checkpoint of rewind"):
        Reward(RewardSettings(scorer="rewind", checkpoint="mine"), None, Path("beside"))
