// The selected runs, and what is done to all of them: compare, cancel, delete, write to a file.
import { at, computed, fail, post } from "./app.js";

const MOST_COMPARED = 100;
const MOST_SELECTED = 1000;
const element = (id) => document.getElementById(id);

export class Selection {
  /** *shown()* gives the state and rows of the table; *redraw()* draws the table again, *reload()* reads it. */
  constructor(shown, redraw, reload) {
    Object.assign(this, { shown, redraw, reload, jobs: new Set() });
    element("none").addEventListener("click", () => this.clear());
    element("all").addEventListener("click", () => this.all());
    element("compare").addEventListener("click", () => this.compare());
    element("cancel").addEventListener("click", () => this.change("cancel", "Cancel"));
    element("delete").addEventListener("click", () => this.change("delete", "Delete"));
    element("tag").addEventListener("click", () => this.tag());
    element("archive").addEventListener("click", () => this.archive());
    element("unarchive").addEventListener("click", () => this.send("label", { archived: false }));
    for (const form of ["csv", "json"]) element(form).addEventListener("click", () => this.write(form));
  }

  has(row) { return row.jobs.every((job) => this.jobs.has(job)); }

  toggle(row) {
    const yes = !this.has(row);
    for (const job of row.jobs) if (yes) this.jobs.add(job); else this.jobs.delete(job);
    this.changed();
  }

  add(rows) {
    for (const row of rows) for (const job of row.jobs) this.jobs.add(job);
    this.changed();
  }

  clear() { this.jobs.clear(); this.changed(); }

  async all() {
    try {
      for (const job of await this.shown().rows.first(MOST_SELECTED)) this.jobs.add(job);
      this.changed();
    } catch (error) { fail(error.message); }
  }

  changed() {
    this.tell();
    this.redraw();
  }

  tell() {
    const selected = this.jobs.size;
    for (const id of ["compare", "cancel", "delete", "tag", "archive", "unarchive", "none"]) element(id).disabled = selected === 0;
    element("compare").disabled = selected < 2;
    element("unarchive").hidden = !/\barchived\b/.test(this.shown().state.filter); // only then can one of them be in the archive
    const total = this.shown().rows.total;
    const what = this.shown().state.grouped ? "group" : "run";
    const all = total === null ? "Loading…" : `${total.toLocaleString()} ${what}${total === 1 ? "" : "s"}`;
    element("count").textContent = selected ? `${all}, ${selected.toLocaleString()} run${selected === 1 ? "" : "s"} selected` : all;
    element("all").textContent = total > MOST_SELECTED ? `Select the first ${MOST_SELECTED.toLocaleString()}` : "Select all";
  }

  compare() {
    if (this.jobs.size > MOST_COMPARED) {
      fail(`${this.jobs.size.toLocaleString()} runs are selected, and at most ${MOST_COMPARED} can be compared at once. `
        + "Choose fewer, or choose “Mean over seeds”, which compares any number of runs by their means.");
      return;
    }
    fail("");
    const query = new URLSearchParams([...this.jobs].map((job) => ["job", job]));
    location.assign(at(`/compare?${query}`));
  }

  get runs() { return `${this.jobs.size.toLocaleString()} run${this.jobs.size === 1 ? "" : "s"}`; }

  tag() {
    const given = prompt(`Tags to add to ${this.runs}, separated by commas; a minus in front removes one:`) ?? "";
    const tags = given.split(",").map((tag) => tag.trim()).filter(Boolean);
    const removed = tags.filter((tag) => tag.startsWith("-")).map((tag) => tag.slice(1).trim());
    if (tags.length) this.send("label", { add_tags: tags.filter((tag) => !tag.startsWith("-")), remove_tags: removed });
  }

  archive() {
    if (confirm(`Archive ${this.runs}? Lists show them only with the filter archived = true.`)) this.send("label", { archived: true });
  }

  change(verb, label) {
    const what = verb === "cancel" ? "A running one first writes a checkpoint." : "They go into the trash.";
    if (confirm(`${label} ${this.runs}? ${what}`)) this.send(verb, {});
  }

  async send(verb, further) {
    try {
      const jobs = [...this.jobs];
      const found = { done: [], refused: {} };
      for (let i = 0; i < jobs.length; i += MOST_SELECTED) {
        const part = await post(`/v1/jobs:${verb}`, { jobs: jobs.slice(i, i + MOST_SELECTED), ...further });
        found.done.push(...part.done);
        Object.assign(found.refused, part.refused);
      }
      for (const job of found.done) this.jobs.delete(job);
      const refused = Object.values(found.refused);
      fail(refused.length ? `${found.done.length} of ${jobs.length} done. ${refused.slice(0, 3).join("; ")}${refused.length > 3 ? `; and ${refused.length - 3} more` : ""}` : "");
      this.reload();
      this.tell();
    } catch (error) { fail(error.message); }
  }

  /** Those of *jobs* that no longer exist. */
  async gone(jobs) {
    const { rows } = await computed(() => post("/v1/jobs:table", { jobs, columns: ["state"], limit: MOST_SELECTED }));
    const here = new Set(rows.map(({ id }) => id));
    return jobs.filter((job) => !here.has(job));
  }

  /** Write the selected runs to a file, whatever the filter is now; without a selection, all runs that it finds. */
  async write(form) {
    const { columns, sort, filter } = this.shown().question;
    if (this.jobs.size > MOST_SELECTED) {
      fail(`${this.runs} are selected, and at most ${MOST_SELECTED.toLocaleString()} can be written to one file. Choose fewer, or select none: then all runs that the filter finds are written.`);
      return;
    }
    const jobs = [...this.jobs];
    const which = jobs.length ? { jobs } : { filter };
    try {
      fail("");
      const found = await computed(() => post("/v1/jobs:export", { columns, sort, ...which, form }));
      const gone = jobs.length ? await this.gone(jobs) : [];
      if (gone.length) fail(`${gone.length} of the ${this.runs} selected ${gone.length === 1 ? "is" : "are"} not in the file, because ${gone.length === 1 ? "it has" : "they have"} been deleted since: ${gone.join(", ")}.`);
      const text = typeof found === "string" ? found : JSON.stringify(found, null, 1);
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([text], { type: form === "csv" ? "text/csv" : "application/json" }));
      link.download = `runs.${form}`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    } catch (error) { fail(error.message); }
  }
}
