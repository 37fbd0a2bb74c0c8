// The job form: converts fields to a spec and back, and shows problems beside their fields.
import { tryOut } from "./app.js";

export class JobForm {
  constructor(form) {
    this.form = form;
    form.addEventListener("change", (event) => {
      if (event.target.matches("[data-chooser]")) this.choose(event.target);
    });
  }

  choose(select) {
    for (const part of this.form.querySelectorAll(`[data-of="${select.dataset.path}"]`)) {
      part.hidden = part.dataset.choice !== select.value;
    }
  }

  get inputs() {
    return [...this.form.querySelectorAll("[data-path]")].filter((i) => !i.closest(".choice[hidden]"));
  }

  /** The spec without default values. Input that cannot be parsed is sent as text, so that the server explains the problem. */
  spec() {
    const spec = {};
    for (const input of this.inputs) {
      const value = valueOf(input);
      const standard = JSON.parse(input.dataset.default);
      if (JSON.stringify(value) === JSON.stringify(standard) && !needed(input)) continue;
      put(spec, input.dataset.path, value);
    }
    for (const [name, part] of Object.entries(spec)) {
      if (Array.isArray(part) && this.listed(name)) spec[name] = part.filter(Boolean); // places left free
    }
    return spec;
  }

  listed(name) {
    return this.form.querySelector(`[data-path="${name}.0.name"]`) !== null;
  }

  fill(spec) {
    for (const select of this.form.querySelectorAll("[data-chooser]")) {
      const value = at(spec, select.dataset.path);
      if (value !== undefined) { select.value = value; this.choose(select); }
    }
    for (const input of this.inputs) {
      const value = at(spec, input.dataset.path);
      if (value === undefined) continue;
      if (input.type === "checkbox") input.checked = value;
      else input.value = value === null ? "" : Array.isArray(value) ? value.join(", ") : value;
    }
  }

  /** Show problems [{field, rule}] at their fields; return those without a field in this form. */
  complain(problems) {
    for (const input of this.form.querySelectorAll("[aria-invalid]")) {
      input.removeAttribute("aria-invalid");
    }
    for (const line of this.form.querySelectorAll(".wrong")) line.hidden = true;
    return problems.filter((problem) => !this.mark(problem));
  }

  mark({ field, rule }) {
    const input = this.inputs.find((i) => i.dataset.path === field)
      || this.inputs.find((i) => i.dataset.chooser !== undefined && i.dataset.path.split(".")[0] === field)
      || this.inputs.find((i) => field.startsWith(`${i.dataset.path}.`));
    if (!input) return false;
    const line = input.closest(".field").querySelector(".wrong");
    input.setAttribute("aria-invalid", "true");
    input.setAttribute("aria-errormessage", line.id);
    line.textContent = rule;
    line.hidden = false;
    for (let around = input.closest("details"); around; around = around.parentElement.closest("details")) around.open = true;
    return true;
  }
}

const needed = (input) => input.dataset.path === "normalizer.kind"
  || (input.dataset.chooser !== undefined && input.value !== JSON.parse(input.dataset.default));

export function valueOf(input) {
  if (input.type === "checkbox") return input.checked;
  const text = input.value.trim();
  if (text === "") return input.dataset.type === "list" ? [] : null;
  if (input.dataset.type === "integer" || input.dataset.type === "number") {
    const number = Number(text);
    return Number.isFinite(number) ? number : text;
  }
  if (input.dataset.type === "list") {
    return text.split(",").map((part) => part.trim()).filter(Boolean).map((part) => (Number.isFinite(Number(part)) ? Number(part) : part));
  }
  return text;
}

function put(spec, path, value) {
  const parts = path.split(".");
  const last = parts.pop();
  parts.forEach((part, i) => {
    spec = spec[part] ??= /^\d+$/.test(parts[i + 1] ?? last) ? [] : {};
  });
  spec[last] = value;
}

const at = (spec, path) => path.split(".").reduce((found, part) => found?.[part], spec);

/** Validate a spec on the server; return {validation} or {problems, detail}. */
export async function validate(spec) {
  try {
    return { validation: await tryOut("/v1/jobs:validate", spec) };
  } catch (error) {
    if (error.problem?.errors?.length) return { problems: error.problem.errors, detail: error.message };
    throw error;
  }
}
