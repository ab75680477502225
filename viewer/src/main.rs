//! The viewer's window: `gpumemprof-viewer FILE...`.

#[cfg(not(target_arch = "wasm32"))]
use std::process::ExitCode;

#[cfg(target_arch = "wasm32")]
fn main() {
    wasm_bindgen_futures::spawn_local(async {
        if let Err(message) = gpumemprof_viewer::run_in_page().await {
            web_sys::console::error_1(&message.into());
        }
    });
}

#[cfg(not(target_arch = "wasm32"))]
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
