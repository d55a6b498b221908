//! The `windlass` binary.

use std::process::ExitCode;

/// An execution is many small pieces that live for a moment: about a fifth of the time went into the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    windlass::cli::main()
}
