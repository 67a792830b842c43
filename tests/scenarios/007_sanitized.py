"""The server itself with ASan and UBSan, through the scenarios that make it do the most: logins of every
kind, guessers, refusals, bounces, reloads."""
import os
import re
import subprocess

from lab import paths
from lab.lab import check

TIMEOUT = 900
RUNS = ("030_replies", "310_bounce", "330_reload", "500_sasl", "510_guard")


def test_with_sanitizers(lab):
    env = {**os.environ, "SIGNET": os.path.join(paths.BUILD, "asan/src/signet"),
           "ASAN_OPTIONS": "detect_leaks=0"}    # jobs under way at the end have nobody to free them
    p = subprocess.run(["/usr/bin/python3", os.path.join(paths.TESTS, "run"), *RUNS], env=env, check=False,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=3 * TIMEOUT - 60)
    out = p.stdout.decode("utf-8", "replace")
    last = out.strip().splitlines()[-1]
    # What failed and why, of each; the server's own log behind it may be long.
    why = [x[:1500] for x in re.split(r"(?m)^(?=======)", out)[1:]]
    check(p.returncode == 0, "as without", *re.findall(r"(?m)^FAIL .*", out), *why, last)
    check(int(re.match(r"(\d+) passed, 0 failed", last).group(1)) > 150, "all of them ran", last)
    print(f"note: {last} with sanitizers", flush=True)
