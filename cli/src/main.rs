//! The `gpumemprof` command.

fn main() -> std::process::ExitCode {
    gpumemprof_cli::run(std::env::args_os())
}
