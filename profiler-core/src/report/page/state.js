// What the reader has chosen; everything that draws listens to it.

const state = {
  device: null,
  /** The chosen moment; the panels below the timeline show this one. */
  moment: 0,
  /** What the x axis counts: "event" or "time". */
  axis: "event",
  /** The visible stretch, in units of the axis. */
  from: 0,
  to: 1,
  /** What a band of the timeline is: "allocation", "category", "layer" or "stack". */
  bands: "allocation",
};

const listeners = { device: [], moment: [], view: [], theme: [] };

function on(kind, listener) {
  listeners[kind].push(listener);
}

function changed(kind) {
  for (const listener of listeners[kind]) listener();
}

/** The whole extent of the x axis. */
function fullExtent() {
  const { device } = state;
  if (state.axis === "time") return Math.max(1, device.times[device.times.length - 1]);
  return Math.max(1, device.events);
}

/** Shows `from` to `to`, kept inside the recording and no narrower than is kept. */
function setView(from, to) {
  const full = fullExtent();
  const narrowest = state.axis === "time" ? Math.min(full, 20) : Math.min(full, 8);
  const width = Math.min(full, Math.max(narrowest, to - from));
  const start = Math.min(Math.max(0, from), full - width);
  state.from = start;
  state.to = start + width;
  changed("view");
}

function setAxis(axis) {
  if (axis === state.axis || (axis === "time" && !state.device.times)) return;
  const { device } = state;
  const ends = [state.from, state.to];
  state.axis = axis;
  const [from, to] = ends.map((end) => (axis === "time" ? timeAt(device, end) : momentAtTime(device, end)));
  setView(from, to);
}

/** Chooses a moment: the nearest kept one, so that every number shown for it is exact. */
function setMoment(moment) {
  const { device } = state;
  const row = rowOf(device, moment);
  const next = Math.min(row + 1, device.moments.length - 1);
  const nearer = moment - device.moments[row] <= device.moments[next] - moment ? row : next;
  state.moment = device.moments[nearer];
  changed("moment");
}

/** Moves the chosen moment by so many kept moments. */
function stepMoment(steps) {
  const { moments } = state.device;
  const row = Math.min(Math.max(0, rowOf(state.device, state.moment) + steps), moments.length - 1);
  setMoment(moments[row]);
}

/** The x coordinate, in units of the axis, of a moment. */
function axisOf(moment) {
  return state.axis === "time" ? timeAt(state.device, moment) : moment;
}

/** The moment at `x`, in units of the axis. */
function momentOf(x) {
  return state.axis === "time" ? momentAtTime(state.device, x) : Math.floor(x);
}

/** Brings a moment into view, at the present zoom. */
function reveal(moment) {
  const x = axisOf(moment);
  if (x >= state.from && x <= state.to) return;
  const half = (state.to - state.from) / 2;
  setView(x - half, x + half);
}

function setDevice(device) {
  state.device = device;
  if (!device.times) state.axis = "event";
  state.from = 0;
  state.to = fullExtent();
  const first = device.named.find((named) => named.kind === "oom") ?? device.named.find((named) => named.kind === "peak");
  state.moment = first ? first.moment : 0;
  changed("device");
  changed("view");
  changed("moment");
}

/** The name of the chosen moment, for headings. */
function momentName(moment) {
  const { device } = state;
  const named = device.named.find((known) => known.moment === moment);
  const where = moment === 0 ? "before the first event" : `after event ${count(moment - 1)} of ${count(device.events)}`;
  const time = device.times ? `, ${duration(timeAt(device, moment))} from the start` : "";
  if (device.events === 0) return "the state in the file";
  return named ? `${named.name} · ${where}${time}` : `${where}${time}`;
}
