"""One scene of a task: the simulator with what is added to it, stepped by actions, and the trace of what happened.

A fault acts on a world through its methods alone; `restart` undoes all of them and begins from the same state again.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior.synthesis import scenery
from bad_robot_behavior.synthesis.probe import CONTACTS, Probe
from bad_robot_behavior.synthesis.progress import progress
from bad_robot_behavior.synthesis.renderer import mujoco
from bad_robot_behavior.synthesis.simulator import UPRIGHT, environment, expert
from bad_robot_behavior.synthesis.tasks import Task
from bad_robot_behavior.synthesis.trace import Distractor, Trace

Floats = NDArray[np.float64]
Action = NDArray[np.float32]

CONTROL_HZ = 80.0
METRES_PER_ACTION = 0.01
"""How far an action of 1 moves the hand's target in a control step."""
SETTLED = 10
"""Control steps for which success has to hold until an attempt is over."""
_LIFTED = 0.01
_PARKED = np.array([0.6, 0.85]), np.array([-0.6, 0.85])
"""Places on the table, xy of cup and second object, that no expert comes near."""
_WITH_GRIPPER = 0.003
"""Metres per control step by which what is held may move against the gripper."""


class World:
    """One scene. Two worlds of the same task and seed are bit-identical, whatever was simulated before.

    Attributes: `task`, `seed`, `variant` (which compiled model it has), `model` and `data` (MuJoCo's), `steps` taken
    since the start, `observation` (39,) as the simulator's policies read it, `distractors` by name of their body.
    """

    def __init__(self, task: Task, seed: int) -> None:
        self.task, self.seed = task, seed
        rng = np.random.default_rng([seed, int.from_bytes(hashlib.sha256(task.name.encode()).digest()[:4], "big")])
        second: scenery.Second = "block" if rng.random() < 0.5 else "can"
        filled = bool(rng.random() < 0.5)
        free = [colour for colour in scenery.COLOURS if colour not in f"{task.object} {task.goal}"]
        colours = [str(colour) for colour in rng.permutation(free)[:2]]
        kind = environment(task.name)
        self.distractors: dict[str, str] = {}
        self._places: dict[int, Floats] = {}
        if not (task.distractors and self._furnish(kind, rng, second, filled, colours)):
            self._make(kind, second=None, filled=False)
        model = self.model
        self._hand = model.body("hand").id
        self._bodies = [model.body(body).id for body in self.distractors]
        self._particles = [i for i in range(model.nbody) if model.body(i).name.startswith("particle_")]
        self._pristine = {
            name: getattr(model, name).copy() for name in ("actuator_gainprm", "actuator_biasprm", "geom_friction")
        }
        self._limits = self._env.mocap_low.copy(), self._env.mocap_high.copy()
        self.table = _table_height(model, self.data)
        self.restart()

    def _make(self, kind: type[Any], second: scenery.Second | None, filled: bool) -> None:
        self.variant = scenery.Variant(_xml(kind), second, filled)
        self.model = copy.copy(scenery.compiled(self.variant))
        self._probe = Probe(self.model, self.task.handled)
        self._tcp = [self.model.site(side + "EndEffector").id for side in ("right", "left")]
        self._env = kind(self)
        self.data = self._env.data

    def _furnish(
        self, kind: type[Any], rng: np.random.Generator, second: scenery.Second, filled: bool, colours: list[str]
    ) -> bool:
        """Make the scene with distractors where it has room for them, clear of all that the task needs."""
        self._make(kind, second, filled)
        table = _table_height(self.model, self.data)
        for joint, pose in scenery.places(self.model, *_PARKED, table).items():
            self.model.qpos0[joint : joint + 7] = pose
        way, boxes = self._rehearse()
        low, high = self._env.mocap_low[:2] + 0.03, self._env.mocap_high[:2] - 0.03
        low, high = np.maximum(low, [-0.35, 0.42]), np.minimum(high, [0.35, 0.92])
        found = scenery.find_places(rng, boxes, way, low, high, near=self.object_position[:2])
        if found is None:
            return False
        self._places = scenery.places(self.model, *found, table)
        for body, colour in zip(("cup", "second"), colours, strict=True):
            scenery.paint(self.model, body, colour)
        self.distractors = {"cup": f"{colours[0]} cup", "second": f"{colours[1]} {second}"}
        return True

    def _rehearse(self) -> tuple[Floats, Floats]:
        """Let the expert do the task with the distractors out of its way, to see what room it needs.

        Returns (n, 2) where the gripper was low, and (m, 4) the footprints of all other things at all times. It leaves
        the scene at the start.
        """
        policy = expert(self.task.name)
        self._env.seed(self.seed)
        observation = self._env.reset()[0]
        way, boxes = [self.tcp], [scenery.footprints(self.model, self.data)]
        after = 0
        for step in range(self.task.limit):
            observation, *_, info = self._env.step(np.clip(policy.get_action(observation), -1, 1))
            after += bool(info["success"])
            if step % 3 == 0:
                way.append(self.tcp)
            if step % 9 == 0:
                boxes.append(scenery.footprints(self.model, self.data))
            if after > SETTLED:
                break
        self._env.seed(self.seed)
        self._env.reset()
        low = np.array(way)
        return low[low[:, 2] < _table_height(self.model, self.data) + scenery.CLEARANCE][:, :2], np.concatenate(boxes)

    def restart(self) -> None:
        """Go back to the start: the same state bit by bit, and nothing of what a fault changed."""
        for name, values in self._pristine.items():
            getattr(self.model, name)[:] = values
        self._env.mocap_low[:], self._env.mocap_high[:] = self._limits
        self._env.quat = UPRIGHT
        self._env.seed(self.seed)
        self.observation: Floats = self._env.reset()[0]
        # Not before: in its reset the simulator moves hand, fixtures and object through where they could stand.
        for joint, pose in self._places.items():
            self.data.qpos[joint : joint + 7] = pose
        mujoco().mj_forward(self.model, self.data)
        self.goal = np.array(self._env._target_pos, dtype=np.float64)
        self.start, self.start_tcp = self.object_position, self.tcp
        self.start_moved = self.moved_position
        self._offset = self.start_tcp - self.start
        self._ever_lifted = self._ever = False
        self.steps = self._settled = 0
        self._rows: dict[str, list[Any]] = {name: [] for name in _COLUMNS}

    # What a policy or a fault may read.

    @property
    def tcp(self) -> Floats:
        """(3,) the point between the fingers."""
        sites: Floats = self.data.site_xpos[self._tcp]
        middle: Floats = (sites[0] + sites[1]) / 2
        return middle

    @property
    def target(self) -> Floats:
        """(3,) where the hand is told to be; actions move it. The tcp is 4.5 cm further along the fingers."""
        return np.array(self.data.mocap_pos[0])

    @property
    def object_position(self) -> Floats:
        """(3,) as in Trace."""
        return np.array(self._env._get_pos_objects()[:3])

    @property
    def moved_position(self) -> Floats:
        """(3,) the point that has to come to the goal: of the object, or of what a tool works on."""
        if self.task.tool:
            return np.array(self._env._get_pos_objects()[3:6])
        return self.object_position if self.task.point is None else np.array(self.data.site(self.task.point).xpos)

    @property
    def success(self) -> bool:
        """Strict success in the state after the last step."""
        return bool(self._rows["success"] and self._rows["success"][-1])

    @property
    def finished(self) -> bool:
        """Success has held for SETTLED steps: an attempt need not go on."""
        return self._settled >= SETTLED

    def position_of(self, body: str) -> Floats:
        """(3,) of a body of the model, such as `cup` or `second`."""
        return np.array(self.data.xpos[self.model.body(body).id])

    def room_at(self, places: Floats) -> Floats:
        """(n,) metres from places (n, 2) to the nearest thing that is no distractor; 0 where they are over it."""
        boxes = scenery.footprints(self.model, self.data)
        return np.asarray(scenery.distance_to_boxes(places, boxes).min(axis=1, initial=np.inf))

    # What a fault may change. `restart` undoes it.

    def scale_grip(self, factor: float) -> None:
        """Multiply the force with which the fingers close and open."""
        for name in ("actuator_gainprm", "actuator_biasprm"):
            getattr(self.model, name)[:] = self._pristine[name] * factor

    def scale_friction(self, factor: float) -> None:
        """Multiply the friction of pads and objects; a contact takes the larger one of its two sides."""
        self.model.geom_friction[:] = self._pristine["geom_friction"] * factor

    def turn_hand(self, quaternion: Floats) -> None:
        """Turn the hand by a unit quaternion w, x, y, z in the world's frame, against how it is always held."""
        turned = np.zeros(4)
        mujoco().mju_mulQuat(turned, np.asarray(quaternion, dtype=np.float64), UPRIGHT)
        self._env.quat = turned

    def lower_floor(self, z: float) -> None:
        """Let the hand's target go down to that height, below what the simulator allows."""
        self._env.mocap_low[2] = z

    # Stepping.

    def step(self, action: NDArray[Any]) -> None:
        """One control step (five of physics) of an action dx, dy, dz, gripper; each is clipped to [-1, 1]."""
        action = np.clip(np.asarray(action, dtype=np.float32), -1, 1)
        wanted = self.data.mocap_pos[0] + action[:3] * METRES_PER_ACTION
        limit = bool((wanted < self._env.mocap_low - 1e-6).any() or (wanted > self._env.mocap_high + 1e-6).any())
        self._probe.clear()
        self.observation, reward, _, _, info = self._env.step(action)
        self.steps += 1
        self._record(action, limit, float(reward), bool(info["success"]))

    def substeps(self, data: Any, number: int) -> None:
        """Advance physics, looking at contacts after each substep; the simulator calls this from its own step."""
        library, probe = mujoco(), self._probe
        for _ in range(number):
            library.mj_step(self.model, data)
            probe.look(data)
        library.mj_rnePostConstraint(self.model, data)

    def _record(self, action: Action, limit: bool, reward: float, native: bool) -> None:
        thing, tcp = self.object_position, self.tcp
        offset = tcp - thing
        moves_along = bool(np.linalg.norm(offset - self._offset) < _WITH_GRIPPER)
        pinched, wrong = self._probe.pinched()
        held = self.task.grasps and pinched and moves_along
        self._offset = offset
        self._ever_lifted |= held and thing[2] > self.start[2] + _LIFTED
        success = native and self._strictly(thing, held)
        self._ever |= success
        if not self.task.strict.lasting:
            success = self._ever
        self._settled = self._settled + 1 if success else 0
        values = {
            "action": action,
            "target": self.target,
            "tcp": tcp,
            "hand": np.array(self.data.xquat[self._hand]),
            "gripper": float(self.observation[3]),
            "object_position": thing,
            "moved": self.moved_position,
            "object_upright": self._object_upright(),
            "held": held,
            "wrong_object": wrong,
            "forces": self._probe.forces(),
            "places": np.array(self.data.xpos[self._bodies]),
            "upright": np.array(self.data.xmat[self._bodies, 8]),
            "spilled": self._spilled(),
            "success": success,
            "limit": limit,
            "reward": reward,
        }
        for name, value in values.items():
            self._rows[name].append(value)

    def _strictly(self, thing: Floats, held: bool) -> bool:
        strict = self.task.strict
        near = strict.within is None or bool(np.linalg.norm(self.moved_position - self.goal) <= strict.within)
        grip = strict.held is None or strict.held == held
        return near and grip and (self._ever_lifted or not strict.lifted)

    def _object_upright(self) -> float:
        return float(self.data.body(self.task.handled[0]).xmat[8])

    def _spilled(self) -> int:
        """Particles outside of the cup's own frame."""
        if not self._particles:
            return 0
        cup = self.model.body("cup").id
        inside = (self.data.xpos[self._particles] - self.data.xpos[cup]) @ self.data.xmat[cup].reshape(3, 3)
        away = np.linalg.norm(inside[:, :2], axis=1) > scenery.CUP_RADIUS + 0.005
        return int((away | (inside[:, 2] < -0.01) | (inside[:, 2] > scenery.CUP_HEIGHT + 0.03)).sum())

    def digest(self) -> str:
        """SHA-256 of positions and velocities: the whole mechanical state."""
        return hashlib.sha256(self.data.qpos.tobytes() + self.data.qvel.tobytes()).hexdigest()

    def targets(self) -> Floats:
        """(T, 3) where the hand was told to be after each step."""
        return np.array(self._rows["target"]).reshape(-1, 3)

    def rewards(self) -> Floats:
        """(T,) the simulator's own reward, which is no measure of progress."""
        return np.array(self._rows["reward"])

    def trace(self) -> Trace:
        """All that happened since the start."""
        rows = {name: np.array(values) for name, values in self._rows.items()}
        distractors = tuple(
            Distractor(
                name=name,
                position=rows["places"][:, i],
                upright=rows["upright"][:, i],
                spilled=rows["spilled"] if body == "cup" else np.zeros(self.steps, dtype=np.int64),
                particles=len(self._particles) if body == "cup" else 0,
            )
            for i, (body, name) in enumerate(self.distractors.items())
        )
        trace = Trace(
            control_hz=CONTROL_HZ,
            goal=self.goal.copy(),
            carries=self.task.carries,
            forces={contact: rows["forces"][:, i] for i, contact in enumerate(CONTACTS)},
            distractors=distractors,
            progress=np.zeros(self.steps),
            height_of_table=self.table,
            max_steps=self.task.limit,
            **{name: rows[name] for name in _OF_TRACE},
        )
        measured = progress(self.task, trace, rows["moved"], self.start, self.start_tcp, self.start_moved)
        return dataclasses.replace(trace, progress=measured)


_OF_TRACE = (
    "action",
    "tcp",
    "hand",
    "gripper",
    "object_position",
    "object_upright",
    "held",
    "wrong_object",
    "success",
    "limit",
)
_COLUMNS = (*_OF_TRACE, "target", "moved", "forces", "places", "upright", "spilled", "reward")


def _xml(kind: Any) -> str:
    return str(kind.model_name.fget(None))


def _table_height(model: Any, data: Any) -> float:
    """z of the highest solid face of the table: some scenes have a thicker one, with a hole."""
    body = model.body("tablelink").id
    tops = [
        float(data.geom_xpos[geom, 2] + model.geom_aabb[geom, 5])
        for geom in np.flatnonzero(model.geom_bodyid == body)
        if model.geom_conaffinity[geom]
    ]
    return max(tops)
