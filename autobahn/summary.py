"""What a person reads at the end: the differences, the slowest cases, the table."""

import json
import os
from pathlib import Path

from expectation import VALUES

SLOWEST = 5
MISSING_ONE_BY_ONE = 10


def differences(name, comparison):
    """One line a difference, with wstest's own words where it has them and the page to open."""
    missing = [difference.case for difference in comparison.differences if difference.is_missing]
    if len(missing) > MISSING_ONE_BY_ONE:
        yield f"{name}: {len(missing)} cases are missing: {' '.join(missing)}"
    for difference in comparison.differences:
        if difference.is_missing and len(missing) > MISSING_ONE_BY_ONE:
            continue
        result = difference.result
        outcome = "" if result is None else f"; close code {result.close_code}, {result.duration_ms} ms"
        yield f"{name} {difference.case}: {difference.complaint}{outcome}"
        if result is not None and result.report is not None:
            yield from (f"    {text}" for text in _reasons(result.report))
            yield f"    {shown(result.report.with_suffix('.html'))}"


def slowest(name, comparison):
    return f"{name} slowest: " + ", ".join(f"{case} {result.duration_ms} ms" for case, result in comparison.slowest(SLOWEST))


def table(comparisons):
    """A row a cell, with how often each verdict occurs. A case counts once, by the worse of its two columns."""
    counts = {name: one.counts() for name, one in comparisons.items()}
    occurring = {"OK", "INFORMATIONAL"}.union(*counts.values())
    values = [value for value in VALUES if value in occurring] + sorted(occurring - set(VALUES))
    lines = [["", "asked", "ran", *values, "differ", "seconds"]]
    for name, one in comparisons.items():
        found = [counts[name][value] or "-" for value in values]
        lines.append([name, len(one.asked), len(one.results), *found, len(one.differences), round(one.seconds)])
    widths = [max(len(str(line[i])) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        columns = [str(text).rjust(width) if i else str(text).ljust(width) for i, (text, width) in enumerate(zip(line, widths))]
        yield "  ".join(columns).rstrip()


def shown(path):
    """Relative where that is shorter to read."""
    relative = os.path.relpath(path)
    return Path(path) if relative.startswith("..") else relative


def _reasons(report):
    try:
        page = json.loads(report.read_text(encoding="utf-8"))
        return [text for text in (page.get("result"), page.get("resultClose")) if text]
    except (OSError, ValueError, AttributeError):
        return []
