//! What one can change: the device's memory and the allocator's settings.

use egui::{ComboBox, DragValue, Grid, Slider, TextEdit, Ui};
use profiler_core::allocator::{Capacity, GPUS, MIB, Settings, TorchVersion, UNLIMITED};
use profiler_core::units;

use crate::tokens::Theme;

use super::conf::{conf_of, parse, uniform_divisions};

/// What is to be tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    /// The settings as PyTorch would read them.
    pub conf: String,
    /// The device's memory.
    pub capacity: Capacity,
    /// What `set_per_process_memory_fraction` was given.
    pub memory_fraction: Option<f64>,
}

/// The divisions that PyTorch takes.
const DIVISIONS: [u64; 8] = [0, 1, 2, 4, 8, 16, 32, 64];

/// What a slider offers first for `max_split_size_mb` when it is switched on.
const FIRST_SPLIT_MIB: u64 = 128;

/// Shows the controls. `peak` is the most bytes held in the recording.
pub(super) fn controls_ui(ui: &mut Ui, wish: &mut Wish, version: TorchVersion, peak: u64) {
    let theme = Theme::of(ui.visuals());
    let parsed = parse(&wish.conf, version);
    ui.spacing_mut().slider_width = (ui.available_width() - 226.0).clamp(50.0, 160.0);
    Grid::new("what if")
        .num_columns(2)
        .spacing([10.0, 6.0])
        .show(ui, |ui| {
            capacity_ui(ui, wish, peak);
            if let Ok(settings) = &parsed {
                let mut wanted = settings.clone();
                settings_ui(ui, &mut wanted);
                if wanted != *settings {
                    wish.conf = conf_of(&wanted);
                }
            }
            let mut fraction = wish.memory_fraction.unwrap_or(1.0);
            let mut is_limited = wish.memory_fraction.is_some();
            ui.checkbox(&mut is_limited, "memory fraction")
                .on_hover_text(
                    "torch.cuda.set_per_process_memory_fraction; needs a device's memory",
                );
            ui.add_enabled(
                is_limited,
                Slider::new(&mut fraction, 0.05..=1.0).max_decimals(2),
            );
            ui.end_row();
            wish.memory_fraction = is_limited.then_some(fraction);
        });
    ui.add_space(4.0);
    let label = ui.label("Settings, as PYTORCH_CUDA_ALLOC_CONF");
    let edit = TextEdit::multiline(&mut wish.conf)
        .font(egui::TextStyle::Monospace)
        .desired_rows(2)
        .desired_width(f32::INFINITY)
        .hint_text("the defaults");
    ui.add(edit).labelled_by(label.id);
    if wish.conf.contains('\n') {
        wish.conf.retain(|letter| letter != '\n');
    }
    if let Err(error) = parsed {
        ui.colored_label(theme.oom, format!("PyTorch refuses this: {error}"));
    }
}

fn capacity_ui(ui: &mut Ui, wish: &mut Wish, peak: u64) {
    let gpu = |bytes: u64| GPUS.iter().find(|gpu| gpu.total_bytes == bytes);
    let title = match wish.capacity {
        Capacity::Recorded => "as recorded".to_owned(),
        Capacity::Unlimited => "no limit".to_owned(),
        Capacity::Bytes(bytes) => gpu(bytes).map_or("this much", |gpu| gpu.name).to_owned(),
    };
    let label = ui.label("device memory");
    let combo = ComboBox::from_id_salt("capacity").selected_text(title);
    let combo = combo.show_ui(ui, |ui| {
        let capacity = &mut wish.capacity;
        ui.selectable_value(capacity, Capacity::Recorded, "as recorded");
        ui.selectable_value(capacity, Capacity::Unlimited, "no limit");
        ui.selectable_value(capacity, Capacity::Bytes(peak.max(MIB)), "this much");
        ui.separator();
        for gpu in &GPUS {
            ui.selectable_value(capacity, Capacity::Bytes(gpu.total_bytes), gpu.name);
        }
    });
    combo.response.labelled_by(label.id);
    ui.end_row();
    let Capacity::Bytes(bytes) = &mut wish.capacity else {
        return;
    };
    ui.label("");
    let (least, most) = ((peak / 8).max(MIB), peak.saturating_mul(8).max(1 << 37));
    let slider = Slider::new(bytes, least..=most)
        .logarithmic(true)
        .custom_formatter(|value, _| units::bytes(value as u64))
        .custom_parser(|text| units::parse_bytes(text).map(|bytes| bytes as f64));
    ui.add(slider);
    ui.end_row();
}

fn settings_ui(ui: &mut Ui, settings: &mut Settings) {
    ui.checkbox(&mut settings.expandable_segments, "expandable segments");
    ui.end_row();

    let mut is_limited = settings.max_split_size != UNLIMITED;
    let mut mib = if is_limited {
        settings.max_split_size / MIB
    } else {
        FIRST_SPLIT_MIB
    };
    ui.checkbox(&mut is_limited, "max split size")
        .on_hover_text("max_split_size_mb: free blocks this large are not split");
    let slider = Slider::new(&mut mib, 21..=4096)
        .logarithmic(true)
        .suffix(" MiB");
    ui.add_enabled(is_limited, slider);
    ui.end_row();
    settings.max_split_size = if is_limited { mib * MIB } else { UNLIMITED };

    ui.label("round-up divisions").on_hover_text(
        "roundup_power2_divisions: sizes are rounded to this many steps per power of two",
    );
    let uniform = uniform_divisions(settings);
    let mut place = uniform.and_then(|all| DIVISIONS.iter().position(|&one| one == all));
    let mut at = place.unwrap_or(0);
    let slider = Slider::new(&mut at, 0..=DIVISIONS.len() - 1)
        .custom_formatter(|value, _| match DIVISIONS.get(value as usize) {
            Some(0) | None => "off".to_owned(),
            Some(divisions) => divisions.to_string(),
        })
        .custom_parser(|text| {
            let wanted = if text.trim() == "off" {
                0
            } else {
                text.trim().parse().ok()?
            };
            let at = DIVISIONS.iter().position(|&one| one == wanted)?;
            Some(at as f64)
        });
    if ui.add(slider).changed() {
        place = Some(at);
        let divisions = place.and_then(|at| DIVISIONS.get(at)).copied();
        settings
            .roundup_power2_divisions
            .fill(divisions.unwrap_or(0));
    }
    ui.end_row();

    let mut is_on = settings.garbage_collection_threshold > 0.0;
    let mut percent = if is_on {
        settings.garbage_collection_threshold * 100.0
    } else {
        80.0
    };
    ui.checkbox(&mut is_on, "collect garbage above").on_hover_text(
        "garbage_collection_threshold: share of the memory limit; acts only with a memory fraction",
    );
    let value = DragValue::new(&mut percent)
        .range(1.0..=99.0)
        .max_decimals(0)
        .suffix(" %");
    ui.add_enabled(is_on, value);
    ui.end_row();
    settings.garbage_collection_threshold = if is_on { percent.round() / 100.0 } else { 0.0 };
}
