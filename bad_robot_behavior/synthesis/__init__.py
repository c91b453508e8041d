"""Failures made in physics simulation with the truth attached, and edits of real videos."""
