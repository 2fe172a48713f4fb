// Figures, and what is left out

/** Where on this page an experiment can be looked at: [section, text, what to choose]. */
function views(experiment) {
  const links = [];
  const group = data.paths.find((one) => one.experiments.some((part) => part.name === experiment));
  if (group) links.push(["pairs", `pairs of ${experiment}`, { "pair-model": group.model, "pair-layer": group.layer, "pair-experiment": experiment }]);
  const index = data.series.findIndex((one) => one.experiment === experiment);
  if (index >= 0) links.push(["series", `series of ${experiment}`, { "series-choice": index }]);
  if (data.planes.some((one) => one.experiment === experiment)) links.push(["planes", `planes of ${experiment}`, { "plane-experiment": experiment }]);
  if (data.maps.some((one) => one.experiment === experiment)) links.push(["clusters", `map of ${experiment}`, { "map-experiment": experiment }]);
  return links;
}

function figures() {
  by("figure-list").replaceChildren(...data.figures.map(({ name, title, tables, rows, columns }) => {
    const experiments = [...new Set(tables.map((table) => table.split("_")[0]))].filter((one) => one in data.experiments);
    const fileName = (path) => path.split("/").slice(1).join("/");
    const suffix = (path) => path.split(".").at(-1);
    const links = files(make("p"), "", ["pdf", "png", "csv"].map((kind) => `figures/${name}.${kind}`), suffix);
    const drawn = files(make("p", { className: "data" }), "Drawn from ", tables.map((table) => `tables/${table}.csv`), fileName);
    const raw = files(make("p", { className: "data" }), "Raw outputs in ", experiments.map((one) => `${data.experiments[one].folder}/`));
    const here = make("p");
    for (const [section, text, choices] of experiments.flatMap(views)) {
      const link = make("a", { href: `#${section}`, textContent: text });
      link.addEventListener("click", () => {
        for (const [id, value] of Object.entries(choices)) set(id, value);
      });
      here.append(here.childNodes.length ? ", " : "Look at: ", link);
    }
    const size = `The csv has ${rows.toLocaleString("en")} rows: ${columns.join(", ")}.`;
    return make("li", {}, make("h3", { textContent: name }), make("p", { textContent: title }), links,
      make("p", { className: "data", textContent: size }), drawn, raw, here);
  }));
}

function about() {
  const kept = data.paths.reduce((sum, group) => sum + group.names.length, 0);
  const all = data.paths.reduce((sum, group) => sum + group.available, 0);
  const framed = data.planes.flatMap((one) => one.models);
  const drawn = framed.reduce((sum, model) => sum + model.texts.length, 0);
  const measuredPlanes = framed.reduce((sum, model) => sum + model.available, 0);
  const of = (some, whole) => (some === whole ? `all ${whole.toLocaleString("en")}` : `${some.toLocaleString("en")} of ${whole.toLocaleString("en")}`);
  const lines = [
    `The study ${data.study.name}: ${data.study.title}.`,
    "Everything is read after the final norm; what was read before it is in the raw outputs.",
  ];
  if (all) {
    lines.push(
      `Paths: ${of(kept, all)}${kept < all ? ", the first of each experiment, model and write layer" : ""}. A pair that several experiments `
      + "measured on one model stands here once, with the curve of the finest grid, and the predictions and gates of those that read them.",
      "A distance is rounded to 1/65535 of the largest on its path or plane. Max slopes and boundaries are computed before that, from all digits.",
      "Left out: the logit differences and divergences of predictions, the paths with one choice changed, and those between all prompts of a set.",
    );
  }
  if (measuredPlanes) lines.push(`Planes: ${of(drawn, measuredPlanes)}.`);
  if (data.maps.length) lines.push("Maps: the first model, write layer and context of each experiment.");
  lines.push(`Charts: plotly.js ${Plotly.version}, which is part of this file (MIT licence). The page asks for nothing from any network.`);
  by("about-list").replaceChildren(...lines.map((line) => make("li", { textContent: line })));
  const names = data.models.map((one) => one.name);
  const models = data.models.slice().sort((x, y) => names.indexOf(x.name) - names.indexOf(y.name) || x.tokens - y.tokens);
  const head = ["model", "family", "parameters", "layers", "width", "tokens seen", "source"];
  const table = by("about-models");
  table.querySelector("thead").replaceChildren(make("tr", {}, ...head.map((name) => make("th", { scope: "col", textContent: name }))));
  table.querySelector("tbody").replaceChildren(...models.map((one) => {
    const cells = [one.model, one.family, short(one.parameters), one.layers, one.hidden_size, one.tokens === null ? "" : short(one.tokens), one.source];
    return make("tr", {}, ...cells.map((cell) => make("td", { textContent: cell })));
  }));
}
