// Wheel, drag, keys and pointer on the timeline.

function zoomAt(x, factor) {
  const width = (state.to - state.from) * factor;
  const share = (x - state.from) / (state.to - state.from);
  setView(x - share * width, x + (1 - share) * width);
}

function panBy(share) {
  const shift = (state.to - state.from) * share;
  setView(state.from + shift, state.to + shift);
}

const axisAt = (x) => state.from + ((x - timeline.plot.left) / timeline.plot.width) * (state.to - state.from);

function bindTimeline() {
  const canvas = byId("timeline");
  let drag = null;
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const sideways = Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey;
    if (sideways) panBy((event.deltaX || event.deltaY) / 1200);
    else zoomAt(axisAt(event.offsetX), Math.exp(Math.max(-240, Math.min(240, event.deltaY)) / 500));
  }, { passive: false });
  canvas.addEventListener("pointerdown", (event) => {
    drag = { x: event.clientX, from: state.from, to: state.to, moved: false };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!drag) {
      showTip(event);
      return;
    }
    const shift = event.clientX - drag.x;
    if (Math.abs(shift) > 3) drag.moved = true;
    if (!drag.moved) return;
    hideTip();
    const by = (-shift / timeline.plot.width) * (drag.to - drag.from);
    setView(drag.from + by, drag.to + by);
  });
  canvas.addEventListener("pointerup", (event) => {
    if (drag && !drag.moved) choose(event);
    drag = null;
  });
  canvas.addEventListener("pointercancel", () => (drag = null));
  canvas.addEventListener("pointerleave", hideTip);
  canvas.addEventListener("dblclick", () => setView(0, fullExtent()));
  canvas.addEventListener("keydown", timelineKey);
}

/** A click chooses the moment under the pointer, and the allocation if there is one. */
function choose(event) {
  const hit = hitTimeline(event.offsetX, event.offsetY);
  if (!hit) return;
  setMoment(hit.moment);
  if (hit.band && hit.band.row !== undefined && state.bands === "allocation") showAllocation(hit.band.row);
}

const TIMELINE_KEYS = {
  ArrowLeft: () => panBy(-0.1),
  ArrowRight: () => panBy(0.1),
  ArrowUp: () => zoomAt((state.from + state.to) / 2, 0.8),
  ArrowDown: () => zoomAt((state.from + state.to) / 2, 1.25),
  "+": () => zoomAt((state.from + state.to) / 2, 0.8),
  "=": () => zoomAt((state.from + state.to) / 2, 0.8),
  "-": () => zoomAt((state.from + state.to) / 2, 1.25),
  PageUp: () => panBy(-0.9),
  PageDown: () => panBy(0.9),
  Home: () => setView(0, state.to - state.from),
  End: () => setView(fullExtent() - (state.to - state.from), fullExtent()),
};

function timelineKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const action = TIMELINE_KEYS[event.key];
  if (!action) return;
  event.preventDefault();
  if (event.shiftKey && event.key.startsWith("Arrow")) stepMoment(event.key === "ArrowLeft" ? -1 : 1);
  else action();
}

function showTip(event) {
  const hit = hitTimeline(event.offsetX, event.offsetY);
  const tip = byId("tip");
  if (!hit) {
    hideTip();
    return;
  }
  tip.replaceChildren(...tipLines(hit));
  placeTip(tip, event);
}

function placeTip(tip, event) {
  tip.hidden = false;
  const { innerWidth, innerHeight } = window;
  const right = event.clientX + 16 + tip.offsetWidth > innerWidth;
  const low = event.clientY + 16 + tip.offsetHeight > innerHeight;
  tip.style.left = `${Math.max(4, right ? event.clientX - tip.offsetWidth - 12 : event.clientX + 16)}px`;
  tip.style.top = `${Math.max(4, low ? event.clientY - tip.offsetHeight - 12 : event.clientY + 16)}px`;
}

function hideTip() {
  byId("tip").hidden = true;
}

