//! Bytes held on each board, or MIG instance of one, by each simulated process, in memory that
//! processes share.
//!
//! The runtime writes a process's own row; NVML, in that process or another, reads all of them. A row
//! of a process that has ended counts for nothing and is reused.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::config::{MAX_DEVICES, MAX_INSTANCES, Site};

/// Processes that can use the devices at once.
const ROWS: usize = 256;

/// Sites that memory is counted in.
const SITES: usize = MAX_DEVICES * MAX_INSTANCES;

/// First word of a counters file: its format.
const MAGIC: u64 = u64::from_le_bytes(*b"SIMGPU03");

/// One process. All zero: free.
#[repr(C)]
struct Row {
    /// The process id; 0: free.
    pid: AtomicU64,
    /// When the process started, in the kernel's clock ticks: tells a reused process id apart.
    started: AtomicU64,
    /// Bytes held on each board or instance, its context included.
    used: [AtomicU64; SITES],
    /// Kernels launched on each board.
    launches: [AtomicU64; MAX_DEVICES],
}

#[repr(C)]
struct Table {
    magic: AtomicU64,
    rows: [Row; ROWS],
}

/// Why memory could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The site has fewer bytes free than were asked for.
    OutOfMemory,
    /// More processes than rows.
    TooManyProcesses,
}

/// The counters of every board.
pub(crate) struct Counters {
    table: &'static Table,
    /// The file behind the table; `None`: a table of this process alone.
    file: Option<File>,
    /// The row of this process and the process id it was claimed for.
    own: Mutex<Option<(usize, u32)>>,
}

impl Counters {
    /// Opens the table in `path`, made when missing; without a path, a table of this process alone.
    pub(crate) fn open(path: Option<&str>) -> io::Result<Self> {
        let length = size_of::<Table>();
        let file = match path {
            None => None,
            Some(path) => {
                let file = OpenOptions::new()
                    .read(true)
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .open(path)?;
                // Growing an empty file gives zeros, which is the empty table; growing one that
                // already has the size changes nothing, so two processes may race here.
                if file.metadata()?.len() < length as u64 {
                    file.set_len(length as u64)?;
                }
                Some(file)
            }
        };
        let (flags, descriptor) = match &file {
            Some(file) => (libc::MAP_SHARED, file.as_raw_fd()),
            None => (libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1),
        };
        // SAFETY: a fresh mapping at an address of the kernel's choice, of an own file at least that
        // long or of anonymous zeros; the result is checked before use and never unmapped.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                flags,
                descriptor,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the mapping is page-aligned, `Table`-sized, lives as long as the process, and holds
        // only atomic integers, for which every bit pattern is valid and sharing is sound.
        let table: &'static Table = unsafe { &*address.cast::<Table>() };
        let found = table
            .magic
            .compare_exchange(0, MAGIC, Ordering::AcqRel, Ordering::Acquire)
            .unwrap_or_else(|found| found);
        if found != 0 && found != MAGIC {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "not a counters file of this version of simgpu; delete it",
            ));
        }
        Ok(Self {
            table,
            file,
            own: Mutex::new(None),
        })
    }

    /// Takes `bytes` of a site for this process, if all processes together with `others` (bytes held
    /// outside the simulation) then stay within `capacity`.
    pub(crate) fn take(
        &self,
        site: Site,
        bytes: u64,
        others: u64,
        capacity: u64,
    ) -> Result<(), Refused> {
        let mut own = self.lock();
        let _held = FileLock::new(self.file.as_ref());
        let row = self.own_row(&mut own)?;
        let fits = |used: u64| {
            used.checked_add(others)
                .and_then(|sum| sum.checked_add(bytes))
                .is_some_and(|sum| sum <= capacity)
        };
        if !fits(self.sum(site)) {
            self.drop_ended(site);
            if !fits(self.sum(site)) {
                return Err(Refused::OutOfMemory);
            }
        }
        self.table.rows[row].used[column(site)].fetch_add(bytes, Ordering::AcqRel);
        Ok(())
    }

    /// Gives back `bytes` of a site that this process took.
    pub(crate) fn give_back(&self, site: Site, bytes: u64) {
        let own = self.lock();
        if let Some((row, _)) = *own {
            let _ = self.table.rows[row].used[column(site)].fetch_update(
                Ordering::AcqRel,
                Ordering::Acquire,
                |used| Some(used.saturating_sub(bytes)),
            );
        }
    }

    /// Counts a kernel launch of this process.
    pub(crate) fn launched(&self, row: usize, device: usize) {
        self.table.rows[row].launches[device].fetch_add(1, Ordering::Relaxed);
    }

    /// The row of this process, if it has used a device.
    pub(crate) fn row(&self) -> Option<usize> {
        self.lock().map(|(row, _)| row)
    }

    /// Kernels launched on a board by all processes alive.
    pub(crate) fn launches(&self, device: usize) -> u64 {
        self.table
            .rows
            .iter()
            .filter(|row| row.pid.load(Ordering::Acquire) != 0)
            .map(|row| row.launches[device].load(Ordering::Relaxed))
            .fold(0, u64::wrapping_add)
    }

    /// Bytes held in a site by all simulated processes that are alive.
    pub(crate) fn used(&self, site: Site) -> u64 {
        self.drop_ended(site);
        self.sum(site)
    }

    /// The simulated processes that hold memory of a site: process id and bytes, by process id.
    pub(crate) fn processes(&self, site: Site) -> Vec<(u32, u64)> {
        self.drop_ended(site);
        let mut processes: Vec<_> = self
            .table
            .rows
            .iter()
            .filter_map(|row| {
                let pid = u32::try_from(row.pid.load(Ordering::Acquire)).ok()?;
                let used = row.used[column(site)].load(Ordering::Acquire);
                (pid != 0 && used != 0).then_some((pid, used))
            })
            .collect();
        processes.sort_unstable();
        processes
    }

    fn lock(&self) -> MutexGuard<'_, Option<(usize, u32)>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sum(&self, site: Site) -> u64 {
        self.table
            .rows
            .iter()
            .map(|row| row.used[column(site)].load(Ordering::Acquire))
            .fold(0, u64::saturating_add)
    }

    /// This process's row, claimed on the first call and again in a forked child.
    fn own_row(&self, own: &mut Option<(usize, u32)>) -> Result<usize, Refused> {
        let pid = std::process::id();
        if let Some((row, claimed_by)) = *own
            && claimed_by == pid
        {
            return Ok(row);
        }
        for (index, row) in self.table.rows.iter().enumerate() {
            if row.pid.load(Ordering::Acquire) != 0 && !is_alive(row) {
                clear(row);
            }
            if row
                .pid
                .compare_exchange(0, u64::from(pid), Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
            {
                row.started
                    .store(start_time(u64::from(pid)).unwrap_or(0), Ordering::Release);
                *own = Some((index, pid));
                return Ok(index);
            }
        }
        Err(Refused::TooManyProcesses)
    }

    /// Frees the rows of processes that have ended while they held memory of a site.
    fn drop_ended(&self, site: Site) {
        for row in &self.table.rows {
            if row.pid.load(Ordering::Acquire) != 0
                && row.used[column(site)].load(Ordering::Acquire) != 0
                && !is_alive(row)
            {
                clear(row);
            }
        }
    }
}

