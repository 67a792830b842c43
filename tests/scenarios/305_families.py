"""IPv4 and IPv6, dead and alive, near and far: in a network namespace of its own, where addresses of
the public internet can be had."""
import time

from lab import netns
from lab.lab import check, equal
from lab.nsd import fetch
from lab.raw import wait_for
from lab.world import World, outcomes, post, wait_outcome

TIMEOUT = 180
V4, V6 = "9.9.9.{}", "2600:9::{}"             # ours, here
OURS = 50                                     # Signet itself, for the world to reach
HOLE4, HOLE6 = "9.9.8.7", "2600:8::7"         # nobody answers
HOLES = [HOLE4, HOLE6] + [f"2600:8::1{i}" for i in range(20)]
NO4, NO6 = "9.9.7.7", "2600:7::7"             # no way there
PRIVATE = ["10.9.9.9", "172.16.9.9", "192.168.9.9", "169.254.9.9", "100.64.9.9", "fd09::9", "fec0::9"]
# Special or not, nothing may be sent there either.
LOOP = ["127.9.9.9", "::1", "::ffff:127.9.9.9", "::ffff:10.9.9.9", "0.0.0.0", "::", "64:ff9b::7f09:909",
        "2002:7f09:909::1", "255.255.255.255", "224.0.0.1"]

# name: the addresses of its one MX host (or of several, in order), and who gets the mail.
HOSTS = {
    "v4": ([[V4.format(20)]], 20),
    "v6": ([[V6.format(21)]], 21),
    "both": ([[V4.format(22), V6.format(22)]], 22),
    "hole6": ([[HOLE6, V4.format(23)]], 23),
    "hole4": ([[HOLE4, V6.format(24)]], 24),
    "refused6": ([[V6.format(99), V4.format(25)]], 25),
    "refused4": ([[V4.format(99), V6.format(26)]], 26),
    "no-way6": ([[NO6, V4.format(27)]], 27),
    "no-way4": ([[NO4, V6.format(28)]], 28),
    "many-holes": ([[*HOLES[1:], V4.format(30)]], 30),
    "near-then-far": ([["127.0.0.1", "::1", "10.9.9.9"], [V4.format(31)]], 31),
}


def records():
    out = []
    for name, (hosts, _) in HOSTS.items():
        for i, addresses in enumerate(hosts):
            out.append(f"{name} IN MX {10 * (i + 1)} mx{i}.{name}")
            out += [f"mx{i}.{name} IN {'AAAA' if ':' in a else 'A'} {a}" for a in addresses]
    out += ["ours IN MX 10 mx.ours", f"mx.ours IN A {V4.format(OURS)}", f"mx.ours IN AAAA {V6.format(OURS)}"]
    out += ["next-host IN MX 1 deaf.next-host", "next-host IN MX 2 mx0.v4", f"deaf.next-host IN A {HOLE4}",
            f"deaf.next-host IN AAAA {HOLE6}"]
    for i, a in enumerate(PRIVATE + LOOP):
        out += [f"near{i} IN MX 10 mx.near{i}",
                f"mx.near{i} IN {'AAAA' if ':' in a else 'A'} {a}"]
    return out


def setup(lab):
    fetch()
    netns.enter()
    here = {n for _, n in HOSTS.values()} | {OURS}
    netns.address(*(V4.format(n) for n in here), *(V6.format(n) for n in here), V4.format(99),
                  V6.format(99), *PRIVATE, *HOLES)
    netns.unreachable("9.9.7.0/24", "2600:7::/64")
    w = World(lab, records=records())
    for a in HOLES:
        lab.at_end(netns.Deaf(a, w.port).stop)
    w.at = {}
    for hosts, n in HOSTS.values():
        for a in [V4.format(n), V6.format(n)]:
            if any(a in h for h in hosts):
                w.at.setdefault(n, []).append(w.sink(a, host=a))
    # Whoever may not be connected to listens.
    w.near = [w.sink(a, host=a) for a in (*PRIVATE, "127.9.9.9", "127.0.0.1", "::1")]
    # Whoever waits for that timeout is too late for the test.
    w.s = w.signet({"delivery": {"connect": "10m"},
                    ("listener", "smtp"): {"address": [f"{V4.format(OURS)}:25", f"[{V6.format(OURS)}]:25"],
                                           "tls": "starttls"}}, route={"allow": None})
    return w


def test_every_family(lab, w):
    """All at once; an address that hangs costs a moment and not the connect timeout."""
    at = time.monotonic()
    ids = {name: post(w.s, f"you@{name}.example", subject=f"to {name}") for name in HOSTS}
    late = {}
    for name, (_, n) in HOSTS.items():
        wait_outcome(w.s, ids[name], "delivered", seconds=40)
        got = [m for s in w.at[n] for m in s.messages]
        equal([m.rcpts for m in got], [[f"you@{name}.example"]], f"{name}: where it arrived")
        late[name] = got[0].at - at
        check(not [e for e in outcomes(w.s, ids[name]) if e["outcome"] != "delivered"],
              f"{name}: at the first attempt", outcomes(w.s, ids[name]))
    print("note: delivered after " + ", ".join(f"{n} {t:.1f} s" for n, t in late.items()), flush=True)


def test_a_host_that_hangs_gives_way_to_the_next(lab, w):
    s = w.signet({"delivery": {"connect": "1s"}}, route={"allow": None})
    mid = post(s, "you@next-host.example", subject="next host")
    wait_outcome(s, mid, "delivered")
    equal([e["outcome"] for e in outcomes(s, mid)], ["delivered"], "at the first attempt")


def test_no_stranger_makes_us_connect_here(lab, w):
    ids = {a: post(w.s, f"you@near{i}.example") for i, a in enumerate(PRIVATE + LOOP)}
    for a, mid in ids.items():
        wait_for(f"a verdict about {a}", 30, lambda m=mid: outcomes(w.s, m))
        said = outcomes(w.s, mid)[0]
        check(said["outcome"] != "delivered", "not there", said)
    equal({s.host: s.sessions for s in w.near if s.sessions}, {}, "connections")


def refused_as_ours(s, to):
    mid = post(s, to)
    wait_for("a verdict", 20, lambda: outcomes(s, mid))
    check("address of this server" in outcomes(s, mid)[0]["reply"], "why", outcomes(s, mid))


def test_our_own_addresses(lab, w):
    """By a name that is not ours: the address that we listen on is ours, in both families."""
    refused_as_ours(w.s, "you@ours.example")


def test_every_address_of_this_machine_is_ours(lab, w):
    """When we listen on all of them."""
    s = w.signet({("listener", "smtp"): {"address": ["0.0.0.0:9925", "[::]:9925"], "tls": "starttls"}},
                 route={"allow": None})
    refused_as_ours(s, "you@v4.example")
    refused_as_ours(s, "you@v6.example")
