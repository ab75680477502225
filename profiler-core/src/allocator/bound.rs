//! What no allocator can do without, and what one that knew the future could do.
//!
//! Placing blocks with known lifetimes in the least memory is dynamic storage allocation,
//! NP-complete. Two sides bracket it:
//!
//! ```text
//!  offset                                     LOAD = most bytes live at once: a bound from below
//!    ▲  ┌────┐     ┌──────┐                   packing = the height of a placement without
//!    │  │ C  │┌───┐│  D   │                   overlaps, found greedily: a witness from above
//!    │ ┌┴────┴┤ B ├┴──────┤
//!    │ │  A   └───┘       │
//!    └─┴──────────────────┴──▶ time
//! ```

use serde::Serialize;

use super::program::{Program, Step};
use super::rounding::MIN_BLOCK_SIZE;
use super::settings::Settings;

/// A bracket around the least memory a program can run in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Bound {
    /// Most bytes live at once, each request rounded to 512 bytes; a block that the program let
    /// go of while another stream used it is not counted any more, since an allocator may wait.
    /// None that serves the program, not even one that moves blocks, holds less.
    pub load_bytes: u64,
    /// The height of a placement of all blocks in one range, found knowing all lifetimes. An
    /// allocator could do with this much; PyTorch's does not know the future.
    pub packing_bytes: u64,
    /// Whether requests that failed are among the blocks, each for the moment it was made.
    pub counts_failed_requests: bool,
}

/// A block's place in time and space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Buffer {
    /// First step at which it is live.
    born: u32,
    /// First step at which the program does not need it.
    let_go: u32,
    /// First step at which its place is free: later, if another stream still used it.
    died: u32,
    size: u64,
}

/// Up to this many blocks the packing is searched in several orders, each quadratic; above, in
/// one pass as they come.
const MAX_SEARCHED: usize = 12_000;

impl Bound {
    /// The bracket for `program` as recorded under `settings`, with the requests that failed.
    ///
    /// Of those the trace has the rounded size: where `roundup_power2_divisions` rounded it, less
    /// would have done, and they are left out.
    #[must_use]
    pub fn of(program: &Program, settings: &Settings) -> Self {
        let mut buffers = buffers(program);
        let served = buffers.len();
        if settings.roundup_power2_divisions.iter().all(|&n| n <= 1) {
            buffers.extend(failed(program));
        }
        Self {
            load_bytes: load(&buffers),
            packing_bytes: packing(&buffers),
            counts_failed_requests: buffers.len() > served,
        }
    }
}

fn buffers(program: &Program) -> Vec<Buffer> {
    let never = program.steps.len() as u32 + 1;
    let mut buffers: Vec<Buffer> = program
        .requests
        .iter()
        .map(|request| Buffer {
            born: 0,
            let_go: never,
            died: never,
            size: request
                .requested
                .max(1)
                .checked_next_multiple_of(MIN_BLOCK_SIZE)
                .unwrap_or(request.requested),
        })
        .collect();
    for (buffer, block) in buffers.iter_mut().zip(&program.start.blocks) {
        if block.is_pending {
            buffer.let_go = 0;
        }
    }
    for (step, timed) in (1..).zip(&program.steps) {
        let (Step::Malloc(request)
        | Step::Free(request)
        | Step::FreeLater(request)
        | Step::CompleteFree(request)) = timed.step
        else {
            continue;
        };
        let Some(buffer) = buffers.get_mut(request as usize) else {
            continue;
        };
        match timed.step {
            Step::Malloc(_) => buffer.born = step,
            Step::FreeLater(_) => buffer.let_go = step,
            _ => {
                buffer.died = step;
                buffer.let_go = buffer.let_go.min(step);
            }
        }
    }
    buffers
}

/// Requests that failed, each live for one step.
fn failed(program: &Program) -> impl Iterator<Item = Buffer> {
    (1..)
        .zip(&program.steps)
        .filter_map(|(born, timed)| match timed.step {
            Step::FailedMalloc { rounded, .. } => Some(Buffer {
                born,
                let_go: born + 1,
                died: born + 1,
                size: rounded,
            }),
            _ => None,
        })
}

fn load(buffers: &[Buffer]) -> u64 {
    let mut changes: Vec<(u32, bool, u64)> = Vec::with_capacity(buffers.len() * 2);
    for buffer in buffers {
        changes.push((buffer.born, true, buffer.size));
        changes.push((buffer.let_go, false, buffer.size));
    }
    // What dies at a step makes room for what is born at it.
    changes.sort_unstable();
    let mut live = 0_u64;
    let mut most = 0;
    for (_, is_birth, size) in changes {
        if is_birth {
            live = live.saturating_add(size);
            most = most.max(live);
        } else {
            live = live.saturating_sub(size);
        }
    }
    most
}

