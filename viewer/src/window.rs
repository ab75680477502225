//! The viewer as eframe's app: keeps the session.

use crate::app::{Session, Viewer};

/// Where the session is kept.
const SESSION: &str = "session";

/// The app.
pub(crate) struct Window {
    viewer: Viewer,
}

impl Window {
    /// Goes on with the session in `storage`, if there is one.
    pub(crate) fn new(mut viewer: Viewer, storage: Option<&dyn eframe::Storage>) -> Self {
        let session = storage.and_then(|storage| eframe::get_value::<Session>(storage, SESSION));
        if let Some(session) = session {
            viewer.restore(session);
        }
        Self { viewer }
    }
}

impl eframe::App for Window {
    fn ui(&mut self, ui: &mut egui::Ui, _frame: &mut eframe::Frame) {
        self.viewer.ui(ui);
    }

    fn save(&mut self, storage: &mut dyn eframe::Storage) {
        eframe::set_value(storage, SESSION, &self.viewer.session());
    }
}
