// The page: what is shown of which day, and what changes it.

import { Chart } from "./chart.js";
import { address, load, paint, sentence } from "./pictures.js";
import { LARGER, SMALLER, Stage } from "./stage.js";
import { Strip } from "./strip.js";

const $ = (id) => document.getElementById(id);
const WIDTH = 1536;
const PACE = 220; // milliseconds a day, when it plays
const AHEAD = 6;
const OWN = "own";

const state = { run: null, days: [], at: 0, view: null, other: null, playing: 0, point: null, asked: 0, last: 1 };

function link(href, text) {
  const found = document.createElement("a");
  found.href = href;
  found.textContent = text;
  return found;
}

function inWords(day) {
  const [year, month, date] = day.split("-").map(Number);
  const options = { weekday: "short", day: "numeric", month: "long", year: "numeric", timeZone: "UTC" };
  return new Intl.DateTimeFormat("en-GB", options).format(Date.UTC(year, month - 1, date)).replace(",", "");
}

function seenInWords(day) {
  const seen = day.shares.observed;
  if (seen >= 0.995 * (1 - day.shares.nodata)) return "Seen by the satellite";
  const far = day.distance === null ? "" : `, nearest look ${day.distance} day${day.distance === 1 ? "" : "s"}`;
  return seen > 0 ? `${Math.max(1, Math.round(seen * 100))} % seen, the rest reconstructed` : `Reconstructed${far}`;
}

const current = () => state.days[state.at];
const url = (day) => address(day, state.view, state.run.files, WIDTH);

function say(text) {
  $("said").hidden = !text;
  $("said").textContent = text;
}

// Show the picture of the day, and of the other day where two are compared, when both are there.
async function picture() {
  const ticket = (state.asked += 1);
  const wanted = [[current(), $("now")], ...(state.other ? [[state.other, $("then")]] : [])];
  try {
    const images = await Promise.all(wanted.map(([day]) => load(url(day))));
    if (ticket !== state.asked) return;
    images.forEach((image, n) => paint(wanted[n][1], image));
    $("now").dataset.day = wanted[0][0].day;
    say("");
  } catch (error) {
    if (ticket === state.asked) say(error.message);
  }
}

function ahead() {
  const count = state.playing ? AHEAD : 2;
  for (let n = 1; n <= count; n += 1) {
    for (const at of [state.at + n * state.last, ...(n === 1 ? [state.at - state.last] : [])]) {
      if (state.days[at]) load(url(state.days[at])).catch(() => {});
    }
  }
}

function words() {
  const day = current();
  $("date").textContent = inWords(day.day);
  $("how").textContent = seenInWords(day);
  $("day").value = state.at;
  $("day").setAttribute("aria-valuetext", `${inWords(day.day)}, ${seenInWords(day)}`);
  $("title").textContent = day.title;
  const { files, browser } = state.run;
  const item = `${files}${day.href}`;
  $("day-links").replaceChildren(link(item, "STAC item"), link(shown(browser, item), "stac-browser"));
  $("files").replaceChildren(...Object.entries(day.files).map(([key, href]) => {
    const row = document.createElement("li");
    row.append(link(`${files}${href}`, key));
    return row;
  }));
  for (const [id, one] of [["tag-then", state.other], ["tag-now", state.other && day]]) {
    $(id).hidden = !one;
    $(id).textContent = one ? inWords(one.day) : "";
  }
  chart.show(day.day);
  const hash = new URLSearchParams({ day: day.day, ...(day.tile ? { tile: day.tile } : {}), ...(state.view?.query ?? {}) });
  history.replaceState(null, "", `#${hash}`);
}

// The address at which a stac-browser shows a document of this server.
function shown(browser, path) {
  const full = new URL(path, location.href).href;
  return browser.startsWith("/") ? `${browser}${full.replace("//", "/")}` : `${browser}${full}`;
}

async function go(at) {
  const to = Math.min(state.days.length - 1, Math.max(0, at));
  state.last = to < state.at ? -1 : 1;
  state.at = to;
  words();
  await picture();
  ahead();
}

function toDay(day) {
  const at = state.days.findIndex((one) => one.day >= day);
  return go(at < 0 ? state.days.length - 1 : at);
}

function play(on) {
  clearTimeout(state.playing);
  state.playing = 0;
  $("play").setAttribute("aria-pressed", String(on));
  $("play").setAttribute("aria-label", on ? "Pause" : "Play the days");
  if (!on) return;
  const step = async () => {
    const start = performance.now();
    await go(state.at + 1 < state.days.length ? state.at + 1 : 0);
    if (state.playing) state.playing = setTimeout(step, Math.max(0, PACE - (performance.now() - start)));
  };
  state.playing = setTimeout(step, 0);
}

