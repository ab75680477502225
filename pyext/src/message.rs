//! Out-of-memory messages as text.

use profiler_core::oom::find_messages;
use pyo3::prelude::*;
use serde::Serialize;

use crate::error::Error;

#[derive(Serialize)]
struct Found {
    class: profiler_core::oom::MessageClass,
    title: &'static str,
    #[serde(flatten)]
    message: profiler_core::oom::OomMessage,
}

/// Every out-of-memory message in `text`, as a JSON list.
#[pyfunction]
fn oom_messages_json(py: Python<'_>, text: &str) -> PyResult<String> {
    py.detach(|| {
        let found: Vec<Found> = find_messages(text)
            .into_iter()
            .map(|message| Found {
                class: message.class(),
                title: message.class().title(),
                message,
            })
            .collect();
        serde_json::to_string(&found)
    })
    .map_err(|error| Error::new_err(error.to_string()))
}

/// Adds the functions to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(oom_messages_json, module)?)
}
