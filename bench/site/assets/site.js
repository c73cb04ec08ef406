// Makes the tables of a page sortable, filterable and openable. Without it a page is plain and complete.
// What is shown stands in the address, after #, so that a link shows the same.
(() => {
"use strict";
const root = document.documentElement;
const all = (selector, of = document) => [...of.querySelectorAll(selector)];
const make = (name, attributes = {}, text = "") => {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text) element.textContent = text;
  return element;
};
root.classList.add("js");

// Light and dark.
const kept = { get: () => { try { return localStorage.getItem("theme"); } catch { return null; } },
               set: (value) => { try { localStorage.setItem("theme", value); } catch { /* not allowed: not kept */ } } };
const isDark = () => getComputedStyle(root).colorScheme === "dark"
  || (root.dataset.theme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
if (["light", "dark"].includes(kept.get())) root.dataset.theme = kept.get();
const theme = make("button", { type: "button", id: "theme" });
const nameTheme = () => { theme.textContent = isDark() ? "Light" : "Dark"; };
theme.onclick = () => { root.dataset.theme = isDark() ? "light" : "dark"; kept.set(root.dataset.theme); nameTheme(); };
nameTheme();
document.querySelector("nav").append(theme);

// Copying commands.
const copied = async (text) => {
  try { await navigator.clipboard.writeText(text); return true; } catch { /* tried otherwise below */ }
  const area = make("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
};
for (const code of all("code.command")) {
  const button = make("button", { type: "button", class: "copy" }, "Copy");
  button.onclick = async () => {
    button.textContent = await copied(code.textContent) ? "Copied" : "Not copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  };
  code.after(button);
}

// The answer in one sentence where there is little room; the rest of it is folded, as is what it rests on.
const basis = document.querySelector(".basis");
if (basis) basis.open = matchMedia("(min-width: 1101px)").matches;
const rest = document.querySelector(".answer > .rest");
if (basis && rest) {
  const narrow = matchMedia("(max-width: 640px)");
  const head = basis.querySelector("summary");
  const usual = head.textContent;
  const fold = () => {
    if (narrow.matches) head.after(rest); else basis.before(rest);
    head.textContent = narrow.matches ? "The other methods, and what this rests on" : usual;
  };
  narrow.onchange = fold;
  fold();
}

const families = all("details.family");
if (!families.length) {
  let folded = [];
  addEventListener("beforeprint", () => { folded = all("details:not([open])"); for (const one of folded) one.open = true; });
  addEventListener("afterprint", () => { for (const one of folded) one.open = false; });
  return;
}

// The tables. Of each: its rows in the order of the page, its heads, and the bar of controls above it.
const number = (text) => parseFloat(text.replace(/^[^0-9+.-]+(?=[0-9+.-])/, ""));
const headOf = (cell) => cell.dataset.head;
const tables = families.map((family) => {
  const table = family.querySelector("table.rows");
  const heads = all("thead th", table);
  for (const head of heads) {
    head.dataset.head = (head.firstChild.textContent || "").trim();
    const link = head.querySelector("a");
    const button = make("button", { type: "button" }, link ? "" : head.dataset.head);
    if (link) { button.textContent = "↕"; head.append(button); } else head.firstChild.replaceWith(button);
    if (link) button.setAttribute("aria-label", `sort by ${head.dataset.head}`);
    button.onclick = () => { const next = following(headOf(head)); state.sort = next; changed(); };
  }
  const rows = [...table.tBodies[0].rows];
  for (const row of rows) [...row.cells].forEach((cell, place) => { cell.dataset.h = headOf(heads[place]); });
  return { family, table, heads, body: table.tBodies[0], rows };
});
const figures = families.map((family) => family.querySelector(".picture > *"));
const home = document.getElementById("rows");
const unique = (values) => [...new Set(values)];
const rules = unique(families.map((family) => family.dataset.rule || ""));
const names = unique(families.map((family) => family.dataset.family || ""));
const usual = () => ({ table: names[0], rule: rules[0], sort: "", text: "", verdict: new Set(), hidden: null, open: new Set() });
let state = usual();

// On a phone the matrix is long: its first methods, and a button for all of them.
const matrix = document.querySelector(".matrix");
const whole = make("button", { type: "button", class: "all" });
if (matrix && matrix.tBodies[0].rows.length > 5) {
  whole.textContent = `All ${matrix.tBodies[0].rows.length} methods`;
  whole.onclick = () => { matrix.classList.remove("few"); whole.remove(); };
  matrix.classList.add("few");
  matrix.parentElement.after(whole);
}

const following = (head) => state.sort === `+${head}` ? `-${head}` : state.sort === `-${head}` ? "" : `+${head}`;
const current = () => tables.find(({ family }) => (family.dataset.family || "") === state.table && (family.dataset.rule || "") === state.rule)
  || tables.find(({ family }) => (family.dataset.family || "") === state.table) || tables[0];

// The address.
const SETS = ["verdict", "open"];
const write = () => {
  const words = new URLSearchParams();
  const first = usual();
  for (const name of ["table", "rule", "sort", "text"]) if (state[name] !== first[name]) words.set(name, state[name]);
  for (const name of SETS) for (const value of [...state[name]].sort()) words.append(name, value);
  if (state.hidden) for (const value of state.hidden.size ? [...state.hidden].sort() : [""]) words.append("hidden", value);
  const hash = words.toString();
  history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
};
const read = () => {
  const hash = location.hash.slice(1);
  if (/^r[0-9a-f]+$/.test(hash)) return jump(hash.slice(1));
  state = usual();
  const words = new URLSearchParams(hash);
  for (const name of ["table", "rule", "sort", "text"]) if (words.has(name)) state[name] = words.get(name);
  for (const name of SETS) state[name] = new Set(words.getAll(name));
  if (words.has("hidden")) state.hidden = new Set(words.getAll("hidden").filter(Boolean));
  if (!names.includes(state.table)) state.table = names[0];
  if (!rules.includes(state.rule)) state.rule = rules[0];
};
const jump = (key) => {
  const has = ({ rows }) => rows.some((row) => row.dataset.row === key);
  const place = has(current()) ? current() : tables.find(has);
  if (!place) return;
  state.table = place.family.dataset.family || "";
  state.rule = place.family.dataset.rule || "";
  state.open.add(key);
  setTimeout(() => { place.rows.find((row) => row.dataset.row === key).scrollIntoView({ block: "center" }); });
};

// What is shown.
const sorted = ({ heads, rows }) => {
  const place = heads.findIndex((head) => headOf(head) === state.sort.slice(1));
  if (!state.sort || place < 0) return rows;
  const sign = state.sort[0] === "-" ? -1 : 1;
  const isNumber = heads[place].dataset.kind === "number";
  const value = (row) => { const text = row.cells[place].textContent.trim(); return isNumber ? number(text) : text; };
  const unknown = (one) => one === "" || Number.isNaN(one);
  return rows.map((row) => [value(row), row]).sort(([a], [b]) => {
    if (unknown(a) || unknown(b)) return unknown(a) - unknown(b);
    return sign * (isNumber ? a - b : a.localeCompare(b, "en"));
  }).map(([, row]) => row);
};
const wanted = (row) => {
  const text = state.text.trim().toLowerCase();
  if (state.verdict.size && !state.verdict.has(row.dataset.verdict)) return false;
  const words = [...row.cells].filter((cell) => cell.tagName === "TH" || cell.classList.contains("w"));
  return !text || words.some((cell) => cell.textContent.toLowerCase().includes(text));
};
const putBack = () => {
  for (const more of all("tr.more")) {
    const row = more.querySelector("details.row");
    if (row) { row.open = false; home.append(row); }
    more.remove();
  }
};
const openRow = (row, columns) => {
  const details = document.getElementById(`r${row.dataset.row}`);
  if (!details) return;
  const more = make("tr", { class: "more" });
  const cell = make("td", { colspan: columns });
  details.open = true;
  cell.append(details);
  more.append(cell);
  row.after(more);
};
const show = () => {
  putBack();
  const now = current();
  tables.forEach((table, place) => {
    const shown = table === now;
    table.family.hidden = !shown;
    table.family.open = true;
    const figure = figures[place];
    if (figure) (shown ? document.getElementById("picture") : table.family.querySelector(".picture")).append(figure);
  });
  let count = 0;
  now.body.append(...sorted(now));
  if (state.text) whole.click();
  now.usual ||= tooMany(now);
  const hidden = now.heads.map((head) => hiddenIn(now).has(headOf(head)));
  now.heads.forEach((head, place) => {
    head.hidden = hidden[place];
    const sort = state.sort.slice(1) === headOf(head) ? { "+": "ascending", "-": "descending" }[state.sort[0]] : null;
    if (sort) head.setAttribute("aria-sort", sort); else head.removeAttribute("aria-sort");
  });
  for (const row of now.rows) {
    row.hidden = !wanted(row);
    count += !row.hidden;
    [...row.cells].forEach((cell, place) => { cell.hidden = hidden[place]; });
    const link = row.querySelector("a.to-row");
    const opened = state.open.has(row.dataset.row);
    if (link) { link.setAttribute("role", "button"); link.setAttribute("aria-expanded", opened); }
    if (opened && !row.hidden) openRow(row, hidden.filter((one) => !one).length);
  }
  draw(now, count);
};
const changed = () => { show(); write(); };

// Which columns are hidden: those that were chosen, or as many of those that a row opens too as the table needs to fit
// its frame, the last ones first. Cards have room for all.
const hiddenIn = (table) => state.hidden || table.usual;
const tooMany = ({ table, heads, rows }) => {
  const hidden = new Set();
  if (matchMedia("(max-width: 640px)").matches) return hidden;
  const cells = (place) => [heads[place], ...rows.map((row) => row.cells[place])];
  heads.forEach((_, place) => { for (const cell of cells(place)) cell.hidden = false; });
  for (const name of ["metric", "seeds"]) {
    for (let place = heads.length - 1; place >= 0; place--) {
      if (table.offsetWidth <= table.parentElement.clientWidth) return hidden;
      if (heads[place].dataset.more !== name) continue;
      hidden.add(headOf(heads[place]));
      for (const cell of cells(place)) cell.hidden = true;
    }
  }
  return hidden;
};
let wide = innerWidth;
addEventListener("resize", () => {
  if (innerWidth === wide) return;
  wide = innerWidth;
  for (const table of tables) table.usual = null;
  show();
});

// The controls.
const bar = make("div", { class: "bar-of-controls", role: "group", "aria-label": "what the table shows" });
families[0].before(bar);
const choice = (name, label, values) => {
  const select = make("select", { "aria-label": label, id: `choose-${name}` });
  for (const value of values) select.append(make("option", { value }, value));
  select.onchange = () => { state[name] = select.value; changed(); };
  return select;
};
const parts = {
  table: choice("table", "table", names),
  rule: choice("rule", "selection rule", rules),
  text: make("input", { type: "search", placeholder: "Filter rows", "aria-label": "filter rows", id: "filter" }),
  verdicts: make("span", { class: "verdicts" }),
  columns: make("details", { class: "columns" }),
  sort: make("select", { class: "sorting", "aria-label": "sort by", id: "sort" }),
  count: make("span", { class: "count", role: "status" }),
};
parts.table.hidden = names.length < 2;
parts.rule.hidden = rules.length < 2;
parts.text.oninput = () => { state.text = parts.text.value; changed(); };
parts.sort.onchange = () => { state.sort = parts.sort.value; changed(); };
bar.append(...Object.values(parts));
const reset = make("button", { type: "button", id: "reset" }, "Reset");
reset.onclick = () => { state = usual(); changed(); };
bar.append(reset);
const toggled = (set, value) => { if (!set.delete(value)) set.add(value); changed(); };
let drawn = null;
const draw = (now, count) => {
  parts.table.value = state.table;
  parts.rule.value = now.family.dataset.rule || "";
  if (parts.text.value !== state.text) parts.text.value = state.text;
  if (drawn !== now) drawControls(now);
  drawn = now;
  for (const button of all("button", parts.verdicts)) button.setAttribute("aria-pressed", state.verdict.has(button.dataset.verdict));
  for (const box of all("input", parts.columns)) box.checked = !hiddenIn(now).has(box.value);
  const folded = now.heads.filter((head) => head.hidden).length;
  parts.columns.querySelector("summary").textContent = folded ? `Columns (${folded} hidden)` : "Columns";
  parts.sort.value = state.sort;
  parts.count.textContent = count === now.rows.length ? `${count} rows` : `${count} of ${now.rows.length} rows`;
  reset.disabled = !location.hash && JSON.stringify(state, plain) === JSON.stringify(usual(), plain);
};
const plain = (_, value) => value instanceof Set ? [...value] : value;
const drawControls = (now) => {
  const counts = new Map();
  for (const row of now.rows) {
    const mark = row.querySelector(".mark");
    if (!row.dataset.verdict || !mark || row.dataset.verdict === "baseline" || row.dataset.verdict === "none") continue;
    const [words, times] = counts.get(row.dataset.verdict) || [mark.textContent.trim(), 0];
    counts.set(row.dataset.verdict, [words, times + 1]);
  }
  const buttons = counts.size > 1 ? [...counts].map(([verdict, [words, times]]) => {
    const button = make("button", { type: "button", "data-verdict": verdict }, `${words.replace(" to the baseline", "")} ${times}`);
    button.onclick = () => toggled(state.verdict, verdict);
    return button;
  }) : [];
  parts.verdicts.replaceChildren(...buttons.flatMap((button) => [button, " "]));
  const boxes = now.heads.filter((head) => head.dataset.kind !== "name").map((head) => {
    const label = make("label");
    const box = make("input", { type: "checkbox", value: headOf(head) });
    box.onchange = () => toggled(state.hidden = new Set(hiddenIn(now)), headOf(head));
    label.append(box, ` ${headOf(head)}`);
    return label;
  });
  const list = make("div");
  list.append(...boxes);
  parts.columns.replaceChildren(make("summary", {}, "Columns"), list);
  const orders = now.heads.flatMap((head) => [["+", "↑"], ["-", "↓"]].map(([sign, arrow]) =>
    make("option", { value: sign + headOf(head) }, `${headOf(head)} ${arrow}`)));
  parts.sort.replaceChildren(make("option", { value: "" }, "Sort by …"), ...orders);
};
document.addEventListener("click", (event) => {
  const link = event.target.closest("a.to-row");
  if (link) { event.preventDefault(); toggled(state.open, link.closest("tr").dataset.row); }
  if (parts.columns.open && !parts.columns.contains(event.target)) parts.columns.open = false;
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") parts.columns.open = false;
  const link = event.key === " " && event.target.closest("a.to-row");
  if (link) { event.preventDefault(); link.click(); }
});

// A point of the picture and its row belong together.
const light = (event, on) => {
  const row = event.target.closest && event.target.closest("tr[data-row]");
  const point = event.target.closest && event.target.closest(".scatter a");
  const key = row ? row.dataset.row : point ? (point.getAttribute("href") || "").split("#r")[1] : "";
  if (!key) return;
  for (const one of all(`tr[data-row="${key}"], .scatter a[href$="#r${key}"]`)) one.classList.toggle("lit", on);
};
document.addEventListener("mouseover", (event) => light(event, true));
document.addEventListener("mouseout", (event) => light(event, false));

// Printing: all tables, and of the rows those that are open. All rows would be a book.
let before = null;
addEventListener("beforeprint", () => {
  before = all("details").filter((one) => !home || !home.contains(one)).map((one) => [one, one.open, one.hidden]);
  root.classList.remove("js");
  for (const [one] of before) { one.open = true; one.hidden = false; }
  for (const one of all("tr, td, th", document.querySelector("main"))) one.hidden = false;
  if (home) home.hidden = true;
});
addEventListener("afterprint", () => {
  root.classList.add("js");
  for (const [one, open, hidden] of before || []) { one.open = open; one.hidden = hidden; }
  if (home) home.hidden = false;
  show();
});

addEventListener("hashchange", () => { read(); show(); });
read();
show();
})();
