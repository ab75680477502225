//! What PyTorch links and the simulation does not have: sparse and dense solvers, Fourier transforms,
//! tracing, run-time compilation, and communication between devices. Each call fails with its
//! library's own "not supported", so a program that needs one stops with PyTorch's error for it.

use std::ffi::{c_char, c_int};

use crate::cudart::device::cuda_version;
use crate::ffi::{Out, not_supported};

const TEXT: &std::ffi::CStr = c"not supported by the simulated device";

macro_rules! error_text {
    ($($name:ident)*) => { $(
        #[unsafe(no_mangle)]
        extern "C" fn $name() -> *const c_char {
            TEXT.as_ptr()
        }
    )* };
}
error_text! { cusparseGetErrorString ncclGetErrorString ncclGetLastError nvrtcGetErrorString }

macro_rules! no_pointer {
    ($($name:ident)*) => { $(
        #[unsafe(no_mangle)]
        extern "C" fn $name() -> usize {
            0
        }
    )* };
}
no_pointer! { nvshmem_malloc nvshmem_ptr nvshmemx_mc_ptr }

#[unsafe(no_mangle)]
extern "C" fn cuptiGetResultString(_code: c_int, text: Out<*const c_char>) -> c_int {
    text.set(TEXT.as_ptr());
    0
}

#[unsafe(no_mangle)]
extern "C" fn cuptiGetCallbackName(_domain: c_int, _id: u32, text: Out<*const c_char>) -> c_int {
    text.set(TEXT.as_ptr());
    0
}

#[unsafe(no_mangle)]
extern "C" fn cuptiGetVersion(version: Out<u32>) -> c_int {
    version.set(cuda_version() as u32);
    0
}

#[unsafe(no_mangle)]
extern "C" fn nvrtcVersion(major: Out<c_int>, minor: Out<c_int>) -> c_int {
    major.set(cuda_version() / 1000);
    minor.set(cuda_version() % 1000 / 10);
    0
}

/// NCCL's version number as 10000 * major + 100 * minor + patch: what each PyTorch was built with.
#[unsafe(no_mangle)]
extern "C" fn ncclGetVersion(version: Out<c_int>) -> c_int {
    version.set(if cuda_version() < 13_000 {
        22_105
    } else {
        23_007
    });
    0
}

/// `NVSHMEM_STATUS_NOT_INITIALIZED`.
#[unsafe(no_mangle)]
extern "C" fn nvshmemid_init_status() -> c_int {
    0
}

