// The segment map: every block of every segment, in address order, rows of equal length.

const segments = { map: 0, shapes: [], hover: null };

const SEGMENT_ROW = 15;
const SEGMENT_GAP = 3;

/** Rows that the reserved memory is laid out in: enough to see blocks, few enough to see it all. */
function rowBytes(map) {
  const total = map.segments.reduce((sum, segment) => sum + segment.size, 0);
  const largest = map.segments.reduce((most, segment) => Math.max(most, segment.size), 0);
  return byteStep(Math.max(total / 28, Math.min(largest, total / 10), 1));
}

function drawSegments() {
  const { device } = state;
  const canvas = byId("segments");
  const map = device.maps[segments.map];
  segments.shapes = [];
  byId("segments-empty").hidden = Boolean(map && map.segments.length);
  canvas.hidden = !map || !map.segments.length;
  if (canvas.hidden) return;
  const perRow = rowBytes(map);
  const rows = layRows(map, perRow);
  canvas.style.height = `${rows.count * (SEGMENT_ROW + SEGMENT_GAP) + 4}px`;
  const { context, width } = sharpContext(canvas);
  segments.shapes = drawRows(context, width, rows, perRow);
  const left = map.left_out ? ` ${count(map.left_out)} smaller segments (${bytes(map.left_out_bytes)}) are not drawn.` : "";
  byId("segments-note").textContent = `${count(map.segments.length)} segments; one row is ${bytes(perRow)}. A segment goes on in the next row where it does not fit.${left}`;
}

/** Places blocks one after the other, wrapping at `perRow` bytes; segments start where the last ended. */
function layRows(map, perRow) {
  const pieces = [];
  const edges = [];
  let row = 0;
  let at = 0;
  const order = [...map.segments].sort((a, b) => (a.kind === b.kind ? 0 : a.kind === "large" ? -1 : 1));
  for (const segment of order) {
    const fits = segment.size <= perRow;
    if (fits && at + segment.size > perRow) [row, at] = [row + 1, 0];
    if (!fits && at > 0) [row, at] = [row + 1, 0];
    let offset = 0;
    segment.sizes.forEach((size, index) => {
      let left = size;
      while (left > 0) {
        const take = Math.min(left, perRow - at);
        pieces.push({ row, at, size: take, whole: size, use: segment.uses[index], segment, offset });
        extendEdge(edges, segment, row, at, take);
        left -= take;
        at += take;
        if (at >= perRow) [row, at] = [row + 1, 0];
      }
      offset += size;
    });
    if (!fits && at > 0) [row, at] = [row + 1, 0];
  }
  return { pieces, edges, count: row + (at > 0 ? 1 : 0) };
}

function extendEdge(edges, segment, row, at, size) {
  const last = edges[edges.length - 1];
  if (last && last.segment === segment && last.row === row) last.size += size;
  else edges.push({ segment, row, at, size });
}

/** Draws what `layRows` placed; returns the shapes for the pointer. */
function drawRows(context, width, rows, perRow) {
  const shapes = rows.pieces.map((piece) => drawPiece(context, width, piece, perRow));
  for (const edge of rows.edges) drawEdge(context, width, edge, perRow);
  return shapes;
}

function pieceColour(use) {
  if (use === -1) return colours.free;
  if (use === -2) return colours.rest;
  if (use === -3) return colours.pending;
  if (use === -4) return colours.oom;
  return use % 2 === 1 ? colours.pending : allocationColour(use >> 1);
}

function drawPiece(context, width, piece, perRow) {
  const x = (piece.at / perRow) * width;
  const wide = (piece.size / perRow) * width;
  const y = piece.row * (SEGMENT_ROW + SEGMENT_GAP) + 2;
  context.fillStyle = pieceColour(piece.use);
  context.fillRect(x, y, Math.max(0.35, wide - (wide > 3 ? 0.75 : 0)), SEGMENT_ROW);
  return { x, y, wide: Math.max(1, wide), piece };
}

function drawEdge(context, width, { row, at, size }, perRow) {
  const x = (at / perRow) * width;
  context.strokeStyle = colours.muted;
  context.strokeRect(x + 0.5, row * (SEGMENT_ROW + SEGMENT_GAP) + 1.5, Math.max(1, (size / perRow) * width - 1.5), SEGMENT_ROW + 1);
}

/** Says what is under the pointer in a map of `shapes`. */
function mapTip(shapes, event) {
  const shape = shapes.find(({ x, y, wide }) =>
    event.offsetX >= x && event.offsetX < x + wide && event.offsetY >= y && event.offsetY < y + SEGMENT_ROW);
  if (!shape) {
    hideTip();
    return;
  }
  const { piece } = shape;
  const { segment } = piece;
  const lines = pieceLines(piece);
  const kind = `${segment.expandable ? "expandable, " : ""}${segment.kind} segment at 0x${segment.address}, ${bytes(segment.size)}, stream ${segment.stream}${segment.pool ? `, pool (${segment.pool.join(", ")})` : ""}`;
  lines.push(make("p", { class: "tip-foot", text: `${kind}; block at offset ${bytes(piece.offset)}` }));
  byId("tip").replaceChildren(...lines);
  placeTip(byId("tip"), event);
}

function pieceLines({ use, whole }) {
  const title = (words) => [make("p", { class: "tip-title", text: `${bytes(whole)} ${words}` })];
  if (use === -1) return title("free");
  if (use === -2) return title("in use, by an allocation that is not in this page one by one");
  if (use === -3) return title("waiting for another stream");
  if (use === -4) return title("for the request that failed in the recording");
  return use % 2 === 1 ? [...title("waiting for another stream"), ...allocationLines(use >> 1, 4)] : allocationLines(use >> 1, 4);
}

function chooseMaps() {
  const select = byId("segments-map");
  select.replaceChildren(...state.device.maps.map((map, index) => make("option", { value: index, text: map.name })));
  segments.map = 0;
}

function bindSegments() {
  byId("segments-map").addEventListener("change", (event) => {
    segments.map = Number(event.target.value);
    drawSegments();
  });
  const canvas = byId("segments");
  canvas.addEventListener("pointermove", (event) => mapTip(segments.shapes, event));
  canvas.addEventListener("pointerleave", hideTip);
}
