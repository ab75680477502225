//! One device's timeline: its picture and the thread that draws it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use egui::{ColorImage, TextureHandle, TextureOptions};
use profiler_core::replay::{AllocationId, DeviceReplay};

use crate::prepare::{AxisKind, Document, KeyColumn, KeyKind, Lanes, Mask, PreparedDevice};
use crate::tokens::Theme;
use crate::worker::Worker;

use super::raster::{Frame, Picture, Source, draw};

/// What to draw and how.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which part, at which resolution.
    pub frame: Frame,
    /// What the frame's horizontal units are.
    pub axis: AxisKind,
    /// Colours by what.
    pub keys: KeyKind,
    /// What the filter keeps.
    pub mask: Option<Arc<Mask>>,
    /// Stack only what the filter keeps.
    pub only_kept: bool,
    /// The chosen allocation.
    pub selected: Option<AllocationId>,
    /// Colours of the theme.
    pub theme: Theme,
}

impl Request {
    fn is_same(&self, other: &Self) -> bool {
        let same_mask = match (&self.mask, &other.mask) {
            (None, None) => true,
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            _ => false,
        };
        same_mask
            && self.frame == other.frame
            && self.axis == other.axis
            && self.keys == other.keys
            && self.only_kept == other.only_kept
            && self.selected == other.selected
            && self.theme == other.theme
    }
}

/// A drawn picture, ready to upload.
#[derive(Clone)]
pub struct Drawn {
    /// The picture; its pixels have moved to `image`.
    pub picture: Picture,
    /// Its pixels.
    pub image: Arc<ColorImage>,
    /// What it is coloured by.
    pub keys: Arc<KeyColumn>,
    /// What its horizontal units are.
    pub axis: AxisKind,
}

/// The groupings known, the latest first; both threads of a track use them.
type Known = Vec<(KeyKind, Arc<KeyColumn>)>;

/// How many pictures in a row are given up for a newer question.
const MAX_GIVEN_UP: u32 = 3;

/// How long a frame waits for a track's first picture: with what else a frame takes, less than
/// one of 60 a second lasts.
const FIRST_PICTURE: Duration = Duration::from_millis(12);

/// One device of one document as a timeline.
pub struct Track {
    /// The document.
    pub document: Arc<Document>,
    /// Which of its devices.
    pub device: usize,
    worker: Worker<Request, Drawn>,
    asked: Option<Request>,
    drawn: Option<Drawn>,
    /// Whether the first picture is there, or never will be.
    is_first_over: bool,
    /// Whether a frame has waited for it.
    has_waited: bool,
    texture: Option<TextureHandle>,
    overview_worker: Worker<Request, Drawn>,
    overview_asked: Option<Request>,
    overview: Option<Drawn>,
    overview_texture: Option<TextureHandle>,
}

impl Track {
    /// The timeline of device number `device` of `document`.
    #[must_use]
    pub fn new(document: Arc<Document>, device: usize, context: &egui::Context) -> Self {
        let mut known = Known::new();
        if device == document.busiest() {
            known.push((KeyKind::Site, Arc::clone(&document.sites)));
        }
        let known = Arc::new(Mutex::new(known));
        let worker = |name: &str| {
            let theirs = Arc::clone(&document);
            let known = Arc::clone(&known);
            let mut given_up = 0;
            let context = context.clone();
            Worker::new(
                name,
                move |request: Request, is_stale: &dyn Fn() -> bool| {
                    // While one pans, each frame asks anew: without a limit no picture would
                    // ever be finished.
                    let gives_up = || given_up < MAX_GIVEN_UP && is_stale();
                    let drawn = answer(&theirs, device, &known, &request, &gives_up);
                    given_up = if drawn.is_none() { given_up + 1 } else { 0 };
                    drawn
                },
                move || context.request_repaint(),
            )
        };
        Self {
            worker: worker("draw timeline"),
            overview_worker: worker("draw overview"),
            document,
            device,
            asked: None,
            drawn: None,
            is_first_over: false,
            has_waited: false,
            texture: None,
            overview_asked: None,
            overview: None,
            overview_texture: None,
        }
    }

    /// The replay of the device.
    #[must_use]
    pub fn replay(&self) -> &DeviceReplay {
        static NONE: std::sync::OnceLock<DeviceReplay> = std::sync::OnceLock::new();
        let found = self.document.replay.devices.get(self.device);
        found.unwrap_or_else(|| NONE.get_or_init(DeviceReplay::default))
    }

    /// What was prepared for the device.
    #[must_use]
    pub fn prepared(&self) -> &PreparedDevice {
        static NONE: std::sync::OnceLock<PreparedDevice> = std::sync::OnceLock::new();
        let found = self.document.devices.get(self.device);
        found.map_or_else(|| NONE.get_or_init(PreparedDevice::default), Arc::as_ref)
    }

    /// What is drawn above the device's bands.
    #[must_use]
    pub fn lanes(&self) -> &Lanes {
        static NONE: std::sync::OnceLock<Lanes> = std::sync::OnceLock::new();
        let found = self.document.lanes.get(self.device);
        found.unwrap_or_else(|| NONE.get_or_init(Lanes::default))
    }

