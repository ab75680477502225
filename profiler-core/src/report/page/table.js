// The biggest allocations: searchable, sortable, with their stacks.

const table = { sort: "size", down: true, search: "", liveOnly: true, shown: 50, open: new Set() };

const SORTS = {
  size: (row) => state.device.allocations.size[row],
  category: (row) => categoryName(state.device.allocations.category[row]),
  layer: (row) => layerPath(state.device.allocations.layer[row]),
  place: (row) => blameLabel(row),
  born: (row) => state.device.allocations.born[row],
  died: (row) => state.device.allocations.died[row],
  life: (row) => state.device.allocations.died[row] - state.device.allocations.born[row],
};

function blameLabel(row) {
  const frame = blameOf(state.device.allocations.stack[row]);
  return frame < 0 ? "no stack recorded" : frameLabel(frame);
}

/** By stack node: whether the search is found in it or in a frame that called it. */
function matchingNodes(wanted) {
  const frames = page.stacks.name.map((name, frame) =>
    text(name).toLowerCase().includes(wanted) || framePlace(frame).toLowerCase().includes(wanted) || text(page.stacks.file[frame]).toLowerCase().includes(wanted));
  const nodes = new Uint8Array(page.stacks.caller.length);
  for (let node = 1; node < nodes.length; node++) {
    nodes[node] = frames[page.stacks.frame[node]] || nodes[page.stacks.caller[node]] ? 1 : 0;
  }
  return nodes;
}

function foundRows() {
  const { device } = state;
  const { allocations } = device;
  let rows = table.liveOnly ? liveAt(device, state.moment) : Array.from({ length: allocations.count }, (_, row) => row);
  const wanted = table.search.trim().toLowerCase();
  if (wanted) {
    const nodes = matchingNodes(wanted);
    rows = rows.filter((row) => nodes[allocations.stack[row]]
      || layerPath(allocations.layer[row]).toLowerCase().includes(wanted)
      || categoryName(allocations.category[row]).includes(wanted)
      || `0x${allocations.address(row)}`.includes(wanted)
      || (allocations.metadata.has(row) && text(allocations.metadata.get(row)).toLowerCase().includes(wanted)));
  }
  const value = SORTS[table.sort];
  const keys = new Map(rows.map((row) => [row, value(row)]));
  const order = (a, b) => {
    const [x, y] = [keys.get(a), keys.get(b)];
    const least = x === y || (x !== x && y !== y) ? a - b : x < y ? -1 : 1;
    return table.down && x !== y ? -least : least;
  };
  return rows.sort(order);
}

function drawTable() {
  const rows = foundRows();
  const { allocations } = state.device;
  const sum = rows.reduce((total, row) => total + allocations.size[row], 0);
  const what = table.liveOnly ? `live ${momentName(state.moment)}` : "in the whole recording";
  byId("table-found").textContent = `${count(rows.length)} allocations, ${bytes(sum)}, ${what}`;
  byId("table-note").textContent = state.device.allAllocations ? ""
    : `This page has ${count(allocations.count)} of ${count(state.device.allocationCount)} allocations one by one; each of the others has at most ${bytes(state.device.largestLeftOut)}.`;
  const elements = [];
  for (const row of rows.slice(0, table.shown)) {
    elements.push(tableRow(row));
    if (table.open.has(row)) elements.push(detailRow(row));
  }
  byId("table-rows").replaceChildren(...elements);
  const more = byId("table-more");
  more.hidden = rows.length <= table.shown;
  more.textContent = `Show ${count(Math.min(200, rows.length - table.shown))} more of ${count(rows.length)}`;
  for (const header of document.querySelectorAll("#table th[data-sort]")) {
    const isSorted = header.dataset.sort === table.sort;
    header.setAttribute("aria-sort", isSorted ? (table.down ? "descending" : "ascending") : "none");
  }
}

function tableRow(row) {
  const { allocations } = state.device;
  const isOpen = table.open.has(row);
  const known = (letter) => (letter === "i" ? "inferred" : null);
  return make("tr", { "data-row": row, class: isOpen ? "is-open" : "" },
    make("td", { class: "number" },
      make("button", { class: "twist", "aria-expanded": String(isOpen), title: exactBytes(allocations.size[row]), onclick: () => toggleRow(row), text: bytes(allocations.size[row]) })),
    make("td", {}, categorySwatch(allocations.category[row]), make("span", { class: known(allocations.categoryKnown[row]) ?? "", text: categoryName(allocations.category[row]) })),
    make("td", { class: `clip ${known(allocations.layerKnown[row]) ?? ""}`, text: layerPath(allocations.layer[row]) || "–", title: layerPath(allocations.layer[row]) }),
    make("td", { class: "clip code", text: blameLabel(row), title: blameLabel(row) }),
    make("td", { class: "number", text: allocations.born[row] === 0 ? "before" : count(allocations.born[row] - 1) }),
    make("td", { class: "number", text: Number.isFinite(allocations.died[row]) ? count(allocations.died[row] - 1) : "lives on" }));
}

function categorySwatch(category) {
  const swatch = make("span", { class: "swatch" });
  swatch.style.background = `var(--category-${page.categories[category].replaceAll("_", "-")})`;
  return swatch;
}

function toggleRow(row) {
  if (table.open.has(row)) table.open.delete(row);
  else table.open.add(row);
  drawTable();
  byId("table-rows").querySelector(`[data-row="${row}"] button`)?.focus();
}

function detailRow(row) {
  const { allocations } = state.device;
  const address = `0x${allocations.address(row)}, use ${count(allocations.useIndex[row] + 1)} of this address`;
  return make("tr", { class: "detail" }, make("td", { colspan: "6" },
    ...allocationLines(row, Infinity), make("p", { class: "muted", text: address })));
}

/** Shows one allocation: opens it in the table and brings it into sight. */
function showAllocation(row) {
  table.open = new Set([row]);
  table.search = "";
  byId("table-search").value = "";
  byId("picked").replaceChildren(make("h3", { text: "Picked allocation" }), ...allocationLines(row, Infinity));
  byId("picked").hidden = false;
  drawTable();
}

function bindTable() {
  byId("table-search").addEventListener("input", (event) => {
    table.search = event.target.value;
    table.shown = 50;
    drawTable();
  });
  byId("table-live").addEventListener("change", (event) => {
    table.liveOnly = event.target.checked;
    drawTable();
  });
  byId("table-more").addEventListener("click", () => {
    table.shown += 200;
    drawTable();
  });
  for (const header of document.querySelectorAll("#table th[data-sort]")) {
    header.querySelector("button").addEventListener("click", () => {
      table.down = table.sort === header.dataset.sort ? !table.down : header.dataset.sort === "size" || header.dataset.sort === "life";
      table.sort = header.dataset.sort;
      drawTable();
    });
  }
}
