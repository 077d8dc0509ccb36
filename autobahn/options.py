"""The command line of autobahn/run."""

import argparse
from pathlib import Path

from children import CannotStart
from server import check_target

HERE = Path(__file__).resolve().parent
SCHEMES = ("ws", "wss")

EXIT_CODES = """\
exit codes: 0 everything as expected; 1 a case differs or is missing, or the server did not survive;
2 usage; 3 the tool or the server cannot be installed, built, started or reached; 130 interrupted"""


def parse(argv):
    parser = argparse.ArgumentParser(
        prog="autobahn/run",
        description="Runs the real AutobahnTestsuite against wslab over ws and wss, and compares every case with expected.toml.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    which = parser.add_argument_group("which cases (default: what the specs name, 1-7, 9 and 10)")
    chosen = which.add_mutually_exclusive_group()
    chosen.add_argument(
        "--only", action="append", metavar="PATTERN", help="a case (7.1.6), all below a group (7.1) or a glob (6.4.*); repeatable"
    )
    chosen.add_argument("--all", action="store_true", help="every case, with 12 and 13 (permessage-deflate; many minutes)")
    which.add_argument("--exclude", action="append", default=[], metavar="PATTERN", help="but not these; repeatable")
    which.add_argument("--scheme", action="append", choices=SCHEMES, help="ws or wss (default: both)")

    target = parser.add_argument_group("what to test (default: build and start wslab)").add_mutually_exclusive_group()
    target.add_argument("--binary", type=Path, metavar="PATH", help="start this wslab instead of building one")
    target.add_argument(
        "--url",
        action="append",
        metavar="URL",
        help="a server that already runs on loopback, ws://… or wss://…; one of each at most",
    )
    target.add_argument(
        "--compare-only", type=Path, metavar="DIR", help="run nothing: compare the report in DIR, or those in DIR/ws and DIR/wss"
    )

    parser.add_argument(
        "--jobs",
        type=_count,
        metavar="N",
        help="wstest processes side by side (default: 4 or the cores, whichever is more; the cores with 12 or 13)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=HERE / "reports",
        metavar="DIR",
        help="reports go to DIR/ws and DIR/wss (default: autobahn/reports)",
    )

    options = parser.parse_args(argv)
    if options.url:
        options.url = _by_scheme(parser, options)
        options.scheme = list(options.url)
    options.scheme = [scheme for scheme in SCHEMES if scheme in (options.scheme or SCHEMES)]
    options.fail = parser.error
    return options


def _by_scheme(parser, options):
    if options.scheme:
        parser.error("--scheme says nothing beside --url: the URL has a scheme")
    urls = {}
    for url in options.url:
        try:
            scheme = check_target(url)
        except CannotStart as error:
            parser.error(str(error))
        if scheme in urls:
            parser.error(f"--url {url}: there is already one of {scheme}")
        urls[scheme] = url
    return urls


def _count(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a number of processes, 1 or more")
    return int(text)
