//! The viewer in a web page: files are dropped on it and stay in the browser.

use wasm_bindgen::JsCast as _;
use web_sys::HtmlCanvasElement;

use crate::app::Viewer;
use crate::window::Window;

/// The id of the page's canvas.
const CANVAS: &str = "gpumemprof";

/// Runs the viewer in the page's canvas with the id `gpumemprof`.
///
/// # Errors
/// In words, if there is no such canvas or the browser cannot draw on it.
pub async fn run_in_page() -> Result<(), String> {
    let document = web_sys::window().and_then(|window| window.document());
    let canvas = document
        .and_then(|document| document.get_element_by_id(CANVAS))
        .and_then(|element| element.dyn_into::<HtmlCanvasElement>().ok())
        .ok_or_else(|| format!("the page has no canvas with the id {CANVAS}"))?;
    let create = |creation: &eframe::CreationContext<'_>| {
        let viewer = Viewer::new(&creation.egui_ctx);
        Ok(Box::new(Window::new(viewer, creation.storage)) as Box<dyn eframe::App>)
    };
    eframe::WebRunner::new()
        .start(canvas, eframe::WebOptions::default(), Box::new(create))
        .await
        .map_err(|error| format!("the browser cannot draw: {error:?}"))
}
