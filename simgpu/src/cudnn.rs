//! cuDNN 9: every computation succeeds and does nothing, with one engine that needs no workspace.
//!
//! PyTorch reaches convolutions and one kind of scaled-dot-product attention through the graph
//! ("backend") interface, and batch normalisation through the older one. What a real engine takes as
//! workspace (PyTorch allocates it for the length of the call) depends on the engine that a
//! heuristic of the real library picks; here it is zero, so convolution-bound peaks are a lower bound.

use std::collections::HashMap;
use std::ffi::{c_char, c_int, c_void};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::cudart::device::cuda_version;
use crate::ffi::{Out, compute, create_handle, new_handle, succeed};

/// `CUDNN_STATUS_BAD_PARAM`.
const BAD_PARAM: c_int = 2000;
/// `CUDNN_STATUS_NOT_SUPPORTED`.
const NOT_SUPPORTED: c_int = 3000;

/// The release that goes with the simulated CUDA: what PyTorch's build for it was compiled with
/// (2.6: 9.1.0; 2.15: 9.26.0).
fn version() -> [c_int; 3] {
    if cuda_version() < 13_000 {
        [9, 1, 0]
    } else {
        [9, 26, 0]
    }
}

#[unsafe(no_mangle)]
extern "C" fn cudnnGetVersion() -> usize {
    let [major, minor, patch] = version();
    (10_000 * major + 100 * minor + patch) as usize
}

#[unsafe(no_mangle)]
extern "C" fn cudnnGetCudartVersion() -> usize {
    cuda_version() as usize
}

#[unsafe(no_mangle)]
extern "C" fn cudnnGetProperty(property: c_int, value: Out<c_int>) -> c_int {
    let part = usize::try_from(property)
        .ok()
        .and_then(|part| version().get(part).copied());
    match part {
        Some(part) => {
            value.set(part);
            0
        }
        None => BAD_PARAM,
    }
}

#[unsafe(no_mangle)]
extern "C" fn cudnnGetErrorString(code: c_int) -> *const c_char {
    match code {
        0 => c"CUDNN_STATUS_SUCCESS",
        BAD_PARAM => c"CUDNN_STATUS_BAD_PARAM",
        NOT_SUPPORTED => c"CUDNN_STATUS_NOT_SUPPORTED",
        _ => c"CUDNN_STATUS_UNKNOWN",
    }
    .as_ptr()
}

#[unsafe(no_mangle)]
extern "C" fn cudnnGetLastErrorString(buffer: Out<u8>, room: usize) {
    crate::ffi::put_text(buffer, room, "");
}

#[unsafe(no_mangle)]
extern "C" fn cudnnGetStream(_handle: usize, stream: Out<usize>) -> c_int {
    stream.set(0);
    0
}

/// What was set of a descriptor: attribute → the elements' bytes.
type Attributes = HashMap<c_int, Vec<u8>>;

fn descriptors() -> MutexGuard<'static, HashMap<usize, Attributes>> {
    static DESCRIPTORS: OnceLock<Mutex<HashMap<usize, Attributes>>> = OnceLock::new();
    DESCRIPTORS
        .get_or_init(Mutex::default)
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

/// Bytes of one element of a `cudnnBackendAttributeType_t`.
fn element_size(kind: c_int) -> usize {
    match kind {
        2 | 24 => 1,             // boolean, character
        0 | 3 | 5 | 6 | 15 => 8, // handle, 64-bit integer, double, pointer, descriptor
        26 => 16,                // fraction
        _ => 4,                  // enumerations, float, 32-bit integer
    }
}

#[unsafe(no_mangle)]
extern "C" fn cudnnBackendCreateDescriptor(_kind: c_int, descriptor: Out<usize>) -> c_int {
    let handle = new_handle();
    descriptors().insert(handle, Attributes::new());
    descriptor.set(handle);
    0
}

#[unsafe(no_mangle)]
extern "C" fn cudnnBackendDestroyDescriptor(descriptor: usize) -> c_int {
    descriptors().remove(&descriptor);
    0
}

#[unsafe(no_mangle)]
extern "C" fn cudnnBackendSetAttribute(
    descriptor: usize,
    attribute: c_int,
    kind: c_int,
    count: i64,
    elements: *const u8,
) -> c_int {
    let (Ok(count), false) = (usize::try_from(count), elements.is_null() && count != 0) else {
        return BAD_PARAM;
    };
    let size = element_size(kind);
    let bytes = if count == 0 {
        Vec::new()
    } else {
        // SAFETY: non-null, and by the function's contract `count` elements of the type's size.
        unsafe { std::slice::from_raw_parts(elements, count * size) }.to_vec()
    };
    match descriptors().get_mut(&descriptor) {
        Some(attributes) => {
            attributes.insert(attribute, bytes);
            0
        }
        None => BAD_PARAM,
    }
}

