//! The program `chancery`.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Gives the 19 MiB that each password hash needs back to the system, where glibc keeps them in its arenas.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    server::run()
}
