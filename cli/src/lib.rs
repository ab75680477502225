//! The `gpumemprof` command as a library.
