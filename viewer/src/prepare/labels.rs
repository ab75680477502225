//! Group numbers and names for what the core attributed to allocations.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use profiler_core::attribution::{Category, CleanStackId, DeviceAttribution, LayerId, frame_label};
use profiler_core::replay::{AllocationId, DeviceReplay};
use profiler_core::snapshot::{FrameId, StackId};

use super::{Document, KeyKind};

/// One grouping of a device's allocations by what the core knows of them.
pub struct Labels<'a> {
    document: &'a Document,
    attribution: Option<&'a DeviceAttribution>,
    kind: KeyKind,
    /// By recorded stack: its site's number. Only for [`KeyKind::Site`].
    site_of_stack: Vec<u32>,
    /// By site number: the frame; None for "no stack".
    sites: Vec<Option<FrameId>>,
}

impl<'a> Labels<'a> {
    /// The grouping of `document`'s device number `device` by `kind`: site, category or layer.
    #[must_use]
    pub fn new(document: &'a Document, device: usize, kind: KeyKind) -> Self {
        let mut labels = Self {
            document,
            attribution: document.attribution.devices.get(device),
            kind,
            site_of_stack: Vec::new(),
            sites: Vec::new(),
        };
        if kind == KeyKind::Site {
            labels.number_sites();
        }
        labels
    }

    fn number_sites(&mut self) {
        let clean = &self.document.attribution.clean;
        let mut numbers: HashMap<Option<FrameId>, u32, FixedState> = HashMap::default();
        let mut of_clean: Vec<Option<u32>> = vec![None; clean.len()];
        for row in 0..self.document.snapshot.stacks.len() {
            let id = clean.of(StackId(row as u32));
            let known = of_clean.get(id.0 as usize).copied().flatten();
            let number = known.unwrap_or_else(|| {
                let site = site_of(self.document, id);
                let next = self.sites.len() as u32;
                let number = *numbers.entry(site).or_insert(next);
                if number == next {
                    self.sites.push(site);
                }
                if let Some(slot) = of_clean.get_mut(id.0 as usize) {
                    *slot = Some(number);
                }
                number
            });
            self.site_of_stack.push(number);
        }
    }

    /// The groups by recorded stack; empty but for sites.
    #[must_use]
    pub fn of_stacks(&self) -> &[u32] {
        &self.site_of_stack
    }

    /// The group of the allocation in `row`.
    #[must_use]
    pub fn of_allocation(&self, replay: &DeviceReplay, row: usize) -> u32 {
        let id = AllocationId(row as u32);
        match self.kind {
            KeyKind::Category => self
                .attribution
                .map_or(0, |known| known.category(id).0 as u32),
            KeyKind::Layer => self.attribution.map_or(0, |known| known.layer(id).0.0),
            _ => {
                let stack = replay
                    .allocations
                    .stacks()
                    .get(row)
                    .copied()
                    .unwrap_or_default();
                self.site_of_stack.get(stack.index()).copied().unwrap_or(0)
            }
        }
    }

    /// What a group is called. Text from the file: a stranger's.
    #[must_use]
    pub fn name(&self, group: u32) -> String {
        match self.kind {
            KeyKind::Category => {
                let found = Category::ALL
                    .into_iter()
                    .find(|known| *known as u32 == group);
                found.unwrap_or_default().name().replace('_', " ")
            }
            KeyKind::Layer => match self.document.attribution.layers.path(LayerId(group)) {
                path if path.is_empty() => "no layer known".to_owned(),
                path => path,
            },
            _ => match self.sites.get(group as usize).copied().flatten() {
                Some(frame) => frame_label(&self.document.snapshot, frame),
                None => "no stack recorded".to_owned(),
            },
        }
    }
}

/// The frame that stands for a stack: the innermost of the program's own code, of a library's
/// Python where there is none, else the innermost of all.
#[must_use]
pub fn site_of(document: &Document, stack: CleanStackId) -> Option<FrameId> {
    let clean = &document.attribution.clean;
    clean
        .blame(stack)
        .or_else(|| clean.split(stack).map(|(frame, _)| frame))
}

/// [`site_of`] in words. Text from the file: a stranger's.
#[must_use]
pub fn site_label(document: &Document, stack: StackId) -> String {
    let site = site_of(document, document.attribution.clean.of(stack));
    site.map_or_else(
        || "no stack recorded".to_owned(),
        |frame| frame_label(&document.snapshot, frame),
    )
}
