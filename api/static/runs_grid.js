// The table of runs: only the visible rows exist, however many there are; the keyboard moves through them.
import { text, whole } from "./runs_values.js";

const HEIGHT = 34; // of a row, as in the style sheet
const BEYOND = 12; // rows above and below those in sight
const PICK = 44;
const NARROW = 640;
const WIDTHS = { name: 220, state: 120, study: 180, created_at: 150, started_at: 150, finished_at: 150, fingerprint: 160, id: 160 };

const widthOf = (name) => WIDTHS[name] ?? Math.min(220, Math.max(110, 40 + 8 * name.length));

function make(tag, kind = "", content = "") {
  const element = document.createElement(tag);
  element.className = kind;
  element.textContent = content;
  return element;
}

/** The name of a run: its name or the end of its id; for runs with several names, their number. */
function called(row, value, shown) {
  if (value !== null && typeof value === "object" && "varies" in value) return `${row.jobs.length} runs`;
  return shown === "–" ? row.id.slice(-12) : shown;
}

/** A placeholder for the rows above or below those that are drawn. */
function filler() {
  const line = make("tr", "filler");
  line.setAttribute("aria-hidden", "true");
  line.append(make("td"));
  return line;
}

export class Grid {
  /** *selection* knows what is selected; *open(row)* and *failed(error)* are called. */
  constructor(box, selection, { open, failed, href }) {
    Object.assign(this, { box, selection, openRow: open, failed, href, active: 0, anchor: 0, columns: [] });
    this.table = box.querySelector("table");
    this.body = this.table.tBodies[0];
    this.lines = new Map(); // those that are drawn, by the place of their row
    [this.above, this.below] = [filler(), filler()];
    this.body.replaceChildren(this.above, this.below);
    box.addEventListener("scroll", () => this.draw(), { passive: true });
    new ResizeObserver(() => this.draw()).observe(box);
    this.table.addEventListener("keydown", (event) => { if (event.target === this.table) this.key(event); });
    this.body.addEventListener("click", (event) => this.click(event));
  }

  /** Show *rows* (Pages or Groups, which are *means*) in *columns* of {name, kind}; the first *pinned* stay visible. */
  show(rows, columns, pinned, means) {
    const same = columns.map((c) => c.name).join() === this.columns.map((c) => c.name).join() && pinned === this.pinned;
    Object.assign(this, { rows, columns, pinned, means });
    if (!same) this.box.scrollLeft = 0;
    const group = this.table.querySelector("colgroup");
    const widths = [PICK, ...columns.map((c) => this.width(c))];
    // a width in pixels; without it the widest text decides, and columns move while rows appear
    this.table.style.width = `${widths.reduce((sum, width) => sum + width, 0)}px`;
    group.replaceChildren(...widths.map((width) => {
      const column = document.createElement("col");
      column.style.width = `${width}px`;
      return column;
    }));
    this.redraw();
  }

  /** Means over seeds need room for their intervals. */
  width({ name }) {
    const room = this.narrow && this.pinned && name === this.columns[0].name ? this.box.clientWidth / 2 - PICK : Infinity;
    return Math.min(room, widthOf(name) + (this.means && name.includes("/") ? 80 : 0));
  }

  /** On a phone, pinned columns must leave room for the others. */
  get narrow() { return this.box.clientWidth < NARROW; }

  get total() { return this.rows?.total ?? 0; }

  get headHeight() { return this.table.tHead.offsetHeight; }

  draw() {
    if (!this.rows) return;
    const first = Math.max(0, Math.floor(this.box.scrollTop / HEIGHT) - BEYOND);
    const last = Math.min(this.total, first + Math.ceil(this.box.clientHeight / HEIGHT) + 2 * BEYOND);
    const { rows } = this;
    // everybody who waits gets the same refusal, and it may arrive when the table shows other rows
    rows.want(first, Math.max(first, last - 1)).catch((error) => { if (rows === this.rows) this.failed(error); });
    const drawn = `${first} ${last} ${this.total}`;
    if (this.drawn === drawn) return;
    this.fill(first, last, this.drawn === null);
    this.drawn = drawn;
    this.table.setAttribute("aria-rowcount", String(this.total + 1));
    this.mark();
  }

  /** Make the lines of the rows from *first* to before *last*; unless *anew*, those that stay visible are kept. */
  fill(first, last, anew) {
    const lines = new Map();
    for (let i = first; i < last; i += 1) lines.set(i, (anew ? null : this.lines.get(i)) ?? this.line(i));
    // make all of them before moving one: making one reads the layout, which must not have changed
    for (const [i, line] of this.lines) if (lines.get(i) !== line) line.remove();
    let before = this.above;
    for (const line of lines.values()) {
      if (before.nextSibling !== line) before.after(line);
      before = line;
    }
    this.lines = lines;
    for (const [line, rows] of [[this.above, first], [this.below, this.total - last]]) {
      line.hidden = rows <= 0;
      line.firstChild.colSpan = this.columns.length + 1;
      line.firstChild.style.height = `${rows * HEIGHT}px`;
    }
  }

