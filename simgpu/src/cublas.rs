//! cuBLAS and cuBLASLt: every computation succeeds and does nothing. Workspaces are PyTorch's own
//! (from its caching allocator), so they are as large as on a real device.

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_void};

use crate::ffi::{Out, compute, create_handle, succeed};

create_handle! {
    cublasCreate_v2 cublasLtCreate cublasLtMatmulDescCreate cublasLtMatmulPreferenceCreate
    cublasLtMatrixLayoutCreate
}

thread_local! {
    static MATH_MODE: Cell<c_int> = const { Cell::new(0) };
    static POINTER_MODE: Cell<c_int> = const { Cell::new(0) };
}

#[unsafe(no_mangle)]
extern "C" fn cublasSetMathMode(_handle: usize, mode: c_int) -> c_int {
    MATH_MODE.set(mode);
    0
}

#[unsafe(no_mangle)]
extern "C" fn cublasGetMathMode(_handle: usize, mode: Out<c_int>) -> c_int {
    mode.set(MATH_MODE.get());
    0
}

#[unsafe(no_mangle)]
extern "C" fn cublasSetPointerMode_v2(_handle: usize, mode: c_int) -> c_int {
    POINTER_MODE.set(mode);
    0
}

#[unsafe(no_mangle)]
extern "C" fn cublasGetPointerMode_v2(_handle: usize, mode: Out<c_int>) -> c_int {
    mode.set(POINTER_MODE.get());
    0
}

#[unsafe(no_mangle)]
extern "C" fn cublasLtGetVersion() -> usize {
    // 1e4 * major + 100 * minor, as since cuBLAS 11.
    usize::try_from(crate::cudart::device::cuda_version()).unwrap_or(0) * 10
}

#[unsafe(no_mangle)]
extern "C" fn cublasGetStatusString() -> *const c_char {
    c"the simulated cuBLAS has no error texts".as_ptr()
}

/// `cublasLtMatmulHeuristicResult_t`.
#[repr(C)]
#[derive(Clone, Copy)]
struct HeuristicResult {
    algorithm: [u64; 8],
    workspace: usize,
    state: c_int,
    waves: f32,
    reserved: [c_int; 4],
}

/// One algorithm, which needs no workspace.
#[unsafe(no_mangle)]
extern "C" fn cublasLtMatmulAlgoGetHeuristic(
    _handle: usize,
    _operation: usize,
    _a: usize,
    _b: usize,
    _c: usize,
    _d: usize,
    _preference: usize,
    wanted: c_int,
    results: Out<HeuristicResult>,
    count: Out<c_int>,
) -> c_int {
    let found = wanted.clamp(0, 1);
    if found == 1 {
        results.set(HeuristicResult {
            algorithm: [0; 8],
            workspace: 0,
            state: 0,
            waves: 1.0,
            reserved: [0; 4],
        });
    }
    count.set(found);
    0
}

#[unsafe(no_mangle)]
extern "C" fn cublasLtMatmulAlgoCheck(
    _handle: usize,
    _operation: usize,
    _a: usize,
    _b: usize,
    _c: usize,
    _d: usize,
    _algorithm: *const c_void,
    result: Out<HeuristicResult>,
) -> c_int {
    result.set(HeuristicResult {
        algorithm: [0; 8],
        workspace: 0,
        state: 0,
        waves: 1.0,
        reserved: [0; 4],
    });
    0
}

#[unsafe(no_mangle)]
extern "C" fn cublasLtMatmulAlgoConfigGetAttribute(
    _algorithm: *const c_void,
    _attribute: c_int,
    buffer: Out<u32>,
    size: usize,
    written: Out<usize>,
) -> c_int {
    if size >= 4 {
        buffer.set(0);
    }
    written.set(4);
    0
}

succeed! {
    cublasDestroy_v2 cublasSetStream_v2 cublasSetWorkspace_v2 cublasSetSmCountTarget
    cublasLtDestroy cublasLtMatmulAlgoConfigSetAttribute cublasLtMatmulAlgoInit
    cublasLtMatmulDescDestroy cublasLtMatmulDescSetAttribute cublasLtMatmulPreferenceDestroy
    cublasLtMatmulPreferenceSetAttribute cublasLtMatrixLayoutDestroy cublasLtMatrixLayoutSetAttribute
}

