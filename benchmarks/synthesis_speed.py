"""What synthesis spends its time on, and its frame rate beside that of the bare renderer in the same run.

Makes scenes in this process and splits the time of their rollouts: physics (the simulator's own step and its experts),
rendering, encoding, and our code (contact probe, recording, labels, files). In turns with it `mujoco.Renderer` draws
the same scenes at the same size and quality, which is what one would use instead.

    python benchmarks/synthesis_speed.py --scenes 6
    python benchmarks/synthesis_speed.py --scenes 6 --cameras exterior_1

`--cpu` measures CPU time of all threads in place of wall time, for a machine with much else to do.

Memory over a long run comes from the run itself; `peak_mb_by_tenth` is the largest worker's peak after each tenth of
the scenes:

    time bad-robot synthesize -o big --seeds 0:5 --per-scene 6 --workers 2 --json
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bad_robot_behavior.schema import ROLES
from bad_robot_behavior.synthesis.renderer import choose

FRAMES = 20  # drawn by the bare renderer after each scene, from each camera


def timed(owner: Any, name: str, spent: Counter[str], what: str) -> None:
    """Add up what a method takes."""
    inner: Callable[..., Any] = getattr(owner, name)

    def outer(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        try:
            return inner(*args, **kwargs)
        finally:
            spent[what] += time.perf_counter() - start  # type: ignore[assignment]

    setattr(owner, name, outer)


def bare_seconds(world: Any, width: int, height: int, frames: int, roles: tuple[str, ...]) -> float:
    """Seconds that mujoco.Renderer takes for `frames` frames of each camera of those roles."""
    import mujoco

    world.model.vis.global_.offwidth, world.model.vis.global_.offheight = width, height
    world.model.vis.quality.offsamples = world.model.vis.quality.shadowsize = 0
    with mujoco.Renderer(world.model, height, width) as renderer:
        renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = False
        renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False
        cameras: list[Any] = []
        view = world.task.view
        for azimuth in view.azimuth:
            camera = mujoco.MjvCamera()
            camera.type = mujoco.mjtCamera.mjCAMERA_FREE
            camera.lookat[:], camera.distance, camera.elevation = view.lookat, view.distance, view.elevation
            camera.azimuth = azimuth
            cameras.append(camera)
        cameras.append(world.model.camera("wrist").id)
        cameras = [camera for role, camera in zip(ROLES, cameras, strict=True) if role in roles]
        for camera in cameras:  # the first frame uploads what the others use
            renderer.update_scene(world.data, camera)
            renderer.render()
        start = time.perf_counter()
        for _ in range(frames):
            for camera in cameras:
                renderer.update_scene(world.data, camera)
                renderer.render()
        return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=6)
    parser.add_argument("--tasks", default="pick-place-v3,drawer-open-v3,push-v3")
    parser.add_argument("--per-scene", type=int, default=6)
    parser.add_argument("--size", default="224x224")
    parser.add_argument("--cameras", default=",".join(ROLES))
    parser.add_argument("--cpu", action="store_true", help="CPU time in place of wall time")
    args = parser.parse_args()
    if args.cpu:
        time.perf_counter = time.process_time
    choose()
    from bad_robot_behavior.synthesis import arguments, scene
    from bad_robot_behavior.synthesis.probe import Probe
    from bad_robot_behavior.synthesis.run import plan
    from bad_robot_behavior.synthesis.tasks import find_task
    from bad_robot_behavior.synthesis.world import World
    from bad_robot_behavior.synthesis.writing import studio

    names = args.tasks.split(",")
    seeds = f"0:{-(-args.scenes // len(names))}"
    settings = arguments.settings(
        tasks=args.tasks,
        faults="all",
        seeds=seeds,
        per_scene=args.per_scene,
        size=args.size,
        cameras=args.cameras,
    )
    spent: Counter[str] = Counter()
    timed(Probe, "look", spent, "probe")
    timed(World, "_record", spent, "record")
    total, clock, rollouts, bare, bare_frames = 0.0, scene.Clock(), 0, 0.0, 0
    warm = ""
    with tempfile.TemporaryDirectory() as name:
        plans = plan(settings, Path(name))[: args.scenes]
        for one in plans:
            if one.task != warm:  # a task's model is compiled and its textures are loaded once for all of its scenes
                studio(settings.width, settings.height).draw(World(find_task(one.task), one.seed), "exterior_1")
                warm = one.task
            made = scene.make_scene(one)
            total, clock = total + made.seconds, clock + made.clock
            rollouts += made.rollouts
            world = World(find_task(one.task), one.seed)
            bare += bare_seconds(world, settings.width, settings.height, FRAMES, settings.cameras)
            bare_frames += FRAMES * len(settings.cameras)
    ours = spent["probe"] + spent["record"]
    rest = total - clock.physics - clock.rendering - clock.encoding
    shares = {
        "physics": clock.physics - ours,
        "rendering": clock.rendering,
        "encoding": clock.encoding,
        "probe and record": ours,
        "labels, texts, files": rest,
    }
    print(f"{len(plans)} scenes, {rollouts} rollouts, {clock.frames} frames of {args.size}")
    print(f"{total / rollouts:.2f} s {'of CPU time ' if args.cpu else ''}a rollout")
    for what, seconds in shares.items():
        print(f"  {what:36} {seconds:7.1f} s  {100 * seconds / total:5.1f} %")
    rate, bare_rate = clock.frames / clock.rendering, bare_frames / bare
    print(
        f"frames per second while rendering: {rate:.1f}; mujoco.Renderer: {bare_rate:.1f}; ratio {rate / bare_rate:.2f}"
    )


if __name__ == "__main__":
    main()
