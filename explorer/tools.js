"use strict";

// What the page shows is in `data`; its long lists of numbers are packed until they are needed.

const data = JSON.parse(document.getElementById("data").textContent);
const colours = data.colours;
const fine = matchMedia("(pointer: fine)").matches;
const dark = matchMedia("(prefers-color-scheme: dark)");

window.addEventListener("error", (event) => {
  const line = by("trouble");
  line.hidden = false;
  line.textContent = `Something on this page failed: ${event.message}`;
});

// Small tools

function by(id) {
  return document.getElementById(id);
}

function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-")) element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

/** Do something whenever a control is set by the reader. */
function whenSet(id, action) {
  by(id).addEventListener(by(id).matches("select, [type=checkbox]") ? "change" : "input", action);
}

/** Set a control as a reader would. */
function set(id, value) {
  const control = by(id);
  control.value = value;
  control.dispatchEvent(new Event(control.matches("select") ? "change" : "input", { bubbles: true }));
}

const unpacked = new WeakMap();

/** The numbers of a packed array, as a typed array. */
function numbers(block) {
  if (!unpacked.has(block)) {
    const text = atob(block.data);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i += 1) bytes[i] = text.charCodeAt(i);
    unpacked.set(block, new globalThis[block.type](bytes.buffer));
  }
  return unpacked.get(block);
}

/** A number as a reader wants it. */
function shown(value, digits = 3) {
  if (value === null || !Number.isFinite(value)) return "–";
  return value.toLocaleString("en", { maximumSignificantDigits: digits, useGrouping: Math.abs(value) >= 1e4 });
}

/** A count in at most three digits, as the figures have it. */
function short(count) {
  for (const [size, unit] of [[1e12, " T"], [1e9, " B"], [1e6, " M"], [1e3, " k"]]) {
    if (count >= size) return shown(count / size) + unit;
  }
  return String(count);
}

/** A text in quotation marks, so that its spaces show; so does what would hide or turn letters around. */
function quoted(text) {
  const whole = text.length > 2000 ? `${text.slice(0, 2000)} …` : text;
  return JSON.stringify(whole).replace(/[\p{Cf}\p{Zl}\p{Zp}]/gu, (one) => `\\u{${one.codePointAt(0).toString(16)}}`);
}

/** A token in running text: its leading space does not break the line. */
function token(text) {
  return quoted(text).replace('" ', '"\u00a0');
}

/** A kind of prompts: a word as it is, anything else in quotation marks. */
function kindly(kind) {
  return /^[\p{L}\p{N}][\p{L}\p{N} _-]*$/u.test(kind) ? kind : quoted(kind);
}

/** A text for a chart, which would take some of it for markup. */
function plain(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/** Fill a select with [value, label] pairs; what was chosen stays chosen if it can. */
function offer(select, choices) {
  const before = select.dataset.query ?? select.value;
  delete select.dataset.query;
  select.replaceChildren(...choices.map(([value, label]) => make("option", { value, textContent: label })));
  if (choices.some(([value]) => String(value) === before)) select.value = before;
  select.closest("label").hidden = choices.length < 2;
}

function rgb(hex) {
  return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
}

/** A colour mixed with so much white. */
function lighter(hex, share) {
  return `rgb(${rgb(hex).map((value) => Math.round(value + share * (255 - value)))})`;
}

/** One of the palette's colours, which were chosen for a white ground. */
function colour(index) {
  const base = colours[index % colours.length];
  return dark.matches ? lighter(base, base === "#000000" ? 0.85 : 0.3) : base;
}

const shades = data.shades.map(rgb);

/** Colour of a share of 0 to 1: light to dark. */
function shade(share) {
  const at = Math.min(Math.max(share, 0), 1) * (shades.length - 1);
  const low = Math.min(Math.floor(at), shades.length - 2);
  return shades[low].map((value, i) => Math.round(value + (shades[low + 1][i] - value) * (at - low)));
}

// Charts

function style() {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(["text", "soft", "line", "ground"].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

function axis(title, more = {}) {
  const { text, line } = style();
  return {
    title: { text: title, standoff: 8 }, gridcolor: line, linecolor: text, showline: true, zeroline: false, ticks: "outside",
    tickcolor: text, fixedrange: !fine, automargin: true, ...more,
  };
}

function draw(id, traces, layout) {
  const { text, ground, line } = style();
  const whole = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, hovermode: "closest",
    dragmode: fine ? "zoom" : false, margin: { l: 50, r: 8, t: 10, b: 42 },
    font: { family: 'system-ui, "DejaVu Sans", sans-serif', size: 13, color: text },
    hoverlabel: { align: "left", bgcolor: ground, bordercolor: line, font: { color: text } }, ...layout,
  };
  const settings = {
    responsive: true, displaylogo: false, displayModeBar: fine ? "hover" : false,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "zoomIn2d", "zoomOut2d", "autoScale2d"],
    toImageButtonOptions: { filename: `${data.study.name}-${id}`, scale: 2 },
  };
  return Plotly.react(id, traces, whole, settings);
}

/** Links to files of the study's results, which lie beside this page; by their names, or their kinds. */
function files(element, heading, paths, label = (path) => path) {
  element.replaceChildren(heading);
  paths.forEach((path, i) => {
    const href = path.split("/").map(encodeURIComponent).join("/");
    element.append(i ? ", " : "", make("a", { href, textContent: label(path) }));
  });
  return element;
}

/** Play a range input: one place on in each beat, from the start again if it stands at the end. */
function player(button, range) {
  let clock = null;
  const stop = () => {
    clearInterval(clock);
    clock = null;
    button.textContent = "play";
  };
  const place = (at) => set(range.id, at);
  button.addEventListener("click", () => {
    if (clock) return stop();
    button.textContent = "stop";
    if (range.value === range.max) place(0);
    clock = setInterval(() => {
      place(Number(range.value) + 1);
      if (range.value === range.max) stop();
    }, 900);
  });
  range.addEventListener("pointerdown", stop);
}

function heading(model) {
  const facts = data.models.find((one) => one.model === model);
  if (!facts) return model;
  const size = `${short(facts.parameters)} parameters, ${facts.layers} layers × ${facts.hidden_size}`;
  return facts.tokens === null ? `${model} (${size})` : `${model} (${size}; ${short(facts.tokens)} tokens seen)`;
}

function promptRows(rows, last) {
  return rows.map(([name, text, swatch]) => {
    const ends = last && text.endsWith(last[name]);
    const head = ends ? text.slice(0, text.length - last[name].length) : text;
    const description = make("dd", {}, quoted(head).slice(0, -1));
    if (ends) description.append(make("mark", { textContent: quoted(last[name]).slice(1, -1), title: "last token" }));
    description.append('"');
    const label = make("dt", { textContent: name });
    if (swatch) label.prepend(make("i", { className: "dot", style: `background:${swatch}` }));
    return make("div", {}, label, description);
  });
}
