//! Independent jobs on several threads.

use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::simulate::SimulateError;

/// Runs jobs 0…count on several threads (one where there are no threads, as on wasm); results in
/// order.
pub(super) fn run_jobs<T: Send>(
    count: usize,
    threads: Option<usize>,
    job: impl Fn(usize) -> T + Sync,
    progress: &mut dyn FnMut(usize) -> ControlFlow<()>,
) -> Result<Vec<T>, SimulateError> {
    let next = AtomicUsize::new(0);
    let is_stopped = AtomicBool::new(false);
    let results: Mutex<Vec<(usize, T)>> = Mutex::new(Vec::with_capacity(count));
    let take_one = || {
        let index = next.fetch_add(1, Ordering::Relaxed);
        if index >= count || is_stopped.load(Ordering::Relaxed) {
            return false;
        }
        let result = job(index);
        if let Ok(mut results) = results.lock() {
            results.push((index, result));
        }
        true
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let helpers = threads.unwrap_or(cores).clamp(1, count.max(1)) - 1;
    let stopped = std::thread::scope(|scope| {
        for _ in 0..helpers {
            // Without threads this one does all the work.
            let helper = std::thread::Builder::new();
            if helper.spawn_scoped(scope, || while take_one() {}).is_err() {
                break;
            }
        }
        while take_one() {
            let finished = results.lock().map_or(0, |results| results.len());
            if progress(finished).is_break() {
                is_stopped.store(true, Ordering::Relaxed);
                return true;
            }
        }
        false
    });
    if stopped {
        return Err(SimulateError::Stopped);
    }
    let mut results = results.into_inner().unwrap_or_default();
    results.sort_unstable_by_key(|(index, _)| *index);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}
