"""Reloads every so often, good and bad certificates by turns, listeners that come and go, routes that
change, while clients send and others come: no handshake fails, no session drops, nothing is lost."""
import os
import random
import shutil
import time

from lab import raw
from lab.lab import Lab
from lab.load import Load
from lab.peers import free_ports, make_cert
from lab.signet import merge

EVERY = 1.0


class Trouble(AssertionError):
    pass


def changes(rng, lab, certs, ports):
    """(options, whether they are right)"""
    a, b = rng.sample(range(len(certs)), 2)
    good = rng.random() < 0.5
    tree = {"tls": {"certificate": [certs[a][0]], "key": [certs[a if good else b][1]], "watch": "0s"},
            "limits": {"message": rng.choice(["10M", "20M"])}}
    for i, p in enumerate(ports):
        if rng.random() < 0.5:
            tree[("listener", f"more{i}")] = {"address": [f"127.0.0.1:{p}"], "tls": "implicit"}
    for i in range(3):
        if rng.random() < 0.5:
            tree[("route", f"r{i}")] = {"domains": [f"r{i}.example"], "type": "capture",
                                        "path": os.path.join(lab.dir, f"route{i}-{rng.randrange(2)}")}
    return tree, good


def go(seconds, seed, say=print):
    """What was found, as texts."""
    rng, lab, bad = random.Random(seed), Lab("torture reload"), []
    say(f"seed {seed}")
    try:
        s = lab.signet()
        base = {k: dict(v) if isinstance(v, dict) else v for k, v in s.options.items()}
        d = lab.make_dir("certs")
        certs = [make_cert(d, f"c{i}.example", stem=f"c{i}") for i in range(4)]
        ports = free_ports(3)
        loads = [Load(s, n=2, run="tls"), Load(s, n=1, run="routes", rcpt="you@r1.example")]
        for load in loads:
            lab.at_end(load.stop)
            load.until(20, 60)
        end, counts = time.monotonic() + seconds, {"good": 0, "bad": 0, "handshakes": 0}
        while time.monotonic() < end:
            tree, good = changes(rng, lab, certs, ports)
            s.options = merge({k: dict(v) if isinstance(v, dict) else v for k, v in base.items()}, tree)
            s.write_conf()
            code, out, err = s.run("reload", check=False)
            if code != (0 if good else 78):
                bad.append(f"reload: {code}: {out}{err}")
            counts["good" if good else "bad"] += 1
            next_at = time.monotonic() + EVERY
            while time.monotonic() < next_at:
                try:
                    with raw.Raw(s.ports["tls"], implicit=True) as c:
                        c.ehlo()
                    counts["handshakes"] += 1
                except Exception as e:  # pylint: disable=broad-except  # that is what is looked for
                    bad.append(f"a new client: {e!r}")
                for load in loads:
                    load.pump(0.01)
            if any(load.errors for load in loads):
                break
        for load in loads:
            load.until(len(load.acked) + 5, 60)
            bad += [f"a sender: {e}" for e in load.errors]
            load.stop()
        bad += [f"failed: {e}" for e in s.events("tls_failed")]
        s.wait_empty(120)
        say(f"{counts['good']} reloads taken, {counts['bad']} refused, {counts['handshakes']} handshakes, "
            f"{sum(len(load.acked) for load in loads)} messages")
        complaint = lab.end()
        if complaint:
            bad.append(f"at the end: {complaint}")
    except AssertionError as e:
        bad.append(str(e))
        lab.abandon()
    for b in bad[:20]:
        say(b)
    if not bad:
        shutil.rmtree(lab.dir, ignore_errors=True)
    return bad
