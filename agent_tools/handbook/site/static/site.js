// A number's link names values of a record, #/BASE:FIGURE,FIGURE (see agent_tools/handbook/figures.py). Their rows are
// unfolded and marked, and the first one comes into view.
"use strict";

function namedPaths(fragment) {
  const colon = fragment.indexOf(":");
  if (colon < 0) return [fragment];
  const base = fragment.slice(0, colon).replace(/\/$/, "");
  const figures = fragment.slice(colon + 1).split(",");
  // ratio!@0!seconds: a calculation, the line's own first number, a path
  const paths = figures.flatMap((figure) => (figure.includes("!") ? figure.split("!").slice(1) : [figure]));
  return paths.filter((path) => !path.startsWith("@")).map((path) => `${base}/${path}`);
}

function rowsOf(path) {
  if (!path.includes("*")) return [document.getElementById(path)].filter(Boolean);
  const steps = path.split("/").map((step) => (step === "*" ? "[^/]+" : step.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")));
  const pattern = new RegExp(`^${steps.join("/")}$`);
  return [...document.querySelectorAll("table.values tr[id]")].filter((row) => pattern.test(row.id));
}

function markRows() {
  document.querySelectorAll("tr.named").forEach((row) => row.classList.remove("named"));
  const fragment = location.hash.slice(1);
  if (!fragment.startsWith("/")) return;
  const rows = namedPaths(fragment).flatMap(rowsOf);
  for (const row of rows) {
    row.classList.add("named");
    for (let fold = row.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
  }
  // an unfolded row may be longer than the window: its head is what has to be seen
  const head = rows[0]?.querySelector("summary") ?? rows[0];
  head?.scrollIntoView({ block: "center", behavior: "instant" });
}

addEventListener("hashchange", markRows);
markRows();
