#!/usr/bin/env python3
"""Writes address.tsv: address lists and what a strict reader finds in them.

Lists that must be read are put together from parts, so what they hold is known without a parser;
each is then read by Python's email package as well, and must come out the same. Lists that must be
refused are written by hand, or made from good ones by a change that no reader may forgive.

    python3 tests/vectors/address.py > tests/vectors/address.tsv

One case a line, fields separated by tabs: utf8 allowed (0, 1); ok or bad; holds a group (0, 1);
the list; then, when ok, each address as local@domain. Bytes outside printable ASCII, and the
backslash, are written \\xNN.
"""
import random
import sys
from email._header_value_parser import get_address_list

rnd = random.Random(5322)

LOCALS = ["jo", "mary.smith", "a+b-c", "x_y", "o'hara", "1", "a=b", "user%host", "a!b", "#~{}|^`*/&?$",
          '"john smith"', '"a@b"', '"a\\"b"', '"x\\\\y"', '""', '"<a@b>,"', '"(c)"', '"a;b:c"']
DOMAINS = ["example.com", "a.b.c.example", "EXAMPLE.org", "x-y.example", "localhost", "1.example", "_d.example",
           "xn--bcher-kva.example", "[192.0.2.1]", "[IPv6:2001:db8::1]"]
NAMES = ["", "Jo", "Mary Smith", '"Smith, Mary"', "John Q. Public", '"a@b.example"', '"<x@y.example>" z',
         "=?utf-8?q?J=C3=B6?=", "=?utf-8?b?YUBiLmV4YW1wbGU=?=", "Dr. Who (the) III", '"esc \\" aped"', "!#$% &'*+"]
COMMENTS = ["(c)", "(a (nested (comment)))", "(a@b.example)", "(<a@b>)", "(\\))", "(,;:)", "()", '(")']
UTF8_LOCALS = ["jö", "用户", '"ü ü"']
UTF8_DOMAINS = ["bücher.example", "例子.example"]
GROUPS = ["Friends", "A Group", '"x, y"', "undisclosed-recipients"]

