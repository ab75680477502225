//! `cudaDeviceProp` as CUDA 12 and CUDA 13 lay it out.
//!
//! Field order and types follow `driver_types.h` of the CUDA 12.4 and CUDA 13.2 runtime headers.
//! CUDA 13 dropped some fields in the middle, so the two are different structures.

use crate::config::{self, Config, Site};
use crate::ffi::text_field;

/// `struct cudaDeviceProp` of CUDA 12.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct DeviceProp12 {
    pub(crate) name: [u8; 256],
    pub(crate) uuid: [u8; 16],
    pub(crate) luid: [u8; 8],
    pub(crate) luid_device_node_mask: u32,
    pub(crate) total_global_mem: usize,
    pub(crate) shared_mem_per_block: usize,
    pub(crate) regs_per_block: i32,
    pub(crate) warp_size: i32,
    pub(crate) mem_pitch: usize,
    pub(crate) max_threads_per_block: i32,
    pub(crate) max_threads_dim: [i32; 3],
    pub(crate) max_grid_size: [i32; 3],
    pub(crate) clock_rate: i32,
    pub(crate) total_const_mem: usize,
    pub(crate) major: i32,
    pub(crate) minor: i32,
    pub(crate) texture_alignment: usize,
    pub(crate) texture_pitch_alignment: usize,
    pub(crate) device_overlap: i32,
    pub(crate) multi_processor_count: i32,
    pub(crate) kernel_exec_timeout_enabled: i32,
    pub(crate) integrated: i32,
    pub(crate) can_map_host_memory: i32,
    pub(crate) compute_mode: i32,
    pub(crate) max_texture1d: i32,
    pub(crate) max_texture1dmipmap: i32,
    pub(crate) max_texture1dlinear: i32,
    pub(crate) max_texture2d: [i32; 2],
    pub(crate) max_texture2dmipmap: [i32; 2],
    pub(crate) max_texture2dlinear: [i32; 3],
    pub(crate) max_texture2dgather: [i32; 2],
    pub(crate) max_texture3d: [i32; 3],
    pub(crate) max_texture3dalt: [i32; 3],
    pub(crate) max_texture_cubemap: i32,
    pub(crate) max_texture1dlayered: [i32; 2],
    pub(crate) max_texture2dlayered: [i32; 3],
    pub(crate) max_texture_cubemap_layered: [i32; 2],
    pub(crate) max_surface1d: i32,
    pub(crate) max_surface2d: [i32; 2],
    pub(crate) max_surface3d: [i32; 3],
    pub(crate) max_surface1dlayered: [i32; 2],
    pub(crate) max_surface2dlayered: [i32; 3],
    pub(crate) max_surface_cubemap: i32,
    pub(crate) max_surface_cubemap_layered: [i32; 2],
    pub(crate) surface_alignment: usize,
    pub(crate) concurrent_kernels: i32,
    pub(crate) ecc_enabled: i32,
    pub(crate) pci_bus_id: i32,
    pub(crate) pci_device_id: i32,
    pub(crate) pci_domain_id: i32,
    pub(crate) tcc_driver: i32,
    pub(crate) async_engine_count: i32,
    pub(crate) unified_addressing: i32,
    pub(crate) memory_clock_rate: i32,
    pub(crate) memory_bus_width: i32,
    pub(crate) l2_cache_size: i32,
    pub(crate) persisting_l2_cache_max_size: i32,
    pub(crate) max_threads_per_multi_processor: i32,
    pub(crate) stream_priorities_supported: i32,
    pub(crate) global_l1_cache_supported: i32,
    pub(crate) local_l1_cache_supported: i32,
    pub(crate) shared_mem_per_multiprocessor: usize,
    pub(crate) regs_per_multiprocessor: i32,
    pub(crate) managed_memory: i32,
    pub(crate) is_multi_gpu_board: i32,
    pub(crate) multi_gpu_board_group_id: i32,
    pub(crate) host_native_atomic_supported: i32,
    pub(crate) single_to_double_precision_perf_ratio: i32,
    pub(crate) pageable_memory_access: i32,
    pub(crate) concurrent_managed_access: i32,
    pub(crate) compute_preemption_supported: i32,
    pub(crate) can_use_host_pointer_for_registered_mem: i32,
    pub(crate) cooperative_launch: i32,
    pub(crate) cooperative_multi_device_launch: i32,
    pub(crate) shared_mem_per_block_optin: usize,
    pub(crate) pageable_memory_access_uses_host_page_tables: i32,
    pub(crate) direct_managed_mem_access_from_host: i32,
    pub(crate) max_blocks_per_multi_processor: i32,
    pub(crate) access_policy_max_window_size: i32,
    pub(crate) reserved_shared_mem_per_block: usize,
    pub(crate) host_register_supported: i32,
    pub(crate) sparse_cuda_array_supported: i32,
    pub(crate) host_register_read_only_supported: i32,
    pub(crate) timeline_semaphore_interop_supported: i32,
    pub(crate) memory_pools_supported: i32,
    pub(crate) gpu_direct_rdma_supported: i32,
    pub(crate) gpu_direct_rdma_flush_writes_options: u32,
    pub(crate) gpu_direct_rdma_writes_ordering: i32,
    pub(crate) memory_pool_supported_handle_types: u32,
    pub(crate) deferred_mapping_cuda_array_supported: i32,
    pub(crate) ipc_event_supported: i32,
    pub(crate) cluster_launch: i32,
    pub(crate) unified_function_pointers: i32,
    pub(crate) reserved2: [i32; 2],
    pub(crate) reserved1: [i32; 1],
    pub(crate) reserved: [i32; 60],
}

