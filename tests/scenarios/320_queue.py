"""What an operator does to the queue: list, count, why, retry, hold, release, cancel, and what is known
of a message after it has left."""
import base64
import re

from lab.lab import check, equal, reply
from lab.raw import wait_for

LATER = {"first": "1h", "max": "1h", "jitter": 0}


def waiting(lab, answer="451 4.7.1 greylisted", options=None):
    """A server whose next hop answers as the list says, then takes it; one more that is not there."""
    state = {"answer": answer}
    hop = lab.peer("smarthost", replies={"DATA": lambda _: state["answer"]})
    s = lab.signet({("route", "capture"): None, "retry": dict(LATER), **(options or {}),
                    ("route", "onward"): {"domains": ["*"], "type": "smarthost", "host": "127.0.0.1",
                                          "port": hop.port, "tls": "none"},
                    ("route", "dead"): {"domains": ["dead.example"], "type": "smarthost",
                                        "host": "127.0.0.1", "port": 9, "tls": "none"}})
    return s, hop, state


def send(s, *rcpts, key=None, sender=None):
    sender = sender or s.sender
    with s.login(key=key or s.key) as c:
        reply(c.cmd(f"MAIL FROM:<{sender}>"), "250 *")
        for r in rcpts:
            reply(c.cmd(f"RCPT TO:<{r}>"), "250 *")
        reply(c.cmd("DATA"), "354 *")
        r = c.data(f"From: {sender}\r\n\r\nhi\r\n")
        reply(r, "250 2.0.0 Ok: queued as *")
        return r.split()[-1]


def rows(s, *more):
    return [r["id"] for r in s.ctl("queue", "list", *more)["messages"]]


def in_order(*ids):
    """As the queue lists them: by the bytes of an id."""
    return sorted(ids, key=lambda id: base64.urlsafe_b64decode(id + "=="))


def tried(s, id, n=1):
    wait_for(f"attempt {n} of {id}", 15,
             lambda: all(r["attempts"] >= n for r in s.ctl("queue", "show", id)["recipients"]))


def why(s, id):
    return [d["why"] for d in s.ctl("queue", "why", id)["deliveries"]]


def test_filters(lab):
    s, _, _ = waiting(lab)
    other_id, other_key = s.new_key("shop")
    mine = s.key
    two = s.furnish("two", "two.example")
    a = send(s, "x@one.example", key=mine)
    b = send(s, "x@one.example", "y@other.example", key=other_key)
    c = send(s, "x@dead.example", key=two, sender="a@two.example")
    for id in (a, b, c):
        tried(s, id)
    equal(rows(s), in_order(a, b, c), "all")
    equal(rows(s, "--account", "shop"), in_order(a, b), "an account")
    equal(rows(s, "--key", other_id), [b], "a key")
    equal(rows(s, "--domain", "Other.Example"), [b], "a domain")
    equal(rows(s, "--site", "dead"), [c], "a site")
    equal(rows(s, "--site", "onward", "--account", "two"), [], "both must fit")
    equal(rows(s, "--older-than", "1h"), [], "nothing is that old")
    equal(rows(s, "--older-than", "0s", "--state", "deferred"), in_order(a, b, c), "all were tried")
    equal(rows(s, "--limit", "1", "--after", in_order(a, b, c)[0]), [in_order(a, b, c)[1]], "a page")
    equal(s.ctl("queue", "count", "--domain", "one.example")["messages"], 2, "count")
    for bad in (["--state", "lost"], ["--older-than", "soon"], ["--account", "nobody"]):
        code, _, err = s.run("queue", "count", *bad, check=False)
        check(code in (65, 66), bad, code, err)


def test_why(lab):
    s, hop, state = waiting(lab)
    id = send(s, "x@one.example", "y@dead.example")
    tried(s, id)
    one, refused = why(s, id)
    check(refused.startswith("waits for dead.example: connect: Connection refused (127.0.0.1:9) at "),
          "charged with its site's trouble", refused)
    # The next one is not even tried.
    dead = why(s, send(s, "z@dead.example"))[0]
    check(re.fullmatch(r"waits for one\.example: 4\.7\.1 greylisted \(127\.0\.0\.1:\d+\) at "
                       r"\d\d:\d\d:\d\d; attempt 1, next at \d\d:\d\d:\d\d", one), "deferred", one)
    check(re.fullmatch(r"site dead does not answer \(connect: Connection refused\), next try at "
                       r"\d\d:\d\d:\d\d", dead), "a dead site", dead)
    s.ctl("queue", "hold", id)
    check(why(s, id)[0].startswith("held by uid:"), "held", why(s, id))
    code, _, _ = s.run("queue", "why", "AAAAAAAAAAAAAAAAAAAAAA", check=False)
    equal(code, 66, "no such message")


def test_why_an_attempt_is_under_way(lab):
    hop = lab.peer("scripted", lambda line: line.hang())
    s = lab.signet({("route", "capture"): None,
                    ("route", "onward"): {"domains": ["*"], "type": "smarthost", "host": "127.0.0.1",
                                          "port": hop.port, "tls": "none", "connections": 1}})
    id = send(s, "x@one.example")
    wait_for("it waits for its turn", 10, lambda: "turn at site onward" in why(s, id)[0])


