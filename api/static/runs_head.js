// The head of the table of runs: sorting by a click, and a menu that pins, moves and removes a column.
import { metricOf, ordered, reductions } from "./runs_state.js";

const menu = document.getElementById("column-menu");

function button(kind, label, work) {
  const found = document.createElement("button");
  found.type = "button";
  found.className = kind;
  found.textContent = label;
  found.addEventListener("click", work);
  return found;
}

export class Head {
  /** *change(work)* lets *work* change the state, and shows the result. */
  constructor(grid, change) {
    this.grid = grid;
    this.change = change;
    this.row = document.createElement("tr");
    grid.table.tHead.append(this.row);
    grid.table.tHead.addEventListener("keydown", (event) => this.key(event));
    menu.addEventListener("keydown", (event) => this.menuKey(event));
  }

  show(state, columns) {
    this.state = state;
    const focused = document.activeElement?.closest?.("th[data-column]")?.dataset.column;
    const pick = document.createElement("td");
    pick.className = "pick pinned";
    pick.style.left = "0";
    this.row.replaceChildren(pick, ...columns.map((column, place) => this.heading(column, place)));
    this.row.querySelector(".sort")?.setAttribute("tabindex", "0");
    if (focused) this.focus(focused);
  }

  focus(name) {
    this.row.querySelector(`th[data-column="${CSS.escape(name)}"] .sort`)?.focus();
  }

  heading({ name, kind }, place) {
    const th = document.createElement("th");
    th.scope = "col";
    th.dataset.column = name;
    th.className = kind === "number" ? "number" : "";
    const turned = this.state.sort === `-${name}`;
    const sorted = turned || this.state.sort === name;
    th.setAttribute("aria-sort", sorted ? (turned ? "descending" : "ascending") : "none");
    const holder = document.createElement("div");
    holder.className = "head";
    const sort = button("sort", `${name}${sorted ? (turned ? " ↓" : " ↑") : ""}`, () => this.sort(name, kind));
    sort.title = `Sort by ${name}`;
    sort.tabIndex = -1;
    const more = button("more", "⋮", () => this.open(name, more));
    more.tabIndex = -1;
    more.setAttribute("aria-label", `Menu of the column ${name}`);
    more.setAttribute("aria-haspopup", "menu");
    holder.append(sort, more);
    th.append(holder);
    this.grid.pin(th, place);
    return th;
  }

  /** A first click sorts numbers and moments from the largest, texts from A; the next one turns it. */
  sort(name, kind) {
    const large = kind === "number" || kind === "moment";
    const usual = large ? `-${name}` : name;
    const other = large ? name : `-${name}`;
    this.change((state) => { state.sort = state.sort === usual ? other : usual; });
  }

  key(event) {
    const buttons = [...this.row.querySelectorAll(".sort")];
    const at = buttons.indexOf(event.target.closest("th")?.querySelector(".sort"));
    const name = event.target.closest("th")?.dataset.column;
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (to !== undefined) this.step(buttons, to);
    else if (event.key.toLowerCase() === "m" && name) this.open(name, event.target.closest("th").querySelector(".more"));
    else if (event.key === "ArrowDown") this.grid.table.focus();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  step(buttons, to) {
    const next = buttons[Math.max(0, Math.min(buttons.length - 1, to))];
    for (const each of buttons) each.tabIndex = each === next ? 0 : -1;
    next.focus();
    next.closest("th").scrollIntoView({ inline: "nearest", block: "nearest" });
  }

  open(name, at) {
    this.column = name;
    menu.replaceChildren(...this.actions(name).map(([label, work]) => {
      const item = button("", label, () => { menu.hidePopover(); this.change(work); this.focus(name); });
      item.setAttribute("role", "menuitem");
      return item;
    }));
    menu.setAttribute("aria-label", `Column ${name}`);
    menu.showPopover();
    const { left, bottom } = at.getBoundingClientRect();
    menu.style.left = `${Math.max(4, Math.min(left, innerWidth - menu.offsetWidth - 4))}px`;
    menu.style.top = `${Math.max(4, Math.min(bottom, innerHeight - menu.offsetHeight - 4))}px`;
    menu.firstElementChild.focus();
  }

  actions(name) {
    const pinned = this.state.pinned.includes(name);
    const metric = metricOf(name);
    const found = [
      ["Sort from the smallest", (state) => { state.sort = name; }],
      ["Sort from the largest", (state) => { state.sort = `-${name}`; }],
      pinned
        ? ["Unpin", (state) => { state.pinned = state.pinned.filter((other) => other !== name); }]
        : ["Pin", (state) => { state.pinned = [...state.pinned, name]; }],
      ["Move left", (state) => move(state, name, -1)],
      ["Move right", (state) => move(state, name, 1)],
    ];
    for (const reduction of metric ? reductions.filter((r) => r !== metric.reduction) : []) {
      const other = reduction === "last" ? metric.metric : `${metric.metric}:${reduction}`;
      found.push([`Show its ${reduction}`, (state) => exchange(state, name, other)]);
    }
    if (this.state.columns.length > 1) found.push(["Remove", (state) => remove(state, name)]);
    return found;
  }

  menuKey(event) {
    const items = [...menu.children];
    const at = items.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key];
    if (event.key === "Escape" || event.key === "Tab") { menu.hidePopover(); this.focus(this.column); }
    else if (to !== undefined) items.at(to % items.length).focus();
    else return;
    event.preventDefault();
  }
}

function move(state, name, by) {
  const list = ordered(state);
  const from = list.indexOf(name);
  const to = Math.max(0, Math.min(list.length - 1, from + by));
  list.splice(to, 0, ...list.splice(from, 1));
  state.columns = list;
}

function exchange(state, name, other) {
  const replaced = (list) => [...new Set(list.map((each) => (each === name ? other : each)))];
  state.columns = replaced(state.columns);
  state.pinned = replaced(state.pinned);
  if (state.sort.replace(/^-/, "") === name) state.sort = state.sort.replace(name, other);
}

export function remove(state, name) {
  state.columns = state.columns.filter((other) => other !== name);
  state.pinned = state.pinned.filter((other) => other !== name);
  if (state.sort.replace(/^-/, "") === name) state.sort = "-created_at";
}
