"""Side-by-side measurements, never part of the tests. ``python -m bench`` runs those that need no cluster; results go to results.json and
the table of README.md."""
