//! The `wslab` binary: hands its arguments to [`wslab::cli`] and exits with what comes back.

fn main() {
    std::process::exit(wslab::cli::run(std::env::args_os()));
}
