"""croissant.json."""
from bad_robot_behavior.schema import Recipe, ReleaseManifest


def croissant(recipe: Recipe, manifest: ReleaseManifest) -> str:
    return "{}\n"