/// The heuristic's results are one engine configuration, which needs no workspace and no shared
/// memory; an engine has index 0 and neither knobs nor notes; every other attribute is what was set.
#[unsafe(no_mangle)]
extern "C" fn cudnnBackendGetAttribute(
    descriptor: usize,
    attribute: c_int,
    kind: c_int,
    wanted: i64,
    count: Out<i64>,
    elements: Out<u8>,
) -> c_int {
    // The numbers of `cudnnBackendAttributeName_t`.
    const HEURISTIC_RESULTS: c_int = 202;
    const CONFIG_ENGINE: c_int = 300;
    const CONFIG_WORKSPACE: c_int = 303;
    const CONFIG_SHARED_MEMORY: c_int = 304;
    const PLAN_WORKSPACE: c_int = 402;
    const GRAPH_ENGINE_COUNT: c_int = 802;
    const ENGINE_INDEX: c_int = 1301;
    let size = element_size(kind);
    let held = match attribute {
        // The caller's array already holds descriptors to be filled; they hold nothing anyone asks.
        HEURISTIC_RESULTS | CONFIG_ENGINE => {
            count.set(1);
            return 0;
        }
        PLAN_WORKSPACE | ENGINE_INDEX | CONFIG_WORKSPACE | CONFIG_SHARED_MEMORY => vec![0; size],
        GRAPH_ENGINE_COUNT => 1_i64.to_ne_bytes()[..size.min(8)].to_vec(),
        _ => descriptors()
            .get(&descriptor)
            .and_then(|attributes| attributes.get(&attribute))
            .cloned()
            .unwrap_or_default(),
    };
    let given = usize::try_from(wanted)
        .unwrap_or(0)
        .saturating_mul(size)
        .min(held.len());
    if given > 0 {
        elements.set_all(&held[..given]);
    }
    count.set((held.len() / size) as i64);
    0
}

compute! {
    cudnnBackendExecute cudnnBatchNormalizationBackwardEx cudnnBatchNormalizationForwardInference
    cudnnBatchNormalizationForwardTrainingEx cudnnConvolutionBackwardData
    cudnnConvolutionBackwardFilter cudnnConvolutionBiasActivationForward cudnnConvolutionForward
    cudnnPoolingForward cudnnRestoreDropoutDescriptor cudnnSetDropoutDescriptor
    cudnnSpatialTfGridGeneratorBackward cudnnSpatialTfGridGeneratorForward
    cudnnSpatialTfSamplerBackward cudnnSpatialTfSamplerForward
}

succeed! {
    cudnnBackendFinalize cudnnDestroy cudnnSetStream cudnnDestroyActivationDescriptor
    cudnnDestroyConvolutionDescriptor cudnnDestroyDropoutDescriptor cudnnDestroyFilterDescriptor
    cudnnDestroySpatialTransformerDescriptor cudnnDestroyTensorDescriptor
    cudnnSetActivationDescriptor cudnnSetConvolutionGroupCount cudnnSetConvolutionMathType
    cudnnSetConvolutionNdDescriptor cudnnSetFilterNdDescriptor cudnnSetPooling2dDescriptor
    cudnnSetSpatialTransformerNdDescriptor cudnnSetTensorNdDescriptor
}

create_handle! {
    cudnnCreate cudnnCreateActivationDescriptor cudnnCreateConvolutionDescriptor
    cudnnCreateDropoutDescriptor cudnnCreateFilterDescriptor cudnnCreatePoolingDescriptor
    cudnnCreateSpatialTransformerDescriptor cudnnCreateTensorDescriptor
}

// Recurrent networks and CTC keep their sizes in descriptors that are not simulated.
crate::ffi::not_supported! {
    NOT_SUPPORTED;
    cudnnCTCLoss cudnnCTCLoss_v8 cudnnCreateCTCLossDescriptor cudnnCreateRNNDataDescriptor
    cudnnCreateRNNDescriptor cudnnDestroyCTCLossDescriptor cudnnDestroyRNNDataDescriptor
    cudnnDestroyRNNDescriptor cudnnGetCTCLossWorkspaceSize cudnnGetCTCLossWorkspaceSize_v8
    cudnnGetFilterNdDescriptor cudnnGetRNNTempSpaceSizes cudnnGetRNNWeightParams
    cudnnGetRNNWeightSpaceSize cudnnGetTensorNdDescriptor cudnnRNNBackwardData_v8
    cudnnRNNBackwardWeights_v8 cudnnRNNForward cudnnSetCTCLossDescriptorEx
    cudnnSetCTCLossDescriptor_v9 cudnnSetRNNDataDescriptor cudnnSetRNNDescriptor_v8
}

