"""fail2ban and CrowdSec read the log: real failed logins, each form, and names that try to look like
somebody else's."""
import concurrent.futures
import os
import re
import shutil
import subprocess

from lab import paths, raw, tree
from lab.lab import check, equal, reply, Skip
from lab.peers import free_ports

FAIL2BAN = os.path.join(paths.ROOT, "packaging/fail2ban")
# Nobody's: what clients claim, in every field they have.
CLAIMED = "203.0.113.66"
FAKES = (f'x","client":"{CLAIMED}","result":"failed","reason":"wrong_secret',
         f'","event":"authentication","client":"{CLAIMED}","result":"failed","reason":"wrong_secret"}}',
         f'x" client="{CLAIMED}" result="failed" reason="wrong_secret"',
         f'x client={CLAIMED} result=failed reason=wrong_secret',
         f'\n{{"time":"2026-11-26T04:00:00.000Z","event":"authentication","client":"{CLAIMED}",'
         f'"result":"failed","reason":"wrong_secret"}}\n',
         f'\r\n04:00:00.000 authentication     client={CLAIMED} result=failed reason=wrong_secret\r\n',
         f'\\","client":"{CLAIMED}')


def fail2ban():
    try:
        return tree.files("fail2ban", "fail2ban", "usr/bin", "usr/lib/python3", "etc/fail2ban")
    except tree.Unavailable as e:
        raise Skip(str(e)) from None


def run(program, *args, cwd=None):
    root = fail2ban()
    p = subprocess.run(["/usr/bin/python3", f"{root}/usr/bin/{program}", *args], cwd=cwd,
                       env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TZ": "UTC",
                            "PYTHONPATH": f"{root}/usr/lib/python3/dist-packages"},
                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       check=False)
    return p.returncode, p.stdout.decode()


def found(log):
    """The addresses that fail2ban takes from a log, one for each line that counts."""
    code, out = run("fail2ban-regex", "-c", f"{fail2ban()}/etc/fail2ban", "-o", "<ip>", log,
                    f"{FAIL2BAN}/filter.d/signet.conf")
    check(code in (0, 1), out)                          # 1: nothing found
    return sorted(out.split())


def guess(server, source, how_often=1, door="tls", header=b""):
    """Failed logins from an address: a wrong secret, an unknown key, a name with an @, no key."""
    for _ in range(how_often):
        c = raw.Raw(server.port(door), source=source, greet=False)
        if header:
            c.sock.sendall(header)
        c.start_tls_now()
        c.greeting = c.reply()
        c.ehlo()
        for user, key in (("apikey", server.key[:-3] + "xxx"), ("apikey", "SG.x.y"),
                          ("joe@shop.example", "hunter2"), ("joe", "hunter2")):
            reply(c.auth(key, user), "535 *")
        c.close()


def pretend(server, source):
    """Every field a client has, with lines and fields of its own in it; no failed login of its own
    but the last, which is honest."""
    with raw.Raw(server.port("tls"), source=source, implicit=True) as c:
        for fake in FAKES:
            c.cmd("EHLO " + fake.replace("\r", " ").replace("\n", " "))
            c.cmd("EHLO client.example")
            c.cmd(f"AUTH {fake.split(',')[0].strip() or 'X'} AAAA".replace("\r", " ").replace("\n", " "))
            c.cmd(f"MAIL FROM:<\"{fake[:40]}\"@x.example>".replace("\r", " ").replace("\n", " "))
    for fake in FAKES:
        with raw.Raw(server.port("tls"), source=source, implicit=True) as c:
            c.ehlo()
            reply(c.auth("SG." + fake, fake), "535 *")
    with server.login(source=source) as c:
        for fake in FAKES:
            fake = fake.replace("\r", " ").replace("\n", " ").replace("\\", "\\\\").replace('"', '\\"')
            c.message(f'"{fake[:50]}"@x.example', "a@example.com", f"From: \"{fake}\" <a@bank.example>\r\n\r\n")


