"""The tests of what decides who may do what can fail: the SMTP session, logins, the sender rule,
the times of retries. Each wrong edit of these lists of tests/mutants is caught.

The other lists take longer: ./dev mutants."""
import os
import subprocess

from lab import paths

TIMEOUT = 900
LISTS = ["session", "login", "sender", "policy"]


def test_lists(_):
    p = subprocess.run(["/usr/bin/python3", os.path.join(paths.TESTS, "mutants", "run"), *LISTS],
                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       timeout=3 * TIMEOUT - 60, check=False)
    out = p.stdout.decode("utf-8", "replace")
    if p.returncode:
        raise AssertionError(out)
    print("note: " + out.strip().splitlines()[-1])
