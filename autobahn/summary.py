"""What a person reads at the end: the differences, the slowest cases, the table."""

import json
import os
from pathlib import Path

SLOWEST = 5
# The field's own order, from good to bad; a value that wstest does not have comes last.
VALUES = ["OK", "INFORMATIONAL", "NON-STRICT", "UNIMPLEMENTED", "UNCLEAN", "WRONG CODE", "FAILED BY CLIENT", "FAILED"]


def differences(name, comparison):
    """One line a difference, with the page to open, and wstest's own words where it has them."""
    for difference in comparison.differences:
        result = difference.result
        if result is None:
            yield f"{name} {difference.case}: {difference.complaint}"
            continue
        yield f"{name} {difference.case}: {difference.complaint}; close code {result.close_code}, {result.duration_ms} ms"
        if result.report is not None:
            for text in _reasons(result.report):
                yield f"    {text}"
            yield f"    {shown(result.report.with_suffix('.html'))}"


def slowest(name, comparison):
    return f"{name} slowest: " + ", ".join(f"{case} {result.duration_ms} ms" for case, result in comparison.slowest(SLOWEST))


def table(comparisons):
    """Two rows a report, `behavior` and `behaviorClose`, with how often each value occurs."""
    rows = [(name, column, one.counts(key), one) for name, one in comparisons.items() for column, key in (("behavior", "behavior"), ("behaviorClose", "close"))]
    occurring = {value for _, _, counts, _ in rows for value in counts}
    values = [value for value in VALUES if value in occurring] + sorted(occurring - set(VALUES))
    lines = [["", "", "asked", "ran", *values, "differ"]]
    for name, column, counts, one in rows:
        lines.append([name, column, len(one.asked), len(one.results), *(counts[value] or "-" for value in values), len(one.differences)])
    widths = [max(len(str(line[i])) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        cells = [str(cell).ljust(width) if i < 2 else str(cell).rjust(width) for i, (cell, width) in enumerate(zip(line, widths))]
        yield "  ".join(cells).rstrip()


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
