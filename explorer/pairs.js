// Pairs

/** One pair of a group, with all that was measured on it. */
class Path {
  constructor(group, row) {
    this.group = group;
    this.row = row;
    this.source = numbers(group.source)[row];
    this.steps = group.experiments[this.source].steps;
    this.name = group.names[row];
    this.a = numbers(group.a)[row];
    this.b = numbers(group.b)[row];
    this.slope = numbers(group.slope)[row];
    this.end = numbers(group.end)[row];
  }

  get experiment() {
    return this.group.experiments[this.source].name;
  }

  get id() {
    return `${this.experiment}:${this.name}`;
  }

  get alpha() {
    return Array.from({ length: this.steps }, (_, i) => i / (this.steps - 1));
  }

  /** Output distance by alpha. */
  get distance() {
    const { points } = starts(this.group);
    const unit = numbers(this.group.largest)[this.row] / 65535;
    return Array.from(numbers(this.group.distance).subarray(points[this.row], points[this.row + 1]), (level) => level * unit);
  }

  /** Relative output distance; null if both ends give one output. */
  get relative() {
    return this.end > 0 ? this.distance.map((value) => value / this.end) : null;
  }

  /** Whether each step is in a boundary. */
  get boundary() {
    const from = starts(this.group).bytes[this.row];
    const bits = numbers(this.group.boundary);
    return Array.from({ length: this.steps - 1 }, (_, i) => Boolean((bits[from + (i >> 3)] >> (7 - (i & 7))) & 1));
  }

  /** Top token at each point, from whichever experiment read it. */
  get tokens() {
    const cell = measured(this.group.tokens, this.row);
    if (!cell) return null;
    const { block, at } = cell;
    const width = block.top.shape[1];
    const which = numbers(block.top).subarray(at * width, (at + 1) * width);
    return { experiment: this.group.experiments[block.experiment].name, texts: Array.from(which, (i) => block.texts[i]) };
  }

  /** Gates that change sign in each step, from whichever experiment counted them. */
  get gates() {
    const cell = measured(this.group.gates, this.row);
    if (!cell) return null;
    const { block, at } = cell;
    const width = block.all.shape[1];
    const part = (values) => Array.from(numbers(values).subarray(at * width, (at + 1) * width));
    return {
      experiment: this.group.experiments[block.experiment].name, all: part(block.all), last: part(block.last),
      ends: numbers(block.ends)[at], endsLast: numbers(block.ends_last)[at],
    };
  }
}

const groupStarts = new WeakMap();

/** Where each path of a group begins, in points and in bytes of its boundary. */
function starts(group) {
  if (!groupStarts.has(group)) {
    const points = [0];
    const bytes = [0];
    for (const source of numbers(group.source)) {
      const { steps } = group.experiments[source];
      points.push(points.at(-1) + steps);
      bytes.push(bytes.at(-1) + Math.ceil((steps - 1) / 8));
    }
    groupStarts.set(group, { points, bytes });
  }
  return groupStarts.get(group);
}

/** The block that has a path among its rows, and where. */
function measured(blocks, row) {
  for (const block of blocks) {
    const at = numbers(block.rows).indexOf(row);
    if (at >= 0) return { block, at };
  }
  return null;
}

/** Stretches of alpha that are in a boundary: [from, to]. */
function boundaries(path) {
  const stretches = [];
  const mask = path.boundary;
  mask.forEach((inside, i) => {
    if (!inside) return;
    if (i && mask[i - 1]) stretches.at(-1)[1] = i + 1;
    else stretches.push([i, i + 1]);
  });
  return stretches.map(([from, to]) => [from / (path.steps - 1), to / (path.steps - 1)]);
}

/** Stretches of alpha with one top token: [text, from, to]. A point stands for half a step around it. */
function bands(texts) {
  const step = 1 / (texts.length - 1);
  const runs = [];
  texts.forEach((text, i) => {
    const to = Math.min(1, (i + 0.5) * step);
    if (runs.length && runs.at(-1)[0] === text) runs.at(-1)[2] = to;
    else runs.push([text, Math.max(0, (i - 0.5) * step), to]);
  });
  return runs;
}

