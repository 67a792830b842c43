"""The tests of the SMTP session can fail: each wrong edit of tests/mutants/session.list is caught.

The other lists take longer: ./dev mutants."""
import os
import subprocess

from lab import paths

TIMEOUT = 900


def test_session(_):
    p = subprocess.run(["/usr/bin/python3", os.path.join(paths.TESTS, "mutants", "run"), "session"],
                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       timeout=TIMEOUT - 20, check=False)
    out = p.stdout.decode("utf-8", "replace")
    if p.returncode:
        raise AssertionError(out)
    print("note: " + out.strip().splitlines()[-1])
