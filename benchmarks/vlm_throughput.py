"""How close the client comes to what an endpoint can do, and what asking takes.

A loopback server in a process of its own answers after a fixed time for so many requests at once, without looking at
the pictures. Ideal is the number of rounds that its slots allow, times that time; one slot is what a user's first loop,
one request after the other, gets. On a busy machine the server's own clock runs late, so it also says which part of the
time its slots were busy: what they were not is what the client leaves unused.

    python benchmarks/vlm_throughput.py [--latency 1.0]

Needs the tests' loopback server, so it runs in a clone.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from bad_robot_behavior import media
from bad_robot_behavior.curation.reward import Reward
from bad_robot_behavior.curation.stage import Store
from bad_robot_behavior.schema import EndpointSettings, RewardSettings, Rollout
from bad_robot_behavior.scorers.gvl import GVL, EncodedClip
from bad_robot_behavior.scorers.scorer import Clip
from bad_robot_behavior.vlm.cache import Cache
from bad_robot_behavior.vlm.openai_client import OpenAIClient
from bad_robot_behavior.vlm.wire import payload
from tests import loopback
from tests.factories import make_rollout, make_video

FRAMES, SIZE = 30, 320
ROUNDS = {1: 12, 8: 12, 32: 20}  # requests in flight -> how often all slots are filled


def scene(number: int, frame: int) -> np.ndarray:
    """A picture of 320 x 240 with as much detail as a camera's, so that its JPEG is as large as one."""
    chance = np.random.default_rng(number)
    coarse = chance.integers(0, 256, (16, 20, 3)).repeat(15, axis=0).repeat(16, axis=1)
    noise = np.random.default_rng([number, frame]).integers(-2, 3, coarse.shape)
    moved = np.roll(coarse, frame, axis=1)
    return np.clip(moved * 0.5 + 60 + noise, 0, 255).astype(np.uint8)


def clip(number: int) -> Clip:
    """One rollout as a scorer gets it."""
    return Clip(
        rollout_id=f"{number:020x}",
        instruction="put the marker in the cup",
        frames=np.stack([scene(number, frame) for frame in range(FRAMES)]),
        frame_index=np.arange(FRAMES),
        num_frames=FRAMES,
        fps=10.0,
    )


def client(url: str, concurrency: int, cache: Path | None = None) -> OpenAIClient:
    settings = EndpointSettings(base_url=url, model="loopback", concurrency=concurrency)
    return OpenAIClient(settings, None if cache is None else Cache(cache))


