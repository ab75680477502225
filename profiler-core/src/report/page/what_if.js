// What other settings would have done: curves on one axis, and two memory maps at one moment.

const whatIf = { setting: 0, cursor: null, plot: null, recorded: [], simulated: [] };

/** A device's simulated curves and maps, ready to draw. */
function openWhatIf(raw) {
  return {
    oomEvent: raw.oom_event,
    capacity: raw.capacity,
    shown: raw.shown,
    part: raw.part,
    curves: raw.curves.map((curve) => ({ moments: undelta(curve.moments), reserved: undelta(curve.reserved), oomEvent: curve.oom_event })),
    maps: raw.maps,
  };
}

/** The most a curve holds in the part of the recording around `moment`; null after its end. */
function heldAround(curve, moment, part) {
  const { moments, reserved } = curve;
  const from = Math.floor(Math.max(0, moment - 1) / part) * part;
  const before = lastAtMost(moments, from);
  const last = lastAtMost(moments, from + part);
  if (last < 0) return null;
  if (before === moments.length - 1 && curve.oomEvent !== null) return null;
  let most = before < 0 ? 0 : reserved[before];
  for (let row = before + 1; row <= last; row++) most = Math.max(most, reserved[row]);
  return most;
}

const radiosOf = (device) => document.querySelectorAll(`input[name="what-if-${device.name}"]`);

function chooseWhatIf() {
  const { device } = state;
  whatIf.cursor = null;
  byId("what-if-drawings").hidden = !device.whatIf;
  if (!device.whatIf) return;
  const chosen = [...radiosOf(device)].find((radio) => radio.checked);
  whatIf.setting = chosen ? Number(chosen.value) : device.whatIf.shown;
  drawWhatIf();
}

function settingName(index) {
  const radio = radiosOf(state.device)[index];
  return radio ? radio.parentElement.querySelector("code").textContent : "";
}

function drawWhatIf() {
  if (!state.device.whatIf) return;
  byId("what-if-name").textContent = settingName(whatIf.setting);
  drawWhatIfCurves();
  drawWhatIfMaps();
}

function drawWhatIfCurves() {
  const { device } = state;
  const { curves, capacity, oomEvent } = device.whatIf;
  const simulated = curves[whatIf.setting];
  const view = sharpContext(byId("what-if-curves"));
  const plot = {
    left: GUTTER.left,
    top: GUTTER.top,
    width: Math.max(1, view.width - GUTTER.left - GUTTER.right),
    height: Math.max(1, view.height - GUTTER.top - GUTTER.bottom),
    most: Math.max(1, maxOf(device.reserved), maxOf(simulated.reserved), capacity ?? 0) * 1.04,
  };
  plot.x = (moment) => plot.left + (moment / Math.max(1, device.events)) * plot.width;
  plot.y = (value) => plot.top + plot.height * (1 - value / plot.most);
  whatIf.plot = plot;
  const { context } = view;
  drawWhatIfGrid(view, plot);
  const last = device.moments[device.moments.length - 1];
  context.fillStyle = colours.categories[3];
  context.globalAlpha = 0.35;
  tracePath(context, plot, device.moments, device.requested, last);
  context.lineTo(plot.x(last), plot.y(0));
  context.lineTo(plot.x(0), plot.y(0));
  context.fill();
  context.globalAlpha = 1;
  strokeCurve(context, plot, device.moments, device.requested, last, token("category-activation"), 1);
  strokeCurve(context, plot, device.moments, device.reserved, last, colours.reserved, 2);
  const isShort = simulated.oomEvent !== null || (oomEvent !== null && simulated.oomEvent === null);
  const end = simulated.moments[simulated.moments.length - 1] ?? 0;
  strokeCurve(context, plot, simulated.moments, simulated.reserved, isShort ? end : last, colours.chosen, 2);
  if (capacity !== null) drawLevel(context, plot, capacity);
  if (oomEvent !== null) drawFailure(context, plot, oomEvent, "recorded OOM", 0);
  if (simulated.oomEvent !== null && simulated.oomEvent !== oomEvent) drawFailure(context, plot, simulated.oomEvent, "simulated OOM", 18);
  if (whatIf.cursor !== null) drawCursor(context, plot);
  byId("what-if-reading").textContent = reading();
}

