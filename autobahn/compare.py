"""The gate: a report against the expectation. Sees no process, no socket, no tool; a folder is enough.

A report is good when it holds exactly the cases that were asked for and each of them has the expected verdict,
in `behavior` and in `behaviorClose`.
"""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from expectation import Verdict, case_order


class NoReport(Exception):
    """There is nothing to compare: no index.json, or not one of wstest's."""


@dataclass(frozen=True)
class Result:
    """One case as index.json has it. A field that is missing there is None, which equals no verdict."""

    verdict: Verdict
    close_code: int | None
    duration_ms: int
    report: Path | None


@dataclass(frozen=True)
class Difference:
    case: str
    complaint: str
    result: Result | None = None

    @property
    def is_missing(self):
        return self.result is None


@dataclass
class Comparison:
    asked: list
    results: dict
    differences: list = field(default_factory=list)

    @property
    def is_good(self):
        return not self.differences

    def counts(self):
        """How often each value occurs, a case counting as the worse of its two columns."""
        return Counter(result.verdict.worse for result in self.results.values())

    @property
    def seconds(self):
        """The sum of the cases' durations; the wall time is less where pieces ran side by side."""
        return sum(result.duration_ms for result in self.results.values()) / 1000

    def slowest(self, count):
        return sorted(self.results.items(), key=lambda item: -item[1].duration_ms)[:count]


def read_report(folder):
    """The results by case of the report in `folder`.

    Raises NoReport if index.json is missing, is no JSON object of wstest's shape, or has several agents in it.
    """
    cases = next(iter(_agents(folder).values()), {})
    return {case: _result(entry, Path(folder)) for case, entry in cases.items()}


def read_agent(folder):
    """Whose report it is; None if it is empty."""
    return next(iter(_agents(folder)), None)


def _agents(folder):
    index = Path(folder) / "index.json"
    try:
        agents = json.loads(index.read_text(encoding="utf-8"))
    except OSError as error:
        raise NoReport(f"{index}: {error.strerror}") from error
    except ValueError as error:
        raise NoReport(f"{index}: not JSON ({error})") from error
    if not isinstance(agents, dict) or not all(isinstance(cases, dict) for cases in agents.values()):
        raise NoReport(f"{index}: expected an object of agents, each an object of cases")
    if len(agents) > 1:
        raise NoReport(f"{index}: {len(agents)} agents ({', '.join(agents)}), expected one a folder")
    return agents


def compare(results, asked, expectation):
    if not asked:
        raise NoReport("no case was asked for, so nothing would be proved")
    comparison = Comparison(list(asked), dict(results))
    known, wanted = set(expectation.cases), set(asked)
    for case in sorted(wanted | set(results), key=case_order):
        result = results.get(case)
        complaint = _complaint(case, result, case in known, case in wanted, expectation)
        if complaint:
            comparison.differences.append(Difference(case, complaint, result))
    return comparison


def _complaint(case, result, is_known, is_wanted, expectation):
    if result is None:
        return "missing: the report has no such case"
    if not is_known:
        return "unknown: no such case in expected.toml"
    if not is_wanted:
        return "unasked: in the report, but not among the cases asked for"
    expected, got = expectation.verdict(case), result.verdict
    columns = [("behavior", expected.behavior, got.behavior), ("behaviorClose", expected.close, got.close)]
    return ", ".join(f"{name} {value or 'absent'}, expected {wanted}" for name, wanted, value in columns if value != wanted)


def _result(entry, folder):
    entry = entry if isinstance(entry, dict) else {}
    report = entry.get("reportfile")
    duration = entry.get("duration")
    return Result(
        verdict=Verdict(entry.get("behavior"), entry.get("behaviorClose")),
        close_code=entry.get("remoteCloseCode"),
        duration_ms=duration if isinstance(duration, (int, float)) else 0,
        report=folder / report if isinstance(report, str) else None,
    )