async function legend() {
  const place = $("legend");
  if (!state.view) return place.replaceChildren();
  const view = state.view;
  const answer = await fetch(`/api/legend?${new URLSearchParams(view.query)}`);
  const found = answer.ok ? await answer.json() : null;
  if (view !== state.view) return undefined;
  if (!found) return place.replaceChildren();
  if (found.classes) {
    const list = document.createElement("ul");
    list.append(...found.classes.map((one) => {
      const [row, mark, text] = ["li", "i", "span"].map((name) => document.createElement(name));
      mark.style.background = one.colour;
      text.textContent = one.label;
      row.append(mark, text);
      return row;
    }));
    return place.replaceChildren(list);
  }
  const [ramp, range] = [document.createElement("div"), document.createElement("div")];
  ramp.className = "ramp";
  ramp.style.background = `linear-gradient(to right, ${found.stops.join(", ")})`;
  range.className = "range";
  const ends = [found.low, found.high].map((one) => `${one}`.replace("-", "−"));
  range.append(...ends.map((text, n) => Object.assign(document.createElement("span"), { textContent: n && found.unit ? `${text} ${found.unit}` : text })));
  return place.replaceChildren(ramp, range);
}

async function show(view) {
  state.view = view;
  words();
  await Promise.all([picture(), legend(), state.point ? series() : null]);
  ahead();
}

// The query of a series: of the index that is shown, else of the bands of the picture.
function seriesQuery() {
  const query = state.view?.query ?? {};
  if (query.index) return { index: query.index };
  if (query.bands) return { bands: query.bands };
  if (["B04", "B08"].every((band) => state.run.bands.includes(band))) return { index: "(B08-B04)/(B08+B04)" };
  return { bands: state.run.bands.slice(0, 3).join(",") };
}

async function series() {
  const { x, y } = state.point;
  const tile = current().tile;
  const query = new URLSearchParams({ x, y, ...(tile ? { tile } : {}), ...seriesQuery() });
  const ticket = (state.point.ticket = (state.point.ticket ?? 0) + 1);
  $("chart").setAttribute("aria-busy", "true");
  const answer = await fetch(`/api/point?${query}`);
  if (ticket !== state.point?.ticket) return;
  $("chart").removeAttribute("aria-busy");
  $("series-said").hidden = answer.ok;
  $("series-links").hidden = !answer.ok;
  if (!answer.ok) {
    $("series-said").textContent = await sentence(answer);
    return chart.clear();
  }
  const found = await answer.json();
  for (const one of found.series) if (one.name === "(B08-B04)/(B08+B04)") one.name = "NDVI";
  $("csv").href = `/api/point.csv?${query}`;
  $("place").textContent = `${found.latitude.toFixed(5)}° N, ${found.longitude.toFixed(5)}° E`.replace(/-([\d.]+)° N/, "$1° S").replace(/-([\d.]+)° E/, "$1° W");
  chart.draw(found, current().day);
}

function clicked(u, v) {
  const { shape: [rows, columns], transform: [a, b, c, d, e, f] } = current().grid;
  // the middle of the pixel
  const [column, row] = [Math.floor(u * columns) + 0.5, Math.floor(v * rows) + 0.5];
  stage.mark(column / columns, row / rows);
  state.point = { x: a * column + b * row + c, y: d * column + e * row + f };
  series();
}

function compare(on) {
  $("swipe").setAttribute("aria-pressed", String(on));
  $("other").hidden = !on;
  state.other = on ? current() : null;
  $("other").value = on ? current().day : "";
  stage.compare(on);
  if (on && current() === state.other) go(state.at ? 0 : state.days.length - 1);
  else go(state.at);
}

function views() {
  const groups = new Map();
  state.run.views.forEach((view, n) => {
    if (!groups.has(view.group)) groups.set(view.group, Object.assign(document.createElement("optgroup"), { label: view.group }));
    groups.get(view.group).append(new Option(view.label, String(n)));
  });
  const own = Object.assign(document.createElement("optgroup"), { label: "Your own" });
  own.append(new Option("Expression of bands …", OWN));
  const more = groups.get("More indices");
  groups.delete("More indices");
  $("view").replaceChildren(...groups.values(), own, ...(more ? [more] : []));
}

function tiled(tile) {
  const day = current()?.day;
  state.days = state.run.days.filter((one) => one.tile === (tile || null));
  state.point = null;
  chart.clear();
  $("series-links").hidden = true;
  $("series-said").hidden = false;
  strip.show(state.days);
  $("day").max = state.days.length - 1;
  [$("first").textContent, $("last").textContent] = [state.days[0].day, state.days.at(-1).day];
  [$("other").min, $("other").max] = [state.days[0].day, state.days.at(-1).day];
  state.at = Math.max(0, state.days.findIndex((one) => one.day === day));
  const { shape: [rows, columns], transform: [a, b, , d, e] } = current().grid;
  stage.fitTo((columns * Math.hypot(a, d)) / (rows * Math.hypot(b, e)));
}

