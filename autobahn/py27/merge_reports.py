# Runs under wstest's Python 2.7: merge_reports.py OUT REPORTS...
# Moves the pages of every REPORTS folder to OUT, then has wstest itself write OUT/index.json and OUT/index.html.
import json
import os
import sys

from autobahntestsuite import fuzzing


def read(path):
    with open(path) as stream:
        return json.load(stream)


def main(out, folders):
    factory = fuzzing.FuzzingFactory(out)
    factory.CaseSet = fuzzing.CaseSet(
        fuzzing.CaseSetname, fuzzing.CaseBasename, fuzzing.Cases, fuzzing.CaseCategories, fuzzing.CaseSubCategories
    )
    for folder in folders:
        if not os.path.exists(os.path.join(folder, "index.json")):
            continue  # it was ended before it wrote its reports
        for agent, cases in read(os.path.join(folder, "index.json")).items():
            for case, entry in cases.items():
                page = os.path.join(folder, entry["reportfile"])
                # str: the page's links and file names are made of byte strings.
                factory.agents.setdefault(str(agent), {})[str(case)] = read(page)
        for name in os.listdir(folder):
            if not name.startswith("index."):
                os.rename(os.path.join(folder, name), os.path.join(out, name))
    factory.createMasterReportHTML(out)
    factory.createMasterReportJSON(out)


main(sys.argv[1], sys.argv[2:])
