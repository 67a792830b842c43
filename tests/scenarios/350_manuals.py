"""Manual pages and completion: in step with the program, sound, and complete.

When the first test fails after an option or a command was added: ./dev docs."""
import os
import re
import shutil
import subprocess

from lab import paths
from lab.lab import check, equal, Skip

MAN = os.path.join(paths.ROOT, "docs/man")
COMPLETION = os.path.join(paths.ROOT, "packaging/completion")


def run(*argv, **more):
    """Shells write into their user's home, so it is one of ours."""
    home = os.path.join(paths.SCRATCH, "home")
    os.makedirs(home, exist_ok=True)
    p = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
                       stdin=subprocess.DEVNULL, env={"PATH": os.environ["PATH"], "HOME": home,
                                                      "LC_ALL": "C.UTF-8"}, **more)
    return p.returncode, p.stdout.decode(), p.stderr.decode()


def tables():
    """Commands and options as help prints them: [words], [(option, value, help)]."""
    _, out, _ = run(paths.SIGNET, "help")
    commands, _, rest = out.partition("Commands:")[2].partition("Options:")
    names = [re.match(r"  ([a-z-]+(?: [a-z-]+)?)(?: |$)", x).group(1)
             for x in commands.strip("\n").splitlines()]
    options = re.findall(r"^  (--[a-z0-9-]+) +([A-Z][A-Z0-9]*(?= )|) *(.*)$", rest, re.M)
    check(len(names) > 20 and len(options) > 20, "help is understood", names, options)
    return names, options


def conf_options():
    """section -> names, from the table."""
    _, out, _ = run(paths.SIGNET, "config", "table")
    found = {}
    for part in out.split("### ")[1:]:
        found[part.split("\n", 1)[0]] = re.findall(r"^\| `([a-z_]+)` \|", part, re.M)
    check(len(found) > 8 and "spool" in found, "the table is understood", found)
    return found


def test_in_step_with_the_program(lab):
    code, out, err = run("/usr/bin/python3", os.path.join(paths.ROOT, "docs/refresh"), "--check")
    equal((code, out, err), (0, "", ""), "run ./dev docs, and commit what it writes")


def test_mandoc_has_nothing_to_say(lab):
    for page in ("signet.8", "signet.conf.5"):
        code, out, err = run("mandoc", "-Tlint", "-Wwarning", os.path.join(MAN, page))
        equal((code, out, err), (0, "", ""), page)
    bad = os.path.join(lab.make_dir("man"), "bad.8")
    with open(bad, "w", encoding="utf-8") as f:
        f.write(open(os.path.join(MAN, "signet.8"), encoding="utf-8").read() + ".Nosuch macro\n")
    check(run("mandoc", "-Tlint", "-Wwarning", bad)[0] != 0, "it would have")


def rendered(page):
    code, out, err = run("mandoc", "-Tascii", "-Owidth=300", os.path.join(MAN, page))
    equal((code, err), (0, ""), page)
    return re.sub(r".\x08", "", out)


def test_every_name_stands_in_its_page(lab):
    names, options = tables()
    page = rendered("signet.8")
    for name in names:
        check(re.search(rf"^ +{name}( |$)", page, re.M), f"signet.8 names the command: {name}")
    for option, _, help_text in options:
        check(re.search(rf"^ +{option}( |$)", page, re.M), f"signet.8 names the option: {option}")
        check(help_text in re.sub(r"\s+", " ", page), f"and what it is: {option}")
    page = rendered("signet.conf.5")
    for section, wanted in conf_options().items():
        title = section if section != "(top)" else "Top of the file"
        part = re.search(rf"^   {re.escape(title)}$\n(.*?)(?=^   \S|^\S)", page, re.M | re.S)
        check(part, f"signet.conf.5 has the section: {section}")
        for name in wanted:
            check(re.search(rf"^ +{name} = ", part.group(1), re.M),
                  f"signet.conf.5 names the option: {section}.{name}")


# -- completion --


def bash(*words):
    script = (f'source {COMPLETION}/signet.bash\nCOMP_WORDS=("$@")\nCOMP_CWORD=$(($# - 1))\n'
              '_signet\nprintf "%s\\n" "${COMPREPLY[@]}"\n')
    code, out, err = run("bash", "--norc", "-c", script, "bash", "signet", *words,
                         cwd=paths.ROOT)
    equal((code, err), (0, ""), f"bash {words}")
    return sorted(out.split())


def zsh(*words):
    """The function itself, with the parts of zsh that show things replaced."""
    script = ('compdef() { true }\n_files() { print -l -- FILES }\n'
              '_describe() { local -a all; all=("${(@P)argv[-1]}"); print -l -- "${all[@]%%:*}" }\n'
              f'source {COMPLETION}/_signet\nwords=("$@")\nCURRENT=$#\n_signet\n')
    code, out, err = run("zsh", "-f", "-c", script, "zsh", "signet", *words)
    check(code in (0, 1) and not err, f"zsh {words}", code, err)     # 1: nothing to offer
    return sorted(x for x in out.split() if x == "FILES" or x.startswith(words[-1]))


def fish(*words):
    line = " ".join(("signet", *words))
    code, out, err = run("fish", "--no-config", "-c",
                         f"source {COMPLETION}/signet.fish; complete -C '{line}'", cwd=paths.ROOT)
    equal((code, err), (0, ""), f"fish {words}")
    return sorted({x.split("\t")[0] for x in out.splitlines()})


def every_word(complete, files):
    """files: what it says when names of files are wanted behind LIC."""
    names, options = tables()
    firsts = {n.split()[0] for n in names}
    equal(set(complete("")), firsts | {"help"}, "the first word")
    equal(complete("acc"), ["account"], "a beginning")
    for first in firsts:
        seconds = {n.split()[1] for n in names if n.split()[0] == first and " " in n}
        if seconds:
            equal(set(complete(first, "")), seconds, f"behind {first}")
            equal(set(complete("--json", first, "")), seconds, f"behind an option and {first}")
            equal(set(complete("--config", "send", first, "")), seconds, "a value is no command")
    owned = {o: h.split(":")[0] for o, _, h in options if h.split(":")[0].split()[0] in firsts
             and ":" in h}
    check("--subject" in owned and "--config" not in owned, "some belong to a command", owned)
    for first in firsts:
        wanted = {o for o, _, _ in options if o not in owned or owned[o].split()[0] == first}
        name = next(n for n in names if n.split()[0] == first).split()
        equal(set(complete(*name, "--")) - {"--help"}, wanted, f"options of {name}")
    equal(complete("status", "--conf"), ["--config"], "an option's beginning")
    equal(complete("send", "--key-file", "LIC"), files, "a file's name behind an option")
    equal(complete("config", "check", "LIC"), files, "a file's name behind a command")
    equal(complete("key", "create", "--account", "x"), [], "a name is not ours to know")


def test_bash(lab):
    every_word(bash, ["LICENSE"])


def test_zsh(lab):
    if not shutil.which("zsh"):
        raise Skip("zsh is not here")
    every_word(zsh, ["FILES"])


def test_fish(lab):
    if not shutil.which("fish"):
        raise Skip("fish is not here")
    every_word(fish, ["LICENSE"])
