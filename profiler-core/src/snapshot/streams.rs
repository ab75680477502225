//! The CUDA streams and memory pools a snapshot names.

use super::{PoolId, StreamId};

/// Interned stream pointers. Row 0 is the default stream (pointer 0).
///
/// People know streams by small numbers, so views show the row ("stream 2") and keep the pointer
/// for details.
#[derive(Clone, Debug)]
pub struct StreamTable {
    pointers: Vec<i64>,
    lookup: hashbrown::HashMap<i64, StreamId, foldhash::fast::FixedState>,
}

impl Default for StreamTable {
    fn default() -> Self {
        let mut table = Self {
            pointers: Vec::new(),
            lookup: hashbrown::HashMap::default(),
        };
        table.intern(0);
        table
    }
}

impl StreamTable {
    /// The handle of the stream at `pointer` (`cudaStream_t` as a signed number).
    pub fn intern(&mut self, pointer: i64) -> StreamId {
        let next = StreamId(self.pointers.len() as u32);
        *self.lookup.entry(pointer).or_insert_with(|| {
            self.pointers.push(pointer);
            next
        })
    }

    /// The stream's pointer; 0 for a handle of another table.
    #[must_use]
    pub fn pointer(&self, id: StreamId) -> i64 {
        self.pointers.get(id.index()).copied().unwrap_or(0)
    }

    /// How many streams there are, the default one included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pointers.len()
    }

    /// Never true: the default stream is always there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pointers.is_empty()
    }
}

/// Interned memory pool ids. Row 0 is the default pool `(0, 0)`.
#[derive(Clone, Debug)]
pub struct PoolTable {
    ids: Vec<(u64, u64)>,
    lookup: hashbrown::HashMap<(u64, u64), PoolId, foldhash::fast::FixedState>,
}

impl Default for PoolTable {
    fn default() -> Self {
        let mut table = Self {
            ids: Vec::new(),
            lookup: hashbrown::HashMap::default(),
        };
        table.intern((0, 0));
        table
    }
}

impl PoolTable {
    /// The handle of a `segment_pool_id`: `(a, 0)` was made by CUDA graph capture, `(0, b)` by
    /// `graph_pool_handle()` or `MemPool`.
    pub fn intern(&mut self, id: (u64, u64)) -> PoolId {
        let next = PoolId(self.ids.len() as u32);
        *self.lookup.entry(id).or_insert_with(|| {
            self.ids.push(id);
            next
        })
    }

    /// PyTorch's id of the pool; `(0, 0)` for a handle of another table.
    #[must_use]
    pub fn id(&self, pool: PoolId) -> (u64, u64) {
        self.ids.get(pool.index()).copied().unwrap_or((0, 0))
    }

    /// How many pools there are, the default one included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Never true: the default pool is always there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}
