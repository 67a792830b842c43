"""Rotten, full and read-only disks. More rounds: ./dev torture disk."""
from lab.lab import Skip, check
from torture import disk

TIMEOUT = 300


def test_rot(lab):
    said = []
    bad = disk.rot(60, 25, said.append)
    print(f"note: {said[-1]}", flush=True)
    check(not bad, f"{len(bad)} findings", *bad[:5])


def mounted(fn):
    said = []
    try:
        bad = fn(said.append)
    except disk.NoMount as e:
        raise Skip(str(e)) from None
    check(not bad, f"{len(bad)} findings", *bad)


def test_full_disk(lab):
    mounted(disk.full)


def test_full_without_a_reserve(lab):
    mounted(lambda say: disk.full(say, "0"))


def test_turned_read_only(lab):
    mounted(disk.read_only)
