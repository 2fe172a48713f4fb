// What is chosen stays in the address, so that a view can be kept and handed on.

const query = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");

function keep() {
  if (!keep.ready) return;
  const chosen = new URLSearchParams();
  for (const control of document.querySelectorAll("[data-kept]")) {
    const value = control.type === "checkbox" ? (control.checked ? "1" : "") : control.value;
    if (value !== "" && !control.closest("section").hidden) chosen.set(control.id, value);
  }
  if (pairs.path) chosen.set("pair", pairs.path.id);
  history.replaceState(null, "", `#${chosen}`);
}

function restore() {
  for (const [id, value] of query) {
    const control = by(id);
    if (!control?.matches("[data-kept]")) continue;
    if (control.type === "checkbox") control.checked = value === "1";
    else if (control.type === "range") control.max = Math.max(control.max, value); // its own maximum comes with the choice
    if (control.tagName === "SELECT") control.dataset.query = value; // what it offers comes later
    if (control.type !== "checkbox") control.value = value;
  }
}

const parts = { pairs: [data.paths, pairs], series: [data.series, series], planes: [data.planes, planes], clusters: [data.maps, clusters] };

function drawAll() {
  for (const [items, part] of Object.values(parts)) if (items.length) part.draw();
}

function start() {
  by("study").textContent = `in the study ${data.study.name}`;
  restore();
  for (const [id, [items]] of Object.entries(parts)) by(id).hidden = !items.length;
  for (const [items, part] of Object.values(parts)) if (items.length) part.start();
  by("figures").hidden = !data.figures.length;
  figures();
  about();
  for (const section of document.querySelectorAll("main > section:not([hidden])")) {
    by("sections").append(make("a", { href: `#${section.id}`, textContent: section.dataset.name }));
  }
  keep.ready = true;
  dark.addEventListener("change", drawAll);
  document.documentElement.dataset.ready = "yes";
}

start();
