"""docs/conformance.md names tests that exist, and says why where it names none."""
import fnmatch
import glob
import importlib.util
import inspect
import os
import re

from lab import paths
from lab.lab import check

PAGE = os.path.join(paths.ROOT, "docs/conformance.md")


def text(*path):
    try:
        with open(os.path.join(paths.ROOT, *path), encoding="utf-8") as f:
            return f.read()
    except OSError:
        return ""


def scenario_tests(stem):
    """The names tests/run would run of that file."""
    path = os.path.join(paths.TESTS, "scenarios", f"{stem}.py")
    spec = importlib.util.spec_from_file_location(f"named_{stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    names = [n for n, f in vars(module).items() if n.startswith("test_") and inspect.isfunction(f)]
    return names + [n for n, _ in (module.tests() if hasattr(module, "tests") else [])]


def unit_tests(room, file):
    """A function that a list of cmocka's names, by its own name or through the file's macro T()."""
    source = text("src", room, f"{file}.c")
    listed = re.findall(r"(?:cmocka_unit_test\w*|\bT)\((\w+)", source)
    return [n for n in listed if re.search(rf"^static void {n}\(", source, re.M)]


class Known:
    def __init__(self):
        self.scenarios = {}

    def has(self, name):
        where, _, test = name.partition(": ")
        room, _, file = where.partition("/")
        if not test and file:
            return room == "fuzz" and bool(text("tests/fuzz", f"{file}.c"))
        if not test:
            return bool(glob.glob(os.path.join(paths.TESTS, "scripts", f"{where}.smtp"))) or \
                where == os.path.basename(__file__)[:-3]
        if room == "mutants":
            return bool(re.search(rf"^== {re.escape(test)} ", text("tests/mutants", f"{file}.list"), re.M))
        if file:
            names = unit_tests(room, file)
        elif not text("tests/scenarios", f"{where}.py"):
            names = []
        else:
            if where not in self.scenarios:
                self.scenarios[where] = scenario_tests(where)
            names = self.scenarios[where]
        return bool(fnmatch.filter(names, test))


def rows():
    on = False
    for number, line in enumerate(text(PAGE).splitlines(), 1):
        if line.startswith("|---"):
            on = True
        elif not line.startswith("|"):
            on = False
        elif on:
            cells = [c.strip() for c in line.strip("|").split("|")]
            check(len(cells) == 2, "two cells", number, line)
            yield number, cells[1]


def test_every_named_test_exists(lab):
    known, count, absent = Known(), 0, []
    for number, shown_by in rows():
        names = re.findall(r"`([^`]+)`", shown_by)
        if names and names[0] == "none":
            check(len(shown_by) > 20, f"conformance.md:{number}: it says why", shown_by)
            names = names[1:]
        else:
            check(names, f"conformance.md:{number}: a promise without a test", shown_by)
        for name in names:
            count += 1
            if not known.has(name):
                absent.append(f"conformance.md:{number}: {name}")
    check(not absent, "there are no such tests", *absent)
    check(count > 200, "the page names tests", count)


def test_it_can_fail(lab):
    known = Known()
    for name in ("080_paths", "050_smuggling*", "035_tls: test_alpn", "035_tls: test_half_a_message_*",
                 "smtp/session_test: every_split", "auth/login_test: test_cost", "fuzz/smtp_path",
                 "mutants/session: mail-nested", "020_clients: test_s-nail_tls"):
        check(known.has(name), "there is", name)
    for name in ("080_pathz", "999_smuggling*", "035_tls: test_alpm", "035_tlz: test_alpn",
                 "035_tls: test_quarter_*", "smtp/session_test: step", "smtp/session_tost: every_split",
                 "auth/login_test: login", "fuzz/smtp_pith", "mutants/session: mail-nest", "nothing/here"):
        check(not known.has(name), "there is no", name)
