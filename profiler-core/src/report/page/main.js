// Puts it together: what is drawn again when what changes.

const devices = page.devices.map(openDevice);

const redraw = {
  timeline: oncePerFrame(() => {
    drawTimeline();
    drawMinimap();
  }),
  moment: oncePerFrame(drawMoment),
};

/** The panels that show the chosen moment. */
function drawMoment() {
  for (const place of document.querySelectorAll(".chosen-moment")) place.textContent = momentName(state.moment);
  byId("timeline").dataset.moment = state.moment;
  drawParts();
  drawLayers();
  drawFlame();
  drawTable();
}

function drawAll() {
  readColours();
  drawLegend();
  drawTimeline();
  drawMinimap();
  drawMoment();
  drawSegments();
  drawWhatIf();
}

on("device", () => {
  topLayers.clear();
  table.open.clear();
  flame.root = "";
  byId("picked").hidden = true;
  chooseMaps();
  drawLegend();
  drawSegments();
  chooseWhatIf();
});
on("view", redraw.timeline);
on("moment", () => {
  redraw.timeline();
  redraw.moment();
});
on("theme", () => {
  readColours();
  drawLegend();
  redraw.timeline();
  drawSegments();
  drawWhatIf();
});

if (devices.length) {
  readColours();
  bindTheme();
  bindDevices(devices);
  bindHelp();
  bindKeys();
  bindMomentButtons();
  bindTimeline();
  bindMinimap();
  bindLayers();
  bindFlame();
  bindTable();
  bindSegments();
  bindWhatIf();
  byId("axis").addEventListener("click", () => {
    setAxis(state.axis === "time" ? "event" : "time");
    byId("axis").textContent = state.axis === "time" ? "Axis: wall clock" : "Axis: events";
    byId("axis").setAttribute("aria-pressed", String(state.axis === "time"));
  });
  byId("bands").addEventListener("change", (event) => {
    state.bands = event.target.value;
    drawLegend();
    redraw.timeline();
  });
  const first = byId("device") ? Number(byId("device").value) : 0;
  setDevice(devices[first]);
  new ResizeObserver(oncePerFrame(() => {
    drawTimeline();
    drawMinimap();
    drawSegments();
    drawWhatIf();
  })).observe(byId("timeline-section"));
}
document.documentElement.dataset.ready = "yes";
