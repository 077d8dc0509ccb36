"""The command line of autobahn/run."""

import argparse
from pathlib import Path

from cells import DEFLATES, ROLES, SCHEMES, TAKEOVER, NoSuchCell, matrix, named
from children import CannotStart
from server import check_target

HERE = Path(__file__).resolve().parent

EXIT_CODES = """\
exit codes: 0 everything as expected; 1 a case differs or is missing, or a server or client of ours did not survive;
2 usage; 3 the tool or the server cannot be installed, built, started or reached; 130 interrupted"""


def parse(argv):
    parser = argparse.ArgumentParser(
        prog="autobahn/run",
        description="Runs the real AutobahnTestsuite against wslab, as server and as client, over ws and wss, with compression\n"
        "off and on, and compares every case with expected.toml.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    which = parser.add_argument_group("which cases (default: --sample)")
    chosen = which.add_mutually_exclusive_group()
    chosen.add_argument(
        "--quick", dest="scope", action="store_const", const="quick", help="1 to 10, and of 12 and 13 the messages up to 4 KiB"
    )
    chosen.add_argument(
        "--sample", dest="scope", action="store_const", const="sample", help="1 to 10, and of 12 and 13 the messages up to 32 KiB"
    )
    chosen.add_argument(
        "--full", "--all", dest="scope", action="store_const", const="full", help="every case: 517 in a cell with compression"
    )
    chosen.add_argument(
        "--only", action="append", metavar="PATTERN", help="a case (7.1.6), all below a group (7.1) or a glob (6.4.*); repeatable"
    )
    which.add_argument("--exclude", action="append", default=[], metavar="PATTERN", help="but not these; repeatable")

    where = parser.add_argument_group("which cells (default: all eight)")
    where.add_argument(
        "--cells",
        action="append",
        metavar="NAMES",
        help="by name or glob, with commas or repeated: server-ws-off, client-wss-on, server-*; also server-ws-takeover",
    )
    where.add_argument("--role", action="append", choices=ROLES, help="server or client")
    where.add_argument("--scheme", action="append", choices=SCHEMES, help="ws or wss")
    where.add_argument(
        "--deflate", action="append", choices=(*DEFLATES, TAKEOVER), help="permessage-deflate off or on; takeover: servers only"
    )

    target = parser.add_argument_group("what to test (default: build wslab)").add_mutually_exclusive_group()
    target.add_argument("--binary", type=Path, metavar="PATH", help="take this wslab instead of building one")
    target.add_argument(
        "--url",
        action="append",
        metavar="URL",
        help="a server that already runs on loopback, ws://… or wss://…; one of each at most; --deflate on if it compresses",
    )
    target.add_argument(
        "--compare-only", type=Path, metavar="DIR", help="run nothing: compare the report in DIR, or those in DIR/<cell>"
    )

    parser.add_argument(
        "--jobs",
        type=_count,
        metavar="N",
        help="pieces side by side (default: the cores for 12 and 13, then 4 or the cores for the rest, whichever is more)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=HERE / "reports",
        metavar="DIR",
        help="reports go to DIR/<cell>, the index over all cells to DIR/index.html (default: autobahn/reports)",
    )

    options = parser.parse_args(argv)
    options.fail = parser.error
    options.scope = None if options.only else options.scope or "sample"
    options.url = _by_scheme(parser, options) if options.url else None
    options.cells = _cells(parser, options)
    return options


def _cells(parser, options):
    """Not yet with their cases."""
    if options.cells and (options.role or options.scheme or options.deflate):
        parser.error("--cells names them: leave --role, --scheme and --deflate away")
    if options.cells:
        try:
            return named([name for names in options.cells for name in names.split(",")])
        except NoSuchCell as error:
            parser.error(str(error))
    chosen = matrix(options.role or ROLES, options.scheme or SCHEMES, options.deflate or DEFLATES)
    if not chosen:
        parser.error("no such cell: takeover is an option of the server")
    return chosen


def _by_scheme(parser, options):
    """The URLs that run already. Their cells follow from them."""
    if options.scheme or options.cells or options.role:
        parser.error("--url says which cells: leave --cells, --role and --scheme away")
    options.deflate = options.deflate or ["off"]
    if len(options.deflate) > 1:
        parser.error("--url runs with one setting of compression: give --deflate once")
    urls = {}
    for url in options.url:
        try:
            scheme = check_target(url)
        except CannotStart as error:
            parser.error(str(error))
        if scheme in urls:
            parser.error(f"--url {url}: there is already one of {scheme}")
        urls[scheme] = url
    options.role, options.scheme = ["server"], list(urls)
    return urls


def _count(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a number of processes, 1 or more")
    return int(text)