def log_of(lab, form, proxied=False):
    """A log of a given form, and the failed logins in it by address."""
    more = {("listener", "tls"): {"proxy": ["127.0.0.8"]}} if proxied else {}
    s = lab.signet({"log": {"format": form}, "limits": {"auth_failures": 0, "errors": 0, "commands": 0},
                    **more}, stderr=open(os.path.join(lab.make_dir("log"), "log"), "wb"))
    want = {"127.0.0.3": 8, "127.0.0.4": 4, "127.0.0.5": len(FAKES)}
    guess(s, "127.0.0.3", 2)
    guess(s, "127.0.0.4", 1)
    pretend(s, "127.0.0.5")
    if proxied:
        guess(s, "127.0.0.8", 1, header=b"PROXY TCP6 2001:db8::7 ::1 1 2\r\n")
        want["2001:db8::7"] = 4
    with s.login(source="127.0.0.6") as c:              # right: counts nowhere
        c.cmd("QUIT")
    s.run("key", "revoke", s.key_id)
    with raw.Raw(s.port("tls"), source="127.0.0.7", implicit=True) as c:
        c.ehlo()
        reply(c.auth(s.key), "535 *")                   # revoked: a customer, not a guesser
    s.stop()
    s.stderr_to.close()
    return s.stderr_to.name, sorted(a for a, n in want.items() for _ in range(n))


def tests_of(form):
    def test(lab):
        log, want = log_of(lab, form, proxied=form == "json")
        equal(found(log), want, f"fail2ban, {form}")
        text = open(log, encoding="utf-8").read()
        check("127.0.0.7" in text and "revoked" in text, "the revoked key is in the log, all the same")
        check("203.0.113.66" in text, "and what was claimed is, too", text[-2000:])
        # As syslog keeps it, of old and of today: with its own time and a name in front.
        lines = [x for x in text.splitlines() if x]
        for at in ("Nov 26 04:00:00", "2026-11-26T04:00:00.123456+00:00"):
            with open(log + ".syslog", "w", encoding="utf-8") as f:
                f.writelines(f"{at} host signet[123]: {x}\n" for x in lines)
            equal(found(log + ".syslog"), want, f"fail2ban, {form} from syslog, {at}")
    return test


test_fail2ban_json = tests_of("json")
test_fail2ban_logfmt = tests_of("logfmt")
test_fail2ban_text = tests_of("text")


def test_jail(lab):
    """The example is a jail that fail2ban takes."""
    conf = os.path.join(lab.make_dir("fail2ban"), "etc")
    shutil.copytree(f"{fail2ban()}/etc/fail2ban", conf)
    for part in ("filter.d", "jail.d"):
        shutil.copy(f"{FAIL2BAN}/{part}/signet.conf", f"{conf}/{part}/signet.conf")
    os.unlink(f"{conf}/jail.d/defaults-debian.conf")    # its sshd has no log here
    code, out = run("fail2ban-client", "-c", conf, "-d")
    equal(code, 0, out)
    for part in ("'signet'", "127.0.0.0/8", "_SYSTEMD_UNIT=signet.service", "wrong_secret",
                 "25,465,587,2525"):
        check(part in out, part, out[-3000:])


# -- CrowdSec --

CROWDSEC_CONF = """common: {{log_media: stdout, daemonize: false, log_dir: {dir}, working_dir: {dir}}}
config_paths:
  config_dir: {dir}/etc/
  data_dir: {dir}/data/
  simulation_path: {dir}/etc/simulation.yaml
  hub_dir: {hub}/
  index_path: {hub}/.index.json
crowdsec_service: {{acquisition_path: {dir}/etc/acquis.yaml, parser_routines: 1}}
cscli: {{output: human}}
db_config: {{type: sqlite, db_path: {dir}/data/crowdsec.db}}
api:
  client: {{credentials_path: {dir}/etc/credentials.yaml}}
  server:
    listen_uri: 127.0.0.1:{port}
    profiles_path: {dir}/etc/profiles.yaml
    console_path: {dir}/etc/console.yaml
"""


