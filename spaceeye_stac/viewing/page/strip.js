// The line of days: for each how much of it was seen, as high as the share, under the slider.

const THUMB = 14; // width of the slider's thumb, whose middle stands over the day

export class Strip {
  constructor(canvas) {
    this.canvas = canvas;
    this.days = [];
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  show(days) {
    this.days = days;
    this.draw();
  }

  draw() {
    const { canvas, days } = this;
    const ratio = devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (!width || !days.length) return;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const drawing = canvas.getContext("2d");
    drawing.scale(ratio, ratio);
    const colours = getComputedStyle(canvas);
    const [seen, made] = ["--seen", "--made"].map((name) => colours.getPropertyValue(name).trim());
    const step = (width - THUMB) / Math.max(1, days.length - 1);
    const bar = Math.max(1, Math.min(18, step * 0.72));
    days.forEach((day, n) => {
      const middle = days.length > 1 ? THUMB / 2 + n * step : width / 2;
      const data = Math.max(1e-6, 1 - day.shares.nodata);
      const high = Math.round((height - 5) * Math.min(1, day.shares.observed / data));
      drawing.fillStyle = made;
      drawing.fillRect(middle - bar / 2, height - 3, bar, 3);
      drawing.fillStyle = seen;
      if (high > 0) drawing.fillRect(middle - bar / 2, height - Math.max(4, high), bar, Math.max(4, high));
    });
  }
}
