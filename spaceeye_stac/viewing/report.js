"use strict";
(() => {
  const player = document.querySelector(".player");
  if (!player) return;
  const frames = [...player.querySelectorAll(".stage img")];
  const part = (name) => player.querySelector(name);
  const slider = part("input"), play = part(".play"), meter = part("meter");
  const byDay = new Map(frames.map((frame, n) => [frame.dataset.day, n]));
  const cells = new Map([...document.querySelectorAll(".cal td[data-day]")].map((cell) => [cell.dataset.day, cell]));
  let now = 0, timer = 0;

  const show = (wanted) => {
    cells.get(frames[now].dataset.day)?.classList.remove("now");
    frames[now].hidden = true;
    now = (wanted + frames.length) % frames.length;
    const frame = frames[now];
    frame.hidden = false;
    cells.get(frame.dataset.day)?.classList.add("now");
    slider.value = now;
    slider.setAttribute("aria-valuetext", frame.alt);
    part(".date").textContent = frame.dataset.date;
    part(".share").textContent = frame.dataset.share;
    meter.value = frame.dataset.seen;
  };
  const stop = () => {
    clearInterval(timer);
    timer = 0;
    play.textContent = "Play";
  };
  const toggle = () => {
    if (timer) return stop();
    timer = setInterval(() => show(now + 1), 200);
    play.textContent = "Pause";
  };
  const step = (by) => { stop(); show(now + by); };

  slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });
  part(".previous").addEventListener("click", () => step(-1));
  part(".next").addEventListener("click", () => step(1));
  play.addEventListener("click", toggle);
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest("input, summary, .scroll")) return;
    if (event.key === "ArrowLeft") step(-1);
    else if (event.key === "ArrowRight") step(1);
    else if (event.key === " " && !event.target.closest("button, a")) toggle();
    else return;
    event.preventDefault();
  });
  for (const [day, cell] of cells) {
    if (byDay.has(day)) cell.addEventListener("click", () => { stop(); show(byDay.get(day)); });
  }
  part(".controls").hidden = false;
  show(0);
})();
