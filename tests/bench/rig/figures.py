"""Figures of several rounds: median and range, verdicts, a table and JSON."""
import json
import os
import statistics
import time

from . import procs


class Spread:
    """Values of one figure, a round each."""

    def __init__(self, values):
        self.values = [v for v in values if v is not None]

    @property
    def median(self):
        return statistics.median(self.values)

    def text(self, unit=""):
        if not self.values:
            return "-"
        low, mid, high = (number(v) for v in (min(self.values), self.median, max(self.values)))
        return f"{mid}{unit}" + (f" ({low} to {high})" if len(self.values) > 1 else "")

    def json(self):
        return {"median": self.median, "min": min(self.values), "max": max(self.values),
                "rounds": self.values} if self.values else None


def number(v):
    if abs(v) >= 1000:
        return f"{v:,.0f}"
    if abs(v) >= 100:
        return f"{v:.0f}"
    return f"{v:.1f}" if abs(v) >= 10 else f"{v:.2f}"


class Case:
    """What a case found: rows of figures, targets, remarks."""

    def __init__(self, name, title):
        self.name, self.title = name, title
        self.columns, self.rows, self.targets, self.notes = [], [], [], []
        self.began = time.time()

    def table(self, *columns):
        """(heading, key or function of a round's dict) for each column after the first."""
        self.columns = columns

    def row(self, who, rounds):
        self.rows.append((who, rounds))

    def cell(self, rounds, get):
        values = [get(r) if callable(get) else r.get(get) for r in rounds]
        return Spread(values)

    def target(self, what, wanted, value, reached):
        self.targets.append({"what": what, "wanted": wanted, "value": value, "reached": reached})

    def at_most(self, what, limit, spread, unit=""):
        ok = bool(spread.values) and spread.median <= limit
        self.target(what, f"at most {number(limit)}{unit}", spread.text(unit), ok)

    def at_least(self, what, limit, spread, unit=""):
        ok = bool(spread.values) and spread.median >= limit
        self.target(what, f"at least {number(limit)}{unit}", spread.text(unit), ok)

    def note(self, text):
        self.notes.append(text)

    def text(self):
        out = [f"### {self.name}: {self.title}", ""]
        if self.rows:
            out.append("| | " + " | ".join(c[0] for c in self.columns) + " |")
            out.append("|---" * (len(self.columns) + 1) + "|")
            for who, rounds in self.rows:
                cells = [self.cell(rounds, c[1]).text() for c in self.columns]
                out.append(f"| {who} | " + " | ".join(cells) + " |")
            out.append("")
        if self.targets:
            out += ["| target | wanted | seen | reached |", "|---|---|---|---|"]
            out += [f"| {t['what']} | {t['wanted']} | {t['value']} | "
                    f"{'yes' if t['reached'] else 'no'} |" for t in self.targets]
            out.append("")
        out += [f"- {n}" for n in self.notes]
        return "\n".join(out).rstrip() + "\n"

    def json(self):
        rows = {}
        for who, rounds in self.rows:
            rows[who] = {c[0]: self.cell(rounds, c[1]).json() for c in self.columns}
            rows[who]["all"] = rounds
        return {"case": self.name, "title": self.title, "began": self.began,
                "seconds": time.time() - self.began, "rows": rows, "targets": self.targets,
                "notes": self.notes}

    def save(self):
        os.makedirs(procs.OUT, exist_ok=True)
        for suffix, text in (("json", json.dumps(self.json(), indent=1)), ("md", self.text())):
            with open(os.path.join(procs.OUT, f"{self.name}.{suffix}"), "w",
                      encoding="utf-8") as f:
                f.write(text)


def ratios(over, under, key, under_key=None):
    """Round by round, so that a noisy minute hits both sides."""
    return Spread([a[key] / b[under_key or key] for a, b in zip(over, under)])
