// Colours from the style sheet's tokens, as numbers for pixels and as CSS for shapes.

const colours = {};

/** Reads the tokens again; called when the theme changes. */
function readColours() {
  const named = ["text", "muted", "line", "surface", "grid", "requested", "active", "reserved", "oom", "chosen", "rest", "free", "pending",
    "rounding", "slack", "split-free", "whole-free", "phase-forward", "phase-backward", "phase-optimizer", "phase-other", "accent"];
  for (const name of named) colours[name] = token(name);
  colours.categories = page.categories.map((name) => token(`category-${name.replaceAll("_", "-")}`));
  colours.palette = Array.from({ length: 12 }, (_, n) => token(`hue-${n}`));
}

const rgbCache = new Map();

/** `#rrggbb` as [red, green, blue]. */
function rgb(colour) {
  if (!rgbCache.has(colour)) {
    const number = parseInt(colour.slice(1), 16);
    rgbCache.set(colour, [(number >> 16) & 255, (number >> 8) & 255, number & 255]);
  }
  return rgbCache.get(colour);
}

/** A well-mixed 32-bit number of `n`. */
function hash(n) {
  let x = (n + 0x9e3779b9) | 0;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}

/** One pixel: `colour` made lighter or darker by `shade` (around 1), little-endian RGBA. */
function pixel(colour, shade) {
  const [red, green, blue] = rgb(colour);
  const part = (value) => Math.max(0, Math.min(255, Math.round(value * shade)));
  return (255 << 24) | (part(blue) << 16) | (part(green) << 8) | part(red);
}

const hueOf = (n) => colours.palette[hash(n) % colours.palette.length];

/** The group of an allocation for a way of banding, and its colour. */
const BANDING = {
  allocation: { key: null, colour: (row) => allocationColour(row) },
  category: { key: (row) => state.device.allocations.category[row], colour: (row) => colours.categories[state.device.allocations.category[row]] },
  layer: { key: (row) => topLayer(state.device.allocations.layer[row]), colour: (row) => layerColour(topLayer(state.device.allocations.layer[row])) },
  stack: { key: (row) => blameOf(state.device.allocations.stack[row]), colour: (row) => hueOf(blameOf(state.device.allocations.stack[row])) },
};

const layerColour = (layer) => (layer === 0 ? colours.rest : hueOf(layer));

/** Colour of a single allocation: its category, or its place in the code if that is unknown. */
function allocationColour(row) {
  const { allocations } = state.device;
  if (allocations.categoryKnown[row] !== "u") return colours.categories[allocations.category[row]];
  const blame = blameOf(allocations.stack[row]);
  return blame < 0 ? colours.rest : hueOf(blame);
}

const topLayers = new Map();

/** The layer to draw for `layer`: few enough of them to tell apart, by depth. */
function topLayer(layer) {
  if (topLayers.has(layer)) return topLayers.get(layer);
  const path = [];
  for (let at = layer; at > 0; at = page.layers.parent[at]) path.push(at);
  path.reverse();
  const found = path[Math.min(path.length - 1, layerDepth())] ?? 0;
  topLayers.set(layer, found);
  return found;
}

let chosenDepth = null;

/** The depth at which the model first branches: above it all layers look the same. */
function layerDepth() {
  if (chosenDepth !== null) return chosenDepth;
  const { parent } = page.layers;
  const depths = [];
  const widths = [];
  for (let row = 1; row < parent.length; row++) {
    depths[row] = parent[row] === 0 ? 0 : depths[parent[row]] + 1;
    widths[depths[row]] = (widths[depths[row]] ?? 0) + 1;
  }
  const branching = widths.findIndex((width) => width >= 4);
  chosenDepth = branching < 0 ? 0 : branching;
  return chosenDepth;
}
