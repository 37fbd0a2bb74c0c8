// The menus of a study's page: each factor is in one of them. The address contains the choices, for links and reloads.

const FACTORS = ["rows", "columns", "panels"];
const FIELDS = ["metric", "reduction", "around", ...FACTORS, "reference"];
const given = new URLSearchParams(location.search);
let lost = []; // what the address asks for in vain

/** Set the fields *names* of *form* as the address says, the first time; a menu must offer the value. */
export function restore(form, names) {
  for (const name of names.filter((one) => given.has(one))) {
    const field = form[name];
    const value = given.get(name);
    given.delete(name); // what the reader chooses later counts
    if (!field.options || [...field.options].some((option) => option.value === value)) field.value = value;
    else if (value) lost.push(name === "reference" ? `comparing with ${pair(value)}` : `${name} = ${value}`);
  }
}

/** A reference in words: it is written as a factor and its value. */
function pair(value) {
  try { return JSON.parse(value).join(" = "); } catch { return value; }
}

/** Remove the values from *chosen* that none of *factors* has; they came from the address. */
export function keepKnown(chosen, factors) {
  for (const [name, value] of [...chosen]) {
    if (factors.find((factor) => factor.name === name)?.values.includes(value)) continue;
    chosen.delete(name);
    lost.push(`${name} = ${value}`);
  }
}

/** Say in *box* what the address asks for and the study does not have. */
export function tellLost(box) {
  box.hidden = lost.length === 0;
  box.textContent = lost.length ? `This study does not have what the link asks for: ${lost.join("; ")}. The rest is as the link says.` : "";
}

/** Forget it, because the user has made a new choice. */
export const forgetLost = () => { lost = []; };

/** The values of factors that are not shown, as the address says. */
export function fixedValues() {
  return given.getAll("where").map((text) => [text.slice(0, text.indexOf("=")), text.slice(text.indexOf("=") + 1)]);
}

/** Write the choices of *form* and the values that *chosen* fixes into the address. */
export function remember(form, chosen) {
  const query = new URLSearchParams(FIELDS.map((name) => [name, form[name].value]));
  for (const [name, value] of chosen) query.append("where", `${name}=${value}`);
  history.replaceState(null, "", `${location.pathname}?${query}`);
}

/** A factor that *changed* took is taken out of the other menus; rows take one that is free. */
export function keepApart(form, changed) {
  for (const other of FACTORS.map((name) => form[name]).filter((menu) => menu !== changed && menu.value && menu.value === changed.value)) {
    const taken = FACTORS.filter((name) => form[name] !== other).map((name) => form[name].value);
    const free = [...other.options].map((option) => option.value).filter((value) => !taken.includes(value));
    if (other !== form.rows) other.value = "";
    else if (free.length) other.value = free[0];
    else changed.value = ""; // the only factor stays a row
  }
}
