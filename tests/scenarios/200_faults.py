"""A sample of: each system call of a ten-message run fails in turn. All of it: ./dev torture."""
from lab.lab import check
from torture import faults

TIMEOUT = 300


def test_a_sample_of_faults(lab):
    results, bad = faults.go(90, 20, each=3, say=lambda s: None)
    print(f"note: {faults.summary(results)}", flush=True)
    check(sum(1 for r in results if r["hits"]) > 60, "faults that were met", len(results))
    check(not bad, f"{len(bad)} findings", *[(r["variant"], r["spec"], r["findings"]) for r in bad[:5]])
