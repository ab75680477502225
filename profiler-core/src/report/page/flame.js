// The flame graph of the chosen moment: callers above, callees below, width is requested bytes.

const flame = { by: "stack", root: "", search: "", tree: null };

const FLAME_ROW = 21;
/** Nodes narrower than this share of the width are not drawn. */
const FLAME_SMALLEST = 0.0012;

function flameTree(holders) {
  const root = { key: "", name: "all", kind: "", bytes: 0, count: 0, children: new Map(), parent: null, place: "" };
  for (const holder of holders) {
    let node = root;
    grow(node, holder);
    for (const step of flamePath(holder)) {
      const key = `${node.key}/${step.id}`;
      if (!node.children.has(step.id)) node.children.set(step.id, { ...step, key, bytes: 0, count: 0, children: new Map(), parent: node });
      node = node.children.get(step.id);
      grow(node, holder);
    }
  }
  return root;
}

function grow(node, holder) {
  node.bytes += holder.bytes;
  node.count += holder.count;
}

/** The nodes from the root down to a holder. */
function flamePath(holder) {
  const frames = holder.stack > 0 ? framesOf(holder.stack).reverse().map(flameStep) : [];
  if (holder.stack <= 0) frames.push({ id: holder.stack, name: noStack(holder)[1], kind: "u", place: "" });
  if (flame.by === "stack") return frames;
  const layers = layerKeys(holder).map(([id, name]) => ({ id, name, kind: id === "l0" ? "u" : "y", place: "" }));
  return [...layers, ...frames.slice(-3)];
}

function flameStep(frame) {
  return { id: frame, name: frameName(frame), kind: frameKind(frame), place: framePlace(frame) };
}

function drawFlame() {
  const holders = holdersAt(state.moment);
  flame.tree = flameTree(holders);
  byId("flame-note").textContent = completeness(holders);
  byId("flame-moment").textContent = momentName(state.moment);
  layFlame();
}

/** The node to show as the widest: the one zoomed to, or the root if it is not at this moment. */
function flameRoot() {
  let node = flame.tree;
  if (!flame.root) return node;
  const find = (at) => {
    if (at.key === flame.root) return at;
    for (const child of at.children.values()) if (flame.root.startsWith(`${child.key}/`) || flame.root === child.key) return find(child);
    return null;
  };
  node = find(flame.tree);
  if (!node) flame.root = "";
  return node ?? flame.tree;
}

function layFlame() {
  const box = byId("flame");
  const root = flameRoot();
  const ancestors = [];
  for (let at = root.parent; at; at = at.parent) ancestors.unshift(at);
  const shown = [];
  ancestors.forEach((node, depth) => shown.push([node, 0, 1, depth, true]));
  let deepest = ancestors.length;
  const place = (node, left, width, depth) => {
    shown.push([node, left, width, depth, false]);
    deepest = Math.max(deepest, depth);
    let at = left;
    for (const child of [...node.children.values()].sort(byBytes)) {
      const wide = (width * child.bytes) / Math.max(1, node.bytes);
      if (wide >= FLAME_SMALLEST) place(child, at, wide, depth + 1);
      at += wide;
    }
  };
  place(root, 0, 1, ancestors.length);
  box.style.height = `${(deepest + 1) * FLAME_ROW + 4}px`;
  const wanted = flame.search.toLowerCase();
  let matched = 0;
  const elements = shown.map(([node, left, width, depth, isAncestor]) => {
    const isMatch = wanted !== "" && `${node.name} ${node.place}`.toLowerCase().includes(wanted);
    if (isMatch && !hasMatchAbove(node, wanted)) matched += node.bytes;
    return flameElement(node, left, width, depth, { isAncestor, isMatch, isDim: wanted !== "" && !isMatch });
  });
  box.replaceChildren(...elements);
  byId("flame-found").textContent = wanted ? `${bytes(matched)} (${percent(matched, flame.tree.bytes)}) below matching frames` : "";
  byId("flame-reset").hidden = !flame.root;
}

function hasMatchAbove(node, wanted) {
  for (let at = node.parent; at; at = at.parent) if (`${at.name} ${at.place}`.toLowerCase().includes(wanted)) return true;
  return false;
}

function flameElement(node, left, width, depth, { isAncestor, isMatch, isDim }) {
  const classes = ["flame-node", `kind-${node.kind || "root"}`];
  if (isAncestor) classes.push("is-ancestor");
  if (isMatch) classes.push("is-match");
  if (isDim) classes.push("is-dim");
  const share = percent(node.bytes, flame.tree.bytes);
  const element = make("button", {
    class: classes.join(" "),
    tabindex: node === flame.tree ? "0" : "-1",
    title: `${node.name}${node.place ? `\n${node.place}` : ""}\n${bytes(node.bytes)} (${share}) in ${count(node.count)} allocations`,
    onclick: () => zoomFlame(node),
    onkeydown: (event) => flameKey(event, node),
  });
  if (width > 0.015) {
    element.append(make("span", { text: node.name }));
    if (width > 0.12) element.append(make("small", { text: ` ${node.place ? `${node.place} ` : ""}${bytes(node.bytes)}` }));
  }
  element.style.left = `${left * 100}%`;
  element.style.width = `calc(${width * 100}% - 1px)`;
  element.style.top = `${depth * FLAME_ROW}px`;
  node.element = element;
  return element;
}

function zoomFlame(node) {
  flame.root = node.key;
  layFlame();
  node.element?.focus();
}

function flameKey(event, node) {
  const siblings = node.parent ? [...node.parent.children.values()].sort(byBytes) : [node];
  const at = siblings.indexOf(node);
  const targets = {
    ArrowUp: () => node.parent,
    ArrowDown: () => [...node.children.values()].sort(byBytes)[0],
    ArrowLeft: () => siblings[at - 1],
    ArrowRight: () => siblings[at + 1],
    Escape: () => {
      zoomFlame(flame.tree);
      return flame.tree;
    },
  };
  const target = targets[event.key]?.();
  if (!target) return;
  event.preventDefault();
  event.stopPropagation();
  target.element?.focus();
}

function bindFlame() {
  bindTabs("flame-by", (by) => {
    flame.by = by;
    flame.root = "";
    drawFlame();
  });
  byId("flame-search").addEventListener("input", (event) => {
    flame.search = event.target.value;
    layFlame();
  });
  byId("flame-reset").addEventListener("click", () => zoomFlame(flame.tree));
}
