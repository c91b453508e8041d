"""The scrub stage: nothing private goes on to a stage that may call a model, or into a release."""

from bad_robot_behavior.curation.scrub.stage import Scrub
from bad_robot_behavior.curation.scrub.text import scrub_text

__all__ = ["Scrub", "scrub_text"]
