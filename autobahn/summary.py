"""What a person reads at the end: the differences, the slowest cases, the table."""

import json
import os
from pathlib import Path

SLOWEST = 5
MISSING_ONE_BY_ONE = 10
# The field's own order, from good to bad; a value that wstest does not have comes last.
VALUES = ["OK", "INFORMATIONAL", "NON-STRICT", "UNIMPLEMENTED", "UNCLEAN", "WRONG CODE", "FAILED BY CLIENT", "FAILED"]


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
    """Two rows a report, `behavior` and `behaviorClose`, with how often each value occurs."""
    rows = []
    for name, one in comparisons.items():
        rows += [(name, "behavior", one.counts("behavior"), one), (name, "behaviorClose", one.counts("close"), one)]
    occurring = {value for _, _, counts, _ in rows for value in counts}
    values = [value for value in VALUES if value in occurring] + sorted(occurring - set(VALUES))
    lines = [["", "", "asked", "ran", *values, "differ"]]
    for name, column, counts, one in rows:
        lines.append(
            [name, column, len(one.asked), len(one.results), *(counts[value] or "-" for value in values), len(one.differences)]
        )
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
