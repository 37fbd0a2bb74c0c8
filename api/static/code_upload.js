// The user's own code in a form: its files are uploaded, its digest goes into `code`, its names into the menus.
import { inProject, post } from "./app.js";

/** The menus that a part of a plugin is chosen in. */
const MENUS = { normalizer: "normalizer.kind", network: "model.name", dataset: "dataset.name", optimizer: "optimizer.name", schedule: "schedule.name" };
const input = document.getElementById("upload");
const said = document.getElementById("uploaded");

/** Upload the chosen files, if the stack accepts code, and then call *changed*. */
export function uploading(form, changed) {
  input?.addEventListener("change", async (event) => {
    event.stopPropagation(); // the file itself is no field of the specification
    if (!input.files.length) return;
    tell("Uploading…");
    try {
      const files = await texts([...input.files]);
      const plugin = await post(inProject("/v1/plugins"), { name: input.files[0].name, files });
      name(form, plugin);
      tell(`${plugin.name} adds ${plugin.entries.map(({ part, name }) => `${part} ${name}`).join(", ") || "nothing"}.`);
      changed();
    } catch (error) {
      tell(error.message, true);
    }
    input.value = ""; // the same file may be chosen again, once it is mended
  });
}

async function texts(files) {
  const read = await Promise.all(files.map(async (file) => [file.webkitRelativePath || file.name, await file.text()]));
  return Object.fromEntries(read);
}

function name(form, plugin) {
  const code = form.form.querySelector('[data-path="code"]');
  const known = code.value.split(",").map((digest) => digest.trim()).filter(Boolean);
  if (!known.includes(plugin.digest)) code.value = [...known, plugin.digest].join(", ");
  for (const { part, name: own } of plugin.entries) {
    const menu = form.form.querySelector(`select[data-path="${MENUS[part]}"]`);
    if (menu && ![...menu.options].some((option) => option.value === own)) menu.add(new Option(own));
  }
}

function tell(text, wrong = false) {
  said.textContent = text;
  said.className = wrong ? "wrong" : "hint";
}
