// Planes

const OTHER = "rgb(225,225,225)"; // tokens without a colour

const planes = {
  place: null,

  start() {
    offer(by("plane-experiment"), data.planes.map((one) => [one.experiment, one.experiment]));
    offer(by("plane-view"), [
      ["all", "all three distances, as red, green and blue"],
      ...["A", "B", "C"].map((name, i) => [`distance-${i}`, `distance from the output of ${name}`]),
      ...["A", "B", "C"].map((name, i) => [`token-${i}`, `predicted token in the context of ${name}`]),
    ]);
    whenSet("plane-experiment", () => this.offerModels(true));
    for (const id of ["plane-triple", "plane-layer", "plane-view", "plane-scale", "plane-model"]) {
      whenSet(id, () => this.draw());
    }
    player(by("plane-play"), by("plane-model"));
    by("plane-plot").addEventListener("keydown", (event) => this.step(event));
    this.offerModels(!query.has("plane-model"));
    by("plane-plot").on("plotly_hover", (event) => this.read(event.points[0]));
    by("plane-plot").on("plotly_click", (event) => this.read(event.points[0]));
  },

  get models() {
    return (data.planes.find((one) => one.experiment === by("plane-experiment").value) ?? data.planes[0]).models;
  },

  get model() {
    return this.models[Math.min(Number(by("plane-model").value), this.models.length - 1)];
  },

  get size() {
    return this.model.distance.shape[4];
  },

  offerModels(fromEnd) {
    const [first] = this.models;
    const range = by("plane-model");
    range.max = this.models.length - 1;
    range.closest(".controls").hidden = this.models.length < 2;
    if (fromEnd) range.value = range.max;
    offer(by("plane-triple"), first.texts.map((_, i) => [i, `triple ${i}`]));
    offer(by("plane-layer"), first.layers.map((layer, i) => [i, layer]));
    const middle = Math.floor(first.distance.shape[4] / 2);
    this.place = [middle, middle];
    this.draw();
  },

  /** Where a field of a model begins: [layer, triple, context, b, a]. */
  field(model, context) {
    const triples = model.texts.length;
    const layer = Number(by("plane-layer").value) || 0;
    const index = (layer * triples + (Number(by("plane-triple").value) || 0)) * 3 + context;
    return { index, from: index * this.size ** 2, to: (index + 1) * this.size ** 2 };
  },

  /** Distances of one context, and the largest of them. */
  distance(model, context) {
    const { index, from, to } = this.field(model, context);
    const largest = numbers(model.largest)[index];
    return { levels: numbers(model.distance).subarray(from, to), unit: largest / 65535, largest };
  },

  tops(model, context) {
    const { from, to } = this.field(model, context);
    return numbers(model.top).subarray(from, to);
  },

  /** For each context the share of the scale at each point. */
  shares() {
    const common = by("plane-scale").value === "common";
    return [0, 1, 2].map((context) => {
      const { levels, unit, largest } = this.distance(this.model, context);
      const scale = common ? Math.max(...this.models.map((model) => this.distance(model, context).largest)) : largest;
      return Float32Array.from(levels, (level) => (scale > 0 ? (level * unit) / scale : 0));
    });
  },

  /** Tokens by how much of a model's plane they cover in one context, the most first: [text, points]. */
  covers(model, context) {
    const counts = new Map();
    for (const top of this.tops(model, context)) counts.set(model.tokens[top], (counts.get(model.tokens[top]) ?? 0) + 1);
    return [...counts].sort((x, y) => y[1] - x[1] || (x[0] < y[0] ? -1 : 1));
  },

  /** The colours of the tokens that cover most: a token keeps its colour from model to model if it can. */
  paints(context) {
    let paints = new Map();
    for (const model of this.models) {
      const most = this.covers(model, context).slice(0, colours.length - 1).map(([text]) => text);
      const next = new Map(most.filter((text) => paints.has(text)).map((text) => [text, paints.get(text)]));
      const free = colours.slice(0, -1).filter((one) => ![...next.values()].includes(one));
      for (const text of most) if (!next.has(text)) next.set(text, free.shift());
      paints = next;
      if (model === this.model) break;
    }
    return new Map([...paints].map(([text, hex]) => [text, lighter(hex, 0.4)]));
  },

  draw() {
    const { model, size } = this;
    const [kind, which] = by("plane-view").value.split("-");
    const context = Number(which);
    const pixel = this.painter(kind, context);
    const image = Array.from({ length: size }, (_, b) => Array.from({ length: size }, (__, a) => pixel(b * size + a)));
    const [low, high] = model.axis;
    const step = (high - low) / (size - 1);
    const { ground } = style();
    const triple = Number(by("plane-triple").value) || 0;
    const layer = Number(by("plane-layer").value) || 0;
    const marks = [["A", 0, 0], ["B", 1, 0], ["C", numbers(model.place)[layer * model.texts.length + triple], 1]];
    const inside = marks.filter(([, x]) => x >= low && x <= high);
    const texts = Array.from({ length: size }, (_, b) => Array.from({ length: size }, (__, a) => this.lines(a, b).map(plain).join("<br>")));
    const span = [low - step / 2, high + step / 2];
    draw("plane-plot", [
      { type: "image", z: image, x0: low, dx: step, y0: low, dy: step, text: texts, hovertemplate: "%{text}<extra></extra>" },
      {
        x: inside.map((mark) => mark[1]), y: inside.map((mark) => mark[2]), mode: "markers+text", text: inside.map((mark) => `<b>${mark[0]}</b>`),
        textposition: "top center", textfont: { size: 16, color: "#000", shadow: "0 0 4px #fff, 0 0 4px #fff, 0 0 4px #fff" },
        marker: { size: 10, color: "#000", line: { color: "#fff", width: 2 } }, hoverinfo: "skip",
      },
    ], {
      dragmode: false, shapes: this.cross(), annotations: kind === "token" ? this.names(context, step) : [],
      margin: { l: 44, r: 4, t: 6, b: 40 },
      xaxis: axis("a", { range: span, constrain: "domain", fixedrange: true, showgrid: false }),
      yaxis: axis("b", { range: span, scaleanchor: "x", constrain: "domain", fixedrange: true, showgrid: false }),
      hoverlabel: { align: "left", bgcolor: ground },
    });
    const swatch = kind === "all" ? ["#ff0000", "#00ff00", "#0000ff"] : [];
    by("plane-prompts").replaceChildren(...promptRows(["A", "B", "C"].map((name, i) => [name, model.texts[triple][i], swatch[i]])));
    by("plane-what").textContent = heading(model.model);
    by("plane-scale").closest("label").hidden = kind === "token" || this.models.length < 2;
    this.legend(kind, context);
    const experiment = by("plane-experiment").value;
    files(by("plane-data"), "Data: ", [`${data.experiments[experiment].folder}/${model.model}.safetensors`, `tables/${experiment}_points.csv`]);
    this.tell();
    keep();
  },

  /** What colour a point has. */
  painter(kind, context) {
    if (kind === "token") {
      const paints = this.paints(context);
      const tops = this.tops(this.model, context);
      const channels = this.model.tokens.map((text) => (paints.get(text) ?? OTHER).match(/\d+/g).map(Number));
      return (i) => channels[tops[i]];
    }
    const shares = this.shares();
    if (kind === "distance") return (i) => shade(shares[context][i]);
    return (i) => shares.map((share) => Math.round(255 * (1 - Math.min(share[i], 1))));
  },

  /** Names of the tokens that cover 3 % or more, each where it is on top. */
  names(context, step) {
    const { model, size } = this;
    const places = new Map();
    this.tops(model, context).forEach((top, i) => {
      if (!places.has(top)) places.set(top, []);
      places.get(top).push(i);
    });
    const middle = (values) => values.slice().sort((x, y) => x - y)[Math.floor(values.length / 2)];
    const labels = [];
    for (const [top, points] of places) {
      if (points.length < 0.03 * size ** 2) continue;
      const a = middle(points.map((i) => i % size));
      const b = middle(points.map((i) => Math.floor(i / size)));
      const away = (i) => Math.abs((i % size) - a) + Math.abs(Math.floor(i / size) - b);
      const best = points.reduce((x, y) => (away(y) < away(x) ? y : x));
      labels.push({
        x: model.axis[0] + step * (best % size), y: model.axis[0] + step * Math.floor(best / size), showarrow: false,
        text: plain(quoted(model.tokens[top])), font: { color: "#000", size: 12, shadow: "0 0 3px #fff, 0 0 3px #fff" },
      });
    }
    return labels;
  },

  legend(kind, context) {
    const list = by("plane-tokens");
    if (kind === "distance") {
      const bar = [0, 0.25, 0.5, 0.75, 1].map((share) => {
        const paint = make("span", { style: `background:rgb(${shade(share)})` });
        return make("li", {}, paint, `${shown(share)} of the largest`);
      });
      list.replaceChildren(...bar);
    } else if (kind === "token") {
      const paints = this.paints(context);
      const some = this.covers(this.model, context).slice(0, 10).map(([text, count]) => {
        const paint = make("span", { style: `background:${paints.get(text) ?? OTHER}` });
        return make("li", {}, paint, `${token(text)} ${shown((100 * count) / this.size ** 2, 2)} %`);
      });
      list.replaceChildren(...some);
    } else {
      list.replaceChildren(make("li", { className: "whole", textContent: "Bright red: the output in the context of A is near A's own. Green: B. Blue: C." }));
    }
  },

  /** What is at a point, in lines. */
  lines(a, b) {
    const { model, size } = this;
    const [low, high] = model.axis;
    const at = (index) => low + (index * (high - low)) / (size - 1);
    const i = b * size + a;
    const lines = ["A", "B", "C"].map((name, context) => {
      const { levels, unit } = this.distance(model, context);
      return `${name}: distance ${shown(levels[i] * unit)}, predicts ${token(model.tokens[this.tops(model, context)[i]])}`;
    });
    return [`a ${shown(at(a))}, b ${shown(at(b))}`, ...lines];
  },

  tell() {
    by("plane-caption").replaceChildren(...this.lines(...this.place).map((line) => make("div", { textContent: line })));
  },

  read(point) {
    const [low, high] = this.model.axis;
    const index = (value) => Math.min(Math.max(Math.round(((value - low) / (high - low)) * (this.size - 1)), 0), this.size - 1);
    this.place = [index(point.x), index(point.y)];
    this.tell();
  },

  cross() {
    const [low, high] = this.model.axis;
    const [x, y] = this.place.map((index) => low + (index * (high - low)) / (this.size - 1));
    const line = { color: "#fff", width: 1, dash: "dot" };
    return [{ type: "line", x0: x, x1: x, y0: low, y1: high, line }, { type: "line", x0: low, x1: high, y0: y, y1: y, line }];
  },

  step(event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1] };
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    const stride = event.shiftKey ? 5 : 1;
    this.place = this.place.map((at, i) => Math.min(Math.max(at + stride * move[i], 0), this.size - 1));
    this.tell();
    Plotly.relayout("plane-plot", { shapes: this.cross() });
  },
};
