// Training, size, write layers

const series = {
  start() {
    const kinds = { training: "training", size: "models by size", "write layer": "write layer" };
    const order = Object.keys(kinds);
    const choices = data.series.map((one, i) => [i, `${kinds[one.kind]}: ${one.title} (${one.experiment})`]);
    choices.sort(([x], [y]) => order.indexOf(data.series[x].kind) - order.indexOf(data.series[y].kind));
    offer(by("series-choice"), choices);
    whenSet("series-choice", () => this.offerMembers(true));
    whenSet("series-at", () => this.draw());
    whenSet("series-pair", () => this.draw());
    player(by("series-play"), by("series-at"));
    by("series-pair").closest("label").hidden = !data.paths.length;
    this.offerMembers(!wanted.has("series-at"));
  },

  get chosen() {
    return data.series[by("series-choice").value || 0];
  },

  offerMembers(fromEnd) {
    const { members, kind } = this.chosen;
    const range = by("series-at");
    range.max = members.length - 1;
    if (fromEnd) range.value = range.max;
    by("series-what").textContent = { training: "Checkpoint", size: "Model", "write layer": "Write layer" }[kind];
    this.draw();
  },

  label(member) {
    const { kind } = this.chosen;
    if (kind === "write layer") return String(member.layer);
    if (member.along === null) return member.model.split("@").at(-1);
    return kind === "training" ? short(member.along) : member.model;
  },

  draw() {
    if (!data.series.length) return;
    const { members, kind, experiment } = this.chosen;
    const at = Math.min(Number(by("series-at").value), members.length - 1);
    const member = members[at];
    const { soft, line } = style();
    const [alpha, median, low, high] = member.curve;
    const traces = members.filter((_, i) => i !== at).map((other) => ({
      x: other.curve[0], y: other.curve[1], mode: "lines", line: { color: line, width: 1.2 },
      hovertemplate: `${plain(this.label(other))}<extra></extra>`,
    }));
    traces.push(
      { x: [0, 1], y: [0, 1], mode: "lines", line: { color: soft, width: 1, dash: "dot" }, hoverinfo: "skip" },
      { x: alpha, y: low, mode: "lines", line: { width: 0 }, hoverinfo: "skip" },
      { x: alpha, y: high, mode: "lines", line: { width: 0 }, fill: "tonexty", fillcolor: `${colours[0]}33`, hoverinfo: "skip" },
      { x: alpha, y: median, mode: "lines", line: { color: colour(0), width: 2.4 }, hovertemplate: "α %{x:.3f}<br>median %{y:.3f}<extra></extra>" },
    );
    const slope = `max slope ${shown(member.slope[0])} [${shown(member.slope[3])}, ${shown(member.slope[4])}], median of ${member.pairs} pairs`;
    const said = [kind === "write layer" ? `${member.model}, write layer ${member.layer}` : heading(member.model), slope];
    const pair = by("series-pair").checked ? this.pair(member) : null;
    if (pair?.relative) {
      traces.push({
        x: pair.alpha, y: pair.relative, mode: "lines", line: { color: colour(1), width: 2, dash: "dash" },
        hovertemplate: "α %{x:.3f}<br>the pair: %{y:.3f}<extra></extra>",
      });
      said.push(`the pair (dashed) ${shown(pair.slope)}`);
    } else if (by("series-pair").checked) {
      said.push("the pair above was not measured here");
    }
    by("series-caption").textContent = said.join("; ");
    draw("series-curve", traces, {
      xaxis: axis("α along the path", { range: [-0.01, 1.01] }), yaxis: axis("relative output distance", { range: [-0.03, 1.25] }),
    });
    const places = members.map((_, i) => i);
    const bar = (from, to, width) => ({
      x: places.flatMap((i) => [i, i, null]), y: members.flatMap((one) => [one.slope[from], one.slope[to], null]),
      mode: "lines", line: { color: soft, width }, hoverinfo: "skip",
    });
    draw("series-slope", [
      bar(1, 2, 1),
      bar(3, 4, 4),
      {
        x: places, y: members.map((one) => one.slope[0]), mode: "lines+markers", line: { color: soft, width: 1, dash: "dot" },
        marker: { opacity: 1, size: places.map((i) => (i === at ? 14 : 8)), color: places.map((i) => (i === at ? colour(0) : soft)) },
        text: members.map((one) => plain(one.model)), hovertemplate: "%{text}<br>max slope %{y:.3f}<extra></extra>",
      },
    ], {
      xaxis: axis({ training: "tokens seen", size: "model", "write layer": "write layer" }[kind], {
        tickvals: places, ticktext: members.map((one) => plain(this.label(one))), range: [-0.5, members.length - 0.5],
      }),
      yaxis: axis("max slope", { rangemode: "tozero" }),
      shapes: [{ type: "line", x0: 0, x1: 1, xref: "x domain", y0: 1, y1: 1, line: { color: soft, width: 1, dash: "dot" } }],
    });
    files(by("series-data"), "Data: ", [`tables/${experiment}.csv`, `tables/${experiment}_curves.csv`]);
    keep();
  },

  /** The pair chosen above, on a member of the series. */
  pair(member) {
    const group = data.paths.find((one) => one.model === member.model && one.layer === member.layer);
    if (!group || !pairs.path) return null;
    const [a, b] = [numbers(group.a), numbers(group.b)];
    const row = group.names.findIndex((_, i) => a[i] === pairs.path.a && b[i] === pairs.path.b);
    return row < 0 ? null : new Path(group, row);
  },
};
