# Runs under wstest's Python 2.7. Has wstest itself write one index over several reports:
#   merge_reports.py pieces OUT REPORTS...   moves their pages to OUT, writes OUT/index.json and OUT/index.html
#   merge_reports.py cells OUT NAMES...      leaves the pages in OUT/NAME, writes OUT/index.html with a column for each
import json
import os
import sys

from autobahntestsuite import fuzzing

# All that wstest's index shows of a page: the wire logs of eight reports would not fit into memory well.
SHOWN = ("behavior", "behaviorClose", "remoteCloseCode", "duration", "reportTime", "reportCompressionRatio", "trafficStats")


class Reports(fuzzing.FuzzingFactory):
    def __init__(self, out):
        fuzzing.FuzzingFactory.__init__(self, out)
        self.CaseSet = fuzzing.CaseSet(
            fuzzing.CaseSetname, fuzzing.CaseBasename, fuzzing.Cases, fuzzing.CaseCategories, fuzzing.CaseSubCategories
        )

    def take(self, folder):
        if not os.path.exists(os.path.join(folder, "index.json")):
            return  # it was ended before it wrote its reports
        for agent, cases in read(os.path.join(folder, "index.json")).items():
            for case, entry in cases.items():
                page = read(os.path.join(folder, entry["reportfile"]))
                # str: the page's links and file names are made of byte strings.
                self.agents.setdefault(str(agent), {})[str(case)] = dict((key, page[key]) for key in SHOWN)


class Cells(Reports):
    def makeAgentCaseReportFilename(self, agent, case, ext):
        return agent + "/" + Reports.makeAgentCaseReportFilename(self, agent, case, ext)


def read(path):
    with open(path) as stream:
        return json.load(stream)


def merge_pieces(out, folders):
    reports = Reports(out)
    for folder in folders:
        reports.take(folder)
        for name in os.listdir(folder) if os.path.isdir(folder) else ():
            if not name.startswith("index."):
                os.rename(os.path.join(folder, name), os.path.join(out, name))
    reports.createMasterReportHTML(out)
    reports.createMasterReportJSON(out)


def merge_cells(out, names):
    reports = Cells(out)
    for name in names:
        reports.take(os.path.join(out, name))
    reports.createMasterReportHTML(out)


{"pieces": merge_pieces, "cells": merge_cells}[sys.argv[1]](sys.argv[2], sys.argv[3:])
