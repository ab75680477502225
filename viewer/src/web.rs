//! The viewer in a web page: files are chosen or dropped, stay in the browser, and what is saved
//! is a download.

use std::sync::mpsc::Sender;

use wasm_bindgen::JsCast as _;
use wasm_bindgen::closure::Closure;
use wasm_bindgen_futures::JsFuture;
use web_sys::{Blob, File, HtmlAnchorElement, HtmlCanvasElement, HtmlInputElement, Url};

use crate::app::{Dropped, Viewer};
use crate::window::Window;

/// The id of the page's canvas.
const CANVAS: &str = "gpumemprof";

/// The id of the page's (hidden) `<input type="file">`.
const INPUT: &str = "files";

/// Runs the viewer in the page's canvas with the id `gpumemprof`.
///
/// # Errors
/// In words, if there is no such canvas or the browser cannot draw on it.
pub async fn run_in_page() -> Result<(), String> {
    let canvas = element::<HtmlCanvasElement>(CANVAS)
        .ok_or_else(|| format!("the page has no canvas with the id {CANVAS}"))?;
    let create = |creation: &eframe::CreationContext<'_>| {
        let viewer = Viewer::new(&creation.egui_ctx);
        if let Some(input) = element::<HtmlInputElement>(INPUT) {
            take_chosen(&input, viewer.dropped_sender(), creation.egui_ctx.clone());
        }
        Ok(Box::new(Window::new(viewer, creation.storage)) as Box<dyn eframe::App>)
    };
    eframe::WebRunner::new()
        .start(canvas, eframe::WebOptions::default(), Box::new(create))
        .await
        .map_err(|error| format!("the browser cannot draw: {error:?}"))
}

fn element<E: wasm_bindgen::JsCast>(id: &str) -> Option<E> {
    let document = web_sys::window()?.document()?;
    document.get_element_by_id(id)?.dyn_into().ok()
}

/// Has the browser ask for files; they come as dropped ones do.
pub(crate) fn choose_files() {
    if let Some(input) = element::<HtmlInputElement>(INPUT) {
        // The same file can be chosen twice.
        input.set_value("");
        input.click();
    }
}

/// Reads what is chosen with `input`, for as long as the page lives.
fn take_chosen(input: &HtmlInputElement, sender: Sender<Dropped>, context: egui::Context) {
    let theirs = input.clone();
    let changed = Closure::<dyn FnMut()>::new(move || {
        let files = theirs.files();
        let files = files
            .iter()
            .flat_map(|list| (0..list.length()).filter_map(|at| list.get(at)));
        for file in files {
            let (sender, context) = (sender.clone(), context.clone());
            wasm_bindgen_futures::spawn_local(async move {
                // The window may be gone.
                sender.send((file.name(), bytes_of(&file).await)).ok();
                context.request_repaint();
            });
        }
    });
    input.set_onchange(Some(changed.as_ref().unchecked_ref()));
    changed.forget();
}

async fn bytes_of(file: &File) -> Result<Vec<u8>, String> {
    let read = JsFuture::from(file.array_buffer()).await;
    read.map(|buffer| js_sys::Uint8Array::new(&buffer).to_vec())
        .map_err(|error| format!("the browser could not read the file: {error:?}"))
}

/// Gives `bytes` to the browser as a download called `name`.
///
/// # Errors
/// If the browser will not take them.
pub(crate) fn download(name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let give = || {
        let parts = js_sys::Array::of1(&js_sys::Uint8Array::from(bytes));
        let blob = Blob::new_with_u8_array_sequence(&parts)?;
        let url = Url::create_object_url_with_blob(&blob)?;
        let document = web_sys::window().and_then(|window| window.document());
        let anchor = document
            .map(|document| document.create_element("a"))
            .transpose()?;
        if let Some(anchor) = anchor.and_then(|it| it.dyn_into::<HtmlAnchorElement>().ok()) {
            anchor.set_href(&url);
            anchor.set_download(name);
            anchor.click();
        }
        Url::revoke_object_url(&url)
    };
    give().map_err(|error| std::io::Error::other(format!("the browser refused: {error:?}")))
}