def throughput(clips: list[EncodedClip], latency: float) -> None:
    print(f"requests of {FRAMES} pictures, {latency:g} s each at the server")
    print("slots  in flight  requests  seconds  ideal  share of ideal  slots busy  client CPU a request")
    for slots, rounds in ROUNDS.items():
        # A quarter more in flight than there are slots, so that one that falls free is filled at the server.
        for concurrency in dict.fromkeys((slots, slots + slots // 4)):
            count = slots * rounds
            with loopback.serve(latency_s=latency, slots=slots, blind=True) as url:
                scorer = GVL(client(url, concurrency), num_frames=FRAMES, orders=64, seed=1)
                # Until an endpoint has answered once, a request goes alone, to find out whether anybody is there.
                scorer.sample_encoded(clips[:1], 1)
                shown = clips[: min(count, len(clips))]
                before = loopback.stats(url)["held_s"]
                start, worked = time.perf_counter(), time.process_time()
                curves = scorer.sample_encoded(shown, count // len(shown))
                took, worked = time.perf_counter() - start, time.process_time() - worked
                busy = (loopback.stats(url)["held_s"] - before) / (slots * took)
            assert all(curve.error is None for one in curves for curve in one)
            done = sum(len(one) for one in curves)
            ideal = math.ceil(done / slots) * latency
            row = f"{slots:5}  {concurrency:9}  {done:8}  {took:7.2f}  {ideal:5.2f}  {ideal / took:14.1%}  {busy:10.1%}"
            print(f"{row}  {1e3 * worked / done:17.1f} ms")


def one_or_ten(clips: list[EncodedClip], latency: float) -> None:
    print("\nten samples of each of 8 rollouts, 8 at a time: one request with n = 10 against ten requests")
    print("way           requests  prompt tokens  answer tokens     MB  seconds")
    for name, orders, flags in (
        ("n = 10", 1, {}),
        ("ten requests", 10, {}),
        ("n refused", 1, {"refuse": "n"}),
    ):
        with loopback.serve(latency_s=latency, blind=True, **flags) as url:
            start = time.perf_counter()
            GVL(client(url, 8), num_frames=FRAMES, temperature=0.8, orders=orders).sample_encoded(clips[:8], 10)
            took = time.perf_counter() - start
            seen = loopback.stats(url)
        tokens = f"{seen['prompt_tokens']:13}  {seen['completion_tokens']:13}"
        print(f"{name:12}  {seen['requests']:8}  {tokens}  {seen['bytes'] / 1e6:5.1f}  {took:7.2f}")


def size(encoded: EncodedClip) -> None:
    scorer = GVL(client("http://127.0.0.1:9/v1", 1), num_frames=FRAMES)
    ((_, request),) = scorer._questions(encoded, 1)
    body = len(json.dumps(payload(request, 1, "max_tokens", ())))
    pictures = sum(len(picture.data) for picture in encoded.pictures)
    print(f"\na request: {body / 1e3:.0f} KB; its {FRAMES} pictures {pictures / 1e3:.0f} KB, as base64", end=" ")
    print(f"{pictures * 4 / 3 / body:.1%} of it; the same frames as PNG, base64:", end=" ")
    png = sum(len(_png(frame)) for frame in clip(0).frames)
    print(f"{png * 4 / 3e3:.0f} KB")


def _png(frame: np.ndarray) -> bytes:
    import io

    import PIL.Image

    file = io.BytesIO()
    PIL.Image.fromarray(frame).save(file, "PNG")
    return file.getvalue()


def rollout(folder: Path, number: int) -> Rollout:
    path = make_video(folder / f"{number}.mp4", num_frames=60, size=(320, 240), seed=number)
    return make_rollout(path, session=f"s{number // 2}", label="AB"[number % 2], num_frames=60)


def whole_stage(latency: float) -> None:
    print("\nthe reward stage over 64 rollouts on disk, m = 10, 32 at a time")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rollouts = [rollout(folder, number) for number in range(64)]
        for way in ("first run", "second run"):
            with (
                loopback.serve(latency_s=latency, slots=32, blind=True) as url,
                mock.patch.object(media, "sample", wraps=media.sample) as decoded,
                mock.patch.object(media, "jpeg", wraps=media.jpeg) as encoded,
            ):
                asking = client(url, 32, folder / "cache.sqlite")
                start = time.perf_counter()
                list(Reward(RewardSettings(num_frames=FRAMES), asking).run(rollouts, Store(folder / "files")))
                took = time.perf_counter() - start
                hits = asking.counters["requests_cached"] / asking.counters["requests_asked"]
            print(
                f"{way}: {took:.2f} s, {decoded.call_count} videos decoded, {encoded.call_count} pictures encoded, "
                f"{asking.counters['requests_sent']} requests for {asking.counters['requests_asked']} samples, "
                f"{hits:.0%} from the cache"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency", type=float, default=1.0, help="seconds that the server takes for a request")
    parser.add_argument("--throughput", action="store_true", help="only the first table")
    latency = parser.parse_args().latency
    scorer = GVL(client("http://127.0.0.1:9/v1", 1), num_frames=FRAMES)
    clips = [scorer.encode(clip(number)) for number in range(32)]
    size(clips[0])
    throughput(clips, latency)
    if not parser.parse_args().throughput:
        one_or_ten(clips, latency)
        whole_stage(latency)


if __name__ == "__main__":
    main()
