// Files of a study: the table in each format, and the shown figure, as the command line draws it.
import { at, fail } from "./app.js";

const WAIT_MS = 1000;

/** Point the links in *boxes* to what is shown: *question* is of the server's results, *drawing* of its figure. */
export function point(study, question, view, drawing) {
  for (const link of document.querySelectorAll("#exports a, #figures a")) {
    const query = new URLSearchParams([...question, ["format", link.dataset.format]]);
    const isFigure = link.closest("#figures") !== null;
    const asShown = isFigure || ["latex", "markdown"].includes(link.dataset.format);
    for (const [name, value] of asShown ? view : []) query.append(name, value);
    for (const [name, value] of isFigure ? drawing : []) query.append(name, value);
    link.href = at(`/v1/studies/${study}/${isFigure ? "figure" : "results"}?${query}`);
  }
}

/** Load a file, however long that takes; then let the browser save it. */
async function save(link) {
  let answer;
  do {
    answer = await fetch(link.href);
    if (answer.status === 202) await new Promise((goOn) => setTimeout(goOn, WAIT_MS));
  } while (answer.status === 202);
  if (!answer.ok) throw new Error((await answer.json()).detail);
  const name = /filename="([^"]+)"/.exec(answer.headers.get("content-disposition"))[1];
  const file = document.createElement("a");
  file.href = URL.createObjectURL(await answer.blob());
  file.download = name;
  file.click();
  setTimeout(() => URL.revokeObjectURL(file.href), 10_000);
}

document.addEventListener("click", async (event) => {
  const link = event.target.closest("#exports a, #figures a");
  if (!link) return;
  event.preventDefault(); // a slow answer is no file yet
  link.setAttribute("aria-busy", "true");
  fail("");
  try { await save(link); } catch (error) { fail(error.message); } finally { link.removeAttribute("aria-busy"); }
});
