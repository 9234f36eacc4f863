"use strict";
// The plot of a race and what changes it. Everything it draws is in `figures`, as page_plot.py has made it.

const by = (id) => document.getElementById(id);
const style = (element) => getComputedStyle(element);
const figures = by("figures") && JSON.parse(by("figures").textContent);
const BAND = 3; // series of a strategy: mean, low, high
const hidden = new Set(); // numbers of the strategies whose line is switched off
const logarithmic = {}; // axes, where the reader has chosen
let dark = matchMedia("(prefers-color-scheme: dark)").matches;
let chart = null;

// 1234567 as 1.23M; seconds and what is small as they are.
function short(value) {
  if (value === 0) return "0";
  const power = Math.min(Math.floor(Math.log10(Math.abs(value)) / 3 + 1e-9), 6);
  if (power < 1) return String(+value.toPrecision(3));
  return +(value / 1000 ** power).toPrecision(3) + ["", "k", "M", "G", "T", "P", "E"][power];
}

const axisName = () => document.querySelector("input[name=axis]:checked").value;
const written = (value) => (axisName() === "seconds" ? (+value.toPrecision(3)).toLocaleString("en") : short(value));
const colour = (strategy) => (dark ? strategy.dark : strategy.light);

// Columns as uPlot takes them: the places, then mean, low and high of each strategy. A logarithm has no 0.
function columns(axis) {
  const kept = axis.grid.map((_, i) => i).filter((i) => !by("log").checked || axis.grid[i] > 0);
  const lines = axis.bands.flatMap((band) => [band.mean, band.low, band.high]);
  return [axis.grid, ...lines].map((line) => kept.map((i) => line[i]));
}

// What stands in the legend: a button with the look of the line, which switches it.
function button(strategy, show) {
  const made = document.createElement("button");
  made.type = "button";
  const picture = made.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "svg"));
  const line = picture.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "line"));
  const look = { x1: 0, x2: 36, y1: 6, y2: 6, stroke: colour(strategy), "stroke-width": 2.5 };
  for (const [name, value] of Object.entries(look)) line.setAttribute(name, value);
  line.setAttribute("stroke-dasharray", strategy.dash.join(" "));
  picture.setAttribute("aria-hidden", "true");
  made.setAttribute("aria-pressed", String(show));
  made.append(strategy.name);
  return made;
}

function seriesOf(strategy, number) {
  const show = !hidden.has(number);
  const at = 1 + BAND * number;
  const value = (u, mean, _, i) => {
    if (mean == null || i == null) return "–";
    const [low, high] = [u.data[at + 1][i], u.data[at + 2][i]];
    return strategy.seeds > 1 ? `${mean.toFixed(3)} (${low.toFixed(3)} to ${high.toFixed(3)})` : mean.toFixed(3);
  };
  const look = { stroke: colour(strategy), width: 2, dash: strategy.dash, points: { show: false } };
  const edge = { class: "edge", show, width: 0, points: { show: false } };
  return [{ label: button(strategy, show), class: "mean", show, value, ...look }, edge, { ...edge }];
}

// What a whole plot shows leaves out the steep start; of a part, all is shown.
function height(u, low, high) {
  const [first, last] = u.series[0].idxs;
  const whole = first === 0 && last === u.data[0].length - 1;
  if (low == null || (whole && !by("start").checked)) return figures.limits;
  const margin = 0.05 * (high - low) || 0.05;
  return whole ? [figures.limits[0], Math.max(figures.limits[1], high + margin)] : [low - margin, high + margin];
}

function path(u, x, y) {
  let begun = false;
  x.forEach((place, i) => {
    if (by("log").checked && place <= 0) return;
    u.ctx[begun ? "lineTo" : "moveTo"](u.valToPos(place, "x", true), u.valToPos(y[i], "y", true));
    begun = true;
  });
}

function drawRuns(u) {
  for (const run of by("runs").checked ? figures.runs : []) {
    if (hidden.has(run.strategy)) continue;
    u.ctx.beginPath();
    u.ctx.strokeStyle = colour(figures.strategies[run.strategy]);
    u.ctx.globalAlpha = 0.6;
    u.ctx.lineWidth = devicePixelRatio;
    path(u, run.axes[axisName()], run.bpc);
    u.ctx.stroke();
  }
}

