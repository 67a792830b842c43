"""What a message costs in instructions, from MAIL to its outcome, does not grow unnoticed.

Times do not repeat on shared machines, instruction counts do. tests/bench/path.c is run under
callgrind with two numbers of messages; the difference leaves out the start. The figure it may have
stands in tests/bench/instructions; docs/benchmarks.md says how it is raised."""
import collections
import os
import re
import subprocess

from lab import paths
from lab.lab import check

FEW, MANY = 256, 1280
ALLOWED = 1.03
PATH = os.path.join(paths.BUILD, "release/tests/bench/path")
NUMBER = os.path.join(paths.TESTS, "bench/instructions")
# The same variants of memcpy() and the like on every machine: those that every x86-64 has.
PLAIN = ("glibc.cpu.hwcaps=-AVX2_Usable,-AVX2,-AVX_Fast_Unaligned_Load,-ERMS,-FSRM"
         ":glibc.cpu.x86_non_temporal_threshold=0x10000000")
# Nothing of the caller's: neither its locale nor its options for valgrind.
ENV = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "GLIBC_TUNABLES": PLAIN}


def count(lab, messages):
    """Instructions of a whole run, and where the profile is."""
    spool, out = lab.make_dir("path"), os.path.join(lab.make_dir("profile"), "callgrind.out")
    p = subprocess.run(["valgrind", "--command-line-only=yes", "--tool=callgrind",
                        f"--callgrind-out-file={out}", PATH, str(messages), spool], env=ENV,
                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       check=False)
    text = p.stdout.decode("utf-8", "replace")
    found = re.search(r"Collected : (\d+)", text)
    check(p.returncode == 0 and found and f"{messages} messages" in text, "path ends well", text)
    return int(found.group(1)), out


def by_function(out):
    """Instructions of each function, callees not counted."""
    p = subprocess.run(["callgrind_annotate", "--threshold=100", out], env=ENV, check=False,
                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    n = collections.Counter()
    for number, where in re.findall(r"^ *([\d,]+) \( *[\d.]+%\) +\S*?([^/\s:]*:\S+)",
                                    p.stdout.decode("utf-8", "replace"), re.M):
        n[where] += int(number.replace(",", ""))
    return n


def top_ten(few, many):
    spent = by_function(many)
    spent.subtract(by_function(few))
    return [f"{round(n / (MANY - FEW)):6} {where}" for where, n in spent.most_common(10)]


def allowed():
    with open(NUMBER, encoding="utf-8") as f:
        return int(next(line for line in f if not line.startswith("#")))


def test_instructions_per_message(lab):
    subprocess.run(["ninja", "-C", f"{paths.BUILD}/release", "tests/bench/path"], check=True,
                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    few, start = count(lab, FEW)
    many, profile = count(lab, MANY)
    each, limit = round((many - few) / (MANY - FEW)), allowed()
    print(f"note: {each} instructions per message ({each / limit - 1:+.1%} of {limit})")
    if each < limit / ALLOWED:
        print("note: lower the number in tests/bench/instructions to it")
    check(each <= limit * ALLOWED, f"{each} instructions per message, {limit} and 3 % are allowed; "
          "docs/benchmarks.md says how that is raised. Most of them:", *top_ten(start, profile))