BAD = [
    "", " ", ",", "(only)", "jo", "jo@", "@example.com", "<>", "<jo>", "<jo@>", "<@example.com>", "Jo <jo@example.com",
    "jo@example.com>", "<<jo@example.com>>", "<jo@example.com> x", "<jo@example.com> <a@b.example>",
    "jo@example.com a@b.example", "jo@example.com; a@b.example", "a@b@c.example", "<a@b@c.example>",
    "a@b.example <c@d.example>", "Jo a@b.example", "jo smith@example.com", ".jo@example.com", "jo.@example.com",
    "j..o@example.com", "jo@.example.com", "jo@example.com.", "jo@example..com", "jo@-example.com", "jo@example-.com",
    "jo@exa mple.com", "jo@example.com, ", ", jo@example.com", "a@b.example,,c@d.example",
    "<@relay.example:jo@example.com>", "<@a.example,@b.example:jo@example.com>", "jo . smith@example.com",
    "jo@example . com", "jo@example(c).com", "jo(c).smith@example.com", '"a".b@example.com', 'a."b"@example.com',
    '"a""b"@example.com', '"a"b@example.com', '"unclosed@example.com', '"a\\', "(unclosed", "jo@example.com (unclosed",
    "jo@example.com )", "(a\\", "jo@[192.0.2.1", "jo@192.0.2.1]", "jo@[]", "jo@[a b]", "jo@[[1]]", "jo@[1]x",
    "jo@x[1]", 'jo@"example.com"', "jo@exam!ple.com", "jo@example%good.example", "jo@example.com\x00",
    "jo\x00@example.com", "\x01jo@example.com", "jo@example.com\x7f", '"a\x00b"@example.com', '"a\nb"@example.com',
    '"a\\\nb"@example.com', '"a\tb"@example.com', '"a\r\n b"@example.com', "(a\x00) jo@example.com",
    "jo@example.com\r\n", "jo@example.com\r\nBcc: x@y.example", "jo@example.com\n a@b.example", "jo\r@example.com",
    "jo@example.com\r", "Jo\r\n<jo@example.com>", '"Jo\r\n" <jo@example.com>', '"Jo\r\nX" <jo@example.com>',
    "Group: a@b.example", "Group: a@b.example, ;", "Group: , a@b.example;", "Group:;;", "Group: Inner: a@b.example;;", "Group: Inner: a@b.example;",
    ": a@b.example;", "Group a@b.example;", "Group:; x", ";", "Group:;,", "a:b:c@d.example;",
    "[Tag] Jo <jo@example.com>", "Jo: <jo@example.com>", "Jo; <jo@example.com>", "Jo, Inc <jo@example.com>",
    "Jo \\<x\\> <jo@example.com>", "Jo @ work <jo@example.com>",
    # one reader decodes the encoded-word, the next does not: two addresses
    "=?utf-8?q?a=40good.example=3e?=@evil.example", "<=?utf-8?q?a=40good.example?=@evil.example>",
    "=?x?q?collab=40psres.net=3e=20?=foo@example.com", '"=?utf-8?q?a=40good.example?="@evil.example',
    "a@=?utf-8?q?good.example?=", "=?utf-7?q?x=26AEA-good.example?=@evil.example",
    "jö@example.com", "jo@bücher.example", "Jö <jo@example.com>", '"Jö" <jo@example.com>', "(ö) jo@example.com",
    "a" * 256 + "@example.com", "jo@" + "a" * 64 + ".example", "jo@" + "a.b" * 90,
    "(" * 33 + ")" * 33 + "jo@example.com", "<jo @@ example.com>", "<jo@example.com,a@b.example>",
]
BAD_UTF8 = [b"j\xf6@example.com", b"jo@b\xfccher.example", b'"\xc0\xaf"@example.com', b"\xed\xa0\x80@example.com",
            b"Jo \xff <jo@example.com>", b"(\x80) jo@example.com", b"j\xc3"]
# read, though some readers refuse them; Python gives up on some of these, so they stand alone
GOOD = [
    ("pete(his account)@silly.test(his host)", ["pete@silly.test"]),
    ("Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>", ["pete@silly.test"]),
    ("A Group(Some people)\r\n     :Chris Jones <c@(Chris's host.)public.example>,\r\n"
     "         joe@example.org,\r\n  John <jdoe@one.test> (my dear friend); (the end of the group)",
     ["c@public.example", "joe@example.org", "jdoe@one.test"]),
    ("(Empty list)(start)Hidden recipients  :(nobody(that I know))  ;", []),
    ("Joe Q. Public <john.q.public@example.com>", ["john.q.public@example.com"]),
    ("Mary Smith <mary@x.test>, jdoe@example.org, Who? <one@y.test>",
     ["mary@x.test", "jdoe@example.org", "one@y.test"]),
    ('<boss@nil.test>, "Giant; \\"Big\\" Box" <sysservices@example.net>', ["boss@nil.test", "sysservices@example.net"]),
    ('"xclow3n@gmail.example x"@internal.example', ['"xclow3n@gmail.example x"@internal.example']),
    ("a%good.example@evil.example", ["a%good.example@evil.example"]),
    ("good.example!a@evil.example", ["good.example!a@evil.example"]),
    ("+AGEAQA-good.example@evil.example", ["+AGEAQA-good.example@evil.example"]),
    ("alice@example.org(<bob@example.com>)", ["alice@example.org"]),
    ("\r\n jo@example.com", ["jo@example.com"]), ("jo@example.com\r\n ", ["jo@example.com"]),
    ("Jo\r\n\t<jo@example.com>", ["jo@example.com"]), ('"Jo\r\n X" <jo@example.com>', ["jo@example.com"]),
    ("a" * 255 + "@example.com", ["a" * 255 + "@example.com"]), ("jo@" + "a" * 63 + ".example", ["jo@" + "a" * 63 + ".example"]),
    ("(" * 32 + ")" * 32 + "jo@example.com", ["jo@example.com"]),
    ("a@b.example,c@d.example", ["a@b.example", "c@d.example"]),
    ("=?a@b.example", ["=?a@b.example"]), ("?=a=?@b.example", ["?=a=?@b.example"]),
    ("G:;, a@b.example, H: c@d.example;", ["a@b.example", "c@d.example"]),
]