const pairs = {
  page: 0,
  size: 9,
  matches: [],
  path: null,

  start() {
    const models = [...new Set(data.paths.map((group) => group.model))];
    offer(by("pair-model"), models.map((model) => [model, model]));
    for (const id of ["pair-model", "pair-layer"]) whenSet(id, () => this.offerGroup());
    for (const id of ["pair-experiment", "pair-ends", "pair-order", "slope-from", "slope-to", "pair-last", "pair-text"]) {
      whenSet(id, () => this.filter());
    }
    by("pair-back").addEventListener("click", () => this.turn(-1));
    by("pair-on").addEventListener("click", () => this.turn(1));
    by("pair-any").addEventListener("click", () => {
      const row = this.matches[Math.floor(Math.random() * this.matches.length)];
      if (row !== undefined) this.choose(row, true);
    });
    whenSet("pair-alpha", () => this.tell());
    by("pair-rows").addEventListener("toggle", () => this.list());
    this.offerGroup(query.get("pair"));
  },

  get group() {
    const of = data.paths.filter((group) => group.model === by("pair-model").value);
    return of.find((group) => String(group.layer) === by("pair-layer").value) ?? of[0];
  },

  /** A model or layer was chosen: offer what there is of it, and stay with the pair if it is there. */
  offerGroup(id) {
    const layers = data.paths.filter((group) => group.model === by("pair-model").value).map((group) => group.layer);
    offer(by("pair-layer"), layers.map((layer) => [layer, layer < 0 ? "embedding" : layer]));
    const { group } = this;
    const names = [...new Set(group.experiments.map((one) => one.name))];
    offer(by("pair-experiment"), [["", "all experiments"], ...names.map((name) => [name, name])]);
    by("pair-experiment").closest("label").hidden = names.length < 2;
    const before = this.path;
    const same = (row) => {
      const path = new Path(group, row);
      return id ? path.id === id : before && path.a === before.a && path.b === before.b;
    };
    this.path = null;
    const row = group.names.findIndex((_, row) => same(row));
    this.filter(row, true);
  },

  /**
   * Which pairs the filters let through, in order. The pair chosen stays if it is among them; the list
   * turns to it if asked to, or else to its beginning.
   */
  filter(chosen = this.path?.row ?? -1, turn = false) {
    const { group } = this;
    const [source, member, slope, a, b] = ["source", "member", "slope", "a", "b"].map((name) => numbers(group[name]));
    const experiment = by("pair-experiment").value;
    const mask = group.experiments.reduce((bits, one, i) => (one.name === experiment ? bits | (1 << i) : bits), 0);
    const low = parseFloat(by("slope-from").value);
    const high = parseFloat(by("slope-to").value);
    const ends = by("pair-ends").value;
    const last = by("pair-last").value.trim().toLowerCase();
    const flat = (text) => text.toLowerCase().replaceAll(/\s+/g, " ");
    const text = flat(by("pair-text").value);
    const kept = (row) => {
      const [first, second] = [data.prompts[a[row]], data.prompts[b[row]]];
      if (experiment && !(member[row] & mask)) return false;
      if (low > slope[row] || high < slope[row] || ((low >= 0 || high >= 0) && Number.isNaN(slope[row]))) return false;
      if (ends && (ends === "same") !== (first[1] === second[1])) return false;
      if (last && first[1].trim().toLowerCase() !== last && second[1].trim().toLowerCase() !== last) return false;
      return !text || flat(first[0]).includes(text) || flat(second[0]).includes(text);
    };
    const order = by("pair-order").value;
    const steep = (row) => (Number.isNaN(slope[row]) ? -Infinity : slope[row]);
    this.matches = group.names.map((_, row) => row).filter(kept);
    if (order) this.matches.sort((x, y) => (order === "down" ? steep(y) - steep(x) : steep(x) - steep(y)));
    else this.matches.sort((x, y) => source[x] - source[y] || x - y);
    this.page = 0;
    const row = this.matches.includes(chosen) ? chosen : (turn ? this.example() : null) ?? this.matches[0];
    if (row === undefined) this.show();
    else this.choose(row, turn);
  },

  /** The first pair of those found that has all there is to see. */
  example() {
    return this.matches.slice(0, 1000).find((row) => {
      const path = new Path(this.group, row);
      return path.boundary.includes(true) && path.tokens && path.gates;
    });
  },

  turn(pages) {
    this.page += pages;
    this.show();
  },

  choose(row, turn = false) {
    this.path = new Path(this.group, row);
    if (turn) this.page = Math.floor(this.matches.indexOf(row) / this.size);
    this.show();
    this.draw();
    keep();
    if (keep.ready && by("series-pair").checked) series.draw();
  },

  /** The list of pairs. */
  show() {
    const from = this.page * this.size;
    const rows = this.matches.slice(from, from + this.size);
    by("pair-list").replaceChildren(...rows.map((row) => {
      const path = new Path(this.group, row);
      const [a, b] = [data.prompts[path.a], data.prompts[path.b]];
      const button = make("button", { type: "button", textContent: `${path.experiment} ${path.name}`, title: `${a[0]}\n${b[0]}` });
      button.addEventListener("click", () => {
        this.choose(row);
        by("pair-list").querySelector("[aria-current=true] button").focus();
      });
      return make("tr", { "aria-current": String(row === this.path?.row) },
        make("td", {}, button),
        make("td", { className: "number", textContent: shown(path.slope) }),
        make("td", { textContent: `${quoted(a[1])} → ${quoted(b[1])}`, title: `${a[1]} → ${b[1]}` }));
    }));
    const count = this.matches.length;
    by("pair-count").textContent = count
      ? `${from + 1}–${Math.min(from + this.size, count)} of ${count.toLocaleString("en")} pairs`
      : "no such pair: widen the choice";
    by("pair-back").disabled = this.page === 0;
    by("pair-on").disabled = from + this.size >= count;
    by("pair-any").disabled = count === 0;
  },

  draw() {
    const { path } = this;
    const [a, b] = [data.prompts[path.a], data.prompts[path.b]];
    by("pair-prompts").replaceChildren(...promptRows([["A", a[0]], ["B", b[0]]], { A: a[1], B: b[1] }));
    const { text, soft, line, ground } = style();
    const { tokens, gates, alpha } = path;
    const values = path.relative ?? path.distance;
    const curve = [gates ? 0.34 : tokens ? 0.17 : 0, 1];
    const strip = gates ? [0.24, 0.3] : [0, 0.08];
    const traces = [
      { x: [0, 1], y: [0, path.relative ? 1 : path.end], mode: "lines", line: { color: soft, width: 1, dash: "dot" }, hoverinfo: "skip" },
      {
        x: alpha, y: values, mode: "lines+markers", line: { color: colour(0), width: 2.2 }, marker: { size: 4, color: colour(0) },
        hovertemplate: "α %{x:.3f}<br>distance %{y:.3f}<extra></extra>",
      },
    ];
    const shapes = boundaries(path).map(([from, to]) => ({
      type: "rect", x0: from, x1: to, y0: 0, y1: 1, yref: "y domain", fillcolor: soft, opacity: 0.28, line: { width: 0 }, layer: "below",
    }));
    const annotations = [];
    if (tokens) {
      const order = [...new Set(tokens.texts)];
      const letters = (by("pair-plot").clientWidth - 60) / 8; // that fit beside each other
      for (const [word, from, to] of bands(tokens.texts)) {
        const place = { type: "rect", x0: from, x1: to, line: { width: 0 }, fillcolor: colour(order.indexOf(word)), layer: "below" };
        shapes.push({ ...place, y0: 0, y1: 1, yref: "y domain", opacity: 0.1 });
        shapes.push({ ...place, y0: 0, y1: 1, yref: "y2", opacity: 0.45, line: { width: 1, color: ground } });
        if ((to - from) * letters > quoted(word).length) {
          annotations.push({ x: (from + to) / 2, y: 0.5, yref: "y2", text: plain(quoted(word)), showarrow: false, font: { size: 12, color: text } });
        }
      }
      const points = tokens.texts.map((_, i) => i / (tokens.texts.length - 1));
      traces.push({
        x: points, y: points.map(() => 0.5), yaxis: "y2", mode: "markers", marker: { size: 14, color: "rgba(0,0,0,0)" },
        text: tokens.texts.map((word) => plain(quoted(word))), hovertemplate: "α %{x:.3f}<br>predicts %{text}<extra></extra>",
      });
    }
    if (gates) {
      const middle = gates.all.map((_, i) => (i + 0.5) / gates.all.length);
      for (const [of, counts, index] of [["all layers", gates.all, 5], ["the last layer", gates.last, 1]]) {
        traces.push({
          type: "bar", x: middle, y: counts, yaxis: "y3", width: 0.9 / counts.length, marker: { color: colour(index) },
          hovertemplate: `%{y} gates change sign, ${of}<extra></extra>`,
        });
      }
    }
    const top = Math.max(1, ...values);
    draw("pair-plot", traces, {
      barmode: "overlay", shapes, annotations,
      xaxis: axis("α along the path", { range: [-0.01, 1.01], anchor: gates ? "y3" : tokens ? "y2" : "y" }),
      yaxis: axis(path.relative ? "relative output distance" : "output distance", { domain: curve, range: [-0.03 * top, 1.05 * top] }),
      yaxis2: tokens ? { domain: strip, range: [0, 1], visible: false, fixedrange: true } : { visible: false },
      yaxis3: gates ? axis("gates", { domain: [0, 0.2], rangemode: "tozero", nticks: 4, gridcolor: line }) : { visible: false },
    });
    const range = by("pair-alpha");
    const share = range.max > 0 ? range.value / range.max : 0.5;
    range.max = path.steps - 1;
    range.value = Math.round(share * (path.steps - 1));
    const parts = [`Grey: boundary, where a step moves the output more than ${data.speed} times as far as the path's mean step. Dots: a straight line.`];
    if (tokens) parts.push(`Colours: the token predicted, from the experiment ${tokens.experiment}.`);
    if (gates) parts.push(`Bars: gates that change sign in a step, in all layers (light) and in the last (dark), from ${gates.experiment}.`);
    by("pair-legend").textContent = parts.join(" ");
    by("pair-caption").textContent = this.summary();
    this.tell();
    this.list();
  },

  /** The whole path in words. */
  summary() {
    const { path } = this;
    const edges = boundaries(path).map(([from, to]) => `${shown(from, 2)} to ${shown(to, 2)}`);
    const sentences = [`Max slope ${shown(path.slope)}, d(1) ${shown(path.end)}.`];
    sentences.push(edges.length ? `Boundaries at α ${edges.join(", ")}.` : "No boundary.");
    const { tokens, gates } = path;
    if (tokens) {
      const words = bands(tokens.texts).map(([text, from, to]) => `${token(text)} (${shown(from, 2)}–${shown(to, 2)})`);
      sentences.push(`Predicts ${words.join(", then ")}.`);
    } else {
      sentences.push("No predictions were read on this path.");
    }
    if (gates) {
      const sum = (counts) => counts.reduce((x, y) => x + y, 0);
      sentences.push(`${shown(sum(gates.all), 6)} changes of sign on the way, ${shown(sum(gates.last), 6)} in the last layer; `
        + `between the ends ${shown(gates.ends, 6)} gates differ, ${shown(gates.endsLast, 6)} in the last layer.`);
    }
    return sentences.join(" ");
  },

  /** What is at the point that the slider is at. */
  tell() {
    const { path } = this;
    const at = Number(by("pair-alpha").value);
    const alpha = at / (path.steps - 1);
    const { relative, tokens, gates } = path;
    const phrases = [`α ${shown(alpha)}: distance ${shown(path.distance[at])}`];
    if (relative) phrases[0] += `, ${shown(relative[at])} of d(1)`;
    if (tokens) phrases.push(`predicts ${token(tokens.texts[Math.round(alpha * (tokens.texts.length - 1))])}`);
    if (gates) {
      const step = Math.min(Math.floor(alpha * gates.all.length), gates.all.length - 1);
      phrases.push(`in the step from here ${gates.all[step]} gates change sign, ${gates.last[step]} in the last layer`);
    }
    by("pair-at").textContent = phrases.join("; ");
    const layout = by("pair-plot").layout;
    if (!layout) return;
    const others = layout.shapes.filter((shape) => shape.name !== "here");
    const mark = { name: "here", type: "line", x0: alpha, x1: alpha, y0: 0, y1: 1, yref: "paper", line: { color: style().text, width: 1 } };
    Plotly.relayout("pair-plot", { shapes: [...others, mark] });
  },

  /** The path's rows, and where they come from. */
  list() {
    const box = by("pair-rows");
    if (!box.open || !this.path) return;
    const { path } = this;
    const { folder } = data.experiments[path.experiment];
    by("pair-code").textContent = [
      "from stable_regions.files import read_parquet",
      "",
      `table, facts = read_parquet(${quoted(`results/${data.study.name}/${folder}/${path.group.model}.parquet`)})`,
      `row = table[(table["pair"] == ${quoted(path.name)}) & (table["layer"] == ${path.group.layer})].iloc[0]`,
      `row["distance_post_norm"]  # at each of facts["alpha"]`,
    ].join("\n");
    const { relative, distance, boundary, tokens, gates } = path;
    const same = tokens && tokens.texts.length === path.steps;
    const counted = gates && gates.all.length === path.steps - 1;
    const head = ["α", "d(α)", "d(α) / d(1)", "step to the next", ...(same ? ["predicts"] : []), ...(counted ? ["gates", "last layer"] : [])];
    box.querySelector("thead").replaceChildren(make("tr", {}, ...head.map((name) => make("th", { scope: "col", textContent: name }))));
    box.querySelector("tbody").replaceChildren(...path.alpha.map((alpha, i) => {
      const cells = [shown(alpha, 4), shown(distance[i], 5), shown(relative ? relative[i] : NaN, 5)];
      cells.push(i < boundary.length ? (boundary[i] ? "in a boundary" : "in a region") : "");
      if (same) cells.push(quoted(tokens.texts[i]));
      if (counted) cells.push(gates.all[i] ?? "", gates.last[i] ?? "");
      return make("tr", {}, ...cells.map((cell) => make("td", { textContent: cell })));
    }));
  },
};