/** The stepped line of a curve up to moment `end`. */
function tracePath(context, plot, moments, values, end) {
  context.beginPath();
  let y = null;
  for (let row = 0; row < moments.length; row++) {
    const x = plot.x(moments[row]);
    const next = plot.y(values[row]);
    if (y === null) context.moveTo(x, next);
    else if (next !== y) {
      context.lineTo(x, y);
      context.lineTo(x, next);
    }
    y = next;
  }
  if (y !== null) context.lineTo(plot.x(end), y);
}

function strokeCurve(context, plot, moments, values, end, colour, width) {
  tracePath(context, plot, moments, values, end);
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.lineJoin = "round";
  context.stroke();
  context.lineWidth = 1;
}

function drawWhatIfGrid({ context, width }, plot) {
  const { device } = state;
  context.font = canvasFont(11);
  context.textBaseline = "middle";
  context.textAlign = "right";
  context.strokeStyle = colours.grid;
  context.fillStyle = colours.muted;
  const step = byteStep(plot.most / 5);
  for (let value = 0; value <= plot.most; value += step) {
    const y = Math.round(plot.y(value)) + 0.5;
    context.beginPath();
    context.moveTo(plot.left, y);
    context.lineTo(width - GUTTER.right, y);
    context.stroke();
    context.fillText(shortBytes(value), plot.left - 8, y);
  }
  context.textBaseline = "top";
  context.textAlign = "center";
  const stride = roundStep(device.events / 8);
  for (let event = 0; event <= device.events; event += stride) {
    context.fillText(event === 0 ? "event 0" : count(event), plot.x(event), plot.top + plot.height + 8);
  }
}

function drawLevel(context, plot, capacity) {
  const y = Math.round(plot.y(capacity)) + 0.5;
  context.strokeStyle = colours.oom;
  context.setLineDash([6, 4]);
  context.beginPath();
  context.moveTo(plot.left, y);
  context.lineTo(plot.left + plot.width, y);
  context.stroke();
  context.setLineDash([]);
  context.font = canvasFont(11);
  context.fillStyle = colours.oom;
  context.textAlign = "left";
  context.textBaseline = "top";
  context.fillText(`capacity ${bytes(capacity)}`, plot.left + 6, y + 3);
}

function drawFailure(context, plot, event, label, below) {
  const x = plot.x(event);
  context.strokeStyle = colours.oom;
  context.beginPath();
  context.moveTo(x, plot.top);
  context.lineTo(x, plot.top + plot.height);
  context.stroke();
  context.font = canvasFont(11, "600");
  context.fillStyle = colours.oom;
  context.textBaseline = "bottom";
  const isRight = x > plot.left + plot.width / 2;
  context.textAlign = isRight ? "right" : "left";
  context.fillText(label, isRight ? x - 5 : x + 5, plot.top + plot.height - 4 - below);
}

function drawCursor(context, plot) {
  const x = plot.x(whatIf.cursor);
  context.strokeStyle = colours.text;
  context.setLineDash([2, 3]);
  context.beginPath();
  context.moveTo(x, plot.top);
  context.lineTo(x, plot.top + plot.height);
  context.stroke();
  context.setLineDash([]);
}

