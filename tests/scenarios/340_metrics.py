"""What an operator's monitoring reads: /metrics and /healthz, on the control socket and on a port of
their own, checked with Prometheus' own promtool."""
import calendar
import concurrent.futures
import http.client
import json
import os
import re
import socket
import struct
import subprocess
import time

from lab import paths, raw, tree
from lab.lab import check, equal, reply, Skip
from lab.peers import free_ports
from lab.raw import wait_for

PROBE_FAILS = {"SIGNET_FAULT": "spool_probe_fails"}


class Port:
    """The metrics port of a server."""

    def __init__(self, lab, options=None, **more):
        self.port = free_ports(1)[0]
        self.s = lab.signet({"metrics": {"address": [f"127.0.0.1:{self.port}"]}, **(options or {})},
                            **more)

    def get(self, path, method="GET", timeout=20):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            c.request(method, path)
            r = c.getresponse()
            return r.status, dict(r.getheaders()), r.read().decode()
        finally:
            c.close()

    def health(self):
        status, _, text = self.get("/healthz")
        return status, json.loads(text)

    def metrics(self):
        status, head, text = self.get("/metrics")
        equal(status, 200, text)
        equal(head["Content-Type"], "text/plain; version=0.0.4; charset=utf-8", "the form")
        return Metrics(text)


class Metrics:
    """The text form, strictly: {(name, labels): value}, and the families in order."""

    LINE = re.compile(r'([a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\\n]|\\.)*",?)*)\})? (\d+(?:\.\d+)?)')

    def __init__(self, text):
        self.text, self.values, self.families = text, {}, {}
        family = None
        for line in text.splitlines():
            m = re.fullmatch(r"# (HELP|TYPE) ([a-z_]+) (.+)", line)
            if m and m[1] == "HELP":
                check(m[2] not in self.families, "a family told twice", line)
                family = m[2]
            elif m:
                equal(m[2], family, "TYPE behind its HELP")
                self.families[family] = m[3]
            else:
                m = self.LINE.fullmatch(line)
                check(m, "a sample line", line)
                check(m[1] == family or m[1] in (f"{family}_bucket", f"{family}_sum",
                                                 f"{family}_count"), "below its family", line)
                key = (m[1], m[2] or "")
                check(key not in self.values, "a sample told twice", line)
                self.values[key] = float(m[3])

    def __getitem__(self, what):
        name, _, labels = what.partition("{")
        return self.values[(name, labels.rstrip("}"))]

    def sum(self, name):
        return sum(v for (n, _), v in self.values.items() if n == name)


def promtool():
    try:
        return os.path.join(tree.files("promtool", "prometheus", "usr/bin/promtool"),
                            "usr/bin/promtool")
    except tree.Unavailable as e:
        raise Skip(str(e)) from None


def run_promtool(*args, stdin=None):
    p = subprocess.run([promtool(), *args], input=stdin, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, check=False)
    return p.returncode, p.stdout.decode()


def send(s, n=1, door="tls"):
    with s.login(door) as c:
        for i in range(n):
            reply(c.message(s.sender, ["a@example.com", "b@example.net"],
                            f"From: {s.sender}\r\nSubject: {i}\r\n\r\nhello\r\n"), "250 *")
        reply(c.cmd("QUIT"), "221 *")


