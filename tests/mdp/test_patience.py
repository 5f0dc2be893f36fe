from __future__ import annotations

from mdp.client.patience import Patience


def test_a_wait_is_named_after_ten_seconds_and_then_each_minute() -> None:
    patience = Patience()
    named = []
    for now in range(200):
        named += [(now, s) for s in patience.due({"a": 5.0}, 5.0 + now).values()]
    assert named == [(10, 10.0), (60, 60.0), (120, 120.0), (180, 180.0)]


def test_a_new_wait_for_the_same_thing_is_named_anew() -> None:
    patience = Patience()
    assert patience.due({"a": 0.0, "b": 0.0}, 9.0) == {}
    assert patience.due({"a": 6.0, "b": 0.0}, 11.0) == {"b": 11.0}
    assert patience.due({"a": 6.0, "b": 0.0}, 16.0) == {"a": 10.0}
    assert patience.due({"a": 20.0, "b": 0.0}, 29.0) == {}
    assert patience.due({"a": 20.0, "b": 0.0}, 30.0) == {"a": 10.0}


def test_a_late_look_names_it_once() -> None:
    patience = Patience()
    assert patience.due({"a": 0.0}, 500.0) == {"a": 500.0}
    assert patience.due({"a": 0.0}, 539.0) == {}
    assert patience.due({"a": 0.0}, 540.0) == {"a": 540.0}