/// Where a row counts what is held in a site.
fn column(site: Site) -> usize {
    site.board * MAX_INSTANCES + site.instance
}

fn clear(row: &Row) {
    for counter in row.used.iter().chain(&row.launches) {
        counter.store(0, Ordering::Release);
    }
    row.started.store(0, Ordering::Release);
    row.pid.store(0, Ordering::Release);
}

/// Whether the process that claimed a row still runs. A row is claimed a moment before its start time
/// is written: zero means not yet known, and counts as alive while a process has that id.
fn is_alive(row: &Row) -> bool {
    let pid = row.pid.load(Ordering::Acquire);
    if pid == u64::from(std::process::id()) {
        return true;
    }
    let started = row.started.load(Ordering::Acquire);
    start_time(pid).is_some_and(|now| started == 0 || now == started)
}

/// When a process started, in clock ticks since boot (field 22 of `/proc/PID/stat`, proc(5)); `None`
/// when there is no such process or it has ended and only its parent has not noticed.
fn start_time(pid: u64) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, and may hold spaces and parentheses.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?;
    if state == "Z" || state == "X" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Holds the counters file's advisory lock: the check of the capacity and the count that follows it
/// are one step for all processes.
struct FileLock<'a>(Option<&'a File>);

impl<'a> FileLock<'a> {
    fn new(file: Option<&'a File>) -> Self {
        Self(file.filter(|file| file.lock().is_ok()))
    }
}

impl Drop for FileLock<'_> {
    fn drop(&mut self) {
        if let Some(file) = self.0 {
            // Nothing can be done about a failure: the lock goes with the descriptor.
            let _ = file.unlock();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: u64 = 100;
    const FIRST: Site = Site {
        board: 0,
        instance: 0,
    };
    const SECOND: Site = Site {
        board: 0,
        instance: 1,
    };

    #[test]
    fn takes_up_to_the_capacity_and_not_past_it() {
        let counters = Counters::open(None).expect("anonymous memory");
        assert_eq!(counters.take(FIRST, 60, 30, CAPACITY), Ok(()));
        assert_eq!(
            counters.take(FIRST, 11, 30, CAPACITY),
            Err(Refused::OutOfMemory)
        );
        assert_eq!(counters.take(SECOND, 100, 0, CAPACITY), Ok(()));
        assert_eq!(counters.take(FIRST, 10, 30, CAPACITY), Ok(()));
        assert_eq!(
            counters.take(FIRST, u64::MAX, 30, CAPACITY),
            Err(Refused::OutOfMemory)
        );
        assert_eq!((counters.used(FIRST), counters.used(SECOND)), (70, 100));
        counters.give_back(FIRST, 60);
        assert_eq!(counters.processes(FIRST), [(std::process::id(), 10)]);
    }

    #[test]
    fn one_file_is_one_machine() {
        let path = std::env::temp_dir().join(format!("simgpu-test-{}", std::process::id()));
        let path = path.to_str().expect("UTF-8 temporary folder");
        let first = Counters::open(Some(path)).expect("a writable temporary folder");
        let second = Counters::open(Some(path)).expect("a writable temporary folder");
        assert_eq!(first.take(FIRST, 60, 0, CAPACITY), Ok(()));
        assert_eq!(
            second.take(FIRST, 60, 0, CAPACITY),
            Err(Refused::OutOfMemory)
        );
        assert_eq!(second.take(FIRST, 40, 0, CAPACITY), Ok(()));
        assert_eq!(first.used(FIRST), 100);
        // A process that ended: its row counts for nothing.
        let mut child = std::process::Command::new("true")
            .spawn()
            .expect("`true` runs");
        let ended = child.id();
        child.wait().expect("`true` ends");
        let row = &first.table.rows[200];
        row.pid.store(u64::from(ended), Ordering::Release);
        row.used[0].store(7, Ordering::Release);
        assert_eq!(second.used(FIRST), 100);
        std::fs::write(path, [0xFF_u8; 64]).expect("a writable temporary folder");
        assert!(Counters::open(Some(path)).is_err());
        std::fs::remove_file(path).expect("a writable temporary folder");
    }
}