/// `cudnnConvolutionFwdAlgoPerf_t`, and the two of the backward pass.
#[repr(C)]
struct AlgorithmPerf {
    algorithm: c_int,
    status: c_int,
    milliseconds: f32,
    memory: usize,
    determinism: c_int,
    math_type: c_int,
    reserved: [c_int; 3],
}

/// One algorithm, number 1 (there is no backward-filter algorithm that PyTorch calls deterministic
/// under number 0), which needs no memory.
fn one_algorithm(wanted: c_int, count: Out<c_int>, results: Out<AlgorithmPerf>) -> c_int {
    if wanted > 0 {
        results.set(AlgorithmPerf {
            algorithm: 1,
            status: 0,
            milliseconds: 1.0,
            memory: 0,
            determinism: 1,
            math_type: 0,
            reserved: [0; 3],
        });
    }
    count.set(wanted.clamp(0, 1));
    0
}

macro_rules! get_algorithm {
    ($($name:ident)*) => { $(
        #[unsafe(no_mangle)]
        extern "C" fn $name(
            _handle: usize, _a: usize, _b: usize, _convolution: usize, _c: usize,
            wanted: c_int, count: Out<c_int>, results: Out<AlgorithmPerf>,
        ) -> c_int {
            one_algorithm(wanted, count, results)
        }
    )* };
}
get_algorithm! {
    cudnnGetConvolutionForwardAlgorithm_v7 cudnnGetConvolutionBackwardDataAlgorithm_v7
    cudnnGetConvolutionBackwardFilterAlgorithm_v7
}

macro_rules! find_algorithm {
    ($($name:ident)*) => { $(
        #[unsafe(no_mangle)]
        extern "C" fn $name(
            _handle: usize, _a: usize, _a_data: usize, _b: usize, _b_data: usize,
            _convolution: usize, _c: usize, _c_data: usize,
            wanted: c_int, count: Out<c_int>, results: Out<AlgorithmPerf>,
            _workspace: *mut c_void, _size: usize,
        ) -> c_int {
            one_algorithm(wanted, count, results)
        }
    )* };
}
find_algorithm! {
    cudnnFindConvolutionForwardAlgorithmEx cudnnFindConvolutionBackwardDataAlgorithmEx
    cudnnFindConvolutionBackwardFilterAlgorithmEx
}

macro_rules! convolution_workspace {
    ($($name:ident)*) => { $(
        #[unsafe(no_mangle)]
        extern "C" fn $name(
            _handle: usize, _a: usize, _b: usize, _convolution: usize, _c: usize,
            _algorithm: c_int, size: Out<usize>,
        ) -> c_int {
            size.set(0);
            0
        }
    )* };
}
convolution_workspace! {
    cudnnGetConvolutionForwardWorkspaceSize cudnnGetConvolutionBackwardDataWorkspaceSize
    cudnnGetConvolutionBackwardFilterWorkspaceSize
}

#[unsafe(no_mangle)]
extern "C" fn cudnnGetBatchNormalizationForwardTrainingExWorkspaceSize(
    _handle: usize,
    _mode: c_int,
    _operations: c_int,
    _x: usize,
    _z: usize,
    _y: usize,
    _scale: usize,
    _activation: usize,
    size: Out<usize>,
) -> c_int {
    size.set(0);
    0
}

#[unsafe(no_mangle)]
extern "C" fn cudnnGetBatchNormalizationBackwardExWorkspaceSize(
    _handle: usize,
    _mode: c_int,
    _operations: c_int,
    _x: usize,
    _y: usize,
    _dy: usize,
    _dz: usize,
    _dx: usize,
    _scale: usize,
    _activation: usize,
    size: Out<usize>,
) -> c_int {
    size.set(0);
    0
}

#[unsafe(no_mangle)]
extern "C" fn cudnnGetBatchNormalizationTrainingExReserveSpaceSize(
    _handle: usize,
    _mode: c_int,
    _operations: c_int,
    _activation: usize,
    _x: usize,
    size: Out<usize>,
) -> c_int {
    size.set(0);
    0
}

#[unsafe(no_mangle)]
extern "C" fn cudnnDropoutGetStatesSize(_handle: usize, size: Out<usize>) -> c_int {
    size.set(0);
    0
}
