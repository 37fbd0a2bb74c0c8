// Notifies in the browser that a job or study has ended, if the user asked for it; on every page, also in the background.
import { ask, at, fail } from "./app.js";

const KEY = "normlab-watched";
const EVERY_MS = 10_000; // a browser slows this down to once a minute in a hidden tab
const ENDED = ["succeeded", "failed", "cancelled", "complete"];
const button = document.getElementById("notify");

const watched = () => JSON.parse(localStorage.getItem(KEY) ?? "[]");
const keep = (list) => localStorage.setItem(KEY, JSON.stringify(list));
const isMine = ({ url }) => url === button?.dataset.url;

function label() {
  if (!button) return;
  const on = watched().some(isMine);
  button.hidden = typeof Notification === "undefined";
  button.setAttribute("aria-pressed", String(on));
  button.textContent = on ? "Will tell me when it ends" : "Tell me when it ends";
}

async function toggle() {
  if (watched().some(isMine)) keep(watched().filter((thing) => !isMine(thing)));
  else if (await Notification.requestPermission() === "granted") keep([...watched(), { url: button.dataset.url, page: button.dataset.page, name: button.dataset.name }]);
  else fail("This browser does not allow notifications from this page; its settings for the site can change that.");
  label();
}

/** A grid of which some cells failed stays active, since it can be completed. */
const isGrid = (found) => found.counts && found.state === "active" && !found.spec.search && !found.spec.decide;

/** The text about a thing that has ended, or null while it continues. */
function ending(found) {
  const open = ["planned", "queued", "running"].some((state) => found.counts?.[state]);
  if (open || !(isGrid(found) || ENDED.includes(found.state))) return null;
  return found.error?.message ?? found.reason ?? (found.counts ? `${found.counts.succeeded ?? 0} of ${found.cells} cells succeeded` : "");
}

async function look(thing) {
  let found;
  try { found = await ask(thing.url); } catch (error) {
    if (error.problem?.status !== 404) return; // later again; what was deleted is not watched any more
    keep(watched().filter(({ url }) => url !== thing.url));
    return;
  }
  const body = ending(found);
  if (body === null || !watched().some(({ url }) => url === thing.url)) return; // or another tab has told it
  keep(watched().filter(({ url }) => url !== thing.url));
  const told = new Notification(`${thing.name}: ${isGrid(found) ? "ended" : found.state}`, { body, tag: thing.url });
  told.onclick = () => { window.focus(); location.assign(at(thing.page)); };
  label();
}

const lookAtAll = () => watched().forEach(look);
button?.addEventListener("click", () => toggle().catch((error) => fail(error.message)));
addEventListener("storage", label);
label();
if (typeof Notification !== "undefined") {
  lookAtAll();
  setInterval(lookAtAll, EVERY_MS);
}
