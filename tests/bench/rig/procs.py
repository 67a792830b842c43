"""Processes on one core, and what they cost: CPU of a whole tree, memory, waiting with an end."""
import json
import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from lab import paths  # noqa: E402

TICK = os.sysconf("SC_CLK_TCK")
OUT = os.path.join(paths.BUILD, "bench")
WORK = os.path.join(OUT, "work")
SERVER_CPU, CLIENT_CPU = "0", "1"


class Broken(Exception):
    """The measurement is not one: a program failed, or a wait took too long."""


def tool(name):
    return os.path.join(paths.BUILD, "tools/tests/bench", name)


def on_cpu(cpus, argv):
    return ["taskset", "-c", cpus, *argv]


def start(argv, cpus, **more):
    more.setdefault("stdin", subprocess.DEVNULL)
    more.setdefault("stdout", subprocess.DEVNULL)
    more.setdefault("stderr", subprocess.DEVNULL)
    return subprocess.Popen(on_cpu(cpus, [str(a) for a in argv]),
                            preexec_fn=paths.die_with(signal.SIGTERM), **more)


def stop(process, seconds=20):
    """SIGTERM, then SIGKILL; returns the exit code."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return process.returncode


def wait_gone(pids, seconds=10):
    """Descendants of a server that has ended; the last of them by force."""
    end = time.monotonic() + seconds
    for sig in (0, signal.SIGTERM, signal.SIGKILL):
        while pids and time.monotonic() < end:
            pids = [p for p in pids if os.path.exists(f"/proc/{p}/exe")]
            time.sleep(0.02)
        for p in pids if sig else ():
            try:
                os.kill(p, sig)
            except ProcessLookupError:
                pass
        end = time.monotonic() + 2


def wait_for(what, seconds, fn, pause=0.02):
    end = time.monotonic() + seconds
    while True:
        got = fn()
        if got:
            return got
        if time.monotonic() > end:
            raise Broken(f"{what}: not within {seconds} s")
        time.sleep(pause)


def tree(pid):
    """The process and all that descend from it, as far as they live."""
    todo, out = [pid], []
    while todo:
        p = todo.pop()
        out.append(p)
        try:
            for task in os.listdir(f"/proc/{p}/task"):
                with open(f"/proc/{p}/task/{task}/children", encoding="utf-8") as f:
                    todo += [int(x) for x in f.read().split()]
        except OSError:
            pass
    return out


def cpu_seconds(pid):
    """Of a tree: each process by its own clock, in nanoseconds, and with it the children that it
    has waited for, in ticks."""
    total = 0.0
    for p in tree(pid):
        try:
            with open(f"/proc/{p}/stat", encoding="utf-8") as f:
                total += sum(int(x) for x in f.read().rpartition(")")[2].split()[13:15]) / TICK
            total += time.clock_gettime(~p << 3 | 2)
        except OSError:
            if p == pid:
                raise Broken(f"process {pid} is gone") from None
    return total


def memory_kb(pid, *fields):
    """The sum of these fields of /proc/PID/status over the tree."""
    total = 0
    for p in tree(pid):
        try:
            with open(f"/proc/{p}/status", encoding="utf-8") as f:
                for line in f:
                    if line.partition(":")[0] in fields:
                        total += int(line.split()[1])
        except OSError:
            pass
    return total


def run_json(argv, cpus, seconds):
    """A program of the bench to its end; its last line, as JSON."""
    p = start(argv, cpus, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        out, err = p.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        stop(p, 5)
        raise Broken(f"{argv[0]}: not done within {seconds} s") from None
    try:
        return json.loads(out.decode().strip().splitlines()[-1])
    except (ValueError, IndexError):
        raise Broken(f"{argv[0]} ended with {p.returncode}: {err.decode().strip()}") from None