def test_what_happens_is_counted(lab):
    p = Port(lab)
    s = p.s
    send(s, 3)
    send(s, 1, "starttls")
    with s.raw() as c:
        c.ehlo()
        reply(c.auth(s.key[:-3] + "xxx"), "535 *")
        reply(c.cmd("NONSENSE"), "500 *")
        reply(c.cmd("MAIL FROM:<a@example.com>"), "530 *")
    with s.login() as c:
        reply(c.message("a@bank.example", "a@example.com", "From: a@bank.example\r\n\r\n"), "550 *")
        wait_for("one open connection", 20,
                 lambda: ((m := p.metrics())['signet_connections{listener="tls"}'],
                          m['signet_connections{listener="relay"}']) == (1, 0))
    s.wait_event("outcome", count=8)
    s.wait_event("connection_closed", count=4)

    def all_committed():
        m = p.metrics()
        return m["signet_commit_operations_sum"] >= 12 and \
            m["signet_spool_sync_seconds_count"] == m["signet_commit_seconds_count"] and m

    m = wait_for("the last commit", 20, all_committed)
    for what, want in (
            ('signet_connections_total{listener="tls"}', 3),
            ('signet_connections_total{listener="submission"}', 1),
            ('signet_connections_total{listener="relay"}', 0),
            ('signet_connections{listener="tls"}', 0),
            ('signet_messages_accepted_total{listener="tls"}', 3),
            ('signet_messages_accepted_total{listener="submission"}', 1),
            ('signet_recipients_accepted_total{listener="tls"}', 6),
            ('signet_logins_total{mechanism="PLAIN",result="ok"}', 3),
            ('signet_logins_total{mechanism="PLAIN",result="wrong_secret"}', 1),
            ('signet_commands_refused_total{code="500"}', 1),
            ('signet_commands_refused_total{code="530"}', 1),
            ('signet_commands_refused_total{code="535"}', 1),
            ('signet_commands_refused_total{code="550"}', 1),
            ('signet_messages_refused_total{reason="foreign_sender"}', 1),
            ('signet_tls_handshakes_total{side="server",version="TLSv1.3"}', 4),
            ('signet_tls_handshake_failures_total{side="server"}', 0),
            ('signet_outcomes_total{outcome="delivered"}', 8),
            ('signet_outcomes_total{outcome="failed"}', 0),
            ('signet_delivery_seconds_count', 8),
            ('signet_accept_seconds_count', 4),
            ('signet_connections_refused_total{reason="memory"}', 0),
            ('signet_log_lines_dropped_total', 0),
            ('signet_authlog_rows_dropped_total', 0),
            ('signet_history_events_dropped_total', 0),
            ('signet_bans', 0),
            ('signet_queue_damaged', 0),
            ('signet_limit_connections', 10000),
            ('signet_config_last_reload_successful', 1),
            ('signet_stopping', 0)):
        equal(m[what], want, what)
    equal(m.sum("signet_messages_accepted_bytes_total"),
          sum(e["size"] for e in s.events("message_accepted")), "bytes")
    # Four messages and the outcomes of eight deliveries; how many shared a commit is chance.
    equal(m["signet_commit_operations_sum"], 12, "operations committed")
    check(1 <= m["signet_commit_seconds_count"] <= 12, "commits", m.values)
    equal(m["signet_spool_sync_seconds_count"], m["signet_commit_seconds_count"], "a sync each")
    check(0 < m["signet_spool_sync_seconds_sum"] <= m["signet_commit_seconds_sum"], "the disk's part")
    for name in ("process_resident_memory_bytes", "process_virtual_memory_bytes",
                 "process_open_fds", "process_max_fds", "process_threads", "signet_disk_free_bytes"):
        check(m[name] > 0, name)
    end = subprocess.run(["openssl", "x509", "-noout", "-enddate", "-in", f"{s.scratch}/server.pem"],
                         check=True, stdout=subprocess.PIPE).stdout.decode().partition("=")[2].strip()
    equal(m["signet_certificate_expiry_timestamp_seconds"],
          calendar.timegm(time.strptime(end, "%b %d %H:%M:%S %Y %Z")), "the certificate's end")
    check(abs(m["process_start_time_seconds"] - time.time()) < 600, "start")
    check(m["process_open_fds"] >= 8 and m["process_threads"] >= 8, "of this process", m.text)
    wait_for("loop lag of both loops", 10,
             lambda: p.metrics()["signet_loop_lag_seconds_count"] >= 4, 0.2)


