//! Commands that move the view or the chosen moment.

use profiler_core::replay::{Moment, NEVER};

use crate::commands::Command;
use crate::filter::Filter;
use crate::prepare::AxisKind;
use crate::timeline::{Track, View, axis_length};

use super::Viewer;

impl Viewer {
    /// Does `command` if it is about where one looks; false if it is not.
    pub(super) fn navigate(&mut self, command: Command) -> bool {
        let length = axis_length(&self.tracks, &self.selection);
        let view = self.selection.view;
        let middle = (view.from + view.to) / 2.0;
        let Some(track) = self.tracks.get(self.selection.track) else {
            return false;
        };
        let (prepared, replay) = (track.prepared(), track.replay());
        let axis = prepared.axis(view.axis);
        let last = prepared.last;
        let moment = self.selection.moment;
        match command {
            Command::FitAll => self.selection.view = View::whole(view.axis, length),
            Command::ZoomIn => self.selection.view = view.zoomed(0.5, self.anchor(middle), length),
            Command::ZoomOut => self.selection.view = view.zoomed(2.0, self.anchor(middle), length),
            Command::PanLeft => self.selection.view = view.panned(-view.span() / 10.0, length),
            Command::PanRight => self.selection.view = view.panned(view.span() / 10.0, length),
            Command::PreviousEvent => self.go_to(moment.saturating_sub(1)),
            Command::NextEvent => self.go_to(moment.saturating_add(1).min(last)),
            Command::JumpToStart => self.go_to(0),
            Command::JumpToEnd => self.go_to(last),
            Command::JumpToPeak => self.go_to(replay.peak_moment()),
            Command::JumpToOom => {
                let ooms = &prepared.ooms;
                let next = ooms
                    .iter()
                    .find(|&&oom| oom > moment)
                    .or(ooms.first())
                    .copied();
                if let Some(oom) = next {
                    self.go_to(oom);
                }
            }
            Command::PreviousStep | Command::NextStep => {
                if let Some(step) = neighbour_step(track, moment, command == Command::NextStep) {
                    self.go_to(step);
                }
            }
            Command::ZoomToRange => {
                if let Some((from, to)) = self.selection.range {
                    let from = axis.position_of(from);
                    let to = axis.position_of(to.saturating_add(1).min(last));
                    self.selection.view = view.showing(from, to, length);
                }
            }
            Command::ZoomToAllocation => {
                if let Some(id) = self.selection.allocation {
                    let block = replay.allocations.get(id);
                    let died = if block.died == NEVER {
                        last
                    } else {
                        block.died
                    };
                    let from = axis.position_of(block.born);
                    let margin = (axis.position_of(died) - from).max(2.0) * 0.05;
                    let to = axis.position_of(died) + margin;
                    self.selection.view = view.showing(from - margin, to, length);
                }
            }
            Command::ToggleAxis => self.toggle_axis(),
            Command::ClearSelection => {
                (self.selection.allocation, self.selection.range) = (None, None);
            }
            Command::ClearFilter => self.selection.filter = Filter::default(),
            Command::ToggleNeverFreed => {
                self.selection.filter.never_freed = !self.selection.filter.never_freed;
            }
            Command::FilterLiveNow => self.selection.filter.live_at = Some(moment),
            Command::FilterBornInRange => self.selection.filter.born_in = self.selection.range,
            Command::ToggleOnlyKept => self.selection.only_kept = !self.selection.only_kept,
            Command::NextTrack => {
                self.selection.track = (self.selection.track + 1) % self.tracks.len();
                (self.selection.allocation, self.selection.range) = (None, None);
                let last = self
                    .tracks
                    .get(self.selection.track)
                    .map_or(0, |t| t.prepared().last);
                self.selection.moment = moment.min(last);
            }
            _ => return false,
        }
        true
    }

    /// Chooses `moment` and brings it into view.
    pub fn go_to(&mut self, moment: Moment) {
        let length = axis_length(&self.tracks, &self.selection);
        let Some(track) = self.tracks.get(self.selection.track) else {
            return;
        };
        let position = track
            .prepared()
            .axis(self.selection.view.axis)
            .position_of(moment);
        self.selection.moment = moment;
        self.selection.view = self.selection.view.revealing(position, length);
    }

    /// Where zooming by key leaves the view in place: at the chosen moment if it is visible.
    fn anchor(&self, middle: f64) -> f64 {
        let view = &self.selection.view;
        let Some(track) = self.tracks.get(self.selection.track) else {
            return middle;
        };
        let position = track
            .prepared()
            .axis(view.axis)
            .position_of(self.selection.moment);
        if (view.from..=view.to).contains(&position) {
            position
        } else {
            middle
        }
    }

    /// Changes between events and clock, with the same moments at the edges.
    fn toggle_axis(&mut self) {
        let Some(track) = self.tracks.get(self.selection.track) else {
            return;
        };
        let prepared = track.prepared();
        let view = self.selection.view;
        let kind = match view.axis {
            AxisKind::Events if prepared.clock.is_known() => AxisKind::Clock,
            _ => AxisKind::Events,
        };
        if kind == view.axis {
            return;
        }
        let (old, new) = (prepared.axis(view.axis), prepared.axis(kind));
        let edge = |position: f64| new.position_of(old.moment_at(position));
        let is_whole = view.from <= 0.0 && view.to >= old.length();
        let (from, to) = (edge(view.from), edge(view.to));
        self.selection.view.axis = kind;
        let length = axis_length(&self.tracks, &self.selection);
        let view = self.selection.view;
        self.selection.view = if is_whole {
            View::whole(kind, length)
        } else {
            view.showing(from, to, length)
        };
    }
}

/// The highest moment of the step before or after the one `moment` is in.
fn neighbour_step(track: &Track, moment: Moment, forward: bool) -> Option<Moment> {
    let known = track.document.attribution.devices.get(track.device)?;
    let steps = &known.steps.steps;
    let after = steps.partition_point(|step| step.start <= moment);
    let at = if forward {
        after
    } else {
        // Inside a step its own place counts; the one before it is wanted.
        let current = after.checked_sub(1)?;
        let inside = steps.get(current).is_some_and(|step| moment <= step.end);
        if inside {
            current.checked_sub(1)?
        } else {
            current
        }
    };
    steps.get(at).map(|step| step.peak_moment.max(step.start))
}
