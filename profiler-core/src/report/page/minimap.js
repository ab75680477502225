// The whole recording, small, with a window on what the timeline shows.

function drawMinimap() {
  const { device } = state;
  const canvas = byId("minimap");
  const { context, width, height } = sharpContext(canvas);
  const left = GUTTER.left;
  const wide = Math.max(1, width - GUTTER.left - GUTTER.right);
  const xs = state.axis === "time" ? device.times : device.moments;
  const full = fullExtent();
  const top = Math.max(1, maxOf(device.reserved));
  const heights = new Float64Array(Math.ceil(wide));
  let column = 0;
  for (let row = 0; row < xs.length; row++) {
    const until = Math.min(heights.length - 1, Math.floor((xs[row] / full) * wide));
    while (column < until) heights[++column] = device.requested[Math.max(0, row - 1)];
    heights[column] = Math.max(heights[column], device.requested[row]);
  }
  while (column + 1 < heights.length) heights[++column] = device.requested[xs.length - 1];
  context.fillStyle = colours.requested;
  context.globalAlpha = 0.45;
  for (let x = 0; x < heights.length; x++) {
    const high = (heights[x] / top) * (height - 4);
    context.fillRect(left + x, height - high, 1, high);
  }
  context.globalAlpha = 1;
  for (const named of device.named) {
    if (named.kind !== "oom") continue;
    context.fillStyle = colours.oom;
    context.fillRect(left + (axisOf(named.moment) / full) * wide, 0, 1.5, height);
  }
  const [from, to] = [left + (state.from / full) * wide, left + (state.to / full) * wide];
  context.fillStyle = colours.surface;
  context.globalAlpha = 0.6;
  context.fillRect(left, 0, from - left, height);
  context.fillRect(to, 0, left + wide - to, height);
  context.globalAlpha = 1;
  context.strokeStyle = colours.accent;
  context.lineWidth = 1.5;
  context.strokeRect(from + 0.75, 0.75, Math.max(2, to - from - 1.5), height - 1.5);
}

function bindMinimap() {
  const canvas = byId("minimap");
  let grip = null;
  const at = (event) => {
    const wide = Math.max(1, canvas.clientWidth - GUTTER.left - GUTTER.right);
    return ((event.offsetX - GUTTER.left) / wide) * fullExtent();
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    const x = at(event);
    const inside = x >= state.from && x <= state.to && state.to - state.from < fullExtent();
    grip = inside ? { pan: x - state.from } : { start: x };
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!grip) return;
    const x = at(event);
    if (grip.pan !== undefined) setView(x - grip.pan, x - grip.pan + state.to - state.from);
    else if (Math.abs(x - grip.start) > fullExtent() / 400) setView(Math.min(x, grip.start), Math.max(x, grip.start));
  });
  canvas.addEventListener("pointerup", () => (grip = null));
}