def test_what_waits_is_told(lab):
    """The queue's state, with a site that cannot be reached."""
    dead = free_ports(1)[0]
    p = Port(lab, {("route", "capture"): {"type": "smarthost", "path": None, "host": "127.0.0.1",
                                          "port": dead, "tls": "none"}})
    send(p.s, 2)
    p.s.wait_event("attempt")
    m = p.metrics()
    equal((m["signet_queue_messages"], m["signet_queue_deliveries"],
           m["signet_queue_destinations"]), (2, 4, 2), "the queue")
    check(m["signet_queue_bytes"] > 500 and m["signet_queue_disk_bytes"] > 500, "bytes")
    equal((m["signet_sites"], m["signet_sites_failing"]), (1, 1), "sites")
    check(m['signet_attempts_total{result="site_failed"}'] >= 1, "attempts")
    wait_for("outcomes", 20, lambda: p.metrics()['signet_outcomes_total{outcome="deferred"}'] >= 1)
    old = wait_for("an age", 10, lambda: p.metrics()["signet_queue_oldest_age_seconds"])
    check(p.metrics()["signet_queue_oldest_age_seconds"] >= old < 600, "it grows", old)


def test_what_is_held_is_told(lab):
    """By hand, with its account, and who is banned."""
    dead = free_ports(1)[0]
    p = Port(lab, {("route", "capture"): {"type": "smarthost", "path": None, "host": "127.0.0.1",
                                          "port": dead, "tls": "none"}})
    s = p.s

    def told(*want):
        """Soon: an attempt may be under way still."""
        names = "queue_deliveries", "queue_deliveries_held", "queue_deliveries_stopped", "bans"
        wait_for(f"{names} to be {want}", 10,
                 lambda: tuple((m := p.metrics())[f"signet_{n}"] for n in names) == want, 0.2)

    send(s, 3)
    s.wait_event("attempt")
    told(6, 0, 0, 0)
    first = s.ctl("queue", "list")["messages"][0]["id"]
    s.ctl("queue", "hold", first)
    told(6, 2, 0, 0)
    s.ctl("account", "hold", "shop")
    told(6, 2, 6, 0)
    s.ctl("ban", "add", "192.0.2.7")
    told(6, 2, 6, 1)
    s.ctl("ban", "lift", "192.0.2.7")
    s.ctl("queue", "release", first)
    s.ctl("account", "release", "shop")
    told(6, 0, 0, 0)


def test_promtool(lab):
    """The form, and the rules of naming: on both ways in."""
    p = Port(lab)
    send(p.s)
    text = p.metrics().text
    code, said = run_promtool("check", "metrics", stdin=text.encode())
    equal((code, said), (0, ""), "promtool check metrics")
    code, said = run_promtool("check", "metrics", stdin=text.replace("# TYPE", "# TIPE").encode())
    check(code != 0 or said, "promtool notices nothing")
    equal(Metrics(p.s.run("metrics")).families, Metrics(text).families, "the same by signet metrics")


def test_documented(lab):
    """Each metric stands in docs/monitoring.md with its kind and its help, in the same order."""
    m = Port(lab, bare=True).metrics()
    helps = dict(re.findall(r"^# HELP (\S+) (.*)$", m.text, re.M))
    rows = "".join(f"| `{n}` | {kind} | {helps[n]} |\n" for n, kind in m.families.items())
    with open(os.path.join(paths.ROOT, "docs/monitoring.md"), encoding="utf-8") as f:
        page = f.read()
    block = page.partition("<!-- metrics -->\n")[2].partition("<!-- /metrics -->")[0]
    head = "| metric | kind | what it is |\n|---|---|---|\n"
    check(block == f"\n{head}{rows}\n", "between the marks of docs/monitoring.md belongs this:\n"
          f"\n{head}{rows}\n")


