// Where the reserved bytes go at the chosen moment: the identity, in numbers.

const PART_NAMES = [
  ["requested", "requested", "what the program asked for and still uses"],
  ["rounding", "rounding", "up to the allocator's size steps (512 bytes, unless set otherwise)"],
  ["slack", "slack", "remainders of large blocks too small to be split off (up to 1 MiB each)"],
  ["pending", "pending", "freed, but not yet for reuse: another stream may still use it, or the free is just being made"],
  ["split_free", "split free", "free, in segments that also hold live blocks: cannot go back to the driver"],
  ["whole_free", "whole free", "segments with no live block: cache that could go back"],
];

function drawParts() {
  const { device } = state;
  const row = rowOf(device, state.moment);
  const reserved = PARTS.reduce((sum, part) => sum + device.parts[part][row], 0);
  byId("parts-rows").replaceChildren(...PART_NAMES.map(([part, name, help]) => partRow(part, name, help, device.parts[part][row], reserved)));
  byId("parts-total").textContent = bytes(reserved);
  byId("parts-total-exact").textContent = exactBytes(reserved);
  const other = device.reserved[row] - reserved;
  byId("parts-note").textContent = other === 0 ? "" : `The trace says ${bytes(device.reserved[row])} were reserved here; the file contradicts itself by ${bytes(Math.abs(other))}.`;
}

function partRow(part, name, help, value, whole) {
  return make("tr", {},
    make("th", { scope: "row" }, make("span", { class: `swatch part-${part}` }), name),
    make("td", { class: "number", text: bytes(value), title: exactBytes(value) }),
    make("td", { class: "number", text: percent(value, whole) }),
    make("td", { class: "bar-cell" }, bar([[value, `part-${part}`]], whole)),
    make("td", { class: "muted", text: help }));
}

/** A bar of `[value, class]` pieces of `whole`. */
function bar(pieces, whole) {
  const box = make("span", { class: "bar" });
  for (const [value, kind] of pieces) {
    if (value <= 0) continue;
    const piece = make("span", { class: kind });
    piece.style.width = `${Math.min(100, (value / Math.max(1, whole)) * 100)}%`;
    box.append(piece);
  }
  return box;
}
