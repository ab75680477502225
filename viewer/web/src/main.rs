//! `viewer-page WASM HTML`: puts the viewer, compiled for the web, into one page that needs no
//! server and no network.

use std::error::Error;
use std::io::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use wasm_bindgen_cli_support::Bindgen;

/// The page, with two places to fill.
const PAGE: &str = include_str!("page.html");

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [wasm, page] = arguments.as_slice() else {
        return Err("usage: viewer-page WASM HTML".into());
    };
    let mut output = Bindgen::new()
        .input_path(wasm)
        .no_modules(true)?
        .typescript(false)
        .generate_output()?;
    let script = output.js().to_owned();
    let module = output.wasm_mut().emit_wasm();
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(&module)?;
    let packed = STANDARD.encode(packed.finish()?);
    if let Some(folder) = Path::new(page).parent() {
        std::fs::create_dir_all(folder)?;
    }
    let text = PAGE
        .replace("/*SCRIPT*/", &script)
        .replace("/*MODULE*/", &packed);
    std::fs::write(page, &text)?;
    println!(
        "{page}: {:.1} MB, of which {:.1} MB are the program",
        text.len() as f64 / 1e6,
        packed.len() as f64 / 1e6
    );
    Ok(())
}