def expressions_of_the_dashboard():
    with open(os.path.join(paths.ROOT, "packaging/grafana/signet.json"), encoding="utf-8") as f:
        board = json.load(f)
    out, seen = [], set()
    for panel in board["panels"]:
        check(panel["id"] not in seen and panel["title"], "panels have their own ids and a title", panel)
        seen.add(panel["id"])
        out += [t["expr"] for t in panel.get("targets", ())]
    out += [v["query"]["query"] for v in board["templating"]["list"] if v["type"] == "query"]
    return out


def test_dashboard_and_alerts_use_what_there_is(lab):
    """Each name in the dashboard and in the rules is a metric; each metric of ours is on the board."""
    families = Port(lab, bare=True).metrics().families
    with open(os.path.join(paths.ROOT, "packaging/prometheus/signet.rules.yml"), encoding="utf-8") as f:
        rules = re.findall(r"(?ms)^ +expr: (?:>-)?(.*?)(?=^ +(?:for|labels):)", f.read())
    shown = expressions_of_the_dashboard()
    check(len(rules) >= 15 and len(shown) >= 40, "they are read", len(rules), len(shown))
    known = set(families)
    for n, kind in families.items():
        if kind == "histogram":
            known |= {f"{n}_bucket", f"{n}_sum", f"{n}_count"}
    used = {n for e in shown + rules for n in re.findall(r"\b(?:signet|process)_[a-z_]+", e)}
    equal(sorted(used - known), [], "no such metric")
    on_board = {re.sub(r"_(bucket|sum|count)$", "", n) for e in shown
                for n in re.findall(r"\bsignet_[a-z_]+", e)} | {n for e in shown for n in
                                                                re.findall(r"\bsignet_[a-z_]+", e)}
    left_out = {n for n in families if n.startswith("signet_")} - on_board
    equal(sorted(left_out), sorted(NOT_SHOWN), "not on the dashboard")


# Told and not drawn.
NOT_SHOWN = {"signet_control_calls_total", "signet_stopping", "signet_limit_message_bytes",
             "signet_limit_queue_messages", "signet_config_last_reload_success_timestamp_seconds"}

RULES_TEST = """rule_files: [{rules}]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {{series: 'up{{job="signet",instance="a"}}', values: '1 0x20'}}
      - {{series: 'signet_commit_failures_total{{instance="a"}}', values: '0x9 1x20'}}
      - {{series: 'signet_disk_free_bytes{{instance="a"}}', values: '300x20'}}
      - {{series: 'signet_limit_disk_reserve_bytes{{instance="a"}}', values: '100x20'}}
      - {{series: 'signet_queue_messages{{instance="a"}}', values: '90x20'}}
      - {{series: 'signet_limit_queue_messages{{instance="a"}}', values: '0x20'}}
      - {{series: 'signet_authlog_rows_dropped_total{{instance="a"}}', values: '0x9 1x20'}}
      - {{series: 'signet_history_events_dropped_total{{instance="a"}}', values: '0x20'}}
      - {{series: 'signet_spool_sync_seconds_bucket{{instance="a",le="0.1"}}', values: '0x20'}}
      - {{series: 'signet_spool_sync_seconds_bucket{{instance="a",le="1"}}', values: '0+10x20'}}
      - {{series: 'signet_spool_sync_seconds_bucket{{instance="a",le="+Inf"}}', values: '0+10x20'}}
      - {{series: 'signet_logins_total{{instance="a",mechanism="PLAIN",result="wrong_secret"}}', values: '0+120x20'}}
      - {{series: 'signet_logins_total{{instance="a",mechanism="PLAIN",result="ok"}}', values: '0+60x20'}}
    alert_rule_test:
{alerts}"""
FIRES = {"SignetDown": ({"instance": "a", "job": "signet"}, "page"),
         "SignetCommitFailed": ({"instance": "a"}, "page"), "SignetDiskLow": ({"instance": "a"}, "ticket"),
         "SignetSlowDisk": ({"instance": "a"}, "ticket"),
         "SignetLoginsFailing": ({"instance": "a"}, "ticket"),
         "SignetRecordsDropped": ({"instance": "a"}, "ticket")}
