// The stage: the picture fits the window, is enlarged and moved, is clicked, and is split by a divider.

const LARGEST = 64;
const STEP = 1.5;
const STILL = 4; // pixels that a pointer may move and still click

export class Stage {
  constructor(parts, onClick) {
    Object.assign(this, parts);
    this.onClick = onClick;
    this.scale = 1;
    this.centre = [0.5, 0.5];
    this.split = 0.5;
    this.aspect = 1;
    this.pointers = new Map();
    new ResizeObserver(() => this.place()).observe(this.stage);
    this.listen();
  }

  // Width over height of the picture on the ground.
  fitTo(aspect) {
    if (aspect !== this.aspect) this.pin.hidden = true;
    this.aspect = aspect;
    this.place();
  }

  size() {
    const { clientWidth: width, clientHeight: height } = this.stage;
    const w = Math.min(width, height * this.aspect);
    return { width, height, w, h: w / this.aspect };
  }

  place() {
    const { width, height, w, h } = this.size();
    const [W, H] = [w * this.scale, h * this.scale];
    // what is larger than the window fills it; what is smaller stays in its middle
    const within = (whole, part, at) =>
      part <= whole ? (whole - part) / 2 : Math.min(0, Math.max(whole - part, whole / 2 - at * part));
    this.left = within(width, W, this.centre[0]);
    this.top = within(height, H, this.centre[1]);
    this.centre = [(width / 2 - this.left) / W || 0.5, (height / 2 - this.top) / H || 0.5];
    this.shown = { W, H };
    const style = this.frame.style;
    style.width = `${W}px`;
    style.height = `${H}px`;
    style.transform = `translate(${this.left}px, ${this.top}px)`;
    this.stage.classList.toggle("large", this.scale > 1);
    this.divide();
  }

  zoom(factor, at) {
    const { width, height } = this.size();
    const [x, y] = at ?? [width / 2, height / 2];
    const [u, v] = this.fraction(x, y);
    this.scale = Math.min(LARGEST, Math.max(1, this.scale * factor));
    const { w, h } = this.size();
    const [W, H] = [w * this.scale, h * this.scale];
    this.centre = [u + (width / 2 - x) / W, v + (height / 2 - y) / H];
    this.place();
  }

  fit() {
    this.scale = 1;
    this.centre = [0.5, 0.5];
    this.place();
  }

  fraction(x, y) {
    return [(x - this.left) / this.shown.W, (y - this.top) / this.shown.H];
  }

  mark(u, v) {
    this.pin.hidden = false;
    this.pin.style.left = `${u * 100}%`;
    this.pin.style.top = `${v * 100}%`;
  }

  // Show the day on the left only left of the divider.
  divide() {
    if (this.divider.hidden) return;
    const { width } = this.size();
    const at = this.split * width;
    this.divider.style.left = `${at}px`;
    this.divider.setAttribute("aria-valuenow", String(Math.round(this.split * 100)));
    const cut = Math.min(this.shown.W, Math.max(0, at - this.left));
    this.then.style.clipPath = `inset(0 ${this.shown.W - cut}px 0 0)`;
    this.now.style.clipPath = `inset(0 0 0 ${cut}px)`;
  }

  compare(on) {
    this.divider.hidden = this.then.hidden = !on;
    if (!on) this.now.style.clipPath = "";
    this.divide();
  }

  splitAt(share) {
    this.split = Math.min(1, Math.max(0, share));
    this.divide();
  }

  at(event) {
    const box = this.stage.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  listen() {
    const { stage, divider } = this;
    stage.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0015)), this.at(event));
    }, { passive: false });
    stage.addEventListener("pointerdown", (event) => this.down(event));
    stage.addEventListener("pointermove", (event) => this.move(event));
    stage.addEventListener("pointerup", (event) => this.up(event));
    stage.addEventListener("pointercancel", (event) => this.pointers.delete(event.pointerId));
    const drag = (event) => divider.hasPointerCapture(event.pointerId) && this.splitAt(this.at(event)[0] / stage.clientWidth);
    divider.addEventListener("pointerdown", (event) => {
      divider.setPointerCapture(event.pointerId);
      event.stopPropagation();
    });
    divider.addEventListener("pointermove", (event) => {
      event.stopPropagation();
      drag(event);
    });
    divider.addEventListener("pointerup", (event) => event.stopPropagation());
    divider.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -0.02, ArrowRight: 0.02, PageDown: -0.1, PageUp: 0.1, Home: -1, End: 1 }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      event.stopPropagation();
      this.splitAt(this.split + step);
    });
  }

  down(event) {
    if (event.target.closest("button")) return;
    this.stage.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.at(event));
    this.start = this.at(event);
    this.moved = this.pointers.size > 1;
  }

  move(event) {
    if (!this.pointers.has(event.pointerId)) return;
    const before = this.pointers.get(event.pointerId);
    const now = this.at(event);
    if (Math.hypot(now[0] - this.start[0], now[1] - this.start[1]) > STILL) this.moved = true;
    const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
    this.pointers.set(event.pointerId, now);
    if (other) {
      const apart = (one) => Math.hypot(one[0] - other[0], one[1] - other[1]) || 1;
      this.zoom(apart(now) / apart(before), [(now[0] + other[0]) / 2, (now[1] + other[1]) / 2]);
    } else if (this.moved && this.scale > 1) {
      this.stage.classList.add("moving");
      this.centre[0] -= (now[0] - before[0]) / this.shown.W;
      this.centre[1] -= (now[1] - before[1]) / this.shown.H;
      this.place();
    }
  }

  up(event) {
    if (!this.pointers.delete(event.pointerId)) return;
    this.stage.classList.remove("moving");
    if (this.moved) return;
    const [u, v] = this.fraction(...this.at(event));
    if (u >= 0 && u < 1 && v >= 0 && v < 1) this.onClick(u, v);
  }
}

export const LARGER = STEP;
export const SMALLER = 1 / STEP;