async function expression(event) {
  event.preventDefault();
  const text = $("expression").value.trim();
  if (!text) return;
  const view = { group: "Your own", label: text, query: { index: text } };
  const answer = await fetch(`/api/legend?${new URLSearchParams(view.query)}`);
  $("expression-said").textContent = answer.ok ? "" : await sentence(answer);
  if (answer.ok) show(view);
}

function keys(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("select, input:not([type=range]), [role=slider]")) return;
  const onButton = event.target.closest("button, a, summary");
  const moves = { ArrowLeft: () => go(state.at - 1), ArrowRight: () => go(state.at + 1), Home: () => go(0), End: () => go(state.days.length - 1) };
  const others = { "+": () => stage.zoom(LARGER), "=": () => stage.zoom(LARGER), "-": () => stage.zoom(SMALLER), 0: () => stage.fit() };
  if (!onButton) others[" "] = () => play(!state.playing);
  const done = moves[event.key] ?? others[event.key];
  if (!done) return;
  event.preventDefault();
  if (moves[event.key]) play(false);
  done();
}

function listen() {
  $("previous").onclick = () => { play(false); go(state.at - 1); };
  $("next").onclick = () => { play(false); go(state.at + 1); };
  $("play").onclick = () => play(!state.playing);
  $("day").oninput = (event) => { play(false); go(Number(event.target.value)); };
  $("larger").onclick = () => stage.zoom(LARGER);
  $("smaller").onclick = () => stage.zoom(SMALLER);
  $("fit").onclick = () => stage.fit();
  $("swipe").onclick = () => compare(!state.other);
  $("other").onchange = (event) => {
    const found = state.days.find((one) => one.day >= event.target.value) ?? state.days.at(-1);
    if (state.other && event.target.value) { state.other = found; words(); picture(); }
  };
  $("view").onchange = (event) => {
    const own = event.target.value === OWN;
    $("expression-form").hidden = !own;
    if (own) $("expression").focus();
    else show(state.run.views[Number(event.target.value)]);
  };
  $("expression-form").onsubmit = expression;
  $("tile").onchange = (event) => { if (state.other) compare(false); tiled(event.target.value); go(state.at); };
  document.addEventListener("keydown", keys);
}

// What an address that was kept or sent says: the day, the tile, and what is shown.
function asked() {
  const hash = new URLSearchParams(location.hash.slice(1));
  const same = (view) => Object.entries(view.query).every(([key, value]) => hash.get(key) === value);
  return { day: hash.get("day"), tile: hash.get("tile"), view: state.run.views.findIndex(same) };
}

const stage = new Stage(
  { stage: $("stage"), frame: $("frame"), now: $("now"), then: $("then"), divider: $("divider"), pin: $("pin") }, clicked);
const chart = new Chart($("chart"), (day) => { play(false); toDay(day); });
const strip = new Strip($("strip"));

async function start() {
  const answer = await fetch("/api/days");
  if (!answer.ok) throw new Error(await sentence(answer));
  const run = (state.run = await answer.json());
  const note = run.days.length ? run.sentence : "There are no days of a run in this folder; its documents are listed below.";
  $("note").hidden = !note;
  $("note").textContent = note;
  if (run.report) Object.assign($("report"), { hidden: false, href: `${run.files}${run.report}` });
  Object.assign($("browser"), { hidden: false, href: shown(run.browser, `${run.files}${run.document}`) });
  if (!run.days.length) return documents();
  const from = asked();
  $("app").hidden = false;
  $("view-field").hidden = !run.views.length;
  $("tile-field").hidden = !run.tiles.length;
  $("tile").replaceChildren(...run.tiles.map((tile) => new Option(tile)));
  $("tile").value = run.tiles.includes(from.tile) ? from.tile : run.tiles[0] ?? "";
  views();
  state.view = run.views[Math.max(0, from.view)] ?? null;
  $("view").value = String(Math.max(0, from.view));
  tiled($("tile").value);
  listen();
  legend();
  return from.day ? toDay(from.day) : go(0);
}

// A folder without days: the documents, as the page lists them where no script runs.
function documents() {
  const list = document.createElement("ul");
  list.className = "plain";
  list.append(...state.run.documents.map((name) => {
    const row = document.createElement("li");
    row.append(link(`${state.run.files}${name}`, name));
    return row;
  }));
  document.querySelector("main").before(list);
}

start().catch((error) => {
  $("note").hidden = false;
  $("note").textContent = error.message;
});
