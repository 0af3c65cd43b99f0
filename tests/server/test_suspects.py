"""What is remembered of texts at which the encoder hung: for a while, and not without end."""

from __future__ import annotations

from tanager_server.runtime.suspects import Suspects


def test_the_guilty_are_remembered_for_a_while():
    suspects = Suspects(keep_s=10.0)
    suspects.add(["a"], now=0.0, guilty=True)
    assert suspects.is_guilty("a", now=9.9)
    assert not suspects.is_guilty("b", now=9.9)
    assert not suspects.is_guilty("a", now=10.0)
    assert len(suspects) == 0


def test_who_was_in_a_batch_that_hung_is_a_suspect_and_not_guilty():
    suspects = Suspects()
    suspects.add(["a", "b"], now=0.0, guilty=False)
    assert "a" in suspects
    assert not suspects.is_guilty("a", now=1.0)
    suspects.clear("a")
    assert "a" not in suspects
    assert "b" in suspects


def test_who_is_guilty_remains_so_when_seen_among_others():
    suspects = Suspects()
    suspects.add(["a"], now=0.0, guilty=True)
    suspects.add(["a", "b"], now=1.0, guilty=False)
    assert suspects.is_guilty("a", now=2.0)
    assert not suspects.is_guilty("b", now=2.0)


def test_of_many_the_oldest_go():
    suspects = Suspects(max_keys=3)
    suspects.add(range(3), now=0.0, guilty=True)
    suspects.add([0, 7], now=1.0, guilty=True)
    assert [key for key in range(10) if key in suspects] == [0, 2, 7]