/** The tooltip: the band, then the sums of the moment. */
function tipLines({ moment, row, band }) {
  const { device } = state;
  const lines = [];
  if (band?.rest) lines.push(...restLines(device, row));
  else if (band && state.bands === "allocation") lines.push(...allocationLines(band.row));
  else if (band) lines.push(...groupLines(band));
  else lines.push(make("p", { class: "tip-title", text: "nothing live here" }));
  const held = isKept(device, moment) ? "" : " (sums of the kept moment before it)";
  const sums = `${bytes(device.requested[row])} requested · ${bytes(device.reserved[row])} reserved`;
  lines.push(make("p", { class: "tip-foot", text: `${momentName(moment)}: ${sums}${held}` }));
  return lines;
}

function restLines(device, row) {
  return [
    make("p", { class: "tip-title", text: `${bytes(device.restBytes[row])} in ${count(device.restCount[row])} other allocations` }),
    make("p", { text: `Each at most ${bytes(device.largestLeftOut)}. The sum is exact; they are not in this page one by one.` }),
  ];
}

function groupLines({ row, bytes: sum, count: many }) {
  const { allocations } = state.device;
  const names = {
    category: () => categoryName(allocations.category[row]),
    layer: () => layerPath(topLayer(allocations.layer[row])) || "layer could not be told",
    stack: () => (blameOf(allocations.stack[row]) < 0 ? "no stack recorded" : frameLabel(blameOf(allocations.stack[row]))),
  };
  return [
    make("p", { class: "tip-title", text: names[state.bands]() }),
    make("p", { text: `${bytes(sum)} in ${count(many)} allocations` }),
  ];
}

/** What is known of one allocation, shortest first. */
function allocationLines(row, frames = 6) {
  const { device } = state;
  const { allocations } = device;
  const lines = [make("p", { class: "tip-title", text: `${bytes(allocations.size[row])}  ${categoryName(allocations.category[row])}` })];
  const fact = (name, value, note) => {
    if (!value) return;
    lines.push(make("p", { class: "tip-fact" }, make("span", { text: name }), make("b", { text: value }, note ? make("i", { text: ` ${note}` }) : "")));
  };
  const sure = (letter) => (letter === "i" ? "inferred" : letter === "r" ? "recorded" : "");
  fact("layer", layerPath(allocations.layer[row]), sure(allocations.layerKnown[row]));
  fact("category", categoryName(allocations.category[row]), sure(allocations.categoryKnown[row]));
  fact("block", bytes(allocations.size[row] + allocations.extra[row]), allocations.extra[row] ? `${bytes(allocations.extra[row])} rounding and slack` : "");
  fact("life", lifetime(row));
  fact("metadata", allocations.metadata.has(row) ? text(allocations.metadata.get(row)) : "");
  fact("stream", allocations.streams.has(row) ? String(allocations.streams.get(row)) : "");
  fact("pool", allocations.pools.has(row) ? `(${allocations.pools.get(row).join(", ")})` : "");
  lines.push(stackList(allocations.stack[row], frames));
  return lines;
}

/** When an allocation was born and died, and for how long it lived. */
function lifetime(row) {
  const { device } = state;
  const { born, died, waiting } = device.allocations;
  const start = born[row] === 0 ? "before recording" : `event ${count(born[row] - 1)}`;
  const end = Number.isFinite(died[row]) ? `event ${count(died[row] - 1)}` : "still live at the end";
  const pending = waiting.has(row) ? `, let go at event ${count(waiting.get(row) - 1)} and held by another stream` : "";
  if (!device.times || born[row] === 0 || !Number.isFinite(died[row])) return `${start} → ${end}${pending}`;
  const about = device.allMoments ? "" : "about ";
  return `${start} → ${end}, ${about}${duration(timeAt(device, died[row]) - timeAt(device, born[row]))}${pending}`;
}

/** The frames of a stack as a list, the project's own marked. */
function stackList(node, most = Infinity) {
  const frames = framesOf(node);
  if (!frames.length) return make("p", { class: "muted", text: "no stack recorded" });
  const items = frames.slice(0, most).map((frame) => make("li", { class: `frame-${frameKind(frame)}` },
    make("span", { text: frameName(frame) }), make("small", { text: framePlace(frame), title: text(page.stacks.file[frame]) })));
  if (frames.length > most) items.push(make("li", { class: "muted", text: `… ${frames.length - most} more` }));
  return make("ol", { class: "stack" }, ...items);
}