/// `struct cudaDeviceProp` of CUDA 13.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct DeviceProp13 {
    pub(crate) name: [u8; 256],
    pub(crate) uuid: [u8; 16],
    pub(crate) luid: [u8; 8],
    pub(crate) luid_device_node_mask: u32,
    pub(crate) total_global_mem: usize,
    pub(crate) shared_mem_per_block: usize,
    pub(crate) regs_per_block: i32,
    pub(crate) warp_size: i32,
    pub(crate) mem_pitch: usize,
    pub(crate) max_threads_per_block: i32,
    pub(crate) max_threads_dim: [i32; 3],
    pub(crate) max_grid_size: [i32; 3],
    pub(crate) total_const_mem: usize,
    pub(crate) major: i32,
    pub(crate) minor: i32,
    pub(crate) texture_alignment: usize,
    pub(crate) texture_pitch_alignment: usize,
    pub(crate) multi_processor_count: i32,
    pub(crate) integrated: i32,
    pub(crate) can_map_host_memory: i32,
    pub(crate) max_texture1d: i32,
    pub(crate) max_texture1dmipmap: i32,
    pub(crate) max_texture2d: [i32; 2],
    pub(crate) max_texture2dmipmap: [i32; 2],
    pub(crate) max_texture2dlinear: [i32; 3],
    pub(crate) max_texture2dgather: [i32; 2],
    pub(crate) max_texture3d: [i32; 3],
    pub(crate) max_texture3dalt: [i32; 3],
    pub(crate) max_texture_cubemap: i32,
    pub(crate) max_texture1dlayered: [i32; 2],
    pub(crate) max_texture2dlayered: [i32; 3],
    pub(crate) max_texture_cubemap_layered: [i32; 2],
    pub(crate) max_surface1d: i32,
    pub(crate) max_surface2d: [i32; 2],
    pub(crate) max_surface3d: [i32; 3],
    pub(crate) max_surface1dlayered: [i32; 2],
    pub(crate) max_surface2dlayered: [i32; 3],
    pub(crate) max_surface_cubemap: i32,
    pub(crate) max_surface_cubemap_layered: [i32; 2],
    pub(crate) surface_alignment: usize,
    pub(crate) concurrent_kernels: i32,
    pub(crate) ecc_enabled: i32,
    pub(crate) pci_bus_id: i32,
    pub(crate) pci_device_id: i32,
    pub(crate) pci_domain_id: i32,
    pub(crate) tcc_driver: i32,
    pub(crate) async_engine_count: i32,
    pub(crate) unified_addressing: i32,
    pub(crate) memory_bus_width: i32,
    pub(crate) l2_cache_size: i32,
    pub(crate) persisting_l2_cache_max_size: i32,
    pub(crate) max_threads_per_multi_processor: i32,
    pub(crate) stream_priorities_supported: i32,
    pub(crate) global_l1_cache_supported: i32,
    pub(crate) local_l1_cache_supported: i32,
    pub(crate) shared_mem_per_multiprocessor: usize,
    pub(crate) regs_per_multiprocessor: i32,
    pub(crate) managed_memory: i32,
    pub(crate) is_multi_gpu_board: i32,
    pub(crate) multi_gpu_board_group_id: i32,
    pub(crate) host_native_atomic_supported: i32,
    pub(crate) pageable_memory_access: i32,
    pub(crate) concurrent_managed_access: i32,
    pub(crate) compute_preemption_supported: i32,
    pub(crate) can_use_host_pointer_for_registered_mem: i32,
    pub(crate) cooperative_launch: i32,
    pub(crate) shared_mem_per_block_optin: usize,
    pub(crate) pageable_memory_access_uses_host_page_tables: i32,
    pub(crate) direct_managed_mem_access_from_host: i32,
    pub(crate) max_blocks_per_multi_processor: i32,
    pub(crate) access_policy_max_window_size: i32,
    pub(crate) reserved_shared_mem_per_block: usize,
    pub(crate) host_register_supported: i32,
    pub(crate) sparse_cuda_array_supported: i32,
    pub(crate) host_register_read_only_supported: i32,
    pub(crate) timeline_semaphore_interop_supported: i32,
    pub(crate) memory_pools_supported: i32,
    pub(crate) gpu_direct_rdma_supported: i32,
    pub(crate) gpu_direct_rdma_flush_writes_options: u32,
    pub(crate) gpu_direct_rdma_writes_ordering: i32,
    pub(crate) memory_pool_supported_handle_types: u32,
    pub(crate) deferred_mapping_cuda_array_supported: i32,
    pub(crate) ipc_event_supported: i32,
    pub(crate) cluster_launch: i32,
    pub(crate) unified_function_pointers: i32,
    pub(crate) device_numa_config: i32,
    pub(crate) device_numa_id: i32,
    pub(crate) mps_enabled: i32,
    pub(crate) host_numa_id: i32,
    pub(crate) gpu_pci_device_id: u32,
    pub(crate) gpu_pci_subsystem_id: u32,
    pub(crate) host_numa_multinode_ipc_supported: i32,
    pub(crate) reserved: [i32; 56],
}

