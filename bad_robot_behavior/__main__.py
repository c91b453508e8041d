"""`python -m bad_robot_behavior` is `bad-robot`."""

from bad_robot_behavior.cli import main

main()
