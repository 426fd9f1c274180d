/* Figures over chunks or frames: a cursor at the current position, and a click goes there. */
for (const chart of document.querySelectorAll('svg.chart[data-unit]')) {
  const [left, right, low, high] = chart.dataset.x.split(' ').map(Number);
  const [top, bottom] = chart.dataset.y.split(' ').map(Number);
  const cursor = svgElement('line', { class: 'cursor', y1: top, y2: bottom });
  chart.append(cursor);
  const place = (value) => left + (value - low) / (high - low || 1) * (right - left);
  clock.listeners.push((frame) => {
    const value = chart.dataset.unit === 'chunk' ? chunkAt(starts, frame) + 0.5 : frame;
    const x = place(Math.min(high, value));
    cursor.setAttribute('x1', x);
    cursor.setAttribute('x2', x);
  });
  chart.addEventListener('click', (event) => {
    const box = chart.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * chart.viewBox.baseVal.width;
    const value = low + (x - left) / (right - left) * (high - low);
    if (value < low || value > high) return;
    pause();
    const chunk = Math.min(starts.length - 1, Math.max(0, Math.floor(value)));
    seek(chart.dataset.unit === 'chunk' ? starts[chunk] : value);
  });
  const arcs = chart.querySelector('.live-arcs');
  if (arcs) drawArcs(arcs, place, bottom, bottom - top);
}

/* The arcs of the current chunk, on top of all others; as thick as it recalls tokens. */
function drawArcs(group, place, base, height) {
  const run = data.runs[0];
  const reach = Number(group.dataset.reach);
  let shown = -1;
  clock.listeners.push((frame) => {
    const chunk = chunkAt(run.starts, frame);
    if (chunk === shown) return;
    shown = chunk;
    group.replaceChildren();
    const most = Math.max(1, ...run.recalls[chunk].map((recall) => recall[1]));
    for (const [past, tokens] of run.recalls[chunk]) {
      const a = place(past + 0.5), b = place(chunk + 0.5);
      const high = (chunk - past) / reach * 0.98 * height;
      const d = `M${a} ${base}A${(b - a) / 2} ${high} 0 0 1 ${b} ${base}`;
      group.append(svgElement('path', { d, 'stroke-opacity': 0.25 + 0.7 * tokens / most }));
      group.append(svgElement('rect', { x: a - 1.5, y: base - 5, width: 3, height: 5 }));
    }
  });
}

/* What is known of the current chunk, in words. */
const now = document.querySelector('.now');
if (now && data.runs.length === 1) {
  const run = data.runs[0];
  const count = (number, one, many) => `${number} ${number === 1 ? one : many}`;
  clock.listeners.push((frame) => {
    const chunk = chunkAt(run.starts, frame);
    const [window_tokens, hits, misses, idle, kept, fps, recalled] = run.now[chunk];
    const past = run.recalls[chunk];
    const words = past.slice(0, 6).map(([id, tokens, tier]) => `${id} (${tokens} tokens, ${tier})`);
    const more = recalled > words.length ? ` and ${recalled - words.length} more` : '';
    const recalls = recalled ? `recalls chunk ${words.join(', ')}${more}` : 'recalls nothing';
    now.replaceChildren();
    const head = document.createElement('b');
    head.textContent = `Chunk ${chunk}`;
    now.append(head, ` ${run.given.includes(chunk) ? 'was given; it ' : ''}${recalls}. Window ${window_tokens} tokens; `
      + `${count(hits, 'hit', 'hits')}, ${count(misses, 'miss', 'misses')}, ${idle} idle; stored ${kept} tokens`
      + (fps ? `; ${fps} frames/s.` : '.'));
  });
}
