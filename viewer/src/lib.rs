//! The gpumemprof viewer.