SILENT = ("SignetDiskFull", "SignetQueueNearLimit", "SignetSlowAccept", "SignetReloadRefused")


def test_alerts(lab):
    """The rules are sound, and some of them fire when they should and not else."""
    rules = os.path.join(paths.ROOT, "packaging/prometheus/signet.rules.yml")
    code, said = run_promtool("check", "rules", rules)
    equal(code, 0, said)
    with open(rules, encoding="utf-8") as f:
        text = f.read()
    for name in (*FIRES, *SILENT):
        check(f"alert: {name}\n" in text, name)
    alerts = "".join(f"      - {{eval_time: 18m, alertname: {n}, exp_alerts: []}}\n" for n in SILENT)
    for name, (labels, severity) in FIRES.items():
        want = ", ".join(f"{k}: {v}" for k, v in {**labels, "severity": severity}.items())
        # promtool compares annotations, too: they are taken out here.
        alerts += (f"      - {{eval_time: 18m, alertname: {name}, exp_alerts: "
                   f"[{{exp_labels: {{{want}}}}}]}}\n")
    d = lab.make_dir("rules")
    with open(f"{d}/rules.yml", "w", encoding="utf-8") as f:
        f.write(re.sub(r"(?m)^ +annotations:\n(?:^ {10,}\S.*\n)+", "", text))
    for name, swap in (("right", ""), ("wrong", "SignetDown")):
        with open(f"{d}/{name}.yml", "w", encoding="utf-8") as f:
            f.write(RULES_TEST.format(rules=f"{d}/rules.yml", alerts=alerts)
                    .replace("0x20'", "1x20'" if swap else "0x20'", 1))
        code, said = run_promtool("test", "rules", f"{d}/{name}.yml")
        check((code == 0) == (name == "right"), f"promtool test rules, {name}", said)


def test_few_series(lab):
    """No client can make the answer grow: names, addresses and mechanisms of theirs are no labels."""
    p = Port(lab, {"limits": {"errors": 0, "auth_failures": 0, "commands": 0}})
    send(p.s)
    before = set(p.metrics().values)
    with p.s.raw() as c:
        c.ehlo()
        for i in range(60):
            c.cmd(f"VERB{i}")
            c.cmd(f"AUTH MECH-{i} AAAA")
            c.auth(f"SG.{i}", f"user{i}")
            c.cmd(f"EHLO client{i}.example")
    more = set(p.metrics().values) - before
    check(len(more) <= 8, "new series", sorted(more))
    check(len(before) < 400, "series in all", len(before))


def test_only_these_two(lab):
    """The port shows nothing else, changes nothing, and asks nobody who they are."""
    p = Port(lab)
    for method, path, want in (("GET", "/control/status", 404), ("GET", "/", 404),
                               ("POST", "/control/accounts", 404), ("POST", "/metrics", 405),
                               ("DELETE", "/healthz", 405), ("GET", "/metrics/x", 404),
                               ("GET", "/metricsx", 404)):
        status, _, text = p.get(path, method)
        equal((status, text), (want, "here are /metrics and /healthz, to GET\n"), path)
    status, head, text = p.get("/metrics", "HEAD")
    equal((status, text), (200, ""), "HEAD")
    check(int(head["Content-Length"]) > 1000, "as long as GET's", head)
    # As many as there are places, and then one more.
    held = [socket.create_connection(("127.0.0.1", p.port)) for _ in range(64)]
    wait_for("the places to be taken", 10,
             lambda: p.s.ctl("status") and closed_at_once(p.port), 0.1)
    for h in held:
        h.close()
    wait_for("a place", 10, lambda: not closed_at_once(p.port), 0.1)
    equal(p.health()[0], 200, "and it answers again")


def closed_at_once(port):
    with socket.create_connection(("127.0.0.1", port)) as s:
        try:
            s.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            return not s.recv(100)
        except OSError:
            return True