// cusparse (CUSPARSE_STATUS_NOT_SUPPORTED), cuSPARSELt the same.
not_supported! {
    10;
    cusparseCbsrmm cusparseCbsrmv cusparseCbsrsm2_analysis cusparseCbsrsm2_bufferSize
    cusparseCbsrsm2_solve cusparseCbsrsv2_analysis cusparseCbsrsv2_bufferSize
    cusparseCbsrsv2_solve cusparseCcsrgeam2 cusparseCcsrgeam2_bufferSizeExt cusparseCreate
    cusparseCreateBsrsm2Info cusparseCreateBsrsv2Info cusparseCreateCoo cusparseCreateCsr
    cusparseCreateDnMat cusparseCreateDnVec cusparseCreateIdentityPermutation
    cusparseCreateMatDescr cusparseCsrSetPointers cusparseCsrSetStridedBatch cusparseDbsrmm
    cusparseDbsrmv cusparseDbsrsm2_analysis cusparseDbsrsm2_bufferSize cusparseDbsrsm2_solve
    cusparseDbsrsv2_analysis cusparseDbsrsv2_bufferSize cusparseDbsrsv2_solve cusparseDcsrgeam2
    cusparseDcsrgeam2_bufferSizeExt cusparseDestroy cusparseDestroyBsrsm2Info
    cusparseDestroyBsrsv2Info cusparseDestroyDnMat cusparseDestroyDnVec cusparseDestroyMatDescr
    cusparseDestroySpMat cusparseDnMatSetStridedBatch cusparseLtDenseDescriptorInit cusparseLtInit
    cusparseLtMatDescriptorDestroy cusparseLtMatmul cusparseLtMatmulAlgGetAttribute
    cusparseLtMatmulAlgSelectionInit cusparseLtMatmulAlgSetAttribute
    cusparseLtMatmulDescSetAttribute cusparseLtMatmulDescriptorInit cusparseLtMatmulGetWorkspace
    cusparseLtMatmulPlanDestroy cusparseLtMatmulPlanInit cusparseLtMatmulSearch
    cusparseLtSpMMACompress2 cusparseLtSpMMACompressedSize2 cusparseLtStructuredDescriptorInit
    cusparseSDDMM cusparseSDDMM_bufferSize cusparseSDDMM_preprocess cusparseSbsrmm cusparseSbsrmv
    cusparseSbsrsm2_analysis cusparseSbsrsm2_bufferSize cusparseSbsrsm2_solve
    cusparseSbsrsv2_analysis cusparseSbsrsv2_bufferSize cusparseSbsrsv2_solve cusparseScsrgeam2
    cusparseScsrgeam2_bufferSizeExt cusparseSetMatDiagType cusparseSetMatFillMode
    cusparseSetMatIndexBase cusparseSetMatType cusparseSetPointerMode cusparseSetStream
    cusparseSpGEMM_compute cusparseSpGEMM_copy cusparseSpGEMM_createDescr
    cusparseSpGEMM_destroyDescr cusparseSpGEMM_workEstimation cusparseSpMM cusparseSpMM_bufferSize
    cusparseSpMV cusparseSpMV_bufferSize cusparseSpMatGetSize cusparseSpMatSetAttribute
    cusparseSpSM_analysis cusparseSpSM_bufferSize cusparseSpSM_createDescr
    cusparseSpSM_destroyDescr cusparseSpSM_solve cusparseSpSV_analysis cusparseSpSV_bufferSize
    cusparseSpSV_createDescr cusparseSpSV_destroyDescr cusparseSpSV_solve
    cusparseXbsrsm2_zeroPivot cusparseXbsrsv2_zeroPivot cusparseXcoo2csr cusparseXcoosortByRow
    cusparseXcoosort_bufferSizeExt cusparseXcsrgeam2Nnz cusparseXcsrsort
    cusparseXcsrsort_bufferSizeExt cusparseZbsrmm cusparseZbsrmv cusparseZbsrsm2_analysis
    cusparseZbsrsm2_bufferSize cusparseZbsrsm2_solve cusparseZbsrsv2_analysis
    cusparseZbsrsv2_bufferSize cusparseZbsrsv2_solve cusparseZcsrgeam2
    cusparseZcsrgeam2_bufferSizeExt
}

