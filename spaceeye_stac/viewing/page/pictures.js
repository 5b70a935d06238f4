// Pictures of days: loaded once, decoded before they are shown, so that a step neither flickers nor moves anything.

const MOST = 48;
const kept = new Map();

export function address(day, view, files, width) {
  if (!view) return `${files}${day.files.thumbnail ?? ""}`;
  const query = new URLSearchParams({ ...view.query, width });
  return `/api/preview/${encodeURIComponent(day.id)}.png?${query}`;
}

// The decoded picture; rejects with a sentence.
export function load(url) {
  let found = kept.get(url);
  if (found) {
    kept.delete(url);
  } else {
    found = fetched(url);
    found.catch(() => kept.delete(url));
  }
  kept.set(url, found);
  for (const old of kept.keys()) {
    if (kept.size <= MOST) break;
    kept.delete(old);
  }
  return found;
}

async function fetched(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(await sentence(answer));
  return createImageBitmap(await answer.blob());
}

// What an answer says is wrong.
export async function sentence(answer) {
  try {
    return (await answer.json()).error;
  } catch {
    return `The server answered ${answer.status}.`;
  }
}

export function paint(canvas, image) {
  if (canvas.width !== image.width || canvas.height !== image.height) {
    canvas.width = image.width;
    canvas.height = image.height;
  }
  const drawing = canvas.getContext("2d");
  drawing.clearRect(0, 0, image.width, image.height);
  drawing.drawImage(image, 0, 0);
}