def test_retry(lab):
    s, hop, state = waiting(lab)
    ids = [send(s, f"x{i}@one.example") for i in range(5)]
    for id in ids:
        tried(s, id)
    state["answer"] = None
    equal(s.ctl("queue", "retry", ids[0])["deliveries"], 1, "one")
    hop.wait(1)
    equal(s.ctl("queue", "retry", "--domain", "one.example")["messages"], 4, "the others")
    hop.wait(5)
    wait_for("an empty queue", 10, lambda: rows(s) == [])


def test_retry_of_a_dead_site(lab):
    """The waiting time of its site ends, too."""
    s, _, _ = waiting(lab, options={"retry": {"first": "1h", "max": "1h", "jitter": 0}})
    id = send(s, "x@dead.example")
    tried(s, id)
    s.ctl("queue", "retry", id)
    tried(s, id, 2)
    s.ctl("queue", "retry", "--site", "dead")
    tried(s, id, 3)


def test_hold_and_release(lab):
    s, hop, state = waiting(lab)
    a, b = send(s, "x@one.example"), send(s, "x@two.example")
    for id in (a, b):
        tried(s, id)
    equal(s.ctl("queue", "hold", "--domain", "one.example"),
          {"messages": 1, "deliveries": 1, "under_way": 0}, "held")
    equal(rows(s, "--state", "held"), [a], "listed as held")
    state["answer"] = None
    s.stop()
    s.start()
    equal(s.ctl("queue", "retry", "--all")["messages"], 2, "both are due now")
    hop.wait(1)
    wait_for("one is left", 10, lambda: rows(s) == [a])
    equal(len(hop.messages), 1, "the held one stays")
    s.ctl("queue", "release", a)
    hop.wait(2)


def test_hold_of_a_key_holds_what_comes_later(lab):
    s, hop, state = waiting(lab, answer=None)
    id, key = s.new_key("shop")
    s.ctl("queue", "hold", "--key", id)
    a = send(s, "x@one.example", key=key)
    send(s, "x@one.example")
    hop.wait(1)
    equal(rows(s, "--state", "held"), [a], "the key's")
    equal(why(s, a), ["held: the key's queued mail is held"], "why")
    s.ctl("queue", "release", "--key", id)
    hop.wait(2)


def test_cancel(lab):
    s, hop, state = waiting(lab)
    a = send(s, "x@one.example", "y@two.example")
    b = send(s, "x@two.example")
    for id in (a, b):
        tried(s, id)
    equal(s.ctl("queue", "cancel", "--domain", "two.example")["deliveries"], 2, "cancelled")
    equal(rows(s), [a], "left")
    states = {r["to"]: r["state"] for r in s.ctl("queue", "show", a)["recipients"]}
    equal(states, {"x@one.example": "pending", "y@two.example": "cancelled"}, "states")
    events = s.ctl("message", "show", b)["events"]
    equal([v["outcome"] for v in events], ["deferred", "cancelled"], "its history")
    check(events[1]["reply"].startswith("cancelled by uid:"), "by whom", events[1])
    s.ctl("queue", "cancel", a)
    equal(rows(s), [], "nothing is left")
    code, _, _ = s.run("queue", "cancel", a, check=False)
    equal(code, 66, "it is gone")


def test_under_way_is_left_alone(lab):
    gate = {"open": False}

    def reply_late(_):
        wait_for("the gate", 30, lambda: gate["open"])

    hop = lab.peer("smarthost", replies={"x@one.example": reply_late})
    s = lab.signet({("route", "capture"): None,
                    ("route", "onward"): {"domains": ["*"], "type": "smarthost", "host": "127.0.0.1",
                                          "port": hop.port, "tls": "none"}})
    id = send(s, "x@one.example")
    wait_for("an attempt", 15, lambda: s.ctl("queue", "count")["under_way"] == 1)
    equal(why(s, id), ["an attempt is under way"], "why")
    code, out, _ = s.run("queue", "cancel", id, check=False)
    equal(code, 75, f"come again: {out}")
    gate["open"] = True
    hop.wait(1)


def test_message_after_delivery(lab):
    s, hop, state = waiting(lab)
    id = send(s, "x@one.example", "y@one.example")
    tried(s, id)
    m = s.ctl("message", "show", id)
    equal((m["queued"], len(m["waiting"]), len(m["events"])), (True, 2, 2), "while it waits")
    state["answer"] = None
    s.ctl("queue", "retry", id)
    hop.wait(1)
    wait_for("it has left", 10, lambda: rows(s) == [])
    s.stop()
    s.start()
    m = s.ctl("message", "show", id)
    equal((m["queued"], m["key"], m["reverse_path"]), (False, s.key_id, s.sender), "afterwards")
    equal(sorted((v["to"], v["attempt"], v["outcome"]) for v in m["events"]),
          [("x@one.example", 1, "deferred"), ("x@one.example", 2, "delivered"),
           ("y@one.example", 1, "deferred"), ("y@one.example", 2, "delivered")], "every outcome")
    last = m["events"][-1]
    check(last["reply"].startswith("2.0.0 taken") and last["remote"] == f"127.0.0.1:{hop.port}"
          and last["code"] == 250, "with remote and reply", last)
    code, _, _ = s.run("message", "show", "AAAAAAAAAAAAAAAAAAAAAA", check=False)
    equal(code, 66, "no such message")


def test_no_history(lab):
    s, hop, _ = waiting(lab, answer=None, options={"history": {"keep": "0s"}})
    id = send(s, "x@one.example")
    hop.wait(1)
    wait_for("it has left", 10, lambda: rows(s) == [])
    code, _, err = s.run("message", "show", id, check=False)
    equal(code, 66, err)
    check("no history is kept" in err, "it says so", err)
