from __future__ import annotations

from claudeops.policy.rates import DIMENSIONS, INPUT, OUTPUT, REQUESTS, Rates


def test_rates_are_compared_and_scaled_dimension_by_dimension() -> None:
    a, b = Rates(1.0, 20.0, 300.0), Rates(2.0, 10.0, 300.0)
    assert a.at_most(b) == Rates(1.0, 10.0, 300.0)
    assert a.at_least(b) == Rates(2.0, 20.0, 300.0)
    assert a.scaled(2.0) == Rates(2.0, 40.0, 600.0)


def test_the_tuple_is_in_the_order_of_the_dimensions() -> None:
    rates = Rates(1.0, 2.0, 3.0)
    assert [getattr(rates, ("requests", "input_tokens", "output_tokens")[index]) for index in (REQUESTS, INPUT, OUTPUT)] == [1.0, 2.0, 3.0]
    assert rates.as_tuple() == tuple(getattr(rates, name) for name in DIMENSIONS)
