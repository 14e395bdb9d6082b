//! The program `chancery`.

use std::process::ExitCode;

fn main() -> ExitCode {
    server::run()
}
