"""The simulator's tasks and their scripted experts, brought under our scenes."""

from __future__ import annotations

import functools
import warnings
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bad_robot_behavior.errors import require
from bad_robot_behavior.synthesis.renderer import mujoco

if TYPE_CHECKING:
    from bad_robot_behavior.synthesis.world import World

UPRIGHT = np.array([1.0, 0.0, 1.0, 0.0])
"""How the simulator always holds the hand: fingers down. Not normalised, as there."""


@functools.cache
def environment(name: str) -> type[Any]:
    """The simulator's class of a task, with our model, our probe and our orientation of the hand."""
    mujoco()
    require("metaworld", "sim")
    # Experts ask for more than a step can do, and their helper warns of it at every step.
    warnings.filterwarnings("ignore", message="Constant.s. may be too high", module="metaworld")
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS

    native = ALL_V3_ENVIRONMENTS[name]

    class Environment(native):  # type: ignore[misc, valid-type]
        def __init__(self, world: World) -> None:
            # In a cycle, the 20 MB of a model would stay until the collector comes by, which sees but a few objects.
            self.world = weakref.proxy(world)
            self.quat = UPRIGHT
            super().__init__()
            self._freeze_rand_vec = False
            self.seeded_rand_vec = True
            self._set_task_called = True
            self._partially_observable = False
            # It was made while the goal counted as hidden, and would clip the goal to 0.
            self.__dict__.pop("sawyer_observation_space", None)

        def _initialize_simulation(self) -> tuple[Any, Any]:
            return self.world.model, mujoco().MjData(self.world.model)

        def set_xyz_action(self, action: NDArray[Any]) -> None:
            super().set_xyz_action(action)
            self.data.mocap_quat = self.quat

        def _step_mujoco_simulation(self, ctrl: Any, n_frames: int) -> None:
            self.data.ctrl[:] = ctrl
            self.world.substeps(self.data, n_frames)

        def touching_object(self, object_geom_id: int) -> bool:
            # The native one builds lists of all contacts, four times a step: a quarter of the time of some tasks.
            contact, solved = self.data.contact, self.data.contact.efc_address >= 0
            pairs = contact.geom[solved]
            force = self.data.efc_force[contact.efc_address[solved]]
            thing = (pairs == object_geom_id).any(axis=1)
            pads = (self.model.geom("leftpad_geom").id, self.model.geom("rightpad_geom").id)
            return all(float(force[thing & (pairs == pad).any(axis=1)].sum()) > 0 for pad in pads)

    Environment.__name__ = native.__name__
    return Environment


def expert(name: str) -> Any:
    """The simulator's scripted policy of a task: `get_action(observation)`. Policies keep no state."""
    environment(name)
    from metaworld.policies import ENV_POLICY_MAP

    return ENV_POLICY_MAP[name]()
