//! Two things done at once.

use std::sync::{Mutex, PoisonError};

/// Does `a` on another thread and `b` on this one; one after the other where there are no
/// threads, as on wasm, or no more of them.
pub(super) fn beside<A: Default + Send, B>(
    a: impl FnOnce() -> A + Send,
    b: impl FnOnce() -> B,
) -> (A, B) {
    let waiting = Mutex::new(Some(a));
    let take = || {
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.take()
    };
    std::thread::scope(|scope| {
        let other = std::thread::Builder::new().spawn_scoped(scope, || take().map(|a| a()));
        let b = b();
        let done = match other.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(done)) => done,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(_) => take().map(|a| a()),
        };
        // It was waiting for exactly one of the two.
        (done.unwrap_or_default(), b)
    })
}
