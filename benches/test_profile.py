"""What benches/profile makes of samples, and what it does without perf."""

import contextlib
import io
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import scripts

profile = scripts.load("profile")

SENDING = """wslab-loop-0 
\tffffffff81e32fbe tcp_ack ([kernel.kallsyms])
\tffffffff81e2f330 __x64_sys_sendto ([kernel.kallsyms])
\t          10aba4 __send+0x14 (/usr/lib/libc.so.6)

"""
WAITING = """wslab-loop-0 
\tffffffff81e32fbe ep_poll ([kernel.kallsyms])
\tffffffff81e2f330 __x64_sys_epoll_wait ([kernel.kallsyms])

"""
INTERRUPT = """wslab-loop-0 
\tffffffff81e32fbe handle_softirqs ([kernel.kallsyms])
\t          3ba617 wslab::server::event_loop::Loop<K,H>::turn (/t/release/wslab)

"""


def own(symbol, binary="/t/release/wslab"):
    return f"wslab-loop-0 \n\t          3ba617 {symbol} ({binary})\n\n"


class Samples(unittest.TestCase):
    def test_a_sample_counts_for_who_ran_and_within_which_call(self):
        found = profile.profile_of(profile.stacks(3 * SENDING + WAITING + INTERRUPT + 5 * own("wslab::proto::mask::mask")))
        self.assertEqual((found.samples, found.kernel), (10, 5))
        self.assertEqual(found.calls, {"sending": 3, "waiting": 1, "interrupts": 1})
        self.assertEqual(found.groups, {"unmasking": 5})
        self.assertEqual(found.tops.most_common(1), [("wslab::proto::mask::mask", 5)])
        self.assertEqual(found.folded["__send;__x64_sys_sendto;tcp_ack"], 3)
        self.assertEqual(found.folded["wslab::server::event_loop::Loop::turn;handle_softirqs"], 1)

    def test_the_last_sample_needs_no_line_behind_it(self):
        self.assertEqual(len(list(profile.stacks((SENDING + WAITING).rstrip()))), 2)
        self.assertEqual(list(profile.stacks("")), [])

    def test_functions_have_their_group(self):
        rows = [
            ("simdutf8::implementation::x86::avx2::validate_utf8_basic", "UTF-8"),
            ("<fearless_simd::generated::avx2::Avx2 as fearless_simd::generated::simd_trait::Simd>::vectorize::vectorize_avx2", "UTF-8"),
            ("<wslab::proto::turn::Turn as core::ops::drop::Drop>::drop", "decoding and answering"),
            ("wslab::session::pump::deliver", "pump"),
            ("wslab::server::event_loop::Loop<K,H>::turn", "the loop"),
            ("wslab::net::tls::engine::Engine::pump", "sockets and TLS engine"),
            ("rustls::common_state::CommonState::take_received_plaintext", "rustls"),
            ("aws_lc_0_47_0_EVP_AEAD_CTX_seal", "AES-GCM"),
            ("skip_iv_len_12_init_IV", "AES-GCM"),
            ("std::time::Instant::now", "other Rust"),
        ]
        for symbol, name in rows:
            with self.subTest(symbol=symbol):
                found = profile.profile_of(profile.stacks(own(symbol)))
                self.assertEqual(dict(found.groups), {name: 1})
        found = profile.profile_of(profile.stacks(own("__memmove_avx512_unaligned_erms", "/usr/lib/libc.so.6") + own("__vdso_clock_gettime", "[vdso]")))
        self.assertEqual((dict(found.groups), found.kernel), ({"libc": 2}, 0))

    def test_names_fold_without_generics_blanks_and_semicolons(self):
        for symbol, expected in [("a::B<K,H>::c", "a::B::c"), ("<a::B as c::D>::e", "<a::B_as_c::D>::e"), ("f;g h", "f:g_h")]:
            self.assertEqual(profile.short(symbol), expected)


class Shown(unittest.TestCase):
    def test_a_row_a_workload_in_per_cent(self):
        found = profile.profile_of(profile.stacks(700 * SENDING + 50 * WAITING + 249 * own("wslab::session::pump::read") + own("rustls::x")))
        lines = profile.report([(profile.WORKLOADS[0], found)], "today")
        self.assertEqual(lines[2], "| 64 × 64 B | 75.0 | 70 | 0 | 5 | 25.0 | pump 24.9 |")
        self.assertIn("- 64 × 64 B (1,000 samples): `tcp_ack` 70.0, `wslab::session::pump::read` 24.9", lines[6])
        self.assertEqual(lines[-1], "today")

    def test_readme_has_the_markers(self):
        text = profile.README.read_text()
        self.assertIn("\nnew\n", profile.compare.spliced(text, ["new"], profile.MARKERS))


class Programs(unittest.TestCase):
    def test_without_perf_it_says_so_in_one_line_and_is_no_failure(self):
        with tempfile.TemporaryDirectory() as empty:
            command = [sys.executable, profile.__file__, "--no-build", "--out", empty]
            run = subprocess.run(command, env={**os.environ, "PATH": empty}, capture_output=True, text=True, timeout=60)
            self.assertEqual((run.returncode, run.stderr), (0, "profile: skipped: perf is not installed (Debian: linux-perf)\n"))
            self.assertEqual(list(pathlib.Path(empty).iterdir()), [])

    def test_one_that_fails_is_a_line_and_nothing(self):
        rows = [("import sys; sys.exit('no permission')", 20, "ended with 1: no permission"), ("import time; time.sleep(60)", 0.2, "not done within 0.2 s")]
        for program, seconds_max, reason in rows:
            with self.subTest(program=program), contextlib.redirect_stderr(io.StringIO()) as said:
                self.assertIsNone(profile.said([sys.executable, "-c", program], seconds_max))
                self.assertIn(reason, said.getvalue())
                self.assertEqual(said.getvalue().count("\n"), 1)


if __name__ == "__main__":
    unittest.main()