compute! {
    cublasLtMatmul
    cublasCaxpy_v2 cublasCcopy_v2 cublasCdotc_v2 cublasCdotu_v2 cublasCgelsBatched
    cublasCgemmBatched cublasCgemmStridedBatched cublasCgemm_v2 cublasCgemv_v2 cublasCgeqrfBatched
    cublasCgerc_v2 cublasCgeru_v2 cublasCgetrfBatched cublasCgetrsBatched cublasChemm_v2
    cublasChemv_v2 cublasCher2_v2 cublasCher2k_v2 cublasCher_v2 cublasCherk_v2 cublasCrot_v2
    cublasCrotg_v2 cublasCscal_v2 cublasCsrot_v2 cublasCsscal_v2 cublasCswap_v2 cublasCsymm_v2
    cublasCsymv_v2 cublasCsyr2_v2 cublasCsyr2k_v2 cublasCsyr_v2 cublasCsyrk_v2 cublasCtrmm_v2
    cublasCtrmv_v2 cublasCtrsmBatched cublasCtrsm_v2 cublasCtrsv_v2 cublasDasum_v2 cublasDaxpy_v2
    cublasDcopy_v2 cublasDdot_v2 cublasDgelsBatched cublasDgemmBatched cublasDgemmStridedBatched
    cublasDgemm_v2 cublasDgemv_v2 cublasDgeqrfBatched cublasDger_v2 cublasDgetrfBatched
    cublasDgetrsBatched cublasDnrm2_v2 cublasDotEx cublasDrot_v2 cublasDrotg_v2 cublasDrotm_v2
    cublasDrotmg_v2 cublasDscal_v2 cublasDswap_v2 cublasDsymm_v2 cublasDsymv_v2 cublasDsyr2_v2
    cublasDsyr2k_v2 cublasDsyr_v2 cublasDsyrk_v2 cublasDtrmm_v2 cublasDtrmv_v2 cublasDtrsmBatched
    cublasDtrsm_v2 cublasDtrsv_v2 cublasDzasum_v2 cublasDznrm2_v2 cublasGemmEx
    cublasGemmStridedBatchedEx cublasGetMatrixAsync cublasGetVectorAsync cublasIcamax_v2
    cublasIcamin_v2 cublasIdamax_v2 cublasIdamin_v2 cublasIsamax_v2 cublasIsamin_v2
    cublasIzamax_v2 cublasIzamin_v2 cublasSasum_v2 cublasSaxpy_v2 cublasScasum_v2 cublasScnrm2_v2
    cublasScopy_v2 cublasSdot_v2 cublasSetMatrixAsync cublasSetVectorAsync cublasSgelsBatched
    cublasSgemmBatched cublasSgemmEx cublasSgemmStridedBatched cublasSgemm_v2 cublasSgemv_v2
    cublasSgeqrfBatched cublasSger_v2 cublasSgetrfBatched cublasSgetrsBatched cublasSnrm2_v2
    cublasSrot_v2 cublasSrotg_v2 cublasSrotm_v2 cublasSrotmg_v2 cublasSscal_v2 cublasSswap_v2
    cublasSsymm_v2 cublasSsymv_v2 cublasSsyr2_v2 cublasSsyr2k_v2 cublasSsyr_v2 cublasSsyrk_v2
    cublasStrmm_v2 cublasStrmv_v2 cublasStrsmBatched cublasStrsm_v2 cublasStrsv_v2 cublasZaxpy_v2
    cublasZcopy_v2 cublasZdotc_v2 cublasZdotu_v2 cublasZdrot_v2 cublasZdscal_v2 cublasZgelsBatched
    cublasZgemmBatched cublasZgemmStridedBatched cublasZgemm_v2 cublasZgemv_v2 cublasZgeqrfBatched
    cublasZgerc_v2 cublasZgeru_v2 cublasZgetrfBatched cublasZgetrsBatched cublasZhemm_v2
    cublasZhemv_v2 cublasZher2_v2 cublasZher2k_v2 cublasZher_v2 cublasZherk_v2 cublasZrot_v2
    cublasZrotg_v2 cublasZscal_v2 cublasZswap_v2 cublasZsymm_v2 cublasZsymv_v2 cublasZsyr2_v2
    cublasZsyr2k_v2 cublasZsyr_v2 cublasZsyrk_v2 cublasZtrmm_v2 cublasZtrmv_v2 cublasZtrsmBatched
    cublasZtrsm_v2 cublasZtrsv_v2
}
