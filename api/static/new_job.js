// New job: every change is validated on the server, which knows all the rules.
import { at, fail, inProject, post, throttled } from "./app.js";
import { uploading } from "./code_upload.js";
import { JobForm, validate } from "./form.js";
import { compare, reading, write } from "./form_yaml.js";
import { marked } from "./marked.js";

const element = document.getElementById("form");
const form = new JobForm(element);
const verdict = document.getElementById("verdict");
const given = JSON.parse(document.getElementById("spec").textContent);
// One key per filled form: a second click or a repeated request creates no second job.
let key = null;
let keyFor = null;
let asked = 0; // only the latest answer is shown: an earlier one is of another job

function line(text, name = "p", kind = "") {
  const p = document.createElement(name);
  p.append(...marked(text));
  p.className = kind;
  return p;
}

const check = throttled(async () => {
  const mine = asked += 1;
  verdict.setAttribute("aria-busy", "true"); // what it says is of an earlier job
  const spec = form.spec();
  document.getElementById("json").textContent = JSON.stringify(spec, null, 2);
  await write(spec);
  const { validation, problems } = await validated(spec, mine);
  if (mine !== asked) return;
  verdict.removeAttribute("aria-busy");
  const elsewhere = form.complain(problems || []);
  document.getElementById("submit").disabled = Boolean(problems);
  if (problems) {
    const found = problems.length === 1 ? "One field is" : `${problems.length} fields are`;
    verdict.replaceChildren(line(`${found} not valid yet:`), list(problems));
    return elsewhere;
  }
  if (given) compare(given, validation.spec);
  verdict.replaceChildren(
    line(`On ${validation.device}: ${validation.device_reason}`),
    line(`${validation.samples_per_update} samples per update, ${validation.steps ?? "an unknown number of"} updates`),
    ...(validation.parameters === null ? [] : [line(`${validation.parameters.toLocaleString()} parameters`)]),
    line(`Running time: ${validation.estimate}`),
    ...(validation.memory_bytes === null ? [] : [line(`about ${(validation.memory_bytes / 2 ** 20).toFixed(0)} MiB of memory`)]),
    line(`Place ${validation.queue_position} in the queue`),
    verdicts(validation.verdicts),
  );
}, 400);

async function validated(spec, mine) {
  try { return await validate(spec); } catch (error) {
    if (mine !== asked) throw error;
    verdict.removeAttribute("aria-busy");
    verdict.replaceChildren(line(`Not known: ${error.message} The next change tries again.`, "p", "quiet"));
    throw error;
  }
}

function list(problems) {
  const ul = document.createElement("ul");
  ul.append(...problems.map(({ field, rule }) => line(`${field}: ${rule}`, "li", "wrong")));
  return ul;
}

function verdicts(found) {
  const ul = document.createElement("ul");
  ul.className = "plain-list small quiet";
  ul.append(...found.map((v) => line(`${v.accepted ? "✓" : "✗"} ${v.device}: ${v.reason}`, "li")));
  return ul;
}

if (given) form.fill(given);
reading(form, check);
uploading(form, check);
document.getElementById("preset").addEventListener("change", ({ target }) => {
  location.assign(at(`/jobs/new${target.value ? `?recipe=${encodeURIComponent(target.value)}` : ""}`));
});
element.addEventListener("input", check);
element.addEventListener("change", check);
element.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = document.getElementById("submit");
  const spec = form.spec();
  const text = inProject("/v1/jobs") + JSON.stringify(spec);
  if (keyFor !== text) { keyFor = text; key = Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join(""); }
  button.disabled = true;
  try {
    const job = await post(inProject("/v1/jobs"), spec, { "Idempotency-Key": key });
    location.assign(at(`/jobs/${job.id}`));
  } catch (error) {
    form.complain(error.problem?.errors || []);
    fail(error.message);
    button.disabled = false;
  }
});
check();