  /** Draw the visible rows again, because some have arrived or changed. */
  redraw() {
    this.drawn = null;
    this.draw();
  }

  line(i) {
    const row = this.rows.row(i);
    const line = make("tr");
    line.id = `run-${i}`;
    line.dataset.at = i;
    line.setAttribute("aria-rowindex", String(i + 2));
    if (!row) {
      const cell = make("td", "quiet", "Loading…");
      cell.colSpan = this.columns.length + 1;
      line.append(cell);
      return line;
    }
    line.setAttribute("aria-selected", String(this.selection.has(row)));
    line.append(this.picker(row), ...this.columns.map((column, place) => this.cell(row, column, place)));
    return line;
  }

  picker(row) {
    const cell = make("td", this.pinned ? "pick pinned" : "pick");
    const box = document.createElement("input");
    box.type = "checkbox";
    box.tabIndex = -1;
    box.checked = this.selection.has(row);
    box.setAttribute("aria-label", `Select ${this.nameOf(row)}`);
    cell.style.left = "0";
    cell.append(box);
    return cell;
  }

  nameOf(row) {
    const value = row.values[this.columns.findIndex((c) => c.name === "name")];
    return called(row, value, typeof value === "string" ? value : "–");
  }

  cell(row, column, place) {
    const value = row.values[place];
    const cell = make("td", column.kind === "number" ? "number" : "");
    this.pin(cell, place);
    const shown = text(value, column.kind, column.name);
    if (place === 0 || column.name === "name") cell.append(this.link(row, called(row, value, shown)));
    else if (column.name === "state" && typeof value === "string") cell.append(make("span", `state ${value}`, value));
    else if (column.name === "state") cell.textContent = Object.entries(row.states).map(([state, n]) => `${n} ${state}`).join(", ");
    else cell.textContent = shown;
    cell.title = whole(value, column.kind, column.name);
    return cell;
  }

  link(row, shown) {
    const link = make("a", "", shown);
    link.href = this.href(row);
    link.tabIndex = -1;
    return link;
  }

  /** Keep a cell of a pinned column visible; on a narrow screen only the first one. */
  pin(cell, place) {
    const kept = this.narrow ? Math.min(1, this.pinned) : this.pinned;
    if (place >= kept) return;
    cell.classList.add("pinned");
    cell.style.left = `${PICK + this.columns.slice(0, place).reduce((sum, c) => sum + this.width(c), 0)}px`;
  }

  key(event) {
    const page = Math.max(1, Math.floor((this.box.clientHeight - this.headHeight) / HEIGHT) - 1);
    const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    const row = this.rows?.row(this.active);
    if (event.key in moves) this.move(moves[event.key], event.shiftKey);
    else if (event.key === " " && row) { this.selection.toggle(row); this.anchor = this.active; }
    else if (event.key === "Enter" && row) this.openRow(row);
    else if (event.key === "Escape") this.selection.clear();
    else if (event.key.toLowerCase() === "a" && (event.ctrlKey || event.metaKey)) this.selection.all();
    else return;
    event.preventDefault();
  }

  move(by, extending) {
    this.active = Math.max(0, Math.min(this.total - 1, this.active + by));
    const top = this.active * HEIGHT;
    const room = this.box.clientHeight - this.headHeight;
    if (top < this.box.scrollTop) this.box.scrollTop = top;
    if (top + HEIGHT > this.box.scrollTop + room) this.box.scrollTop = top + HEIGHT - room;
    if (extending) this.range(this.anchor, this.active);
    else this.anchor = this.active;
    this.draw();
    this.mark();
  }

  range(from, to) {
    const rows = [];
    for (let i = Math.min(from, to); i <= Math.max(from, to); i += 1) if (this.rows.row(i)) rows.push(this.rows.row(i));
    this.selection.add(rows);
  }

  mark() {
    this.active = Math.max(0, Math.min(this.active, this.total - 1));
    for (const line of this.body.querySelectorAll("tr.active")) line.classList.remove("active");
    const line = document.getElementById(`run-${this.active}`);
    line?.classList.add("active");
    if (line) this.table.setAttribute("aria-activedescendant", line.id);
    else this.table.removeAttribute("aria-activedescendant");
  }

  click(event) {
    const line = event.target.closest("tr[data-at]");
    if (!line || event.target.closest("a")) return;
    const at = Number(line.dataset.at);
    const row = this.rows.row(at);
    if (!row) return;
    if (event.shiftKey) this.range(this.anchor, at);
    else { this.selection.toggle(row); this.anchor = at; }
    this.active = at;
    this.table.focus({ preventScroll: true });
    this.mark();
  }
}
