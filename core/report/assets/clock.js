/* One position for the whole page: a video frame. Whatever shows it listens. */
const data = JSON.parse(document.getElementById('data').textContent);
document.documentElement.classList.add('js');

const clock = { frame: 0, listeners: [], last: Math.max(0, data.frames - 1) };

/* Of figures that all runs share: the run with the most chunks says where they start. */
const starts = data.runs.reduce((most, run) => (run.starts.length > most.length ? run.starts : most), []);

function show(frame) {
  clock.frame = Math.min(clock.last, Math.max(0, Math.round(frame)));
  for (const listener of clock.listeners) listener(clock.frame);
}

/* The chunk of a frame: chunks start at growing frames. */
function chunkAt(starts, frame) {
  let low = 0, high = starts.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (starts[middle] <= frame) low = middle; else high = middle - 1;
  }
  return low;
}

/* base64 to bytes */
function bytesOf(text) {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}

const SVG = 'http://www.w3.org/2000/svg';
function svgElement(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}
