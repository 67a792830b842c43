"""Delivery status notifications as three programs read them that nobody here wrote: Python's email
package, and Debian's Mail::DeliveryStatus::BounceParser and Sisimai."""
import email
import email.policy
import json
import re
import subprocess

from .lab import check, equal

GROUP = ("Original-Recipient", "Final-Recipient", "Action", "Status", "Remote-MTA", "Diagnostic-Code",
         "Last-Attempt-Date", "Final-Log-ID", "Will-Retry-Until")

BOUNCE_PARSER = r"""
use Mail::DeliveryStatus::BounceParser; use JSON::PP;
my $b = Mail::DeliveryStatus::BounceParser->new(do { local $/; <STDIN> });
print JSON::PP->new->canonical->encode({ is_bounce => $b->is_bounce ? 1 : 0,
  to => [sort $b->addresses], reports => [map { { to => $_->get('email'),
  reason => $_->get('std_reason') } } $b->reports] });
"""
SISIMAI = r"""
use Sisimai; use JSON::PP;
my $m = Sisimai->make($ARGV[0], 'delivered' => 1);
print JSON::PP->new->canonical->encode([map { { to => $_->recipient->address,
  from => $_->addresser->address, status => $_->deliverystatus, action => $_->action,
  reason => $_->reason } } @{ $m || [] }]);
"""


class Notice:
    """One captured message that is a notice; raises when it is not as RFC 3464 has it."""

    def __init__(self, raw):
        self.raw = raw
        self.message = m = email.message_from_bytes(raw, policy=email.policy.default)
        check(not m.defects, "defects", m.defects)
        for part in m.walk():
            check(not part.defects, "defects", part.get_content_type(), part.defects)
        equal(m.get_content_type(), "multipart/report")
        equal(m.get_param("report-type"), "delivery-status")
        equal(m["Auto-Submitted"], "auto-replied")
        equal(m["Return-Path"], "<>", "from nobody")
        for name in ("Date", "From", "To", "Subject", "Message-ID", "MIME-Version"):
            equal(len(m.get_all(name, [])), 1, name)
        self.words, self.fields, self.returned = list(m.iter_parts())
        equal(self.words.get_content_type(), "text/plain")
        self.type = self.fields.get_content_type()
        # Python knows no type of RFC 6533: there its fields are text.
        blocks = self.groups_of(raw) if "global" in self.type else \
            [dict(p.items()) for p in self.fields.get_payload()]
        self.about, self.groups = blocks[0], blocks[1:]
        for g in self.groups:
            check(set(g) <= set(GROUP), "unknown fields", g)
            check(re.fullmatch(r"[245]\.\d{1,3}\.\d{1,3}", g["Status"]), "status", g)

    @staticmethod
    def groups_of(raw):
        part = raw.split(b"delivery-status\r\n", 2)[-1].split(b"\r\n\r\n--=_")[0].partition(b"\r\n\r\n")[2]
        return [dict(line.split(": ", 1) for line in g.split("\r\n") if line)
                for g in re.sub("\r\n ", " ", part.decode()).split("\r\n\r\n")]

    def group(self, to):
        return next(g for g in self.groups if g["Final-Recipient"].split("; ")[1] == to)

    def text(self):
        """What people read, however its lines are broken."""
        return " ".join(self.words.get_content().split())

    def bounce_parser(self):
        p = subprocess.run(["perl", "-e", BOUNCE_PARSER], input=self.raw.replace(b"\r\n", b"\n"), capture_output=True, timeout=60,
                           check=False)
        check(p.returncode == 0, p.stderr.decode("utf-8", "replace"))
        return json.loads(p.stdout)

    def sisimai(self, path):
        with open(path, "wb") as f:
            f.write(self.raw)
        p = subprocess.run(["perl", "-e", SISIMAI, path], capture_output=True, timeout=60, check=False)
        check(p.returncode == 0, p.stderr.decode("utf-8", "replace"))
        return json.loads(p.stdout)
