//! Where the gradients of parameters are, asked once a step in the program's own time.

use pyo3::exceptions::PyException;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

/// Where the gradients of `parameters` are, with whose they are, to be compared with what it gave
/// before: equal only if both are the same. None if one of them has no address to give, as tensor
/// subclasses need not.
#[pyfunction]
fn gradient_places<'py>(
    py: Python<'py>,
    parameters: &Bound<'py, PyList>,
) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let mut out = Vec::with_capacity(parameters.len() * 2 * size_of::<u64>());
    for parameter in parameters.iter() {
        let address = match address_of_gradient(&parameter) {
            Ok(address) => address,
            Err(problem) if problem.is_instance_of::<PyException>(py) => return Ok(None),
            Err(problem) => return Err(problem),
        };
        out.extend_from_slice(&address.to_ne_bytes());
        out.extend_from_slice(&parameter.as_ptr().addr().to_ne_bytes());
    }
    Ok(Some(PyBytes::new(py, &out)))
}

/// 0 where there is no gradient.
fn address_of_gradient(parameter: &Bound<'_, PyAny>) -> PyResult<u64> {
    let py = parameter.py();
    let gradient = parameter.getattr(intern!(py, "grad"))?;
    if gradient.is_none() {
        return Ok(0);
    }
    let address = gradient.call_method0(intern!(py, "data_ptr"))?;
    address.extract()
}

/// Adds the function to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(gradient_places, module)?)
}
