"""The master key is replaced: with the server stopped, and whole at whatever moment it is killed."""
import base64
import hmac
import os

from lab import paths
from lab.lab import check, equal


def key_file(s):
    with open(os.path.join(s.data, "master.key"), encoding="utf-8") as f:
        return f.read()


def keys(s):
    """number -> key, the one that seals first."""
    lines = key_file(s).splitlines()
    equal(lines[0], "signet-master-key 1", "the first line")
    return [tuple(x.split()[1:]) for x in lines[1:]]


def cram_login(s, kid, key):
    with s.raw() as c:
        c.ehlo()
        challenge = c.cmd("AUTH CRAM-MD5")
        equal(challenge.code, 334, "a challenge")
        text = base64.b64decode(challenge[4:])
        answer = f"{kid} {hmac.new(key.encode(), text, 'md5').hexdigest()}"
        equal(c.cmd(base64.b64encode(answer.encode()).decode()).code, 235, "CRAM-MD5")


def test_rotate_and_prune(lab):
    s = lab.signet({("listener", "tls"): {"mechanisms": ["PLAIN", "CRAM-MD5"]}})
    kid, key = s.new_key("shop", "--cram-md5")
    cram_login(s, kid, key)
    first = keys(s)
    code, _, err = s.run("keyring", "rotate", check=False)
    equal(code, 73, err)
    check("stop the server" in err, "it says what to do", err)
    equal(keys(s), first, "nothing changed")
    s.stop()
    equal(s.ctl("keyring", "rotate"), {"number": 2, "older": 1, "resealed": 1}, "what it says")
    equal(keys(s)[1:], first, "the old one is kept, behind the new one")
    check(keys(s)[0][1] != first[0][1], "it is another")
    equal(os.stat(os.path.join(s.data, "master.key")).st_mode & 0o7777, 0o600, "its mode")
    s.start()
    with s.login() as c:
        equal(c.message(s.sender, "r@example.com", f"From: {s.sender}\r\n\r\nx\r\n").code, 250,
              "a key from before")
    s.stop()
    equal(s.ctl("keyring", "prune"), {"number": 2, "older": 0, "resealed": 0}, "what it says")
    equal(len(keys(s)), 1, "keys")
    s.start()
    s.login().close()
    # What the first key sealed was sealed anew: it needs that key no more.
    cram_login(s, kid, key)


def test_killed_at_every_step(lab):
    s = lab.signet(start=False, bare=True)
    for word in ("rotate", "prune"):
        for point in ("keyring_begun", "keyring_written", "keyring_renamed"):
            before = keys(s)
            s.binary, s.env = paths.SIGNET_FAULTS, {"SIGNET_FAULT": f"{point}@1"}
            code, _, _ = s.run("keyring", word, check=False)
            equal(code, -9, f"killed at {point}")
            s.binary, s.env = paths.SIGNET, {}
            after = keys(s)
            if point != "keyring_renamed":
                equal(after, before, f"{word}, {point}: as it was")
            elif word == "rotate":
                equal(after[1:], before, f"{word}, {point}: one more")
            else:
                equal(after, before[:1], f"{word}, {point}: one is left")
            # Whatever was left behind, the next one and a start do not mind.
            s.start()
            s.stop()
            s.ctl("keyring", "rotate")
            check(not os.path.exists(os.path.join(s.data, "master.key.new")), "swept away")
            if len(keys(s)) > 5:
                s.ctl("keyring", "prune")
