// A series of one pixel as SVG: curves, the uncertainty as a band, and the days that were seen as dots.

const NS = "http://www.w3.org/2000/svg";
const [HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [170, 34, 8, 10, 20];
const COLOURS = 6;
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

function node(name, attributes, parent, text) {
  const found = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) found.setAttribute(key, value);
  if (text !== undefined) found.textContent = text;
  parent?.append(found);
  return found;
}

function ticks(low, high) {
  const rough = (high - low) / 4 || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((one) => one >= rough);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + step * 1e-6; at += step) found.push([at, at.toFixed(digits)]);
  return found;
}

function bounds(series) {
  const all = series.flatMap((one) => one.values.flatMap((value, n) =>
    value === null ? [] : [value, value - Math.min(one.spread[n] ?? 0, 0.3), value + Math.min(one.spread[n] ?? 0, 0.3)]));
  if (!all.length) return [0, 1];
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const room = Math.max((high - low) * 0.06, 0.01);
  return [low - room, high + room];
}

// Runs of days that hold a value.
function* runs(values) {
  let from = null;
  for (let n = 0; n <= values.length; n += 1) {
    const there = n < values.length && values[n] !== null;
    if (there && from === null) from = n;
    if (!there && from !== null) {
      yield [from, n];
      from = null;
    }
  }
}

export class Chart {
  constructor(place, onDay) {
    this.place = place;
    this.onDay = onDay;
    this.width = 0;
    new ResizeObserver(() => {
      if (this.found && Math.abs(place.clientWidth - this.width) > 1) this.draw(this.found, this.day);
    }).observe(place);
  }

  clear() {
    this.found = null;
    this.place.replaceChildren();
  }

  draw(found, day) {
    this.found = found;
    this.day = day;
    this.width = this.place.clientWidth || 300;
    const [low, high] = bounds(found.series);
    const last = Math.max(1, found.days.length - 1);
    this.x = (n) => LEFT + ((this.width - LEFT - RIGHT) * n) / last;
    this.y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - (value - low) / (high - low));
    const svg = node("svg", { viewBox: `0 0 ${this.width} ${HEIGHT}`, role: "img", "aria-label": this.described() });
    this.axes(svg, ticks(low, high));
    found.series.forEach((one, n) => this.band(svg, one, `var(--s${n % COLOURS})`));
    found.series.forEach((one, n) => this.curve(svg, one, `var(--s${n % COLOURS})`));
    this.cursor = node("line", { class: "cursor", y1: TOP, y2: HEIGHT - BOTTOM }, svg);
    const hit = node("rect", { class: "hit", x: LEFT, y: 0, width: this.width - LEFT - RIGHT, height: HEIGHT }, svg);
    hit.addEventListener("click", (event) => {
      const box = hit.getBoundingClientRect();
      this.onDay(found.days[Math.round(((event.clientX - box.left) / box.width) * last)]);
    });
    this.keys = document.createElement("p");
    this.keys.className = "keys";
    this.place.replaceChildren(svg, this.keys);
    this.show(day);
  }

  described() {
    const { days, distance, series } = this.found;
    const seen = distance.filter((one) => one === 0).length;
    return `${series.map((one) => one.name).join(", ")} from ${days[0]} to ${days.at(-1)}, ${seen} of ${days.length} days seen`;
  }

  axes(svg, marks) {
    for (const [value, text] of marks) {
      const y = this.y(value);
      node("line", { class: "grid", x1: LEFT, x2: this.width - RIGHT, y1: y, y2: y }, svg);
      node("text", { x: LEFT - 5, y: y + 4, "text-anchor": "end" }, svg, text);
    }
    const { days } = this.found;
    const firsts = days.flatMap((day, n) => (day.endsWith("-01") ? [n] : []));
    const every = Math.ceil(firsts.length / Math.max(1, Math.floor((this.width - LEFT) / 44)));
    const shown = firsts.filter((_, n) => n % every === 0);
    const named = shown.length > 1 ? shown : [0, Math.floor((days.length - 1) / 2), days.length - 1];
    for (const n of new Set(named)) {
      const [, month, date] = days[n].split("-").map(Number);
      const text = shown.length > 1 ? MONTHS[month - 1] : `${date} ${MONTHS[month - 1]}`;
      const anchor = n === 0 ? "start" : n === days.length - 1 ? "end" : "middle";
      node("text", { x: this.x(n), y: HEIGHT - 4, "text-anchor": anchor }, svg, text);
    }
  }

  band(svg, one, colour) {
    for (const [from, to] of runs(one.values.map((value, n) => (one.spread[n] === null ? null : value)))) {
      const ahead = [];
      const back = [];
      for (let n = from; n < to; n += 1) {
        ahead.push(`${this.x(n)},${this.y(one.values[n] + one.spread[n])}`);
        back.unshift(`${this.x(n)},${this.y(one.values[n] - one.spread[n])}`);
      }
      node("polygon", { class: "band", points: [...ahead, ...back].join(" "), fill: colour }, svg);
    }
  }

  curve(svg, one, colour) {
    for (const [from, to] of runs(one.values)) {
      const points = [];
      for (let n = from; n < to; n += 1) points.push(`${this.x(n)},${this.y(one.values[n])}`);
      node("polyline", { class: "curve", points: points.join(" "), stroke: colour }, svg);
    }
    one.values.forEach((value, n) => {
      if (value !== null && this.found.distance[n] === 0) {
        node("circle", { class: "dot", cx: this.x(n), cy: this.y(value), r: 2.4, fill: colour }, svg);
      }
    });
  }

  // Say and mark the values of a day.
  show(day) {
    if (!this.found) return;
    this.day = day;
    const n = this.found.days.indexOf(day);
    this.cursor.setAttribute("visibility", n < 0 ? "hidden" : "visible");
    if (n < 0) return;
    this.cursor.setAttribute("x1", this.x(n));
    this.cursor.setAttribute("x2", this.x(n));
    const rows = this.found.series.map((one, k) => {
      const row = document.createElement("span");
      const [line, value] = [document.createElement("i"), document.createElement("b")];
      line.style.background = `var(--s${k % COLOURS})`;
      const half = one.spread[n];
      value.textContent = one.values[n] === null ? "no data" : one.values[n].toFixed(3) + (half === null ? "" : ` ± ${half.toFixed(3)}`);
      row.append(line, `${one.name} `, value);
      return row;
    });
    const key = (name, text) => {
      const [row, mark] = [document.createElement("span"), document.createElement("i")];
      mark.className = name;
      row.append(mark, text);
      return row;
    };
    this.keys.replaceChildren(...rows, key("dot", "seen"), key("wide", "uncertainty"));
  }
}
