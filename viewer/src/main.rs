//! The viewer's window: `gpumemprof-viewer FILE...`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let paths = std::env::args_os().skip(1).map(Into::into).collect();
    match gpumemprof_viewer::run(paths) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(
                clippy::print_stderr,
                reason = "the one place that talks to a terminal"
            )]
            {
                eprintln!("gpumemprof-viewer: {error}");
            }
            ExitCode::FAILURE
        }
    }
}
