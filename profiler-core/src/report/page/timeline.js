// The allocation timeline: stacked bands of live memory, curves over them, lanes below.

const timeline = { columns: null, top: 1, plot: null };

const GUTTER = { left: 76, right: 14, top: 12, bottom: 26 };
const LANE_HEIGHT = 16;

/** The lanes of a device: each a name and spans `[from, to, label, colour, isStrong]`. */
function lanesOf(device) {
  const lanes = [];
  if (device.steps.length) {
    const highest = device.steps.reduce((best, step) => (step.peak_bytes > best.peak_bytes ? step : best));
    lanes.push({
      name: "steps",
      spans: device.steps.map((step) => [step.from, step.to, `step ${step.number}`, step === highest ? colours.chosen : colours.muted, step === highest]),
    });
  }
  if (device.phases.length) {
    lanes.push({ name: "phases", spans: device.phases.map(([name, from, to]) => [from, to, name.replaceAll("_", " "), colours[`phase-${name}`] || colours["phase-other"], false]) });
  }
  const { name, from, to, lane } = device.ranges;
  const rangeLanes = [];
  for (let row = 0; row < name.length; row++) {
    (rangeLanes[lane[row]] ??= []).push([from[row], to[row], text(name[row]), hueOf(name[row]), false]);
  }
  for (const spans of rangeLanes) if (spans) lanes.push({ name: "ranges", spans });
  return lanes;
}

function drawTimeline() {
  const { device } = state;
  const canvas = byId("timeline");
  const lanes = lanesOf(device);
  canvas.style.height = `${timelineHeight() + lanes.length * LANE_HEIGHT}px`;
  const view = sharpContext(canvas);
  const plot = {
    left: GUTTER.left,
    top: GUTTER.top,
    width: Math.max(1, view.width - GUTTER.left - GUTTER.right),
    height: Math.max(1, view.height - GUTTER.top - GUTTER.bottom - lanes.length * LANE_HEIGHT),
  };
  const pixels = Math.max(1, Math.round(plot.width * view.ratio));
  timeline.plot = plot;
  timeline.columns = columnMoments(device, pixels);
  timeline.top = Math.max(1, maxOf(timeline.columns.reservedHigh), maxOf(timeline.columns.high)) * 1.04;
  drawGrid(view, plot);
  drawBands(view, plot, device, pixels);
  drawCurves(view.context, plot, pixels);
  drawMarks(view.context, plot, device);
  drawLanes(view.context, plot, lanes);
  drawAxis(view.context, plot, lanes.length * LANE_HEIGHT);
  describeView();
}

const timelineHeight = () => Math.max(280, Math.min(520, Math.round(window.innerHeight * 0.46)));

function maxOf(values) {
  let most = 0;
  for (const value of values) if (value > most) most = value;
  return most;
}

const yOf = (plot, value) => plot.top + plot.height * (1 - value / timeline.top);
const xOf = (plot, x) => plot.left + ((x - state.from) / (state.to - state.from)) * plot.width;

function drawGrid({ context, width }, plot) {
  context.font = canvasFont(11);
  context.textBaseline = "middle";
  context.textAlign = "right";
  const step = byteStep(timeline.top / 6);
  for (let value = 0; value <= timeline.top; value += step) {
    const y = Math.round(yOf(plot, value)) + 0.5;
    context.strokeStyle = colours.grid;
    context.beginPath();
    context.moveTo(plot.left, y);
    context.lineTo(width - GUTTER.right, y);
    context.stroke();
    context.fillStyle = colours.muted;
    context.fillText(shortBytes(value), plot.left - 8, y);
  }
}

const canvasFont = (size, weight = "") => `${weight} ${size}px ${getComputedStyle(document.body).fontFamily}`;

/** Fills the bands pixel by pixel, so that the cost does not grow with the allocations. */
function drawBands({ context, ratio }, plot, device, pixels) {
  const high = Math.max(1, Math.round(plot.height * ratio));
  const image = context.createImageData(pixels, high);
  const dots = new Uint32Array(image.data.buffer);
  const { columns } = timeline;
  const scale = high / timeline.top;
  const { colour } = BANDING[state.bands];
  const rest = pixel(colours.rest, 1);
  const shades = new Map();
  const dotsOf = (row) => {
    if (!shades.has(row)) {
      const base = colour(row);
      const shade = state.bands === "allocation" ? 0.9 + (hash(device.allocations.stack[row] * 31 + row) % 100) / 480 : 1;
      shades.set(row, [pixel(base, shade), pixel(base, shade * 0.8)]);
    }
    return shades.get(row);
  };
  const fill = (column, from, to, colourDots, edge) => {
    const low = Math.max(0, high - Math.round(to * scale));
    const below = Math.max(0, high - Math.round(from * scale));
    for (let y = low; y < below; y++) dots[y * pixels + column] = colourDots;
    if (edge !== null && below - low >= 3) dots[low * pixels + column] = edge;
  };
  sweepLive(device, columns, (column, live) => {
    let height = 0;
    for (const band of bandsOf(device, live, device.restBytes[columns.row[column]])) {
      const [inner, edge] = band.rest ? [rest, null] : dotsOf(band.row);
      fill(column, height, height + band.bytes, inner, edge);
      height += band.bytes;
    }
  });
  const buffer = new OffscreenCanvas(pixels, high);
  buffer.getContext("2d").putImageData(image, 0, 0);
  context.drawImage(buffer, plot.left, plot.top, plot.width, plot.height);
}

