// Clusters

const SIGNS = ["circle", "square", "diamond", "cross", "triangle-up", "star", "x", "pentagon", "triangle-down", "hexagon"];

const clusters = {
  start() {
    offer(by("map-experiment"), data.maps.map((one) => [one.experiment, one.experiment]));
    whenSet("map-experiment", () => this.offerMap());
    for (const id of ["map-distance", "map-prompt"]) whenSet(id, () => this.draw());
    this.offerMap();
    const take = (event) => {
      const [point] = event.points;
      if (point.customdata === undefined) return;
      this.tell(point.customdata);
    };
    by("map-plot").on("plotly_hover", take);
    by("map-plot").on("plotly_click", (event) => {
      if (event.points[0].customdata === undefined) return;
      by("map-prompt").value = event.points[0].customdata;
      this.draw();
    });
  },

  get chosen() {
    return data.maps.find((one) => one.experiment === by("map-experiment").value) ?? data.maps[0];
  },

  get map() {
    return this.chosen.maps.find((one) => one.distance === by("map-distance").value) ?? this.chosen.maps[0];
  },

  offerMap() {
    const { maps, names } = this.chosen;
    offer(by("map-distance"), maps.map((one) => [one.distance, one.distance]));
    offer(by("map-prompt"), names.map((name, i) => [i, quoted(name)]));
    this.draw();
  },

  draw() {
    const { names, kinds, experiment, model, layer, texts } = this.chosen;
    const { x, y, label, shown: part, distance } = this.map;
    const chosen = Number(by("map-prompt").value);
    const words = names.every((name) => name.length <= 14);
    const { soft, text, ground } = style();
    const order = [...new Set(label)].sort((p, q) => p - q);
    const traces = order.map((cluster) => {
      const rows = label.flatMap((one, i) => (one === cluster ? [i] : []));
      const paint = cluster < 0 ? soft : colour(cluster);
      return {
        x: rows.map((i) => x[i]), y: rows.map((i) => y[i]), customdata: rows, mode: words ? "markers+text" : "markers",
        text: rows.map((i) => plain(names[i])), textposition: "top center", textfont: { size: 11, color: cluster < 0 ? soft : text },
        marker: {
          opacity: 1, symbol: cluster < 0 ? "circle-open" : SIGNS[cluster % SIGNS.length], color: paint, size: rows.map((i) => (i === chosen ? 16 : 9)),
          line: { color: ground, width: cluster < 0 ? 1 : 0.5 },
        },
        hovertemplate: rows.map((i) => `${plain(quoted(texts[i]))}<br>${plain(kindly(kinds[i]))}, ${cluster < 0 ? "in no cluster" : `cluster ${cluster}`}<extra></extra>`),
      };
    });
    const near = this.map.nearest[chosen].flatMap((i) => [[x[chosen], y[chosen]], [x[i], y[i]], [null, null]]);
    traces.unshift({ x: near.map((p) => p[0]), y: near.map((p) => p[1]), mode: "lines", line: { color: soft, width: 1 }, hoverinfo: "skip" });
    const bare = { showgrid: false, showline: false, showticklabels: false, ticks: "", title: { text: "" } };
    draw("map-plot", traces, { xaxis: axis("", bare), yaxis: axis("", { ...bare, scaleanchor: "x" }), margin: { l: 8, r: 8, t: 8, b: 8 } });
    const count = order.filter((cluster) => cluster >= 0).length;
    by("map-legend").textContent = `${model}, write layer ${layer}, first context: ${names.length} prompts in ${count} clusters under the distance `
      + `“${distance}”. The plane holds ${shown(100 * part, 2)} % of the distances. Lines lead to the chosen prompt's nearest.`;
    const { folder } = data.experiments[experiment];
    files(by("map-data"), "Data: ", [`tables/${experiment}_map.csv`, `tables/${experiment}_entries.csv`, `${folder}/${model}.safetensors`]);
    this.tell(chosen);
    keep();
  },

  tell(row) {
    const { names, texts, kinds } = this.chosen;
    const { label, nearest, away } = this.map;
    const cluster = label[row] < 0 ? "in no cluster" : `in cluster ${label[row]}`;
    by("map-caption").replaceChildren(
      make("div", {}, make("strong", { textContent: quoted(names[row]) }), ` (${kindly(kinds[row])}), ${cluster}`),
      ...(texts[row] === names[row] ? [] : [make("div", { textContent: quoted(texts[row]) })]),
      make("div", { textContent: "Nearest:" }),
      make("ol", {}, ...nearest[row].map((i, rank) => make("li", { textContent: `${quoted(names[i])} (${kindly(kinds[i])}) at ${shown(away[row][rank])}` }))),
    );
  },
};
