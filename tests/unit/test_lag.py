"""The age of the oldest unproven change: never younger than it is."""

from __future__ import annotations

import random

from obelisk_ops.supervise.lag import Arrivals, Lag


def test_nothing_waits_at_first() -> None:
    assert Lag().oldest_ms is None


def test_a_transaction_waits_from_the_look_before_it_was_seen() -> None:
    lag = Lag()

    lag.saw_local(1, has_tail=False, since_ms=100)
    lag.saw_local(3, has_tail=False, since_ms=200)

    assert lag.oldest_ms == 100


def test_proof_of_some_leaves_the_others_waiting() -> None:
    lag = Lag()
    lag.saw_local(1, has_tail=False, since_ms=100)
    lag.saw_local(3, has_tail=False, since_ms=200)

    lag.saw_replica(1)

    assert lag.oldest_ms == 200

    lag.saw_replica(3)

    assert lag.oldest_ms is None


def test_a_commit_keeps_its_age_when_it_becomes_a_transaction() -> None:
    lag = Lag()
    lag.saw_local(1, has_tail=True, since_ms=100)
    lag.saw_replica(1)

    lag.saw_local(2, has_tail=False, since_ms=900)

    assert lag.oldest_ms == 100


def test_a_commit_that_follows_at_once_waits_since_its_own_look() -> None:
    lag = Lag()
    lag.saw_local(1, has_tail=True, since_ms=100)
    lag.saw_local(2, has_tail=True, since_ms=900)

    lag.saw_replica(2)

    assert lag.oldest_ms == 900


def test_a_tail_that_goes_away_without_a_transaction_was_none() -> None:
    lag = Lag()
    lag.saw_local(1, has_tail=False, since_ms=0)
    lag.saw_replica(1)
    lag.saw_local(1, has_tail=True, since_ms=100)

    lag.saw_local(1, has_tail=False, since_ms=200)

    assert lag.oldest_ms is None


def test_what_vanished_from_the_bucket_waits_again() -> None:
    lag = Lag()
    lag.saw_local(5, has_tail=False, since_ms=0)
    lag.saw_replica(5)

    lag.lost_replica(3, since_ms=700)

    assert lag.oldest_ms == 700


def test_a_long_outage_costs_little_memory_and_never_flatters() -> None:
    lag = Lag()
    chance = random.Random(1)
    since = {}
    for txid in range(1, 5_001):
        since[txid] = txid * 10
        lag.saw_local(txid, has_tail=False, since_ms=txid * 10)

    for proven in sorted(chance.sample(range(1, 5_000), 50)):
        lag.saw_replica(proven)

        assert lag.oldest_ms is not None
        assert lag.oldest_ms <= since[proven + 1]


def test_a_rate_is_that_of_the_last_minute_while_anything_was_on_its_way() -> None:
    arrivals = Arrivals()
    assert arrivals.rate(0, since_ms=None) is None

    arrivals.note(40_000, since_ms=0, until_ms=4_000)
    assert arrivals.rate(4_000, since_ms=None) is None, "too little to tell"
    arrivals.note(60_000, since_ms=20_000, until_ms=26_000)

    assert arrivals.rate(30_000, since_ms=None) == 10_000
    assert arrivals.rate(36_000, since_ms=26_000) == 5_000, "nothing comes since"
    assert arrivals.rate(64_000, since_ms=None) == 10_000
    arrivals.note(10_000, since_ms=50_000, until_ms=52_000)
    assert arrivals.rate(64_001, since_ms=None) == 70_000 // 8
    assert arrivals.rate(86_001, since_ms=None) is None
