"""kill -9 while deliveries by MX are in flight to several sites: nothing that was acknowledged is
lost, and what arrives twice was in flight. (That the accounting finds what is lost is seen in
220_kill_points.py.) Hundreds: ./dev torture kill-mx."""
from lab.lab import check
from torture import kill

TIMEOUT = 300


def test_killed_with_deliveries_in_flight(lab):
    said = []
    bad = kill.go(14, 306, say=said.append, mx=True)
    print(f"note: {said[-1]}", flush=True)
    check(not bad, f"{len(bad)} findings", *bad[:5])
