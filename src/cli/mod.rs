//! Everything a human sees: the only room that prints or exits.

use std::ffi::OsString;

/// Runs the program with these arguments (the first is its name) and returns its exit code.
pub fn run(args: impl IntoIterator<Item = OsString>) -> i32 {
    let _ = args.into_iter().count();
    2
}