def escape(b):
    return "".join(chr(c) if 32 <= c < 127 and c != 92 else "\\x%02x" % c for c in b)


def row(utf8, ok, group, text, addresses=()):
    raw = text if isinstance(text, bytes) else text.encode()
    print("\t".join([str(int(utf8)), "ok" if ok else "bad", str(int(group)), escape(raw)] +
                    [escape(a.encode()) for a in addresses]))


def gap(comment=True):
    return rnd.choice(["", " ", "  ", "\t", "\r\n ", " " + rnd.choice(COMMENTS) + " " if comment else " "])


def mailbox(utf8):
    local = rnd.choice(LOCALS + (UTF8_LOCALS if utf8 else []))
    domain = rnd.choice(DOMAINS + (UTF8_DOMAINS if utf8 else []))
    name = rnd.choice(NAMES + (["Jö", '"Jö, ü"'] if utf8 else []))
    spec = local + rnd.choice(["@", "@", "@", " @ ", "(c)@", "@(c) "]) + domain
    if name or rnd.random() < 0.3:
        spec = name + (gap() if name.endswith('"') else " " + gap()) + "<" + gap() + spec + gap() + ">"
    return gap() + spec + gap(), local + "@" + domain


def make(utf8):
    parts, addresses, group = [], [], False
    for _ in range(rnd.randint(1, 4)):
        if rnd.random() < 0.15:
            group = True
            members = [mailbox(utf8) for _ in range(rnd.randint(0, 3))]
            parts.append(gap() + rnd.choice(GROUPS) + gap() + ":" + ",".join(m[0] for m in members) + gap() + ";" + gap())
            addresses += [m[1] for m in members]
        else:
            text, address = mailbox(utf8)
            parts.append(text)
            addresses.append(address)
    return ",".join(parts), addresses, group


def unquote(local):
    if not local.startswith('"'):
        return local
    out, it = "", iter(local[1:-1])
    for c in it:
        out += next(it) if c == "\\" else c
    return out


def python_reads(text):
    found, rest = get_address_list(text.replace("\r\n", ""))
    assert not rest, rest
    return [(m.local_part, m.domain) for m in found.all_mailboxes]


def agreed(text, addresses):
    want = [(unquote(a.rpartition("@")[0]), a.rpartition("@")[2]) for a in addresses]
    try:
        return python_reads(text) == want
    except Exception:
        return False


def main():
    unread = 0
    for text, addresses in GOOD:
        row(0, True, ";" in text and ":" in text and "Giant" not in text, text, addresses)
    for text in BAD:
        row(0, False, 0, text)
    for text in BAD_UTF8:
        row(1, False, 0, text)
    for text in ["jö@example.com", "jo@bücher.example", "Jö <jo@example.com>", "(ö) jo@example.com"]:
        row(1, True, 0, text, [text[text.find("<") + 1:].rstrip(">").replace("(ö) ", "")])
    for i in range(300):
        utf8 = i % 4 == 0
        text, addresses, group = make(utf8)
        if not agreed(text, addresses):
            unread += 1
            print("python reads otherwise:", repr(text), file=sys.stderr)
        row(utf8, True, group, text, addresses)
        # a break of its own: what stands behind an address that has ended
        if i % 3 == 0:
            row(utf8, False, 0, text + rnd.choice(["<", "@", ")", "\\", "\x00", "\r\n", ",", '"', " x", "["]))
    print(unread, "of 300 read otherwise by Python", file=sys.stderr)


main()
