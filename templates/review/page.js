"use strict";
// Lines of both sides by the line of the notebook that they are: [the notebook's own, the generated ones in order].
const groups = new Map();
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const key = (line) => line.dataset.o || line.id;
for (const line of all(".l[data-o]")) {
  if (!groups.has(line.dataset.o)) groups.set(line.dataset.o, [document.getElementById(line.dataset.o)]);
  groups.get(line.dataset.o).push(line);
}

// Lighting up.
let lit = [];
function light(line) {
  const group = (line && groups.get(key(line))) || [];
  if (group === lit) return;
  for (const each of lit) each && each.classList.remove("lit");
  lit = group;
  for (const each of lit) each && each.classList.add("lit");
}
// After a jump another line lies below a pointer that has not moved: it was not meant.
let still = false;
document.addEventListener("pointermove", (event) => (still = still && !event.movementX && !event.movementY));
const lineOf = (event) => event.target.closest && event.target.closest(".l");
document.addEventListener("pointerover", (event) => {
  const line = lineOf(event);
  if (line && !still) light(line);
});
document.addEventListener("focusin", (event) => {
  const line = lineOf(event);
  if (line) light(line);
});

// Going to the counterpart: from the notebook to each of its places in turn.
const status = document.getElementById("status");
let told;
function tell(text) {
  status.textContent = text;
  clearTimeout(told);
  told = setTimeout(() => (status.textContent = ""), 4000);
}
const turns = new Map();
function counterpart(line) {
  const group = groups.get(key(line));
  if (!group) return null;
  if (line.dataset.o) return group[0];
  const turn = turns.get(line.id) || 0;
  turns.set(line.id, (turn + 1) % (group.length - 1));
  if (group.length > 2) tell(`place ${turn + 1} of ${group.length - 1}`);
  return group[1 + turn];
}
function show(line) {
  const pane = line.closest(".pane");
  const scrolls = pane && pane.scrollHeight > pane.clientHeight + 1 && getComputedStyle(pane).overflowY === "auto";
  line.scrollIntoView({ block: "center" }); // lays out what was left out until now
  if (scrolls) {
    const shift = line.getBoundingClientRect().top - pane.getBoundingClientRect().top - pane.clientHeight / 3;
    pane.scrollTop += shift;
    document.getElementById("code").querySelector(".pair").scrollIntoView({ block: "end" });
  }
}
function go(line, focus) {
  const other = counterpart(line);
  if (!other) return;
  still = true;
  show(other);
  light(line);
  if (focus) take(other);
}
document.addEventListener("click", (event) => {
  const line = lineOf(event);
  if (!line || event.ctrlKey || event.metaKey || event.shiftKey || !getSelection().isCollapsed) return;
  if (groups.has(key(line))) {
    event.preventDefault();
    go(line, event.detail === 0);
  }
});

// Keys: one line of each side can be reached with Tab, the arrows move from it.
const first = (pane) => pane.querySelector(".l > a");
for (const anchor of all(".l > a")) anchor.tabIndex = -1;
for (const pane of all(".pane")) first(pane) && (first(pane).tabIndex = 0);
function take(line) {
  const anchor = line.querySelector("a");
  for (const other of all('.l > a[tabindex="0"]', line.closest(".pane"))) other.tabIndex = -1;
  anchor.tabIndex = 0;
  anchor.focus({ preventScroll: true });
}
function beside(line, step) {
  const lines = all(".l", line.closest(".pane"));
  return lines[lines.indexOf(line) + step];
}
const steps = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, PageDown: 20, PageUp: -20 };
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const line = lineOf(event);
  if (event.key === "Escape") light(null);
  if (!line || !(event.key in steps)) return;
  event.preventDefault();
  const next = beside(line, steps[event.key]);
  if (next) {
    take(next);
    next.scrollIntoView({ block: "nearest" });
  }
});

// Folded parts open when something in them is asked for, and for print.
function reveal() {
  let target = null;
  try {
    target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  } catch {
    return;
  }
  if (target && target.matches("details")) target.open = true;
  if (target && target.matches(".l")) light(target);
}
addEventListener("hashchange", reveal);
reveal();
addEventListener("beforeprint", () => all("details:not(.plain)").forEach((each) => (each.open = true)));

// The graph: what a step is linked to.
for (const node of all("svg .node")) {
  const svg = node.closest("svg");
  const name = node.dataset.n;
  const choose = (on) => {
    svg.classList.toggle("chosen", on);
    const names = new Set([name]);
    for (const edge of all(".edge", svg)) {
      const ends = edge.dataset.b.split(" ");
      const linked = on && (edge.dataset.a === name || ends.includes(name));
      edge.classList.toggle("on", linked);
      if (linked && edge.dataset.a === name) ends.forEach((end) => names.add(end));
      if (linked && ends.includes(name)) names.add(edge.dataset.a);
    }
    for (const other of all(".node", svg)) other.classList.toggle("on", on && names.has(other.dataset.n));
  };
  node.addEventListener("pointerenter", () => choose(true));
  node.addEventListener("pointerleave", () => choose(false));
  node.addEventListener("focus", () => choose(true));
  node.addEventListener("blur", () => choose(false));
}

// A live page asks whether there is a newer one, and keeps its place when it takes it.
const live = document.documentElement.dataset.live;
if (live) {
  const panes = () => [document.scrollingElement, ...all(".pane")];
  try {
    const places = JSON.parse(sessionStorage.getItem("places") || "null");
    if (places) panes().forEach((pane, index) => (pane.scrollTop = places[index] || 0));
    sessionStorage.removeItem("places");
  } catch {}
  const ask = async () => {
    try {
      const answer = await fetch("version", { cache: "no-store" });
      const version = await answer.text();
      if (answer.ok && version !== live) {
        sessionStorage.setItem("places", JSON.stringify(panes().map((pane) => pane.scrollTop)));
        location.reload();
        return;
      }
      if (status.dataset.lost) tell("");
      delete status.dataset.lost;
    } catch {
      status.dataset.lost = "1";
      status.textContent = "nb2pipe no longer answers";
      clearTimeout(told);
    }
    setTimeout(ask, 700);
  };
  setTimeout(ask, 700);
}
