// What the colours of the timeline mean.

function drawLegend() {
  const { device } = state;
  const entries = [];
  const entry = (colour, name, kind = "swatch") => {
    const swatch = make("span", { class: kind });
    swatch.style.background = colour;
    entries.push(make("li", {}, swatch, name));
  };
  const used = new Set(device.allocations.category);
  if (state.bands === "allocation" || state.bands === "category") {
    page.categories.forEach((name, row) => {
      if (used.has(row)) entry(colours.categories[row], row + 1 === page.categories.length && state.bands === "allocation" ? "category unknown: a colour per place in the code" : categoryName(row));
    });
  } else {
    entries.push(make("li", { class: "muted", text: state.bands === "layer" ? "one colour per layer" : "one colour per place in the code" }));
  }
  if (!device.allAllocations) entry(colours.rest, "other allocations, summed");
  entry(colours.requested, "requested", "stroke");
  entry(colours.active, "active blocks", "stroke");
  entry(colours.reserved, "reserved", "stroke");
  byId("legend").replaceChildren(...entries);
}
