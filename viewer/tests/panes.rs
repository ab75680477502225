//! A picture of every pane, in both themes and at both sizes, against the ones in
//! `tests/pictures`. They are drawn without a graphics driver, so that they are the same on every
//! machine.
//!
//! `GPUMEMPROF_PICTURES=write cargo test -p gpumemprof-viewer --test panes` writes them anew: look at
//! them before keeping them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test that cannot go on fails"
)]

mod common;
#[path = "common/renderer.rs"]
mod renderer;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use egui::{ColorImage, Context, Pos2, RawInput, Rect, Theme, vec2};
use gpumemprof_viewer::app::Viewer;
use gpumemprof_viewer::commands::Command;
use gpumemprof_viewer::load::Origin;
use gpumemprof_viewer::panes::Pane;
use renderer::Renderer;

/// How far a channel may be off before a pixel counts as different. The drawing is the same
/// everywhere; a system's mathematics library may still round a corner of a shape to the
/// neighbouring step, which changes the grey of an edge.
const CHANNEL: u8 = 24;

/// The share of pixels that may be different, for the same reason: a missing label is ten times
/// as much.
const SHARE: f64 = 0.0005;

/// A window without a system's window.
struct Window {
    context: Context,
    viewer: Viewer,
    renderer: Renderer,
    size: [usize; 2],
    pixels_per_point: f32,
    frames: u32,
    /// What the next frame gets.
    events: Vec<egui::Event>,
}

impl Window {
    fn new(size: [usize; 2], pixels_per_point: f32, theme: Theme) -> Self {
        let context = Context::default();
        context.set_theme(theme);
        Self {
            viewer: Viewer::new(&context),
            context,
            renderer: Renderer::default(),
            size,
            pixels_per_point,
            frames: 0,
            events: Vec::new(),
        }
    }

    fn frame(&mut self) -> egui::FullOutput {
        let points = vec2(self.size[0] as f32, self.size[1] as f32) / self.pixels_per_point;
        self.frames += 1;
        let mut input = RawInput {
            screen_rect: Some(Rect::from_min_size(Pos2::ZERO, points)),
            max_texture_side: Some(8192),
            events: std::mem::take(&mut self.events),
            // Animations go on by the frame.
            time: Some(f64::from(self.frames) / 10.0),
            ..RawInput::default()
        };
        let viewport = input.viewports.entry(input.viewport_id).or_default();
        viewport.native_pixels_per_point = Some(self.pixels_per_point);
        let viewer = &mut self.viewer;
        let mut output = self.context.run_ui(input, |ui| viewer.ui(ui));
        self.renderer.update(&output.textures_delta);
        output.textures_delta.clear();
        output
    }

    fn settle(&mut self) {
        let began = Instant::now();
        // An answer can change the layout, and with it the next question: quiet for a while.
        let mut quiet = 0;
        while quiet < 10 {
            assert!(began.elapsed() < Duration::from_secs(300), "still busy");
            self.frame();
            quiet = if self.viewer.is_settled() {
                quiet + 1
            } else {
                0
            };
            if quiet == 0 {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }

    fn picture(&mut self) -> ColorImage {
        self.settle();
        let output = self.frame();
        let primitives = self
            .context
            .tessellate(output.shapes, output.pixels_per_point);
        self.renderer
            .draw(&primitives, self.size, output.pixels_per_point)
    }
}

/// `picture` at a third of its size in each direction, each pixel the mean of nine.
fn third(picture: &ColorImage) -> ColorImage {
    let [width, height] = picture.size.map(|side| side / 3);
    let mut small = ColorImage::filled([width, height], egui::Color32::BLACK);
    for (at, pixel) in small.pixels.iter_mut().enumerate() {
        let (left, top) = (at % width * 3, at / width * 3);
        let nine = (0..9).map(|one| (top + one / 3) * picture.size[0] + left + one % 3);
        let mean = |channel: usize| {
            let sum: u32 = nine
                .clone()
                .map(|from| u32::from(picture.pixels[from].to_array()[channel]))
                .sum();
            (sum / 9) as u8
        };
        *pixel = egui::Color32::from_rgb(mean(0), mean(1), mean(2));
    }
    small
}

fn write(path: &Path, picture: &ColorImage) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let out = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    let [width, height] = picture.size;
    let mut encoder = png::Encoder::new(out, width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::High);
    let bytes = picture.pixels.iter().flat_map(|pixel| {
        let [red, green, blue, _] = pixel.to_array();
        [red, green, blue]
    });
    let mut writer = encoder.write_header().unwrap();
    writer
        .write_image_data(&bytes.collect::<Vec<u8>>())
        .unwrap();
    writer.finish().unwrap();
}

fn read(path: &Path) -> Option<([usize; 2], Vec<u8>)> {
    let file = std::io::BufReader::new(std::fs::File::open(path).ok()?);
    let mut reader = png::Decoder::new(file).read_info().ok()?;
    let mut bytes = vec![0; reader.output_buffer_size()?];
    let info = reader.next_frame(&mut bytes).ok()?;
    assert_eq!(info.color_type, png::ColorType::Rgb, "{}", path.display());
    bytes.truncate(info.buffer_size());
    Some(([info.width as usize, info.height as usize], bytes))
}

/// What is wrong with `picture`, if anything. Asked to, it writes a picture that is wrong anew.
fn compare(name: &str, picture: &ColorImage) -> Option<String> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/pictures");
    let path = folder.join(format!("{name}.png"));
    let wrong = match read(&path) {
        None => Some("no picture to compare with".to_owned()),
        Some((size, _)) if size != picture.size => Some("another size".to_owned()),
        Some((_, bytes)) => {
            let pixels = picture.pixels.iter().zip(bytes.chunks_exact(3));
            let different = pixels
                .filter(|(pixel, known)| {
                    let pixel = pixel.to_array();
                    (0..3).any(|at| pixel[at].abs_diff(known[at]) > CHANNEL)
                })
                .count();
            let is_wrong = different as f64 > SHARE * picture.pixels.len() as f64;
            is_wrong.then(|| format!("{different} pixels are different"))
        }
    }?;
    if std::env::var_os("GPUMEMPROF_PICTURES").is_some_and(|value| value == "write") {
        write(&path, picture);
        return None;
    }
    let now = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.png"));
    write(&now, picture);
    Some(format!(
        "{name}: {wrong}; drawn: {}, expected: {}",
        now.display(),
        path.display()
    ))
}

