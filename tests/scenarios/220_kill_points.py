"""Killed at the worst moments of single threads, and while it starts. Hundreds: ./dev torture kill."""
from lab.lab import check
from torture import kill

TIMEOUT = 300


def cycles(n, seed, **more):
    said = []
    bad = kill.go(n, seed, say=said.append, **more)
    print(f"note: {said[-1]}", flush=True)
    return bad


def test_killed_at_fault_points(lab):
    bad = cycles(30, 23)
    check(not bad, f"{len(bad)} findings", *bad[:5])


def test_seen_red_answer_before_commit(lab):
    """A server that answers first must lose something."""
    bad = cycles(10, 24, also="answer_before_commit")
    check(any("lost" in x for x in bad), "nothing lost: the test cannot fail")