/** The curves at the cursor, in words. */
function reading() {
  const { device } = state;
  if (whatIf.cursor === null) return "Point at the curves, or use the arrow keys on them, to read values.";
  const { part, curves } = device.whatIf;
  const row = rowOf(device, whatIf.cursor);
  const simulated = heldAround(curves[whatIf.setting], device.moments[row], part);
  const where = device.moments[row] === 0 ? "Before the first event" : `After event ${count(device.moments[row] - 1)}`;
  const around = part > 1 ? ` at most within the ${count(part)} events around` : "";
  const held = simulated === null ? "over, out of memory" : `${bytes(simulated)}${around}`;
  return `${where}: recorded ${bytes(device.reserved[row])} reserved, ${bytes(device.requested[row])} requested; simulated ${held}.`;
}

/** Moves the cursor to the kept moment at or before `moment`, or one on in the way of `step`. */
function moveCursor(moment, step = 0) {
  const { device } = state;
  const before = whatIf.cursor === null ? -1 : rowOf(device, whatIf.cursor);
  let row = rowOf(device, Math.min(Math.max(0, moment), device.events));
  if (step && row === before) row = Math.min(Math.max(0, row + step), device.moments.length - 1);
  whatIf.cursor = device.moments[row];
  drawWhatIfCurves();
}

function drawWhatIfMaps() {
  const { maps, shown, oomEvent } = state.device.whatIf;
  byId("what-if-maps").hidden = maps.length < 2;
  byId("what-if-map-note").textContent = "";
  if (maps.length < 2) return;
  const isFailure = oomEvent !== null && maps[0].event === oomEvent;
  const when = isFailure ? "when the recording ran out of memory" : `after event ${count(maps[0].event)}, where the recording first holds most`;
  byId("what-if-failed").hidden = !maps[1].segments.some((segment) => segment.uses.includes(-4));
  const title = (what, map) => `${what}: ${bytes(map.reserved)} reserved, largest gap ${bytes(map.largest_free)}`;
  byId("what-if-recorded-title").textContent = title("Recorded", maps[0]);
  byId("what-if-simulated-title").textContent = title("Simulated", maps[1]);
  const perRow = Math.max(...maps.map(rowBytes)) / 2;
  whatIf.recorded = drawWhatIfMap("what-if-recorded", maps[0], perRow);
  whatIf.simulated = drawWhatIfMap("what-if-simulated", maps[1], perRow);
  const left = maps.reduce((sum, map) => sum + map.left_out, 0);
  const more = left ? ` ${count(left)} smaller segments are not drawn.` : "";
  byId("what-if-map-note").textContent = `Both maps ${when}; the simulated one under ${settingName(shown)}. One row is ${bytes(perRow)} in both. A framed run is a segment.${more}`;
}

function drawWhatIfMap(id, map, perRow) {
  const canvas = byId(id);
  const rows = layRows(map, perRow);
  canvas.style.height = `${Math.max(1, rows.count) * (SEGMENT_ROW + SEGMENT_GAP) + 4}px`;
  const { context, width } = sharpContext(canvas);
  return drawRows(context, width, rows, perRow);
}

function bindWhatIf() {
  byId("what-if").addEventListener("change", (event) => {
    if (!event.target.matches("input[type=radio]")) return;
    whatIf.setting = Number(event.target.value);
    drawWhatIf();
    announce(`Curve of ${settingName(whatIf.setting)}`);
  });
  const canvas = byId("what-if-curves");
  canvas.addEventListener("pointermove", (event) => {
    if (!whatIf.plot) return;
    moveCursor(((event.offsetX - whatIf.plot.left) / whatIf.plot.width) * state.device.events);
  });
  canvas.addEventListener("keydown", (event) => {
    const stride = event.shiftKey ? 0.1 : 0.01;
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!way) return;
    event.preventDefault();
    event.stopPropagation();
    moveCursor((whatIf.cursor ?? 0) + way * Math.max(1, Math.round(state.device.events * stride)), way);
  });
  for (const [id, shapes] of [["what-if-recorded", "recorded"], ["what-if-simulated", "simulated"]]) {
    byId(id).addEventListener("pointermove", (event) => mapTip(whatIf[shapes], event));
    byId(id).addEventListener("pointerleave", hideTip);
  }
}
