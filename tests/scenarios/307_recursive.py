"""Without any resolver, from the root down: in a network namespace where the root servers' addresses,
which libunbound knows by heart, are the name server of the test."""
from lab import netns
from lab.lab import check, equal
from lab.nsd import Zone, fetch
from lab.world import World, post, wait_outcome

TIMEOUT = 120
NET = "9.9.9"
# a, b (twice: it has moved), c, f, k, m: some are enough.
ROOTS = ["198.41.0.4", "170.247.170.2", "199.9.14.201", "192.33.4.12", "192.5.5.241", "193.0.14.129", "202.12.27.33"]
SHOP, FORGED = 20, 21


def setup(lab):
    fetch()
    netns.enter()
    netns.address(*(f"{NET}.{n}" for n in (1, 10, 53, SHOP, FORGED)), *ROOTS)
    forged = Zone("forged.example.", ["@ IN MX 10 mx", f"mx IN A {NET}.{FORGED}"], signed=True,
                  bogus=[("\tMX\t10 ", "\tMX\t11 ")])
    w = World(lab, net=NET, roots=ROOTS, zones=[forged], records=World.mx("far", SHOP))
    w.far, w.forged = w.sink(SHOP), w.sink(FORGED)
    w.s = w.signet({"dns": {"recursive": "yes", "trust_anchor": w.trust_anchor, "timeout": "10s"}},
                   route={"allow": None})
    return w


def test_from_the_root_down(lab, w):
    mid = post(w.s, "you@far.example")
    wait_outcome(w.s, mid, "delivered")
    equal(len(w.far.messages), 1)
    mid = post(w.s, "you@nothing.example")
    e = wait_outcome(w.s, mid, "failed")
    check("5.1.2" in e["reply"] or "5.4.4" in e["reply"] or "does not exist" in e["reply"], "there is no such domain", e)


def test_what_is_forged_is_not_believed(lab, w):
    """Nobody between here and there checks for us: DNSSEC is ours to do."""
    mid = post(w.s, "you@forged.example")
    e = wait_outcome(w.s, mid, "deferred")
    check("DNSSEC" in e["reply"] or "bogus" in e["reply"] or "valid" in e["reply"], "says why", e)
    equal(len(w.forged.messages), 0)
    equal(w.s.ctl("status")["dnssec"], "works")
