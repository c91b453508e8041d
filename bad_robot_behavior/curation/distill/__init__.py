"""Stage `distill`: what people wrote about a session becomes one critique and a list of failures for each rollout."""

from bad_robot_behavior.curation.distill.stage import Distill

__all__ = ["Distill"]