function drawCurves(context, plot, pixels) {
  const curve = (values, colour, dash, width) => {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.globalAlpha = 0.85;
    context.setLineDash(dash);
    context.beginPath();
    let last = null;
    for (let column = 0; column < pixels; column++) {
      const x = plot.left + ((column + 0.5) / pixels) * plot.width;
      const y = yOf(plot, values[column]);
      if (last !== null && last !== y) context.lineTo(x, last);
      if (last === null) context.moveTo(x, y);
      context.lineTo(x, y);
      last = y;
    }
    context.stroke();
    context.setLineDash([]);
    context.lineWidth = 1;
    context.globalAlpha = 1;
  };
  curve(timeline.columns.reservedHigh, colours.reserved, [], 1.5);
  curve(timeline.columns.activeHigh, colours.active, [5, 3], 1);
  curve(timeline.columns.high, colours.requested, [], 1);
}

/** OOMs, the peak and the chosen moment. */
function drawMarks(context, plot, device) {
  const line = (moment, colour, dash, label, below) => {
    const x = xOf(plot, axisOf(moment));
    if (x < plot.left - 1 || x > plot.left + plot.width + 1) return;
    context.strokeStyle = colour;
    context.setLineDash(dash);
    context.beginPath();
    context.moveTo(x, plot.top);
    context.lineTo(x, plot.top + plot.height);
    context.stroke();
    context.setLineDash([]);
    context.font = canvasFont(11, "600");
    context.textBaseline = "top";
    const room = context.measureText(label).width + 8;
    const onLeft = x + room > plot.left + plot.width;
    context.textAlign = onLeft ? "right" : "left";
    const y = plot.top + (below ? 18 : 2);
    context.fillStyle = colours.surface;
    context.globalAlpha = 0.82;
    context.fillRect(onLeft ? x - room : x + 1, y - 1, room, 15);
    context.globalAlpha = 1;
    context.fillStyle = colour;
    context.fillText(label, onLeft ? x - 4 : x + 4, y);
  };
  for (const named of device.named) {
    if (named.kind === "peak" && device.events) line(named.moment, colours.muted, [2, 3], "peak", true);
    if (named.kind === "oom") line(named.moment, colours.oom, [], named.name, false);
  }
  if (device.events) line(state.moment, colours.chosen, [], "chosen", true);
}

function drawLanes(context, plot, lanes) {
  let y = plot.top + plot.height + 3;
  for (const lane of lanes) {
    context.font = canvasFont(10);
    context.textBaseline = "middle";
    context.textAlign = "right";
    context.fillStyle = colours.muted;
    context.fillText(lane.name, plot.left - 8, y + LANE_HEIGHT / 2);
    context.textAlign = "left";
    for (const [from, to, label, colour, isStrong] of lane.spans) {
      const left = Math.max(plot.left, xOf(plot, axisOf(from)));
      const right = Math.min(plot.left + plot.width, xOf(plot, axisOf(to)));
      if (right < plot.left || left > plot.left + plot.width) continue;
      context.fillStyle = colour;
      context.globalAlpha = isStrong ? 0.75 : 0.32;
      context.fillRect(left, y + 1, Math.max(1, right - left - 1), LANE_HEIGHT - 3);
      context.globalAlpha = 1;
      if (right - left < 24) continue;
      context.fillStyle = colours.text;
      context.fillText(fitted(context, label, right - left - 8), left + 4, y + LANE_HEIGHT / 2);
    }
    y += LANE_HEIGHT;
  }
}

/** `label` cut so that it is at most `width` wide. */
function fitted(context, label, width) {
  if (context.measureText(label).width <= width) return label;
  let keep = Math.floor((label.length * width) / Math.max(1, context.measureText(label).width)) - 1;
  while (keep > 0 && context.measureText(`${label.slice(0, keep)}…`).width > width) keep -= 1;
  return keep > 0 ? `${label.slice(0, keep)}…` : "";
}

function drawAxis(context, plot, lanesHeight) {
  const step = roundStep((state.to - state.from) / Math.max(2, plot.width / 130));
  context.font = canvasFont(11);
  context.textAlign = "center";
  context.textBaseline = "top";
  context.fillStyle = colours.muted;
  const y = plot.top + plot.height + lanesHeight + 6;
  for (let x = Math.ceil(state.from / step) * step; x <= state.to; x += step) {
    const at = xOf(plot, x);
    if (at < plot.left + 10 || at > plot.left + plot.width - 24) continue;
    context.fillText(state.axis === "time" ? duration(x) : count(x), at, y);
    context.strokeStyle = colours.line;
    context.beginPath();
    context.moveTo(at, y - 5);
    context.lineTo(at, y - 1);
    context.stroke();
  }
}

/** Puts the visible range where people, screen readers and tests can read it. */
function describeView() {
  const show = (x) => (state.axis === "time" ? duration(x) : count(x));
  byId("timeline-range").textContent = state.axis === "time"
    ? `${show(state.from)} to ${show(state.to)} from the start`
    : `events ${show(state.from)} to ${show(state.to)} of ${count(state.device.events)}`;
  const canvas = byId("timeline");
  canvas.dataset.from = state.from;
  canvas.dataset.to = state.to;
}

/** What is at a point of the canvas: the column's moment and the band under it. */
function hitTimeline(x, y) {
  const { plot, columns, top } = timeline;
  if (!plot || x < plot.left || x >= plot.left + plot.width || y < plot.top || y > plot.top + plot.height) return null;
  const { device } = state;
  const column = Math.min(columns.row.length - 1, Math.floor(((x - plot.left) / plot.width) * columns.row.length));
  const row = columns.row[column];
  const moment = columns.moment[column];
  const value = (1 - (y - plot.top) / plot.height) * top;
  const bands = bandsOf(device, liveAt(device, moment), device.restBytes[row]);
  let height = 0;
  let band = null;
  for (const candidate of bands) {
    height += candidate.bytes;
    if (value < height) {
      band = candidate;
      break;
    }
  }
  return { moment, row, band };
}
