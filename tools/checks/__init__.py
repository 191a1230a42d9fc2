"""Checks of the source that no linter has: run by the tests, and by hand as ``python -m tools.checks.tails``."""
