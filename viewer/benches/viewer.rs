//! How long the first picture and a frame take, and how much memory they need, on the files of
//! `benches/README.md` (`GPUMEMPROF_BENCH`, or `gpumemprof-bench` in the temporary folder), or on
//! the files named on the command line. Headless: what is timed is all that the CPU does for a
//! frame, tessellation included, up to handing triangles and textures to the graphics driver.
//!
//! A frame's time is the processor time of the UI thread (`/proc/thread-self/schedstat`), so
//! that other programs on the machine weigh less; elsewhere it is wall time. A plain harness and
//! not a benchmark library, because the worst frame matters and those report means.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measurement"
)]

use std::path::PathBuf;
use std::sync::{Arc, Condvar, LazyLock, Mutex};
use std::time::{Duration, Instant};

use egui::{Context, Event, Pos2, RawInput, Rect, vec2};
use gpumemprof_viewer::app::Viewer;
use gpumemprof_viewer::prepare::Document;
use gpumemprof_viewer::timeline::View;
use profiler_core::attribution::Attribution;
use profiler_core::replay::Replay;
use profiler_core::snapshot::Snapshot;

/// Frames per view.
const FRAMES: usize = 240;
/// How often each file is opened and read; the median counts.
const OPENINGS: usize = 3;
/// The shortest pause between two frames.
const PAUSE: Duration = Duration::from_millis(1);
/// When the measurement began, as a window counts its time from its own.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);
/// From one frame of the screen to the next.
const REFRESH: Duration = Duration::from_micros(16_667);

fn main() {
    let named: Vec<PathBuf> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with('-'))
        .map(PathBuf::from)
        .collect();
    let files = if named.is_empty() { files() } else { named };
    if files.is_empty() {
        println!("skipped: no files; see benches/README.md");
        return;
    }
    println!(
        "| file | events | core: read | core: replay | core: attribute | viewer: first picture | \
         viewer: all | picture ÷ read | all ÷ core | view | frame median | frame worst | \
         bytes/event |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    for file in files {
        measure(&file);
    }
}

fn files() -> Vec<PathBuf> {
    let folder = std::env::var_os("GPUMEMPROF_BENCH").map_or_else(
        || std::env::temp_dir().join("gpumemprof-bench"),
        PathBuf::from,
    );
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "pickle")
        })
        .collect();
    found.sort();
    found
}

/// Reads through a map, as the viewer does.
fn read(path: &PathBuf) -> Snapshot {
    let file = std::fs::File::open(path).unwrap();
    #[expect(unsafe_code, reason = "mapping a file has no safe form")]
    // SAFETY: nothing writes to the file meanwhile.
    let map = unsafe { memmap2::Mmap::map(&file).unwrap() };
    profiler_core::read::read(&map).unwrap()
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kib: u64 = line
        .and_then(|line| line.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0);
    kib * 1024
}

/// Processor time of this thread up to when it last stopped running; None where the system
/// does not tell.
fn thread_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace()
        .next()?
        .parse()
        .ok()
        .map(Duration::from_nanos)
}

/// The window: frames when they are asked for, and no sooner than a screen of 60 a second shows
/// the next one.
struct Window {
    context: Context,
    viewer: Viewer,
    asked: Arc<Asked>,
    last: Instant,
}

/// When a frame is wanted, if one is.
#[derive(Default)]
struct Asked {
    at: Mutex<Option<Instant>>,
    arrived: Condvar,
}

impl Window {
    fn new() -> Self {
        let context = Context::default();
        let asked = Arc::<Asked>::default();
        let theirs = Arc::clone(&asked);
        context.set_request_repaint_callback(move |info| theirs.want(info.delay));
        let viewer = Viewer::new(&context);
        let last = Instant::now();
        Self {
            context,
            viewer,
            asked,
            last,
        }
    }

    /// Waits until a frame is wanted and the screen takes it, and makes it.
    fn frame(&mut self) {
        self.asked.wait();
        std::thread::sleep(REFRESH.saturating_sub(self.last.elapsed()));
        self.last = Instant::now();
        self.asked.at.lock().unwrap().take();
        let delay = frame(&self.context, &mut self.viewer, None);
        self.asked.want(delay);
    }
}

impl Asked {
    fn want(&self, delay: Duration) {
        let Some(at) = Instant::now().checked_add(delay) else {
            return;
        };
        let mut asked = self.at.lock().unwrap();
        *asked = Some(asked.map_or(at, |known| known.min(at)));
        self.arrived.notify_one();
    }

    fn wait(&self) {
        let mut asked = self.at.lock().unwrap();
        loop {
            // Without a wish a window would wait forever; here nobody moves the mouse.
            let left = asked.map_or(REFRESH * 6, |at| {
                at.saturating_duration_since(Instant::now())
            });
            if left.is_zero() {
                return;
            }
            let (now, waited) = self.arrived.wait_timeout(asked, left).unwrap();
            asked = now;
            if waited.timed_out() {
                return;
            }
        }
    }
}

/// Wall time from opening the file at `path` in the window to the first whole picture of the
/// timeline, and to the whole document with every pane's answer.
fn open(path: &std::path::Path) -> (Duration, Duration) {
    let mut window = Window::new();
    window.asked.want(Duration::ZERO);
    window.frame();
    let clock = Instant::now();
    window.viewer.open_paths([path.to_owned()]);
    let is_drawn = |viewer: &Viewer| viewer.tracks.first().is_some_and(|it| it.drawn().is_some());
    while !is_drawn(&window.viewer) {
        window.frame();
    }
    let picture = clock.elapsed();
    while !window.viewer.is_settled() {
        window.frame();
    }
    (picture, clock.elapsed())
}

