// Messages of the server with their names in code elements, which a terminal writes in backticks.

/** Split *text* into nodes for `append`; what is not in backticks stays text. */
export function marked(text) {
  return String(text).split(/`([^`]+)`/).map((part, i) => (i % 2 ? Object.assign(document.createElement("code"), { textContent: part }) : part));
}