fn panes(size: [usize; 2], pixels_per_point: f32, theme: Theme, name: &str) {
    let Some(path) = common::real("oom-variable-length.pickle") else {
        return;
    };
    let mut window = Window::new(size, pixels_per_point, theme);
    window.frame();
    // By its bytes: where the file lies is not in the picture.
    let bytes = std::fs::read(path).unwrap().into();
    let origin = Origin::Bytes("oom-variable-length.pickle".to_owned(), bytes);
    window.viewer.open(origin);
    window.settle();
    // An allocation of the failed step, for the details.
    let id = window.viewer.tracks[0]
        .replay()
        .live_at(5807)
        .last()
        .copied();
    window.viewer.selection.allocation = id;
    let mut wrong = Vec::new();
    for pane in Pane::ALL {
        window.viewer.run(Command::Show(pane));
        if pane == Pane::WhatIf {
            window.settle();
            window.viewer.what_if.wish.conf = "expandable_segments:True".to_owned();
        }
        let mut picture = window.picture();
        if size[0] > 2000 {
            picture = third(&picture);
        }
        let title = pane.title().to_lowercase().replace(' ', "-");
        wrong.extend(compare(&format!("{title}-{name}"), &picture));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn dark() {
    panes([1280, 720], 1.0, Theme::Dark, "dark");
}

#[test]
fn light() {
    panes([1280, 720], 1.0, Theme::Light, "light");
}

#[test]
fn dark_at_4k() {
    panes([3840, 2160], 2.0, Theme::Dark, "4k-dark");
}

#[test]
fn light_at_4k() {
    panes([3840, 2160], 2.0, Theme::Light, "4k-light");
}

#[test]
fn a_picture_of_the_window_is_saved() {
    let mut window = Window::new([640, 400], 1.0, Theme::Dark);
    window.settle();
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("saved.png");
    std::fs::remove_file(&path).ok();
    window.viewer.run(Command::ExportPng);
    window.settle();
    let key = |key, modifiers| egui::Event::Key {
        key,
        physical_key: None,
        pressed: true,
        repeat: false,
        modifiers,
    };
    window.events = vec![
        key(egui::Key::A, egui::Modifiers::COMMAND),
        egui::Event::Text(path.to_str().unwrap().to_owned()),
    ];
    window.frame();
    window.events = vec![key(egui::Key::Enter, egui::Modifiers::NONE)];
    let mut asked = None;
    for _ in 0..5 {
        let output = window.frame();
        for (_, viewport) in output.viewport_output {
            for command in viewport.commands {
                if let egui::ViewportCommand::Screenshot(callback) = command {
                    asked = Some(callback);
                }
            }
        }
    }
    let picture = window.picture();
    asked
        .expect("a picture was asked for")
        .complete(std::sync::Arc::new(picture.clone()));
    let file = std::io::BufReader::new(std::fs::File::open(&path).unwrap());
    let mut reader = png::Decoder::new(file).read_info().unwrap();
    let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut bytes).unwrap();
    let expected: Vec<u8> = picture
        .pixels
        .iter()
        .flat_map(|pixel| pixel.to_array())
        .collect();
    assert_eq!(bytes, expected);
}
