"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];

function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

// filters: a row or figure is shown if each of its axis values is checked
function filter() {
  const off = all(".filters input:not(:checked)").map((box) => box.name + "\u0000" + box.value);
  const hidden = new Set(off);
  let shown = 0, total = 0;
  for (const part of all("[data-axes]")) {
    const values = JSON.parse(part.dataset.axes);
    part.hidden = Object.entries(values).some(([axis, value]) => hidden.has(axis + "\u0000" + value));
    if (part.matches("table[data-main] tr")) { total += 1; shown += part.hidden ? 0 : 1; }
  }
  const count = byId("count");
  if (count) count.textContent = off.length ? `${shown} of ${total} rows shown` : "";
}
all(".filters input").forEach((box) => box.addEventListener("change", filter));
byId("reset")?.addEventListener("click", () => {
  all(".filters input").forEach((box) => { box.checked = true; });
  filter();
});

// sorting: the baselines stay at the end
function sort(table, column, descending) {
  const body = table.tBodies[0];
  const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
  const isNumber = (text) => text !== "" && Number.isFinite(Number(text));
  const compare = (a, b) => {
    const [x, y] = [value(a), value(b)];
    if (isNumber(x) !== isNumber(y)) return isNumber(x) ? -1 : 1;  // what has no number comes last
    const order = isNumber(x) ? Number(x) - Number(y) : x.localeCompare(y);
    return descending ? -order : order;
  };
  const rows = all("tr:not(.baseline)", body).sort(compare);
  const rest = all("tr.baseline", body);
  body.append(...rows, ...rest);
  all("th[aria-sort]", table).forEach((head) => {
    const own = Number(head.dataset.column) === column;
    head.setAttribute("aria-sort", own ? (descending ? "descending" : "ascending") : "none");
  });
}
for (const table of all("table.cells")) {
  for (const head of all("th[aria-sort]", table)) {
    head.firstElementChild.addEventListener("click", () => {
      sort(table, Number(head.dataset.column), head.getAttribute("aria-sort") === "ascending");
    });
  }
  byId("sort-" + table.id)?.addEventListener("change", (event) => sort(table, Number(event.target.value), false));
}

// the panel of a cell
function list(pairs) {
  const made = element("dl");
  for (const [name, value] of pairs) made.append(element("dt", name), element("dd", value));
  return made;
}

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {  // a page on disk may lack the permission
    const area = element("textarea", text, { "aria-hidden": "true" });
    button.after(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  button.textContent = "Copied";
  byId("said").textContent = "Copied to the clipboard";
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
}

function command([purpose, text]) {
  const made = element("div", purpose), line = element("div", undefined, { class: "command" });
  const button = element("button", "Copy", { class: "copy", type: "button", "aria-label": `Copy: ${text}` });
  button.addEventListener("click", () => copy(text, button));
  line.append(element("code", text), button);
  made.append(line);
  return made;
}

function section(title, ...parts) {
  const made = element("section");
  made.append(element("h3", title), ...parts);
  return made;
}

function showCell(number) {
  const cell = data.cells[number], panel = byId("panel"), body = byId("panel-body");
  byId("panel-title").textContent = cell.name;
  body.replaceChildren(section("Scores", list(cell.scores)));
  const image = byId("image-" + cell.number);
  if (image) {
    const picture = element("img", undefined, { src: image.src, alt: image.alt });
    const beside = element("button", "Compare side by side", { class: "button", type: "button" });
    beside.addEventListener("click", () => { panel.close(); choose(byId("first"), cell.number); });
    body.append(section("Images", picture, element("p"), beside));
  }
  if (data.steps[cell.number]) body.append(section("Step by step", element("img", undefined, stepsOf(cell))));
  body.append(section("Configuration", list(cell.configuration)));
  body.append(section("Depends on", list(cell.depends)));
  const curve = byId("curve-" + cell.curve);
  if (curve) body.append(section("Loss of its training", curve.content.cloneNode(true)));
  if (cell.notes.length) body.append(section("Notes", ...cell.notes.map((note) => element("p", note))));
  body.append(section("Commands", ...cell.commands.map(command)));
  if (cell.link) body.append(section("MLflow", element("a", "This cell's run in MLflow", { href: cell.link, rel: "noopener" })));
  const shared = element("details");
  shared.append(element("summary", "What all cells share, and where the numbers come from"), list(data.shared));
  body.append(section("Provenance", shared));
  panel.showModal();
}
all("[data-cell]").forEach((button) => button.addEventListener("click", () => showCell(button.dataset.cell)));
byId("panel-close")?.addEventListener("click", () => byId("panel").close());

// images coming out of noise
function stepsOf(cell) {
  return { src: data.steps[cell.number], alt: `${cell.name}: images coming out of noise, step by step` };
}
for (const select of all("[data-steps]")) {
  const show = () => {
    for (const [name, value] of Object.entries(stepsOf(data.cells[select.value]))) byId(select.dataset.steps)[name] = value;
  };
  select.addEventListener("change", show);
  show();
}

// two cells side by side
function choose(select, number) {
  select.value = String(number);
  compare();
  byId("side-by-side").scrollIntoView();
  select.focus();
}

function compare() {
  for (const [select, target] of [["first", "left"], ["second", "right"]]) {
    const image = byId("image-" + byId(select).value);
    byId(target).src = image.src;
    byId(target).alt = image.alt;
  }
}
if (byId("first")) {
  const box = byId("compare");
  byId("first").addEventListener("change", compare);
  byId("second").addEventListener("change", compare);
  byId("cut").addEventListener("input", (event) => box.style.setProperty("--cut", event.target.value + "%"));
  byId("difference").addEventListener("change", (event) => box.classList.toggle("difference", event.target.checked));
  compare();
}
