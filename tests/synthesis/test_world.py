"""What a scene promises: the same state each time, contacts at every substep, strict success, progress in order."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import pytest
from scipy.stats import spearmanr

from bad_robot_behavior.synthesis import renderer, scenery
from bad_robot_behavior.synthesis.motions import OPEN, closed_loop, follow, go_to, hold
from bad_robot_behavior.synthesis.probe import CONTACTS, Probe
from bad_robot_behavior.synthesis.replay import run_again, run_expert, run_fault
from bad_robot_behavior.synthesis.tasks import Task, find_task
from bad_robot_behavior.synthesis.trace import Trace
from bad_robot_behavior.synthesis.twin import Twin
from bad_robot_behavior.synthesis.world import World

# One that carries, one with a mechanism, one with a tool.
NAMES = ("pick-place-v3", "drawer-close-v3", "hammer-v3")
SEED = 3


@pytest.fixture(scope="module", params=NAMES)
def scene(request: pytest.FixtureRequest) -> tuple[World, Twin]:
    world = World(find_task(request.param), SEED)
    return world, run_expert(world)


@pytest.fixture(scope="module")
def pick_place() -> tuple[World, Twin]:
    world = World(find_task("pick-place-v3"), SEED)
    return world, run_expert(world)


def same(a: Trace, b: Trace, steps: int | None = None) -> bool:
    """All signals bit by bit, over the first `steps`. Not progress, which may look at the whole."""
    names = ("action", "tcp", "gripper", "hand", "object_position", "held", "success", "limit")
    pairs = [(getattr(a, name), getattr(b, name)) for name in names]
    pairs += [(a.forces[kind], b.forces[kind]) for kind in a.forces]
    pairs += [(x.position, y.position) for x, y in zip(a.distractors, b.distractors, strict=True)]
    return all(np.array_equal(x[:steps], y[:steps]) for x, y in pairs)


def test_the_expert_succeeds_and_progress_orders_its_steps(scene: tuple[World, Twin]) -> None:
    _, twin = scene
    trace = twin.trace
    assert trace.success[-1]
    assert twin.success_step is not None
    end = twin.success_step + 1
    assert spearmanr(trace.progress[:end], np.arange(end)).statistic > 0.9
    assert ((trace.progress == 1) == trace.success).all()
    assert trace.progress.min() >= 0
    assert trace.steps < trace.max_steps


def test_the_twin_touches_no_distractor_and_none_moves(scene: tuple[World, Twin]) -> None:
    _, twin = scene
    assert twin.trace.forces["robot_distractor"].max() == twin.trace.forces["object_distractor"].max() == 0
    assert len(twin.trace.distractors) == 2
    for other in twin.trace.distractors:
        assert np.abs(other.position - other.position[0]).max() < 0.005
        assert other.upright.min() > 0.99
        assert other.spilled.max() == 0


def test_the_actions_once_more_give_the_same_rollout(scene: tuple[World, Twin]) -> None:
    world, twin = scene
    again = run_again(world, twin)
    digest, rewards = world.digest(), world.rewards()
    assert same(twin.trace, again)
    other = World(find_task(world.task.name), SEED + 1)
    run_expert(other)
    fresh = World(world.task, SEED)
    assert same(twin.trace, run_expert(fresh).trace)
    assert fresh.digest() == digest
    assert np.array_equal(fresh.rewards(), rewards)


def test_a_fresh_process_gives_the_same_state() -> None:
    world = World(find_task(NAMES[0]), SEED)
    run_expert(world)
    script = (
        "from bad_robot_behavior.synthesis.replay import run_expert;"
        "from bad_robot_behavior.synthesis.tasks import find_task;"
        "from bad_robot_behavior.synthesis.world import World;"
        f"w = World(find_task({NAMES[0]!r}), {SEED}); run_expert(w); print(w.digest())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == world.digest()


class Weaken:
    """A fault for these tests: it changes all that can be changed, then goes on by itself."""

    slug: ClassVar[str] = "weaken"
    title: ClassVar[str] = "changes everything"

    def applies(self, task: Task) -> str | None:
        return None

    def draw(self, rng: np.random.Generator, twin: Twin) -> dict[str, Any]:
        return {"inject_step": int(rng.integers(20, 40))}

    def act(self, world: World, twin: Twin, parameters: dict[str, Any]) -> Iterator[Any]:
        assert world.steps == parameters["inject_step"]
        world.scale_grip(0.02)
        world.scale_friction(0.2)
        world.turn_hand(np.array([np.cos(0.2), np.sin(0.2), 0, 0]))
        world.lower_floor(0.0)
        yield from hold(world, 5, OPEN)
        yield from follow(world, twin, parameters["inject_step"], edit=lambda _, target, grip: (target + 0.01, grip))


def test_up_to_injection_a_fault_changes_nothing_and_after_it_nothing_is_left(scene: tuple[World, Twin]) -> None:
    world, twin = scene
    fault = Weaken()
    parameters = fault.draw(np.random.default_rng(0), twin)
    faulted = run_fault(world, twin, fault, parameters)
    step = parameters["inject_step"]
    assert same(twin.trace, faulted, step)
    assert not np.array_equal(twin.trace.tcp[step : step + 20], faulted.tcp[step : step + 20])
    assert same(twin.trace, run_again(world, twin))


def test_a_shove_to_the_goal_is_neither_success_nor_progress(pick_place: tuple[World, Twin]) -> None:
    """The simulator counts it as success; here the object was to be carried."""
    world, _ = pick_place
    world.restart()
    start = world.object_position
    for offset, steps in (((0, -0.1, 0.12), 60), ((0, -0.1, 0.055), 20), ((0, 0.2, 0.055), 80)):
        for action in go_to(world, start + offset, 1.0, steps, speed=0.6):
            world.step(action)
        for action in hold(world, 10, 1.0):
            world.step(action)
    trace = world.trace()
    nearer = np.linalg.norm(start - world.goal) - np.linalg.norm(trace.object_position[-1] - world.goal)
    assert nearer > 0.05, "the shove missed the object, so that this test shows nothing"
    assert not trace.success.any()
    assert trace.progress.max() <= world.task.stages.reach + 1e-9


def test_success_must_be_held_where_the_instruction_says_so(pick_place: tuple[World, Twin]) -> None:
    world, twin = pick_place

    class LetGo(Weaken):
        def act(self, world: World, twin: Twin, parameters: dict[str, Any]) -> Iterator[Any]:
            yield from hold(world, 40, OPEN)

    assert twin.success_step is not None
    trace = run_fault(world, twin, LetGo(), {"inject_step": twin.success_step + 3})
    assert trace.success[twin.success_step]
    assert not trace.success[-1]
    assert not trace.held[-1]


def test_a_contact_shorter_than_a_control_step_is_seen(pick_place: tuple[World, Twin]) -> None:
    """A block is thrown up against the gripper so fast that it has come and gone between two control steps."""
    world, _ = pick_place
    joint = world.model.body_jntadr[world.model.body("second").id]
    place, speed = world.model.jnt_qposadr[joint], world.model.jnt_dofadr[joint]
    number = CONTACTS.index("robot_distractor")
    missed = 0
    for below in np.linspace(0.06, 0.12, 6):
        world.restart()
        world.data.qpos[place : place + 3] = world.tcp - (0, 0, below)
        world.data.qvel[speed : speed + 3] = [0, 0, 6.0]
        at_the_end = []
        for _ in range(4):
            world.step(np.zeros(4, dtype=np.float32))
            # The simulator computes contacts anew after a step: what one would see who looks only now.
            now = Probe(world.model, world.task.handled)
            now.look(world.data)
            at_the_end.append(now.forces()[number])
        missed += int(((world.trace().forces["robot_distractor"] > 0) & (np.array(at_the_end) == 0)).sum())
    assert missed > 0


def test_a_scene_without_room_has_no_distractors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenery, "find_places", lambda *_, **__: None)
    world = World(find_task("pick-place-v3"), SEED)
    assert world.distractors == {}
    assert run_expert(world).trace.distractors == ()


def test_places_keep_clear_of_things_and_of_the_way() -> None:
    rng = np.random.default_rng(0)
    box, way = np.array([[-0.1, 0.6, 0.1, 0.7]]), np.array([[0.0, 0.5], [0.0, 0.55]])
    found = scenery.find_places(rng, box, way, np.array([-0.3, 0.4]), np.array([0.3, 0.9]), near=np.zeros(2))
    assert found is not None
    for xy in found:
        outside = np.maximum(np.maximum(box[0, :2] - xy, xy - box[0, 2:]), 0)
        assert np.linalg.norm(outside) > 0.05
        assert np.linalg.norm(way - xy, axis=1).min() > 0.12
    assert np.linalg.norm(found[0] - found[1]) > 0.12
    assert scenery.find_places(rng, box, way, np.array([-0.05, 0.6]), np.array([0.05, 0.7]), near=np.zeros(2)) is None


needs_renderer = pytest.mark.skipif(not renderer.available(), reason="neither EGL nor OSMesa can draw here")


@needs_renderer
def test_frames_are_the_same_up_to_injection_and_on_a_replay(pick_place: tuple[World, Twin]) -> None:
    world, twin = pick_place
    studio = renderer.Studio(64, 48)
    frames: list[str] = []

    def watch(world: World) -> None:
        pictures = [studio.draw(world, camera) for camera in renderer.ROLES]
        assert all(picture.shape == (48, 64, 3) and picture.std() > 5 for picture in pictures)
        frames.append(hashlib.sha256(b"".join(picture.tobytes() for picture in pictures)).hexdigest())

    run_again(world, twin, watch, every=8)
    first, frames = frames, []
    assert len(first) == len(range(0, twin.trace.steps, 8)) + ((twin.trace.steps - 1) % 8 != 0)
    run_again(world, twin, watch, every=8)
    assert frames == first
    frames = []
    run_fault(world, twin, Weaken(), {"inject_step": 33}, watch, every=8)
    assert frames[:5] == first[:5]  # after steps 0, 8, 16, 24, 32
    assert frames[5:10] != first[5:10]
    studio.close()


@needs_renderer
def test_a_renderer_that_was_dropped_frees_no_other_ones_buffers() -> None:
    worlds = [World(find_task(name), SEED) for name in (*NAMES, "pick-place-v3")]
    studio = renderer.Studio(64, 48)
    before = [studio.draw(world, "exterior_1") for world in worlds]
    assert np.array_equal(before[0], before[3])
    for world, picture in zip(worlds, before, strict=True):
        assert np.array_equal(studio.draw(world, "exterior_1"), picture)
    studio.close()


@needs_renderer
def test_it_draws_the_same_where_mujoco_was_imported_before(pick_place: tuple[World, Twin]) -> None:
    world, _ = pick_place
    world.restart()
    studio = renderer.Studio(64, 48)
    expected = hashlib.sha256(studio.draw(world, "exterior_1").tobytes()).hexdigest()
    studio.close()
    script = (
        "import hashlib, metaworld;"
        "from bad_robot_behavior.synthesis.renderer import Studio;"
        "from bad_robot_behavior.synthesis.tasks import find_task;"
        "from bad_robot_behavior.synthesis.world import World;"
        f"picture = Studio(64, 48).draw(World(find_task('pick-place-v3'), {SEED}), 'exterior_1');"
        "print(hashlib.sha256(picture.tobytes()).hexdigest())"
    )
    unset = {name: value for name, value in os.environ.items() if name not in ("MUJOCO_GL", "BAD_ROBOT_GL")}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=unset)
    assert done.stdout.strip() == expected


@needs_renderer
def test_nothing_is_printed_at_exit_when_a_renderer_is_left_open() -> None:
    script = (
        "from bad_robot_behavior.synthesis.renderer import Studio;"
        "from bad_robot_behavior.synthesis.tasks import find_task;"
        "from bad_robot_behavior.synthesis.world import World;"
        "s = Studio(32, 32); s.draw(World(find_task('push-v3'), 0), 'wrist')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_without_a_renderer_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renderer, "choose", lambda: None)
    world = World(find_task("pick-place-v3"), SEED)
    with pytest.raises(renderer.RendererError, match=r"can draw here; .*apt-get install -y libegl1"):
        renderer.Studio(32, 32).draw(world, "wrist")


@pytest.mark.parametrize(
    ("asked", "says"),
    [("", "neither EGL nor OSMesa can draw here; install"), ("no-such-thing", "MUJOCO_GL=no-such-thing cannot draw")],
)
def test_without_a_renderer_physics_still_runs_and_drawing_says_what_is_missing(asked: str, says: str) -> None:
    script = (
        "import os;"
        "from bad_robot_behavior.synthesis import renderer;"
        "renderer._TRIAL = 'raise SystemExit(3)'; assert renderer.choose() is None;"
        "from bad_robot_behavior.synthesis.tasks import find_task;"
        "from bad_robot_behavior.synthesis.world import World;"
        "w = World(find_task('push-v3'), 0); w.step([0, 0, 0, 0]); print(os.environ['MUJOCO_GL'], w.steps);"
        "\ntry: renderer.Studio(32, 32).draw(w, 'wrist')"
        "\nexcept renderer.RendererError as error: print(error)"
    )
    environment = {name: value for name, value in os.environ.items() if name not in ("MUJOCO_GL", "BAD_ROBOT_GL")}
    environment |= {"MUJOCO_GL": asked} if asked else {}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, env=environment)
    assert done.stderr == ""
    steps, sentence = done.stdout.splitlines()
    assert steps == "disabled 1"
    assert sentence.startswith(says)


def test_closed_loop_stops_where_its_steps_are_over(pick_place: tuple[World, Twin]) -> None:
    world, _ = pick_place
    world.restart()
    assert len([world.step(action) for action in closed_loop(world, steps=7)]) == 7