def test_not_on_loopback(lab):
    port = free_ports(1)[0]
    s = lab.signet({"metrics": {"address": [f"0.0.0.0:{port}"]}}, bare=True, start=False)
    code, _, err = s.run("config", "check", s.conf, check=False)
    equal(code, 78, err)
    check("remote = yes" in err, "what to do", err)
    s.options["metrics"]["remote"] = "yes"
    s.write_conf()
    s.run("config", "check", s.conf)


# -- health --


def test_healthy(lab):
    p = Port(lab)
    equal(p.health(), (200, {"status": "ok"}), "at rest: a probe")
    send(p.s)
    equal(p.health(), (200, {"status": "ok"}), "after a commit")
    equal(p.s.run("health"), "status               ok\n", "the command")
    equal(p.s.ctl("health"), {"status": "ok"}, "the command")
    check(not p.s.events("health"), "nothing changed, nothing said")


def failing(p, reason, seconds=20):
    """Both ways say so, in bounded time, and the log once."""
    began = time.monotonic()
    status, body = p.health()
    check(time.monotonic() - began < seconds, "in bounded time")
    equal((status, body["status"], body["reason"]), (503, "failing", reason), str(body))
    code, _, err = p.s.run("health", check=False)
    equal(code, 75, "exit code")
    check(body["detail"] in err and body["detail"], "why", err)
    p.s.wait_event("health", state=reason)
    equal(len(p.s.events("health")), 1, "told once")


def test_the_disk_does_not_write(lab):
    p = Port(lab, binary=paths.SIGNET_FAULTS, env=PROBE_FAILS)
    failing(p, "probe_failed")


def test_the_disk_hangs(lab):
    """The committer waits for the disk: whoever asks meanwhile is told, and scrapes go on."""
    path = os.path.join(lab.make_dir("slow"), "ms")

    def takes(ms):
        with open(path, "r+b" if os.path.exists(path) else "wb") as f:
            f.write(struct.pack("q", ms))

    takes(0)
    p = Port(lab, env={"LD_PRELOAD": lab.build_shim("slow_disk"), "SLOW_DISK_FILE": path}, bare=True)
    takes(6500)
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(p.health) for _ in range(3)]
        for _ in range(20):
            equal(p.metrics()["signet_queue_messages"], 0, "a scrape")
        check(not any(a.done() for a in asked), "nobody is told before the disk had its time")
        for a in asked:
            status, body = a.result(20)
            equal((status, body["reason"]), (503, "commit_hangs"), str(body))
    takes(0)
    wait_for("health again", 30, lambda: p.health()[0] == 200, 0.1)
    p.s.wait_event("health", state="ok")
    equal([e["state"] for e in p.s.events("health")], ["commit_hangs", "ok"], "the log")


def test_the_disk_is_full(lab):
    p = Port(lab, {"spool": {"reserve": "1024G"}})
    failing(p, "disk_full")
    check(p.metrics()["signet_limit_disk_reserve_bytes"] > p.metrics()["signet_disk_free_bytes"],
          "as the metrics say")


def test_the_queue_is_full(lab):
    dead = free_ports(1)[0]
    p = Port(lab, {"spool": {"messages_max": 1},
                   ("route", "capture"): {"type": "smarthost", "path": None, "host": "127.0.0.1",
                                          "port": dead, "tls": "none"}})
    send(p.s)
    failing(p, "queue_full")


def test_stopping(lab):
    p = Port(lab)
    with p.s.login() as c:
        reply(c.cmd(f"MAIL FROM:<{p.s.sender}>"), "250 *")
        p.s.terminate()
        p.s.wait_event("stopping")
        failing(p, "stopping")
        equal(p.metrics()["signet_stopping"], 1, "the metrics, too")
        reply(c.cmd("RSET"), "250 *")


def test_no_server(lab):
    s = lab.signet(bare=True, start=False)
    code, _, err = s.run("health", check=False)
    equal(code, 69, err)
