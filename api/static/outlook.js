// The outlook of a job that has not ended: time left, place in the queue, what would change it.
import { ask, fail, onReturn } from "./app.js";
import { marked } from "./marked.js";

const box = document.getElementById("outlook");

function fact(name, value) {
  const entry = document.createElement("div");
  const told = document.createElement("dd");
  told.append(...marked(value));
  entry.append(Object.assign(document.createElement("dt"), { textContent: name }), told);
  if (value.length > 50) entry.className = "long";
  return entry;
}

function show(found) {
  const facts = [];
  if (found.ahead !== null) facts.push(fact("Place in the queue", found.ahead ? `${found.ahead} before it, at most` : "next"));
  if (found.left) facts.push(fact(found.state === "queued" ? "Will run for" : "Time left", found.left));
  if (found.changes.length) facts.push(fact("Would start earlier if", found.changes.join("; or ")));
  box.querySelector("dl").replaceChildren(...facts);
  box.hidden = !facts.length;
}

async function look() {
  if (document.hidden) return;
  try { show(await ask(box.dataset.url)); } catch (error) { fail(error.message); }
}

if (box) {
  look();
  onReturn(look);
  setInterval(look, Number(box.dataset.every));
}
