"""The algorithms, one a file: frozen parameters and a pure step; the clock and the dice are arguments."""