// Reference lines, dashed for an optimum, each with its name at the end where curves that fall are far from it: above
// it, or as far below as leaves room for the names of others.
function drawLevels(u) {
  const { left, top, width, height } = u.bbox;
  const gap = 4 * devicePixelRatio;
  u.ctx.strokeStyle = u.ctx.fillStyle = style(document.querySelector(".note")).color;
  u.ctx.lineWidth = devicePixelRatio;
  u.ctx.font = `${12 * devicePixelRatio}px ${style(document.body).fontFamily}`;
  const nameHeight = 16 * devicePixelRatio;
  const free = { left: -Infinity, right: -Infinity }; // from which height on nothing is written yet
  for (const level of [...figures.levels].sort((a, b) => b.bpc - a.bpc)) {
    const y = u.valToPos(level.bpc, "y", true);
    u.ctx.setLineDash((level.optimum ? [8, 4] : [2, 3]).map((length) => length * devicePixelRatio));
    u.ctx.beginPath();
    u.ctx.moveTo(left, y);
    u.ctx.lineTo(left + width, y);
    u.ctx.stroke();
    const side = y > top + height / 2 ? "left" : "right";
    const isAbove = y - nameHeight >= free[side];
    const at = isAbove ? y : Math.max(y, free[side]);
    u.ctx.textAlign = side;
    u.ctx.textBaseline = isAbove ? "bottom" : "top";
    u.ctx.fillText(level.label, side === "left" ? left + gap : left + width - gap, isAbove ? at - gap / 2 : at + gap / 2);
    free[side] = isAbove ? at : at + nameHeight;
  }
}

function drawExtras(u) {
  u.ctx.save();
  u.ctx.beginPath();
  u.ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
  u.ctx.clip();
  drawLevels(u);
  u.ctx.setLineDash([]);
  drawRuns(u);
  u.ctx.restore();
}

// A band goes with its line.
function follow(u, index, change) {
  if (change.show == null || (index - 1) % BAND) return;
  const number = (index - 1) / BAND;
  hidden[change.show ? "delete" : "add"](number);
  for (const edge of [index + 1, index + 2]) u.setSeries(edge, { show: change.show }, false);
  u.root.querySelectorAll(".mean button")[number].setAttribute("aria-pressed", String(change.show));
}

// 1, 2 and 5 of each power of ten, or the powers alone; of a small part, its ends and its middle.
function decades(u, axis, low, high) {
  const steps = high / low < (innerWidth < 600 ? 100 : 1000) ? [1, 2, 5] : [1];
  const powers = Array.from({ length: 40 }, (_, i) => Math.floor(Math.log10(low)) + i);
  const all = powers.flatMap((power) => steps.map((step) => +`${step}e${power}`));
  const ticks = all.filter((tick) => tick >= low && tick <= high);
  return ticks.length > 1 ? ticks : [low, Math.sqrt(low * high), high];
}

const size = () => ({ width: by("chart").clientWidth, height: innerWidth < 600 ? 300 : 420 });

function options(axis) {
  const { color, fontFamily } = style(document.body);
  const ink = { stroke: color, font: `12px ${fontFamily}`, labelFont: `13px ${fontFamily}` };
  const log = by("log").checked;
  const grid = { stroke: style(by("chart")).borderTopColor, width: 1 };
  const labels = (u, splits) => splits.map((value) => (value == null ? "" : written(value)));
  const places = { splits: decades, filter: (u, splits) => splits };
  const translucent = (strategy) => colour(strategy) + (dark ? "40" : "2e");
  const x = { label: axis.title, value: (u, value) => (value == null ? "–" : written(value)) };
  return {
    ...size(),
    scales: {
      x: { time: false, distr: log ? 3 : 1, range: (u, low, high) => [low, high] },
      y: { range: height },
    },
    axes: [
      { ...ink, grid, ticks: grid, size: 36, values: labels, label: axis.title, ...(log && places) },
      { ...ink, grid, ticks: grid, size: 55, label: "validation bits per character" },
    ],
    series: [x, ...figures.strategies.flatMap(seriesOf)],
    bands: figures.strategies.map((strategy, i) => (
      { series: [BAND * i + 3, BAND * i + 2], fill: translucent(strategy) }
    )),
    hooks: { draw: [drawExtras], setSeries: [follow] },
  };
}

function draw() {
  const axis = figures.axes[axisName()];
  by("log").checked = logarithmic[axisName()] ?? axis.log;
  chart?.destroy();
  chart = new uPlot(options(axis), columns(axis), by("chart"));
}

function paint() {
  document.documentElement.style.colorScheme = dark ? "dark" : "light";
  by("theme").textContent = dark ? "Light" : "Dark";
  if (figures) draw();
}

by("theme").addEventListener("click", () => {
  dark = !dark;
  paint();
});
if (figures) {
  for (const input of document.querySelectorAll("input[name=axis]")) input.addEventListener("change", draw);
  by("log").addEventListener("change", () => {
    logarithmic[axisName()] = by("log").checked;
    draw();
  });
  by("runs").addEventListener("change", () => chart.redraw(false));
  by("start").addEventListener("change", draw);
  new ResizeObserver(() => chart.setSize(size())).observe(by("chart"));
}
paint();