// cuSOLVER (CUSOLVER_STATUS_NOT_SUPPORTED).
not_supported! {
    9;
    cusolverDnCgeqrf cusolverDnCgeqrf_bufferSize cusolverDnCgesvd cusolverDnCgesvd_bufferSize
    cusolverDnCgesvdaStridedBatched cusolverDnCgesvdaStridedBatched_bufferSize cusolverDnCgesvdj
    cusolverDnCgesvdjBatched cusolverDnCgesvdjBatched_bufferSize cusolverDnCgesvdj_bufferSize
    cusolverDnCgetrf cusolverDnCgetrf_bufferSize cusolverDnCgetrs cusolverDnCheevd
    cusolverDnCheevd_bufferSize cusolverDnCheevj cusolverDnCheevjBatched
    cusolverDnCheevjBatched_bufferSize cusolverDnCheevj_bufferSize cusolverDnCpotrf
    cusolverDnCpotrfBatched cusolverDnCpotrf_bufferSize cusolverDnCpotrs cusolverDnCpotrsBatched
    cusolverDnCreate cusolverDnCreateGesvdjInfo cusolverDnCreateParams cusolverDnCreateSyevjInfo
    cusolverDnCsytrf cusolverDnCsytrf_bufferSize cusolverDnCungqr cusolverDnCungqr_bufferSize
    cusolverDnCunmqr cusolverDnCunmqr_bufferSize cusolverDnDestroy cusolverDnDestroyGesvdjInfo
    cusolverDnDestroyParams cusolverDnDestroySyevjInfo cusolverDnDgeqrf
    cusolverDnDgeqrf_bufferSize cusolverDnDgesvd cusolverDnDgesvd_bufferSize
    cusolverDnDgesvdaStridedBatched cusolverDnDgesvdaStridedBatched_bufferSize cusolverDnDgesvdj
    cusolverDnDgesvdjBatched cusolverDnDgesvdjBatched_bufferSize cusolverDnDgesvdj_bufferSize
    cusolverDnDgetrf cusolverDnDgetrf_bufferSize cusolverDnDgetrs cusolverDnDorgqr
    cusolverDnDorgqr_bufferSize cusolverDnDormqr cusolverDnDormqr_bufferSize cusolverDnDpotrf
    cusolverDnDpotrfBatched cusolverDnDpotrf_bufferSize cusolverDnDpotrs cusolverDnDpotrsBatched
    cusolverDnDsyevd cusolverDnDsyevd_bufferSize cusolverDnDsyevj cusolverDnDsyevjBatched
    cusolverDnDsyevjBatched_bufferSize cusolverDnDsyevj_bufferSize cusolverDnDsytrf
    cusolverDnDsytrf_bufferSize cusolverDnSetStream cusolverDnSgeqrf cusolverDnSgeqrf_bufferSize
    cusolverDnSgesvd cusolverDnSgesvd_bufferSize cusolverDnSgesvdaStridedBatched
    cusolverDnSgesvdaStridedBatched_bufferSize cusolverDnSgesvdj cusolverDnSgesvdjBatched
    cusolverDnSgesvdjBatched_bufferSize cusolverDnSgesvdj_bufferSize cusolverDnSgetrf
    cusolverDnSgetrf_bufferSize cusolverDnSgetrs cusolverDnSorgqr cusolverDnSorgqr_bufferSize
    cusolverDnSormqr cusolverDnSormqr_bufferSize cusolverDnSpotrf cusolverDnSpotrfBatched
    cusolverDnSpotrf_bufferSize cusolverDnSpotrs cusolverDnSpotrsBatched cusolverDnSsyevd
    cusolverDnSsyevd_bufferSize cusolverDnSsyevj cusolverDnSsyevjBatched
    cusolverDnSsyevjBatched_bufferSize cusolverDnSsyevj_bufferSize cusolverDnSsytrf
    cusolverDnSsytrf_bufferSize cusolverDnXgeev cusolverDnXgeev_bufferSize cusolverDnXgeqrf
    cusolverDnXgeqrf_bufferSize cusolverDnXgesvdjSetMaxSweeps cusolverDnXgesvdjSetSortEig
    cusolverDnXgesvdjSetTolerance cusolverDnXpotrf cusolverDnXpotrf_bufferSize cusolverDnXpotrs
    cusolverDnXsyevBatched cusolverDnXsyevBatched_bufferSize cusolverDnXsyevd
    cusolverDnXsyevd_bufferSize cusolverDnXsyevjSetSortEig cusolverDnXsytrs
    cusolverDnXsytrs_bufferSize cusolverDnZgeqrf cusolverDnZgeqrf_bufferSize cusolverDnZgesvd
    cusolverDnZgesvd_bufferSize cusolverDnZgesvdaStridedBatched
    cusolverDnZgesvdaStridedBatched_bufferSize cusolverDnZgesvdj cusolverDnZgesvdjBatched
    cusolverDnZgesvdjBatched_bufferSize cusolverDnZgesvdj_bufferSize cusolverDnZgetrf
    cusolverDnZgetrf_bufferSize cusolverDnZgetrs cusolverDnZheevd cusolverDnZheevd_bufferSize
    cusolverDnZheevj cusolverDnZheevjBatched cusolverDnZheevjBatched_bufferSize
    cusolverDnZheevj_bufferSize cusolverDnZpotrf cusolverDnZpotrfBatched
    cusolverDnZpotrf_bufferSize cusolverDnZpotrs cusolverDnZpotrsBatched cusolverDnZsytrf
    cusolverDnZsytrf_bufferSize cusolverDnZungqr cusolverDnZungqr_bufferSize cusolverDnZunmqr
    cusolverDnZunmqr_bufferSize
}

// cuFFT (CUFFT_NOT_SUPPORTED).
not_supported! {
    16;
    cufftCreate cufftDestroy cufftSetAutoAllocation cufftSetStream cufftSetWorkArea cufftXtExec
    cufftXtMakePlanMany
}

