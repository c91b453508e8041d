"""How close the client comes to what an endpoint can do, and what asking takes.

A loopback server in a process of its own answers after a fixed time for so many requests at once, without looking at
the pictures. Ideal is the number of rounds that its slots allow, times that time; one slot is what a user's first loop,
one request after the other, gets. On a busy machine the server's own clock runs late, so it also says which part of the
time its slots were busy: what they were not is what the client leaves unused.

    python benchmarks/vlm_throughput.py [--latency 1.0]
    python benchmarks/vlm_throughput.py --builds --latency 10

Needs the tests' loopback server, so it runs in a clone.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
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
from tests.dumps import write_recipe, write_session
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
    """What a run costs, decoding, selection and the cache included, and what the same run costs again."""
    print("\nthe reward stage over 64 rollouts on disk, m = 10, and again over the answers that it left")
    print(
        "slots  requests  prompt tokens  answer tokens     MB  seconds  ideal  videos decoded  pictures encoded",
        end="  ",
    )
    print("again: requests  from the cache  seconds")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rollouts = [rollout(folder, number) for number in range(64)]
        for slots in ROUNDS:
            cache = folder / f"{slots}.sqlite"
            with (
                loopback.serve(latency_s=latency, slots=slots, blind=True) as url,
                mock.patch.object(media, "sample", wraps=media.sample) as decoded,
                mock.patch.object(media, "jpeg", wraps=media.jpeg) as encoded,
            ):
                took = reward(rollouts, folder, client(url, slots + slots // 4, cache))
                videos, pictures, seen = decoded.call_count, encoded.call_count, loopback.stats(url)
                asking = client(url, slots, cache)
                again = reward(rollouts, folder, asking)
                sent = loopback.stats(url)["requests"] - seen["requests"]
            hits = asking.counters["requests_cached"] / asking.counters["requests_asked"]
            ideal = math.ceil(seen["requests"] / slots) * latency
            tokens = f"{seen['prompt_tokens']:13}  {seen['completion_tokens']:13}"
            row = f"{slots:5}  {seen['requests']:8}  {tokens}  {seen['bytes'] / 1e6:5.1f}  {took:7.2f}  {ideal:5.2f}"
            print(f"{row}  {videos:14}  {pictures:16}  {sent:15}  {hits:14.0%}  {again:7.2f}")


def reward(rollouts: list[Rollout], folder: Path, asking: OpenAIClient) -> float:
    """Seconds that the stage takes."""
    start = time.perf_counter()
    list(Reward(RewardSettings(num_frames=FRAMES), asking).run(rollouts, Store(folder / "files")))
    return time.perf_counter() - start


def builds(latency: float) -> None:
    """What is left of it in a build, which also reads, screens and packs: 32 slots, 192 and 384 rollouts."""
    print("\n`bad-robot build` with m = 10, 32 slots; the second row of each adds what as many rollouts more take")
    print("workers  rollouts  requests  seconds  ideal  share of ideal")
    with tempfile.TemporaryDirectory() as name:
        dump = Path(name) / "dump"
        for workers in (1, 2):
            before = 0.0
            for sessions in (96, 192):
                for number in range(sessions):
                    if not (dump / "evaluation_sessions" / f"s{number:04}").exists():
                        session(dump, f"s{number:04}", number)
                with loopback.serve(latency_s=latency, slots=32, blind=True) as url:
                    asked = {"endpoint": {"base_url": url, "model": "loopback", "concurrency": 32}, "samples": 10}
                    recipe = write_recipe(Path(name) / "recipe.yaml", dump, reward=asked)
                    out = Path(name) / f"{workers}-{sessions}"
                    command = [sys.executable, "-m", "bad_robot_behavior", "build", str(recipe), "-o", str(out)]
                    command += ["--workers", str(workers), "--limit", str(sessions)]
                    start = time.perf_counter()
                    done = subprocess.run(command, check=False, capture_output=True, text=True)
                    took = time.perf_counter() - start
                    if not (out / "release.json").exists():  # 1 is fine: some of the drawn scenes are alike
                        raise RuntimeError(done.stderr)
                    requests = loopback.stats(url)["requests"]
                ideal = math.ceil(requests / 32) * latency
                row = f"{workers:7}  {2 * sessions:8}  {requests:8}  {took:7.1f}  {ideal:5.1f}  {ideal / took:14.1%}"
                further = f"; further ones {ideal / 2 / (took - before):.1%}" if before else ""
                print(row + further, flush=True)
                before = took


def session(dump: Path, name: str, number: int) -> None:
    """A session of a dump whose videos are as large as a camera's."""
    folder = write_session(dump, name, seed=number, frames=60, cameras=("left",), npz=False)
    for letter, path in enumerate(sorted(folder.rglob("*.mp4"))):
        make_video(path, num_frames=60, size=(320, 240), seed=2 * number + letter)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency", type=float, default=1.0, help="seconds that the server takes for a request")
    parser.add_argument("--throughput", action="store_true", help="only the first table")
    parser.add_argument("--builds", action="store_true", help="only whole builds, which take minutes")
    options = parser.parse_args()
    latency = options.latency
    if options.builds:
        builds(latency)
        return
    scorer = GVL(client("http://127.0.0.1:9/v1", 1), num_frames=FRAMES)
    clips = [scorer.encode(clip(number)) for number in range(32)]
    size(clips[0])
    throughput(clips, latency)
    if not options.throughput:
        one_or_ten(clips, latency)
        whole_stage(latency)


if __name__ == "__main__":
    main()
