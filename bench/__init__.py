"""Side-by-side measurements, never part of the tests. ``python -m bench`` runs those of the proxy; results go to results.json and
the table of README.md."""
