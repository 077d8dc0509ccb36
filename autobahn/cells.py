"""The matrix: what a cell is, which there are, and which cases belong to one.

A cell is one role of wslab over one transport with one setting of permessage-deflate, such as `client-wss-on`. It has a
folder of reports, a column in the merged index, and a row in the table. Its name is also the agent in wstest's reports.
"""

import fnmatch
from dataclasses import dataclass, field
from pathlib import Path

ROLES = ("server", "client")
SCHEMES = ("ws", "wss")
DEFLATES = ("off", "on")
# Not in the matrix, but there for whoever names it: a server that keeps its compression context between messages.
TAKEOVER = "takeover"

COMPRESSED = ("12", "13")
# The sub-numbers of every compressed group that a part of them keeps: all data files and offers, fewer sizes.
# 1 to 8 are 16 bytes to 32 KiB in one frame, 11 to 13 the upper three of them in fragments of 256; the other seven,
# 64 and 128 KiB, are four fifths of the time.
QUICK = (1, 2, 3, 4, 5, 11)
SAMPLE = (1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13)
SCOPES = {"quick": QUICK, "sample": SAMPLE}


class NoSuchCell(ValueError):
    """A name that fits no cell."""


@dataclass
class Cell:
    role: str
    scheme: str
    deflate: str
    cases: list = field(default_factory=list)
    reports: Path | None = None

    @property
    def name(self):
        return f"{self.role}-{self.scheme}-{self.deflate}"

    def select(self, options, expectation):
        """The cases that the command line asks of this cell.

        Without compression sections 12 and 13 have nothing to test: wstest would write UNIMPLEMENTED.
        """
        left_out = options.exclude + list(COMPRESSED if self.deflate == "off" else ())
        if options.only:
            return expectation.select(options.only, left_out)
        cases = expectation.select(["*"], left_out)
        kept = SCOPES.get(options.scope)
        return [case for case in cases if kept is None or not is_compressed(case) or int(case.split(".")[2]) in kept]


def is_compressed(case):
    return case.split(".")[0] in COMPRESSED


def matrix(roles=ROLES, schemes=SCHEMES, deflates=DEFLATES):
    """The cells of these roles, transports and settings, in the order of the table."""
    every = [Cell(role, scheme, deflate) for role in ROLES for deflate in (*DEFLATES, TAKEOVER) for scheme in SCHEMES]
    return [
        cell for cell in every if cell.role in roles and cell.scheme in schemes and cell.deflate in deflates and _is_real(cell)
    ]


def named(patterns):
    """The cells that any of the names or globs names: `server-ws-off`, `client-*`; `*` is the matrix without its extras."""
    chosen = set()
    for pattern in patterns:
        hits = {cell.name for cell in matrix() if fnmatch.fnmatchcase(cell.name, pattern)}
        extras = {cell.name for cell in matrix(deflates=(TAKEOVER,)) if fnmatch.fnmatchcase(cell.name, pattern)}
        hits |= extras if TAKEOVER in pattern else set()
        if not hits:
            raise NoSuchCell(f"{pattern}: no such cell; there are {', '.join(all_names())}")
        chosen |= hits
    return [cell for cell in matrix(deflates=(*DEFLATES, TAKEOVER)) if cell.name in chosen]


def all_names():
    return [cell.name for cell in matrix(deflates=(*DEFLATES, TAKEOVER))]


def _is_real(cell):
    return cell.deflate != TAKEOVER or cell.role == "server"
