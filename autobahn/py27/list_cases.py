# Runs under wstest's Python 2.7: prints the id of every case that this wstest has.
from autobahntestsuite.case import Cases, CaseBasename, CaseSetname, CaseCategories, CaseSubCategories
from autobahntestsuite.caseset import CaseSet

print("\n".join(CaseSet(CaseSetname, CaseBasename, Cases, CaseCategories, CaseSubCategories).parseSpecCases({"cases": ["*"]})))
