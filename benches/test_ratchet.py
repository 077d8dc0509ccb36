"""The ratchet's judgement, on doctored counts."""

import importlib.machinery
import importlib.util
import pathlib
import unittest

PATH = str(pathlib.Path(__file__).with_name("ratchet"))
LOADER = importlib.machinery.SourceFileLoader("ratchet", PATH)
ratchet = importlib.util.module_from_spec(importlib.util.spec_from_loader("ratchet", LOADER))
LOADER.exec_module(ratchet)


class Judge(unittest.TestCase):
    def test_only_growth_beyond_two_per_cent_is_red(self):
        rows = [
            ({"a": 1000}, {"a": 1000}, True, ""),
            ({"a": 1000}, {"a": 1020}, True, ""),
            ({"a": 1000}, {"a": 1021}, False, "GREW"),
            ({"a": 1000}, {"a": 900}, True, "fell"),
            ({"a": 1000, "b": 5}, {"a": 1000}, False, "not measured"),
            ({"a": 1000}, {"a": 1000, "b": 5}, False, "not recorded"),
        ]
        for recorded, counts, holds, word in rows:
            with self.subTest(recorded=recorded, counts=counts):
                lines, verdict = ratchet.judge(recorded, counts)
                self.assertEqual(verdict, holds)
                self.assertIn(word, "\n".join(lines))

    def test_ciphers_are_judged_on_the_cpu_that_they_were_recorded_on(self):
        recorded, counts = {"echo_tls.a": 1000}, {"echo_tls.a": 2000}
        self.assertFalse(ratchet.judge(recorded, counts)[1])
        lines, holds = ratchet.judge(recorded, counts, same_cpu=False)
        self.assertTrue(holds)
        self.assertIn("not judged", lines[0])
        self.assertFalse(ratchet.judge({"echo.a": 1000}, {"echo.a": 2000}, same_cpu=False)[1])


if __name__ == "__main__":
    unittest.main()
