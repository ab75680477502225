// The page's data: columns of differences turned into plain arrays, and look-ups on them.

const page = JSON.parse(document.getElementById("data").textContent);

/** The running sums of a column of differences. */
function undelta(column) {
  const values = new Float64Array(column.length);
  let sum = 0;
  for (let row = 0; row < column.length; row++) {
    sum += column[row];
    values[row] = sum;
  }
  return values;
}

/** The last row of ascending `column` whose value is at most `value`; -1 if there is none. */
function lastAtMost(column, value) {
  let low = 0;
  let high = column.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (column[middle] <= value) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

const PARTS = ["requested", "rounding", "slack", "pending", "split_free", "whole_free"];

/** One device's data, ready to draw. */
function openDevice(raw) {
  const device = {
    name: raw.device,
    events: raw.events,
    allMoments: raw.all_moments,
    allAllocations: raw.all_allocations,
    largestLeftOut: raw.largest_left_out,
    allocationCount: raw.allocation_count,
    moments: undelta(raw.moments),
    times: raw.time_us.length ? undelta(raw.time_us) : null,
    startUs: raw.start_us,
    requested: undelta(raw.requested),
    reserved: undelta(raw.reserved),
    restBytes: undelta(raw.rest_bytes),
    restCount: undelta(raw.rest_count),
    unexplained: raw.unexplained.length ? undelta(raw.unexplained) : null,
    parts: {},
    checkpoints: new Map(raw.checkpoints.map((checkpoint) => [checkpoint.moment, checkpoint])),
    named: raw.named,
    steps: raw.steps,
    stepsKnown: raw.steps_known,
    phases: raw.phases,
    ranges: raw.ranges,
    maps: raw.maps,
    whatIf: raw.what_if && openWhatIf(raw.what_if),
  };
  for (const part of PARTS) device.parts[part] = undelta(raw.parts[part]);
  device.active = device.requested.map((_, row) =>
    device.parts.requested[row] + device.parts.rounding[row] + device.parts.slack[row] + device.parts.pending[row]);
  device.allocations = openAllocations(raw.allocations);
  return device;
}

function openAllocations(raw) {
  const born = undelta(raw.born);
  const died = new Float64Array(born.length);
  for (let row = 0; row < born.length; row++) {
    died[row] = raw.life[row] < 0 ? Infinity : born[row] + raw.life[row];
  }
  return {
    count: born.length,
    born,
    died,
    size: raw.size,
    extra: raw.extra,
    stack: raw.stack,
    layer: raw.layer,
    layerKnown: raw.layer_known,
    category: Uint8Array.from(raw.category, Number),
    categoryKnown: raw.category_known,
    address: (row) => raw.addresses[raw.address[row]],
    useIndex: raw.use_index,
    beforeRecording: raw.before_recording,
    waiting: new Map(raw.waiting),
    streams: new Map(raw.streams),
    pools: new Map(raw.pools),
    metadata: new Map(raw.metadata),
  };
}

/** The kept row for `moment`: the last one at or before it. */
function rowOf(device, moment) {
  return Math.max(0, lastAtMost(device.moments, moment));
}

/** Whether the sums at `moment` are kept, and so exact. */
function isKept(device, moment) {
  return device.moments[rowOf(device, moment)] === moment;
}

/** The allocations kept one by one that are live at `moment`, in order of birth. */
function liveAt(device, moment) {
  const { born, died, count } = device.allocations;
  const live = [];
  for (let row = 0; row < count && born[row] <= moment; row++) {
    if (died[row] > moment) live.push(row);
  }
  return live;
}

/** Microseconds from the first event to `moment`; between kept moments by straight line. */
function timeAt(device, moment) {
  const { moments, times } = device;
  if (!times) return null;
  const row = rowOf(device, moment);
  if (row + 1 >= moments.length) return times[row];
  const share = (moment - moments[row]) / (moments[row + 1] - moments[row]);
  return times[row] + share * (times[row + 1] - times[row]);
}

/** The moment at `time` microseconds from the start. */
function momentAtTime(device, time) {
  const row = lastAtMost(device.times, time);
  if (row < 0) return 0;
  const { moments, times } = device;
  if (row + 1 >= moments.length || times[row + 1] === times[row]) return moments[row];
  const share = (time - times[row]) / (times[row + 1] - times[row]);
  return Math.floor(moments[row] + share * (moments[row + 1] - moments[row]));
}

const text = (row) => page.texts[row];

/** The frames of a stack node, innermost first. */
function framesOf(node) {
  const frames = [];
  for (let at = node; at > 0; at = page.stacks.caller[at]) frames.push(page.stacks.frame[at]);
  return frames;
}

const frameName = (frame) => text(page.stacks.name[frame]);
const frameKind = (frame) => page.stacks.kind[frame];

/** `model.py:31`, or nothing for native code. */
function framePlace(frame) {
  const path = text(page.stacks.file[frame]);
  if (!path) return "";
  return `${shortPath(path)}:${page.stacks.line[frame]}`;
}

/** From the package on for installed code, else folder and file. */
function shortPath(path) {
  const inside = path.replaceAll("\\", "/").split(/\/(?:site|dist)-packages\//).pop();
  if (inside.length < path.length) return inside;
  return inside.split("/").slice(-2).join("/");
}

function frameLabel(frame) {
  const place = framePlace(frame);
  return place ? `${frameName(frame)}  ${place}` : frameName(frame);
}

/** The frame to blame: the innermost of the project, else the innermost of a library. */
function blameOf(node) {
  let library = -1;
  let any = -1;
  for (let at = node; at > 0; at = page.stacks.caller[at]) {
    const frame = page.stacks.frame[at];
    if (frameKind(frame) === "p") return frame;
    if (library < 0 && frameKind(frame) === "l") library = frame;
    if (any < 0) any = frame;
  }
  return library >= 0 ? library : any;
}

const layerPaths = [];

/** `blocks.3.attn`; inferred names are joined by ` › `. */
function layerPath(row) {
  if (row === 0) return "";
  if (layerPaths[row] === undefined) {
    const parent = page.layers.parent[row];
    const own = text(page.layers.name[row]);
    const joint = page.layers.known[row] === "r" ? "." : " › ";
    layerPaths[row] = parent ? layerPath(parent) + joint + own : own;
  }
  return layerPaths[row];
}

const categoryName = (row) => page.categories[row].replaceAll("_", " ");

const KNOWN = { r: "recorded", i: "inferred", u: "could not be told" };