// CUPTI (CUPTI_ERROR_NOT_SUPPORTED).
not_supported! {
    27;
    cuptiActivityDisable cuptiActivityEnable cuptiActivityEnableCudaEventDeviceTimestamps
    cuptiActivityEnableDriverApi cuptiActivityEnableRuntimeApi cuptiActivityFlushAll
    cuptiActivityGetNextRecord cuptiActivityGetNumDroppedRecords
    cuptiActivityPopExternalCorrelationId cuptiActivityPushExternalCorrelationId
    cuptiActivityRegisterCallbacks cuptiActivityRegisterTimestampCallback
    cuptiActivitySetAttribute cuptiEnableCallback cuptiEnableDomain cuptiEventGetAttribute
    cuptiEventGetIdFromName cuptiEventGroupGetAttribute cuptiEventGroupReadEvent
    cuptiEventGroupSetAttribute cuptiEventGroupSetDisable cuptiEventGroupSetEnable
    cuptiEventGroupSetsCreate cuptiEventGroupSetsDestroy cuptiFinalize cuptiGetDeviceId
    cuptiMetricEnumEvents cuptiMetricGetAttribute cuptiMetricGetIdFromName cuptiMetricGetNumEvents
    cuptiMetricGetValue cuptiSetEventCollectionMode cuptiSubscribe cuptiUnsubscribe
}

// NVRTC (NVRTC_ERROR_INTERNAL_ERROR).
not_supported! {
    11;
    nvrtcAddNameExpression nvrtcCompileProgram nvrtcCreateProgram nvrtcDestroyProgram
    nvrtcGetCUBIN nvrtcGetCUBINSize nvrtcGetLoweredName nvrtcGetPTX nvrtcGetPTXSize
    nvrtcGetProgramLog nvrtcGetProgramLogSize
}

// NCCL (ncclInvalidUsage): one simulated machine has no links between processes.
not_supported! {
    5;
    ncclAllGather ncclAllReduce ncclAlltoAll ncclBcast ncclBroadcast ncclCommAbort ncclCommCount
    ncclCommDeregister ncclCommDestroy ncclCommFinalize ncclCommGetAsyncError ncclCommGetUniqueId
    ncclCommGrow ncclCommInitAll ncclCommInitRank ncclCommInitRankConfig ncclCommInitRankScalable
    ncclCommMemStats ncclCommRegister ncclCommResume ncclCommRevoke ncclCommShrink ncclCommSplit
    ncclCommSuspend ncclCommUserRank ncclCommWindowDeregister ncclCommWindowRegister
    ncclDevCommCreate ncclDevCommDestroy ncclGather ncclGetLsaMultimemDevicePointer
    ncclGetPeerDevicePointer ncclGetUniqueId ncclGroupEnd ncclGroupSimulateEnd ncclGroupStart
    ncclMemAlloc ncclMemFree ncclPutSignal ncclRecv ncclRedOpCreatePreMulSum ncclRedOpDestroy
    ncclReduce ncclReduceScatter ncclSend ncclSignal ncclWaitSignal ncclWinGetUserPtr
}

// NVSHMEM.
not_supported! {
    7;
    nvshmem_barrier_all nvshmem_free nvshmem_info_get_version nvshmem_selected_device_transport
    nvshmem_team_n_pes nvshmem_team_split_strided nvshmemid_hostlib_finalize
    nvshmemid_hostlib_init_attr nvshmemx_alltoallmem_on_stream nvshmemx_broadcastmem_on_stream
    nvshmemx_cumodule_init nvshmemx_get_uniqueid nvshmemx_getmem_on_stream
    nvshmemx_putmem_on_stream nvshmemx_putmem_signal_on_stream nvshmemx_set_attr_uniqueid_args
    nvshmemx_signal_wait_until_on_stream
}

// cuFile returns a status structure whose first half is the code, CU_FILE_DRIVER_NOT_INITIALIZED.
not_supported! {
    5001;
    cuFileBufDeregister cuFileBufRegister cuFileHandleDeregister cuFileHandleRegister cuFileRead
    cuFileWrite
}
