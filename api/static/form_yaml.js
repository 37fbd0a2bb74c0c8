// The job or study of a form in YAML, both ways, and what differs from the job that it was copied from.
import { post } from "./app.js";
import { marked } from "./marked.js";

const things = document.getElementById("axes") ? "studies" : "jobs";
const part = document.getElementById("yaml-part");
const text = document.getElementById("yaml");
const wrong = document.getElementById("yaml-wrong");

function complain(message) {
  wrong.replaceChildren(...marked(message));
  wrong.hidden = !message;
  text.toggleAttribute("aria-invalid", Boolean(message));
}

let edited = false; // by the reader, and not filled into the form yet

/** Write *spec*, unless the user is editing the text. */
export async function write(spec) {
  if (!part.open || edited) return;
  const { text: written } = await post(`/v1/${things}:write`, { spec });
  if (edited) return;
  text.value = written;
  complain("");
}

/** Let the button fill *form* from the text and then call *changed*. */
export function reading(form, changed) {
  part.addEventListener("toggle", changed);
  text.addEventListener("input", (event) => { edited = true; event.stopPropagation(); });
  document.getElementById("yaml-use").addEventListener("click", async () => {
    try {
      const { spec } = await post(`/v1/${things}:read`, { text: text.value });
      complain("");
      form.refill(spec);
      edited = false;
      changed();
    } catch (error) {
      const problems = error.problem?.errors ?? [];
      complain(problems.map(({ field, rule }) => (field === "text" ? rule : `${field}: ${rule}`)).join("; ") || error.message);
    }
  });
}

/** The fields of *before* and *after* that differ, as {path, from, to}. */
export function differing(before, after, above = "") {
  const plain = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
  return [...new Set([...Object.keys(before ?? {}), ...Object.keys(after ?? {})])].flatMap((name) => {
    const [from, to] = [before?.[name], after?.[name]];
    if (plain(from) || plain(to)) return differing(plain(from) ? from : {}, plain(to) ? to : {}, `${above}${name}.`);
    return JSON.stringify(from ?? null) === JSON.stringify(to ?? null) ? [] : [{ path: above + name, from, to }];
  });
}

const said = (value) => (value === null || value === undefined ? "–" : typeof value === "string" ? value : JSON.stringify(value));

/** List what changed from the job that the form was filled in from. */
export function compare(before, after) {
  const found = differing(before, after);
  const lines = found.length ? found.map(({ path, from, to }) => `${path}: ${said(from)} → ${said(to)}`) : ["nothing yet: this would be the same job"];
  document.getElementById("changes").hidden = false;
  document.getElementById("changed").replaceChildren(...lines.map((line) => Object.assign(document.createElement("li"), { textContent: line })));
}
