"""How shards run. Knows nothing of robots: a shard is a number, its work a function, its result a folder."""

from bad_robot_behavior.engine.local import run_local
from bad_robot_behavior.engine.marks import MARK, is_complete, writing

__all__ = ["MARK", "is_complete", "run_local", "writing"]
