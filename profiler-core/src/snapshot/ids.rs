//! Handles: small copyable numbers that stand for rows of the snapshot's tables.
//!
//! A handle is valid only with the snapshot that made it. Looking up a foreign or stale handle
//! gives the table's empty row, never a panic.

/// Defines a `u32` handle with its row number accessors.
macro_rules! handle {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);

        impl $name {
            /// The row this handle stands for.
            #[inline]
            #[must_use]
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

handle!(
    /// A row of [`StringTable`](super::StringTable). `StringId(0)` is the empty string.
    StringId
);
handle!(
    /// A row of [`FrameTable`](super::FrameTable).
    FrameId
);
handle!(
    /// A node of [`StackTable`](super::StackTable): one whole call stack, named by its innermost
    /// frame. `StackId(0)` is the empty stack ("no stack was recorded").
    StackId
);
handle!(
    /// A row of [`StreamTable`](super::StreamTable). `StreamId(0)` is the default stream.
    StreamId
);
handle!(
    /// A row of [`PoolTable`](super::PoolTable). `PoolId(0)` is the default pool `(0, 0)`.
    PoolId
);

impl StringId {
    /// The empty string.
    pub const EMPTY: Self = Self(0);
}

impl StackId {
    /// The empty stack.
    pub const EMPTY: Self = Self(0);

    /// Whether no frame was recorded.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl StreamId {
    /// CUDA's default stream (pointer 0).
    pub const DEFAULT: Self = Self(0);
}

impl PoolId {
    /// The default memory pool, `(0, 0)` in PyTorch.
    pub const DEFAULT: Self = Self(0);
}

/// A device as PyTorch numbers it: its ordinal, or −1 for pinned host memory
/// (`host_segments`, PyTorch 2.14).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(pub i32);

impl DeviceId {
    /// Pinned host memory.
    pub const HOST: Self = Self(-1);
}

impl std::fmt::Display for DeviceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if *self == Self::HOST {
            f.write_str("host")
        } else {
            write!(f, "{}", self.0)
        }
    }
}