/// The limits that every GPU since Volta shares (CUDA C++ Programming Guide, "Compute Capabilities")
/// and the model's own figures; the rest is zero, which says "no" or "none".
macro_rules! fill {
    ($prop:ident, $config:ident, $site:ident, $model:ident) => {
        $prop.name = text_field(&$config.name_of($site));
        // The board's: only the driver's newer call is documented to name the MIG instance.
        $prop.uuid = config::uuid($site.board);
        $prop.total_global_mem = $config.capacity_of($site) as usize;
        $prop.shared_mem_per_block = 48 << 10;
        $prop.regs_per_block = 65_536;
        $prop.warp_size = 32;
        $prop.mem_pitch = i32::MAX as usize;
        $prop.max_threads_per_block = 1024;
        $prop.max_threads_dim = [1024, 1024, 64];
        $prop.max_grid_size = [i32::MAX, 65_535, 65_535];
        $prop.total_const_mem = 65_536;
        $prop.major = $model.major;
        $prop.minor = $model.minor;
        $prop.texture_alignment = 512;
        $prop.texture_pitch_alignment = 32;
        $prop.multi_processor_count = $model.multiprocessors;
        $prop.can_map_host_memory = 1;
        $prop.surface_alignment = 512;
        $prop.concurrent_kernels = 1;
        $prop.ecc_enabled = i32::from($model.ecc);
        $prop.pci_bus_id = super::device::pci_bus($site.board) as i32;
        $prop.async_engine_count = 3;
        $prop.unified_addressing = 1;
        $prop.memory_bus_width = $model.bus_bits;
        $prop.l2_cache_size = $model.l2_mib << 20;
        $prop.max_threads_per_multi_processor = $model.threads_per_multiprocessor;
        $prop.stream_priorities_supported = 1;
        $prop.global_l1_cache_supported = 1;
        $prop.local_l1_cache_supported = 1;
        $prop.shared_mem_per_multiprocessor = $model.shared_kib << 10;
        $prop.regs_per_multiprocessor = 65_536;
        $prop.managed_memory = 1;
        $prop.compute_preemption_supported = 1;
        $prop.can_use_host_pointer_for_registered_mem = 1;
        $prop.cooperative_launch = 1;
        $prop.shared_mem_per_block_optin = $model.shared_per_block_kib << 10;
        $prop.max_blocks_per_multi_processor = $model.blocks_per_multiprocessor;
        $prop.reserved_shared_mem_per_block = 1024;
        $prop.host_register_supported = 1;
        $prop.memory_pools_supported = 1;
        $prop.ipc_event_supported = 1;
        $prop.cluster_launch = i32::from($model.major >= 9);
    };
}

impl DeviceProp12 {
    /// The properties of the device in a site.
    pub(crate) fn of(config: &Config, site: Site) -> Self {
        let model = &config.model;
        // SAFETY: every field is an integer or an array of integers: all zero bits are a value.
        let mut prop: Self = unsafe { std::mem::zeroed() };
        fill!(prop, config, site, model);
        prop.clock_rate = model.clock_mhz * 1000;
        prop.memory_clock_rate = model.memory_clock_mhz * 1000;
        prop.device_overlap = 1;
        prop
    }
}

impl DeviceProp13 {
    /// The properties of the device in a site.
    pub(crate) fn of(config: &Config, site: Site) -> Self {
        let model = &config.model;
        // SAFETY: every field is an integer or an array of integers: all zero bits are a value.
        let mut prop: Self = unsafe { std::mem::zeroed() };
        fill!(prop, config, site, model);
        prop.gpu_pci_device_id = model.pci_device << 16 | 0x10DE;
        prop
    }
}

#[cfg(test)]
mod tests {
    use std::mem::{offset_of, size_of};

    use super::*;

    /// The numbers are what a C compiler says of the headers of CUDA 12.4 and 13.2 on x86-64.
    #[test]
    fn layouts_are_those_of_the_headers() {
        assert_eq!(size_of::<DeviceProp12>(), 1032);
        assert_eq!(offset_of!(DeviceProp12, major), 360);
        assert_eq!(offset_of!(DeviceProp12, cluster_launch), 772);
        assert_eq!(size_of::<DeviceProp13>(), 1008);
        assert_eq!(offset_of!(DeviceProp13, major), 360);
        assert_eq!(offset_of!(DeviceProp13, cluster_launch), 748);
    }
}