fn measure(path: &PathBuf) {
    // Once before, so that every reading finds the file in memory.
    open(path);
    let mut opened: Vec<_> = (0..OPENINGS).map(|_| open(path)).collect();
    opened.sort();
    let (picture_time, settled_time) = opened[OPENINGS / 2];
    let mut readings: Vec<_> = (0..OPENINGS)
        .map(|_| {
            let clock = Instant::now();
            let snapshot = std::hint::black_box(read(path));
            let time = clock.elapsed();
            drop(snapshot);
            time
        })
        .collect();
    readings.sort();
    let read_time = readings[OPENINGS / 2];
    let clock = Instant::now();
    let mut last = clock.elapsed();
    let mut lap = || {
        let now = clock.elapsed();
        let time = now - last;
        last = now;
        time
    };
    let snapshot = read(path);
    lap();
    let replay = Replay::new(&snapshot);
    let replay_time = lap();
    let attribution = Attribution::new(&snapshot, &replay);
    let attribute_time = lap();
    drop((attribution, replay));
    let document = Document::new("bench".to_owned(), None, snapshot);
    let events: u64 = document
        .replay
        .devices
        .iter()
        .map(|device| u64::from(device.event_count()))
        .sum();
    let before = resident();
    let context = Context::default();
    let mut viewer = Viewer::new(&context);
    frame(&context, &mut viewer, None);
    viewer.show(Arc::new(document));
    frame(&context, &mut viewer, None);
    while !viewer.is_settled() {
        frame(&context, &mut viewer, None);
        std::thread::sleep(Duration::from_millis(1));
    }
    let prepared = prepared_bytes(&viewer) + resident().saturating_sub(before);
    let core = read_time + replay_time + attribute_time;
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let length = viewer.tracks[0]
        .prepared()
        .axis(viewer.selection.view.axis)
        .length();
    for (view, span) in [
        ("whole", length),
        ("middle", length / 1000.0),
        ("deepest", 40.0),
    ] {
        let from = (length - span) / 2.0;
        viewer.selection.view =
            View::whole(viewer.selection.view.axis, length).showing(from, from + span, length);
        let mut times = pan(&context, &mut viewer);
        times.sort();
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        println!(
            "| {name} | {events} | {:.2} s | {:.2} s | {:.2} s | {:.2} s | {:.2} s | {:.2} | {:.2} | \
             {view} | {:.2} ms | {:.2} ms | {:.1} |",
            read_time.as_secs_f64(),
            replay_time.as_secs_f64(),
            attribute_time.as_secs_f64(),
            picture_time.as_secs_f64(),
            settled_time.as_secs_f64(),
            picture_time.as_secs_f64() / read_time.as_secs_f64(),
            settled_time.as_secs_f64() / core.as_secs_f64(),
            ms(times[times.len() / 2]),
            ms(*times.last().unwrap()),
            prepared as f64 / events.max(1) as f64,
        );
    }
}

/// What was prepared before drawing began, by its columns: pyramids, allocated curve, clock,
/// the first grouping.
fn prepared_bytes(viewer: &Viewer) -> u64 {
    let devices = &viewer.tracks[0].document.devices;
    let prepared: usize = devices.iter().map(|device| device.heap_bytes()).sum();
    let sites = viewer.tracks[0].document.sites.of_allocation.len() * size_of::<u16>();
    (prepared + sites) as u64
}

/// Pans for [`FRAMES`] frames at 60 a second; gives the processor time of each.
fn pan(context: &Context, viewer: &mut Viewer) -> Vec<Duration> {
    let mut times = Vec::new();
    let mut start = thread_time();
    for at in 0..FRAMES {
        let began = Instant::now();
        let per_frame = viewer.selection.view.span() / 200.0;
        let direction = if at % 120 < 60 { 1.0 } else { -1.0 };
        let length = viewer.tracks[0]
            .prepared()
            .axis(viewer.selection.view.axis)
            .length();
        viewer.selection.view = viewer.selection.view.panned(per_frame * direction, length);
        frame(context, viewer, Some(Pos2::new(500.0, 200.0)));
        let wall = began.elapsed();
        // The kernel books a thread's time when it stops running: read it after a sleep.
        std::thread::sleep(REFRESH.saturating_sub(wall).max(PAUSE));
        let now = thread_time();
        times.push(
            now.zip(start)
                .map_or(wall, |(now, start)| now.saturating_sub(start)),
        );
        start = now;
    }
    times
}

/// One frame; when the next is wanted.
fn frame(context: &Context, viewer: &mut Viewer, pointer: Option<Pos2>) -> Duration {
    let mut input = RawInput {
        time: Some(START.elapsed().as_secs_f64()),
        screen_rect: Some(Rect::from_min_size(Pos2::ZERO, vec2(1280.0, 720.0))),
        ..RawInput::default()
    };
    input.events.extend(pointer.map(Event::PointerMoved));
    let mut output = context.run_ui(input, |ui| viewer.ui(ui));
    // What the graphics driver would get.
    output.textures_delta.clear();
    std::hint::black_box(context.tessellate(output.shapes, output.pixels_per_point));
    let views = output.viewport_output.values();
    views
        .map(|view| view.repaint_delay)
        .min()
        .unwrap_or(Duration::MAX)
}
