// Saved views: stored on the server for their owner, opened by anybody who has the link.
import { ask, fail, post } from "./app.js";
import { content, fromView } from "./runs_state.js";

const menu = document.getElementById("view");
const owner = document.getElementById("live").dataset.owner;

export class Views {
  /** *current()* gives the state to save; *open(state, view)* shows that of a view. */
  constructor(current, open) {
    Object.assign(this, { current, openState: open, shown: null });
    menu.addEventListener("change", () => this.open(menu.value).catch((error) => fail(error.message)));
    const doing = { "view-save": () => this.save(), "view-delete": () => this.remove(), "view-link": () => this.copy() };
    for (const [id, work] of Object.entries(doing)) {
      document.getElementById(id).addEventListener("click", () => work().catch((error) => fail(error.message)));
    }
  }

  async list() {
    this.views = (await ask("/v1/views")).views;
    const options = this.views.map((view) => new Option(view.name, view.id));
    if (this.shown && !this.views.some((view) => view.id === this.shown.id)) {
      options.push(new Option(`${this.shown.name} (of ${this.shown.owner})`, this.shown.id));
    }
    menu.replaceChildren(new Option("none", ""), ...options);
    menu.value = this.shown?.id ?? "";
    document.getElementById("view-delete").hidden = this.shown?.owner !== owner;
  }

  async open(id) {
    this.shown = id ? await ask(`/v1/views/${encodeURIComponent(id)}`) : null;
    this.openState(this.shown ? fromView(this.shown.content) : null, this.shown);
    await this.list();
  }

  /** Save under a name: that of the shown view, unless the reader gives another. */
  async save() {
    const own = this.shown?.owner === owner ? this.shown : null;
    const name = prompt("Save what the table shows as a view named", own?.name ?? "")?.trim();
    if (!name) return;
    const body = { name, content: content(this.current()) };
    const same = this.views.find((view) => view.name === name);
    this.shown = same ? await ask(`/v1/views/${same.id}`, { method: "PUT", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }) : await post("/v1/views", body);
    this.openState(fromView(this.shown.content), this.shown);
    await this.list();
  }

  async remove() {
    if (!confirm(`Delete the view “${this.shown.name}”? The runs stay.`)) return;
    await ask(`/v1/views/${this.shown.id}`, { method: "DELETE" });
    await this.open("");
  }

  async copy() {
    await navigator.clipboard.writeText(location.href);
    const button = document.getElementById("view-link");
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy link"; }, 2000);
  }
}