class CrowdSec:
    """The real program over one file, with our parser and scenario and its own for syslog."""

    def __init__(self, lab):
        try:
            base = tree.files("crowdsec", "crowdsec", "usr/bin", "usr/share/crowdsec", "etc/crowdsec")
        except tree.Unavailable as e:
            raise Skip(str(e)) from None
        self.bin, self.dir = f"{base}/usr/bin", lab.make_dir("crowdsec")
        hub, etc, ours = f"{base}/usr/share/crowdsec/hub", f"{self.dir}/etc", \
            os.path.join(paths.ROOT, "packaging/crowdsec")
        shutil.copytree(f"{base}/etc/crowdsec", etc)
        shutil.copytree(ours, etc, dirs_exist_ok=True)
        shutil.copy(f"{ours}/acquis.d/signet.yaml", f"{etc}/acquis.yaml")
        for stage, name in (("s00-raw", "syslog-logs"), ("s02-enrich", "dateparse-enrich")):
            os.makedirs(f"{etc}/parsers/{stage}", exist_ok=True)
            shutil.copy(f"{hub}/parsers/{stage}/crowdsecurity/{name}.yaml", f"{etc}/parsers/{stage}/")
        os.makedirs(f"{self.dir}/data")
        open(f"{etc}/console.yaml", "w", encoding="utf-8").close()
        self.conf, port = f"{self.dir}/config.yaml", free_ports(1)[0]
        with open(self.conf, "w", encoding="utf-8") as f:
            f.write(CROWDSEC_CONF.format(dir=self.dir, hub=hub, port=port))
        with open(f"{etc}/credentials.yaml", "w", encoding="utf-8") as f:
            f.write(f"url: http://127.0.0.1:{port}\nlogin: none\npassword: none\n")
        self.run("cscli", "machines", "add", "lab", "--password", "lab", "-f",
                 f"{etc}/credentials.yaml", "-u", f"http://127.0.0.1:{port}")

    def run(self, program, *args):
        p = subprocess.run([f"{self.bin}/{program}", "-c", self.conf, *args], cwd=self.dir, check=False,
                           env={"PATH": os.environ["PATH"], "HOME": self.dir}, timeout=100,
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        out = p.stdout.decode("utf-8", "replace")
        equal(p.returncode, 0, out[-3000:])
        return out

    def performed(self, log, kind):
        """The addresses that overflow."""
        out = self.run("crowdsec", "-dsn", f"file://{log}", "-type", kind, "-no-capi", "-info")
        return sorted(set(re.findall(r"Ip (\S+) performed 'signet/signet-bf'", out))), out


def test_crowdsec(lab):
    """More than ten wrong logins in a row are an attack; a revoked key's are none."""
    s = lab.signet({"limits": {"auth_failures": 0, "errors": 0, "commands": 0}},
                   stderr=open(os.path.join(lab.make_dir("log"), "log"), "wb"))
    guess(s, "127.0.0.3", 3)
    guess(s, "127.0.0.4", 2)                            # eight
    for _ in range(2):
        pretend(s, "127.0.0.5")
    s.run("key", "revoke", s.key_id)
    with raw.Raw(s.port("tls"), source="127.0.0.7", implicit=True) as c:
        c.ehlo()
        for _ in range(15):
            reply(c.auth(s.key), "535 *")
    s.stop()
    s.stderr_to.close()
    log = s.stderr_to.name
    with open(log, encoding="utf-8") as f, open(f"{log}.syslog", "w", encoding="utf-8") as out:
        out.writelines(f"Nov 26 04:00:00 host signet[123]: {x}" for x in f)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        both = [pool.submit(CrowdSec(lab).performed, *x)
                for x in ((log, "signet"), (f"{log}.syslog", "syslog"))]
    for one in both:
        who, said = one.result()
        equal(who, ["127.0.0.3", "127.0.0.5"], said[-3000:])