/// The lowest of the placements tried.
fn packing(buffers: &[Buffer]) -> u64 {
    let mut order: Vec<&Buffer> = buffers.iter().collect();
    order.sort_by_key(|buffer| (buffer.born, buffer.died));
    if buffers.len() > MAX_SEARCHED {
        return place_as_they_come(&order);
    }
    let duration = |buffer: &Buffer| u64::from(buffer.died.saturating_sub(buffer.born));
    let mut best = place_in_order(&order);
    order.sort_by_key(|buffer| std::cmp::Reverse(buffer.size));
    best = best.min(place_in_order(&order));
    order.sort_by_key(|buffer| std::cmp::Reverse((duration(buffer), buffer.size)));
    best = best.min(place_in_order(&order));
    order.sort_by_key(|buffer| {
        std::cmp::Reverse(u128::from(duration(buffer)) * u128::from(buffer.size))
    });
    best.min(place_in_order(&order))
}

/// Puts each buffer at the lowest offset free of those placed before that live when it does.
fn place_in_order(order: &[&Buffer]) -> u64 {
    // By offset.
    let mut placed: Vec<(u64, &Buffer)> = Vec::with_capacity(order.len());
    let mut height = 0;
    for &buffer in order {
        let mut offset = 0_u64;
        for &(other_offset, other) in &placed {
            if other.died <= buffer.born || buffer.died <= other.born {
                continue;
            }
            if other_offset >= offset.saturating_add(buffer.size) {
                break;
            }
            offset = offset.max(other_offset.saturating_add(other.size));
        }
        let at = placed.partition_point(|&(other, _)| other < offset);
        placed.insert(at, (offset, buffer));
        height = height.max(offset.saturating_add(buffer.size));
    }
    height
}

/// First fit in one range without knowing the future, for very many buffers.
fn place_as_they_come(order: &[&Buffer]) -> u64 {
    let mut deaths: std::collections::BTreeMap<u32, Vec<(u64, u64)>> = Default::default();
    // Free ranges by offset; the last one is endless.
    let mut free = std::collections::BTreeMap::from([(0_u64, u64::MAX)]);
    let mut height = 0;
    for buffer in order {
        let later = deaths.split_off(&buffer.born.saturating_add(1));
        for (offset, size) in std::mem::replace(&mut deaths, later)
            .into_values()
            .flatten()
        {
            give_back(&mut free, offset, size);
        }
        let fitting = free.iter().find(|&(_, &size)| size >= buffer.size);
        let Some((&offset, &size)) = fitting else {
            continue;
        };
        free.remove(&offset);
        if size > buffer.size {
            free.insert(offset.saturating_add(buffer.size), size - buffer.size);
        }
        height = height.max(offset.saturating_add(buffer.size));
        deaths
            .entry(buffer.died)
            .or_default()
            .push((offset, buffer.size));
    }
    height
}

fn give_back(free: &mut std::collections::BTreeMap<u64, u64>, mut offset: u64, mut size: u64) {
    if let Some((&before, &length)) = free.range(..offset).next_back()
        && before.saturating_add(length) == offset
    {
        free.remove(&before);
        offset = before;
        size = size.saturating_add(length);
    }
    if let Some(length) = free.remove(&offset.saturating_add(size)) {
        size = size.saturating_add(length);
    }
    free.insert(offset, size);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(born: u32, died: u32, size: u64) -> Buffer {
        Buffer {
            born,
            let_go: died,
            died,
            size,
        }
    }

    /// ```text
    ///  │ A: 0–4 │        A and C fill the load; B fits below C only if it is placed knowing
    ///  │ B: 0–2 │        that it is gone by then
    ///  │ C: 2–6 │
    /// ```
    #[test]
    fn load_counts_what_lives_at_once() {
        let buffers = [buffer(0, 4, 1024), buffer(0, 2, 512), buffer(2, 6, 512)];
        assert_eq!(load(&buffers), 1536);
        assert_eq!(packing(&buffers), 1536);
        let order: Vec<&Buffer> = buffers.iter().collect();
        assert_eq!(place_as_they_come(&order), 1536);
    }

    #[test]
    fn packing_is_never_below_the_load() {
        // A small generator; the sizes and times only have to be various.
        let mut state = 7_u64;
        let mut next = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % below
        };
        for _ in 0..50 {
            let buffers: Vec<Buffer> = (0..60)
                .map(|_| {
                    let born = next(100) as u32;
                    buffer(born, born + 1 + next(40) as u32, 512 * (1 + next(20)))
                })
                .collect();
            assert!(packing(&buffers) >= load(&buffers));
            let mut order: Vec<&Buffer> = buffers.iter().collect();
            order.sort_by_key(|buffer| buffer.born);
            assert!(place_as_they_come(&order) >= load(&buffers));
        }
    }
}
