// The page around the panels: theme, device, help, keys.

function bindTheme() {
  const root = document.documentElement;
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : prefersDark.matches);
  const name = () => (byId("theme").textContent = isDark() ? "Light" : "Dark");
  byId("theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    name();
    changed("theme");
  });
  prefersDark.addEventListener("change", () => {
    name();
    changed("theme");
  });
  let before = null;
  addEventListener("beforeprint", () => {
    before = root.dataset.theme ?? "";
    root.dataset.theme = "light";
    changed("theme");
    drawAll();
  });
  addEventListener("afterprint", () => {
    if (before) root.dataset.theme = before;
    else delete root.dataset.theme;
    changed("theme");
  });
  name();
}

function bindDevices(devices) {
  const select = byId("device");
  if (select) select.addEventListener("change", () => setDevice(devices[Number(select.value)]));
  on("device", () => {
    for (const block of document.querySelectorAll("[data-device]")) block.hidden = block.dataset.device !== state.device.name;
    const jumps = state.device.named.map((named) => make("button", { class: `jump jump-${named.kind}`, text: named.name, title: momentName(named.moment), onclick: () => jumpTo(named.moment) }));
    byId("jumps").replaceChildren(...jumps);
    byId("axis").hidden = !state.device.times;
    for (const panel of document.querySelectorAll("[data-needs=events]")) panel.hidden = state.device.events === 0;
  });
}

function jumpTo(moment) {
  setMoment(moment);
  reveal(state.moment);
  announce(momentName(state.moment));
}

function bindHelp() {
  const dialog = byId("help");
  byId("help-open").addEventListener("click", () => dialog.showModal());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
}

const PAGE_KEYS = {
  "?": () => byId("help").showModal(),
  "/": () => byId("table-search").focus(),
  t: () => byId("theme").click(),
  p: () => jumpNamed("peak"),
  o: () => jumpNamed("oom"),
  f: () => setView(0, fullExtent()),
  a: () => byId("axis").click(),
  "[": () => stepMoment(-1),
  "]": () => stepMoment(1),
  "+": () => zoomAt((state.from + state.to) / 2, 0.8),
  "-": () => zoomAt((state.from + state.to) / 2, 1.25),
};

/** The next moment of a kind after the chosen one; the first after the last. */
function jumpNamed(kind) {
  const all = state.device.named.filter((named) => named.kind === kind);
  const next = all.find((named) => named.moment > state.moment) ?? all[0];
  if (next) jumpTo(next.moment);
}

function bindKeys() {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (event.target.matches("input, select, textarea")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const action = PAGE_KEYS[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}

function bindMomentButtons() {
  for (const button of document.querySelectorAll("[data-moment]")) {
    button.addEventListener("click", () => {
      jumpTo(Number(button.dataset.moment));
      byId("timeline-section").scrollIntoView({ block: "start" });
    });
  }
}
