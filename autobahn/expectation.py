"""What is expected: the list of all cases, the verdict each must get, and which of them a pattern names.

Read from expected.toml. Knows no report and no tool, so it also works where wstest is not installed.
"""

import fnmatch
import tomllib
from dataclasses import dataclass
from pathlib import Path

# The field's own words, from good to bad.
VALUES = ["OK", "INFORMATIONAL", "NON-STRICT", "UNIMPLEMENTED", "UNCLEAN", "WRONG CODE", "FAILED BY CLIENT", "FAILED"]
EXPECTED = Path(__file__).with_name("expected.toml")


@dataclass(frozen=True)
class Verdict:
    """The two columns of a report: what was received, and how the connection ended."""

    behavior: str
    close: str

    @property
    def worse(self):
        """One value for both columns. What wstest does not have is worse than everything that it has."""
        return str(max((self.behavior, self.close), key=lambda value: VALUES.index(value) if value in VALUES else len(VALUES)))


class NoSuchCase(ValueError):
    """A pattern that names no case: most likely a slip, and wstest would hang on it."""


class Expectation:
    def __init__(self, path=EXPECTED):
        with open(path, "rb") as file:
            table = tomllib.load(file)
        self._default = _verdict(table["default"])
        self._special = {case: _verdict(entry) for case, entry in table["cases"].items()}
        self.cases = [f"{group}.{n}" for group, count in table["groups"].items() for n in range(1, count + 1)]
        self.cases.sort(key=case_order)
        strangers = sorted(set(self._special) - set(self.cases))
        if strangers:
            raise NoSuchCase(f"{path}: expects a verdict of {', '.join(strangers)}, which no group holds")

    def verdict(self, case):
        return self._special.get(case, self._default)

    def matching(self, patterns):
        """The cases that any of the patterns names, in the suite's order.

        `7.1.6` is one case, `7.1` or `7` all below it, and `*`, `?`, `[…]` match as in a shell.
        """
        named = set()
        for pattern in patterns:
            hits = {case for case in self.cases if _matches(case, pattern)}
            if not hits:
                raise NoSuchCase(f"{pattern}: no such case or group")
            named |= hits
        return [case for case in self.cases if case in named]

    def select(self, only, exclude):
        left_out = set(self.matching(exclude))
        return [case for case in self.matching(only) if case not in left_out]


def case_order(case):
    """A sort key: 2.10 comes after 2.9. What is no case id comes last."""
    parts = case.split(".")
    return (0, [int(part) for part in parts]) if all(part.isdecimal() for part in parts) else (1, [case])


def _verdict(entry):
    return Verdict(entry["behavior"], entry["behaviorClose"])


def _matches(case, pattern):
    return case.startswith(pattern + ".") or fnmatch.fnmatchcase(case, pattern)