    /// The same track of the whole document, showing the picture of the draft until its own is
    /// there.
    #[must_use]
    pub fn succeeded_by(
        &mut self,
        document: Arc<Document>,
        device: usize,
        context: &egui::Context,
    ) -> Self {
        Self {
            drawn: self.drawn.take(),
            is_first_over: self.is_first_over,
            texture: self.texture.take(),
            overview: self.overview.take(),
            overview_texture: self.overview_texture.take(),
            ..Self::new(document, device, context)
        }
    }

    /// What heads the timeline: the file and the device.
    #[must_use]
    pub fn title(&self) -> String {
        let device = self.prepared().device;
        if device == profiler_core::snapshot::DeviceId::HOST {
            format!("{} · pinned host memory", self.document.name)
        } else {
            format!("{} · device {device}", self.document.name)
        }
    }

    /// Asks for a picture, unless it is there or on its way.
    pub fn want(&mut self, request: Request) {
        if self
            .asked
            .as_ref()
            .is_none_or(|asked| !asked.is_same(&request))
        {
            self.worker.ask(request.clone());
            self.asked = Some(request);
        }
    }

    /// Asks for a picture of the whole recording, unless it is there or on its way.
    pub fn want_overview(&mut self, request: Request) {
        if self
            .overview_asked
            .as_ref()
            .is_none_or(|asked| !asked.is_same(&request))
        {
            self.overview_worker.ask(request.clone());
            self.overview_asked = Some(request);
        }
    }

    /// Takes what the threads have drawn since the last frame.
    pub fn collect(&mut self, context: &egui::Context) {
        // Asked before the answer is taken: one that comes in between is taken the next time.
        let is_answered = self.asked.is_some() && !self.worker.is_busy();
        self.is_first_over |= is_answered || self.drawn.is_some();
        let drawn = self.worker.answer();
        self.take(context, drawn);
        if let Some(drawn) = self.overview_worker.answer() {
            upload(
                context,
                "overview",
                &mut self.overview_texture,
                &drawn.image,
            );
            self.overview = Some(drawn);
        }
    }

    /// Waits a little for the first picture: it takes less than a frame to draw, and would be
    /// shown a frame later otherwise. Once, and not for long.
    pub fn await_first(&mut self, context: &egui::Context) {
        if self.is_first_over || std::mem::replace(&mut self.has_waited, true) {
            return;
        }
        let drawn = self.worker.answer_within(FIRST_PICTURE);
        self.take(context, drawn);
    }

    fn take(&mut self, context: &egui::Context, drawn: Option<Drawn>) {
        if let Some(drawn) = drawn {
            upload(context, "timeline", &mut self.texture, &drawn.image);
            self.drawn = Some(drawn);
        }
    }

    /// The latest picture and its texture.
    #[must_use]
    pub fn drawn(&self) -> Option<(&Drawn, &TextureHandle)> {
        self.drawn.as_ref().zip(self.texture.as_ref())
    }

    /// The picture of the whole recording and its texture.
    #[must_use]
    pub fn overview(&self) -> Option<(&Drawn, &TextureHandle)> {
        self.overview.as_ref().zip(self.overview_texture.as_ref())
    }

    /// Whether the first picture is still to come, or came in this frame. Nothing else is asked of
    /// the background meanwhile, and nothing else laid out, so that it comes soon.
    #[must_use]
    pub fn awaits_picture(&self) -> bool {
        !self.is_first_over && self.document.devices.len() > self.device
    }

    /// Whether the latest picture is the one asked for last.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        !self.worker.is_busy() && !self.overview_worker.is_busy()
    }
}

/// Puts `image` in `texture`. Pixels are drawn one to one, so they are never mixed.
fn upload(
    context: &egui::Context,
    name: &str,
    texture: &mut Option<TextureHandle>,
    image: &Arc<ColorImage>,
) {
    let image = egui::ImageData::Color(Arc::clone(image));
    match texture {
        Some(texture) => texture.set(image, TextureOptions::NEAREST),
        None => *texture = Some(context.load_texture(name, image, TextureOptions::NEAREST)),
    }
}

fn answer(
    document: &Document,
    device: usize,
    known: &Mutex<Known>,
    request: &Request,
    is_stale: &dyn Fn() -> bool,
) -> Option<Drawn> {
    let (replay, prepared) = document
        .replay
        .devices
        .get(device)
        .zip(document.devices.get(device))?;
    // The line that allocated is known in a draft already.
    let kind = match request.keys {
        KeyKind::Category | KeyKind::Layer if !document.is_attributed => KeyKind::Site,
        kind => kind,
    };
    let keys = {
        // Held while grouping: the other thread would need the same.
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.iter().find(|(known, _)| *known == kind);
        match found {
            Some((_, keys)) => Arc::clone(keys),
            None => {
                let keys = Arc::new(KeyColumn::new(document, device, kind));
                // One grouping is two bytes per allocation; more than two are not kept.
                known.truncate(1);
                known.insert(0, (kind, Arc::clone(&keys)));
                keys
            }
        }
    };
    let source = Source {
        replay,
        prepared,
        axis: prepared.axis(request.axis),
        keys: &keys,
        mask: request.mask.as_deref(),
        only_kept: request.only_kept,
        selected: request.selected,
        theme: request.theme,
    };
    let mut picture = draw(&source, request.frame, is_stale)?;
    let pixels = std::mem::take(&mut picture.pixels);
    let size = [request.frame.columns, request.frame.rows];
    let image = Arc::new(ColorImage::new(size, pixels));
    Some(Drawn {
        picture,
        image,
        keys,
        axis: request.axis,
    })
}
