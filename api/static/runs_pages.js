// The rows of the table of runs, fetched in pages by cursor as they become visible.
import { ask, tryOut } from "./app.js";
import { whole } from "./not_finite.js";
import { order, plain } from "./runs_values.js";

const PAGE = 200;

/** Whether the request was refused as wrong, and not only because the server is busy. */
export const refused = (error) => Boolean(error.problem?.errors?.length);

/** Runs one by one: row *i* is there once its page has arrived. */
export class Pages {
  constructor(question, changed) {
    this.question = question;
    this.changed = changed;
    this.rows = new Map();
    this.forget();
    this.total = null;
  }

  /** Forget where pages begin, but show their rows until they have been read again. */
  forget() {
    this.old = this.rows;
    this.rows = new Map();
    this.cursors = new Map([[0, null]]);
    this.turn = {};
  }

  row(i) {
    return this.rows.get(i) ?? this.old?.get(i);
  }

  /** Fetch the pages of the rows from *first* to *last*; the latest request comes first. */
  async want(first, last) {
    const end = this.total === null ? PAGE - 1 : Math.min(last, this.total - 1);
    this.wanted = [];
    for (let page = Math.floor(first / PAGE); page <= Math.floor(Math.max(end, 0) / PAGE); page += 1) {
      if (!this.rows.has(page * PAGE)) this.wanted.push(page);
    }
    if (this.busy) return this.busy;
    this.busy = this.fetchAll().finally(() => { this.busy = null; });
    return this.busy;
  }

  async fetchAll() {
    while (this.wanted.length) {
      const turn = this.turn;
      const page = this.wanted.shift();
      if (this.rows.has(page * PAGE) || (page > 0 && page * PAGE >= this.total)) continue;
      const found = await this.fetch(page);
      if (turn !== this.turn) { this.wanted.unshift(page); continue; }
      this.keep(page, found);
      this.changed(found);
    }
  }

  async fetch(page) {
    const from = Math.max(...[...this.cursors.keys()].filter((known) => known <= page));
    return tryOut("/v1/jobs:table", {
      ...this.question, cursor: this.cursors.get(from), skip: (page - from) * PAGE, limit: PAGE, count: this.total === null || page === 0,
    });
  }

  keep(page, found) {
    if (found.total !== null) this.total = found.total;
    this.columns = found.columns;
    found.rows.forEach((row, i) => this.rows.set(page * PAGE + i, { ...whole(row), jobs: [row.id] }));
    if (found.next_cursor) this.cursors.set(page + 1, found.next_cursor);
  }

  /** The ids of the first *most* runs. */
  async first(most) {
    const found = await tryOut("/v1/jobs:table", { ...this.question, columns: ["state"], limit: Math.min(1000, most) });
    return found.rows.map((row) => row.id);
  }
}

/** Runs in groups over seeds: all rows at once, sorted here. */
export class Groups {
  constructor(question, changed) {
    const { filter, columns, sort } = question;
    this.question = { filter, columns };
    this.sort = sort;
    this.changed = changed;
    this.total = null;
    this.list = [];
  }

  forget() { this.loaded = false; }

  row(i) { return this.list[i]; }

  async want() {
    if (this.loaded || this.busy) return;
    this.busy = true;
    try {
      const found = await tryOut("/v1/jobs:groups", this.question);
      this.list = found.rows.map((row) => ({ ...row, id: row.jobs[0] }));
      this.total = found.rows.length;
      this.columns = found.columns;
      this.loaded = true;
      this.arrange();
      this.changed(found);
    } finally {
      this.busy = false;
    }
  }

  /** Sort by the column; by the newest run, as the server lists groups, if it is not shown. */
  arrange() {
    const turned = this.sort.startsWith("-");
    const place = this.columns.findIndex(({ name }) => name === this.sort.slice(turned ? 1 : 0));
    if (place >= 0) this.list.sort((a, b) => order(plain(a.values[place]), plain(b.values[place]), turned));
  }

  async first(most) {
    return this.list.flatMap((row) => row.jobs).slice(0, most);
  }
}

/** Load the names that filters and columns know. */
export const names = async () => (await ask("/v1/jobs:fields")).fields;
