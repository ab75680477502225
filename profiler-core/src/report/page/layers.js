// The chosen moment by layer, category, function or file: a tree with bars.

const breakdown = { by: "layer", open: new Set(), device: null };

const BREAKDOWNS = {
  layer: { path: (holder) => layerKeys(holder), known: (holder) => holder.layerKnown },
  category: { path: (holder) => [[`c${holder.category}`, categoryName(holder.category)]], known: (holder) => holder.categoryKnown },
  function: { path: (holder) => [functionKey(holder)], known: () => "r" },
  file: { path: (holder) => [fileKey(holder), lineKey(holder)], known: () => "r" },
};

function layerKeys(holder) {
  if (holder.layer === 0) return [["l0", "layer could not be told"]];
  const keys = [];
  for (let at = holder.layer; at > 0; at = page.layers.parent[at]) keys.push([`l${at}`, text(page.layers.name[at])]);
  return keys.reverse();
}

function blamed(holder) {
  return holder.stack > 0 ? blameOf(holder.stack) : -1;
}

const noStack = (holder) => (holder.stack === -1 ? ["small", "other allocations, stacks not in this page"] : ["none", "no stack recorded"]);

function functionKey(holder) {
  const frame = blamed(holder);
  return frame < 0 ? noStack(holder) : [`f${page.stacks.name[frame]}/${page.stacks.file[frame]}`, `${frameName(frame)}  ${shortPath(text(page.stacks.file[frame]))}`];
}

function fileKey(holder) {
  const frame = blamed(holder);
  if (frame < 0) return noStack(holder);
  const file = page.stacks.file[frame];
  return [`p${file}`, file ? shortPath(text(file)) : "native code"];
}

function lineKey(holder) {
  const frame = blamed(holder);
  if (frame < 0) return ["", ""];
  return [`n${frame}`, frameLabel(frame)];
}

/** Sums the holders into a tree of `{ key, name, bytes, count, known, children }`. */
function breakdownTree(holders, { path, known }) {
  const root = { children: new Map(), bytes: 0, count: 0, known: { r: 0, i: 0, u: 0 } };
  const add = (node, holder) => {
    node.bytes += holder.bytes;
    node.count += holder.count;
    node.known[known(holder)] += holder.bytes;
  };
  for (const holder of holders) {
    let node = root;
    add(node, holder);
    for (const [key, name] of path(holder)) {
      if (key === "") break;
      if (!node.children.has(key)) node.children.set(key, { key, name, children: new Map(), bytes: 0, count: 0, known: { r: 0, i: 0, u: 0 } });
      node = node.children.get(key);
      add(node, holder);
    }
  }
  return root;
}

const inOrder = new Intl.Collator("en", { numeric: true });
const byBytes = (a, b) => b.bytes - a.bytes || inOrder.compare(a.name, b.name);

function drawLayers() {
  const holders = holdersAt(state.moment);
  const tree = breakdownTree(holders, BREAKDOWNS[breakdown.by]);
  if (breakdown.device !== state.device || !breakdown.open.size) openLargest(tree);
  breakdown.device = state.device;
  const rows = [];
  addLayerRows(rows, tree, 0, tree.bytes);
  byId("layers-rows").replaceChildren(...rows);
  const shares = Object.entries(KNOWN).filter(([letter]) => tree.known[letter] > 0)
    .map(([letter, name]) => `${name} ${percent(tree.known[letter], tree.bytes)}`);
  const isSure = breakdown.by === "function" || breakdown.by === "file";
  byId("layers-known").textContent = isSure ? "from the recorded stacks" : shares.join(" · ");
  byId("layers-note").textContent = completeness(holders);
  byId("layers-total").textContent = `${bytes(tree.bytes)} requested in ${count(tree.count)} allocations`;
}

/** Opens the path of the largest children, so that the answer is visible at once. */
function openLargest(tree) {
  breakdown.open.clear();
  let node = tree;
  for (let depth = 0; depth < 6; depth++) {
    const children = [...node.children.values()].sort(byBytes);
    if (!children.length || (depth > 0 && children.length > 3)) break;
    node = children.find((child) => child.children.size) ?? children[0];
    if (!node.children.size) break;
    breakdown.open.add(node.key);
  }
}

function addLayerRows(rows, node, depth, whole) {
  /** Rows of one parent shown before the rest is summed. */
  const MOST = 60;
  const children = [...node.children.values()].sort(byBytes);
  for (const child of children.slice(0, MOST)) {
    rows.push(layerRow(child, depth, whole));
    if (breakdown.open.has(child.key)) addLayerRows(rows, child, depth + 1, whole);
  }
  if (children.length > MOST) {
    const rest = children.slice(MOST);
    const sum = rest.reduce((total, child) => total + child.bytes, 0);
    const many = rest.reduce((total, child) => total + child.count, 0);
    rows.push(layerRow({ key: "", name: `${rest.length} more`, children: new Map(), bytes: sum, count: many, known: { r: sum, i: 0, u: 0 } }, depth, whole));
  }
}

function layerRow(node, depth, whole) {
  const hasChildren = node.children.size > 0;
  const isOpen = breakdown.open.has(node.key);
  const toggle = () => {
    if (isOpen) breakdown.open.delete(node.key);
    else breakdown.open.add(node.key);
    drawLayers();
    byId("layers-rows").querySelector(`[data-key="${CSS.escape(node.key)}"]`)?.focus();
  };
  const name = hasChildren
    ? make("button", { class: "twist", "aria-expanded": String(isOpen), "data-key": node.key, onclick: toggle, text: node.name })
    : make("span", { class: "leaf", text: node.name });
  name.style.marginInlineStart = `${depth * 16}px`;
  name.title = node.name;
  return make("tr", {},
    make("th", { scope: "row" }, name),
    make("td", { class: "bar-cell" }, bar([[node.known.r, "known-r"], [node.known.i, "known-i"], [node.known.u, "known-u"]], whole)),
    make("td", { class: "number", text: bytes(node.bytes), title: exactBytes(node.bytes) }),
    make("td", { class: "number", text: percent(node.bytes, whole) }),
    make("td", { class: "number", text: count(node.count) }));
}

function bindLayers() {
  bindTabs("layers-by", (by) => {
    breakdown.by = by;
    breakdown.open.clear();
    drawLayers();
  });
}

/** A group of buttons of which one is pressed. */
function bindTabs(id, choose) {
  const buttons = [...byId(id).querySelectorAll("button")];
  for (const button of buttons) {
    button.addEventListener("click", () => {
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
      choose(button.dataset.value);
    });
  }
}
